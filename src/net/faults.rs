//! Log lines about peers that are at fault.

use std::{
    fmt::{self, Display},
    net::SocketAddr,
    sync::Arc,
};

use thingway_contract::{ClientId, Culprit, Fault, Instant, Refusal};

use crate::logging::PeerLog;

/// Log lines about faults of peers, limited in rate so that a flood of bad input is no flood of log.
#[derive(Debug)]
pub struct Faults {
    log: Arc<PeerLog>,
}

impl Faults {
    /// Reports to a log that others may share.
    pub fn new(log: Arc<PeerLog>) -> Self {
        Self { log }
    }

    /// Logs a fault with the peer's address, unless too many of its kind were logged.
    pub fn report(
        &self,
        peer: &dyn Display,
        protocol: &str,
        client: Option<&ClientId>,
        fault: &impl Fault,
        now: Instant,
    ) {
        let Some(suppressed) = self.log.admit(fault.kind().as_str(), now) else { return };
        let client = client.map_or("", |id| id.as_str());
        match fault.culprit() {
            Culprit::Peer => tracing::warn!(%peer, protocol, client, suppressed, "the peer is at fault: {fault}"),
            Culprit::Gateway => {
                tracing::error!(%peer, protocol, client, suppressed, "the gateway is at fault: {fault}")
            }
        }
    }

    /// Logs that a peer got no session, unless that was logged too often.
    pub fn refused(&self, peer: &dyn Display, protocol: &str, refusal: &Refusal, now: Instant) {
        let Some(suppressed) = self.log.admit("refused session", now) else { return };
        tracing::info!(%peer, protocol, ?refusal, suppressed, "session refused");
    }
}

pub(super) struct RemoteName(pub Option<SocketAddr>);

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("local"),
        }
    }
}
