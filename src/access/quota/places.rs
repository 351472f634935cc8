use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;

/// How many connections each client id of a name has. What has none is not there.
type Shard = HashMap<Box<str>, HashMap<Box<str>, u32>>;

/// Client ids that are connected, by a name that they have in common. A client that comes again while its last connection is not gone yet counts once. The
/// table is as large as there are connections.
#[derive(Debug)]
pub struct Places {
    /// Client ids of one name.
    most: AtomicU32,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    name: Box<str>,
    client_id: Box<str>,
}

impl Places {
    /// All are free.
    pub fn new(most: u32) -> Self {
        Self { most: most.into(), hasher: RandomState::new(), shards: Default::default() }
    }

    /// Client ids that one name may have.
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// Another number of them. Nobody loses a place.
    pub fn set_most(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// A place for a connection; `None` when its name has none left.
    pub fn take(self: &Arc<Self>, name: &str, client_id: &str) -> Option<Place> {
        let mut shard = self.shard(name).lock();
        let ids = shard.entry(name.into()).or_default();
        if !ids.contains_key(client_id) && ids.len() >= self.most() as usize {
            if ids.is_empty() {
                shard.remove(name);
            }
            return None;
        }
        *ids.entry(client_id.into()).or_default() += 1;
        Some(Place { places: self.clone(), name: name.into(), client_id: client_id.into() })
    }

    fn shard(&self, name: &str) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(name) as usize % SHARDS]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { places, name, client_id } = self;
        let mut shard = places.shard(name).lock();
        let Some(ids) = shard.get_mut(name) else { return };
        if let Entry::Occupied(mut count) = ids.entry(std::mem::take(client_id)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if ids.is_empty() {
            shard.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let places = Arc::new(Places::new(1));
        let one = places.take("a", "1");
        let again = places.take("a", "1");
        assert!(one.is_some() && again.is_some() && places.take("a", "2").is_none());
        assert!(places.take("b", "2").is_some(), "another name");
        drop(one);
        assert!(places.take("a", "2").is_none());
        drop(again);
        assert!(places.shards.iter().all(|shard| shard.lock().is_empty()));
        assert!(Arc::new(Places::new(0)).take("a", "1").is_none());
    }
}
