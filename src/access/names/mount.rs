use std::sync::Arc;

use thingway_contract::{Delivery, Message, Rare, Topic, TopicFilter, TopicLimits};

use super::split_delay;

/// The attribute that says where a client is mounted, before its listener does. Empty for nowhere.
pub const MOUNT_ATTRIBUTE: &str = "mountpoint";

/// Longest mount point, in bytes.
const MOUNT_BYTES_MAX: usize = 1024;
/// What the gateway adds in front may have more levels than clients may write.
const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: usize::MAX };

/// Where a client is mounted: what is in front of all its topics on the bus, and what it never sees.
#[derive(Debug)]
pub struct Mount {
    prefix: Arc<str>,
    /// For deliveries that have nothing else that is rare.
    rare: Arc<Rare>,
}

impl Mount {
    /// A mount point; `None` for a text that cannot be one.
    pub fn new(prefix: &str) -> Option<Self> {
        if prefix.is_empty() || prefix.len() > MOUNT_BYTES_MAX || prefix.contains(['+', '#', '\0']) {
            return None;
        }
        let hidden_bytes = u16::try_from(prefix.len()).ok()?;
        Some(Self { prefix: prefix.into(), rare: Arc::new(Rare { hidden_bytes, ..Rare::default() }) })
    }

    /// What is in front.
    pub fn prefix(&self) -> &Arc<str> {
        &self.prefix
    }

    /// A client's topic as it is on the bus. The delay of a delayed publication stays in front.
    pub fn topic(&self, topic: &str) -> String {
        let (delay, topic) = split_delay(topic);
        [delay, &self.prefix, topic].concat()
    }

    /// A client's message as it is on the bus; `None` when its topic would be too long.
    pub fn inward(&self, message: &Message) -> Option<Message> {
        let topic = self.topic(message.topic());
        Some(message.with_topic(Topic::parse(&topic, LIMITS).ok()?))
    }

    /// A client's filter as it is on the bus; `None` when it would be too long.
    pub fn filter(&self, filter: &TopicFilter) -> Option<TopicFilter> {
        filter.below(&self.prefix).ok()
    }

    /// A message as the client sees it; `None` for one that is not for its eyes.
    pub fn outward(&self, message: &Message) -> Option<Message> {
        let topic = message.topic().strip_prefix(&*self.prefix)?;
        Some(message.with_topic(Topic::parse(topic, LIMITS).ok()?))
    }

    /// Hides the mount point in a delivery. False for one that is not for the client's eyes.
    #[must_use]
    pub fn hide(&self, delivery: &mut Delivery) -> bool {
        let topic = delivery.message.topic_bytes();
        if topic.len() <= self.prefix.len() || !topic.starts_with(self.prefix.as_bytes()) {
            return false;
        }
        let rare = match &delivery.rare {
            None => self.rare.clone(),
            Some(rare) => Arc::new(Rare { hidden_bytes: self.rare.hidden_bytes, ..(**rare).clone() }),
        };
        delivery.rare = Some(rare);
        true
    }

    /// Makes a delivery again what it was before [`Mount::hide`]: others may get it.
    pub fn show(&self, delivery: &mut Delivery) {
        delivery.rare = match delivery.rare.take() {
            Some(rare) if *rare == *self.rare => None,
            Some(rare) => Some(Arc::new(Rare { hidden_bytes: 0, ..(*rare).clone() })),
            None => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::{MessageHead, Properties, Qos, ShareName};

    use super::*;

    fn message(topic: &str) -> Message {
        let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
        Message::new(MessageHead::default(), topic, Properties::default(), b"x")
    }

    fn delivery(topic: &str, rare: Option<Rare>) -> Delivery {
        Delivery {
            message: message(topic),
            rare: rare.map(Arc::new),
            subscription_id: 0,
            qos: Qos::AtMostOnce,
            retain: false,
            packet_id: 0,
        }
    }

    #[test]
    fn in_and_out_again() {
        let mount = Mount::new("t/a/").expect("a mount point");
        for (topic, mounted) in [("x/y", "t/a/x/y"), ("$delayed/5/x", "$delayed/5/t/a/x"), ("/", "t/a//")] {
            assert_eq!(mount.inward(&message(topic)).expect("short").topic(), mounted);
        }
        assert_eq!(mount.outward(&message("t/a/x/y")).expect("its own").topic(), "x/y");
        assert!(mount.outward(&message("t/b/x")).is_none() && mount.outward(&message("t/a/")).is_none());
        let long = "x".repeat(65_535);
        assert!(mount.inward(&message(&long)).is_none(), "too long");
    }

    #[test]
    fn deliveries_are_hidden_and_shown() {
        let mount = Mount::new("t/a/").expect("a mount point");
        let share = ShareName { group: "g".into(), filter: "t/a/#".into() };
        for rare in [None, Some(Rare { share: Some(share), ..Rare::default() })] {
            let mut delivery = delivery("t/a/x", rare.clone());
            for _ in 0..2 {
                assert!(mount.hide(&mut delivery), "as often as one likes");
                assert_eq!((delivery.topic(), delivery.name().as_str(), delivery.topic_bytes()), ("x", "x", &b"x"[..]));
            }
            mount.show(&mut delivery);
            assert_eq!(delivery.topic(), "t/a/x");
            assert_eq!(delivery.rare.as_deref(), rare.as_ref());
        }
        for topic in ["t/b/x", "t/a/", "x"] {
            assert!(!mount.hide(&mut delivery(topic, None)), "{topic}");
        }
    }

    #[test]
    fn what_is_no_mount_point() {
        for text in ["", "a/+/", "#", "a\0", &"x".repeat(2000)] {
            assert!(Mount::new(text).is_none(), "{text}");
        }
    }
}
