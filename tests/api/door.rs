//! Who may come in is changed while the gateway runs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    Managed,
    common::{Client, Connect, Version},
};

/// A web server that lets everybody in, or nobody, and keeps its connections.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    closed: mpsc::Receiver<()>,
}

impl Server {
    pub async fn start(result: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (tell, closed) = mpsc::channel(16);
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counter, tell) = (counter.clone(), tell.clone());
                tokio::spawn(async move {
                    serve(stream, result, &counter).await;
                    let _ = tell.try_send(());
                });
            }
        });
        Self { address, asked, closed }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Until the other side closes.
async fn serve(mut stream: TcpStream, result: &str, asked: &AtomicUsize) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        while read.len() < end + length.unwrap_or(0_usize) {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        read.drain(..end + length.unwrap_or(0));
        asked.fetch_add(1, Ordering::SeqCst);
        let body = format!("{{\"result\":\"{result}\"}}");
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Managed {
    /// The code that a client is answered with.
    async fn code(&self, connect: &Connect) -> u8 {
        let mut client = Client::open(self.gateway.listener("tcp.default"), connect.version).await;
        client.send(&connect.bytes()).await;
        client.connack().await.code
    }

    async fn change(&self, changes: Value) -> Value {
        let told = self.admin.put("/api/v5/configs", &changes).await;
        assert_eq!(told.status, 200, "{changes}: {told:?}");
        told.json()
    }
}

fn anonymous(id: &str) -> Connect {
    Connect::new(Version::V5, id)
}

fn named(id: &str, name: &str, password: &str) -> Connect {
    anonymous(id).username(name).password(password)
}

const NOT_AUTHORIZED: u8 = 0x87;
const BAD_CREDENTIALS: u8 = 0x86;

#[tokio::test]
async fn users_are_asked_from_now_on_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |_| {}).await;
    let mut early = managed.gateway.client(Version::V5, "early").await;
    early.subscribe("a", 0).await;
    let users = "/api/v5/authentication/password_based:built_in_database/users";
    let bob = json!({ "user_id": "bob", "password": "secret word" });
    assert_eq!(managed.admin.post(users, &bob).await.status, 404, "nobody asks them");

    let told = managed.change(json!({ "access.authenticators": ["users"] })).await;
    assert_eq!(told, json!({ "applied": ["access.authenticators"], "pending": [] }));
    let told = managed.get("/api/v5/configs").await.json();
    assert_eq!(told["access.authenticators"]["pending"], false);
    assert_eq!(managed.get("/api/v5/authentication").await.json()[0]["id"], "built_in_database");
    assert_eq!(managed.code(&anonymous("stranger")).await, NOT_AUTHORIZED);
    assert_eq!(managed.code(&named("b", "bob", "secret word")).await, BAD_CREDENTIALS);
    assert_eq!(managed.admin.post(users, &bob).await.status, 201);
    assert_eq!(managed.code(&named("b", "bob", "secret word")).await, 0);
    let asked = json!({ "clientid": "s", "action": "connect" });
    let explained = managed.admin.post("/api/v5/access/explain", &asked).await.json();
    assert_eq!(explained["outcome"], "deny", "{explained}");

    early.publish("a", "still here", 1).await;
    assert_eq!(early.expect_message().await.text(), "still here");
    managed.change(json!({ "access.users.by": "client_id", "access.users.hash_threads": 3 })).await;
    assert_eq!(managed.code(&named("b", "bob", "secret word")).await, BAD_CREDENTIALS, "it is no client's id");
    assert_eq!(managed.code(&named("bob", "whoever", "secret word")).await, 0);

    managed.change(json!({ "access.authenticators": null, "access.users.by": null })).await;
    assert_eq!(managed.code(&anonymous("stranger")).await, 0);
    early.publish("a", "and here", 1).await;
    assert_eq!(early.expect_message().await.text(), "and here");
    // The users were kept all the while.
    managed.change(json!({ "access.authenticators": ["users"] })).await;
    assert_eq!(managed.code(&named("b", "bob", "secret word")).await, 0);
}

#[tokio::test]
async fn a_web_server_is_asked_from_now_on_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |_| {}).await;
    let mut server = Server::start("allow").await;
    let url = format!("http://{}/", server.address);
    let main = json!({
        "access.http.main.url": url, "access.http.main.cache_time": "0s", "access.authenticators": ["http.main"],
    });
    managed.change(main).await;
    for expected in 1..=2 {
        assert_eq!(managed.code(&named("c", "bob", "x")).await, 0);
        assert_eq!(server.asked(), expected);
    }
    // It is not made anew for what it does not read: the connection is the same.
    managed.change(json!({ "access.allow_anonymous": true, "access.backoff.per_address": 7 })).await;
    assert_eq!(managed.code(&named("c", "bob", "x")).await, 0);
    assert!(server.closed.try_recv().is_err());

    // What is wrong changes nothing.
    for (wrong, key) in [
        (json!({ "access.authenticators": ["http.main", "http.other"] }), "access.authenticators"),
        (json!({ "access.http.main.url": "http://h/${nobody}" }), "access.http.main.url"),
        (json!({ "access.http.main.ca_file": "/nowhere/at/all" }), "access.http.main.ca_file"),
        (json!({ "access.rewrite": [{ "source": "a/#/b", "destination": "x" }] }), "access.rewrite"),
        (json!({ "access.attributes": [{ "name": "a", "value": "nonsense(" }] }), "access.attributes"),
        (json!({ "access.authenticators": [], "access.rules": [{ "topics": ["a/#/b"] }] }), "access.rules"),
    ] {
        let told = managed.admin.put("/api/v5/configs", &wrong).await;
        assert_eq!((told.status, told.code()), (400, "BAD_CONFIG_SCHEMA".into()), "{wrong}");
        let told = told.json();
        let path = told["errors"][0]["path"].as_str().expect("a setting");
        assert!(path.starts_with(key), "{wrong}: {told}");
    }
    assert_eq!(managed.code(&named("c", "bob", "x")).await, 0);
    assert_eq!(server.asked(), 4);
    assert!(server.closed.try_recv().is_err());

    let other = Server::start("deny").await;
    managed.change(json!({ "access.http.main.url": format!("http://{}/", other.address) })).await;
    assert_eq!(managed.code(&named("c", "bob", "x")).await, BAD_CREDENTIALS);
    assert_eq!((server.asked(), other.asked()), (4, 1));
    server.closed.recv().await.expect("its connection is closed");

    let mut other = other;
    managed.change(json!({ "access.authenticators": [] })).await;
    assert_eq!(managed.code(&named("c", "bob", "x")).await, 0);
    assert_eq!(other.asked(), 1);
    other.closed.recv().await.expect("its connection is closed");
}

#[tokio::test]
async fn rewrites_count_for_whoever_connects_from_now_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |_| {}).await;
    let mut early = managed.gateway.client(Version::V5, "early").await;
    early.subscribe("old/#", 0).await;
    let rewrite = json!([{ "source": "old/#", "pattern": "^old/(.+)$", "destination": "new/$1" }]);
    let auto = json!([{ "topic": "for/${clientid}" }]);
    managed.change(json!({ "access.rewrite": rewrite, "access.auto_subscribe": auto })).await;
    let mut late = managed.gateway.client(Version::V5, "late").await;
    late.subscribe("old/#", 0).await;
    late.publish("old/x", "rewritten", 1).await;
    assert_eq!(late.expect_message().await.topic, "new/x");
    early.publish("for/late", "unasked", 1).await;
    assert_eq!(late.expect_message().await.text(), "unasked");
    early.publish("old/x", "as it is", 1).await;
    assert_eq!(early.expect_message().await.topic, "old/x");
    assert_eq!(early.unsubscribe(&["old/#"]).await, [0], "it is found under the name that it has");
}

#[tokio::test]
async fn what_a_listener_says_counts_when_it_is_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |_| {}).await;
    let id = "tcp:default";
    let changes = json!({
        "access.authenticators": ["users"],
        "listeners.tcp.default.authenticate": false, "listeners.tcp.default.mountpoint": "m/",
    });
    let pending = ["listeners.tcp.default.authenticate", "listeners.tcp.default.mountpoint"];
    assert_eq!(managed.change(changes).await["pending"], json!(pending));
    assert_eq!(managed.code(&anonymous("c")).await, NOT_AUTHORIZED, "the listener goes on as it was");
    let restarted = managed.admin.post(&format!("/api/v5/listeners/{id}/restart"), &json!({})).await;
    assert_eq!(restarted.status, 200, "{restarted:?}");
    assert_eq!(managed.code(&anonymous("c")).await, 0);
    managed.change(json!({ "access.allow_anonymous": true })).await;
    assert_eq!(managed.code(&named("c", "who", "ever")).await, 0, "it still asks nobody");
    let (mut mounted, _) = Client::connect(managed.gateway.listener("tcp.default"), &anonymous("mounted")).await;
    mounted.subscribe("x", 0).await;
    let message = json!({ "topic": "m/x", "payload": "below" });
    assert_eq!(managed.admin.post("/api/v5/publish", &message).await.status, 200);
    assert_eq!(mounted.expect_message().await.topic, "x");
    let wrong = json!({ "listeners.tcp.default.mountpoint": "a/#" });
    assert_eq!(managed.admin.put("/api/v5/configs", &wrong).await.status, 400, "it could not start again");
}

#[tokio::test]
async fn changes_while_a_thousand_connect_lose_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let managed = Managed::kept_in(folder.path(), |config| {
        config.access.backoff.enable = false;
    })
    .await;
    let server = Server::start("allow").await;
    let url = format!("http://{}/", server.address);
    managed.change(json!({ "access.http.main.url": url, "access.authenticators": ["http.main"] })).await;
    let address = managed.gateway.listener("tcp.default");
    let clients: Vec<_> = (0..1000)
        .map(|number| {
            tokio::spawn(async move {
                let connect = named(&format!("c{number}"), "bob", "x");
                let (client, connack) = Client::connect(address, &connect).await;
                client.disconnect().await;
                connack.code
            })
        })
        .collect();
    let mut changed = 0;
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        // Everybody comes in by each of them.
        let authenticators: &[&str] = if changed % 2 == 0 { &[] } else { &["http.main"] };
        managed.change(json!({ "access.authenticators": authenticators })).await;
        changed += 1;
    }
    for client in clients {
        assert_eq!(client.await.expect("it was answered"), 0);
    }
    assert!(changed > 1, "{changed} changes");
}
