use std::fmt::Display;

use parking_lot::Mutex;
use thingway_contract::{Culprit, Fault, Instant};

/// Most lines a second about peers' faults; more are counted and summed up in the next line.
const LINES_PER_SECOND: u32 = 10;

/// Log lines about faults of peers, limited in rate so that a flood of bad input is no flood of log.
#[derive(Debug, Default)]
pub struct Faults {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    second: u64,
    lines: u32,
    suppressed: u64,
}

impl Faults {
    /// Logs a fault with the peer's address, unless too many were logged this second.
    pub fn report(
        &self,
        peer: &dyn Display,
        protocol: &str,
        client: Option<&thingway_contract::ClientId>,
        fault: &impl Fault,
        now: Instant,
    ) {
        let Some(suppressed) = self.admit(now) else { return };
        let client = client.map_or("", |id| id.as_str());
        match fault.culprit() {
            Culprit::Peer => tracing::warn!(%peer, protocol, client, suppressed, "peer broke the protocol: {fault}"),
            Culprit::Gateway => tracing::error!(%peer, protocol, client, suppressed, "conversation failed: {fault}"),
        }
    }

    /// How many lines were left out since the last one, or `None` when this one is to be left out too.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock();
        let second = now.as_millis() / 1000;
        if window.second != second {
            window.second = second;
            window.lines = 0;
        }
        if window.lines >= LINES_PER_SECOND {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_summed_up() {
        let faults = Faults::default();
        let admitted = (0..100).filter(|_| faults.admit(Instant::from_millis(5000)).is_some()).count();
        assert_eq!(admitted, LINES_PER_SECOND as usize);
        assert_eq!(faults.admit(Instant::from_millis(6000)), Some(100 - u64::from(LINES_PER_SECOND)));
    }
}
