//! Topic aliases (MQTT 5.0, section 3.3.2.3.4).

use std::collections::HashMap;

/// The aliases that the client set.
#[derive(Debug, Default)]
pub(crate) struct AliasesIn {
    /// By alias less one; grows as far as the client's highest alias.
    topics: Vec<Option<Box<str>>>,
}

impl AliasesIn {
    /// Sets an alias, which must have been checked against the maximum.
    pub(crate) fn set(&mut self, alias: u16, topic: &str) {
        let index = usize::from(alias) - 1;
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        let slot = &mut self.topics[index];
        // Setting it again to the same topic is common: clients send both with every message.
        if slot.as_deref() != Some(topic) {
            *slot = Some(Box::from(topic));
        }
    }

    /// The topic that an alias stands for.
    pub(crate) fn topic(&self, alias: u16) -> Option<&str> {
        self.topics.get(usize::from(alias).checked_sub(1)?)?.as_deref()
    }
}

/// The aliases that were set towards the client.
///
/// First come, first served: the gain is with the few topics that a subscriber gets again and again, and those come
/// early. Replacing the least recently used would make a subscriber to many topics pay three bytes more on nearly every
/// message for aliases that are never used again.
#[derive(Debug, Default)]
pub(crate) struct AliasesOut {
    aliases: HashMap<Box<[u8]>, u16>,
}

/// What to send for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AliasUse {
    /// The topic alone.
    Topic,
    /// The topic, and an alias for the next time.
    Set(u16),
    /// The alias alone.
    Alias(u16),
}

impl AliasesOut {
    /// Shorter topics than this gain nothing: the alias itself takes three bytes, and setting it three more.
    const TOPIC_BYTES_MIN: usize = 6;

    /// What to send for a topic as long as no alias was set.
    pub(crate) const fn choose_first(topic: &[u8], aliases_max: u16) -> AliasUse {
        if topic.len() < Self::TOPIC_BYTES_MIN || aliases_max == 0 { AliasUse::Topic } else { AliasUse::Set(1) }
    }

    /// What to send for a topic when at most `aliases_max` aliases are allowed.
    pub(crate) fn choose(&self, topic: &[u8], aliases_max: u16) -> AliasUse {
        if topic.len() < Self::TOPIC_BYTES_MIN {
            return AliasUse::Topic;
        }
        match self.aliases.get(topic) {
            Some(&alias) => AliasUse::Alias(alias),
            None if self.aliases.len() < usize::from(aliases_max) => AliasUse::Set(self.aliases.len() as u16 + 1),
            None => AliasUse::Topic,
        }
    }

    /// Remembers that [`AliasUse::Set`] was sent.
    pub(crate) fn set(&mut self, topic: &[u8], alias: u16) {
        self.aliases.insert(Box::from(topic), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incoming_aliases_are_set_and_replaced() {
        let mut aliases = AliasesIn::default();
        assert_eq!(aliases.topic(1), None);
        assert_eq!(aliases.topic(0), None);
        aliases.set(3, "a");
        assert_eq!((aliases.topic(3), aliases.topic(2), aliases.topic(4)), (Some("a"), None, None));
        aliases.set(3, "b");
        assert_eq!(aliases.topic(3), Some("b"));
    }

    #[test]
    fn outgoing_aliases_go_to_the_first_topics() {
        let mut aliases = AliasesOut::default();
        assert_eq!(AliasesOut::choose_first(b"topic/1", 0), AliasUse::Topic);
        assert_eq!(AliasesOut::choose_first(b"short", 1), AliasUse::Topic);
        assert_eq!(AliasesOut::choose_first(b"topic/1", 2), AliasUse::Set(1));
        assert_eq!(aliases.choose(b"topic/1", 2), AliasUse::Set(1));
        aliases.set(b"topic/1", 1);
        assert_eq!(aliases.choose(b"topic/1", 2), AliasUse::Alias(1));
        assert_eq!(aliases.choose(b"topic/2", 2), AliasUse::Set(2));
        aliases.set(b"topic/2", 2);
        assert_eq!(aliases.choose(b"topic/3", 2), AliasUse::Topic);
        assert_eq!(aliases.choose(b"topic/1", 2), AliasUse::Alias(1));
        assert_eq!(aliases.choose(b"short", 9), AliasUse::Topic);
    }
}
