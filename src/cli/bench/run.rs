use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use super::{
    plan::{Kind, Plan},
    process,
    progress::Progress,
    report::{Measured, Report},
    shared::{Phase, Shared},
    worker::Tally,
};
use crate::cli::client::ClientError;

/// Time between looks at how far a run is.
const TICK: Duration = Duration::from_millis(10);
/// Time between looks at the server's memory.
const MEMORY_TICK_NS: u64 = 100_000_000;

/// What is measured beside the load itself.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The server's process.
    pub pid: Option<u32>,
    /// Copied into the report.
    pub label: String,
    /// What the report calls this.
    pub kind: &'static str,
    pub protocol: &'static str,
    /// Connections come and go while it is measured, instead of resting.
    pub is_storm: bool,
}

/// What was read at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Snapshot {
    at_ns: u64,
    sent: u64,
    received: u64,
    server_cpu_secs: Option<f64>,
    own_cpu_secs: f64,
}

/// The work of one thread.
pub type Work = Box<dyn FnOnce() -> Result<Tally, ClientError> + Send>;

/// Has each thread work, leads all of them through the phases of the run, and tells what came of it.
pub fn conduct(plan: &Plan, shared: &Arc<Shared>, watch: &Watch, works: Vec<Work>) -> Result<Report, ClientError> {
    let mut conductor = Conductor::new(plan, shared, watch);
    let (alive, ended) = mpsc::sync_channel::<()>(0);
    let threads: Vec<_> = works
        .into_iter()
        .enumerate()
        .map(|(number, work)| {
            let (alive, shared) = (alive.clone(), Arc::clone(shared));
            thread::Builder::new().name(format!("bench-{number}")).spawn(move || {
                let result = work();
                if result.is_err() {
                    shared.enter(Phase::Stop);
                }
                drop(alive);
                result
            })
        })
        .collect::<Result<_, _>>()?;
    drop(alive);
    let outcome = conductor.lead(&ended);
    shared.enter(Phase::Stop);
    let mut tally = Tally::default();
    for thread in threads {
        let part = thread.join().map_err(|_| ClientError::Usage("a thread of the generator panicked".into()))?;
        tally.add(&part?);
    }
    conductor.progress.finish();
    outcome?;
    if plan.kind != Kind::Conn && tally.failed > 0 {
        return Err(ClientError::Refused(tally.first_failure.unwrap_or_default()));
    }
    Ok(Report::new(plan, watch, &tally, &conductor.measured()))
}

struct Conductor<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    watch: &'a Watch,
    progress: Progress,
    begun_ns: u64,
    connected_ns: u64,
    first: Snapshot,
    last: Snapshot,
    rss_before: Option<u64>,
    rss_connected: Option<u64>,
    rss_after: Option<u64>,
    rss_peak: Option<u64>,
    rss_ns: u64,
    cpu_before: Option<f64>,
    cpu_connected: Option<f64>,
}

impl<'a> Conductor<'a> {
    fn new(plan: &'a Plan, shared: &'a Shared, watch: &'a Watch) -> Self {
        let begun_ns = shared.clock.now_ns();
        let rss_before = watch.pid.and_then(process::resident_bytes);
        Self {
            plan,
            shared,
            watch,
            progress: Progress::new(),
            begun_ns,
            connected_ns: begun_ns,
            first: Snapshot::default(),
            last: Snapshot::default(),
            rss_before,
            rss_connected: None,
            rss_after: None,
            rss_peak: rss_before,
            rss_ns: begun_ns,
            cpu_before: watch.pid.and_then(process::cpu_secs),
            cpu_connected: None,
        }
    }

    /// Goes through the phases. It is over early when a thread has given up.
    fn lead(&mut self, ended: &mpsc::Receiver<()>) -> Result<(), ClientError> {
        let (plan, shared) = (self.plan, self.shared);
        if !self.watch.is_storm {
            self.wait(ended, "connecting", None, |shared| shared.all(|counters| &counters.is_settled));
        }
        self.connected_ns = shared.clock.now_ns();
        self.rss_connected = self.watch.pid.and_then(process::resident_bytes);
        self.cpu_connected = self.watch.pid.and_then(process::cpu_secs);
        if plan.kind != Kind::Conn && shared.sum(|counters| &counters.failed) > 0 {
            return Ok(());
        }
        if !plan.warmup.is_zero() {
            shared.begin_load(Phase::WarmUp);
            self.wait(ended, "warming up", Some(plan.warmup), |_| false);
            self.first = self.snapshot();
            shared.enter(Phase::Measure);
        } else {
            self.first = self.snapshot();
            shared.begin_load(Phase::Measure);
        }
        let limit = plan.limit.unwrap_or(u64::MAX);
        let is_ended = self.wait(ended, "measuring", Some(plan.duration), |shared| match plan.kind {
            Kind::Conn => false,
            Kind::Sub => shared.sum(|counters| &counters.received) >= limit,
            Kind::Pub | Kind::Pairs => limit != u64::MAX && shared.sum(|counters| &counters.sent) >= limit,
        });
        self.last = self.snapshot();
        self.rss_after = self.watch.pid.and_then(process::resident_bytes);
        if matches!(plan.kind, Kind::Pub | Kind::Pairs) {
            shared.enter(Phase::Drain);
            self.wait(ended, "draining", Some(plan.drain), |shared| shared.all(|counters| &counters.is_drained));
            if is_ended {
                // What was sent last counts as well: this is how long it took to bring all that there was.
                self.last = self.snapshot();
            }
        }
        Ok(())
    }

    /// Waits until it is done, the time is up (false), or a thread has given up.
    fn wait(
        &mut self,
        ended: &mpsc::Receiver<()>,
        what: &'static str,
        at_most: Option<Duration>,
        is_done: impl Fn(&Shared) -> bool,
    ) -> bool {
        let begun_ns = self.shared.clock.now_ns();
        loop {
            if is_done(self.shared) {
                return true;
            }
            let now = self.shared.clock.now_ns();
            let gone = Duration::from_nanos(now - begun_ns);
            if self.shared.phase() == Phase::Stop || at_most.is_some_and(|at_most| gone >= at_most) {
                return false;
            }
            if now - self.rss_ns >= MEMORY_TICK_NS {
                self.rss_ns = now;
                self.rss_peak = self.rss_peak.max(self.watch.pid.and_then(process::resident_bytes));
                self.progress.show(what, gone, at_most, self.plan.clients(), self.shared);
            }
            let rest = at_most.map_or(TICK, |at_most| at_most.saturating_sub(gone).min(TICK));
            // Nothing is ever sent: it ends early when all threads have.
            if ended.recv_timeout(rest) == Err(mpsc::RecvTimeoutError::Disconnected) {
                return false;
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let count = |counters: fn(&super::shared::Counters) -> &std::sync::atomic::AtomicU64| {
            self.shared.counters.iter().map(|each| counters(each).load(Ordering::Relaxed)).sum()
        };
        Snapshot {
            at_ns: self.shared.clock.now_ns(),
            sent: count(|counters| &counters.sent),
            received: count(|counters| &counters.received),
            server_cpu_secs: self.watch.pid.and_then(process::cpu_secs),
            own_cpu_secs: process::own_cpu_secs(),
        }
    }

    fn measured(&self) -> Measured {
        let (first, last) = (&self.first, &self.last);
        let difference = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
        Measured {
            connect_secs: (self.connected_ns - self.begun_ns) as f64 / 1e9,
            secs: last.at_ns.saturating_sub(first.at_ns) as f64 / 1e9,
            sent: last.sent - first.sent,
            received: last.received - first.received,
            server_cpu_secs: difference(first.server_cpu_secs, last.server_cpu_secs),
            server_connect_cpu_secs: difference(self.cpu_before, self.cpu_connected),
            own_cpu_secs: last.own_cpu_secs - first.own_cpu_secs,
            rss_before_bytes: self.rss_before,
            rss_connected_bytes: self.rss_connected,
            rss_after_bytes: self.rss_after,
            rss_peak_bytes: self.rss_peak,
        }
    }
}
