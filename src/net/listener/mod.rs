//! Listeners: they bind, accept, run the handshakes of a transport in bounded time and number, and hand the finished
//! transport to a [`StreamSink`].
//!
//! A TCP listener has one accept loop per core on sockets that share the port (`SO_REUSEPORT`).

mod accept;
mod bind;
mod error;
mod options;
mod sink;

pub use error::{HandshakeFault, IoCause, ListenError};
pub use options::{Bind, ListenerOptions, SocketOptions};
pub use sink::{ByteStream, StreamSink};

use std::{net::SocketAddr, sync::Arc};

use self::accept::{Context, Socket, accept_loop};
use super::{core::Cores, limit::ListenerShared};

/// A listener that runs. Dropping the handle does not stop it.
#[derive(Clone, Debug)]
pub struct ListenerHandle {
    shared: Arc<ListenerShared>,
    local: Arc<[SocketAddr]>,
}

/// Binds and starts a listener; it runs on `cores` until [`ListenerHandle::stop`].
///
/// Nothing is left bound when an error is returned.
pub fn start<S: StreamSink>(options: ListenerOptions, cores: &Cores, sink: S) -> Result<ListenerHandle, ListenError> {
    let shared = ListenerShared::new(options.name.clone(), options.limits.clone());
    let mut local = Vec::new();
    let mut sockets = Vec::new();
    match &options.bind {
        Bind::Tcp(addresses) => {
            for address in addresses {
                let bound = bind::tcp(*address, addresses, cores.len(), &options.socket)
                    .map_err(|cause| ListenError::bind(&options.name, *address, &cause))?;
                local.push(bound.local);
                sockets.extend(bound.sockets.into_iter().enumerate().map(|(core, socket)| (core, Socket::Tcp(socket))));
            }
        }
    }
    let context = Arc::new(Context { shared: shared.clone(), cores: cores.clone(), sink, options });
    for (core, socket) in sockets {
        cores.spawn_on(core, accept_loop(context.clone(), core, socket, shared.stopping()));
    }
    Ok(ListenerHandle { shared, local: local.into() })
}

impl ListenerHandle {
    /// The addresses that are listened on, with real port numbers, in the order of the options; none for a Unix socket.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.local
    }

    /// The first address that is listened on.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local.first().copied()
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
}

#[cfg(test)]
mod tests;
