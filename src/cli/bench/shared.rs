use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::clock::Clock;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Clients connect.
    Connect,
    /// Load that is not measured.
    WarmUp,
    /// Load that is measured.
    Measure,
    /// No new messages; those under way may come.
    Drain,
    /// Clients leave.
    Stop,
}

const PHASES: [Phase; 5] = [Phase::Connect, Phase::WarmUp, Phase::Measure, Phase::Drain, Phase::Stop];

/// What the threads of a run share with the one that conducts it.
#[derive(Debug)]
pub struct Shared {
    pub clock: Clock,
    phase: AtomicU8,
    load_begun_ns: AtomicU64,
    /// For each thread what it has counted.
    pub counters: Vec<Counters>,
}

/// What a thread tells while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    pub ready: AtomicU64,
    pub failed: AtomicU64,
    pub broken: AtomicU64,
    pub sent: AtomicU64,
    pub received: AtomicU64,
    pub acknowledged: AtomicU64,
    /// All its clients have been answered, well or badly.
    pub is_settled: AtomicBool,
    /// Nothing is under way any more.
    pub is_drained: AtomicBool,
}

impl Shared {
    pub fn new(threads: usize) -> Self {
        Self {
            clock: Clock::start(),
            phase: AtomicU8::new(Phase::Connect as u8),
            load_begun_ns: AtomicU64::new(0),
            counters: (0..threads).map(|_| Counters::default()).collect(),
        }
    }

    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// When messages began to be due.
    pub fn load_begun_ns(&self) -> u64 {
        self.load_begun_ns.load(Ordering::Relaxed)
    }

    /// Lets the load begin now, in this phase.
    pub fn begin_load(&self, phase: Phase) {
        self.load_begun_ns.store(self.clock.now_ns(), Ordering::Relaxed);
        self.enter(phase);
    }

    pub fn sum(&self, of: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.counters.iter().map(|counters| of(counters).load(Ordering::Relaxed)).sum()
    }

    pub fn all(&self, of: impl Fn(&Counters) -> &AtomicBool) -> bool {
        self.counters.iter().all(|counters| of(counters).load(Ordering::Acquire))
    }
}
