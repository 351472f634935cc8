use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use thingway_contract::{Certificate, Peer};
use tracing::{debug, warn};

use super::{
    HandshakeFault, ListenerOptions, StreamSink,
    raw::{Accept, Source, canonical, establish},
};
use crate::net::{
    core::Cores,
    faults::RemoteName,
    limit::{Handshake, ListenerShared, Opened, Stopping},
    proxy,
    reactor::Socket as Stream,
    tls::TlsServer,
    unix::SocketFile,
};

/// Longest pause after `accept` failed.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(in crate::net) struct Context<S> {
    pub(in crate::net) shared: Arc<ListenerShared>,
    pub(in crate::net) cores: Cores,
    pub(in crate::net) sink: S,
    pub(in crate::net) options: ListenerOptions,
    pub(in crate::net) tls: Option<Arc<TlsServer>>,
    pub(in crate::net) local: Option<SocketAddr>,
}

/// A socket that listens, not yet in a runtime.
pub(super) enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// Accepts on one socket until the listener stops.
pub(super) async fn accept_loop<S: StreamSink>(
    context: Arc<Context<S>>,
    core: usize,
    socket: Socket,
    mut stopping: Stopping,
) {
    let accepting = async {
        match socket {
            Socket::Tcp(socket) => context.accept_all(core, Source::new(socket)?).await,
            Socket::Unix(socket, _file) => context.accept_all(core, Source::new(socket)?).await,
        }
    };
    tokio::select! {
        biased;
        () = stopping.wait() => {}
        Err(error) = accepting => warn!(listener = %context.shared.name, %error, "cannot accept on this core"),
    }
}

impl<S: StreamSink> Context<S> {
    async fn accept_all<L: Accept>(self: &Arc<Self>, core: usize, socket: Source<L>) -> io::Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let (stream, remote) = match poll_fn(|cx| socket.poll_accept(cx)).await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.pause(&mut backoff, &error).await;
                    continue;
                }
            };
            backoff = Backoff::default();
            let Some(opened) = self.shared.open() else { continue };
            self.shared.pass_rate().await;
            let handshake = match self.needs_handshake(remote) {
                true => Some(self.shared.handshake().await),
                false => None,
            };
            self.hand_over(core, stream, remote, opened, handshake);
        }
    }

    /// True when there is something to read from the peer before the protocol begins.
    fn needs_handshake(&self, remote: Option<SocketAddr>) -> bool {
        self.tls.is_some() || self.options.websocket.is_some() || self.expects_proxy(remote)
    }

    fn expects_proxy(&self, remote: Option<SocketAddr>) -> bool {
        self.options.proxy_protocol && remote.is_none_or(|remote| self.options.trusted_proxies.contain(remote.ip()))
    }

    pub(in crate::net) fn peer(&self, remote: Option<SocketAddr>, local: Option<SocketAddr>) -> Peer {
        Peer {
            remote,
            local,
            transport: self.options.transport(),
            node: Box::default(),
            listener: self.shared.name.clone(),
            certificate: None,
        }
    }

    /// Gives the connection to the core on which it shall live.
    fn hand_over(
        self: &Arc<Self>,
        here: usize,
        stream: Stream,
        remote: Option<SocketAddr>,
        opened: Opened,
        handshake: Option<Handshake>,
    ) {
        // A listener on one address need not ask the system which it was.
        let local = self.local.filter(|local| !local.ip().is_unspecified());
        let local = local.or_else(|| stream.local_address().map(canonical));
        let peer = self.peer(remote, local);
        let target = self.cores.place(here);
        if target == here && handshake.is_none() {
            return self.sink.accept(peer, stream, opened.establish());
        }
        let context = self.clone();
        self.cores.serve_on(target, async move { context.shake(peer, stream, opened, handshake).await });
    }

    /// Runs what handshakes there are and hands the transport to the sink.
    async fn shake(&self, mut peer: Peer, mut stream: Stream, opened: Opened, handshake: Option<Handshake>) {
        let Some(handshake) = handshake else { return self.sink.accept(peer, stream, opened.establish()) };
        let remote = peer.remote;
        self.bounded(remote, handshake, async {
            if self.expects_proxy(remote) {
                let header = proxy::read(&mut stream).await?;
                peer.remote = header.source.map(canonical).or(remote);
                peer.local = header.destination.map(canonical).or(peer.local);
                peer.certificate = header.common_name.map(|name| Arc::new(Certificate::of_common_name(name)));
            }
            establish(stream, self, peer, opened).await
        })
        .await;
    }

    /// Runs a handshake in bounded time, and no longer than the listener, and counts how it ends.
    pub(in crate::net) async fn bounded(
        &self,
        remote: Option<SocketAddr>,
        _handshake: Handshake,
        shaking: impl Future<Output = Result<(), HandshakeFault>>,
    ) {
        let mut stopping = self.shared.stopping();
        // Pinned here, so that one that took too long is counted before its peer is let go.
        let mut shaking = pin!(shaking);
        let result = tokio::select! {
            biased;
            () = stopping.wait() => return,
            result = tokio::time::timeout(self.shared.limits.handshake_timeout, shaking.as_mut()) => result,
        };
        match result {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.report(remote, &fault),
            Err(_) => {
                self.shared.counters.handshake_timeouts.fetch_add(1, Ordering::Relaxed);
                debug!(listener = %self.shared.name, peer = ?remote, "handshake took too long");
            }
        }
    }

    fn report(&self, remote: Option<SocketAddr>, fault: &HandshakeFault) {
        let counters = &self.shared.counters;
        let counter = match fault {
            HandshakeFault::Proxy(_) => &counters.proxy_failures,
            HandshakeFault::Tls(_) | HandshakeFault::Quic(_) => &counters.tls_failures,
            HandshakeFault::WebSocket(_) => &counters.websocket_failures,
            HandshakeFault::Io(_) => &counters.handshake_aborts,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.options.log.admit(fault.kind(), self.cores.clock().now()) {
            warn!(listener = %self.shared.name, peer = %RemoteName(remote), %fault, suppressed, "handshake failed");
        }
    }

    /// Counts that `accept` failed, and waits unless it concerned only the connection that was to be accepted.
    async fn pause(&self, backoff: &mut Backoff, error: &io::Error) {
        self.shared.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        if let Some(suppressed) = self.options.log.admit("accept", self.cores.clock().now()) {
            warn!(listener = %self.shared.name, %error, suppressed, "accept failed");
        }
        backoff.wait().await;
    }
}

/// Pauses that double, for an `accept` that fails.
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(5))
    }
}

impl Backoff {
    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
    }
}
