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
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    waiting_max: usize,
    tried: AtomicU64,
    abandoned: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopping: bool,
}

struct Job {
    stored: Arc<Stored>,
    password: Secret,
    answer: oneshot::Sender<bool>,
}

impl Hashers {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(settings: HashersSettings) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            waiting_max: settings.waiting_max,
            tried: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        });
        let mut this = Self { shared, threads: Vec::with_capacity(settings.threads) };
        for index in 0..settings.threads.max(1) {
            let shared = this.shared.clone();
            let thread = std::thread::Builder::new().name(format!("password-{index}")).spawn(move || shared.run())?;
            this.threads.push(thread);
        }
        Ok(this)
    }

    /// Has a password tried. Nobody waits for it once the answer's receiver is dropped, and then it is not tried.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn check(&self, stored: Arc<Stored>, password: Secret) -> Result<oneshot::Receiver<bool>, Full> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if queue.jobs.len() >= self.shared.waiting_max {
            // Those who have gone away make room.
            queue.jobs.retain(|job| !job.answer.is_closed());
            if queue.jobs.len() >= self.shared.waiting_max {
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
        for thread in self.threads.drain(..) {
            // It catches what goes wrong with a password, and has nothing else to do.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Hashers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashers").field("threads", &self.threads.len()).finish_non_exhaustive()
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
        let (tried, abandoned) = (AtomicU64::new(0), AtomicU64::new(0));
        let (queue, arrived) = (Mutex::default(), Condvar::new());
        Hashers { shared: Arc::new(Shared { queue, arrived, waiting_max, tried, abandoned }), threads: Vec::new() }
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
        let shared = hashers.shared.clone();
        let thread = std::thread::spawn(move || shared.run());
        assert_eq!(wanted.blocking_recv(), Ok(true));
        assert_eq!(hashers.counts(), (1, 1));
        drop(hashers);
        thread.join().expect("it ends");
    }

    #[test]
    fn who_waits_when_it_ends_hears_so() {
        let hashers = without_threads(9);
        let waiting = hashers.check(stored(), Secret::copy_of(b"secret")).expect("room");
        drop(hashers);
        assert!(waiting.blocking_recv().is_err());
    }
}
