//! What is seen of the gateway while clients use it.

use serde_json::{Value, json};
use thingway::config::{Bind, ListenerProtocol, StoreDurability};

use crate::{
    Managed,
    common::{Connect, TestGateway, Version, gateway::listen_udp},
    http::{Caller, Events},
};

async fn client_event(events: &mut Events, what: &str) -> Value {
    loop {
        let told = events.next("client").await.expect("the stream goes on");
        if told["event"] == what {
            return told;
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let managed = Managed::with(|config| {
        listen_udp(config, ListenerProtocol::Coap);
    })
    .await;
    let mut events = managed.admin.listen("/api/v5/live").await;
    let first = events.next("monitor").await.expect("at once");
    assert_eq!((&first["live_connections"], first["memory_used"].as_u64() > Some(0)), (&json!(0), true));
    let connect = Connect::new(Version::V5, "dev").username("bob");
    let (mut client, _) = managed.gateway.connect(&connect).await;
    let told = client_event(&mut events, "connected").await;
    for (field, expected) in [
        ("clientid", json!("dev")),
        ("username", json!("bob")),
        ("protocol", json!("mqtt")),
        ("ip_address", json!("127.0.0.1")),
    ] {
        assert_eq!(told[field], expected, "{field}");
    }
    assert!(told["ts"].as_u64() > Some(1_600_000_000_000));
    client.subscribe("a/+", 1).await;
    let told = client_event(&mut events, "subscribed").await;
    assert_eq!((&told["topic"], &told["username"]), (&json!("a/+"), &json!("bob")));
    client.unsubscribe(&["a/+"]).await;
    assert_eq!(client_event(&mut events, "unsubscribed").await["topic"], "a/+");
    while events.next("monitor").await.expect("each second")["protocols"] != json!({ "mqtt": 1 }) {}
    client.disconnect().await;
    assert_eq!(client_event(&mut events, "disconnected").await["reason"], "normal");
    while events.next("monitor").await.expect("each second")["protocols"] != json!({ "mqtt": 0 }) {}
}

#[tokio::test]
async fn a_stream_tells_what_was_asked_for_and_ends_with_its_login() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    assert_eq!(admin.get("/api/v5/live?events=gossip").await.status, 400);
    let viewer = json!({ "username": "looker", "password": "looking glass", "role": "viewer" });
    assert_eq!(admin.post("/api/v5/users", &viewer).await.status, 200);
    let viewer = admin.log_in("looker", "looking glass").await;
    let mut monitor = viewer.listen("/api/v5/live?events=monitor").await;
    let mut streams = Vec::new();
    for _ in 1..64 {
        streams.push(admin.listen("/api/v5/live?events=client,alarm").await);
    }
    assert_eq!(admin.get("/api/v5/live").await.status, 503, "64 are open");
    assert!(monitor.next("monitor").await.is_some());
    assert_eq!(admin.delete("/api/v5/users/looker").await.status, 204);
    while monitor.next("monitor").await.is_some() {}
    drop(streams);
}

async fn first_row(admin: &Caller) -> Value {
    loop {
        let told = admin.get("/api/v5/monitor?latest=3600").await;
        assert_eq!(told.status, 200, "{told:?}");
        if let Some(row) = told.json().as_array().and_then(|rows| rows.first()).cloned() {
            return row;
        }
    }
}

#[tokio::test]
async fn history_survives_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = async || {
        TestGateway::with(|config| {
            config.gateway.data_dir = folder.path().to_owned();
            config.store.durability = StoreDurability::Os;
            config.dashboard.enable = true;
            config.dashboard.bind = Bind::Address("127.0.0.1:0".parse().expect("an address"));
            config.dashboard.first_password = crate::PASSWORD.into();
        })
        .await
    };
    let log_in = async |gateway: &TestGateway| {
        Caller::stranger(gateway.gateway().api_address().expect("it is served")).log_in("admin", crate::PASSWORD).await
    };
    let gateway = start().await;
    let admin = log_in(&gateway).await;
    let row = first_row(&admin).await;
    for field in [
        "time_stamp",
        "received",
        "sent",
        "dropped",
        "connections",
        "live_connections",
        "topics",
        "subscriptions",
        "retained",
        "memory_used",
        "received_bytes",
        "sent_bytes",
        "interval",
    ] {
        assert!(row[field].is_u64(), "{field}: {row}");
    }
    assert!(row["protocols"].is_object());
    let node = admin.get("/api/v5/nodes").await.json()[0]["node"].as_str().expect("a name").to_owned();
    assert_eq!(admin.get(&format!("/api/v5/monitor/nodes/{node}?latest=3600")).await.json()[0], row);
    assert_eq!(admin.get("/api/v5/monitor?latest=soon").await.status, 400);
    gateway.into_gateway().drain(std::time::Duration::ZERO).await;
    let gateway = start().await;
    let told = first_row(&log_in(&gateway).await).await;
    assert_eq!(told["time_stamp"], row["time_stamp"], "it goes on where it was");
}
