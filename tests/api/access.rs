//! Who may ask what.

use serde_json::json;
use thingway::config::Security;

use crate::{
    Managed, PASSWORD,
    described::{Operation, operations},
    http::{Answer, Caller},
};

/// Asks for something that is not there, so that nothing changes.
async fn ask(caller: &Caller, operation: &Operation) -> Answer {
    caller.ask(&operation.method, &operation.path_of("x"), operation.has_body.then_some("{}")).await
}

#[tokio::test]
async fn each_role_may_what_it_may_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::with(|config| config.gateway.data_dir = folder.path().into()).await;
    let admin = &managed.admin;
    let new = json!({ "username": "looker", "password": "looking glass", "role": "viewer" });
    assert_eq!(admin.post("/api/v5/users", &new).await.status, 200);
    let viewer = admin.log_in("looker", "looking glass").await;
    let key = async |name: &str, role: &str| {
        let made = admin.post("/api/v5/api_key", &json!({ "name": name, "role": role })).await.json();
        admin.with_key(made["api_key"].as_str().expect("a key"), made["api_secret"].as_str().expect("a secret"))
    };
    let (key, viewing_key) = (key("k", "administrator").await, key("v", "viewer").await);
    let guess = admin.with_token("guess");
    let wrong_key = admin.with_key("k", "guess");
    for operation in operations(admin).await {
        let Operation { method, path, .. } = &operation;
        if path == "/logout" {
            continue;
        }
        let looks = method == "GET" && !path.starts_with("/data/");
        let manages = path.starts_with("/users") || path.starts_with("/api_key");
        for stranger in [&admin.without_token(), &guess, &wrong_key] {
            let status = ask(stranger, &operation).await.status;
            assert_eq!(status == 401, !operation.open, "{method} {path}: {status}");
        }
        for (caller, may) in [(admin, true), (&viewer, looks), (&key, !manages), (&viewing_key, looks && !manages)] {
            let status = ask(caller, &operation).await.status;
            assert!(status < 500, "{method} {path}: {status}");
            assert_eq!(status != 403 && status != 401, may || operation.open, "{method} {path}: {status}");
        }
    }
    assert_eq!(viewer.post("/api/v5/logout", &json!({})).await.status, 204);
    assert_eq!(viewer.get("/api/v5/stats").await.status, 401);
}

#[tokio::test]
async fn accounts_and_keys_come_and_go() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    let bob = json!({ "username": "bob", "password": "bobs password", "role": "administrator", "description": "d" });
    assert_eq!(admin.post("/api/v5/users", &bob).await.status, 200);
    let again = admin.post("/api/v5/users", &bob).await;
    assert_eq!((again.status, again.code()), (409, "ALREADY_EXISTS".into()));
    for wrong in [
        json!({ "username": "a/b", "password": "long enough" }),
        json!({ "username": "", "password": "long enough" }),
        json!({ "username": "short", "password": "short" }),
        json!({ "username": "role", "password": "long enough", "role": "king" }),
        json!({ "username": 7, "password": "long enough" }),
        json!([]),
    ] {
        let told = admin.post("/api/v5/users", &wrong).await;
        assert_eq!((told.status, told.code()), (400, "BAD_REQUEST".into()), "{wrong}");
    }
    let told = admin.get("/api/v5/users").await;
    assert!(!told.text().contains("argon2"), "nothing of the password is told");
    let as_bob = admin.log_in("bob", "bobs password").await;
    assert_eq!(as_bob.put("/api/v5/users/admin", &json!({ "role": "viewer" })).await.status, 200);
    assert_eq!(as_bob.put("/api/v5/users/bob", &json!({ "role": "viewer" })).await.status, 400, "the last one");
    assert_eq!(as_bob.delete("/api/v5/users/bob").await.status, 400, "oneself");
    assert_eq!(as_bob.delete("/api/v5/users/admin").await.status, 204);
    assert_eq!(admin.get("/api/v5/stats").await.status, 401, "its logins end");
    assert_eq!(as_bob.delete("/api/v5/users/admin").await.code(), "USER_NOT_FOUND");

    let made = as_bob.post("/api/v5/api_key", &json!({ "name": "k", "expired_at": 1 })).await.json();
    assert_eq!(made["expired"], true);
    let key = as_bob.with_key(made["api_key"].as_str().expect("a key"), made["api_secret"].as_str().expect("a secret"));
    assert_eq!(key.get("/api/v5/stats").await.code(), "BAD_API_KEY_OR_SECRET");
    let change = json!({ "expired_at": "infinity", "desc": "d" });
    assert_eq!(as_bob.put("/api/v5/api_key/k", &change).await.json()["expired_at"], "infinity");
    assert_eq!(key.get("/api/v5/stats").await.status, 200);
    assert_eq!(as_bob.put("/api/v5/api_key/k", &json!({ "enable": false })).await.status, 200);
    assert_eq!(key.get("/api/v5/stats").await.status, 401);
    assert!(!as_bob.get("/api/v5/api_key").await.text().contains("secret"));
    assert_eq!(as_bob.delete("/api/v5/api_key/k").await.status, 204);
    assert_eq!(as_bob.get("/api/v5/api_key/k").await.status, 404);
}

#[tokio::test]
async fn guessing_is_stopped() {
    let managed = Managed::start().await;
    let stranger = managed.admin.without_token();
    let shown = |name: &str, password: &str| json!({ "username": name, "password": password });
    for _ in 0..5 {
        let told = stranger.post("/api/v5/login", &shown("admin", "wrong")).await;
        assert_eq!((told.status, told.code()), (401, "BAD_USERNAME_OR_PWD".into()));
    }
    for name in ["admin", "other"] {
        let told = stranger.post("/api/v5/login", &shown(name, PASSWORD)).await;
        assert_eq!((told.status, told.code()), (401, "LOGIN_LOCKED".into()), "{name}");
    }
    assert_eq!(managed.get("/api/v5/stats").await.status, 200, "who is logged in stays");
}

#[tokio::test]
async fn what_is_kept_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = async || {
        Managed::with(|config| {
            config.gateway.data_dir = folder.path().into();
            config.store.durability = thingway::config::StoreDurability::Os;
            config.gateway.security = Security::Open;
        })
        .await
    };
    let managed = start().await;
    let change = json!({ "old_pwd": PASSWORD, "new_pwd": "another password" });
    assert_eq!(managed.admin.post("/api/v5/users/admin/change_pwd", &change).await.status, 204);
    let admin = managed.admin.log_in("admin", "another password").await;
    let ban = json!({ "as": "clientid", "who": "x", "reason": "r" });
    assert_eq!(admin.post("/api/v5/banned", &ban).await.status, 200);
    managed.gateway.into_gateway().drain(std::time::Duration::from_secs(5)).await;
    let gateway = crate::TestGateway::with(|config| {
        config.dashboard.enable = true;
        config.dashboard.bind = thingway::config::Bind::Address("127.0.0.1:0".parse().expect("an address"));
        config.dashboard.tls.enable = false;
        config.gateway.data_dir = folder.path().into();
        config.store.durability = thingway::config::StoreDurability::Os;
    })
    .await;
    let admin = Caller::stranger(gateway.gateway().api_address().expect("it is served"));
    let admin = admin.log_in("admin", "another password").await;
    assert_eq!(admin.get("/api/v5/banned").await.json()["data"][0]["who"], "x");
}
