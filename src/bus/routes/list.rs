//! A long subscriber list: sorted, read without locks, changed in place a chunk at a time.
//!
//! Memory is reclaimed by the collector that all of the routes share. The list owns one strong count per entry it holds;
//! copies of an entry in an older chunk are aliases, so copying a chunk touches no session. What a writer takes out is
//! retired, and dropped when no reader that could have seen it is left.

use std::{
    mem::ManuallyDrop,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
};

use seize::{Collector, Guard, LocalGuard};

use super::grant::PackedOptions;

/// Most entries in a chunk: 4 KiB are copied for a change.
const CHUNK_MAX: usize = 256;
/// A chunk below this is joined with its neighbour if both fit well.
const CHUNK_MIN: usize = 32;
const CHUNK_JOINED_MAX: usize = 192;

/// One subscription in a list.
#[derive(Debug)]
pub(super) struct Entry<S> {
    pub(super) session: Arc<S>,
    pub(super) options: PackedOptions,
}

impl<S> Entry<S> {
    pub(super) fn key(&self) -> usize {
        key_of(&self.session)
    }
}

impl<S> Clone for Entry<S> {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), options: self.options }
    }
}

/// What lists are sorted by: the session's address.
pub(super) fn key_of<S>(session: &Arc<S>) -> usize {
    Arc::as_ptr(session).addr()
}

/// Writers must exclude each other; readers need only a guard of the routes' collector.
pub(super) struct SortedList<S> {
    index: AtomicPtr<Index<S>>,
    len: AtomicUsize,
}

/// The chunks in order. Chunk `i` holds the keys from `starts[i]` to below `starts[i + 1]`; only a split or a join makes a new index.
struct Index<S> {
    starts: Box<[usize]>,
    chunks: Box<[AtomicPtr<Chunk<S>>]>,
}

/// Never empty unless it is the only one. Dropping it frees its memory and leaves the entries alone.
struct Chunk<S> {
    entries: ManuallyDrop<Vec<Entry<S>>>,
}

impl<S: Send + Sync + 'static> SortedList<S> {
    /// A list of at most [`CHUNK_MAX`] entries, sorted by key without duplicates.
    pub(super) fn new(entries: Vec<Entry<S>>) -> Self {
        debug_assert!(entries.len() <= CHUNK_MAX && entries.is_sorted_by_key(Entry::key));
        let len = AtomicUsize::new(entries.len());
        let index = Index::boxed(vec![0], vec![Chunk::boxed(entries)]);
        Self { index: AtomicPtr::new(index), len }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Adds or replaces a session's entry; the options that it replaced.
    pub(super) fn insert(
        &self,
        session: &Arc<S>,
        options: PackedOptions,
        guard: &LocalGuard<'_>,
    ) -> Option<PackedOptions> {
        let key = key_of(session);
        let index = self.index(guard);
        let at = index.chunk_of(key);
        let old = index.entries(at, guard);
        let mut entries = Vec::with_capacity(old.len() + 1);
        match old.binary_search_by_key(&key, Entry::key) {
            Ok(found) => {
                alias_into(&mut entries, old);
                entries[found].options = options;
                self.replace_chunk(index, at, entries, guard);
                Some(old[found].options)
            }
            Err(position) => {
                alias_into(&mut entries, &old[..position]);
                entries.push(Entry { session: session.clone(), options });
                alias_into(&mut entries, &old[position..]);
                self.len.fetch_add(1, Ordering::Relaxed);
                if entries.len() <= CHUNK_MAX {
                    self.replace_chunk(index, at, entries, guard);
                } else {
                    let upper = entries.split_off(entries.len() / 2);
                    let lower_start = index.starts[at];
                    let upper_start = upper[0].key();
                    entries.shrink_to_fit();
                    self.replace_chunks(index, at, 1, vec![(lower_start, entries), (upper_start, upper)], guard);
                }
                None
            }
        }
    }

    /// Takes a session's entry out; its options.
    pub(super) fn remove(&self, session: &Arc<S>, guard: &LocalGuard<'_>) -> Option<PackedOptions> {
        let key = key_of(session);
        let index = self.index(guard);
        let at = index.chunk_of(key);
        let old = index.entries(at, guard);
        let found = old.binary_search_by_key(&key, Entry::key).ok()?;
        let options = old[found].options;
        let start = index.starts[at];
        let neighbour = if at + 1 < index.chunks.len() { Some(at + 1) } else { at.checked_sub(1) };
        let neighbour = neighbour.filter(|&other| {
            old.len() <= CHUNK_MIN && old.len() - 1 + index.entries(other, guard).len() <= CHUNK_JOINED_MAX
        });
        let mut entries = Vec::with_capacity(old.len());
        alias_into(&mut entries, &old[..found]);
        alias_into(&mut entries, &old[found + 1..]);
        match neighbour {
            Some(other) if other > at => {
                alias_into(&mut entries, index.entries(other, guard));
                self.replace_chunks(index, at, 2, vec![(start, entries)], guard);
            }
            Some(other) => {
                let mut joined = Vec::with_capacity(CHUNK_JOINED_MAX);
                alias_into(&mut joined, index.entries(other, guard));
                joined.append(&mut entries);
                self.replace_chunks(index, other, 2, vec![(index.starts[other], joined)], guard);
            }
            None if entries.is_empty() && index.chunks.len() > 1 => {
                // The neighbour is too full to join: it takes over the range alone.
                let (first, other) = if at == 0 { (0, 1) } else { (at - 1, at - 1) };
                let mut kept = Vec::new();
                alias_into(&mut kept, index.entries(other, guard));
                self.replace_chunks(index, first, 2, vec![(index.starts[first], kept)], guard);
            }
            None => self.replace_chunk(index, at, entries, guard),
        }
        self.len.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the entry is out of the list, whose strong count for it passes to the collector here, and only here.
        unsafe { guard.defer_retire(Arc::as_ptr(&old[found].session).cast_mut(), drop_session::<S>) };
        Some(options)
    }

    /// The options of a session's entry.
    pub(super) fn find(&self, session: &Arc<S>, guard: &LocalGuard<'_>) -> Option<PackedOptions> {
        let key = key_of(session);
        let index = self.index(guard);
        let entries = index.entries(index.chunk_of(key), guard);
        entries.binary_search_by_key(&key, Entry::key).ok().map(|found| entries[found].options)
    }

    /// The non-empty chunks in order.
    pub(super) fn chunks<'g>(&'g self, guard: &'g LocalGuard<'g>) -> Chunks<'g, S> {
        Chunks { index: self.index(guard), next: 0, guard }
    }

    fn index<'g>(&'g self, guard: &'g LocalGuard<'_>) -> &'g Index<S> {
        // SAFETY: never null while the list lives; retired only after it was replaced, and the guard is older than that.
        unsafe { &*guard.protect(&self.index, Ordering::Acquire) }
    }

    fn replace_chunk(&self, index: &Index<S>, at: usize, entries: Vec<Entry<S>>, guard: &LocalGuard<'_>) {
        let old = guard.swap(&index.chunks[at], Chunk::boxed(entries), Ordering::AcqRel);
        // SAFETY: made by `Chunk::boxed`, and out of reach of readers to come since the swap.
        unsafe { guard.defer_retire(old, seize::reclaim::boxed) };
    }

    /// Puts `new` in the place of `count` chunks from `at`, under a new index.
    fn replace_chunks(
        &self,
        index: &Index<S>,
        at: usize,
        count: usize,
        new: Vec<(usize, Vec<Entry<S>>)>,
        guard: &LocalGuard<'_>,
    ) {
        let mut starts = Vec::with_capacity(index.starts.len() + new.len() - count);
        let mut chunks = Vec::with_capacity(starts.capacity());
        let kept = |range: std::ops::Range<usize>| range.map(|i| index.chunks[i].load(Ordering::Relaxed));
        starts.extend_from_slice(&index.starts[..at]);
        chunks.extend(kept(0..at));
        for (start, entries) in new {
            starts.push(start);
            chunks.push(Chunk::boxed(entries));
        }
        starts.extend_from_slice(&index.starts[at + count..]);
        chunks.extend(kept(at + count..index.chunks.len()));
        let old = guard.swap(&self.index, Index::boxed(starts, chunks), Ordering::AcqRel);
        for chunk in kept(at..at + count) {
            // SAFETY: in the old index only, which readers to come no longer find.
            unsafe { guard.defer_retire(chunk, seize::reclaim::boxed) };
        }
        // SAFETY: made by `Index::boxed` and replaced just now. Dropping an index drops no chunks.
        unsafe { guard.defer_retire(old, seize::reclaim::boxed) };
    }
}

impl<S> Drop for SortedList<S> {
    fn drop(&mut self) {
        // SAFETY: nobody else can reach the list any more; index, chunks and one count per entry are its own.
        unsafe {
            let index = Box::from_raw(*self.index.get_mut());
            for chunk in &index.chunks {
                let mut chunk = Box::from_raw(chunk.load(Ordering::Relaxed));
                chunk.entries.clear();
            }
        }
    }
}

impl<S> Index<S> {
    fn boxed(starts: Vec<usize>, chunks: Vec<*mut Chunk<S>>) -> *mut Self {
        let chunks = chunks.into_iter().map(AtomicPtr::new).collect();
        Box::into_raw(Box::new(Self { starts: starts.into_boxed_slice(), chunks }))
    }

    fn chunk_of(&self, key: usize) -> usize {
        self.starts.partition_point(|&start| start <= key).saturating_sub(1)
    }

    fn entries<'g>(&'g self, at: usize, guard: &'g LocalGuard<'_>) -> &'g [Entry<S>] {
        // SAFETY: never null; retired only after it was replaced, and the guard is older than that.
        unsafe { &(*guard.protect(&self.chunks[at], Ordering::Acquire)).entries }
    }
}

impl<S> Chunk<S> {
    fn boxed(entries: Vec<Entry<S>>) -> *mut Self {
        Box::into_raw(Box::new(Self { entries: ManuallyDrop::new(entries) }))
    }
}

impl<S> Drop for Chunk<S> {
    fn drop(&mut self) {
        // SAFETY: not used afterwards. With length 0 only the memory is freed; the counts belong to the list.
        unsafe {
            let mut entries = ManuallyDrop::take(&mut self.entries);
            entries.set_len(0);
        }
    }
}

/// The chunks of a list, see [`SortedList::chunks`].
pub(super) struct Chunks<'g, S> {
    index: &'g Index<S>,
    next: usize,
    guard: &'g LocalGuard<'g>,
}

impl<'g, S> Iterator for Chunks<'g, S> {
    type Item = &'g [Entry<S>];

    fn next(&mut self) -> Option<&'g [Entry<S>]> {
        while self.next < self.index.chunks.len() {
            let entries = self.index.entries(self.next, self.guard);
            self.next += 1;
            if !entries.is_empty() {
                return Some(entries);
            }
        }
        None
    }
}

/// Appends bitwise copies. They go into a [`Chunk`], which never drops its entries.
fn alias_into<S>(to: &mut Vec<Entry<S>>, from: &[Entry<S>]) {
    to.reserve_exact(from.len());
    // SAFETY: room was reserved, and the ranges are in different allocations.
    unsafe {
        ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr().add(to.len()), from.len());
        to.set_len(to.len() + from.len());
    }
}

/// # Safety
/// `session` came from an `Arc` whose count is given up.
unsafe fn drop_session<S>(session: *mut S, _: &Collector) {
    // SAFETY: the caller's.
    drop(unsafe { Arc::from_raw(session.cast_const()) });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use thingway_contract::SubscriptionOptions;

    use super::*;

    fn packed(id: u32) -> PackedOptions {
        PackedOptions::new(SubscriptionOptions { id, ..SubscriptionOptions::default() })
    }

    #[test]
    fn entries_are_sixteen_bytes() {
        assert_eq!(size_of::<Entry<u8>>(), 16);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        // Runs of one kind of operation, so that chunks split, empty and join.
        #[test]
        fn behaves_as_a_map_and_drops_every_session(
            runs in prop::collection::vec((any::<bool>(), 0..3000_usize, 1..900_usize), 1..14)
        ) {
            let collector = Collector::new();
            let sessions: Vec<Arc<usize>> = (0..3000).map(Arc::new).collect();
            let list = SortedList::new(Vec::new());
            let mut model = BTreeMap::new();
            for (number, (insert, from, count)) in runs.into_iter().enumerate() {
                for session in sessions.iter().cycle().skip(from).take(count) {
                    let guard = collector.enter();
                    let options = packed(number as u32);
                    if insert {
                        prop_assert_eq!(list.insert(session, options, &guard), model.insert(key_of(session), options));
                    } else {
                        prop_assert_eq!(list.remove(session, &guard), model.remove(&key_of(session)));
                    }
                    prop_assert_eq!(list.find(session, &guard), insert.then_some(options));
                }
                prop_assert_eq!(list.len(), model.len());
                let guard = collector.enter();
                let entries: Vec<_> = list.chunks(&guard).flatten().map(|e| (e.key(), e.options)).collect();
                prop_assert_eq!(entries, model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
                prop_assert!(list.chunks(&guard).all(|chunk| chunk.len() <= CHUNK_MAX));
            }
            drop(list);
            drop(collector);
            prop_assert!(sessions.iter().all(|session| Arc::strong_count(session) == 1));
        }
    }
}
