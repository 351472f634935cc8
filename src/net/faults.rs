use std::{fmt::Display, time::Duration};

use thingway_contract::{ClientId, Culprit, Fault, Instant};

use crate::logging::PeerLog;

/// Lines a second about faults of one kind; more are counted and summed up in the next line.
const LINES_PER_SECOND: u64 = 10;

/// Log lines about faults of peers, limited in rate so that a flood of bad input is no flood of log.
#[derive(Debug)]
pub struct Faults {
    log: PeerLog,
}

impl Default for Faults {
    fn default() -> Self {
        Self { log: PeerLog::new(LINES_PER_SECOND, Duration::from_secs(1)) }
    }
}

impl Faults {
    /// Logs a fault with the peer's address, unless too many of its kind were logged this second.
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
}
