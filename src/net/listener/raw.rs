use std::{
    io,
    net::SocketAddr,
    task::{Context as TaskContext, Poll},
};

use thingway_contract::Peer;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{ByteStream, HandshakeFault, StreamSink, accept::Context};
use crate::net::{limit::Opened, tls, ws};

/// A listening socket in a runtime.
pub(super) trait Source: Sized + Send + Sync {
    type Stream: Raw;

    fn poll_accept(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<(Self::Stream, Option<SocketAddr>)>>;
}

/// A connection as the kernel gives it.
pub(super) trait Raw: ByteStream + Sized {
    /// Outside of a runtime.
    type Detached: Send + 'static;

    fn local(&self) -> Option<SocketAddr>;
    fn detach(self) -> io::Result<Self::Detached>;
    fn attach(detached: Self::Detached) -> io::Result<Self>;

    /// Puts the listener's layers on top and hands the result to the sink.
    fn establish<S: StreamSink>(
        self,
        context: &Context<S>,
        peer: Peer,
        opened: Opened,
    ) -> impl Future<Output = Result<(), HandshakeFault>> + Send;
}

impl Source for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<(TcpStream, Option<SocketAddr>)>> {
        Self::poll_accept(self, cx).map_ok(|(stream, remote)| (stream, Some(canonical(remote))))
    }
}

impl Raw for TcpStream {
    type Detached = std::net::TcpStream;

    fn local(&self) -> Option<SocketAddr> {
        self.local_addr().ok().map(canonical)
    }

    fn detach(self) -> io::Result<std::net::TcpStream> {
        self.into_std()
    }

    fn attach(detached: std::net::TcpStream) -> io::Result<Self> {
        Self::from_std(detached)
    }

    async fn establish<S: StreamSink>(
        self,
        context: &Context<S>,
        mut peer: Peer,
        opened: Opened,
    ) -> Result<(), HandshakeFault> {
        match &context.tls {
            None => upgrade(self, context, peer, opened).await,
            Some(server) => {
                let tls = tls::accept(self, server.config()).await?;
                let identity = server.options().identity.and_then(|kind| tls.identity(kind));
                peer.certificate_identity = identity.or(peer.certificate_identity);
                upgrade(tls, context, peer, opened).await
            }
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

impl Source for UnixListener {
    type Stream = UnixStream;

    fn poll_accept(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<(UnixStream, Option<SocketAddr>)>> {
        Self::poll_accept(self, cx).map_ok(|(stream, _)| (stream, None))
    }
}

impl Raw for UnixStream {
    type Detached = std::os::unix::net::UnixStream;

    fn local(&self) -> Option<SocketAddr> {
        None
    }

    fn detach(self) -> io::Result<std::os::unix::net::UnixStream> {
        self.into_std()
    }

    fn attach(detached: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Self::from_std(detached)
    }

    async fn establish<S: StreamSink>(
        self,
        context: &Context<S>,
        peer: Peer,
        opened: Opened,
    ) -> Result<(), HandshakeFault> {
        context.sink.accept(peer, self, opened.establish());
        Ok(())
    }
}

/// An IPv4 address that came in by an IPv6 socket, as IPv4.
pub(in crate::net) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
