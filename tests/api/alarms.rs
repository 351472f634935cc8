//! What somebody should see to is told, wherever one looks.

use serde_json::{Value, json};
use thingway::config::{ListenerKind, OrInfinity, Period};

use crate::{
    Managed,
    common::{Client, Version, gateway::listen_as},
};

async fn alarm(managed: &Managed, name: &str) -> Value {
    loop {
        let told = managed.get("/api/v5/alarms?activated=true&limit=1000").await.json();
        let found = told["data"].as_array().expect("alarms").iter().find(|alarm| alarm["name"] == name).cloned();
        if let Some(found) = found {
            return found;
        }
    }
}

#[tokio::test]
async fn a_full_listener_raises_an_alarm() {
    let managed = Managed::with(|config| {
        config.alarms.check_interval = Period::from_millis(50);
        listen_as(config, ListenerKind::Tcp).max_connections = OrInfinity::Finite(1);
    })
    .await;
    let mut client = managed.gateway.client(Version::V5, "first").await;
    client.subscribe("$SYS/brokers/+/alarms/activate", 0).await;
    let mut events = managed.admin.listen("/api/v5/live?events=alarm").await;
    assert_eq!(managed.get("/api/v5/alarms?activated=maybe").await.status, 400);
    // Whether it is refused before or after it is accepted, it is closed.
    if let Ok(mut second) = Client::try_open(managed.gateway.address, Version::V5).await {
        second.expect_closed().await;
    }
    let name = "listener_full:tcp.default";
    let told = alarm(&managed, name).await;
    assert_eq!((&told["details"]["refused"], &told["deactivate_at"]), (&json!(1), &json!("infinity")));
    assert!(told["activate_at"].is_string() && told["duration"].is_u64() && told["node"].is_string());
    loop {
        let message: Value = serde_json::from_str(client.expect_message().await.text()).expect("JSON");
        if message["name"] == name {
            assert_eq!(message["details"]["listener"], "tcp.default");
            break;
        }
    }
    while events.next("alarm").await.expect("the stream goes on")["name"] != name {}
    assert_eq!(managed.get("/api/v5/alarms?activated=false").await.json()["data"], json!([]));
    assert_eq!(managed.admin.delete("/api/v5/alarms").await.status, 204);
    assert_eq!(alarm(&managed, name).await["name"], name, "one that is not over stays");
}

#[tokio::test]
async fn a_certificate_that_ends_soon_and_a_service_that_is_down_raise_alarms() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = nobody.local_addr().expect("an address");
    drop(nobody);
    let managed = Managed::with(|config| {
        config.gateway.data_dir = folder.path().to_owned();
        config.alarms.check_interval = Period::from_millis(50);
        config.alarms.certificate_ends = Period::from_secs(200 * 365 * 24 * 3600);
        listen_as(config, ListenerKind::Tls);
        let server = config.access.http.entry("main".into()).or_default();
        server.url = format!("http://{closed}/auth");
        server.failures = 1;
        server.rest = Period::from_secs(3600);
        config.access.authenticators = vec!["http.main".into()];
        config.access.allow_anonymous = true;
    })
    .await;
    let told = alarm(&managed, "certificate_ends:tls.default").await;
    assert!(told["message"].as_str().is_some_and(|text| text.contains(" ends in ")), "{told}");
    let mut client = managed.gateway.open(Version::V5).await;
    client.send(&crate::common::Connect::new(Version::V5, "c").username("u").password("p").bytes()).await;
    assert_ne!(client.connack().await.code, 0);
    let told = alarm(&managed, "access_service_down:authentication:http.main").await;
    assert_eq!(told["details"]["service"], "http.main");
    let text = managed.get("/metrics").await.text().to_owned();
    for line in [
        "thingway_access_service_down{service=\"http.main\",role=\"authentication\"} 1",
        "thingway_access_questions_total{service=\"http.main\",role=\"authentication\",outcome=\"failed\"} 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in {text}");
    }

    // Whatever Grafana's dashboard asks for is told by a gateway that has all of it.
    let _here = managed.gateway.client(Version::V5, "here").await;
    assert_eq!(managed.admin.post("/api/v5/mqtt/topic_metrics", &json!({ "topic": "a/b" })).await.status, 200);
    let text = managed.get("/metrics").await.text().to_owned();
    let dashboard = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/thingway.json"));
    let dashboard: Value = serde_json::from_str(&dashboard.expect("it is there")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let asked = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let asked: String = asked.filter_map(|target| target["expr"].as_str()).collect::<Vec<_>>().join("\n");
    let names = asked.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let names: Vec<_> = names.filter(|name| name.starts_with("thingway_") || name.starts_with("emqx_")).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(
            text.lines().any(|told| told.strip_prefix("# TYPE ").and_then(|told| told.split(' ').next()) == Some(name)),
            "{name}"
        );
    }
    // Whoever meets one of the gateway's own names can read what it means.
    for own in text.lines().filter_map(|told| told.strip_prefix("# TYPE thingway_")) {
        let help = format!("# HELP thingway_{} ", own.split(' ').next().unwrap_or_default());
        assert!(text.lines().any(|told| told.len() > help.len() && told.starts_with(&help)), "{help}");
    }

    // Nobody asks it any more.
    let changed = managed.admin.put("/api/v5/configs", &json!({ "access.authenticators": [] })).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    loop {
        let over = managed.get("/api/v5/alarms?activated=false&limit=1000").await.json();
        let mut over = over["data"].as_array().expect("alarms").iter();
        if over.any(|alarm| alarm["name"] == "access_service_down:authentication:http.main") {
            break;
        }
    }
}

#[tokio::test]
async fn prometheus_is_told_of_protocols_topics_and_the_store() {
    let managed = Managed::start().await;
    assert_eq!(managed.admin.without_token().get("/ready").await.status, 200);
    let wish = json!({ "topic": "a/b" });
    assert_eq!(managed.admin.post("/api/v5/mqtt/topic_metrics", &wish).await.status, 200);
    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.publish("a/b", "x", 1).await;
    client.ping().await;
    let text = managed.get("/metrics").await.text().to_owned();
    for line in [
        "thingway_connections{protocol=\"mqtt\"} 1",
        "thingway_store_failing 0",
        "thingway_topic_messages_total{topic=\"a/b\",count=\"messages.in\"} 1",
        "# TYPE thingway_resident_bytes_per_connection gauge",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in {text}");
    }
}

/// A gateway whose certificate ends too soon, and one that has no such listener.
async fn with_certificate(folder: &std::path::Path, has_listener: bool) -> Managed {
    Managed::kept_in(folder, |config| {
        config.alarms.check_interval = Period::from_millis(20);
        config.alarms.certificate_ends = Period::from_secs(200 * 365 * 24 * 3600);
        if has_listener {
            listen_as(config, ListenerKind::Tls);
        }
    })
    .await
}

#[tokio::test]
async fn an_alarm_outlives_a_restart_and_ends_with_what_it_is_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "certificate_ends:tls.default";
    let managed = with_certificate(folder.path(), true).await;
    let before = alarm(&managed, name).await;
    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let managed = with_certificate(folder.path(), true).await;
    let mut client = managed.gateway.client(Version::V5, "c").await;
    client.subscribe("$SYS/brokers/+/alarms/#", 0).await;
    assert_eq!(alarm(&managed, name).await["activate_at"], before["activate_at"], "it goes on");

    let end = async |body: Value| managed.admin.post("/api/v5/alarms/force_deactivate", &body).await;
    for (body, code) in [
        (json!({}), "INVALID_PARAMETER"),
        (json!({ "name": "" }), "INVALID_PARAMETER"),
        (json!({ "name": "no_such" }), "NOT_FOUND"),
    ] {
        let told = end(body).await;
        assert_eq!((told.status, told.code()), (400, code.into()));
    }
    assert_eq!(end(json!({ "name": name })).await.status, 204);
    loop {
        let message = client.expect_message().await;
        let told: Value = serde_json::from_str(message.text()).expect("JSON");
        if told["name"] == name {
            assert!(message.topic.ends_with("/deactivate") && told["deactivate_at"].is_u64(), "{told}");
            break;
        }
    }
    let over = managed.get("/api/v5/alarms?activated=false").await.json();
    assert!(over["data"].as_array().expect("alarms").iter().any(|over| over["activate_at"] == before["activate_at"]));
    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;

    let managed = with_certificate(folder.path(), false).await;
    loop {
        let active = managed.get("/api/v5/alarms").await.json();
        if active["data"].as_array().expect("alarms").iter().all(|alarm| alarm["name"] != name) {
            break;
        }
    }
    let over = managed.get("/api/v5/alarms?activated=false").await.json();
    let over: Vec<_> = over["data"].as_array().expect("alarms").iter().filter(|over| over["name"] == name).collect();
    assert!(over.iter().any(|over| over["activate_at"] == before["activate_at"]), "what is over is remembered");
    assert_eq!(managed.admin.delete("/api/v5/alarms").await.status, 204);
    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let managed = with_certificate(folder.path(), false).await;
    let over = managed.get("/api/v5/alarms?activated=false").await.json();
    assert!(over["data"].as_array().expect("alarms").iter().all(|over| over["name"] != name), "forgotten for good");
}
