//! Wakers that are numbers: which core's reactor, which of its places, and which tenant of the place.
//!
//! A waker of a task that is gone wakes nobody, or at worst, when its numbers have all come round again, a task that then finds nothing to do.

use std::{
    io, ptr,
    sync::{Arc, LazyLock},
    task::{RawWaker, RawWakerVTable, Waker},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Events, Remote, here};

/// Bits of a place's number and of its generation in a word; the rest is the reactor's.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const GENERATION_BITS: u32 = if usize::BITS >= 64 { 16 } else { 6 };
/// One fewer than there are numbers: the last names nobody.
const REACTORS_MAX: usize = (1 << (usize::BITS - INDEX_BITS - GENERATION_BITS)) - 1;

/// Names a task in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskId(usize);

impl TaskId {
    /// No task.
    pub const NONE: Self = Self(usize::MAX);

    pub fn new(reactor: u16, generation: u16, index: u32) -> Self {
        Self(
            usize::from(reactor) << (INDEX_BITS + GENERATION_BITS)
                | usize::from(generation) << INDEX_BITS
                | index as usize,
        )
    }

    /// The generation after this one: there are as many as fit.
    pub const fn next_generation(generation: u16) -> u16 {
        ((generation as usize + 1) & ((1 << GENERATION_BITS) - 1)) as u16
    }

    pub const fn from_word(word: u64) -> Self {
        Self(word as usize)
    }

    pub const fn word(self) -> u64 {
        self.0 as u64
    }

    pub const fn index(self) -> u32 {
        (self.0 & ((1 << INDEX_BITS) - 1)) as u32
    }

    pub const fn generation(self) -> u16 {
        (self.0 >> INDEX_BITS & ((1 << GENERATION_BITS) - 1)) as u16
    }

    pub const fn reactor(self) -> u16 {
        (self.0 >> (INDEX_BITS + GENERATION_BITS)) as u16
    }

    pub fn waker(self) -> Waker {
        // SAFETY: the functions of the table treat the data as the number that it is and never follow it; they may be called from any thread,
        // any number of times.
        unsafe { Waker::from_raw(raw(ptr::without_provenance(self.0))) }
    }
}

fn raw(data: *const ()) -> RawWaker {
    RawWaker::new(data, &TABLE)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(raw, wake, wake, |_| {});

fn wake(data: *const ()) {
    let id = TaskId(data.addr());
    match here().filter(|here| here.remote.number == id.reactor()) {
        Some(here) => here.schedule(id, Events::NONE),
        None => {
            if let Some(remote) = find(id.reactor()) {
                remote.push(id.waker());
                remote.notify();
            }
        }
    }
}

/// The reactors of the process by number, for all to read, and who may change that.
static REACTORS: LazyLock<ArcSwap<Vec<Option<Arc<Remote>>>>> = LazyLock::new(ArcSwap::default);
static CHANGING: Mutex<()> = Mutex::new(());

/// Makes a reactor with the lowest number that is free.
pub(super) fn register(make: impl FnOnce(u16) -> Remote) -> io::Result<Arc<Remote>> {
    let _changing = CHANGING.lock();
    let mut reactors = Vec::clone(&REACTORS.load());
    let index = reactors.iter().position(Option::is_none).unwrap_or(reactors.len());
    let number = u16::try_from(index).ok().filter(|_| index < REACTORS_MAX);
    let remote = Arc::new(make(number.ok_or_else(|| io::Error::other("too many cores in one process"))?));
    reactors.resize(reactors.len().max(index + 1), None);
    reactors[index] = Some(remote.clone());
    REACTORS.store(Arc::new(reactors));
    Ok(remote)
}

/// Frees a reactor's number.
pub(super) fn forget(number: u16) {
    let _changing = CHANGING.lock();
    let mut reactors = Vec::clone(&REACTORS.load());
    if let Some(place) = reactors.get_mut(usize::from(number)) {
        *place = None;
    }
    REACTORS.store(Arc::new(reactors));
}

/// The reactor with this number.
pub(super) fn find(number: u16) -> Option<Arc<Remote>> {
    REACTORS.load().get(usize::from(number))?.clone()
}
