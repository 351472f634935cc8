use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use foldhash::fast::RandomState;

/// A table of those that came up lately, with a bound: when it is full the one that came up first makes room.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, V, RandomState>,
    order: VecDeque<K>,
    len_max: usize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub fn new(len_max: usize) -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), len_max: len_max.max(1) }
    }

    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// Finds an entry or makes it.
    pub fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            while self.entries.len() >= self.len_max {
                let Some(oldest) = self.order.pop_front() else { break };
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.clone());
            // Those that were removed are still in the order.
            if self.order.len() > 2 * self.len_max + 64 {
                let entries = &self.entries;
                let mut seen = std::collections::HashSet::with_hasher(RandomState::default());
                self.order.retain(|known| (entries.contains_key(known) || *known == key) && seen.insert(known.clone()));
            }
        }
        self.entries.entry(key).or_insert_with(make)
    }

    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_makes_room() {
        let mut table = Recent::new(2);
        for key in [1, 2, 1, 3] {
            *table.entry(key, || 0) += 1;
        }
        assert_eq!((table.get(&1), table.get(&2), table.get(&3), table.len()), (None, Some(&1), Some(&1), 2));
    }

    #[test]
    fn it_stays_small_whatever_comes_and_goes() {
        let mut table = Recent::new(4);
        for round in 0..10_000 {
            table.entry(round % 7, || ());
            if round % 3 == 0 {
                table.remove(&(round % 7));
            }
            assert!(table.len() <= 4 && table.order.len() <= 73, "{}", table.order.len());
        }
    }
}
