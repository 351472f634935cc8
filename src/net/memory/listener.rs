use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use thingway_contract::{Peer, Transport};

use super::{BUFFER_BYTES_MAX, MemoryStream, pair};
use crate::net::{
    core::Cores,
    limit::{Limits, ListenerShared, Opened},
    listener::StreamSink,
};

/// Takes connections that begin inside the process, and spreads them over the cores.
///
/// Of its limits only the number of connections counts: there is no backlog to wait in, and no handshake. Not stopped
/// with the gateway's other listeners: whoever has it decides when no more connections come.
#[derive(Clone)]
pub struct MemoryListener {
    shared: Arc<ListenerShared>,
    cores: Cores,
    next: Arc<AtomicUsize>,
    accept: Arc<dyn Fn(Peer, MemoryStream, Opened) + Send + Sync>,
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The listener has as many connections as it may have.
    #[error("the listener has as many connections as it may have")]
    Full,
}

impl MemoryListener {
    /// A listener that hands its connections to `sink`.
    pub fn new<S: StreamSink>(name: Arc<str>, limits: Limits, cores: &Cores, sink: S) -> Self {
        Self {
            shared: ListenerShared::new(name, limits),
            cores: cores.clone(),
            next: Arc::default(),
            accept: Arc::new(move |peer, io, opened| sink.accept(peer, io, opened)),
        }
    }

    /// Opens a connection and returns the client's end of it.
    pub fn connect(&self) -> Result<MemoryStream, OpenError> {
        let (client, server) = pair(BUFFER_BYTES_MAX);
        self.accept(server)?;
        Ok(client)
    }

    /// Takes the server's end of a connection.
    pub fn accept(&self, server: MemoryStream) -> Result<(), OpenError> {
        let opened = self.shared.open().ok_or(OpenError::Full)?;
        let peer = Peer {
            remote: None,
            local: None,
            transport: Transport::Memory,
            node: Box::default(),
            listener: self.shared.name.clone(),
            certificate: None,
        };
        let core = self.cores.place(self.next.fetch_add(1, Ordering::Relaxed) % self.cores.len());
        let accept = self.accept.clone();
        self.cores.spawn_on(core, async move { accept(peer, server, opened.establish()) });
        Ok(())
    }

    /// Name, counters, and the switch for shedding.
    pub fn shared(&self) -> &Arc<ListenerShared> {
        &self.shared
    }
}

impl fmt::Debug for MemoryListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryListener").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::listener::tests::{Echo, cores};

    #[tokio::test]
    async fn connections_are_served_counted_and_limited() {
        let cores = cores(2);
        let (echo, mut served) = Echo::new();
        let limits = Limits { connections_max: 2, ..Limits::default() };
        let listener = MemoryListener::new("memory".into(), limits, &cores, echo);
        let mut clients = [listener.connect().unwrap(), listener.connect().unwrap()];
        assert_eq!(listener.connect().map(|_| ()), Err(OpenError::Full));
        for client in &mut clients {
            client.write_all(b"hello").await.unwrap();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"hello");
            let (peer, shed) = served.recv().await.unwrap();
            assert_eq!((peer.transport, &*peer.listener, shed), (Transport::Memory, "memory", false));
            client.shutdown().await.unwrap();
            assert_eq!(client.read(&mut answer).await.unwrap(), 0);
        }
        drop(clients);
        // The guard goes with the task, a moment after the stream's end was read.
        while listener.shared().counters.connections.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        assert!(listener.connect().is_ok());
        cores.stop();
    }
}
