//! Who is asked about clients, and what becomes of topics, by EMQX's paths.

use serde_json::json;

use crate::{
    Managed,
    common::{Connect, Version},
};

const PATH: &str = "/api/v5/authentication";

/// The code of CONNACK for one with credentials.
async fn code(managed: &Managed, username: &str, password: &str) -> u8 {
    let mut client = managed.gateway.open(Version::V5).await;
    client.send(&Connect::new(Version::V5, username).username(username).password(password).bytes()).await;
    client.connack().await.code
}

#[tokio::test]
async fn authenticators_are_made_put_in_order_and_taken_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |config| {
        let server = config.access.http.entry("main".into()).or_default();
        server.url = "http://127.0.0.1:9/auth".into();
        config.access.authenticators = vec!["http.main".into()];
    })
    .await;
    let admin = &managed.admin;
    let ids = async || -> Vec<String> {
        let told = managed.get(PATH).await.json();
        let told = told.as_array().expect("a list").iter();
        told.map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    };
    let database = json!({ "mechanism": "password_based", "backend": "built_in_database" });
    let made = admin.post(PATH, &database).await;
    assert_eq!((made.status, &made.json()["id"]), (200, &json!("built_in_database")), "{made:?}");
    assert_eq!(admin.post(PATH, &database).await.code(), "ALREADY_EXISTS");
    for wrong in [
        json!({ "mechanism": "password_based", "backend": "nothing" }),
        json!({ "mechanism": "jwt" }),
        json!({ "mechanism": "scram", "backend": "built_in_database", "algorithm": "sha512" }),
        json!({}),
    ] {
        assert_eq!(admin.post(PATH, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(ids().await, ["http:main", "built_in_database"]);

    // EMQX's ids are understood.
    let place = async |id: &str, position: &str| {
        admin.ask("PUT", &format!("{PATH}/{id}/position/{position}"), None).await.status
    };
    assert_eq!(place("password_based:built_in_database", "front").await, 204);
    assert_eq!(ids().await, ["built_in_database", "http:main"]);
    assert_eq!(place("built_in_database", "after:password_based:http").await, 204);
    assert_eq!(ids().await, ["http:main", "built_in_database"]);
    assert_eq!(place("http:main", "rear").await, 204);
    assert_eq!(place("http:main", "before:built_in_database").await, 204);
    assert_eq!(ids().await, ["http:main", "built_in_database"]);
    for (id, position, status) in
        [("http:main", "middle", 400), ("http:main", "before:jwt", 404), ("http:other", "front", 404)]
    {
        assert_eq!(place(id, position).await, status, "{id} {position}");
    }
    let state = managed.get(&format!("{PATH}/password_based:http/status")).await.json();
    assert_eq!((&state["status"], &state["metrics"]["total"]), (&json!("connected"), &json!(0)));

    // Nobody else is asked any more, and it counts at once.
    assert_eq!(admin.delete(&format!("{PATH}/http:main")).await.status, 204);
    assert_eq!(admin.delete(&format!("{PATH}/http:main")).await.status, 404);
    let user = json!({ "user_id": "bob", "password": "secret" });
    assert_eq!(admin.post(&format!("{PATH}/built_in_database/users"), &user).await.status, 201);
    assert_eq!((code(&managed, "bob", "secret").await, code(&managed, "eve", "secret").await), (0, 0x86));
    assert_eq!(admin.delete(&format!("{PATH}/built_in_database")).await.status, 204);
    assert_eq!((ids().await.len(), code(&managed, "eve", "secret").await), (0, 0));
}

#[tokio::test]
async fn topics_are_rewritten_and_clients_subscribed_as_they_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |_| ()).await;
    let (rewrite, subscribe) = ("/api/v5/mqtt/topic_rewrite", "/api/v5/mqtt/auto_subscribe");
    for path in [rewrite, subscribe] {
        assert_eq!(managed.get(path).await.json(), json!([]));
    }
    let rules = json!([{ "action": "publish", "source_topic": "x/#", "re": "^x/(.+)$", "dest_topic": "y/$1" }]);
    let told = managed.admin.put(rewrite, &rules).await;
    assert_eq!((told.status, told.json()), (200, rules.clone()));
    let wanted = json!([{ "topic": "y/${clientid}", "qos": 1, "nl": 1, "rap": 0, "rh": 0 }]);
    let told = managed.admin.put(subscribe, &wanted).await;
    assert_eq!((told.status, told.json()), (200, wanted.clone()));
    for (path, wrong) in [
        (rewrite, json!([{ "action": "publish", "source_topic": "x/#", "re": "(", "dest_topic": "y" }])),
        (rewrite, json!([{ "action": "publish", "source_topic": "x/#", "re": "a" }])),
        (rewrite, json!([{ "action": "look", "source_topic": "x/#", "re": "a", "dest_topic": "y" }])),
        (subscribe, json!([{ "topic": "a", "qos": 3 }])),
        (subscribe, json!([{ "topic": "a", "nl": true }])),
        (subscribe, json!([{ "topic": "a", "quality": 1 }])),
        (subscribe, json!([{ "qos": 1 }])),
        (subscribe, json!({})),
    ] {
        assert_eq!(managed.admin.put(path, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!((managed.get(rewrite).await.json(), managed.get(subscribe).await.json()), (rules, wanted));
    // Both count for who connects from now on.
    let mut client = managed.gateway.client(Version::V5, "c").await;
    let mut other = managed.gateway.client(Version::V5, "other").await;
    other.publish("x/c", "rewritten", 1).await;
    let message = client.expect_message().await;
    assert_eq!((message.topic.as_str(), message.text()), ("y/c", "rewritten"));
}
