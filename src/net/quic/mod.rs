//! QUIC: one UDP socket for each listener, whose connections live on all cores.
//!
//! One socket and not one for each core: the kernel spreads datagrams of a shared port by the peer's address, so a
//! client that moves to another network would arrive at a core that does not know its connection. The endpoint runs on
//! one core and routes by connection id; handshake, encryption and streams of a connection run on its own core.

mod lane;
mod stream;

pub use stream::QuicStream;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, TokioRuntime, TransportConfig, VarInt};
use quinn::{ServerConfig, crypto::rustls::QuicServerConfig, rustls::pki_types::CertificateDer};
use socket2::{Protocol, Type};
use tracing::warn;

use super::{
    limit::{Opened, Stopping},
    listener::{Address, HandshakeFault, StreamSink, accept::Context, bind::families, raw::canonical},
    tls::TlsServer,
};

/// Settings of a QUIC listener.
#[derive(Clone, Debug)]
pub struct QuicOptions {
    /// Time without a packet after which a connection is given up; the peer may ask for less.
    pub idle_timeout: Duration,
    /// How often an idle connection is kept alive from our side; `None` leaves that to the peer.
    pub keep_alive: Option<Duration>,
    /// Most streams that a peer has open at once; it cannot open more. With 1 there is only the main stream.
    pub streams_max: u32,
    /// Bytes that a peer may send on a stream before they are read.
    pub stream_window_bytes: u32,
    /// Bytes of an incomplete frame that are kept for a stream. A longer frame is passed on as it comes, and other
    /// streams wait until it is complete.
    pub frame_buffer_bytes_max: usize,
    /// How frames are told apart. `None` allows the main stream only, as frames of several streams could not be merged.
    pub frame_length: Option<FrameLength>,
    /// When a new peer must first show that it receives at its address.
    pub retry: Retry,
}

/// Tells the length of the frame that begins with some bytes, header and all, once they are enough to tell; at most 16.
#[derive(Clone, Copy, Debug)]
pub struct FrameLength(pub fn(&[u8]) -> Option<usize>);

impl FrameLength {
    fn of(self, bytes: &[u8]) -> Option<usize> {
        (self.0)(bytes)
    }
}

/// When a new peer must first show that it receives at its address, at the price of a round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Never.
    Never,
    /// While more than a quarter of the places for handshakes are taken.
    #[default]
    UnderLoad,
    /// Always.
    Always,
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(60),
            keep_alive: None,
            streams_max: 16,
            stream_window_bytes: 256 * 1024,
            frame_buffer_bytes_max: 64 * 1024,
            frame_length: None,
            retry: Retry::UnderLoad,
        }
    }
}

/// Binds `address`.
pub(super) fn bind(address: Address) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket: UdpSocket = families(address, |family| family.bind(Type::DGRAM, Protocol::UDP, |_| Ok(())))?.into();
    let local = socket.local_addr()?;
    Ok((socket, local))
}

/// True when QUIC can run with these TLS settings.
pub(super) fn fits(tls: &TlsServer) -> bool {
    QuicServerConfig::try_from(tls.config()).is_ok()
}

/// Runs an endpoint until the listener stops; its connections go on.
pub(super) async fn serve<S: StreamSink>(
    context: Arc<Context<S>>,
    tls: Arc<TlsServer>,
    options: QuicOptions,
    core: usize,
    socket: UdpSocket,
    mut stopping: Stopping,
) {
    let mut server = Server { tls, transport: Arc::new(transport(&options)), current: None };
    let config = server.config();
    let endpoint = Endpoint::new(
        EndpointConfig::default(),
        config.map(|config| (*config).clone()),
        socket,
        Arc::new(TokioRuntime),
    );
    let endpoint = match endpoint {
        Ok(endpoint) => endpoint,
        Err(error) => return warn!(listener = %context.shared.name, %error, "cannot run QUIC"),
    };
    loop {
        let incoming = tokio::select! {
            biased;
            () = stopping.wait() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let Some(config) = server.config() else { continue };
        tokio::select! {
            biased;
            () = stopping.wait() => break,
            () = admit(&context, &options, core, incoming, config) => {}
        }
    }
    endpoint.set_server_config(None);
}

async fn admit<S: StreamSink>(
    context: &Arc<Context<S>>,
    options: &QuicOptions,
    core: usize,
    incoming: Incoming,
    config: Arc<ServerConfig>,
) {
    let shared = &context.shared;
    let retry = match options.retry {
        Retry::Never => false,
        Retry::UnderLoad => shared.counters.handshakes.load(Ordering::Relaxed) * 4 > shared.limits.handshakes_max,
        Retry::Always => true,
    };
    if retry && !incoming.remote_address_validated() {
        // It fails only for peers that have shown their address.
        let _ = incoming.retry();
        return;
    }
    let Some(opened) = shared.open() else { return incoming.refuse() };
    shared.pass_rate().await;
    let Some(handshake) = shared.try_handshake() else { return incoming.refuse() };
    let remote = canonical(incoming.remote_address());
    let (context, options) = (context.clone(), options.clone());
    let target = context.cores.place(core);
    context.cores.clone().spawn_on(target, async move {
        let shaking = shake(&context, &options, incoming, config, opened);
        context.bounded(Some(remote), handshake, shaking).await;
    });
}

/// Runs the handshake and waits for the first stream. Called on the connection's core, where its tasks stay.
async fn shake<S: StreamSink>(
    context: &Context<S>,
    options: &QuicOptions,
    incoming: Incoming,
    config: Arc<ServerConfig>,
    opened: Opened,
) -> Result<(), HandshakeFault> {
    let remote = canonical(incoming.remote_address());
    let local_ip = incoming.local_ip();
    let connection = incoming.accept_with(config)?.await?;
    let (send, receive) = connection.accept_bi().await?;
    let port = context.local.map_or(0, |local| local.port());
    let mut peer = context.peer(Some(remote), local_ip.map(|ip| canonical(SocketAddr::new(ip, port))));
    let shown = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    if let (Some(tls), Some(certificate)) = (&context.tls, shown.as_ref().and_then(|chain| chain.first())) {
        peer.certificate = tls.options().identity.read(certificate).map(Arc::new);
    }
    context.sink.accept(peer, QuicStream::new(connection, send, receive, options), opened.establish());
    Ok(())
}

fn transport(options: &QuicOptions) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let streams = options.frame_length.map_or(1, |_| options.streams_max.max(1));
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(options.stream_window_bytes))
        .receive_window(VarInt::from_u32(options.stream_window_bytes.saturating_mul(streams.min(4))))
        .send_window(u64::from(options.stream_window_bytes))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(options.idle_timeout).ok())
        .keep_alive_interval(options.keep_alive);
    transport
}

/// quinn's form of the TLS settings, made again when they are replaced.
struct Server {
    tls: Arc<TlsServer>,
    transport: Arc<TransportConfig>,
    current: Option<(Arc<rustls::ServerConfig>, Arc<ServerConfig>)>,
}

impl Server {
    fn config(&mut self) -> Option<Arc<ServerConfig>> {
        let tls = self.tls.config();
        if let Some((from, config)) = &self.current
            && Arc::ptr_eq(from, &tls)
        {
            return Some(config.clone());
        }
        // It did fit when the listener started, and a reload changes nothing that matters for it.
        let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls.clone()).ok()?));
        config.transport_config(self.transport.clone());
        let config = Arc::new(config);
        self.current = Some((tls, config.clone()));
        Some(config)
    }
}

#[cfg(test)]
mod tests;
