//! Seeded runs of a whole store over a disk that fails and crashes.
//!
//! `SEEDS=100000 cargo test -p thingway-store simulation` goes through many, `SEED=…` through one.

mod clients;
mod state;

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    Backend, BackendError, Change, Epoch, Faulty, FlushLimits, Found, Keeper, Position, Settings, Table, VisitBlock,
    VisitRow, faulty::Chance,
};

const EPOCH: Epoch = Epoch(1_700_000_000_000);

/// Runs one after another, and tells the seed of the one that fails.
fn for_each_seed(count: u64, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Range<u64> = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// The disk, which outlives the keeper that has it open.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<Faulty>>);

impl Disk {
    fn new(faulty: Faulty) -> Self {
        Self(Arc::new(Mutex::new(faulty)))
    }

    fn get(&self) -> MutexGuard<'_, Faulty> {
        self.0.lock()
    }
}

impl Backend for Disk {
    fn append(&mut self, first: Position, block: &[u8]) -> Result<(), BackendError> {
        self.get().append(first, block)
    }

    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        self.get().block(at)
    }

    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        self.get().blocks(from, visit)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), BackendError> {
        self.get().write(changes)
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        self.get().sync()
    }

    fn trim(&mut self, before: Position) -> Result<(), BackendError> {
        self.get().trim(before)
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.get().row(table, key)
    }

    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        self.get().rows(table, prefix, visit)
    }

    fn bytes(&self) -> u64 {
        self.get().bytes()
    }
}

/// How a store is opened, the same way each time.
#[derive(Clone, Copy, Debug)]
struct Setup {
    settings: Settings,
    limits: FlushLimits,
    cache_bytes: usize,
}

impl Setup {
    /// Opens what is on the disk, however often that fails.
    fn open<S>(&self, disk: &Disk, now: u64) -> (Keeper<S, Disk>, Found) {
        disk.get().open();
        for attempt in 0.. {
            if attempt > 20 {
                disk.get().fail_one_in(None);
                disk.get().limit(None);
            }
            let opened = Keeper::open(disk.clone(), self.settings, self.limits, self.cache_bytes, EPOCH, now);
            match opened {
                Ok(opened) => return opened,
                Err(error) if attempt <= 20 && !matches!(error, BackendError::Corrupt(_)) => {}
                Err(error) => panic!("it does not open: {error}"),
            }
        }
        unreachable!("it opens or it does not")
    }

    fn small(chance: &mut Chance) -> FlushLimits {
        let log_records = 1 + chance.below(100);
        FlushLimits { log_bytes: 1 + chance.below(3000), log_records, dirty: chance.within(1, 30) }
    }
}
