use std::collections::VecDeque;

use crate::{Backend, BackendError, Change, Durability, Memory, Position, Table, VisitBlock, VisitRow};

/// One call in so many moves what the kernel holds to the disk, whether asked or not.
const WRITE_BACK_ONE_IN: u64 = 8;

/// A backend for tests that models a process, a kernel and a disk, and loses what a crash may take.
///
/// What is asked goes to the process, from there to the kernel and from there to the disk, always in order; how far it got is what [`Faulty::kill`] and
/// [`Faulty::power_cut`] leave. With [`Durability::Fsync`] an append and a sync return when all is on the disk, with [`Durability::Os`] when all is
/// with the kernel, with [`Durability::Memory`] at once. Beyond that it gets further by chance. The first call whose effect is lost may be found half
/// written: [`Faulty::open`] cuts it and tells its bytes.
///
/// Calls fail when told to, and then have changed nothing. Everything that is left to chance comes from the seed: the same calls with the same seed
/// give the same answers.
#[derive(Clone, Debug)]
pub struct Faulty {
    durability: Durability,
    chance: Chance,
    /// What the process sees. `None` between a crash and the next opening.
    seen: Option<Memory>,
    /// What no crash can take.
    disk: Memory,
    /// What is not on the disk for sure, in order; of these, `with_kernel` survive the process.
    pending: VecDeque<Effect>,
    with_kernel: usize,
    /// Bytes of a half-written effect after the last one that survived.
    torn_bytes: u64,
    calls: u64,
    planned: Vec<(u64, Failure)>,
    fail_one_in: Option<u64>,
    bytes_max: Option<u64>,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// With [`BackendError::Full`]; only calls that write do.
    Full,
    /// With [`BackendError::Io`].
    Io,
}

#[derive(Clone, Debug)]
enum Effect {
    Append(Position, Box<[u8]>),
    Write(Vec<Change>),
    Trim(Position),
}

impl Effect {
    fn bytes(&self) -> u64 {
        let row = |change: &Change| change.key.len() + change.value.as_ref().map_or(0, Vec::len);
        match self {
            Self::Append(_, block) => 8 + block.len() as u64,
            Self::Write(changes) => 1 + changes.iter().map(|change| row(change) as u64).sum::<u64>(),
            Self::Trim(_) => 8,
        }
    }

    fn take(self, to: &mut Memory) {
        match self {
            Self::Append(first, block) => to.append_block(first, &block),
            Self::Write(changes) => changes.into_iter().for_each(|change| to.change(change)),
            Self::Trim(before) => to.trim_blocks(before),
        }
    }
}

impl Faulty {
    /// An empty one, open, that does not fail until told to.
    #[must_use]
    pub fn new(durability: Durability, seed: u64) -> Self {
        Self {
            durability,
            chance: Chance(seed),
            seen: Some(Memory::new()),
            disk: Memory::new(),
            pending: VecDeque::new(),
            with_kernel: 0,
            torn_bytes: 0,
            calls: 0,
            planned: Vec::new(),
            fail_one_in: None,
            bytes_max: None,
        }
    }

    /// Calls of the trait so far, those that failed among them; [`Backend::bytes`] is not counted, it cannot fail.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The call with this number, counted from 1, fails. [`Failure::Full`] waits for the next one that writes.
    pub fn fail_at(&mut self, call: u64, failure: Failure) {
        self.planned.push((call, failure));
    }

    /// One call in so many fails, by chance, one way or the other; `None` ends that.
    pub fn fail_one_in(&mut self, calls: Option<u64>) {
        self.fail_one_in = calls;
    }

    /// Calls that write fail with [`Failure::Full`] when there would be more than so many bytes then, as [`Backend::bytes`] counts; `None` ends that.
    /// Removing rows and trimming always have room.
    pub fn limit(&mut self, bytes_max: Option<u64>) {
        self.bytes_max = bytes_max;
    }

    /// The process ends. What the kernel was given survives, what it was not may.
    pub fn kill(&mut self) {
        let kept = self.chance.within(self.with_kernel, self.pending.len());
        self.crash(kept);
    }

    /// The power goes. What was on the disk for sure survives, what was not may.
    pub fn power_cut(&mut self) {
        let kept = self.chance.within(0, self.pending.len());
        self.crash(kept);
    }

    /// Opens it again after a crash, and tells how many bytes of a half-written effect were cut.
    pub fn open(&mut self) -> u64 {
        if self.seen.is_none() {
            self.seen = Some(self.disk.clone());
        }
        std::mem::take(&mut self.torn_bytes)
    }

    fn crash(&mut self, kept: usize) {
        if self.durability == Durability::Memory {
            self.disk = Memory::new();
            self.pending.clear();
        } else {
            self.write_back(kept);
            let torn = self.pending.front().map_or(0, Effect::bytes);
            self.torn_bytes = if torn > 1 && self.chance.one_in(2) { 1 + self.chance.below(torn - 1) } else { 0 };
            self.pending.clear();
        }
        self.with_kernel = 0;
        self.seen = None;
    }

    /// Puts the first of what is pending on the disk.
    fn write_back(&mut self, count: usize) {
        self.pending.drain(..count).for_each(|effect| effect.take(&mut self.disk));
        self.with_kernel = self.with_kernel.saturating_sub(count);
    }

    /// Begins a call: counts it, and fails it if it is to fail.
    fn begin(&mut self, writes: bool) -> Result<(), BackendError> {
        self.calls += 1;
        if self.seen.is_none() {
            return Err(BackendError::Io("it crashed and was not opened".into()));
        }
        let calls = self.calls;
        let due = |&(at, failure): &(u64, Failure)| match failure {
            Failure::Full => at <= calls && writes,
            Failure::Io => at == calls,
        };
        if let Some(at) = self.planned.iter().position(due) {
            return Err(self.planned.swap_remove(at).1.into());
        }
        match self.fail_one_in {
            Some(calls) if self.chance.one_in(calls) => {
                let full = self.chance.one_in(2) && writes;
                Err(if full { Failure::Full } else { Failure::Io }.into())
            }
            _ => Ok(()),
        }
    }

    fn effect(&mut self, effect: Effect) -> Result<(), BackendError> {
        if let Some(bytes_max) = self.bytes_max {
            let mut then = self.opened().clone();
            effect.clone().take(&mut then);
            if then.bytes() > bytes_max.max(self.opened().bytes()) {
                return Err(Failure::Full.into());
            }
        }
        effect.clone().take(self.opened());
        self.pending.push_back(effect);
        if self.durability != Durability::Memory {
            if self.chance.one_in(2) {
                self.with_kernel = self.chance.within(self.with_kernel, self.pending.len());
            }
            if self.chance.one_in(WRITE_BACK_ONE_IN) {
                let count = self.chance.within(0, self.with_kernel);
                self.write_back(count);
            }
        }
        Ok(())
    }

    /// As safe as the setting promises.
    fn settle(&mut self) {
        match self.durability {
            Durability::Fsync => self.write_back(self.pending.len()),
            Durability::Os => self.with_kernel = self.pending.len(),
            // Nothing is ever lost but by a crash, and then all is.
            Durability::Memory => self.pending.clear(),
        }
    }

    fn opened(&mut self) -> &mut Memory {
        self.seen.as_mut().expect("a call begins only when it is open")
    }
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full("as told".into()),
            Failure::Io => Self::Io("as told".into()),
        }
    }
}

impl Backend for Faulty {
    fn append(&mut self, first: Position, block: &[u8]) -> Result<(), BackendError> {
        self.begin(true)?;
        self.effect(Effect::Append(first, block.into()))?;
        self.settle();
        Ok(())
    }

    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        self.begin(false)?;
        self.opened().block(at)
    }

    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        self.begin(false)?;
        self.opened().blocks(from, visit)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), BackendError> {
        self.begin(true)?;
        self.effect(Effect::Write(changes))
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        self.begin(true)?;
        self.settle();
        Ok(())
    }

    fn trim(&mut self, before: Position) -> Result<(), BackendError> {
        self.begin(true)?;
        self.effect(Effect::Trim(before))
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.begin(false)?;
        self.opened().row(table, key)
    }

    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        self.begin(false)?;
        self.opened().rows(table, prefix, visit)
    }

    fn bytes(&self) -> u64 {
        self.seen.as_ref().unwrap_or(&self.disk).bytes()
    }
}

/// Numbers that look random and follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below((high - low) as u64 + 1) as usize
    }
}

#[cfg(test)]
mod tests;
