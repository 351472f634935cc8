//! Deadlines far and near, in order: adding one, cancelling one and finding the next cost the same however many there are.

use std::num::NonZeroU32;

use thingway_contract::Instant;

/// Slots of a level, one bit of a word each.
const SLOTS: usize = 64;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// A slot of the first level is a millisecond, and one of each next level is 64 of the level before: together they reach 8,900 years.
const LEVELS: usize = 8;
const HORIZON_MS: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;
/// Entries that are allocated together. They never move, so that growing takes no longer with many than with few.
const CHUNK: usize = 1024;
/// No entry.
const NIL: u32 = u32::MAX;

/// Names a deadline that was added to a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    /// Tells those apart that had the same place one after the other.
    serial: NonZeroU32,
}

/// A hierarchical wheel: what is due far away waits in a coarse slot, and moves to finer ones as its time comes nearer, at most once a level.
///
/// What is due in the same millisecond keeps the order in which it was added.
#[derive(Debug)]
pub struct Wheel<T> {
    levels: Box<[Level; LEVELS]>,
    chunks: Vec<Box<[Entry<T>]>>,
    /// The first entry that is free, each of which names the next.
    free: u32,
    len: usize,
    last_serial: NonZeroU32,
    /// Nothing is due before this, in milliseconds.
    now_ms: u64,
    /// A slot whose entries are being moved to finer ones. What is added to its time meanwhile goes there too, behind them.
    opened: Option<(usize, usize)>,
}

/// What [`Wheel::pop`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// This is due.
    Due(Key, T),
    /// Entries were moved, as many as in one go; there may be something due behind them.
    Moved,
    /// Nothing is due.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// A bit for each slot that is not empty.
    occupied: u64,
    slots: [List; SLOTS],
}

/// Entries one behind the other.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

#[derive(Debug)]
struct Entry<T> {
    at_ms: u64,
    before: u32,
    behind: u32,
    serial: NonZeroU32,
    /// Where it is; its time tells the slot.
    level: u8,
    /// `None` in a free entry.
    value: Option<T>,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        let level = Level { occupied: 0, slots: [List { first: NIL, last: NIL }; SLOTS] };
        Self {
            levels: Box::new([level; LEVELS]),
            chunks: Vec::new(),
            free: NIL,
            len: 0,
            last_serial: NonZeroU32::MAX,
            now_ms: 0,
            opened: None,
        }
    }
}

impl<T> Wheel<T> {
    /// Number of deadlines.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a deadline. `None` when there are as many as can be named, which is four thousand million.
    pub fn add(&mut self, at: Instant, value: T) -> Option<Key> {
        if self.free == NIL && !self.grow() {
            return None;
        }
        let index = self.free;
        // Starts again when it has come round. A key is never kept for so long.
        self.last_serial = self.last_serial.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let serial = self.last_serial;
        let at_ms = at.as_millis().clamp(self.now_ms, HORIZON_MS);
        let entry = self.entry_mut(index);
        let next_free = entry.behind;
        entry.at_ms = at_ms;
        entry.serial = serial;
        entry.value = Some(value);
        self.free = next_free;
        self.len += 1;
        let level = match (self.opened, level_of(self.now_ms, at_ms)) {
            (Some((opened, _)), level) if level < opened => opened,
            (_, level) => level,
        };
        self.append(index, level);
        Some(Key { index, serial })
    }

    /// Shows every deadline, in no order.
    pub fn for_each(&self, mut see: impl FnMut(Key, Instant, &T)) {
        for (index, entry) in (0..).zip(self.chunks.iter().flatten()) {
            if let Some(value) = &entry.value {
                see(Key { index, serial: entry.serial }, Instant::from_millis(entry.at_ms), value);
            }
        }
    }

    /// Takes a deadline out. `None` when it is not there any more.
    pub fn cancel(&mut self, key: Key) -> Option<T> {
        let entry = self.entry(key.index)?;
        if entry.serial != key.serial || entry.value.is_none() {
            return None;
        }
        self.unlink(key.index);
        self.release(key.index)
    }

    /// Takes out what is due first, of what is due by `now`. Moves at most `moves` entries for it.
    pub fn pop(&mut self, now: Instant, moves: usize) -> Popped<T> {
        let now_ms = now.as_millis().min(HORIZON_MS);
        for _ in 0..moves.max(1) {
            if let Some((level, slot)) = self.opened {
                let first = self.levels[level].slots[slot].first;
                if first == NIL {
                    self.opened = None;
                    continue;
                }
                self.unlink(first);
                let level = level_of(self.now_ms, self.entry_mut(first).at_ms);
                self.append(first, level);
                continue;
            }
            let Some((level, slot, begins_ms)) = self.next().filter(|(.., begins_ms)| *begins_ms <= now_ms) else {
                self.now_ms = self.now_ms.max(now_ms);
                return Popped::Nothing;
            };
            self.now_ms = begins_ms;
            if level > 0 {
                self.opened = Some((level, slot));
                continue;
            }
            let index = self.levels[0].slots[slot].first;
            let serial = self.entry_mut(index).serial;
            self.unlink(index);
            return match self.release(index) {
                Some(value) => Popped::Due(Key { index, serial }, value),
                None => Popped::Moved,
            };
        }
        Popped::Moved
    }

    /// The first slot that is not empty, and when it begins.
    fn next(&self) -> Option<(usize, usize, u64)> {
        // What is nearer is in a finer level: of a coarser one only slots behind the present one can hold anything.
        self.levels.iter().enumerate().find_map(|(level, slots)| {
            let shift = SLOT_BITS * level as u32;
            let present = slot_of(self.now_ms, level);
            let slot = (slots.occupied >> present << present).trailing_zeros() as usize;
            let turn_ms = self.now_ms >> shift >> SLOT_BITS << SLOT_BITS << shift;
            (slot < SLOTS).then(|| (level, slot, turn_ms | (slot as u64) << shift))
        })
    }

    fn append(&mut self, index: u32, level: usize) {
        let at_ms = self.entry_mut(index).at_ms;
        let before = {
            let Level { occupied, slots } = &mut self.levels[level];
            let slot = slot_of(at_ms, level);
            *occupied |= 1 << slot;
            let list = &mut slots[slot];
            if list.first == NIL {
                list.first = index;
            }
            std::mem::replace(&mut list.last, index)
        };
        if before != NIL {
            self.entry_mut(before).behind = index;
        }
        let entry = self.entry_mut(index);
        (entry.before, entry.behind, entry.level) = (before, NIL, level as u8);
    }

    fn unlink(&mut self, index: u32) {
        let Entry { at_ms, before, behind, level, .. } = *self.entry_mut(index);
        if before != NIL {
            self.entry_mut(before).behind = behind;
        }
        if behind != NIL {
            self.entry_mut(behind).before = before;
        }
        let Level { occupied, slots } = &mut self.levels[usize::from(level)];
        let slot = slot_of(at_ms, level.into());
        let list = &mut slots[slot];
        if before == NIL {
            list.first = behind;
        }
        if behind == NIL {
            list.last = before;
        }
        if list.first == NIL {
            *occupied &= !(1 << slot);
        }
    }

    fn release(&mut self, index: u32) -> Option<T> {
        let free = self.free;
        let entry = self.entry_mut(index);
        entry.behind = free;
        let value = entry.value.take();
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.chunks.len() > 1 {
            // The memory for as many as there once were is given back when the last of them has gone.
            self.chunks.clear();
            self.grow();
        }
        value
    }

    fn grow(&mut self) -> bool {
        let first = self.chunks.len() * CHUNK;
        if first + CHUNK > NIL as usize {
            return false;
        }
        let entry = |index: usize| Entry {
            at_ms: 0,
            before: NIL,
            behind: if index + 1 < CHUNK { (first + index + 1) as u32 } else { NIL },
            serial: NonZeroU32::MIN,
            level: 0,
            value: None,
        };
        self.chunks.push((0..CHUNK).map(entry).collect());
        self.free = first as u32;
        true
    }

    fn entry(&self, index: u32) -> Option<&Entry<T>> {
        self.chunks.get(index as usize / CHUNK).map(|chunk| &chunk[index as usize % CHUNK])
    }

    fn entry_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

/// The level for a time that is not before `now_ms`: the finest that tells the two apart.
const fn level_of(now_ms: u64, at_ms: u64) -> usize {
    let differ = (now_ms ^ at_ms) | 1;
    ((u64::BITS - 1 - differ.leading_zeros()) / SLOT_BITS) as usize
}

const fn slot_of(at_ms: u64, level: usize) -> usize {
    (at_ms >> (SLOT_BITS * level as u32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_deadline_is_small() {
        assert!(size_of::<Entry<std::sync::Weak<()>>>() <= 32, "{}", size_of::<Entry<std::sync::Weak<()>>>());
        assert_eq!(size_of::<Option<Key>>(), 8);
    }

    #[test]
    fn room_for_many_is_given_back() {
        let mut wheel = Wheel::default();
        let keys: Vec<_> = (0..10 * CHUNK as u64).map(|ms| wheel.add(Instant::from_millis(ms), ms)).collect();
        assert_eq!((wheel.len(), wheel.chunks.len()), (10 * CHUNK, 10));
        let kept = keys[5].expect("added");
        for key in keys.iter().flatten().filter(|key| **key != kept) {
            assert!(wheel.cancel(*key).is_some());
        }
        assert_eq!((wheel.len(), wheel.chunks.len()), (1, 10));
        assert_eq!(wheel.cancel(kept), Some(5));
        assert_eq!((wheel.len(), wheel.chunks.len()), (0, 1));
        let again = wheel.add(Instant::ZERO, 7).expect("added");
        assert!(
            keys.iter().flatten().all(|key| wheel.cancel(*key).is_none()),
            "keys of those that have gone name nothing"
        );
        assert_eq!(wheel.pop(Instant::ZERO, 1), Popped::Due(again, 7));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Adds a deadline so many milliseconds after the last time that was told; before it if negative.
        Add(i64),
        /// Cancels one of those that were added, the fired ones too.
        Cancel(prop::sample::Index),
        /// Takes out what is due, moving so many at a time.
        Advance { by_ms: u64, moves: usize, pops: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let far = prop_oneof![
            4 => -5_i64..200,
            2 => 0..5000_i64,
            2 => 0..10_000_000_i64,
            1 => 0..5_000_000_000_000_i64,
            1 => Just(i64::MAX),
        ];
        let by_ms = prop_oneof![3 => 0..3_u64, 3 => 0..300_u64, 2 => 0..100_000_u64, 1 => 0..6_000_000_000_000_u64];
        let pops = prop_oneof![1 => 0..4_usize, 1 => Just(usize::MAX)];
        let step = prop_oneof![
            6 => far.prop_map(Step::Add),
            2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            3 => (by_ms, 1..5_usize, pops).prop_map(|(by_ms, moves, pops)| Step::Advance { by_ms, moves, pops }),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        /// Against a sorted map, which keeps the order of those that are due in the same millisecond by the order in which they came. What is added
        /// for a time that the wheel has passed already is due with what comes next.
        #[test]
        fn it_is_a_sorted_map(steps in steps()) {
            let (mut wheel, mut model) = (Wheel::default(), BTreeMap::new());
            let (mut now_ms, mut added) = (0_u64, Vec::new());
            for step in steps {
                match step {
                    Step::Add(after) => {
                        let at_ms = now_ms.saturating_add_signed(after);
                        let number = added.len();
                        let key = wheel.add(Instant::from_millis(at_ms), number).expect("room");
                        let place = (at_ms.clamp(wheel.now_ms, HORIZON_MS), number);
                        model.insert(place, key);
                        added.push((key, place));
                    }
                    Step::Cancel(which) => {
                        if added.is_empty() {
                            continue;
                        }
                        let (key, place) = *which.get(&added);
                        let cancelled = wheel.cancel(key);
                        prop_assert_eq!(cancelled, model.remove(&place).map(|_| place.1));
                    }
                    Step::Advance { by_ms, moves, pops } => {
                        now_ms += by_ms;
                        let now = Instant::from_millis(now_ms);
                        let mut popped = 0;
                        while popped < pops {
                            match wheel.pop(now, moves) {
                                Popped::Moved => popped += usize::from(pops < 4),
                                Popped::Nothing => {
                                    let due = model.first_key_value().filter(|((at_ms, _), _)| *at_ms <= now_ms);
                                    prop_assert_eq!(due, None);
                                    break;
                                }
                                Popped::Due(key, number) => {
                                    popped += 1;
                                    let Some(((at_ms, expected), expected_key)) = model.pop_first() else {
                                        return Err(TestCaseError::fail(format!("{number} fires twice")));
                                    };
                                    prop_assert!(at_ms <= now_ms, "early");
                                    prop_assert_eq!((number, key), (expected, expected_key));
                                }
                            }
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
