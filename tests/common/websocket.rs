//! WebSocket (RFC 6455) by hand, so that tests can also do what a library would not.

use std::{net::SocketAddr, str};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{client::PATIENCE, packet::Packet, wire::Version};

/// Frame types, RFC 6455, section 5.2.
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
/// The flag of a message's last frame.
pub const FIN: u8 = 0x80;

/// The answer to an upgrade.
#[derive(Debug)]
pub struct Upgraded {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Upgraded {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// A client's end of a WebSocket connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
    unread: Vec<u8>,
    /// MQTT bytes out of binary frames.
    mqtt: Vec<u8>,
}

impl WebSocket {
    /// Asks for an upgrade of `path` with these headers beyond the necessary ones.
    pub async fn upgrade(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (Self, Upgraded) {
        let stream =
            timeout(PATIENCE, TcpStream::connect(address)).await.expect("in time").expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket takes the option");
        let mut socket = Self { stream, unread: Vec::new(), mqtt: Vec::new() };
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        socket.send_raw(request.as_bytes()).await;
        let end = loop {
            if let Some(end) = socket.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            assert!(socket.read().await, "the gateway closed before its answer: {:?}", socket.unread);
        };
        let head = str::from_utf8(&socket.unread[..end]).expect("a response head is text").to_owned();
        socket.unread.drain(..end + 4);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
            .collect();
        (socket, Upgraded { status: status.expect("a status line"), headers })
    }

    /// Upgrades `/mqtt` with sub-protocol `mqtt` and insists on success.
    pub async fn connect(address: SocketAddr) -> Self {
        let (socket, upgraded) = Self::upgrade(address, "/mqtt", &[("Sec-WebSocket-Protocol", "mqtt")]).await;
        assert_eq!(upgraded.status, 101, "{upgraded:?}");
        // The example of RFC 6455, section 1.3.
        assert_eq!(upgraded.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        socket
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        // A gateway that has closed meanwhile is no failure: what it said is what a test looks at.
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the gateway reads in time");
    }

    /// Sends one frame, masked.
    pub async fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(&frame(first, payload)).await;
    }

    /// Sends MQTT bytes in one binary frame.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.send_frame(FIN | BINARY, bytes).await;
    }

    /// The next frame's first byte and payload, or `None` when the gateway has closed the connection.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.parse() {
                return Some(frame);
            }
            if !self.read().await {
                assert!(self.unread.is_empty(), "the gateway closed within a frame: {:02x?}", self.unread);
                return None;
            }
        }
    }

    /// The next MQTT packet, or `None` when the gateway has closed. Control frames are passed over.
    pub async fn packet(&mut self, version: Version) -> Option<Packet> {
        loop {
            if let Some(&length) = self.mqtt.get(1) {
                assert!(length < 0x80, "tests over WebSocket have small packets");
                let end = 2 + usize::from(length);
                if self.mqtt.len() >= end {
                    let packet = Packet::read(version, self.mqtt[0], &self.mqtt[2..end]).expect("a good packet");
                    self.mqtt.drain(..end);
                    return Some(packet);
                }
            }
            let (first, payload) = self.frame().await?;
            match first & 0x0f {
                BINARY | CONTINUATION => self.mqtt.extend_from_slice(&payload),
                TEXT => panic!("MQTT in a text frame: {payload:02x?}"),
                _ => {}
            }
        }
    }

    /// Nothing more comes but control frames and the end of the connection.
    pub async fn expect_closed(&mut self) {
        while let Some((first, payload)) = self.frame().await {
            assert!(first & 0x0f >= CLOSE, "the end wanted, {first:#04x} {payload:02x?} came");
        }
    }

    fn parse(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = *self.unread.first()?;
        let short = *self.unread.get(1)?;
        assert_eq!(short & 0x80, 0, "a server does not mask");
        assert_eq!(first & 0x70, 0, "no extension was agreed on");
        let (head, length) = match short {
            126 => (4, usize::from(u16::from_be_bytes(self.unread.get(2..4)?.try_into().expect("two bytes")))),
            127 => (10, u64::from_be_bytes(self.unread.get(2..10)?.try_into().expect("eight bytes")) as usize),
            short => (2, usize::from(short)),
        };
        let payload = self.unread.get(head..head + length)?.to_vec();
        self.unread.drain(..head + length);
        Some((first, payload))
    }

    async fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("a frame in time") {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                true
            }
        }
    }
}

/// A masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
