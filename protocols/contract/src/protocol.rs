use std::{fmt, net::SocketAddr, sync::Arc};

use crate::{Certificate, CloseReason, Delivered, Delivery, Departure, Exchanges, Fault, Instant, Outbox, Reply};

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    WebSocket,
    /// WebSocket over TLS.
    WebSocketTls,
    /// Streams of a QUIC connection.
    Quic,
    /// Unix domain socket.
    Unix,
    /// UDP.
    Udp,
    /// DTLS over UDP.
    Dtls,
    /// Inside the process.
    Memory,
}

impl Transport {
    /// The name used in configuration, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
            Self::Quic => "quic",
            Self::Unix => "unix",
            Self::Udp => "udp",
            Self::Dtls => "dtls",
            Self::Memory => "memory",
        }
    }
}

/// Who is at the other end, as far as the transport knows.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer's address: behind a trusted proxy, the one that the proxy tells. `None` for a Unix socket.
    pub remote: Option<SocketAddr>,
    /// The address it reached.
    pub local: Option<SocketAddr>,
    /// What carries the bytes.
    pub transport: Transport,
    /// Who it is behind that address, where a datagram says so: see [`crate::DatagramProtocol::node`]. Empty for the address itself.
    pub node: Box<[u8]>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// What the peer's certificate says of it, if it has shown one that was verified.
    pub certificate: Option<Arc<Certificate>>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remote {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("local"),
        }
    }
}

/// Bytes from the peer that were not consumed yet.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    consumed: usize,
    wanted: usize,
}

impl<'a> Input<'a> {
    /// An input over `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, consumed: 0, wanted: 0 }
    }

    /// What was not consumed yet.
    pub fn remaining(&self) -> &'a [u8] {
        &self.bytes[self.consumed..]
    }

    /// Marks bytes as handled.
    pub fn consume(&mut self, count: usize) {
        self.consumed = (self.consumed + count).min(self.bytes.len());
        self.wanted = 0;
    }

    /// Says how long the frame is that begins at the remaining bytes: the driver then need not ask again before it has it all.
    pub fn want(&mut self, frame_bytes: usize) {
        self.wanted = frame_bytes;
    }

    /// For drivers: how many bytes were consumed.
    pub const fn consumed(&self) -> usize {
        self.consumed
    }

    /// For drivers: length of the incomplete frame at the end, 0 when unknown.
    pub const fn wanted(&self) -> usize {
        self.wanted
    }
}

/// One peer's conversation. No input or output, no clock, no locks, no async code.
///
/// A driver calls [`Protocol::open`], then the other verbs as things happen, and after each writes what is in the [`Outbox`] and answers the requests in it,
/// in order. After [`Outbox::close`], an `Err`, or the end of the transport it calls [`Protocol::depart`] and drops the value.
pub trait Protocol: Sized + Send + Unpin + 'static {
    /// Name in configuration, logs and metrics.
    const NAME: &'static str;
    /// Names of the kinds of packet that are counted in the outbox, by number.
    const PACKET_NAMES: &'static [&'static str];
    /// Settings shared by all conversations of a listener.
    type Config: Send + Sync + 'static;
    /// What ends a conversation early.
    type Fault: Fault;

    /// A conversation begins.
    fn open(config: &Arc<Self::Config>, peer: &Peer, now: Instant) -> Self;

    /// Handles bytes (or one datagram) from the peer. Consumes whole frames and leaves an incomplete one in `input`; may stop earlier while it
    /// waits for a reply, and is then called again after the reply.
    fn receive(&mut self, input: &mut Input<'_>, now: Instant, out: &mut Outbox) -> Result<(), Self::Fault>;

    /// The gateway's answer to an earlier request.
    fn reply(&mut self, reply: Reply, now: Instant, out: &mut Outbox) -> Result<(), Self::Fault>;

    /// A message for this peer.
    fn deliver(&mut self, delivery: Delivery, now: Instant, out: &mut Outbox) -> Delivered;

    /// The deadline has passed.
    fn timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), Self::Fault>;

    /// When [`Protocol::timeout`] shall be called at the earliest; drivers may be up to a second late. [`Instant::NEVER`] for none.
    fn deadline(&self) -> Instant;

    /// The gateway ends the conversation: tell the peer why, if the protocol can.
    fn close(&mut self, reason: &CloseReason, now: Instant, out: &mut Outbox);

    /// The conversation failed: tell the peer why, if the protocol can. The one place that maps a fault to the wire's code.
    fn refuse(&mut self, fault: &Self::Fault, now: Instant, out: &mut Outbox);

    /// The connection is gone: what is left of the conversation.
    fn depart(&mut self) -> Departure;

    /// How many exchanges are under way; `None` for a protocol that does not count them.
    fn exchanges(&self) -> Option<Exchanges> {
        None
    }

    /// Shows the messages that the peer was sent and has not taken over, the oldest first, each with what the peer knows it by.
    fn under_way(&self, _show: &mut dyn FnMut(u16, &Delivery)) {}

    /// The operator has the peer speak at least so often from now on, 0 for never. False for a protocol without such a thing, or before there is a session.
    fn set_keep_alive(&mut self, _secs: u16, _now: Instant) -> bool {
        false
    }
}
