use std::{net::SocketAddr, sync::Arc, time::Duration};

use thingway_contract::Transport;

use crate::net::{limit::Limits, proxy::Networks, tls::TlsOptions, unix::UnixOptions, ws::WsOptions};

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
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bind {
    /// TCP addresses. Port 0 takes any free port. An IPv6 wildcard address also takes IPv4, unless the list has an IPv4
    /// address with the same port; peers that reach it by IPv4 are shown with their IPv4 address.
    Tcp(Vec<SocketAddr>),
    /// A Unix domain socket.
    Unix(UnixOptions),
}

/// Options of TCP sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections that wait in the kernel to be accepted, for each core; the kernel's own limit (`somaxconn`) applies.
    pub backlog: u32,
    /// Send small packets at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Idle time after which the kernel asks whether the peer is still there; then four times in equal parts of it.
    /// `None` never asks.
    pub keepalive: Option<Duration>,
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
            keepalive: Some(Duration::from_secs(300)),
            user_timeout: Some(Duration::from_secs(60)),
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
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
        }
    }

    /// What its peers are carried by.
    pub fn transport(&self) -> Transport {
        match (&self.bind, &self.tls, &self.websocket) {
            (Bind::Unix(_), ..) => Transport::Unix,
            (Bind::Tcp(_), None, None) => Transport::Tcp,
            (Bind::Tcp(_), Some(_), None) => Transport::Tls,
            (Bind::Tcp(_), None, Some(_)) => Transport::WebSocket,
            (Bind::Tcp(_), Some(_), Some(_)) => Transport::WebSocketTls,
        }
    }
}
