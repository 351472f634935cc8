use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::list::Entry;

/// Topics remembered.
const SLOTS: usize = 4096;
/// Most bytes of a topic that is remembered.
const TOPIC_BYTES_MAX: usize = 128;
/// Most subscriptions that are remembered of one.
pub(super) const TARGETS_MAX: usize = 4;

/// Where topics went that came more than once, as long as nobody subscribes or unsubscribes.
///
/// One place for each topic by its hash. What came once only leaves its hash there, so that topics which do not come again cost no more than that. A
/// session that has ended may be held here until its place is used again: by each core at most [`SLOTS`] times [`TARGETS_MAX`] of them, without their
/// queues.
pub(super) struct Cache<S> {
    hasher: RandomState,
    /// None until the first topic comes.
    slots: Box<[Slot<S>]>,
}

struct Slot<S> {
    hash: u64,
    /// Of the routes when this was so; 0 for one that only has a hash.
    version: u64,
    topic: Box<[u8]>,
    targets: SmallVec<[Entry<S>; 1]>,
}

/// What a cache knows of a topic.
pub(super) enum Known<'a, S> {
    /// It goes to these, and no others.
    Targets(&'a [Entry<S>]),
    /// It came before. To be told where it goes with [`Cache::remember`] and this hash.
    Before(u64),
    Unknown,
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        Self { hash: 0, version: 0, topic: Box::default(), targets: SmallVec::new() }
    }
}

impl<S> Default for Cache<S> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), slots: Box::default() }
    }
}

impl<S> Cache<S> {
    /// What is known of a topic when the routes are of this version.
    pub fn find(&mut self, topic: &[u8], version: u64) -> Known<'_, S> {
        if self.slots.is_empty() {
            self.slots = (0..SLOTS).map(|_| Slot::default()).collect();
        }
        let hash = self.hasher.hash_one(topic);
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.hash != hash {
            if slot.version != 0 {
                *slot = Slot::default();
            }
            slot.hash = hash;
            return Known::Unknown;
        }
        if slot.version == version && *slot.topic == *topic {
            return Known::Targets(&slot.targets);
        }
        if topic.len() <= TOPIC_BYTES_MAX { Known::Before(hash) } else { Known::Unknown }
    }

    /// Notes where a topic goes when the routes are of this version.
    pub fn remember(&mut self, hash: u64, topic: &[u8], version: u64, targets: SmallVec<[Entry<S>; 1]>) {
        let slot = &mut self.slots[hash as usize % SLOTS];
        if *slot.topic != *topic {
            slot.topic = topic.into();
        }
        slot.hash = hash;
        slot.version = version;
        slot.targets = targets;
    }
}
