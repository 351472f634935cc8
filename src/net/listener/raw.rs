use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use thingway_contract::Peer;
use tokio::io::{Interest, unix::AsyncFd};

use super::{ByteStream, HandshakeFault, StreamSink, accept::Context};
use crate::net::{limit::Opened, reactor::Socket, tls, ws};

/// A socket that listens, in a runtime.
pub(super) struct Source<L: Accept>(AsyncFd<L>);

/// Accepts without waiting.
pub(super) trait Accept: AsFd + AsRawFd + Send + Sync + 'static {
    fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)>;
}

impl<L: Accept> Source<L> {
    /// To be called in the runtime. The socket must not block.
    pub fn new(socket: L) -> io::Result<Self> {
        // SAFETY: both kinds of socket are of the standard library, which keeps their descriptor open and the same until they are dropped.
        Ok(Self(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?))
    }

    pub fn poll_accept(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            if let Ok(accepted) = guard.try_io(|socket| socket.get_ref().accept()) {
                return Poll::Ready(accepted.map(|(descriptor, remote)| (Socket::new(descriptor), remote)));
            }
        }
    }
}

impl Accept for TcpListener {
    fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        Self::accept(self).map(|(stream, remote)| (stream.into(), Some(canonical(remote))))
    }
}

impl Accept for UnixListener {
    fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        Self::accept(self).map(|(stream, _)| (stream.into(), None))
    }
}

/// Puts the listener's layers on top of a connection as the kernel gave it, and hands the result to the sink.
pub(super) async fn establish<S: StreamSink>(
    socket: Socket,
    context: &Context<S>,
    mut peer: Peer,
    opened: Opened,
) -> Result<(), HandshakeFault> {
    match &context.tls {
        None => upgrade(socket, context, peer, opened).await,
        Some(server) => {
            let tls = tls::accept(socket, server.config()).await?;
            let shown = tls.peer_certificate().and_then(|certificate| server.options().identity.read(certificate));
            peer.certificate = shown.map(Arc::new).or(peer.certificate);
            upgrade(tls, context, peer, opened).await
        }
    }
}

/// Upgrades to a WebSocket if the listener wants it.
async fn upgrade<S: StreamSink, T: ByteStream>(
    io: T,
    context: &Context<S>,
    mut peer: Peer,
    opened: Opened,
) -> Result<(), HandshakeFault> {
    let options = &context.options;
    let Some(websocket) = &options.websocket else {
        context.sink.accept(peer, io, opened.establish());
        return Ok(());
    };
    let remote = peer.remote.map(|remote| remote.ip());
    let upgraded = ws::accept(io, websocket, remote, &options.trusted_proxies).await?;
    peer.remote = upgraded.forwarded_for.or(peer.remote);
    context.sink.accept(peer, upgraded.io, opened.establish());
    Ok(())
}

/// An IPv4 address that came in by an IPv6 socket, as IPv4.
pub(in crate::net) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
