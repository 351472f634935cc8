use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use nix::libc;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Memory, Secret, Stored};

/// How much less of a processor the threads get than those that serve connections, when there is not enough for all.
const NICENESS: i32 = 10;

/// How passwords are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashersSettings {
    /// Threads.
    pub threads: usize,
    /// Passwords that wait for a thread.
    pub waiting_max: usize,
}

impl Default for HashersSettings {
    fn default() -> Self {
        Self { threads: 1, waiting_max: 1000 }
    }
}

/// So many passwords wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be tried")]
pub struct Full;

/// Threads that try passwords, and nothing else: however many come, connections are served by others, before which these stand back.
pub struct Hashers {
    shared: Arc<Shared>,
    /// Those that were started, and have not ended yet as far as anybody has looked.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    tried: AtomicU64,
    abandoned: AtomicU64,
}

struct Queue {
    jobs: VecDeque<Job>,
    settings: HashersSettings,
    /// Threads that there are.
    running: usize,
    stopping: bool,
}

struct Job {
    stored: Arc<Stored>,
    password: Secret,
    answer: oneshot::Sender<bool>,
}

impl Hashers {
    /// No threads yet: see [`Hashers::run`].
    pub fn new(settings: HashersSettings) -> Self {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), settings, running: 0, stopping: false });
        let (tried, abandoned) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            shared: Arc::new(Shared { queue, arrived: Condvar::new(), tried, abandoned }),
            threads: Mutex::default(),
        }
    }

    /// The same with its threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(settings: HashersSettings) -> io::Result<Self> {
        let this = Self::new(settings);
        this.run()?;
        Ok(this)
    }

    /// Starts the threads that are missing.
    ///
    /// # Errors
    /// When the system gives none. Those that it gave stay.
    pub fn run(&self) -> io::Result<()> {
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        loop {
            let index = {
                let mut queue = self.shared.queue.lock();
                if queue.running >= queue.settings.threads.max(1) {
                    return Ok(());
                }
                queue.running += 1;
                queue.running - 1
            };
            let shared = self.shared.clone();
            let started = std::thread::Builder::new().name(format!("password-{index}")).spawn(move || shared.run());
            match started {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    self.shared.queue.lock().running -= 1;
                    return Err(error);
                }
            }
        }
    }

    /// Changes what holds: threads that are too many then end after the password that they are at. If there were any, those that are missing then are started.
    ///
    /// # Errors
    /// When the system gives none. What held before holds on.
    pub fn change(&self, settings: HashersSettings) -> io::Result<()> {
        let (before, runs) = {
            let mut queue = self.shared.queue.lock();
            (std::mem::replace(&mut queue.settings, settings), queue.running > 0)
        };
        let changed = if runs { self.run() } else { Ok(()) };
        if changed.is_err() {
            self.shared.queue.lock().settings = before;
        }
        self.shared.arrived.notify_all();
        changed
    }

    /// Has a password tried. Nobody waits for it once the answer's receiver is dropped, and then it is not tried.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn check(&self, stored: Arc<Stored>, password: Secret) -> Result<oneshot::Receiver<bool>, Full> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if queue.jobs.len() >= queue.settings.waiting_max {
            // Those who have gone away make room.
            queue.jobs.retain(|job| !job.answer.is_closed());
            if queue.jobs.len() >= queue.settings.waiting_max {
                return Err(Full);
            }
        }
        queue.jobs.push_back(Job { stored, password, answer });
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(receiver)
    }

    /// Passwords that were tried, and those that nobody waited for any more when it was their turn.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.tried.load(Ordering::Relaxed), self.shared.abandoned.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn run(&self) {
        stand_back();
        let mut memory = Memory::default();
        while let Some(Job { stored, password, answer }) = self.next() {
            if answer.is_closed() {
                self.abandoned.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            // One that fails is no reason for the next to wait for ever.
            let right = catch_unwind(AssertUnwindSafe(|| stored.is(&password, &mut memory))).unwrap_or(false);
            self.tried.fetch_add(1, Ordering::Relaxed);
            let _ = answer.send(right);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopping {
                return None;
            }
            if queue.running > queue.settings.threads.max(1) {
                queue.running -= 1;
                // What it was woken for is for another.
                self.arrived.notify_one();
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            self.arrived.wait(&mut queue);
        }
    }
}

impl Drop for Hashers {
    /// Those who wait hear nothing any more.
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.stopping = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.arrived.notify_all();
        for thread in self.threads.get_mut().drain(..) {
            // It catches what goes wrong with a password, and has nothing else to do.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Hashers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashers").field("threads", &self.shared.queue.lock().running).finish_non_exhaustive()
    }
}

/// Gives the calling thread less of a contested processor. Where that cannot be had nothing is lost but the courtesy.
fn stand_back() {
    // SAFETY: takes no pointers; process 0 is the calling thread.
    #[cfg(target_os = "linux")]
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::passwords::{DigestAlgorithm, SaltPosition};

    fn stored() -> Arc<Stored> {
        let digest = DigestAlgorithm::Sha256.salted(SaltPosition::Disable, b"", b"secret");
        Arc::new(Stored::digest(DigestAlgorithm::Sha256, SaltPosition::Disable, b"", &digest).expect("a digest"))
    }

    /// Nobody tries anything.
    fn without_threads(waiting_max: usize) -> Hashers {
        Hashers::new(HashersSettings { threads: 1, waiting_max })
    }

    #[test]
    fn threads_come_and_go() {
        let hashers = Hashers::new(HashersSettings { threads: 3, waiting_max: 9 });
        let running = || hashers.shared.queue.lock().running;
        hashers.change(HashersSettings { threads: 2, waiting_max: 9 }).expect("nothing to do");
        assert_eq!(running(), 0);
        let early = hashers.check(stored(), Secret::copy_of(b"secret")).expect("room");
        hashers.run().expect("threads");
        hashers.run().expect("they are there");
        assert_eq!((running(), early.blocking_recv()), (2, Ok(true)));
        hashers.change(HashersSettings { threads: 4, waiting_max: 9 }).expect("threads");
        assert_eq!(running(), 4);
        hashers.change(HashersSettings { threads: 1, waiting_max: 1 }).expect("fewer");
        while running() > 1 {
            std::thread::yield_now();
        }
        let one = hashers.check(stored(), Secret::copy_of(b"secret")).expect("room");
        assert_eq!(one.blocking_recv(), Ok(true), "the last one tries on");
    }

    #[test]
    fn passwords_are_tried() {
        let hashers = Hashers::start(HashersSettings::default()).expect("threads");
        let right = hashers.check(stored(), Secret::copy_of(b"secret")).expect("room");
        let wrong = hashers.check(stored(), Secret::copy_of(b"other")).expect("room");
        assert_eq!((right.blocking_recv(), wrong.blocking_recv()), (Ok(true), Ok(false)));
    }

    #[test]
    fn beyond_the_limit_none_is_taken_until_somebody_gives_up() {
        let hashers = without_threads(2);
        let waiting: Vec<_> = (0..3).map_while(|_| hashers.check(stored(), Secret::copy_of(b"x")).ok()).collect();
        assert_eq!(waiting.len(), 2);
        assert_eq!(hashers.check(stored(), Secret::copy_of(b"secret")).err(), Some(Full));
        drop(waiting);
        hashers.check(stored(), Secret::copy_of(b"secret")).expect("room again");
    }

    #[test]
    fn what_nobody_waits_for_is_not_tried() {
        let hashers = without_threads(9);
        drop(hashers.check(stored(), Secret::copy_of(b"secret")));
        let wanted = hashers.check(stored(), Secret::copy_of(b"secret")).expect("room");
        hashers.run().expect("a thread");
        assert_eq!(wanted.blocking_recv(), Ok(true));
        assert_eq!(hashers.counts(), (1, 1));
    }

    #[test]
    fn who_waits_when_it_ends_hears_so() {
        let hashers = without_threads(9);
        let waiting = hashers.check(stored(), Secret::copy_of(b"secret")).expect("room");
        drop(hashers);
        assert!(waiting.blocking_recv().is_err());
    }
}
