//! The management interface, as scripts and browsers use it: a gateway in this process, and HTTP over a socket.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod alarms;
mod assets;
mod authorization;
mod chain;
mod data;
mod described;
mod door;
mod http;
mod line;
mod listing;
mod names;
mod observe;
mod operate;
mod properties;
mod scripts;
mod settings;
mod shapes;
mod sources;
#[cfg(feature = "opentelemetry")]
mod telemetry;
#[path = "../clients/tools.rs"]
#[allow(dead_code, reason = "other tests need other tools")]
mod tools;
mod work;

use std::path::Path;

use common::TestGateway;
use http::{Answer, Caller};
use serde_json::json;
use thingway::config::{Bind, Config, StoreDurability};

/// A gateway with its interface, and somebody who may do everything.
struct Managed {
    gateway: TestGateway,
    admin: Caller,
}

const PASSWORD: &str = "correct horse";

impl Managed {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let gateway = TestGateway::with(|config| {
            config.dashboard.enable = true;
            config.dashboard.bind = Bind::Address("127.0.0.1:0".parse().expect("an address"));
            config.dashboard.tls.enable = false;
            config.dashboard.first_password = PASSWORD.into();
            config.sys_topics.enable = false;
            change(config);
        })
        .await;
        let admin = Caller::stranger(gateway.gateway().api_address().expect("it is served"));
        let admin = admin.log_in("admin", PASSWORD).await;
        Self { gateway, admin }
    }

    /// One that keeps its things in a folder, for another to go on with.
    async fn kept_in(folder: &Path, change: impl FnOnce(&mut Config)) -> Self {
        Self::with(|config| {
            config.gateway.data_dir = folder.into();
            config.store.durability = StoreDurability::Os;
            change(config);
        })
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.admin.get(path).await
    }
}

#[tokio::test]
async fn the_way_of_a_first_start() {
    let gateway = TestGateway::with(|config| {
        config.dashboard.enable = true;
        config.dashboard.bind = Bind::Address("127.0.0.1:0".parse().expect("an address"));
        config.dashboard.tls.enable = false;
    })
    .await;
    let stranger = Caller::stranger(gateway.gateway().api_address().expect("it is served"));
    assert_eq!(stranger.get("/api/v5/clients").await.status, 401);
    let told = stranger.post("/api/v5/login", &json!({ "username": "admin", "password": "public" })).await;
    assert_eq!((told.status, told.json()["must_change_password"].as_bool()), (200, Some(true)));
    let admin = stranger.log_in("admin", "public").await;
    assert_eq!(admin.get("/api/v5/stats").await.status, 200, "it may look");
    for (answer, what) in [
        (admin.post("/api/v5/publish", &json!({ "topic": "a" })).await, "publish"),
        (admin.delete("/api/v5/clients/x").await, "kick"),
        (admin.get("/api/v5/users").await, "see accounts"),
        (admin.post("/api/v5/api_key", &json!({ "name": "k" })).await, "make keys"),
    ] {
        assert_eq!((answer.status, answer.code()), (403, "PASSWORD_EXPIRED".into()), "{what}");
    }
    let change = |old: &str, new: &str| json!({ "old_pwd": old, "new_pwd": new });
    let path = "/api/v5/users/admin/change_pwd";
    assert_eq!(admin.post(path, &change("wrong", PASSWORD)).await.status, 400);
    assert_eq!(admin.post(path, &change("public", "short")).await.status, 400);
    assert_eq!(admin.post(path, &change("public", PASSWORD)).await.status, 204);
    assert_eq!(admin.get("/api/v5/stats").await.status, 401, "logins from before have ended");
    let admin = stranger.log_in("admin", PASSWORD).await;
    assert_eq!(admin.post("/api/v5/publish", &json!({ "topic": "a" })).await.status, 202);
    assert_eq!(admin.get("/api/v5/users").await.json()[0]["must_change_password"], false);
}

#[tokio::test]
async fn a_load_balancer_asks_how_it_is() {
    let managed = Managed::start().await;
    let stranger = managed.admin.without_token();
    let told = stranger.get("/api/v5/status").await;
    assert_eq!((told.status, told.text().contains("thingway is running")), (200, true));
    assert_eq!(stranger.get("/status?format=json").await.json()["app_status"], "running");
    assert_eq!(stranger.get("/").await.status, 200);
    assert_eq!((stranger.get("/nowhere").await.status, stranger.get("/api/v5/nowhere").await.status), (404, 404));
    for path in ["/", "/api/v5/status", "/api/v5/clients", "/nowhere"] {
        let answer = stranger.get(path).await;
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    }
}
