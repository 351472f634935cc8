//! A client whose use reads like a script: send this, expect that.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::atomic,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    packet::{Ack, Codes, Connack, Packet, Publish},
    property::Property,
    wire::{self, Connect, Version},
};

/// How long a test waits for what must come. An upper bound for a loaded machine; no test waits it out to pass.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What carries a client's bytes.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Carrier for C {}

/// One connection.
#[derive(Debug)]
pub struct Client<C = TcpStream> {
    pub version: Version,
    stream: C,
    unread: Vec<u8>,
    /// Packets that came while another one was waited for.
    early: VecDeque<Packet>,
    packet_id_next: u16,
    /// Length of the longest packet that has come.
    longest: usize,
}

impl Client {
    /// A connection on which nothing was said yet.
    pub async fn open(address: SocketAddr, version: Version) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address))
            .await
            .expect("a connection in time")
            .expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket takes the option");
        Self::over(stream, version)
    }

    /// Connects and insists on success.
    pub async fn connect(address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let mut client = Self::open(address, connect.version).await;
        let connack = client.handshake(connect).await;
        (client, connack)
    }

    /// A connection on which nothing was said yet, or why there is none.
    pub async fn try_open(address: SocketAddr, version: Version) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream, version))
    }

    /// Whether the gateway has closed by now. What it said before is kept.
    pub async fn is_closed(&mut self) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return true,
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(fault) => return fault.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

impl<C: Carrier> Client<C> {
    /// A connection on which nothing was said yet, over what carries its bytes.
    pub fn over(stream: C, version: Version) -> Self {
        Self { version, stream, unread: Vec::new(), early: VecDeque::new(), packet_id_next: 1, longest: 0 }
    }

    /// Says CONNECT and insists on success.
    pub async fn handshake(&mut self, connect: &Connect) -> Connack {
        self.send(&connect.bytes()).await;
        let connack = self.connack().await;
        assert_eq!(connack.code, 0, "{connect:?} was refused: {connack:?}");
        connack
    }

    /// Writes bytes. A gateway that has closed meanwhile is no failure here: what it said before is what a test looks at.
    pub async fn send(&mut self, bytes: &[u8]) {
        match timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the gateway reads in time") {
            Err(fault) if !matches!(fault.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("cannot write: {fault}")
            }
            _ => {}
        }
    }

    /// Writes bytes if the gateway takes them in this time. False when it does not, or has closed.
    pub async fn send_within(&mut self, bytes: &[u8], limit: Duration) -> bool {
        matches!(timeout(limit, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Writes bytes. False when the connection is gone, as that of a process that was killed.
    pub async fn send_or_gone(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next packet, however long it takes, or `None` when the connection is gone, be it within a packet, as that of a process that was killed.
    /// May be dropped while it waits.
    pub async fn next_or_gone(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.parse() {
                return Some(packet);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Writes CONNECT with this body.
    pub async fn send_raw_connect(&mut self, body: &[u8]) {
        self.send(&wire::frame(0x10, body)).await;
    }

    /// All bytes that come before the gateway closes.
    pub async fn bytes_until_closed(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unread);
        let mut chunk = [0; 4096];
        loop {
            match timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("the end in time") {
                Ok(0) | Err(_) => return bytes,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// The next packet, or `None` when the gateway has closed the connection.
    pub async fn next(&mut self) -> Option<Packet> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.read().await,
        }
    }

    /// The next packet.
    pub async fn packet(&mut self) -> Packet {
        self.next().await.expect("a packet, but the gateway closed")
    }

    /// Waits for a packet that `wanted` takes; others stay for later.
    pub async fn take<T>(&mut self, what: &str, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        if let Some((at, found)) = self.early.iter().enumerate().find_map(|(at, packet)| Some((at, wanted(packet)?))) {
            self.early.remove(at);
            return found;
        }
        loop {
            let packet =
                self.read().await.unwrap_or_else(|| panic!("{what}, but the gateway closed after {:?}", self.early));
            match wanted(&packet) {
                Some(found) => return found,
                None => self.early.push_back(packet),
            }
        }
    }

    pub async fn connack(&mut self) -> Connack {
        match self.packet().await {
            Packet::Connack(connack) => connack,
            other => panic!("CONNACK wanted, {other:?} came"),
        }
    }

    /// The next PUBLISH, which is the next packet. It is not acknowledged.
    pub async fn expect_publish(&mut self) -> Publish {
        match self.packet().await {
            Packet::Publish(publish) => publish,
            other => panic!("PUBLISH wanted, {other:?} came"),
        }
    }

    /// The next PUBLISH, acknowledged as its quality of service asks for.
    pub async fn expect_message(&mut self) -> Publish {
        let publish = self.expect_publish().await;
        self.acknowledge(&publish).await;
        publish
    }

    /// Goes through all acknowledgements of a received PUBLISH.
    pub async fn acknowledge(&mut self, publish: &Publish) {
        let id = publish.packet_id;
        match publish.qos {
            0 => {}
            1 => self.send(&wire::ack(0x40, id, 0)).await,
            _ => {
                self.send(&wire::ack(0x50, id, 0)).await;
                self.take("PUBREL", |packet| {
                    matches!(packet, Packet::Pubrel(ack) if ack.packet_id == id).then_some(())
                })
                .await;
                self.send(&wire::ack(0x70, id, 0)).await;
            }
        }
    }

    /// Nothing more comes but the end of the connection.
    pub async fn expect_closed(&mut self) {
        if let Some(packet) = self.next().await {
            panic!("the end wanted, {packet:?} came");
        }
    }

    /// The gateway ends the connection, in 5.0 after a DISCONNECT with one of these codes, before that without a word.
    pub async fn expect_disconnected(&mut self, codes: &[u8]) {
        if self.version.is_5() {
            match self.next().await {
                Some(Packet::Disconnect(reason)) => {
                    assert!(codes.contains(&reason.code), "code {:#04x}, wanted one of {codes:02x?}", reason.code);
                    assert!(
                        !reason.properties.iter().any(|property| matches!(property, Property::SessionExpiry(_))),
                        "a server sends no session expiry interval [MQTT-3.14.2-2]"
                    );
                }
                other => panic!("DISCONNECT with one of {codes:02x?} wanted, {other:?} came"),
            }
        }
        self.expect_closed().await;
    }

    /// A CONNECT is refused and the connection closed: in 5.0 with one of these codes in a CONNACK, before that with `code_3`
    /// or, if that is `None`, without a word.
    pub async fn expect_refused(&mut self, code_3: Option<u8>, codes_5: &[u8]) {
        let wanted = if self.version.is_5() { codes_5.to_vec() } else { code_3.into_iter().collect() };
        if !wanted.is_empty() {
            let connack = self.connack().await;
            assert!(wanted.contains(&connack.code), "code {:#04x}, wanted one of {wanted:02x?}", connack.code);
            assert!(!connack.session_present, "a refusal has no session");
        }
        self.expect_closed().await;
    }

    /// Subscribes to one filter and returns the code for it. Messages that come before the answer stay for later.
    pub async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_all(&[(filter, options)], &[]).await[0]
    }

    /// Subscribes in one packet and returns the codes.
    pub async fn subscribe_all(&mut self, filters: &[(&str, u8)], properties: &[Property]) -> Vec<u8> {
        let id = self.packet_id();
        self.send(&wire::subscribe(self.version, id, filters, properties)).await;
        self.suback(id).await.codes
    }

    pub async fn suback(&mut self, id: u16) -> Codes {
        self.take("SUBACK", |packet| match packet {
            Packet::Suback(codes) if codes.packet_id == id => Some(codes.clone()),
            _ => None,
        })
        .await
    }

    /// Unsubscribes in one packet; the codes are empty before 5.0.
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.packet_id();
        self.send(&wire::unsubscribe(self.version, id, filters)).await;
        self.take("UNSUBACK", |packet| match packet {
            Packet::Unsuback(codes) if codes.packet_id == id => Some(codes.codes.clone()),
            _ => None,
        })
        .await
    }

    /// Publishes and goes through all acknowledgements, which must be favourable.
    pub async fn publish(&mut self, topic: &str, payload: &str, qos: u8) {
        self.publish_with(topic, payload, qos, false, &[]).await;
    }

    /// Like [`Client::publish`], with the retain flag set.
    pub async fn retain(&mut self, topic: &str, payload: &str, qos: u8) {
        self.publish_with(topic, payload, qos, true, &[]).await;
    }

    pub async fn publish_with(&mut self, topic: &str, payload: &str, qos: u8, retain: bool, properties: &[Property]) {
        let id = if qos == 0 { 0 } else { self.packet_id() };
        let first = 0x30 | qos << 1 | u8::from(retain);
        self.send(&wire::publish_with(first, self.version, topic, payload.as_bytes(), id, properties)).await;
        match qos {
            0 => {}
            1 => assert!(self.puback(id).await.code < 0x80),
            _ => {
                assert!(self.pubrec(id).await.code < 0x80);
                self.send(&wire::ack(0x62, id, 0)).await;
                assert_eq!(self.pubcomp(id).await.code, 0);
            }
        }
    }

    pub async fn puback(&mut self, id: u16) -> Ack {
        self.take("PUBACK", |packet| match packet {
            Packet::Puback(ack) if ack.packet_id == id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    pub async fn pubrec(&mut self, id: u16) -> Ack {
        self.take("PUBREC", |packet| match packet {
            Packet::Pubrec(ack) if ack.packet_id == id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    pub async fn pubrel(&mut self, id: u16) -> Ack {
        self.take("PUBREL", |packet| match packet {
            Packet::Pubrel(ack) if ack.packet_id == id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    pub async fn pubcomp(&mut self, id: u16) -> Ack {
        self.take("PUBCOMP", |packet| match packet {
            Packet::Pubcomp(ack) if ack.packet_id == id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    /// PINGREQ and its answer; what comes before stays for later.
    pub async fn ping(&mut self) {
        self.send(&wire::PINGREQ).await;
        self.take("PINGRESP", |packet| matches!(packet, Packet::Pingresp).then_some(())).await;
    }

    /// All that this client gets before a message that `other` publishes now. What is not in it was not sent: the proof
    /// that something is absent.
    pub async fn until_fence<D: Carrier>(&mut self, other: &mut Client<D>) -> Vec<Packet> {
        static FENCES: atomic::AtomicU32 = atomic::AtomicU32::new(0);
        let fence = format!("fence/{}", FENCES.fetch_add(1, atomic::Ordering::Relaxed));
        assert_eq!(self.subscribe(&fence, 0).await, 0);
        other.publish(&fence, "", 0).await;
        let mut before = Vec::new();
        loop {
            match self.packet().await {
                Packet::Publish(publish) if publish.topic == fence => return before,
                packet => before.push(packet),
            }
        }
    }

    /// Nothing came before a fence that `other` publishes now.
    pub async fn expect_nothing<D: Carrier>(&mut self, other: &mut Client<D>) {
        let before = self.until_fence(other).await;
        assert!(before.is_empty(), "nothing wanted, {before:?} came");
    }

    /// Packets that have come while others were waited for, taken away.
    pub fn early(&mut self) -> Vec<Packet> {
        self.early.drain(..).collect()
    }

    /// Says DISCONNECT and waits for the gateway to close.
    pub async fn disconnect(mut self) {
        self.send(&wire::disconnect(self.version, 0, &[])).await;
        while self.next().await.is_some() {}
    }

    /// Ends the connection without DISCONNECT, as a broken network would.
    pub fn cut(self) {
        drop(self);
    }

    /// Closes the sending half only.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("a socket that can be shut down");
    }

    /// Bytes of the longest packet that has come since this was last asked.
    pub fn longest(&mut self) -> usize {
        std::mem::take(&mut self.longest)
    }

    /// A packet identifier that was not used yet, or long ago.
    pub fn packet_id(&mut self) -> u16 {
        let id = self.packet_id_next;
        self.packet_id_next = id.checked_add(1).unwrap_or(1);
        id
    }

    async fn read(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.parse() {
                return Some(packet);
            }
            let mut chunk = [0; 4096];
            match timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("a packet in time") {
                Ok(0) | Err(_) => {
                    assert!(self.unread.is_empty(), "the gateway closed within a packet: {:02x?}", self.unread);
                    return None;
                }
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn parse(&mut self) -> Option<Packet> {
        let mut reader = wire::Reader(&self.unread);
        let first = reader.byte().ok()?;
        let length = match reader.varint() {
            Ok(length) => length as usize,
            Err(_) if self.unread.len() < 5 => return None,
            Err(fault) => panic!("{fault}"),
        };
        let body = reader.section(length).ok()?.0.to_vec();
        let rest = reader.rest();
        let packet = Packet::read(self.version, first, &body)
            .unwrap_or_else(|fault| panic!("{fault}, in {first:#04x} {body:02x?}"));
        self.longest = self.longest.max(self.unread.len() - rest.len());
        self.unread = rest;
        Some(packet)
    }
}
