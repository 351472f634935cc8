use std::{net::SocketAddr, sync::Arc};

use super::{ListenerInfo, StartError};
use crate::{
    access::Access,
    bus::Bus,
    config::{self, Config, ListenerKind},
    net::{
        Cores,
        limit::{Limits, ListenerShared, Rate},
        listener::{Bind, ListenerHandle, ListenerOptions, SocketOptions},
    },
    protocols,
};

/// A listener that was started.
#[derive(Debug)]
pub(super) struct Running {
    kind: ListenerKind,
    name: String,
    protocol: &'static str,
    handle: ListenerHandle,
}

impl Running {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.handle.local_address()
    }

    pub fn shared(&self) -> Arc<ListenerShared> {
        self.handle.shared().clone()
    }

    pub fn info(&self) -> ListenerInfo {
        let addresses: Vec<_> = self.handle.local_addresses().iter().map(SocketAddr::to_string).collect();
        let carrier = match self.kind {
            ListenerKind::Tcp => "TCP",
            ListenerKind::Tls => "TLS",
            ListenerKind::Ws => "WebSocket",
            ListenerKind::Wss => "WebSocket over TLS",
            ListenerKind::Quic => "QUIC",
            ListenerKind::Unix => "Unix socket",
        };
        ListenerInfo {
            name: self.name.clone(),
            protocol: format!("{} over {carrier}", self.protocol),
            address: addresses.join(", "),
        }
    }

    pub async fn stop(&self) {
        self.handle.stop().await;
    }
}

/// Starts all enabled listeners, or none: those already started are stopped when one fails.
pub(super) async fn start_all(
    config: &Config,
    bus: &Arc<Bus>,
    access: &Arc<Access>,
    cores: &Cores,
) -> Result<Vec<Running>, StartError> {
    let mut running = Vec::new();
    for (kind, name, listener) in config.listeners.iter().filter(|(_, _, listener)| listener.enable) {
        let name = format!("{}.{name}", kind.as_str());
        let started = options(kind, &name, listener)
            .and_then(|options| Ok(protocols::start(listener, options, bus, access, cores)?));
        match started {
            Ok(handle) => running.push(Running { kind, name, protocol: listener.protocol.as_str(), handle }),
            Err(error) => {
                for running in &running {
                    Running::stop(running).await;
                }
                return Err(error);
            }
        }
    }
    Ok(running)
}

fn options(kind: ListenerKind, name: &str, listener: &config::Listener) -> Result<ListenerOptions, StartError> {
    let bind = match (kind, listener.bind.address()) {
        (ListenerKind::Tcp, Some(address)) => Bind::Tcp(vec![address]),
        _ => {
            return Err(StartError::Setting {
                listener: name.into(),
                problem: format!("cannot be bound to {}", listener.bind),
            });
        }
    };
    let mut options = ListenerOptions::new(name, bind);
    options.limits = Limits {
        connections_max: listener.max_connections.finite().map_or(usize::MAX, |max| max as usize),
        rate: listener.connection_rate.finite().map(|rate| Rate {
            per_sec: rate.as_per_second().clamp(1.0, f64::from(u32::MAX)) as u32,
            burst: listener.connection_burst,
        }),
        handshakes_max: listener.handshake_concurrency as usize,
        handshake_timeout: listener.handshake_timeout.duration(),
    };
    options.socket = SocketOptions {
        backlog: listener.backlog,
        nodelay: listener.tcp.nodelay,
        keepalive: Some(listener.tcp.keepalive_idle.duration()).filter(|idle| !idle.is_zero()),
        ..SocketOptions::default()
    };
    Ok(options)
}
