use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;
use thingway_contract::ClientId;

use super::Session;

/// So many that a million sessions are a thousand in each, and whoever visits all holds no lock for long.
const SHARDS: usize = 1024;

/// All sessions by client id, in shards so that a connect storm does not queue at one lock.
///
/// A table holds nothing but its sessions, which know their ids: with the id beside each, its empty places would cost three times as much.
#[derive(Debug)]
pub(super) struct Registry {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    len: AtomicUsize,
}

type Shard = HashTable<Arc<Session>>;

impl Default for Registry {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            len: AtomicUsize::new(0),
        }
    }
}

impl Registry {
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        let hash = self.hash(id);
        self.shard(hash).lock().find(hash, |session| session.id().as_str() == id).cloned()
    }

    /// Finds or makes the session of this id; tells whether it was there.
    pub fn find_or_insert(&self, id: &ClientId, make: impl FnOnce() -> Arc<Session>) -> (Arc<Session>, bool) {
        let hash = self.hash(id);
        let mut shard = self.shard(hash).lock();
        if let Some(session) = shard.find(hash, |session| session.id() == id) {
            return (session.clone(), true);
        }
        let session = make();
        shard.insert_unique(hash, session.clone(), |session| self.hash(session.id()));
        self.len.fetch_add(1, Ordering::Relaxed);
        (session, false)
    }

    /// Removes this very session.
    pub fn remove(&self, session: &Arc<Session>) -> bool {
        let hash = self.hash(session.id());
        let mut shard = self.shard(hash).lock();
        if let Ok(found) = shard.find_entry(hash, |found| Arc::ptr_eq(found, session)) {
            found.remove();
            self.len.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        false
    }

    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Visits all sessions, a shard at a time, holding no lock during the visits.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<Session>)) {
        for shard in &self.shards {
            let sessions: Vec<_> = shard.lock().iter().cloned().collect();
            sessions.iter().for_each(&mut visit);
        }
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }

    /// By bits that the tables do not go by: those use the lowest and the highest seven.
    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::PublisherKey;

    use super::*;

    #[test]
    fn sessions_are_found_by_their_ids() {
        let registry = Registry::default();
        let id = |number: u64| ClientId::new(&format!("node-{number}"), 20).expect("valid");
        let session = |number| Arc::new(Session::new(id(number), PublisherKey(number)));
        for number in 0..10_000 {
            assert!(!registry.find_or_insert(&id(number), || session(number)).1);
        }
        let (found, was_there) = registry.find_or_insert(&id(7), || session(0));
        assert!(was_there && found.key() == PublisherKey(7));
        assert!(!registry.remove(&session(7)), "another of the same name");
        for number in (0..10_000).step_by(2) {
            assert!(registry.remove(&registry.find(&id(number)).expect("there")));
        }
        let mut keys = Vec::new();
        registry.for_each(|session| keys.push(session.key().0));
        keys.sort_unstable();
        assert_eq!(keys, (0..10_000).filter(|number| number % 2 == 1).collect::<Vec<_>>());
        assert_eq!(registry.len(), keys.len());
        assert!(keys.iter().all(|&number| registry.find(&id(number)).is_some_and(|found| found.key().0 == number)));
        // Shards are about as large as one another.
        let lens: Vec<_> = registry.shards.iter().map(|shard| shard.lock().len()).collect();
        assert!(lens.iter().all(|len| *len < 40), "{lens:?}");
    }
}
