//! What is no request, or none of those that there are.

use serde_json::json;

use crate::Managed;

#[tokio::test]
async fn what_is_no_request_is_refused_and_nothing_breaks() {
    let managed = Managed::start().await;
    let admin = &managed.admin;
    for bytes in [&b"hello\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n"] {
        assert_eq!(admin.raw(bytes).await.status, 400);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "x".repeat(100_000));
    assert!([400, 414, 431].contains(&admin.raw(long.as_bytes()).await.status));
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(admin.raw(format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()).await.status, 431);
    for body in ["", "{", "[]", "7", "null", "\"x\"", "{\"topic\":7}", "{\"topic\":\"a\",\"properties\":7}"] {
        let told = admin.ask("POST", "/api/v5/publish", Some(body)).await;
        assert_eq!((told.status, told.code()), (400, "BAD_REQUEST".into()), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(admin.ask("POST", "/api/v5/publish", Some(&deep)).await.status, 400);
    let large = json!({ "topic": "a", "payload": "x".repeat(5 << 20) }).to_string();
    assert_eq!(admin.ask("POST", "/api/v5/publish", Some(&large)).await.status, 413);
    assert_eq!(admin.ask("PATCH", "/api/v5/clients", None).await.status, 405);
    assert_eq!(admin.get("/api/v5/clients/%FF").await.status, 400);
    assert_eq!(admin.get("/api/v5/stats").await.status, 200);
}

#[tokio::test]
async fn whatever_stands_in_a_query_or_a_path_is_answered() {
    let managed = Managed::start().await;
    let values = [
        "",
        "%00",
        "%FF",
        "-1",
        "99999999999999999999",
        "%7B%22%24ne%22%3Anull%7D",
        "%27%20OR%201%3D1",
        "..%2F..",
        "%23",
        "💧",
    ];
    let names = [
        "page",
        "limit",
        "clientid",
        "like_clientid",
        "conn_state",
        "qos",
        "topic",
        "match_topic",
        "proto_ver",
        "aggregate",
        "cursor",
        "fields",
        "q",
        "username",
        "like_username",
        "ip_address",
        "proto_name",
        "share_group",
    ];
    for value in values {
        let value: String =
            value.chars().map(|c| if c.is_ascii() { c.to_string() } else { "%F0%9F%92%A7".into() }).collect();
        for path in ["clients", "clients_v2", "subscriptions", "topics", "mqtt/retainer/messages", "banned", "stats"] {
            for name in names {
                let status = managed.get(&format!("/api/v5/{path}?{name}={value}")).await.status;
                assert!(status < 500, "{path}?{name}={value}: {status}");
            }
        }
        for path in ["clients", "topics", "listeners", "nodes", "mqtt/retainer/message", "api_key"] {
            let status = managed.get(&format!("/api/v5/{path}/{value}")).await.status;
            assert!(status < 500, "{path}/{value}: {status}");
        }
    }
}
