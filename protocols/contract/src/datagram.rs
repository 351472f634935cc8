use std::time::Duration;

use crate::{Instant, Outbox, Protocol};

/// What would be lost if a conversation were forgotten now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing: it is forgotten as soon as its answers are sent. So is the conversation of a peer that only asks who is there.
    Forgettable,
    /// Something, but the peer has not shown that it is there at all: under pressure such conversations go, oldest first, before any living
    /// one.
    Unproven,
    /// A living conversation. It ends by itself, by its deadline or by the gateway's word.
    Established,
}

/// A datagram that a listener sends to whoever may hear it, at intervals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// What is sent.
    pub datagram: Vec<u8>,
    /// Time between two of them.
    pub interval: Duration,
}

/// A protocol whose packets are datagrams.
///
/// [`Protocol::receive`] then gets one whole datagram at a time and consumes all of it; answers are appended to the wire, each ended by
/// [`crate::Outbox::end_datagram`]. A conversation belongs to an address and, behind it, a node. As anybody can put any address on a datagram, an error
/// of [`Protocol::receive`] is answered and counted, but ends the conversation only if [`DatagramProtocol::is_fatal`].
pub trait DatagramProtocol: Protocol {
    /// Whom behind the address a datagram comes from: a few bytes that a forwarder put into it, or nothing for the address itself. Answers need the
    /// forwarder's header too; the conversation finds the node in [`crate::Peer::node`].
    fn node(datagram: &[u8]) -> &[u8];

    /// What would be lost if the conversation were forgotten now. Asked after each turn.
    fn standing(&self) -> Standing;

    /// True for a fault after which there is nothing to go on with.
    fn is_fatal(fault: &Self::Fault) -> bool;

    /// True while whoever asks only for this very session ([`crate::Connect::must_exist`]) may take it from this conversation. False where no more
    /// than the identifier is asked for, while the peer is known to be at this address: then such a request is none of the peer's. Asked at the end of
    /// each turn.
    fn may_move(&self) -> bool {
        true
    }

    /// The session's queue is empty and nothing of it was held back by [`crate::Delivered::Later`]: called at the end of every turn (input, reply, timeout
    /// or deliveries) of a conversation with a session of which that is true, also when there was nothing to deliver, and not while retained messages
    /// for a new subscription are still to come. What is written here is sent with the turn. A protocol whose peer comes to fetch what is there can tell
    /// it that this was all.
    fn drained(&mut self, now: Instant, out: &mut Outbox) {
        let _ = (now, out);
    }

    /// What listeners announce themselves by.
    fn beacon(config: &Self::Config) -> Option<Beacon> {
        let _ = config;
        None
    }
}
