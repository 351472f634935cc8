//! What operators do to the gateway itself.

use std::{net::SocketAddr, sync::Arc};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::{
    Managed,
    common::{
        Client, Connect, Version,
        gateway::{listen_as, listen_udp},
    },
};
use thingway::config::{ListenerKind, ListenerProtocol};

#[tokio::test]
async fn a_listener_is_stopped_and_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::with(|config| {
        config.gateway.data_dir = folder.path().into();
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
async fn it_speaks_tls_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::with(|config| {
        config.gateway.data_dir = folder.path().into();
        config.dashboard.tls.enable = true;
        config.dashboard.tls.bind = config.dashboard.bind.clone();
    })
    .await;
    let mut trusted = rustls::RootCertStore::empty();
    let pem = std::fs::read(folder.path().join("certs/self-signed.pem")).expect("a certificate");
    trusted.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("one that can be trusted");
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let address = managed.gateway.gateway().api_tls_address().expect("it is served");
    let connect = || tokio::net::TcpStream::connect(address);
    let stream = connect().await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("it is trusted");
    let request = b"GET /api/v5/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it takes a request");
    let mut told = String::new();
    // Some end the connection without saying so.
    let _ = stream.read_to_string(&mut told).await;
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("thingway is running"), "{told}");

    let mut plain = connect().await.expect("it listens");
    plain.write_all(request).await.expect("it takes bytes");
    let mut told = Vec::new();
    let _ = plain.read_to_end(&mut told).await;
    assert!(!told.starts_with(b"HTTP/1.1 200"), "nothing is told without TLS");
    assert_eq!(managed.get("/api/v5/stats").await.status, 200);
}

#[tokio::test]
async fn messages_that_wait_are_listed_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || Managed::kept_in(folder.path(), |_| {});
    let managed = start().await;
    let mut client = managed.gateway.client(Version::V5, "c").await;
    for (topic, payload) in [("$delayed/300/later", "two"), ("$delayed/100/sooner", "one")] {
        client.publish(topic, payload, 1).await;
    }
    let told = managed.get("/api/v5/mqtt/delayed/messages").await.json();
    let rows = told["data"].as_array().expect("rows");
    let topics: Vec<_> = rows.iter().map(|row| row["topic"].as_str().expect("a topic")).collect();
    assert_eq!((topics, &rows[0]["delayed_interval"]), (vec!["sooner", "later"], &json!(100)));
    let path = |row: &Value| {
        let (node, id) = (row["node"].as_str().expect("a node"), row["msgid"].as_str().expect("an id"));
        format!("/api/v5/mqtt/delayed/messages/{node}/{id}")
    };
    let (sooner, later) = (path(&rows[0]), path(&rows[1]));
    assert_eq!(managed.get(&later).await.json()["payload"], "dHdv");
    assert_eq!(managed.admin.delete(&sooner).await.status, 204);
    let told = managed.admin.delete(&sooner).await;
    assert_eq!((told.status, told.code()), (404, "MESSAGE_ID_NOT_FOUND".into()));
    assert_eq!(managed.get("/api/v5/mqtt/delayed/messages/thingway/x").await.code(), "MESSAGE_ID_SCHEMA_ERROR");
    assert_eq!(managed.get("/api/v5/mqtt/delayed").await.json()["enable"], true);
    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let managed = start().await;
    let told = managed.get("/api/v5/mqtt/delayed/messages").await.json();
    assert_eq!((&told["meta"]["count"], &told["data"][0]["topic"]), (&json!(1), &json!("later")));
}

#[tokio::test]
async fn protocols_beside_mqtt_are_listed() {
    let managed = Managed::with(|config| {
        listen_udp(config, ListenerProtocol::Coap);
    })
    .await;
    let told = managed.get("/api/v5/gateways").await.json();
    let status = |name: &str| {
        let found = told.as_array().expect("a list").iter().find(|one| one["name"] == name);
        found.map(|one| one["status"].as_str().expect("a status").to_owned())
    };
    assert_eq!((status("coap").as_deref(), status("mqttsn").as_deref()), (Some("running"), Some("unloaded")));
    assert_eq!(managed.get("/api/v5/gateways/coap").await.json()["listeners"][0]["id"], "coap:udp:coap");
    assert_eq!(managed.get("/api/v5/gateways/x").await.code(), "RESOURCE_NOT_FOUND");
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
    let start = || Managed::kept_in(folder.path(), |_| {});
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
