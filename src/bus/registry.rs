use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use thingway_contract::ClientId;

use super::Session;

const SHARDS: usize = 64;

/// All sessions by client id, in shards so that a connect storm does not queue at one lock.
#[derive(Debug)]
pub(super) struct Registry {
    hasher: foldhash::fast::RandomState,
    shards: Vec<Mutex<Shard>>,
    len: AtomicUsize,
}

pub(super) type Shard = HashMap<ClientId, Arc<Session>, foldhash::fast::RandomState>;

impl Default for Registry {
    fn default() -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            len: AtomicUsize::new(0),
        }
    }
}

impl Registry {
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.shard(id).lock().get(id).cloned()
    }

    /// Finds or makes the session of this id; tells whether it was there.
    pub fn find_or_insert(&self, id: &ClientId, make: impl FnOnce() -> Arc<Session>) -> (Arc<Session>, bool) {
        let mut shard = self.shard(id).lock();
        if let Some(session) = shard.get(id) {
            return (session.clone(), true);
        }
        let session = make();
        shard.insert(id.clone(), session.clone());
        self.len.fetch_add(1, Ordering::Relaxed);
        (session, false)
    }

    /// Removes this very session.
    pub fn remove(&self, session: &Arc<Session>) -> bool {
        let mut shard = self.shard(session.id()).lock();
        if shard.get(session.id()).is_some_and(|found| Arc::ptr_eq(found, session)) {
            shard.remove(session.id());
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
            let sessions: Vec<_> = shard.lock().values().cloned().collect();
            sessions.iter().for_each(&mut visit);
        }
    }

    fn shard(&self, id: &str) -> &Mutex<Shard> {
        use std::hash::BuildHasher;
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }
}
