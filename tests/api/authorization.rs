//! Users and rules of the built-in database, and why something is decided.

use serde_json::{Value, json};
use thingway::config::{Config, TopicRewrite};

use crate::{
    Managed, PASSWORD,
    common::{Client, Connect, Version},
    http::Caller,
};

const USERS: &str = "/api/v5/authentication/password_based:built_in_database/users";
const RULES: &str = "/api/v5/authorization/sources/built_in_database/rules";

fn with_users(config: &mut Config) {
    config.access.authenticators = vec!["users".into()];
    config.access.backoff.enable = false;
}

fn connect(username: &str, password: &str) -> Connect {
    Connect {
        username: Some(username.into()),
        password: Some(password.as_bytes().to_vec()),
        ..Connect::new(Version::V5, &format!("c-{username}"))
    }
}

async fn code(managed: &Managed, username: &str, password: &str) -> u8 {
    let mut client = managed.gateway.open(Version::V5).await;
    client.send(&connect(username, password).bytes()).await;
    client.connack().await.code
}

async fn client(managed: &Managed, username: &str) -> Client {
    managed.gateway.connect(&connect(username, "secret")).await.0
}

#[tokio::test]
async fn users_come_and_go_and_count_at_once() {
    let managed = Managed::with(with_users).await;
    let admin = &managed.admin;
    let told = managed.get("/api/v5/authentication").await.json();
    assert_eq!((&told[0]["id"], &told[0]["position"]), (&json!("built_in_database"), &json!(0)));
    assert_eq!(managed.get("/api/v5/authentication/password_based:built_in_database").await.status, 200);
    assert_eq!(code(&managed, "bob", "secret").await, 0x86);
    let bob = json!({ "user_id": "bob", "password": "secret", "is_superuser": true, "attributes": { "site": "n" } });
    let told = admin.post(USERS, &bob).await;
    assert_eq!((told.status, told.text().contains("secret")), (201, false), "{told:?}");
    assert_eq!(admin.post(USERS, &bob).await.code(), "ALREADY_EXISTS");
    assert_eq!(code(&managed, "bob", "secret").await, 0);
    let short = "/api/v5/authentication/built_in_database/users/bob";
    let told = managed.get(short).await.json();
    assert_eq!((&told["is_superuser"], &told["attributes"]), (&json!(true), &json!({ "site": "n" })));
    let change = json!({ "password": "changed", "is_superuser": false });
    assert_eq!(admin.put(&format!("{USERS}/bob"), &change).await.json()["is_superuser"], false);
    assert_eq!((code(&managed, "bob", "secret").await, code(&managed, "bob", "changed").await), (0x86, 0));
    assert_eq!(admin.put(&format!("{USERS}/bob"), &json!({ "expires_at": 1 })).await.status, 200);
    assert_eq!(code(&managed, "bob", "changed").await, 0x87, "it has ended");
    assert_eq!(managed.get(short).await.json()["attributes"]["site"], "n", "what is not named stays");
    for wrong in [
        json!({ "user_id": "", "password": "x" }),
        json!({ "user_id": "x", "password": "" }),
        json!({ "user_id": "x" }),
        json!({ "user_id": "x", "password": "y", "other": 1 }),
        json!([]),
    ] {
        assert_eq!(admin.post(USERS, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(admin.put(&format!("{USERS}/bob"), &json!({ "user_id": "eve" })).await.status, 400);
    assert_eq!(admin.put(&format!("{USERS}/eve"), &json!({})).await.code(), "USER_NOT_FOUND");
    assert_eq!(admin.delete(&format!("{USERS}/bob")).await.status, 204);
    assert_eq!(admin.delete(&format!("{USERS}/bob")).await.status, 404);
    assert_eq!(code(&managed, "bob", "changed").await, 0x86);
    assert_eq!(managed.get("/api/v5/authentication/scram:built_in_database/users").await.status, 404, "nobody asks it");
}

#[tokio::test]
async fn users_are_imported_and_listed() {
    let managed = Managed::with(with_users).await;
    let path = "/api/v5/authentication/built_in_database/import_users";
    let import = async |kind: &str, query: &str, body: &str| {
        let length = body.len();
        let authorization = managed.admin.authorization();
        let head = format!(
            "POST {path}{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        managed.admin.raw(format!("{head}{body}").as_bytes()).await
    };
    let csv = "user_id,password_hash,salt,is_superuser\na,5ebe2294ecd0e0f08eab7690d2a6ee69,,true\nb,5ebe2294ecd0e0f08eab7690d2a6ee69,,false\n";
    let told = import("text/csv", "?hashing=md5-disable", csv).await;
    assert_eq!(
        (told.status, told.json()),
        (200, json!({ "total": 2, "success": 2, "override": 0, "skipped": 0, "failed": 0 }))
    );
    assert_eq!(code(&managed, "b", "secret").await, 0);
    let list = json!([{ "user_id": "b", "password": "other" }, { "user_id": "c", "password": "plain" }]).to_string();
    assert_eq!(import("application/json", "", &list).await.json()["override"], 1);
    let form = format!(
        "--xyz\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"users.csv\"\r\n\r\nuser_id,password\nd,{}\n\r\n--xyz--\r\n",
        "formed"
    );
    assert_eq!(import("multipart/form-data; boundary=xyz", "", &form).await.json()["total"], 1);
    assert_eq!((code(&managed, "b", "other").await, code(&managed, "c", "plain").await), (0, 0));
    assert_eq!(code(&managed, "d", "formed").await, 0);
    let many: Vec<_> = (0..501).map(|number| json!({ "user_id": format!("m{number}"), "password": "x" })).collect();
    assert_eq!(import("application/json", "", &json!(many).to_string()).await.code(), "EXCEED_LIMIT");
    for (kind, query, body) in [
        ("text/csv", "", "user_id,password\nx,hunter2\n,hunter2\n"),
        ("text/csv", "?hashing=rot13", csv),
        ("application/json", "", "{\"user_id\":\"hunter2\"}"),
        ("multipart/form-data; boundary=xyz", "", "--xyz--"),
        ("multipart/form-data", "", &form),
    ] {
        let told = import(kind, query, body).await;
        assert_eq!((told.status, told.text().contains("hunter2")), (400, false), "{told:?}");
    }
    assert_eq!(import("text/plain", "", csv).await.status, 415);
    let names = async |query: &str| -> Vec<String> {
        let told = managed.get(&format!("{USERS}{query}")).await.json();
        told["data"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["user_id"].as_str().expect("a name").into())
            .collect()
    };
    assert_eq!(names("").await, ["a", "b", "c", "d"]);
    assert_eq!(names("?like_user_id=c").await, ["c"]);
    assert_eq!(names("?is_superuser=true").await, ["a"]);
    assert_eq!(names("?limit=2&page=2").await, ["c", "d"]);
}

#[tokio::test]
async fn rules_count_at_once_even_for_what_is_there() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let mut bob = client(&managed, "bob").await;
    assert_eq!(bob.subscribe_all(&[("a", 1), ("b", 1)], &[]).await, [1, 1], "there are no rules");
    let rules = json!([{ "username": "bob", "rules": [
        { "permission": "allow", "action": "all", "topic": "b", "qos": [0, 1], "retain": "all" },
        { "permission": "deny", "action": "publish", "topic": "c" },
    ] }]);
    let users = format!("{RULES}/users");
    assert_eq!(admin.post(&users, &rules).await.status, 204);
    let again = admin.post(&users, &rules).await;
    assert_eq!((again.status, again.code()), (409, "ALREADY_EXISTS".into()));
    assert_eq!(managed.get(&format!("{users}/bob")).await.json(), rules[0], "as it was written");
    assert_eq!(managed.get(&format!("{users}?like_username=o")).await.json()["data"], rules);
    // The subscription that is not allowed any more brings nothing.
    for topic in ["a", "b"] {
        let message = json!({ "topic": topic, "payload": topic, "qos": 1 });
        assert!(admin.post("/api/v5/publish", &message).await.status < 300);
    }
    assert_eq!(bob.expect_message().await.text(), "b");
    assert_eq!(managed.get("/api/v5/clients/c-bob").await.json()["subscriptions_cnt"], 1);
    assert_eq!(bob.subscribe_all(&[("c", 0), ("b", 1)], &[]).await, [0x87, 1]);
    // Other rules for the same name, then for the client id before them, then none.
    let other = json!({ "username": "bob", "rules": [{ "permission": "allow", "action": "subscribe", "topic": "c" }] });
    assert_eq!(admin.put(&format!("{users}/bob"), &other).await.status, 204);
    assert_eq!(bob.subscribe_all(&[("c", 0), ("b", 1)], &[]).await, [0, 0x87]);
    let of_client =
        json!([{ "clientid": "c-bob", "rules": [{ "permission": "deny", "action": "all", "topic": "c" }] }]);
    assert_eq!(admin.post(&format!("{RULES}/clients"), &of_client).await.status, 204);
    assert_eq!(bob.subscribe_all(&[("c", 0)], &[]).await, [0x87]);
    let for_all = json!({ "rules": [{ "permission": "allow", "action": "all", "topic": "open/#" }] });
    assert_eq!(admin.post(&format!("{RULES}/all"), &for_all).await.status, 204);
    assert_eq!(managed.get(&format!("{RULES}/all")).await.json(), for_all);
    assert_eq!(bob.subscribe_all(&[("open/#", 0)], &[]).await, [0]);
    let told = managed.get("/api/v5/authorization/sources").await.json();
    assert_eq!(
        (&told["sources"][0]["type"], &told["sources"][0]["rules_count"]),
        (&json!("built_in_database"), &json!(3))
    );
    for path in [format!("{users}/bob"), format!("{RULES}/clients/c-bob"), format!("{RULES}/all")] {
        assert_eq!(admin.delete(&path).await.status, 204, "{path}");
    }
    assert_eq!(admin.delete(&format!("{users}/bob")).await.status, 404);
    assert_eq!(bob.subscribe_all(&[("anything", 0)], &[]).await, [0], "there are no rules any more");
    for (path, wrong) in [
        (&users, json!([{ "username": "x", "rules": [{ "permission": "maybe", "action": "all", "topic": "a" }] }])),
        (&users, json!([{ "username": "x", "rules": [{ "permission": "deny", "action": "all", "topic": "a/#/b" }] }])),
        (&users, json!([{ "rules": [] }])),
        (&users, json!([{ "username": "", "rules": [] }])),
        (&users, json!([{ "username": "x", "rules": vec![for_all["rules"][0].clone(); 101] }])),
        (&users, json!({})),
    ] {
        assert_eq!(admin.post(path, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(admin.post(&users, &rules).await.status, 204);
    assert_eq!(admin.delete(RULES).await.status, 204);
    assert_eq!(managed.get(&users).await.json()["meta"]["count"], 0);
}

#[tokio::test]
async fn users_and_rules_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = async || {
        Managed::with(|config| {
            with_users(config);
            config.gateway.data_dir = folder.path().into();
            config.store.durability = thingway::config::StoreDurability::Os;
        })
        .await
    };
    let managed = start().await;
    let admin = &managed.admin;
    let bob = json!({ "user_id": "bob", "password": "secret", "expires_at": 7_258_118_400_u64 });
    assert_eq!(admin.post(USERS, &bob).await.status, 201);
    let rules =
        json!([{ "username": "bob", "rules": [{ "permission": "allow", "action": "subscribe", "topic": "b" }] }]);
    assert_eq!(admin.post(&format!("{RULES}/users"), &rules).await.status, 204);
    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let managed = start().await;
    assert_eq!(managed.get(&format!("{USERS}/bob")).await.json()["expires_at"], 7_258_118_400_u64);
    assert_eq!(managed.get(&format!("{RULES}/users")).await.json()["data"], rules);
    let mut bob = client(&managed, "bob").await;
    assert_eq!(bob.subscribe_all(&[("b", 0), ("c", 0)], &[]).await, [0, 0x87]);
}

/// A change of rules while the configuration is read again, and the other way round: neither undoes the other.
#[tokio::test]
async fn reading_the_configuration_again_leaves_the_stores_rules() {
    let managed = Managed::start().await;
    let rules = json!({ "rules": [{ "permission": "deny", "action": "all", "topic": "a" }] });
    assert_eq!(managed.admin.post(&format!("{RULES}/all"), &rules).await.status, 204);
    let mut config = Config::default();
    config.access.no_match = thingway::config::RulePermission::Allow;
    managed.gateway.gateway().reload_access(&config).expect("good");
    let mut eve = client(&managed, "eve").await;
    assert_eq!(eve.subscribe_all(&[("a", 0), ("b", 0)], &[]).await, [0x87, 0]);
    for path in ["/api/v5/authorization/cache", "/api/v5/clients/c-eve/authorization/cache"] {
        assert_eq!(managed.admin.delete(path).await.status, 204, "{path}");
        assert_eq!(eve.subscribe_all(&[("a", 0), ("b", 0)], &[]).await, [0x87, 0], "it is decided anew");
    }
    assert_eq!(managed.admin.delete("/api/v5/clients/nobody/authorization/cache").await.code(), "CLIENTID_NOT_FOUND");
}

async fn explained(admin: &Caller, wish: Value) -> Value {
    let told = admin.post("/api/v5/access/explain", &wish).await;
    assert_eq!((told.status, told.text().contains(PASSWORD)), (200, false), "{wish}: {told:?}");
    told.json()
}

#[tokio::test]
async fn decisions_are_explained_step_by_step() {
    let managed = Managed::with(|config| {
        with_users(config);
        config.access.rewrite = vec![TopicRewrite {
            source: "old/#".into(),
            pattern: "^old/(.+)$".into(),
            destination: "new/$1".into(),
            ..TopicRewrite::default()
        }];
        config.listeners.tcp.get_mut("default").expect("it is there").mountpoint = "t/${username}/".into();
        config.access.auto_subscribe =
            vec![thingway::config::AutoSubscribe { topic: "mine/${clientid}".into(), ..Default::default() }];
    })
    .await;
    let admin = &managed.admin;
    assert_eq!(admin.post(USERS, &json!({ "user_id": "bob", "password": PASSWORD })).await.status, 201);
    let rules = json!({ "rules": [
        { "permission": "allow", "action": "all", "topic": "new/#" },
        { "permission": "allow", "action": "subscribe", "topic": "mine/${clientid}" },
    ] });
    assert_eq!(admin.post(&format!("{RULES}/all"), &rules).await.status, 204);
    let told =
        explained(admin, json!({ "action": "connect", "clientid": "c", "username": "bob", "password": PASSWORD }))
            .await;
    assert_eq!((&told["outcome"], &told["decided_by"]), (&json!("allow"), &json!("by users")), "{told}");
    let has = |told: &Value, source: &str, says: &str, rule: &str| {
        let steps = told["steps"].as_array().expect("steps");
        let is_it = |step: &&Value| step["source"] == source && step["says"] == says;
        steps.iter().find(is_it).is_some_and(|step| step["rule"].as_str().unwrap_or_default().contains(rule))
    };
    assert!(has(&told, "users", "allow", "") && has(&told, "mountpoint", "changes", "t/bob/"), "{told}");
    assert!(has(&told, "access.auto_subscribe", "changes", "mine/c"), "{told}");
    let told =
        explained(admin, json!({ "action": "connect", "clientid": "c", "username": "bob", "password": "guess" })).await;
    assert_eq!((&told["outcome"], &told["decided_by"]), (&json!("deny"), &json!("by users: BadCredentials")));
    assert!(has(&told, "users", "deny", "BadCredentials"), "{told}");
    let publish = |topic: &str| json!({ "action": "publish", "clientid": "c", "username": "bob", "topic": topic, "listener": "tcp:default" });
    let told = explained(admin, publish("old/x")).await;
    assert_eq!((&told["outcome"], &told["decided_by"]), (&json!("allow"), &json!("by database, all:1")), "{told}");
    assert!(
        has(&told, "access.rewrite", "changes", "new/x") && has(&told, "mountpoint", "changes", "t/bob/new/x"),
        "{told}"
    );
    let told = explained(admin, publish("other")).await;
    assert!(
        told["outcome"] == "deny" && has(&told, "database", "ignore", "") && has(&told, "access.no_match", "deny", ""),
        "{told}"
    );
    assert_eq!(explained(admin, publish("$SYS/x")).await["outcome"], "deny");
    let subscribe = json!({ "action": "subscribe", "clientid": "c", "username": "a/b", "topic": "new/#" });
    let told = explained(admin, subscribe).await;
    assert!(told["outcome"] == "deny" && has(&told, "listeners.tcp.default.mountpoint", "deny", ""), "{told}");
    assert_eq!(admin.post("/api/v5/banned", &json!({ "as": "username", "who": "eve" })).await.status, 200);
    let told = explained(admin, json!({ "action": "connect", "clientid": "c", "username": "eve" })).await;
    assert!(told["outcome"] == "deny" && has(&told, "bans", "deny", "eve"), "{told}");
    for wrong in [
        json!({ "action": "sing", "clientid": "c" }),
        json!({ "action": "publish", "clientid": "c" }),
        json!({ "action": "subscribe", "clientid": "c", "topic": "a/#/b" }),
        json!({ "action": "publish", "clientid": "c", "topic": "a", "qos": 3 }),
        json!({ "action": "connect", "clientid": "c", "peerhost": "x" }),
        json!({ "action": "connect", "clientid": "c", "protocol": "stomp" }),
        json!({}),
    ] {
        assert_eq!(admin.post("/api/v5/access/explain", &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(code(&managed, "bob", PASSWORD).await, 0, "nothing was counted against it");
}
