use std::{io, net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use socket2::SockRef;
use thingway_contract::Peer;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::{HandshakeFault, ListenerOptions, StreamSink, bind};
use crate::net::{
    core::Cores,
    limit::{Handshake, ListenerShared, Opened, Stopping},
};

/// Longest pause after `accept` failed.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

pub(super) struct Context<S> {
    pub(super) shared: Arc<ListenerShared>,
    pub(super) cores: Cores,
    pub(super) sink: S,
    pub(super) options: ListenerOptions,
}

/// A socket that listens, not yet in a runtime.
pub(super) enum Socket {
    Tcp(std::net::TcpListener),
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
            Socket::Tcp(socket) => accept_tcp(&context, core, TcpListener::from_std(socket)?).await,
        }
    };
    tokio::select! {
        biased;
        () = stopping.wait() => {}
        Err(error) = accepting => warn!(listener = %context.shared.name, %error, "cannot accept on this core"),
    }
}

async fn accept_tcp<S: StreamSink>(context: &Arc<Context<S>>, core: usize, socket: TcpListener) -> io::Result<()> {
    let mut backoff = Backoff::default();
    loop {
        let (stream, remote) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                backoff.pause(&context.shared, &error).await;
                continue;
            }
        };
        backoff = Backoff::default();
        let Some(opened) = context.shared.open() else { continue };
        context.shared.pass_rate().await;
        if let Err(error) = bind::tune(SockRef::from(&stream), &context.options.socket) {
            debug!(listener = %context.shared.name, peer = %remote, %error, "the peer left before it was accepted");
            continue;
        }
        let handshake = match context.needs_handshake(remote) {
            true => Some(context.shared.handshake().await),
            false => None,
        };
        context.hand_over(core, stream, remote, opened, handshake);
    }
}

impl<S: StreamSink> Context<S> {
    /// True when there is something to read from the peer before the protocol begins.
    fn needs_handshake(&self, _remote: SocketAddr) -> bool {
        false
    }

    /// Moves the connection to the core on which it shall live.
    fn hand_over(
        self: &Arc<Self>,
        here: usize,
        stream: TcpStream,
        remote: SocketAddr,
        opened: Opened,
        handshake: Option<Handshake>,
    ) {
        let peer = Peer {
            remote: Some(canonical(remote)),
            local: stream.local_addr().ok().map(canonical),
            transport: self.options.transport(),
            listener: self.shared.name.clone(),
            certificate_identity: None,
        };
        let target = self.cores.place(here);
        if target == here && handshake.is_none() {
            return self.sink.accept(peer, stream, opened.establish());
        }
        let context = self.clone();
        if target == here {
            tokio::spawn(async move { context.shake(peer, stream, opened, handshake).await });
            return;
        }
        let Ok(stream) = stream.into_std() else { return };
        self.cores.spawn_on(target, async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => context.shake(peer, stream, opened, handshake).await,
                Err(error) => warn!(listener = %context.shared.name, %peer, %error, "cannot move a connection"),
            }
        });
    }

    /// Runs what handshakes there are, in bounded time.
    async fn shake(&self, peer: Peer, stream: TcpStream, opened: Opened, handshake: Option<Handshake>) {
        let Some(_handshake) = handshake else { return self.sink.accept(peer, stream, opened.establish()) };
        let mut stopping = self.shared.stopping();
        let remote = peer.remote;
        let result = tokio::select! {
            biased;
            () = stopping.wait() => return,
            result = tokio::time::timeout(self.shared.limits.handshake_timeout, self.establish(peer, stream, opened)) => result,
        };
        match result {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.report(remote, &fault),
            Err(_) => {
                self.shared.counters.handshake_timeouts.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn establish(&self, peer: Peer, stream: TcpStream, opened: Opened) -> Result<(), HandshakeFault> {
        self.sink.accept(peer, stream, opened.establish());
        Ok(())
    }

    fn report(&self, remote: Option<SocketAddr>, fault: &HandshakeFault) {
        let counters = &self.shared.counters;
        let counter = match fault {
            HandshakeFault::Io(_) => &counters.handshake_aborts,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.shared.log.admit(self.shared.now()) {
            warn!(listener = %self.shared.name, peer = ?remote, %fault, left_out, "handshake failed");
        }
    }
}

/// An IPv4 address that came in by an IPv6 socket, as IPv4.
pub(in crate::net) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Pauses that double, for an `accept` that fails.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(5))
    }
}

impl Backoff {
    /// Counts the failure, and waits unless it concerned only the connection that was to be accepted.
    pub(super) async fn pause(&mut self, shared: &ListenerShared, error: &io::Error) {
        shared.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        if let Some(left_out) = shared.log.admit(shared.now()) {
            warn!(listener = %shared.name, %error, left_out, "accept failed");
        }
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
    }
}
