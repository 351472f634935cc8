//! As much of an HTTP client as is needed: one request a connection.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Somebody who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    address: SocketAddr,
    authorization: Option<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of an error.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Caller {
    pub fn stranger(address: SocketAddr) -> Self {
        Self { address, authorization: None }
    }

    pub fn without_token(&self) -> Self {
        Self::stranger(self.address)
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}")), ..self.clone() }
    }

    pub fn with_key(&self, key: &str, secret: &str) -> Self {
        let shown = STANDARD.encode(format!("{key}:{secret}"));
        Self { authorization: Some(format!("Basic {shown}")), ..self.clone() }
    }

    /// What another shows elsewhere.
    pub fn with_authorization_of(&self, other: &Self) -> Self {
        Self { authorization: other.authorization.clone(), ..self.clone() }
    }

    /// The line of a head that shows who it is.
    pub fn authorization(&self) -> String {
        self.authorization.as_ref().map_or_else(String::new, |shown| format!("Authorization: {shown}\r\n"))
    }

    pub async fn log_in(&self, username: &str, password: &str) -> Self {
        let told = self.post("/api/v5/login", &json!({ "username": username, "password": password })).await;
        assert_eq!(told.status, 200, "{told:?}");
        self.with_token(told.json()["token"].as_str().expect("a token"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(&body.to_string())).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, Some(&body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None).await
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n");
        if let Some(authorization) = &self.authorization {
            head += &format!("Authorization: {authorization}\r\n");
        }
        if let Some(body) = body {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        self.raw(format!("{head}\r\n{}", body.unwrap_or("")).as_bytes()).await
    }

    /// Bytes that may be no request at all.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("it is served");
        stream.write_all(bytes).await.expect("it is read");
        let mut answer = Vec::new();
        // A server that has refused the head may close before the rest is read.
        let _ = stream.read_to_end(&mut answer).await;
        let end =
            answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
        let head = String::from_utf8(answer[..end].to_vec()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
        let mut body = answer[end + 4..].to_vec();
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            body = unchunked(&body);
        }
        Answer { status, head, body }
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a size");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).expect("text"), 16).expect("a size");
        if size == 0 {
            return whole;
        }
        whole.extend(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
}

/// Server-sent events, as they come.
#[derive(Debug)]
pub struct Events {
    stream: TcpStream,
    pending: Vec<u8>,
    text: String,
}

impl Caller {
    /// Begins to listen, and insists that it may.
    pub async fn listen(&self, path: &str) -> Events {
        let mut stream = TcpStream::connect(self.address).await.expect("it is served");
        let authorization = self.authorization.as_deref().unwrap_or_default();
        let head = format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: {authorization}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it is read");
        let mut events = Events { stream, pending: Vec::new(), text: String::new() };
        let head = loop {
            if let Some(end) = events.pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break String::from_utf8(events.pending.drain(..end + 4).collect()).expect("a head is text");
            }
            assert!(events.read().await, "it has a head");
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: text/event-stream"), "{head}");
        events
    }
}

impl Events {
    async fn read(&mut self) -> bool {
        self.stream.read_buf(&mut self.pending).await.expect("it is told") > 0
    }

    /// The next event of this name and its data; `None` when the stream ends.
    pub async fn next(&mut self, name: &str) -> Option<Value> {
        loop {
            while let Some((one, rest)) = self.text.split_once("\n\n") {
                let (one, rest) = (one.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(data) = one.strip_prefix(&format!("event: {name}\ndata: ")) {
                    return Some(serde_json::from_str(data).expect("JSON"));
                }
            }
            let end = loop {
                if let Some(end) = self.pending.windows(2).position(|two| two == b"\r\n") {
                    let size = std::str::from_utf8(&self.pending[..end]).expect("text");
                    let size = usize::from_str_radix(size, 16).expect("a size");
                    if size == 0 {
                        return None;
                    }
                    if self.pending.len() >= end + 4 + size {
                        break end + 2..end + 2 + size;
                    }
                }
                if !self.read().await {
                    return None;
                }
            };
            self.text += std::str::from_utf8(&self.pending[end.clone()]).expect("text");
            self.pending.drain(..end.end + 2);
        }
    }
}
