//! Listeners: they bind, accept, run the handshakes of a transport in bounded time and number, and hand the finished
//! transport to a [`StreamSink`].
//!
//! A TCP listener has one accept loop per core on sockets that share the port (`SO_REUSEPORT`); a Unix socket has one
//! accept loop; QUIC has one endpoint.

pub(super) mod accept;
pub(super) mod bind;
mod error;
mod options;
pub(super) mod raw;
mod sink;

pub use error::{HandshakeFault, IoCause, ListenError};
pub use options::{Address, Bind, Keepalive, ListenerOptions, SocketOptions};
pub use sink::{ByteStream, StreamSink};

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use tracing::{info, warn};

use self::accept::{Context, Socket, accept_loop};
use super::{
    core::Cores,
    limit::{ListenerShared, Stopping},
    quic,
    tls::{Reload, TlsError, TlsServer},
    unix,
};

/// A listener that runs. Dropping the handle does not stop it.
#[derive(Clone, Debug)]
pub struct ListenerHandle {
    shared: Arc<ListenerShared>,
    local: Option<SocketAddr>,
    tls: Option<Arc<TlsServer>>,
}

/// Binds and starts a listener; it runs on `cores` until [`ListenerHandle::stop`].
///
/// Nothing is left bound when an error is returned.
pub fn start<S: StreamSink>(options: ListenerOptions, cores: &Cores, sink: S) -> Result<ListenerHandle, ListenError> {
    let shared = ListenerShared::new(options.name.clone(), options.limits.clone());
    let layered = options.tls.is_some() || options.websocket.is_some();
    let tls = options.tls.clone().map(|mut tls| {
        if matches!(options.bind, Bind::Quic(..)) && tls.alpn.is_empty() {
            tls.alpn = vec![b"mqtt".to_vec()];
        }
        TlsServer::load(tls)
    });
    let tls = tls.transpose();
    let tls = tls.map_err(|cause| ListenError::Tls { listener: options.name.clone(), cause })?.map(Arc::new);
    let mut local = None;
    let mut sockets = Vec::new();
    let mut endpoint = None;
    match &options.bind {
        Bind::Tcp(address) => {
            let bound = bind::tcp(*address, cores.len(), &options.socket)
                .map_err(|cause| ListenError::bind(&options.name, *address, &cause))?;
            local = Some(bound.local);
            sockets.extend(bound.sockets.into_iter().enumerate().map(|(core, socket)| (core, Socket::Tcp(socket))));
        }
        Bind::Quic(address, quic) => {
            let tls = tls.clone().filter(|tls| options.websocket.is_none() && quic::fits(tls));
            let tls = tls.ok_or_else(|| ListenError::Combination(options.name.clone()))?;
            let (socket, bound) =
                quic::bind(*address).map_err(|cause| ListenError::bind(&options.name, *address, &cause))?;
            local = Some(bound);
            endpoint = Some((tls, quic.clone(), socket));
        }
        // Datagrams are no streams.
        Bind::Udp(..) => return Err(ListenError::Combination(options.name)),
        Bind::Unix(_) if layered => return Err(ListenError::Combination(options.name)),
        Bind::Unix(unix) => {
            let (socket, file) =
                unix::bind(unix).map_err(|cause| ListenError::path(&options.name, &unix.path, &cause))?;
            sockets.push((0, Socket::Unix(socket, file)));
        }
    }
    let context =
        Arc::new(Context { shared: shared.clone(), cores: cores.clone(), sink, options, tls: tls.clone(), local });
    if let Some((tls, quic, socket)) = endpoint {
        cores.spawn_on(0, quic::serve(context.clone(), tls, quic, 0, socket, shared.stopping()));
    }
    for (core, socket) in sockets {
        cores.spawn_on(core, accept_loop(context.clone(), core, socket, shared.stopping()));
    }
    let handle = ListenerHandle { shared, local, tls };
    handle.watch_certificates(cores);
    Ok(handle)
}

impl ListenerHandle {
    pub(super) fn of_datagrams(shared: Arc<ListenerShared>, local: SocketAddr) -> Self {
        Self { shared, local: Some(local), tls: None }
    }

    /// The address that is listened on, with the real port number; none for a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Name, counters, and the switch for shedding.
    pub fn shared(&self) -> &Arc<ListenerShared> {
        &self.shared
    }

    /// Stops accepting and drops unfinished handshakes; returns when the sockets are closed. Established connections
    /// go on.
    pub async fn stop(&self) {
        self.shared.stop().await;
    }

    /// Looks at the certificate files now. With an error the old ones stay in use. Reads files: not for a core's own
    /// thread.
    pub fn reload_certificates(&self) -> Result<Reload, TlsError> {
        let Some(tls) = &self.tls else { return Ok(Reload::Unchanged) };
        let (counters, name) = (&self.shared.counters, &self.shared.name);
        let result = tls.reload();
        match &result {
            Ok(Reload::Unchanged) => {}
            Ok(Reload::Replaced) => {
                counters.certificate_reloads.fetch_add(1, Ordering::Relaxed);
                info!(listener = %name, "new certificates in use");
            }
            Err(error) => {
                counters.certificate_reload_failures.fetch_add(1, Ordering::Relaxed);
                warn!(listener = %name, %error, "changed certificates cannot be used; the old ones stay");
            }
        }
        result
    }

    fn watch_certificates(&self, cores: &Cores) {
        let Some(interval) = self.tls.as_ref().and_then(|tls| tls.options().reload_interval) else { return };
        let (handle, stopping) = (self.clone(), self.shared.stopping());
        cores.spawn_on(0, async move { handle.watch(interval, stopping).await });
    }

    async fn watch(self, interval: std::time::Duration, mut stopping: Stopping) {
        loop {
            tokio::select! {
                biased;
                () = stopping.wait() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let handle = self.clone();
            // The result is counted and logged already.
            let _ = tokio::task::spawn_blocking(move || handle.reload_certificates()).await;
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
