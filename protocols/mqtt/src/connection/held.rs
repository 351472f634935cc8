//! Acknowledgements that the machine decides on by itself while the gateway's answers about earlier packets are missing.
//!
//! PUBACK, PUBREC and PUBREL leave in the order of the packets that they answer [MQTT-4.6.0-2] to [MQTT-4.6.0-4]. Most
//! follow a reply, and replies come in the order of the requests. One that needs no reply waits here for those that were
//! asked for before it.

use std::collections::VecDeque;

use thingway_contract::Outbox;

use super::{Connection, inbound::InboundStage};
use crate::{Reason, inflight::Stage, packet::PacketType};

/// Held acknowledgements, oldest first. Bounded by what they answer: refused messages count for the receive maximum
/// until then, and a message that was published before or is to be released waits here once.
#[derive(Debug, Default)]
pub(super) struct HeldAcks {
    acks: VecDeque<HeldAck>,
    /// Replies until the last of them may leave.
    replies: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeldAck {
    kind: PacketType,
    reason: Reason,
    id: u16,
    /// Replies between the acknowledgement before this one and this.
    replies: u16,
}

/// A queue of this capacity is kept when it is empty.
const CAPACITY_KEPT_MAX: usize = 64;

impl HeldAcks {
    pub(super) fn is_empty(&self) -> bool {
        self.acks.is_empty()
    }

    /// Holds one until all replies that are missing now have come.
    fn push(&mut self, kind: PacketType, id: u16, reason: Reason, unanswered: u16) {
        let replies = unanswered.saturating_sub(self.replies);
        self.acks.push_back(HeldAck { kind, reason, id, replies });
        self.replies = unanswered;
    }

    /// A reply came.
    fn count_reply(&mut self) {
        self.replies = self.replies.saturating_sub(1);
        if let Some(first) = self.acks.front_mut() {
            first.replies = first.replies.saturating_sub(1);
        }
    }

    /// The next that waits for nothing any more.
    fn pop(&mut self) -> Option<HeldAck> {
        let first = self.acks.pop_front_if(|first| first.replies == 0);
        if self.acks.is_empty() && self.acks.capacity() > CAPACITY_KEPT_MAX {
            self.acks = VecDeque::new();
        }
        first
    }
}

impl Connection {
    /// Acknowledges a PUBLISH that the gateway is not asked about, behind those that it was asked about before.
    pub(super) fn refuse_publish(&mut self, kind: PacketType, id: u16, reason: Reason, out: &mut Outbox) {
        if self.unanswered == 0 {
            self.acknowledge(kind, id, reason, out);
            return;
        }
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.hold(kind, id, reason);
    }

    /// Holds an acknowledgement until all replies that are missing now have come. There must be one.
    pub(super) fn hold(&mut self, kind: PacketType, id: u16, reason: Reason) {
        self.inbound.get_or_insert_default().held.push(kind, id, reason, self.unanswered);
    }

    /// A reply came: sends what waited for it.
    pub(super) fn send_held(&mut self, out: &mut Outbox) {
        let Some(inbound) = &mut self.inbound else { return };
        inbound.held.count_reply();
        while let Some(HeldAck { kind, reason, id, .. }) = self.inbound.as_mut().and_then(|inbound| inbound.held.pop())
        {
            let due = match kind {
                PacketType::Pubrel => self.release_received(id),
                // A repeated message, which the client may have released meanwhile.
                PacketType::Pubrec if !reason.is_failure() => {
                    self.move_inbound(id, InboundStage::Repeated, InboundStage::Received)
                }
                _ => {
                    self.unacknowledged = self.unacknowledged.saturating_sub(1);
                    true
                }
            };
            if due {
                self.acknowledge(kind, id, reason, out);
            }
        }
    }

    /// QoS 2: PUBREL is about to be sent. False when none is due.
    pub(super) fn release_received(&mut self, id: u16) -> bool {
        let Some(inflight) = &mut self.inflight else { return false };
        let due = matches!(inflight.stage(id), Some((Stage::Received, _)));
        if due {
            inflight.release(id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_for_the_replies_that_were_missing() {
        let mut held = HeldAcks::default();
        let push = |held: &mut HeldAcks, id, unanswered| held.push(PacketType::Puback, id, Reason::Success, unanswered);
        push(&mut held, 1, 2);
        push(&mut held, 2, 2);
        push(&mut held, 3, 3);
        let left = |held: &mut HeldAcks| {
            held.count_reply();
            std::iter::from_fn(|| held.pop().map(|ack| ack.id)).collect::<Vec<_>>()
        };
        assert_eq!(left(&mut held), []);
        assert_eq!(left(&mut held), [1, 2]);
        // One reply is missing, and two more are asked for.
        push(&mut held, 4, 3);
        assert_eq!(left(&mut held), [3]);
        assert_eq!(left(&mut held), []);
        assert_eq!(left(&mut held), [4]);
        assert!(held.is_empty());
        push(&mut held, 5, 1);
        assert_eq!(left(&mut held), [5]);
    }
}
