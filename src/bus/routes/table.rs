//! A hash table that is read without locks: what both the exact filters and the edges of the trie are kept in.
//!
//! Slots are pointers with part of the hash in the bits that addresses do not use, so that a look-up costs one cache line and the
//! entry. Entries are never moved. Writers hold the lock of a shard; a shard that fills up gets new slots in one go, and being a
//! small part of the whole it does so quickly. What is taken out is freed when no reader can hold it any more.

use std::{
    hash::{BuildHasher, Hash},
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use seize::{Guard, LocalGuard};

const SHARDS: usize = 256;
/// Hash bits in a slot, above the 48 bits of a user-space address.
const TAG_SHIFT: u32 = 48;
const ADDRESS_MASK: usize = (1 << TAG_SHIFT) - 1;
/// In the place of an entry that was taken out; no entry has an odd address.
const TOMBSTONE: usize = 1;
const SLOTS_MIN: usize = 8;

/// A set of `E`, each of which hashes as the keys that name it.
pub(super) struct Table<E: Send + Sync + 'static> {
    shards: Box<[Shard<E>]>,
    hasher: RandomState,
}

/// A key that an entry is found by; it must hash as the entry does.
pub(super) trait Names<E>: Hash {
    fn names(&self, entry: &E) -> bool;
}

/// What becomes of an entry.
pub(super) enum Alter<E> {
    Keep,
    Put(E),
    Remove,
}

struct Shard<E> {
    slots: AtomicPtr<Slots<E>>,
    usage: Mutex<Usage>,
    live: AtomicUsize,
}

/// Slots that are not empty, tombstones included.
struct Usage {
    taken: usize,
}

/// At least one is empty, so every probe ends. Dropping them leaves the entries alone.
struct Slots<E>(Box<[AtomicPtr<E>]>);

impl<E: Hash + Send + Sync + 'static> Table<E> {
    pub(super) fn new() -> Self {
        let shard = |_| Shard {
            slots: AtomicPtr::new(Slots::boxed(1)),
            usage: Mutex::new(Usage { taken: 0 }),
            live: AtomicUsize::new(0),
        };
        Self { shards: (0..SHARDS).map(shard).collect(), hasher: RandomState::default() }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.live.load(Ordering::Relaxed)).sum()
    }

    /// Takes no lock.
    pub(super) fn get<'g>(&'g self, key: &impl Names<E>, guard: &'g LocalGuard<'_>) -> Option<&'g E> {
        self.get_hashed(self.hash(key), key, guard)
    }

    /// The hash of a key, for the look-ups in parts below.
    pub(super) fn hash(&self, key: &impl Names<E>) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Has the memory fetched where a look-up will begin, so that several wait for it together.
    pub(super) fn prefetch(&self, hash: u64, guard: &LocalGuard<'_>) {
        let slots = self.shard(hash).slots(guard);
        prefetch(ptr::from_ref(&slots.0[slots.first(hash)]));
    }

    /// Some time after [`Table::prefetch`]: has the entry fetched that is probably meant.
    pub(super) fn prefetch_entry(&self, hash: u64, guard: &LocalGuard<'_>) {
        self.first(hash, guard).into_iter().for_each(|entry| prefetch(entry));
    }

    /// Some time after [`Table::prefetch_entry`]: has what the entry points to fetched.
    pub(super) fn prefetch_behind<T>(&self, hash: u64, guard: &LocalGuard<'_>, behind: impl FnOnce(&E) -> *const T) {
        self.first(hash, guard).map(behind).into_iter().for_each(prefetch);
    }

    /// [`Table::get`] with the key's hash.
    pub(super) fn get_hashed<'g>(&'g self, hash: u64, key: &impl Names<E>, guard: &'g LocalGuard<'_>) -> Option<&'g E> {
        let slots = self.shard(hash).slots(guard);
        let mut at = slots.first(hash);
        loop {
            let slot = guard.protect(&slots.0[at], Ordering::Acquire);
            if slot.is_null() {
                return None;
            }
            if is_tagged(slot, hash) {
                // SAFETY: an entry, since tombstones fail the test. Retired only after it left its slot, and the guard is older.
                let entry = unsafe { &*untagged(slot) };
                if key.names(entry) {
                    return Some(entry);
                }
            }
            at = slots.after(at);
        }
    }

    /// Lets `alter` decide over an entry while no other writer does. It must not write to this table.
    pub(super) fn update<R>(
        &self,
        key: &impl Names<E>,
        guard: &LocalGuard<'_>,
        alter: impl FnOnce(Option<&E>) -> (R, Alter<E>),
    ) -> R {
        let hash = self.hash(key);
        let shard = self.shard(hash);
        let mut usage = shard.usage.lock();
        let slots = shard.slots(guard);
        let mut vacant = None;
        let mut at = slots.first(hash);
        let found = loop {
            let slot = slots.0[at].load(Ordering::Acquire);
            if slot.is_null() {
                break None;
            }
            if slot.addr() == TOMBSTONE {
                vacant = vacant.or(Some(at));
            } else if is_tagged(slot, hash) {
                // SAFETY: an entry that only a writer takes out, and this one holds the lock.
                let entry = unsafe { &*untagged(slot) };
                if key.names(entry) {
                    break Some(entry);
                }
            }
            at = slots.after(at);
        };
        let (result, alter) = alter(found);
        match (alter, found) {
            (Alter::Keep, _) | (Alter::Remove, None) => {}
            (Alter::Put(entry), Some(_)) => {
                let old = guard.swap(&slots.0[at], tagged(entry, hash), Ordering::AcqRel);
                // SAFETY: made by `tagged`, and out of reach of readers to come since the swap.
                unsafe { guard.defer_retire(untagged(old), seize::reclaim::boxed) };
            }
            (Alter::Put(entry), None) => {
                let live = shard.live.load(Ordering::Relaxed) + 1;
                if let Some(vacant) = vacant {
                    slots.0[vacant].store(tagged(entry, hash), Ordering::Release);
                } else if (usage.taken + 1) * 5 > slots.0.len() * 4 {
                    let slots = self.rebuild(shard, live, &mut usage, guard);
                    slots.0[slots.empty(hash)].store(tagged(entry, hash), Ordering::Release);
                    usage.taken += 1;
                } else {
                    slots.0[at].store(tagged(entry, hash), Ordering::Release);
                    usage.taken += 1;
                }
                shard.live.store(live, Ordering::Relaxed);
            }
            (Alter::Remove, Some(_)) => {
                let live = shard.live.load(Ordering::Relaxed) - 1;
                shard.live.store(live, Ordering::Relaxed);
                // Where a probe would end at the next slot, it may as well end here.
                let mark = if slots.0[slots.after(at)].load(Ordering::Relaxed).is_null() {
                    usage.taken -= 1;
                    ptr::null_mut()
                } else {
                    ptr::without_provenance_mut(TOMBSTONE)
                };
                let old = guard.swap(&slots.0[at], mark, Ordering::AcqRel);
                // SAFETY: made by `tagged`, and out of reach of readers to come since the swap.
                unsafe { guard.defer_retire(untagged(old), seize::reclaim::boxed) };
                if live * 5 < slots.0.len() && slots.0.len() > SLOTS_MIN {
                    self.rebuild(shard, live, &mut usage, guard);
                }
            }
        }
        result
    }

    /// Every entry, in no order. Sees all that are there throughout.
    pub(super) fn iter<'g>(&'g self, guard: &'g LocalGuard<'g>) -> impl Iterator<Item = &'g E> {
        self.shards.iter().flat_map(|shard| &shard.slots(guard).0).filter_map(|slot| {
            let slot = guard.protect(slot, Ordering::Acquire);
            // SAFETY: as in `get`.
            is_entry(slot).then(|| unsafe { &*untagged(slot) })
        })
    }

    fn first<'g>(&'g self, hash: u64, guard: &'g LocalGuard<'_>) -> Option<&'g E> {
        let slots = self.shard(hash).slots(guard);
        let slot = guard.protect(&slots.0[slots.first(hash)], Ordering::Acquire);
        // SAFETY: as in `get_hashed`. An empty slot looks like an entry of those hashes that have nothing in their upper bits.
        (is_entry(slot) && is_tagged(slot, hash)).then(|| unsafe { &*untagged(slot) })
    }

    fn shard(&self, hash: u64) -> &Shard<E> {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// New slots with room for `live` entries and half as many more.
    fn rebuild<'g>(
        &self,
        shard: &'g Shard<E>,
        live: usize,
        usage: &mut Usage,
        guard: &'g LocalGuard<'_>,
    ) -> &'g Slots<E> {
        let new = Slots::boxed((live * 15 / 8).max(SLOTS_MIN));
        // SAFETY: made just now; it is retired by a later writer only, when the guard is older than that.
        let slots = unsafe { &*new };
        usage.taken = 0;
        for slot in &shard.slots(guard).0 {
            let slot = slot.load(Ordering::Relaxed);
            if is_entry(slot) {
                // SAFETY: an entry that only a writer takes out, and this one holds the lock.
                let hash = self.hasher.hash_one(unsafe { &*untagged(slot) });
                slots.0[slots.empty(hash)].store(slot, Ordering::Relaxed);
                usage.taken += 1;
            }
        }
        let old = guard.swap(&shard.slots, new, Ordering::AcqRel);
        // SAFETY: made by `Slots::boxed` and replaced just now. Dropping slots drops no entries.
        unsafe { guard.defer_retire(old, seize::reclaim::boxed) };
        slots
    }
}

impl<E: Send + Sync + 'static> Drop for Table<E> {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            // SAFETY: nobody else can reach the table any more; slots and entries are its own.
            unsafe {
                let slots = Box::from_raw(*shard.slots.get_mut());
                for slot in &slots.0 {
                    let slot = slot.load(Ordering::Relaxed);
                    if is_entry(slot) {
                        drop(Box::from_raw(untagged(slot)));
                    }
                }
            }
        }
    }
}

impl<E> Shard<E> {
    fn slots<'g>(&'g self, guard: &'g LocalGuard<'_>) -> &'g Slots<E> {
        // SAFETY: never null; retired only after they were replaced, and the guard is older than that.
        unsafe { &*guard.protect(&self.slots, Ordering::Acquire) }
    }
}

impl<E> Slots<E> {
    fn boxed(len: usize) -> *mut Self {
        Box::into_raw(Box::new(Self((0..len).map(|_| AtomicPtr::new(ptr::null_mut())).collect())))
    }

    fn first(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.0.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.0.len() { 0 } else { at + 1 }
    }

    fn empty(&self, hash: u64) -> usize {
        let mut at = self.first(hash);
        while !self.0[at].load(Ordering::Relaxed).is_null() {
            at = self.after(at);
        }
        at
    }
}

fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that may name any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

fn tag(hash: u64) -> usize {
    (hash as usize) & !ADDRESS_MASK
}

fn tagged<E>(entry: E, hash: u64) -> *mut E {
    const { assert!(usize::BITS == 64 && align_of::<E>() >= 2, "needs room in the pointer for hash and tombstone") };
    let entry = Box::into_raw(Box::new(entry));
    assert!(entry.addr() & !ADDRESS_MASK == 0, "user-space addresses have 48 bits unless a process asks for more");
    entry.map_addr(|address| address | tag(hash))
}

fn untagged<E>(slot: *mut E) -> *mut E {
    slot.map_addr(|address| address & ADDRESS_MASK)
}

fn is_entry<E>(slot: *mut E) -> bool {
    !slot.is_null() && slot.addr() != TOMBSTONE
}

/// True for entries of that part of the hash; `slot` is not null.
fn is_tagged<E>(slot: *mut E, hash: u64) -> bool {
    slot.addr() & !ADDRESS_MASK == tag(hash) && slot.addr() != TOMBSTONE
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use proptest::prelude::*;
    use seize::Collector;

    use super::*;

    struct Pair {
        key: u32,
        _value: Arc<u32>,
    }

    /// Many keys in one place, so that probes run into each other.
    struct Clumsy(u32);

    impl Hash for Clumsy {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            state.write_u32(self.0 / 16);
        }
    }

    impl Hash for Pair {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            Clumsy(self.key).hash(state);
        }
    }

    impl Names<Pair> for Clumsy {
        fn names(&self, entry: &Pair) -> bool {
            entry.key == self.0
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn behaves_as_a_map_and_frees_everything(
            runs in prop::collection::vec((0..3_u8, 0..4000_u32, 1..2500_u32), 1..16)
        ) {
            let collector = Collector::new();
            let value = Arc::new(7);
            let table = Table::new();
            let mut model = BTreeMap::new();
            for (kind, from, count) in runs {
                for key in (from..from + count).map(|key| key.wrapping_mul(2_654_435_761) % 4000) {
                    let guard = collector.enter();
                    let old = table.update(&Clumsy(key), &guard, |old: Option<&Pair>| {
                        let old = old.map(|pair| pair.key);
                        (old, match kind {
                            0 => Alter::Keep,
                            1 => Alter::Remove,
                            _ => Alter::Put(Pair { key, _value: value.clone() }),
                        })
                    });
                    let expected = match kind {
                        0 => model.get(&key).copied(),
                        1 => model.remove(&key),
                        _ => model.insert(key, key),
                    };
                    prop_assert_eq!(old, expected);
                }
                let guard = collector.enter();
                prop_assert_eq!(table.len(), model.len());
                for key in 0..4000 {
                    prop_assert_eq!(table.get(&Clumsy(key), &guard).map(|pair| pair.key), model.get(&key).copied());
                }
                let mut keys: Vec<_> = table.iter(&guard).map(|pair| pair.key).collect();
                keys.sort_unstable();
                prop_assert_eq!(keys, model.keys().copied().collect::<Vec<_>>());
            }
            drop(table);
            drop(collector);
            prop_assert_eq!(Arc::strong_count(&value), 1);
        }
    }

    #[test]
    fn empty_slots_are_no_entries_of_hashes_without_upper_bits() {
        let collector = Collector::new();
        let table = Table::<Pair>::new();
        assert!(table.first(0, &collector.enter()).is_none());
        assert!(table.get_hashed(0, &Clumsy(0), &collector.enter()).is_none());
    }

    #[test]
    fn slots_shrink_and_freed_entries_go_before_the_table_does() {
        let collector = Collector::new();
        let value = Arc::new(7);
        let table = Table::new();
        for key in 0..100_000 {
            table.update(&Clumsy(key), &collector.enter(), |_: Option<&Pair>| {
                ((), Alter::Put(Pair { key, _value: value.clone() }))
            });
        }
        assert_eq!(Arc::strong_count(&value), 100_001);
        for key in 0..100_000 {
            table.update(&Clumsy(key), &collector.enter(), |_| ((), Alter::Remove));
        }
        let guard = collector.enter();
        assert!(table.shards.iter().all(|shard| shard.slots(&guard).0.len() <= SLOTS_MIN));
        assert!(Arc::strong_count(&value) < 1000, "{} still held", Arc::strong_count(&value));
    }
}
