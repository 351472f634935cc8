use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use thingway_contract::Transport;

use crate::{
    logging::PeerLog,
    net::{datagram::UdpOptions, limit::Limits, quic::QuicOptions, tls::TlsOptions, unix::UnixOptions, ws::WsOptions},
    network::Networks,
};

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Name in logs and metrics.
    pub name: Arc<str>,
    /// Where to listen, and with what.
    pub bind: Bind,
    /// Limits.
    pub limits: Limits,
    /// Socket options of TCP.
    pub socket: SocketOptions,
    /// Expect a PROXY header from peers in `trusted_proxies` (on a Unix socket, from all). Other peers are taken as
    /// they are.
    pub proxy_protocol: bool,
    /// Who may tell the address of the real client, by PROXY header or `X-Forwarded-For`.
    pub trusted_proxies: Networks,
    /// TLS, for TCP and QUIC.
    pub tls: Option<TlsOptions>,
    /// WebSocket, for TCP.
    pub websocket: Option<WsOptions>,
    /// What limits the log lines that peers cause; listeners may share it.
    pub log: Arc<PeerLog>,
}

/// Where a listener listens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Bind {
    /// TCP.
    Tcp(Address),
    /// QUIC over UDP. After a stop the socket stays with its connections until they end.
    Quic(Address, QuicOptions),
    /// Datagrams over UDP.
    Udp(Address, UdpOptions),
    /// A Unix domain socket.
    Unix(UnixOptions),
}

/// An IP address and a port. Port 0 takes any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port on every address of both families: one IPv6 socket that takes IPv4, too, or IPv4 alone where the system
    /// has no IPv6. Peers that come by IPv4 are shown with their IPv4 address.
    Every(u16),
    /// One address, or every address of one family.
    One(SocketAddr),
}

/// When the kernel asks whether a silent peer is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first question (`TCP_KEEPIDLE`); at least a second.
    pub idle: Duration,
    /// Time between two questions (`TCP_KEEPINTVL`); at least a second.
    pub interval: Duration,
    /// Questions without an answer after which the peer is gone (`TCP_KEEPCNT`).
    pub probes: u32,
}

/// Options of TCP sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections that wait in the kernel to be accepted, for each core; the kernel's own limit (`somaxconn`) applies.
    pub backlog: u32,
    /// Send small packets at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Whether and when the kernel asks if the peer is still there; `None` never asks.
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged before the kernel gives the peer up (`TCP_USER_TIMEOUT`): without it
    /// a peer that vanished while being written to holds its buffers for a quarter of an hour.
    pub user_timeout: Option<Duration>,
    /// Size of the kernel's receive buffer in bytes; `None` leaves it to the kernel.
    pub receive_buffer_bytes: Option<usize>,
    /// Size of the kernel's send buffer in bytes; `None` leaves it to the kernel.
    pub send_buffer_bytes: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            nodelay: true,
            keepalive: Some(Keepalive { idle: Duration::from_secs(300), interval: Duration::from_secs(30), probes: 4 }),
            user_timeout: Some(Duration::from_secs(60)),
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(port) => write!(f, ":{port}"),
            Self::One(address) => address.fmt(f),
        }
    }
}

impl ListenerOptions {
    /// A plain listener with default limits.
    pub fn new(name: impl Into<Arc<str>>, bind: Bind) -> Self {
        Self {
            name: name.into(),
            bind,
            limits: Limits::default(),
            socket: SocketOptions::default(),
            proxy_protocol: false,
            trusted_proxies: Networks::default(),
            tls: None,
            websocket: None,
            log: Arc::default(),
        }
    }

    /// What its peers are carried by.
    pub fn transport(&self) -> Transport {
        match (&self.bind, &self.tls, &self.websocket) {
            (Bind::Unix(_), ..) => Transport::Unix,
            (Bind::Quic(..), ..) => Transport::Quic,
            (Bind::Udp(..), ..) => Transport::Udp,
            (Bind::Tcp(_), None, None) => Transport::Tcp,
            (Bind::Tcp(_), Some(_), None) => Transport::Tls,
            (Bind::Tcp(_), None, Some(_)) => Transport::WebSocket,
            (Bind::Tcp(_), Some(_), Some(_)) => Transport::WebSocketTls,
        }
    }
}
