//! The timers of connections.

use std::{num::NonZeroU32, task::Waker};

use thingway_contract::Instant;

/// Length of one slot in milliseconds; wake-ups are late by up to this much.
pub const TICK_MS: u64 = 100;
const SLOTS: usize = 4096;

/// Names a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    index: u32,
    generation: NonZeroU32,
}

/// One core's timers: a wheel of slots, so that arming, cancelling and firing cost the same however many there are.
///
/// A deadline beyond the wheel's horizon (about seven minutes) is looked at again each time its slot comes round. There
/// is one timer a connection, armed for the earliest time at which something could be due; the connection re-arms it
/// lazily when woken too early.
#[derive(Debug)]
pub struct Wheel {
    slots: Vec<Vec<TimerId>>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// The next tick to be handled.
    tick: u64,
}

#[derive(Debug)]
struct Entry {
    generation: NonZeroU32,
    /// In ticks, which 32 bits hold for thirteen years.
    at_tick: u32,
    waker: Option<Waker>,
}

impl Wheel {
    /// An empty wheel that begins at this time.
    pub fn new(now: Instant) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], entries: Vec::new(), free: Vec::new(), tick: now.as_millis() / TICK_MS }
    }

    /// Wakes `waker` once `at` has passed.
    pub fn arm(&mut self, at: Instant, waker: Waker) -> TimerId {
        // Rounded up: never early.
        let at_tick = at.as_millis().div_ceil(TICK_MS).max(self.tick).min(u32::MAX.into());
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: NonZeroU32::MIN, at_tick: 0, waker: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.at_tick = at_tick as u32;
        entry.waker = Some(waker);
        let id = TimerId { index, generation: entry.generation };
        self.place(id, at_tick);
        id
    }

    /// Forgets a timer; nothing happens when it has fired.
    pub fn cancel(&mut self, id: TimerId) {
        if let Some(entry) = self.entries.get_mut(id.index as usize)
            && entry.generation == id.generation
        {
            self.release(id.index);
        }
    }

    /// True when a timer is armed that fires no later than one for `at` would.
    pub fn covers(&self, id: Option<TimerId>, at: Instant) -> bool {
        let entry = id.and_then(|id| self.entries.get(id.index as usize).filter(|e| e.generation == id.generation));
        entry.is_some_and(|entry| u64::from(entry.at_tick) <= at.as_millis().div_ceil(TICK_MS))
    }

    /// Number of armed timers.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// True when nothing is armed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes all whose time has come.
    pub fn advance(&mut self, now: Instant) {
        let target = now.as_millis() / TICK_MS;
        // After a long stall one turn of the wheel visits every slot there is.
        let first = self.tick.max(target.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=target {
            self.tick = tick + 1;
            let due = std::mem::take(&mut self.slots[tick as usize % SLOTS]);
            for id in due {
                let entry = &self.entries[id.index as usize];
                if entry.generation != id.generation {
                    continue;
                }
                if u64::from(entry.at_tick) <= target {
                    let waker = self.release(id.index);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                } else {
                    self.place(id, entry.at_tick.into());
                }
            }
        }
    }

    fn place(&mut self, id: TimerId, at_tick: u64) {
        let horizon = self.tick + SLOTS as u64 - 1;
        self.slots[at_tick.min(horizon) as usize % SLOTS].push(id);
    }

    fn release(&mut self, index: u32) -> Option<Waker> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.free.push(index);
        entry.waker.take()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_timer_is_small() {
        assert_eq!(size_of::<Entry>(), 24);
        // What waits in a slot.
        assert_eq!(size_of::<TimerId>(), 8);
    }

    proptest! {
        /// Against a sorted map: each timer fires once, never early, at most a tick late, and never after it was cancelled.
        #[test]
        fn agrees_with_a_sorted_map(steps in prop::collection::vec((0u8..3, 0u64..2_000_000), 1..200)) {
            let mut now = Instant::from_millis(12_345);
            let mut wheel = Wheel::new(now);
            let mut model: BTreeMap<(u64, usize), (TimerId, Arc<Count>)> = BTreeMap::new();
            let mut serial = 0;
            for (what, value) in steps {
                match what {
                    0 => {
                        let at = Instant::from_millis(now.as_millis() + value);
                        let count = Arc::new(Count::default());
                        let id = wheel.arm(at, Waker::from(count.clone()));
                        let tick = at.as_millis().div_ceil(TICK_MS) * TICK_MS;
                        prop_assert!(wheel.covers(Some(id), at) && wheel.covers(Some(id), Instant::from_millis(tick + 1)));
                        prop_assert!(!wheel.covers(Some(id), Instant::from_millis(tick - TICK_MS)));
                        serial += 1;
                        model.insert((at.as_millis(), serial), (id, count));
                    }
                    1 => {
                        let at = model.range((now.as_millis() + value, 0)..).next().map(|(key, _)| *key);
                        if let Some((id, count)) = at.and_then(|key| model.remove(&key)) {
                            wheel.cancel(id);
                            wheel.cancel(id);
                            prop_assert!(!wheel.covers(Some(id), Instant::NEVER));
                            prop_assert_eq!(count.0.load(Ordering::Relaxed), 0);
                        }
                    }
                    _ => {
                        now = Instant::from_millis(now.as_millis() + value / 4);
                        wheel.advance(now);
                        let (fired, waiting): (Vec<_>, Vec<_>) =
                            model.iter().partition(|((at, _), _)| at.div_ceil(TICK_MS) <= now.as_millis() / TICK_MS);
                        for ((at, _), (_, count)) in &fired {
                            prop_assert_eq!(count.0.load(Ordering::Relaxed), 1, "due at {} at {:?}", at, now);
                        }
                        for ((at, _), (_, count)) in &waiting {
                            prop_assert_eq!(count.0.load(Ordering::Relaxed), 0, "due at {} at {:?}", at, now);
                        }
                        let gone: Vec<_> = fired.into_iter().map(|(key, _)| *key).collect();
                        gone.iter().for_each(|key| drop(model.remove(key)));
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
