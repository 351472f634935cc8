//! Services that accept and say nothing, that break off, and that speak something else.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    UNAVAILABLE, WELCOME, code,
    common::{Client, PATIENCE, Version},
    credentials, gateway,
};

/// What each kind is asked, when nothing of its answer matters.
const KINDS: &[(&str, &str)] = &[
    ("postgresql", "query = \"SELECT ${username}\"\nrules_query = \"SELECT ${username}\""),
    ("mysql", "query = \"SELECT ${username}\"\nrules_query = \"SELECT ${username}\""),
    ("redis", "command = \"HGETALL ${username}\"\nrules_command = \"HGETALL ${username}\""),
    ("mongodb", "filter = '{\"username\": \"${username}\"}'\nrules_filter = '{\"username\": \"${username}\"}'"),
    ("ldap", "base_dn = \"cn=${username}\""),
];

/// A listener whose connections come to the test.
async fn listener() -> (u16, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, connections) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if sender.send(stream).await.is_err() {
                return;
            }
        }
    });
    (port, connections)
}

fn access(kind: &str, asks: &str, port: u16, limits: &str, file: &str) -> String {
    format!(
        "[access]\nauthenticators = [\"users\", \"{kind}.main\"]\nsources = [\"rules\", \"{kind}.main\"]\ntimeout = \"1m\"\n\
         rules = [{{ permission = \"allow\", topics = [\"open/#\"] }}]\nusers = {{ file = \"{file}\" }}\n\
         [access.{kind}.main]\nserver = \"127.0.0.1:{port}\"\n{asks}\nlimits = {{ {limits} }}\n"
    )
}

fn users() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.csv");
    std::fs::write(&file, "user_id,password\nalice,secret\n").expect("written");
    let name = file.display().to_string();
    (folder, name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_stops_nobody_else() {
    let (_folder, file) = users();
    for (kind, asks) in KINDS {
        let (port, mut connections) = listener().await;
        let gateway = gateway(&access(kind, asks, port, "timeout = \"1m\"", &file)).await;
        let (mut alice, _) = gateway.connect(&credentials("alice", "alice", "secret")).await;
        let mut stranger = Client::open(gateway.address, Version::V5).await;
        stranger.send(&credentials("stranger", "stranger", "x").bytes()).await;
        let silent = tokio::time::timeout(PATIENCE, connections.recv()).await.expect("in time").expect("it is asked");
        // The database holds the stranger, and what is asked about alice's topic holds her second connection, and nobody else.
        let (mut second, _) = gateway.connect(&credentials("second", "alice", "secret")).await;
        second.send(&crate::common::publish(Version::V5, "closed/x", b"x", 1, 7, &[])).await;
        alice.subscribe("open/#", 0).await;
        for _ in 0..20 {
            alice.publish("open/x", "heard", 1).await;
            assert_eq!(alice.expect_message().await.text(), "heard", "{kind}");
        }
        let (mut third, _) = gateway.connect(&credentials("third", "alice", "secret")).await;
        third.ping().await;
        assert!(!stranger.is_closed().await && stranger.early().is_empty(), "{kind}: nobody has decided about it");
        assert!(second.early().is_empty(), "{kind}");
        drop(silent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_left_and_its_connection_thrown_away() {
    let (_folder, file) = users();
    for (kind, asks) in KINDS {
        let (port, mut connections) = listener().await;
        let gateway =
            gateway(&access(kind, asks, port, "timeout = \"100ms\", failures = 1, rest = \"1h\"", &file)).await;
        assert_eq!(code(&gateway, "stranger", "x").await, UNAVAILABLE, "{kind}");
        let mut silent = connections.recv().await.expect("it was asked");
        let mut said = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut said)).await.expect("in time");
        assert!(ended.is_ok() || said.len() < 10_000, "{kind}: the connection ends");
        assert_eq!(code(&gateway, "stranger", "x").await, UNAVAILABLE, "{kind}");
        assert!(connections.try_recv().is_err(), "{kind}: it is left alone for an hour");
        assert_eq!(code(&gateway, "alice", "secret").await, WELCOME, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_off_or_speaks_something_else_is_no_reason_to_let_anybody_in() {
    let (_folder, file) = users();
    for (kind, asks) in KINDS {
        for answer in
            [&b""[..], b"*", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0", &[0xff; 300], &[0x30, 0x84, 0x7f]]
        {
            let (port, mut connections) = listener().await;
            let gateway = gateway(&access(kind, asks, port, "failures = 10000", &file)).await;
            let answering = tokio::spawn(async move {
                while let Some(mut stream) = connections.recv().await {
                    // A server of MySQL speaks first; the others have been asked by then.
                    let mut asked = [0; 1];
                    let first = tokio::time::timeout(std::time::Duration::from_millis(50), stream.read(&mut asked));
                    let _ = first.await;
                    let _ = stream.write_all(answer).await;
                }
            });
            for _ in 0..2 {
                assert_eq!(code(&gateway, "stranger", "x").await, UNAVAILABLE, "{kind} {}", answer.escape_ascii());
            }
            assert_eq!(code(&gateway, "alice", "secret").await, WELCOME, "{kind}");
            answering.abort();
        }
    }
}

#[tokio::test]
async fn a_gateway_starts_with_its_database_down() {
    let (_folder, file) = users();
    let port = {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        nobody.local_addr().expect("an address").port()
    };
    for (kind, asks) in KINDS {
        let gateway = gateway(&access(kind, asks, port, "failures = 1", &file)).await;
        assert_eq!(code(&gateway, "stranger", "x").await, UNAVAILABLE, "{kind}");
        assert_eq!(code(&gateway, "alice", "secret").await, WELCOME, "{kind}");
    }
}
