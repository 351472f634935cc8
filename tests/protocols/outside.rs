//! Web servers and tokens say who may come in, and what they may do: through the whole gateway. The rows of `docs/security.md` name these tests.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};
use thingway::{
    bus::Counter,
    config::{AccessHttp, AccessJwt, Config, Period, SecretText, Texts, WhenDown},
};

use crate::{
    common::{Client, Connect, TestGateway, Version, wire},
    gateway_with,
    web::{Asked, Web},
};

const SECRET: &str = "a secret of more than sixteen bytes";

fn credentials(client_id: &str, username: &str, password: &str) -> Connect {
    Connect {
        username: Some(username.into()),
        password: Some(password.as_bytes().to_vec()),
        ..Connect::new(Version::V5, client_id)
    }
}

/// The code of the CONNACK.
async fn connack(gateway: &TestGateway, connect: &Connect) -> u8 {
    let mut client = gateway.open(Version::V5).await;
    client.send(&connect.bytes()).await;
    client.connack().await.code
}

fn server(web: &Web, path: &str, fields: Texts) -> AccessHttp {
    AccessHttp { url: format!("http://{}{path}", web.address), fields, ..AccessHttp::default() }
}

fn ask_who(config: &mut Config, server: AccessHttp) {
    config.access.authenticators = vec!["http.main".into()];
    config.access.backoff.enable = false;
    config.access.http = BTreeMap::from([("main".into(), server)]);
}

/// What a server says of those it knows.
fn judge(asked: &Asked) -> (u16, String) {
    let shown = asked.json();
    let reply = match (shown["username"].as_str(), shown["password"].as_str()) {
        (Some("bob"), Some("secret")) => json!({
            "result": "allow",
            "client_attrs": { "site": "north" },
            "acl": [{ "permission": "allow", "action": "all", "topic": "site/${client_attrs.site}/#" }],
        }),
        (Some("root"), Some("toor")) => json!({ "result": "allow", "is_superuser": true }),
        (Some("old"), _) => json!({ "result": "allow", "expire_at": 1 }),
        (Some("odd"), _) => json!({ "result": "allow", "acl": [{ "permission": "allow" }] }),
        (Some("eve"), _) => json!({ "result": "deny" }),
        (Some("list"), _) => json!(["allow"]),
        (Some("yes"), _) => json!({ "result": true }),
        _ => json!({ "result": "ignore" }),
    };
    (200, reply.to_string())
}

#[tokio::test]
async fn a_web_server_says_who_may_come_in() {
    let web = Web::start(judge).await;
    let fields = [("username", "${username}"), ("password", "${password}"), ("clientid", "${clientid}")];
    let gateway = gateway_with(|config| {
        let server = AccessHttp {
            headers: [("x-from", "${peerhost}")].into(),
            authorization: SecretText::from("Bearer of news"),
            ..server(&web, "/auth?l=${listener}", fields.into())
        };
        ask_who(config, server);
    })
    .await;
    let (mut bob, told) = gateway.connect(&credentials("c", "bob", "secret")).await;
    assert_eq!(told.code, 0);
    let asked = web.take_asked();
    let [first] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(first.line, "POST /auth?l=tcp.default");
    assert_eq!(first.json(), json!({ "username": "bob", "password": "secret", "clientid": "c" }));
    assert!(first.head.contains("authorization: Bearer of news") && first.head.contains("x-from: 127.0.0.1"));
    assert_eq!(bob.subscribe_all(&[("site/north/x", 0), ("site/south/x", 0), ("#", 0)], &[]).await, [0, 0x87, 0x87]);
    let (mut root, told) = gateway.connect(&credentials("r", "root", "toor")).await;
    assert_eq!((told.code, root.subscribe("#", 0).await), (0, 0));
    for (username, password, expected) in [
        ("bob", "wrong", 0x86),
        ("nobody", "x", 0x86),
        ("eve", "x", 0x86),
        ("old", "x", 0x87),
        ("odd", "x", 0x88),
        ("list", "x", 0x88),
        ("yes", "x", 0x88),
    ] {
        assert_eq!(connack(&gateway, &credentials("x", username, password)).await, expected, "{username}");
    }
    // The same question is answered from memory, another is asked.
    drop(web.take_asked());
    assert_eq!(connack(&gateway, &credentials("r", "root", "toor")).await, 0);
    assert_eq!(web.take_asked().len(), 0);
    assert_eq!(connack(&gateway, &credentials("other", "root", "toor")).await, 0);
    assert_eq!(web.take_asked().len(), 1);
}

#[tokio::test]
async fn what_clients_show_stays_where_it_belongs() {
    let web = Web::start(|_| (204, String::new())).await;
    let fields = [("name", "${username}"), ("id", "${clientid}")];
    let gateway = gateway_with(|config| {
        let server =
            AccessHttp { headers: [("x-user", "${username}")].into(), ..server(&web, "/u/${clientid}", fields.into()) };
        ask_who(config, server);
    })
    .await;
    let evil = r#"x","admin":"true&a=b%2e#${password}"#;
    assert_eq!(connack(&gateway, &credentials("../../admin?x=", evil, "p")).await, 0);
    let asked = web.take_asked();
    let [one] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(one.line, "POST /u/..%2F..%2Fadmin%3Fx%3D");
    assert_eq!(one.json(), json!({ "name": evil, "id": "../../admin?x=" }));
    assert!(one.head.contains(&format!("x-user: {evil}")), "{}", one.head);
    // A segment that leads elsewhere, and a header in a header: such clients are refused, and nobody is asked.
    for connect in
        [credentials("..", "bob", "p"), credentials("c", "bob\r\nx-admin: true", "p"), credentials("c", "a\tb", "p")]
    {
        let mut client = gateway.open(Version::V5).await;
        client.send(&connect.bytes()).await;
        client.expect_refused(None, &[0x86]).await;
    }
    assert_eq!(web.take_asked().len(), 0);
    let mut binary = credentials("c", "bob", "");
    binary.password = Some(vec![0xff, 0xfe]);
    assert_eq!(connack(&gateway, &binary).await, 0, "the password is not asked about");
}

#[tokio::test]
async fn a_web_server_that_fails_lets_nobody_in_unless_it_may_be_ignored() {
    let web = Web::start(|_| (500, String::new())).await;
    let fields: Texts = [("username", "${username}")].into();
    let strict = AccessHttp { failures: 3, rest: Period::from_secs(3600), ..server(&web, "/", fields.clone()) };
    let gateway = gateway_with(|config| ask_who(config, strict.clone())).await;
    for _ in 0..5 {
        assert_eq!(connack(&gateway, &credentials("c", "bob", "x")).await, 0x88);
    }
    assert_eq!(web.take_asked().len(), 3, "then it is left alone");
    let counters = gateway.gateway().bus().counters();
    assert_eq!(counters.total(Counter::AuthenticationUnavailable), 5);
    drop(gateway);
    let gateway = gateway_with(|config| {
        ask_who(config, AccessHttp { when_down: WhenDown::Ignore, ..strict });
        config.access.authenticators.push("jwt.main".into());
        config.access.jwt = BTreeMap::from([("main".into(), tokens())]);
    })
    .await;
    assert_eq!(connack(&gateway, &credentials("c", "bob", &token(&json!({})))).await, 0, "the next one knows");
    assert_eq!(connack(&gateway, &credentials("c", "bob", "x")).await, 0x86);
    assert_eq!(web.take_asked().len(), 2);
}

#[tokio::test]
async fn a_web_server_says_what_clients_may_do() {
    let web = Web::start(|asked| {
        let query = asked.line.rsplit('?').next().unwrap_or_default();
        match query {
            q if q.contains("topic=yes%2F%2B&action=subscribe") => (200, r#"{"result":"allow"}"#.into()),
            q if q.contains("topic=yes&action=publish&qos=1") => (204, String::new()),
            q if q.contains("topic=no") => (200, r#"{"result":"deny"}"#.into()),
            q if q.contains("topic=down") => (503, String::new()),
            q if q.contains("topic=odd") => (200, "yes".into()),
            _ => (404, String::new()),
        }
    })
    .await;
    let query = "/may?u=${username}&topic=${topic}&action=${action}&qos=${qos}";
    let gateway = gateway_with(|config| {
        config.access.sources = vec!["http.rules".into()];
        let server = AccessHttp {
            method: thingway::config::HttpMethod::Get,
            failures: 1000,
            ..server(&web, query, Texts::default())
        };
        config.access.http = BTreeMap::from([("rules".into(), server)]);
    })
    .await;
    let (mut client, _) = gateway.connect(&credentials("c", "bob", "x")).await;
    let wanted = [("yes/+", 0), ("no", 0), ("down", 0), ("odd", 0), ("unknown", 0)];
    assert_eq!(client.subscribe_all(&wanted, &[]).await, [0, 0x87, 0x87, 0x87, 0x87]);
    let asked = web.take_asked();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|asked| asked.line.starts_with("GET /may?u=bob&topic=")), "{asked:?}");
    for (topic, expected) in [("yes", 0x10), ("no", 0x87), ("yes", 0x10)] {
        client.send(&wire::publish(Version::V5, topic, b"x", 1, 9, &[])).await;
        assert_eq!(client.puback(9).await.code, expected, "{topic}");
    }
    assert_eq!(web.take_asked().len(), 2, "what was decided holds for a while");
    web.answer(|_| (204, String::new()));
    let (mut other, _) = gateway.connect(&credentials("d", "eve", "x")).await;
    assert_eq!(other.subscribe("no", 0).await, 0, "for another it is asked anew");
}

fn tokens() -> AccessJwt {
    AccessJwt { secret: SecretText::from(SECRET), ..AccessJwt::default() }
}

fn token(claims: &Value) -> String {
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(json!({ "alg": "HS256" })), encode(claims.clone()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn unix_secs() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[tokio::test]
async fn tokens_let_in_and_say_what_may_be_done() {
    let gateway = gateway_with(|config| {
        config.access.authenticators = vec!["jwt.main".into()];
        config.access.backoff.enable = false;
        let tokens = AccessJwt { claims: [("sub", "${username}")].into(), ..tokens() };
        config.access.jwt = BTreeMap::from([("main".into(), tokens)]);
    })
    .await;
    let claims = json!({ "sub": "bob", "exp": unix_secs() + 3600, "acl": { "all": ["by/${username}/#"] } });
    let good = token(&claims);
    let (mut bob, told) = gateway.connect(&credentials("c", "bob", &good)).await;
    assert_eq!(told.code, 0);
    assert_eq!(bob.subscribe_all(&[("by/bob/x", 0), ("other", 0)], &[]).await, [0, 0x87]);
    for (username, password, expected) in [
        ("eve", good.as_str(), 0x86),
        ("bob", &good[..good.len() - 4], 0x86),
        ("bob", "secret", 0x86),
        ("bob", &token(&json!({ "sub": "bob", "exp": unix_secs() - 10 })), 0x87),
        ("bob", &token(&json!({ "sub": "bob", "nbf": unix_secs() + 1000 })), 0x87),
        ("bob", &token(&json!({ "sub": "bob", "acl": [7] })), 0x87),
    ] {
        assert_eq!(connack(&gateway, &credentials("x", username, password)).await, expected, "{username} {password}");
    }
}

#[tokio::test]
async fn a_connection_ends_when_its_token_does() {
    let gateway = gateway_with(|config| {
        config.access.authenticators = vec!["jwt.main".into()];
        config.access.jwt = BTreeMap::from([("main".into(), tokens())]);
    })
    .await;
    let ending = token(&json!({ "exp": unix_secs() + 2 }));
    let (mut client, told): (Client, _) = gateway.connect(&credentials("c", "bob", &ending)).await;
    assert_eq!(told.code, 0);
    client.expect_disconnected(&[0x87]).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_service_is_told_at_the_start_with_its_key() {
    let start = async |text: &str| {
        let config = Config::from_toml(text).unwrap_or_else(|error| panic!("{error}"));
        let Err(error) = thingway::gateway::Gateway::start(config).await else { panic!("it starts: {text}") };
        (error.key().unwrap_or_default(), error.to_string())
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bare = format!("gateway.data_dir = {:?}\nstore.durability = \"memory\"\n", folder.path());
    for (text, key, why) in [
        ("[access.http.a]\nurl = \"ftp://x\"", "access.http.a.url", "begins with http"),
        ("[access.http.a]\nurl = \"http://${username}/\"", "access.http.a.url", "no placeholder may stand in"),
        ("[access.http.a]\nurl = \"http://h/${topic}\"", "access.http.a.url", "\"${topic}\" is no placeholder"),
        ("[access.http.a]\nurl = \"http://h\"\nca_file = \"/nonexistent\"", "access.http.a.ca_file", "/nonexistent"),
        ("[access.jwt.a]", "access.jwt.a.secret", "exactly one of"),
        ("[access.jwt.a]\nsecret = \"hidden\"", "access.jwt.a.secret", "shorter than 16 bytes"),
        ("[access.jwt.a]\nsecret_file = \"/nonexistent\"", "access.jwt.a.secret_file", "/nonexistent"),
        ("[access.jwt.a]\npublic_key_file = \"Cargo.toml\"", "access.jwt.a.public_key_file", "no public key"),
        ("[access.jwt.a]\njwks_url = \"http://h/#x\"", "access.jwt.a.jwks_url", "no \"#\""),
    ] {
        let kind = if text.contains("http.a]") { "http.a" } else { "jwt.a" };
        let (told, error) = start(&format!("access.authenticators = [\"{kind}\"]\n{bare}{text}")).await;
        assert_eq!(told, key, "{error}");
        assert!(error.contains(why) && !error.contains("hidden"), "{error}");
    }
    let secret = Config::from_toml("[access.jwt.a]\nsecret = \"hidden secret\"\njwks_headers = { a = \"hidden too\" }");
    assert!(!format!("{secret:?}").contains("hidden"), "{secret:?}");
}
