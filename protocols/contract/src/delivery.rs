use std::sync::Arc;

use smallvec::SmallVec;

use crate::{Message, Qos, Topic};

/// A shared subscription's name: its group and the filter that the group shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShareName {
    /// The group.
    pub group: Arc<str>,
    /// The filter.
    pub filter: Arc<str>,
}

/// What few deliveries carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// Subscription identifiers beyond the first, when several subscriptions of the session matched.
    pub further_subscription_ids: SmallVec<[u32; 4]>,
    /// The shared subscription that the message was drawn from: it goes to another member if this one leaves without acknowledging.
    pub share: Option<ShareName>,
    /// Bytes at the beginning of the topic that the peer is not shown: its mount point.
    pub hidden_bytes: u16,
}

/// A message on its way to one subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// What few deliveries carry.
    pub rare: Option<Arc<Rare>>,
    /// Subscription identifier (MQTT 5.0, section 3.3.2.3.8), 0 for none.
    pub subscription_id: u32,
    /// The lower of the publisher's and the subscription's quality of service.
    pub qos: Qos,
    /// The retain flag to send.
    pub retain: bool,
    /// The packet identifier to send it under, chosen by the gateway because it keeps the exchange through its own restart: the protocol says how the
    /// exchange goes on by [`crate::Request::Received`] and [`crate::Request::Acknowledged`]. 0 leaves the choice, and the exchange, to the protocol.
    pub packet_id: u16,
}

impl Delivery {
    /// The topic as the peer knows it.
    pub fn topic(&self) -> &str {
        self.message.topic().get(self.hidden_bytes()..).unwrap_or_default()
    }

    /// The topic as the peer knows it, which was checked when the message was made.
    pub fn name(&self) -> Topic<'_> {
        Topic::trusted(self.topic())
    }

    /// The topic's bytes as the peer knows it.
    #[inline]
    pub fn topic_bytes(&self) -> &[u8] {
        let topic = self.message.topic_bytes();
        topic.get(self.hidden_bytes()..).unwrap_or_default()
    }

    fn hidden_bytes(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| usize::from(rare.hidden_bytes))
    }
}

/// What a protocol did with a delivery.
#[derive(Debug)]
#[must_use]
pub enum Delivered {
    /// Written, and nothing more to do or remember for the gateway.
    Sent,
    /// Not now: the protocol's window is full or the peer sleeps. It goes back to the head of the session's queue, and the protocol will not be asked
    /// again before it has handled input, a reply or a timeout.
    Later(Delivery),
    /// Will never be sent: larger than the peer accepts, or expired.
    Dropped(DropCause),
}

/// Why a delivery was dropped by the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropCause {
    /// Larger than the peer's maximum packet size [MQTT-3.1.2-25].
    TooLarge,
    /// Its message expiry interval has passed [MQTT-3.3.2-5].
    Expired,
    /// Its topic name is longer than the peer takes, or one more than it can know numbers for (MQTT-SN 1.2, section 6.10).
    TopicUnknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_three_words() {
        assert_eq!(size_of::<Delivery>(), 24);
    }
}
