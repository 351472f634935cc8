use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::rules::{Action, Permission};

/// Decisions of one connection, found by the topic's bytes. A decision that is found takes no lock and allocates nothing.
#[derive(Debug)]
pub(super) struct Cache {
    /// Beside the entries, so that looking through them touches little memory.
    hashes: Vec<u64>,
    entries: Vec<Entry>,
    next: usize,
}

#[derive(Debug)]
struct Entry {
    topic: Box<str>,
    action: u8,
    permission: Permission,
}

/// The first entries that room is made for. Most clients publish to one topic or a few.
const FIRST: usize = 4;

impl Cache {
    pub const fn new() -> Self {
        Self { hashes: Vec::new(), entries: Vec::new(), next: 0 }
    }

    pub fn find(&self, action: Action, topic: &str) -> Option<Permission> {
        let hash = hash(action, topic);
        let at = self.hashes.iter().position(|known| *known == hash)?;
        let entry = &self.entries[at];
        (entry.action == action.code() && *entry.topic == *topic).then_some(entry.permission)
    }

    /// Keeps a decision; when there are `len_max` the oldest makes room.
    pub fn keep(&mut self, action: Action, topic: &str, permission: Permission, len_max: usize) {
        if len_max == 0 {
            return;
        }
        let entry = Entry { topic: topic.into(), action: action.code(), permission };
        let hash = hash(action, topic);
        if let Some(at) = self.hashes.iter().position(|known| *known == hash) {
            self.entries[at] = entry;
        } else if self.entries.len() < len_max {
            if self.entries.capacity() == self.entries.len() {
                let more = self.entries.len().max(FIRST).min(len_max - self.entries.len());
                self.entries.reserve_exact(more);
                self.hashes.reserve_exact(more);
            }
            self.entries.push(entry);
            self.hashes.push(hash);
        } else {
            self.next = (self.next + 1) % self.entries.len();
            self.entries[self.next] = entry;
            self.hashes[self.next] = hash;
        }
    }

    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

fn hash(action: Action, topic: &str) -> u64 {
    xxh3_64_with_seed(topic.as_bytes(), action.code().into())
}

#[cfg(test)]
mod tests {
    use thingway_contract::Qos;

    use super::*;

    const SUBSCRIBE: Action = Action::Subscribe { qos: Qos::AtMostOnce };
    const PUBLISH: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };

    #[test]
    fn decisions_are_found_again() {
        let mut cache = Cache::new();
        cache.keep(PUBLISH, "a", Permission::Allow, 8);
        cache.keep(SUBSCRIBE, "a", Permission::Deny, 8);
        assert_eq!(cache.find(PUBLISH, "a"), Some(Permission::Allow));
        assert_eq!(cache.find(SUBSCRIBE, "a"), Some(Permission::Deny));
        assert_eq!(cache.find(Action::Publish { qos: Qos::AtMostOnce, retain: true }, "a"), None);
        assert_eq!(cache.find(PUBLISH, "b"), None);
        cache.keep(PUBLISH, "a", Permission::Deny, 8);
        assert_eq!(cache.find(PUBLISH, "a"), Some(Permission::Deny));
        cache.clear();
        assert_eq!(cache.find(PUBLISH, "a"), None);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut cache = Cache::new();
        for number in 0..100 {
            cache.keep(PUBLISH, &number.to_string(), Permission::Allow, 6);
            assert_eq!(cache.find(PUBLISH, &number.to_string()), Some(Permission::Allow));
            assert!(cache.entries.len() <= 6 && cache.entries.capacity() <= 6 && cache.hashes.len() <= 6);
        }
        let known = (0..100).filter(|number| cache.find(PUBLISH, &number.to_string()).is_some()).count();
        assert_eq!(known, 6);
        cache.keep(PUBLISH, "none", Permission::Allow, 0);
        assert_eq!(cache.find(PUBLISH, "none"), None);
    }
}
