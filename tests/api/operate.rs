//! What operators do to the gateway itself.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    Managed,
    common::{Client, Connect, Version, gateway::listen_as},
};
use thingway::config::ListenerKind;

#[tokio::test]
async fn a_listener_is_stopped_and_started_again() {
    let managed = Managed::with(|config| {
        listen_as(config, ListenerKind::Tls);
        listen_as(config, ListenerKind::Ws).enable = false;
    })
    .await;
    let mut client = managed.gateway.client(Version::V5, "c").await;
    let find = async |id: &str| managed.get(&format!("/api/v5/listeners/{id}")).await.json();
    let told = find("tcp:default").await;
    assert_eq!((&told["running"], &told["status"]["current_connections"]), (&json!(true), &json!(1)));
    let ask = async |id: &str, what: &str| {
        let told = managed.admin.post(&format!("/api/v5/listeners/{id}/{what}"), &json!({})).await;
        assert_eq!(told.status, 200, "{what}: {told:?}");
        told.json()
    };
    let told = ask("tcp:default", "stop").await;
    assert_eq!((&told["running"], &told["enable"]), (&json!(false), &json!(true)));
    client.expect_disconnected(&[0x98]).await;
    assert!(tokio::net::TcpStream::connect(managed.gateway.address).await.is_err(), "nobody listens");
    ask("tcp:default", "stop").await;
    let address = async |told: &Value| told["bind"].as_str().expect("an address").parse::<SocketAddr>();
    for what in ["start", "start", "restart"] {
        let told = ask("tcp:default", what).await;
        let address = address(&told).await.expect("an address");
        let (client, _) = Client::connect(address, &Connect::new(Version::V5, what)).await;
        drop(client);
    }
    let told = find("ws:default").await;
    assert_eq!((&told["running"], &told["enable"], &told["path"]), (&json!(false), &json!(false), &json!("/mqtt")));
    assert_eq!(ask("ws:default", "start").await["running"], true);
    let certificate = &find("tls:default").await["certificate"];
    assert!(certificate["subject"].as_str().is_some_and(|name| name.contains("Thingway")), "{certificate}");
    assert!(certificate["names"].as_array().is_some_and(|names| names.contains(&json!("localhost"))), "{certificate}");
    let told = managed.admin.post("/api/v5/listeners/tcp:none/start", &json!({})).await;
    assert_eq!((told.status, told.code()), (404, "BAD_LISTENER_ID".into()));
    let metrics = managed.get("/metrics").await;
    let metrics = metrics.text();
    assert!(metrics.contains("emqx_cert_expiry_at{listener_type=\"tls\",listener_name=\"default\"} "), "{metrics}");
}

#[tokio::test]
async fn a_listener_that_cannot_start_says_why() {
    let managed = Managed::with(|config| {
        let listener = listen_as(config, ListenerKind::Tls);
        listener.enable = false;
        listener.tls.certificate = "/nowhere/certificate.pem".into();
        listener.tls.key = "/nowhere/key.pem".into();
    })
    .await;
    let told = managed.admin.post("/api/v5/listeners/tls:default/start", &json!({})).await;
    assert_eq!((told.status, told.code()), (400, "BAD_REQUEST".into()));
    let told = managed.get("/api/v5/listeners/tls:default").await.json();
    assert!(told["failure"].as_str().is_some_and(|text| text.contains("/nowhere/")), "{told}");
    assert_eq!(told["running"], false);
}

#[tokio::test]
async fn who_changed_what_is_told_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = async || {
        Managed::with(|config| {
            config.gateway.data_dir = folder.path().into();
            config.store.durability = thingway::config::StoreDurability::Os;
        })
        .await
    };
    let managed = start().await;
    assert_eq!(managed.admin.post("/api/v5/publish", &json!({ "topic": "a" })).await.status, 202);
    assert_eq!(managed.admin.delete("/api/v5/clients/nobody").await.status, 404);
    let made = managed.admin.post("/api/v5/api_key", &json!({ "name": "robot" })).await.json();
    let secret = made["api_secret"].as_str().expect("a secret");
    let key = managed.admin.with_key(made["api_key"].as_str().expect("a key"), secret);
    assert_eq!(key.post("/api/v5/publish", &json!({ "topic": "a/b" })).await.status, 202);
    let told = managed.get("/api/v5/audit").await;
    assert!(!told.text().contains(secret));
    let rows = told.json()["data"].as_array().expect("rows").clone();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["source"].as_str(),
                row["from"].as_str(),
                row["operation_id"].as_str(),
                row["http_status_code"].as_u64(),
            )
        })
        .collect();
    let (admin, robot) = ((Some("admin"), Some("dashboard")), (Some("robot"), Some("rest_api")));
    let row = |(name, from), path, status| (name, from, Some(path), Some(status));
    let expected = [
        row(robot, "/publish", 202),
        row(admin, "/api_key", 200),
        row(admin, "/clients/nobody", 404),
        row(admin, "/publish", 202),
        row(admin, "/login", 200),
    ];
    assert_eq!(seen, expected);
    let count = async |managed: &Managed, query: &str| {
        managed.get(&format!("/api/v5/audit?{query}")).await.json()["meta"]["count"].as_u64()
    };
    assert_eq!(count(&managed, "source=robot").await, Some(1));
    assert_eq!(count(&managed, "operation_result=failure").await, Some(1));
    assert_eq!(count(&managed, "http_method=delete").await, Some(1));
    assert_eq!(managed.get("/api/v5/audit?operation_result=x").await.status, 400);
    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let managed = start().await;
    assert_eq!(count(&managed, "").await, Some(6), "five from before, and this login");
}
