//! The threads that run connections, and what connections on one of them share.

use std::{
    cell::RefCell,
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use thingway_contract::{Delivery, Instant, Outbox, Request};
use tokio::{runtime::Handle, sync::watch};

use super::{
    reactor::{self, Remote},
    traffic::Tally,
    wheel::{TICK_MS, Wheel},
};
use crate::bus::{Bus, Errands, Lane};

/// Bytes of a core's read scratch: the most that one read takes from a socket.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// Tasks of a core's runtime between two looks at its sockets. One of these runs connections, some hundreds at a time.
const EVENT_INTERVAL: u32 = 4;
/// Connections that one core may have more than another before new ones go to the other: to move one costs more than a few make a difference.
const UNEVEN_MAX: usize = 64;

/// Connections, or an eighth if that is more, that a core may have more than another before none are moved to it any more.
const PULLED_MAX: usize = 64;

/// The gateway's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now. It begins at one second, so that no time the gateway sees is zero.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        Instant::from_millis(1000 + self.start.elapsed().as_millis() as u64)
    }
}

/// The threads that run connections: one current-thread runtime each and a reactor in it, with epoll sets, timers and buffers of their own. A
/// connection stays on its core, unless nearly all that it gets comes from another.
#[derive(Clone, Debug)]
pub struct Cores(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cores: Vec<Core>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    clock: Clock,
}

#[derive(Debug)]
struct Core {
    handle: Handle,
    connections: AtomicUsize,
    /// When the core last looked at its timers; 0 before the first time.
    ticked_ms: AtomicU64,
    /// What runs connections; it also takes wake-ups from other cores in one go.
    reactor: Arc<Remote>,
}

/// What connections on one core share. Borrowed for the length of one poll.
#[derive(Debug)]
pub struct CoreLocal {
    /// The way onto the bus.
    pub lane: Lane,
    /// Where a read puts its bytes.
    pub scratch: Vec<u8>,
    /// Where a protocol puts what it wants written.
    pub outbox: Outbox,
    /// Requests being answered.
    pub requests: Vec<Request>,
    /// Deliveries being written.
    pub deliveries: Vec<Delivery>,
    /// Timers.
    pub wheel: Wheel,
    /// What the connection that has its turn has received and sent in it.
    pub tally: Tally,
    /// What it was asked to do.
    pub errands: Option<Box<Errands>>,
    /// The core on which the connection that has its turn would be better off.
    pub pull: Option<u16>,
    cores: Cores,
}

thread_local! {
    static LOCAL: RefCell<Option<Box<CoreLocal>>> = const { RefCell::new(None) };
}

impl Cores {
    /// Starts `count` threads.
    pub fn start(count: usize, bus: &Arc<Bus>, clock: Clock) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut cores = Vec::with_capacity(count);
        let mut runtimes = Vec::with_capacity(count);
        for _ in 0..count {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
            let (installer, reactor) = reactor::prepare()?;
            cores.push(Core {
                handle: runtime.handle().clone(),
                connections: AtomicUsize::new(0),
                ticked_ms: AtomicU64::new(0),
                reactor,
            });
            runtimes.push((runtime, installer));
        }
        let this = Self(Arc::new(Inner { cores, stop, threads: Mutex::default(), clock }));
        for (index, (runtime, installer)) in runtimes.into_iter().enumerate() {
            let (cores, bus, mut stopped) = (this.clone(), bus.clone(), stopped.clone());
            let thread = std::thread::Builder::new().name(format!("core-{index}")).spawn(move || {
                let lane = bus.lane(index as u16);
                let local = CoreLocal {
                    lane,
                    scratch: vec![0; SCRATCH_BYTES],
                    outbox: Outbox::default(),
                    requests: Vec::new(),
                    deliveries: Vec::new(),
                    wheel: Wheel::new(cores.clock().now()),
                    tally: Tally::default(),
                    errands: None,
                    pull: None,
                    cores,
                };
                let cores_here = local.cores.clone();
                LOCAL.set(Some(Box::new(local)));
                runtime.block_on(async {
                    let installed = installer.install();
                    if let Err(error) = &installed {
                        tracing::error!(core = index, %error, "this core cannot serve connections");
                    }
                    tokio::spawn(tick(cores_here, index));
                    // The sender lives as long as the cores; an error means that they are gone.
                    let _ = stopped.wait_for(|stop| *stop).await;
                    drop(installed);
                });
                drop(runtime);
                LOCAL.set(None);
            })?;
            this.0.threads.lock().push(thread);
        }
        Ok(this)
    }

    /// Number of cores.
    pub fn len(&self) -> usize {
        self.0.cores.len()
    }

    /// True when there are none, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.0.cores.is_empty()
    }

    /// The clock.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The core on which a connection that was accepted on `here` should live: `here`, unless another has clearly less
    /// to do.
    pub fn place(&self, here: usize) -> usize {
        let load = |core: &Core| core.connections.load(Ordering::Relaxed);
        let own = self.0.cores.get(here).map_or(usize::MAX, load);
        let (least, lowest) =
            (0..self.len()).map(|core| (core, load(&self.0.cores[core]))).min_by_key(|(_, n)| *n).unwrap_or((here, 0));
        if own > lowest + UNEVEN_MAX.max(lowest / 16) { least } else { here }
    }

    /// Moves the connection that is being polled to another core when it returns, unless that has clearly more to do already; true if it does. It is
    /// then polled there, with another waker.
    pub fn move_here_to(&self, from: u16, to: u16) -> bool {
        let (Some(here), Some(there)) = (self.0.cores.get(usize::from(from)), self.0.cores.get(usize::from(to))) else {
            return false;
        };
        let own = here.connections.load(Ordering::Relaxed);
        if from == to || there.connections.load(Ordering::Relaxed) > own + PULLED_MAX.max(own / 8) {
            return false;
        }
        reactor::move_to(&there.reactor)
    }

    /// Runs a connection, or what is to become one, on a core: see [`reactor::spawn`].
    pub fn serve_on<F: Future<Output = ()> + Send + 'static>(&self, core: usize, connection: F) {
        let core = &self.0.cores[core % self.len()];
        if core.reactor.is_here() {
            reactor::spawn(connection);
        } else {
            core.handle.spawn(async move { reactor::spawn(connection) });
        }
    }

    /// Runs a future in a core's runtime.
    pub fn spawn_on<F: Future<Output = ()> + Send + 'static>(&self, core: usize, future: F) {
        self.0.cores[core % self.len()].handle.spawn(future);
    }

    /// Counts a conversation on a core until [`Cores::leave`] is called for it.
    pub fn enter(&self, core: usize) {
        self.0.cores[core % self.len()].connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The end of what [`Cores::enter`] began.
    pub fn leave(&self, core: usize) {
        self.0.cores[core % self.len()].connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Stops the threads; connections that are left are dropped. Returns when all have ended.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
        let threads = std::mem::take(&mut *self.0.threads.lock());
        for thread in threads {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    /// As [`Cores::enter`] for the core of the calling thread, which it tells; the first core on a thread that is none.
    pub fn enter_here(&self) -> u16 {
        let core = CoreLocal::with(|core| core.lane.core()).unwrap_or(0);
        self.enter(usize::from(core));
        core
    }

    /// Connections on all cores, those included that are being closed.
    pub fn connections(&self) -> usize {
        self.0.cores.iter().map(|core| core.connections.load(Ordering::Relaxed)).sum()
    }

    /// How long the slowest core has been busy without looking at its timers, beyond what is normal.
    pub fn lag(&self, now: Instant) -> Duration {
        let slowest = self.0.cores.iter().map(|core| core.ticked_ms.load(Ordering::Relaxed)).min().unwrap_or(0);
        match slowest {
            0 => Duration::ZERO,
            ms => now.since(Instant::from_millis(ms + 2 * TICK_MS)),
        }
    }

    /// Sends collected wake-ups to their cores.
    pub fn forward_wakes(&self, lane: &mut Lane) {
        if !lane.has_remote() {
            return;
        }
        let mut touched: u64 = 0;
        for (core, waker) in lane.take_remote() {
            match self.0.cores.get(usize::from(core)) {
                Some(target) => {
                    target.reactor.push(waker);
                    touched |= 1 << (core % 64);
                }
                None => waker.wake(),
            }
        }
        for (index, core) in self.0.cores.iter().enumerate() {
            if touched & 1 << (index % 64) != 0 {
                core.reactor.notify();
            }
        }
    }
}

impl CoreLocal {
    /// Borrows this thread's core for the length of a call; `None` on a thread that is no core.
    pub fn with<R>(call: impl FnOnce(&mut Self) -> R) -> Option<R> {
        LOCAL.with_borrow_mut(|local| {
            let local = local.as_mut()?;
            let result = call(local);
            if local.lane.has_remote() {
                let cores = local.cores.clone();
                cores.forward_wakes(&mut local.lane);
            }
            Some(result)
        })
    }

    /// Makes the shared buffers as a turn expects them, whatever a turn that panicked left behind.
    pub fn tidy(&mut self) {
        self.outbox.forget_requests();
        self.outbox.clear();
        self.tally.tidy();
        self.errands = None;
        self.pull = None;
        if self.scratch.len() != SCRATCH_BYTES {
            self.scratch.resize(SCRATCH_BYTES, 0);
        }
    }

    /// The cores.
    pub fn cores(&self) -> &Cores {
        &self.cores
    }
}

async fn tick(cores: Cores, index: usize) {
    let mut interval = tokio::time::interval(Duration::from_millis(TICK_MS));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = cores.clock().now();
        cores.0.cores[index].ticked_ms.store(now.as_millis(), Ordering::Relaxed);
        CoreLocal::with(|core| core.wheel.advance(now));
    }
}
