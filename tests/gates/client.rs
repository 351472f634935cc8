//! A client's end of a connection within the process, and its packets of MQTT 3.1.1.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use thingway::net::memory::{MemoryListener, MemoryStream, pair};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Room for all that a schedule sends at once.
const PIPE_BYTES: u32 = 1 << 20;

pub struct Client {
    stream: MemoryStream,
    received: Vec<u8>,
}

impl Client {
    /// Opens a connection on which nothing was said yet.
    pub fn open(listener: &MemoryListener) -> Self {
        let (stream, server) = pair(PIPE_BYTES);
        listener.accept(server).expect("the listener has no limit");
        Self { stream, received: Vec::new() }
    }

    /// Connects a clean session with a keep-alive.
    pub async fn connect(listener: &MemoryListener, id: &str) -> Self {
        let mut client = Self::open(listener);
        client.send(&connect(id));
        client.expect(&[0x20, 2, 0, 0]).await;
        client
    }

    pub async fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(filter, qos));
        self.expect(&[0x90, 3, 0, 1, qos]).await;
    }

    /// Writes without waiting.
    pub fn send(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut self.stream).poll_write(&mut cx, bytes);
        assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()), "the pipe has room: {written:?}");
    }

    /// Awaits so many bytes, and no others may have come.
    pub async fn receive(&mut self, count: usize) -> &[u8] {
        self.received.resize(count, 0);
        let mut buffer = ReadBuf::new(&mut self.received);
        let stream = &mut self.stream;
        poll_fn(|cx| {
            while buffer.remaining() > 0 {
                let before = buffer.filled().len();
                match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => result.expect("the connection is open"),
                }
                assert!(buffer.filled().len() > before, "the connection ended after {before} bytes of {count}");
            }
            Poll::Ready(())
        })
        .await;
        &self.received
    }

    pub async fn expect(&mut self, bytes: &[u8]) {
        assert_eq!(self.receive(bytes.len()).await, bytes);
    }

    /// Awaits the end of the connection, before which nothing may come.
    pub async fn expect_end(&mut self) {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).await.expect("an end");
        assert!(buffer.filled().is_empty());
    }
}

pub const PINGREQ: &[u8] = &[0xc0, 0];
pub const PINGRESP: &[u8] = &[0xd0, 0];
pub const DISCONNECT: &[u8] = &[0xe0, 0];

pub fn connect(id: &str) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04\x02\x0e\x10".to_vec();
    text(&mut body, id);
    packet(0x10, &body)
}

pub fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

pub fn publish(topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

/// One acknowledgement for each identifier: PUBACK is 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70.
pub fn acknowledgements(kind: u8, packet_ids: &[u16]) -> Vec<u8> {
    packet_ids.iter().flat_map(|id| [kind, 2, id.to_be_bytes()[0], id.to_be_bytes()[1]]).collect()
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut rest = body.len();
    while rest >= 128 {
        packet.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    packet.push(rest as u8);
    packet.extend(body);
    packet
}
