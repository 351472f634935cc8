//! What is asked of a connection by those who look at it: its own core does it, in its next turn, so that nothing is shared for that.

use thingway_contract::{Delivery, Exchanges};

/// Most errands that wait for a connection at a time.
const ERRANDS_MAX: usize = 16;

/// What a connection has received and sent since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of packets from the peer, without what TLS or WebSocket add.
    pub bytes_received: u64,
    /// Bytes of packets to the peer.
    pub bytes_sent: u64,
    /// Packets from the peer; datagrams, where it sends such.
    pub packets_received: u64,
    /// Packets to the peer.
    pub packets_sent: u64,
    /// Messages from the peer by quality of service.
    pub messages_received: [u64; 3],
    /// Messages to the peer by quality of service.
    pub messages_sent: [u64; 3],
    /// Messages from the peer that were refused.
    pub refused: u64,
    /// Messages to the peer that had expired by then.
    pub expired: u64,
    /// Messages to the peer that were longer than it takes.
    pub too_large: u64,
}

/// A connection, as those see it who have an errand there.
pub trait Line {
    /// What it has received and sent.
    fn traffic(&self) -> Traffic;
    /// Exchanges that are under way; `None` where nobody counts them.
    fn exchanges(&self) -> Option<Exchanges>;
    /// Shows the messages that its peer was sent and has not taken over, the oldest first, each with what the peer knows it by.
    fn under_way(&self, show: &mut dyn FnMut(u16, &Delivery));
    /// Has the peer speak at least so often from now on, 0 for never; false where there is no such thing.
    fn set_keep_alive(&mut self, secs: u16) -> bool;
}

/// What a connection is asked to do. It is dropped undone when the connection ends before.
pub type Errand = Box<dyn FnOnce(&mut dyn Line) + Send>;

/// What became of an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The connection does it in its next turn, unless it ends before.
    Given,
    /// There is no connection.
    NoConnection,
    /// As many wait as may.
    TooMany,
}

/// Errands that wait for a connection.
#[derive(Default)]
pub struct Errands(Vec<Errand>);

impl Errands {
    /// Adds one; false when there are as many as may be.
    pub(super) fn add(&mut self, errand: Errand) -> bool {
        let has_room = self.0.len() < ERRANDS_MAX;
        if has_room {
            self.0.push(errand);
        }
        has_room
    }

    /// Has them done.
    pub fn run(self, line: &mut dyn Line) {
        self.0.into_iter().for_each(|errand| errand(line));
    }
}

impl std::fmt::Debug for Errands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Errands").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_wait() {
        let mut errands = Errands::default();
        for _ in 0..ERRANDS_MAX {
            assert!(errands.add(Box::new(|_| ())));
        }
        assert!(!errands.add(Box::new(|_| panic!("it was refused"))));
    }
}
