use thingway_contract::Peer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::{limit::Opened, reactor::Socket};

/// A transport as the drivers see it: bytes in order, both ways.
///
/// After writes, call `poll_flush` until it is ready: TLS and WebSocket may hold the end of a record or a control frame
/// that the socket did not take.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The transport has several streams: answers and deliveries must be written apart.
    const STREAMS: bool = false;
    /// Dropping it ends it as shutting it down does: the peer reads what was written, and then the end.
    const ENDS_BY_DROP: bool = false;
    /// It may go to another core while nothing waits to be written.
    const MOVES: bool = false;

    /// What is written next belongs to the session and not to the frames read last. On a transport with several streams
    /// (QUIC), writes go back to the stream that was read last until this is called.
    fn select_main(&mut self) {}
}

impl ByteStream for Socket {
    const ENDS_BY_DROP: bool = true;
    const MOVES: bool = true;
}

/// Takes finished connections. Called on the core on which the connection shall live. What serves `io` is for
/// [`crate::net::reactor::spawn`].
pub trait StreamSink: Clone + Send + Sync + 'static {
    /// `opened` holds the connection's place in the listener's counts: keep it as long as the connection.
    fn accept<T: ByteStream>(&self, peer: Peer, io: T, opened: Opened);
}
