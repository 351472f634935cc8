//! Where it is decided what clients may do, as EMQX's scripts make, change and delete it.

use serde_json::{Value, json};

use crate::{Managed, common::Version, door::Server};

const PATH: &str = "/api/v5/authorization/sources";

fn at(rest: &str) -> String {
    format!("{PATH}/{rest}")
}

async fn start(folder: &tempfile::TempDir) -> Managed {
    Managed::kept_in(folder.path(), |_| {}).await
}

async fn make(managed: &Managed, body: Value) {
    let told = managed.admin.post(PATH, &body).await;
    assert_eq!(told.status, 204, "{body}: {told:?}");
}

async fn setting(managed: &Managed, key: &str) -> Value {
    managed.get("/api/v5/configs").await.json()[key]["value"].clone()
}

async fn types(managed: &Managed) -> Vec<String> {
    let told = managed.get(PATH).await.json();
    let of = |one: &Value| {
        format!("{}{}", one["type"].as_str().unwrap_or(""), if one["enable"] == true { "" } else { " off" })
    };
    told["sources"].as_array().expect("a list").iter().map(of).collect()
}

/// What becomes of a publication to `topic`.
async fn may(managed: &Managed, topic: &str) -> bool {
    let asked = json!({ "action": "publish", "clientid": "c", "username": "u", "topic": topic });
    let told = managed.admin.post("/api/v5/access/explain", &asked).await;
    told.json()["outcome"] == "allow"
}

fn web_server(server: &Server) -> Value {
    json!({
        "type": "http", "enable": true, "method": "post", "url": format!("http://{}/acl", server.address),
        "headers": { "content-type": "application/json" },
        "body": { "username": "${username}", "topic": "${topic}", "action": "${action}" },
        "pool_size": 4, "request_timeout": "5s", "connect_timeout": "15s", "ssl": { "enable": false },
    })
}

#[tokio::test]
async fn a_web_server_decides_until_it_is_switched_off_or_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let server = Server::start("allow").await;
    assert_eq!(types(&managed).await, ["built_in_database"]);
    make(&managed, web_server(&server)).await;
    assert_eq!(types(&managed).await, ["http", "built_in_database"]);
    assert_eq!(setting(&managed, "access.sources").await, json!(["http.rules", "rules"]));
    assert_eq!(managed.admin.post(PATH, &web_server(&server)).await.status, 400);

    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.publish("a", "x", 1).await;
    assert_eq!(server.asked(), 1);
    let status = managed.get(&at("http/status")).await.json();
    assert_eq!((&status["status"], &status["metrics"]["answered"]), (&json!("connected"), &json!(1)));

    // What is told can be sent back.
    let mut told = managed.get(&at("http")).await.json();
    assert_eq!((&told["type"], &told["name"], &told["body"]), (&json!("http"), &json!("rules"), &json!("******")));
    told["enable"] = false.into();
    assert_eq!(managed.admin.put(&at("http"), &told).await.status, 204);
    assert_eq!(types(&managed).await, ["built_in_database", "http off"]);
    assert_eq!(managed.get(&at("http/status")).await.json()["status"], "stopped");
    told["enable"] = true.into();
    assert_eq!(managed.admin.put(&at("http:rules"), &told).await.status, 204);
    assert_eq!(types(&managed).await, ["http", "built_in_database"]);
    assert_eq!(managed.admin.delete(&at("http")).await.status, 204);
    assert_eq!(managed.admin.delete(&at("http")).await.status, 404);
    assert_eq!(setting(&managed, "access.sources").await, json!(["rules"]));
    assert_eq!(setting(&managed, "access.http.rules.url").await, Value::Null);
}

#[tokio::test]
async fn the_text_of_a_file_counts_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    assert!(may(&managed, "a").await);
    assert_eq!(managed.get(&at("file")).await.status, 404);
    let text = "%% Of the day.\n{allow, all, publish, [\"open/#\"]}.\n{deny, all}.\n";
    make(&managed, json!({ "type": "file", "enable": true, "rules": text })).await;
    assert_eq!(types(&managed).await, ["built_in_database", "file"]);
    assert_eq!((may(&managed, "open/a").await, may(&managed, "a").await), (true, false));
    let told = managed.get(&at("file")).await.json();
    assert_eq!((&told["rules"], &told["rules_count"], &told["enable"]), (&json!(text), &json!(2), &json!(true)));
    let kept = std::fs::read_to_string(folder.path().join("settings.toml")).expect("it is kept");
    assert!(kept.contains("Of the day."), "{kept}");

    // One that is wrong changes nothing, and tells the line.
    let wrong = json!({ "type": "file", "rules": "{allow, all}.\n{allow, nobody}.\n" });
    let refused = managed.admin.put(&at("file"), &wrong).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("access.acl_conf:2"), "{refused:?}");
    assert_eq!(managed.get(&at("file")).await.json()["rules"], text);

    let mut other = told;
    other["rules"] = "{allow, all}.".into();
    assert_eq!(managed.admin.put(&at("file"), &other).await.status, 204);
    assert!(may(&managed, "a").await);
    other["enable"] = false.into();
    assert_eq!(managed.admin.put(&at("file"), &other).await.status, 204);
    assert_eq!(types(&managed).await, ["built_in_database", "file off"]);
    assert_eq!(setting(&managed, "access.sources").await, json!(["rules.settings", "rules.database"]));
    assert_eq!(managed.admin.delete(&at("file")).await.status, 204);
    assert_eq!(types(&managed).await, ["built_in_database"]);
    assert_eq!(setting(&managed, "access.sources").await, json!(["rules"]), "files to come are asked");

    // A file that is elsewhere.
    let path = folder.path().join("acl.conf");
    std::fs::write(&path, "{deny, all, publish, [\"a\"]}.\n{allow, all}.\n").expect("written");
    make(&managed, json!({ "type": "file", "path": path })).await;
    assert_eq!((may(&managed, "b").await, may(&managed, "a").await), (true, false));
    let told = managed.get(&at("file")).await.json();
    assert_eq!((&told["path"], &told["rules_count"]), (&json!(path), &json!(2)));
    assert_eq!(managed.admin.put(&at("file"), &told).await.status, 204);
    assert_eq!(managed.get(&at("file")).await.json(), told);
}

#[tokio::test]
async fn the_own_rules_have_places_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    make(&managed, json!({ "type": "file", "rules": "{deny, all, publish, [\"a\"]}." })).await;
    let all = json!({ "rules": [{ "permission": "allow", "action": "all", "topic": "a" }] });
    assert_eq!(managed.admin.post(&at("built_in_database/rules/all"), &all).await.status, 204);
    assert!(may(&managed, "a").await);
    let relocate = async |kind: &str, position: &str| {
        managed.admin.post(&at(&format!("{kind}/move")), &json!({ "position": position })).await.status
    };
    assert_eq!(relocate("file", "front").await, 204);
    assert!(!may(&managed, "a").await);
    assert_eq!(types(&managed).await, ["file", "built_in_database"]);
    assert_eq!(relocate("built_in_database", "before:file").await, 204);
    assert!(may(&managed, "a").await);
    for (kind, position, status) in
        [("http", "front", 404), ("file", "top", 400), ("file", "after:http", 404), ("file", "after:file", 400)]
    {
        assert_eq!(relocate(kind, position).await, status, "{kind} {position}");
    }
    let order = async |types: &[&str]| {
        let body: Vec<_> = types.iter().map(|kind| json!({ "type": kind })).collect();
        managed.admin.put(&at("order"), &body.into()).await.status
    };
    assert_eq!(order(&["file", "built_in_database"]).await, 204);
    assert!(!may(&managed, "a").await);
    assert_eq!(order(&["built_in_database"]).await, 400);
    assert_eq!(order(&["file", "file", "built_in_database"]).await, 400);
    assert_eq!(order(&["file", "http"]).await, 404);
    assert_eq!(types(&managed).await, ["file", "built_in_database"]);

    // Its rules stay while it is not asked.
    assert_eq!(managed.admin.delete(&at("built_in_database")).await.status, 204);
    assert_eq!(types(&managed).await, ["file", "built_in_database off"]);
    make(&managed, json!({ "type": "built_in_database", "enable": true, "max_rules": 100 })).await;
    assert_eq!(types(&managed).await, ["built_in_database", "file"]);
    assert!(may(&managed, "a").await);
}

/// Kind by kind, what is sent is what is told, and the settings that it became.
#[tokio::test]
async fn fields_become_settings_and_are_told_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let database = json!({
        "server": "127.0.0.1:1", "database": "mqtt", "username": "u", "pool_size": 3, "ssl": { "enable": false },
    });
    let with = |more: Value| {
        let mut body = database.clone();
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let sql = "SELECT action, permission, topic FROM mqtt_acl WHERE username = ${username}";
    let filter = json!({ "username": "${username}" });
    let mut directory = with(json!({
        "type": "ldap", "base_dn": "uid=${username},dc=example", "filter": "(objectClass=mqttUser)", "query_timeout": "3s",
        "publish_attribute": "pub", "subscribe_attribute": "sub", "all_attribute": "both",
    }));
    directory.as_object_mut().expect("an object").remove("database");
    for (body, key, value) in [
        (with(json!({ "type": "postgresql", "query": sql })), "postgresql.rules.rules_query", json!(sql)),
        (with(json!({ "type": "mysql", "query": sql, "query_timeout": "3s" })), "mysql.rules.rules_query", json!(sql)),
        (
            with(
                json!({ "type": "redis", "redis_type": "single", "database": 1, "cmd": "HGETALL mqtt_acl:${username}" }),
            ),
            "redis.rules.rules_command",
            json!("HGETALL mqtt_acl:${username}"),
        ),
        (
            with(json!({ "type": "mongodb", "mongo_type": "single", "collection": "acl", "filter": filter })),
            "mongodb.rules.rules_filter",
            json!(filter.to_string()),
        ),
        (directory, "ldap.rules.publish_attribute", json!("pub")),
    ] {
        make(&managed, body.clone()).await;
        assert_eq!(setting(&managed, &format!("access.{key}")).await, value);
        let told = managed.get(&at(body["type"].as_str().expect("a text"))).await.json();
        for (name, value) in body.as_object().expect("an object") {
            assert_eq!(&told[name], value, "{name} of {told}");
        }
        assert_eq!(managed.admin.put(&at(body["type"].as_str().expect("a text")), &told).await.status, 204, "{told}");
    }
    assert_eq!(types(&managed).await, ["ldap", "mongodb", "redis", "mysql", "postgresql", "built_in_database"]);
}

/// One section of the settings can be both; what one of the two paths takes away stays for the other.
#[tokio::test]
async fn a_service_that_lets_clients_in_is_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let authenticator = json!({
        "mechanism": "password_based", "backend": "mysql", "server": "127.0.0.1:1", "database": "mqtt",
        "query": "SELECT password_hash FROM mqtt_user WHERE username = ${username}",
        "password_hash_algorithm": { "name": "plain" },
    });
    assert_eq!(managed.admin.post("/api/v5/authentication", &authenticator).await.status, 200);
    let source = json!({
        "type": "mysql", "server": "127.0.0.2:1", "database": "rules",
        "query": "SELECT permission, action, topic FROM mqtt_acl",
    });
    make(&managed, source.clone()).await;
    let server = async |name: &str| setting(&managed, &format!("access.mysql.{name}.server")).await;
    assert_eq!((server("default").await, server("rules").await), (json!("127.0.0.1:1"), json!("127.0.0.2:1")));
    let mut further = source.clone();
    further["name"] = "further".into();
    make(&managed, further).await;
    assert_eq!(managed.get(&at("mysql:further")).await.json()["name"], "further");
    assert_eq!(managed.get(&at("mysql")).await.json()["name"], "rules");
    assert_eq!(managed.admin.delete(&at("mysql")).await.status, 204);
    assert_eq!(managed.admin.delete(&at("mysql")).await.status, 204, "the only one left");
    assert_eq!(types(&managed).await, ["built_in_database"]);
    assert_eq!(server("default").await, "127.0.0.1:1");

    let both = json!({ "access.sources": ["rules", "mysql.default"], "access.mysql.default.rules_query": "SELECT 1" });
    assert_eq!(managed.admin.put("/api/v5/configs", &both).await.status, 200);
    assert_eq!(managed.admin.delete(&at("mysql:default")).await.status, 204);
    assert_eq!(server("default").await, "127.0.0.1:1");
}

#[tokio::test]
async fn what_there_is_not_is_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = start(&folder).await;
    let source = json!({ "type": "postgresql", "server": "127.0.0.1:1", "query": "SELECT 1" });
    let with = |name: &str, value: Value| {
        let mut body = source.clone();
        body[name] = value;
        body
    };
    for (body, word) in [
        (json!({}), "type"),
        (json!({ "type": "oracle" }), "type"),
        (json!({ "type": "jwt" }), "type"),
        (json!({ "type": "rules" }), "type"),
        (json!({ "type": "file" }), "rules"),
        (json!({ "type": "file", "path": null }), "path"),
        (json!({ "type": "file", "rules": "{allow" }), "access.acl_conf:1"),
        (json!({ "type": "file", "path": "/nowhere/acl.conf" }), "access.rule_files"),
        (json!({ "type": "built_in_database", "max_rules": 7 }), "max_rules"),
        (json!({ "type": "built_in_database", "surprise": 7 }), "surprise"),
        (json!({ "type": "file", "name": "other", "rules": "{allow, all}." }), "name"),
        (with("password_hash_algorithm", json!({ "name": "plain" })), "password_hash_algorithm"),
        (with("surprise", 1.into()), "surprise"),
        (with("name", "a.b".into()), "name"),
        (with("query", "".into()), "rules_query"),
        (with("enable", "yes".into()), "enable"),
    ] {
        let told = managed.admin.post(PATH, &body).await;
        assert_eq!(told.status, 400, "{body}: {told:?}");
        assert!(told.text().contains(word), "{word}: {told:?}");
    }
    assert_eq!(setting(&managed, "access.sources").await, json!(["rules"]));
    let other = json!({ "type": "http" });
    assert_eq!(managed.admin.put(&at("built_in_database"), &other).await.status, 400);
    assert_eq!(managed.admin.put(&at("settings"), &json!({ "type": "settings" })).await.status, 404);
}
