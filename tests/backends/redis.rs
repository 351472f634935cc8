//! Redis with the keys that EMQX's manual shows.

use crate::{BAD_CREDENTIALS, NOT_AUTHORIZED, UNAVAILABLE, WELCOME, code, contract, credentials, gateway, servers};

fn access(port: u16, command: &str, more: &str) -> String {
    format!(
        "[access]\nauthenticators = [\"redis.main\"]\nsources = [\"redis.main\"]\n\
         [access.redis.main]\nserver = \"127.0.0.1:{port}\"\ndatabase = 3\npassword = \"word\"\ncommand = \"{command}\"\n\
         rules_command = \"HGETALL mqtt_acl:${{username}}\"\n{more}\n"
    )
}

const COMMAND: &str = "HMGET mqtt_user:${username} password_hash salt is_superuser";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    let Some((mut running, say)) = servers::redis("redis") else { return };
    let port = running.port;
    let bob = "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35";
    let root = "e6f2307430e047cc024c2b454ae22a8d32786f289025e545bdb36fe145781af0";
    say(&["HSET", "mqtt_user:bob", "password_hash", bob, "salt", "salt", "is_superuser", "0"]);
    say(&["HSET", "mqtt_user:root", "password_hash", root, "salt", "salt", "is_superuser", "1"]);
    say(&["HSET", "mqtt_user:odd", "password_hash", bob, "salt", "salt", "is_superuser", "perhaps"]);
    say(&["HSET", "mqtt_user:large", "password_hash", &"x".repeat(70_000)]);
    say(&["SET", "mqtt_user:text", "x"]);
    say(&["HSET", "mqtt_acl:bob", "by/${clientid}/#", "publish", "news/#", r#"{"action":"subscribe","qos":[0]}"#]);
    let gateway_ = gateway(&access(port, COMMAND, "limits = { failures = 1, rest = \"50ms\" }")).await;
    contract::authenticates(&gateway_).await;
    contract::authorizes(&gateway_).await;
    for odd in ["odd", "large", "text"] {
        assert_eq!(code(&gateway_, odd, "secret").await, UNAVAILABLE, "{odd}");
    }
    for (command, username) in [("HGETALL mqtt_user:${username}", "bob"), ("HGET mqtt_user:bob password_hash", "bob")] {
        let other = gateway(&access(port, command, "")).await;
        let expected = if command.starts_with("HGETALL") { WELCOME } else { BAD_CREDENTIALS };
        assert_eq!(code(&other, username, "secret").await, expected, "{command}: without the salt it is another hash");
    }
    let wrong = access(port, COMMAND, "").replace("\"word\"", "\"other\"");
    assert_eq!(code(&gateway(&wrong).await, "bob", "secret").await, UNAVAILABLE);
    crate::is_encrypted(&access(running.tls_port, COMMAND, "TLS"), &running.certificates).await;
    let (mut client, _) = gateway_.connect(&credentials("c1", "bob", "secret")).await;
    assert_eq!(client.subscribe_all(&[("news/x", 1), ("news/x", 0)], &[]).await, [NOT_AUTHORIZED, WELCOME]);
    running.kill();
    assert_eq!(code(&gateway_, "root", "toor").await, UNAVAILABLE);
    client.ping().await;
    running.go();
    crate::sql::until(async || code(&gateway_, "root", "toor").await == WELCOME).await;
}
