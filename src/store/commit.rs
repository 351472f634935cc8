//! The way into the log: records from all cores are gathered, made safe together, and applied in their order by one thread.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    task::Waker,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use thingway_store::{Appended, Backend, BackendError, Host, Keeper, Number, Record, TryAgain, Waiting};

/// How long the thread waits for as many records as the last commit had, when commits take longer than that.
const GATHER: Duration = Duration::from_millis(1);
/// How long it waits before it tries again what failed. While nothing else comes it waits twice as long each time, up to a bound.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How often a failure that goes on is told again.
const COMPLAIN: Duration = Duration::from_secs(30);
/// Records and bytes of messages that wait; beyond, publishers are slowed down.
const WAITING_RECORDS: usize = 50_000;
const WAITING_BYTES: usize = 64 << 20;
/// Refusals that are remembered until their authors ask.
const REFUSALS_MAX: usize = 100_000;
/// Tickets after which a refusal is forgotten that nobody has asked about.
const REFUSALS_AGE: u64 = 1_000_000;

/// Stands for a record that was appended, until it is safe. Tickets are given in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is not safe yet.
    Not,
    /// It is safe, and was applied.
    Kept,
    /// It could not be kept, and nothing of it happened.
    Refused,
}

/// Wakes those who wait for records.
pub trait Wake {
    /// Wakes somebody on a core.
    fn wake(&mut self, core: u16, waker: Waker);

    /// The batch is over: sends on what was collected.
    fn finish(&mut self);
}

/// Appends records. Cloning gives another way to the same log.
#[derive(Debug)]
pub struct Journal<S>(Arc<Shared<S>>);

impl<S> Clone for Journal<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Shared<S> {
    queue: Mutex<Queue<S>>,
    arrived: Condvar,
    /// The last ticket that is safe.
    kept: AtomicU64,
    refused: Mutex<BTreeSet<u64>>,
    refusing: AtomicBool,
    /// The last ticket of which it is not remembered any more whether it was refused.
    forgotten: AtomicU64,
    waiters: Mutex<Vec<Waiter>>,
    behind: AtomicBool,
    failing: AtomicBool,
    /// What waits in all queues.
    queued: (AtomicUsize, AtomicU64),
}

/// Messages that wait in a queue, or in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// How many.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Messages that a session holds, and the number of the last when there are more.
pub type Held = (Vec<Waiting>, Option<u64>);

/// A part of what a session holds.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The session.
    pub session: Number,
    /// What its connection was given, and not what waits for that.
    pub is_under_way: bool,
    /// The number that it comes behind.
    pub after: u64,
    /// Most messages.
    pub count: usize,
}

/// The store as it was at a moment.
pub struct Frozen {
    /// To be read from any thread.
    pub backend: Box<dyn Backend>,
    /// How long nothing was committed for it.
    pub held: Duration,
}

/// What somebody wants of the store, as it is when all that was appended before is safe or refused.
#[derive(Debug)]
enum Question {
    Frozen(mpsc::Sender<Result<Frozen, BackendError>>),
    Queued(Vec<Number>, mpsc::Sender<Vec<Queued>>),
    Waiting(Page, mpsc::Sender<Result<Held, TryAgain>>),
    /// Changes of settings, `None` to remove one.
    Set(Vec<(String, Option<String>)>, mpsc::Sender<Result<(), BackendError>>),
}

#[derive(Debug)]
struct Queue<S> {
    records: VecDeque<Appended<S>>,
    tickets: VecDeque<Issued>,
    questions: Vec<Question>,
    last: u64,
    bytes: usize,
    /// The thread sleeps until so many records are there; 0 while it does not sleep.
    wake_at: usize,
    stopping: bool,
}

/// A ticket that was given.
#[derive(Clone, Copy, Debug)]
struct Issued {
    number: u64,
    /// Somebody waits for it, and can be told that it was refused. Otherwise it is tried until it is kept.
    refusable: bool,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    core: u16,
    waker: Waker,
}

impl<S> Queue<S> {
    /// Nothing is asked for.
    fn is_idle(&self) -> bool {
        self.records.is_empty() && self.questions.is_empty() && !self.stopping
    }
}

impl<S> Shared<S> {
    fn is_settled(&self, number: u64, refused: &BTreeSet<u64>) -> bool {
        let done = self.kept.load(Ordering::Acquire).max(self.forgotten.load(Ordering::Acquire));
        number <= done || refused.contains(&number)
    }

    fn forget(&self, refused: Option<u64>) {
        self.forgotten.fetch_max(refused.unwrap_or_default(), Ordering::AcqRel);
    }
}

impl<S> Default for Journal<S> {
    fn default() -> Self {
        let queue = Queue {
            records: VecDeque::new(),
            tickets: VecDeque::new(),
            questions: Vec::new(),
            last: 0,
            bytes: 0,
            wake_at: 0,
            stopping: false,
        };
        Self(Arc::new(Shared {
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
            kept: AtomicU64::new(0),
            refused: Mutex::default(),
            refusing: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
            waiters: Mutex::default(),
            behind: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            queued: (AtomicUsize::new(0), AtomicU64::new(0)),
        }))
    }
}

impl<S> Journal<S> {
    /// Appends a record that must be kept, sooner or later: nobody can be told otherwise.
    pub fn append(&self, record: Record, handle: Option<S>) -> Ticket {
        self.push(record, handle, false)
    }

    /// Appends a record whose author waits until it is safe, or hears that it was refused.
    pub fn append_awaited(&self, record: Record, handle: Option<S>) -> Ticket {
        self.push(record, handle, true)
    }

    fn push(&self, record: Record, handle: Option<S>, refusable: bool) -> Ticket {
        let bytes = weight(&record);
        let mut queue = self.0.queue.lock();
        queue.last += 1;
        let number = queue.last;
        queue.records.push_back(Appended { record, handle });
        queue.tickets.push_back(Issued { number, refusable });
        queue.bytes += bytes;
        let behind = queue.records.len() >= WAITING_RECORDS || queue.bytes >= WAITING_BYTES;
        let wake = queue.wake_at != 0 && queue.records.len() >= queue.wake_at;
        drop(queue);
        if behind {
            self.0.behind.store(true, Ordering::Relaxed);
        }
        if wake {
            self.0.arrived.notify_one();
        }
        Ticket(number)
    }

    /// The store as it is when all that was appended before is safe or refused. Waits for it.
    ///
    /// # Errors
    /// When the backend cannot give it, or the thread that commits has ended.
    pub fn freeze(&self) -> Result<Frozen, BackendError> {
        self.ask(Question::Frozen).unwrap_or_else(|| Err(BackendError::Io("the store is closed".into())))
    }

    /// What waits for each of these sessions. Waits until all that was appended before is safe or refused; nothing is told when the thread that commits
    /// has ended.
    pub fn queued(&self, sessions: Vec<Number>) -> Option<Vec<Queued>> {
        self.ask(|answer| Question::Queued(sessions, answer))
    }

    /// A part of the messages that a session holds, and the number of the last when there are more; nothing when they cannot be read at the moment, or the
    /// thread that commits has ended. That thread reads them, so they should be few.
    pub fn waiting(&self, page: Page) -> Option<Held> {
        self.ask(|answer| Question::Waiting(page, answer))?.ok()
    }

    fn ask<T>(&self, question: impl FnOnce(mpsc::Sender<T>) -> Question) -> Option<T> {
        let (sender, answer) = mpsc::channel();
        let mut queue = self.0.queue.lock();
        if queue.stopping {
            return None;
        }
        queue.questions.push(question(sender));
        drop(queue);
        self.0.arrived.notify_one();
        answer.recv().ok()
    }

    /// What waits in all queues, each message counted once.
    pub fn queued_in_all(&self) -> Queued {
        let (messages, bytes) = &self.0.queued;
        Queued { messages: messages.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }

    /// Changes what operators set, all of it or nothing, and returns when that is safe. Waits for it: not for the threads that serve connections.
    ///
    /// # Errors
    /// When it cannot be kept, or the thread that commits has ended.
    pub fn change_settings(&self, changes: Vec<(String, Option<String>)>) -> Result<(), BackendError> {
        let closed = || Err(BackendError::Io("the store is closed".into()));
        self.ask(|done| Question::Set(changes, done)).unwrap_or_else(closed)
    }

    /// True while it cannot keep what it should.
    pub fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Relaxed)
    }

    /// True while more waits to be made safe than should.
    pub fn is_behind(&self) -> bool {
        self.0.behind.load(Ordering::Relaxed)
    }

    /// What became of a record. That it was refused is told once.
    pub fn settled(&self, ticket: Ticket) -> Settled {
        if self.0.refusing.load(Ordering::Acquire) {
            let mut refused = self.0.refused.lock();
            let found = refused.remove(&ticket.0);
            self.0.refusing.store(!refused.is_empty(), Ordering::Release);
            if found {
                return Settled::Refused;
            }
        }
        // Better refused without need than acknowledged without being kept.
        if self.0.forgotten.load(Ordering::Acquire) >= ticket.0 {
            return Settled::Refused;
        }
        if self.0.kept.load(Ordering::Acquire) >= ticket.0 { Settled::Kept } else { Settled::Not }
    }

    /// Wakes somebody when this ticket is settled, if it is not settled now.
    pub fn wake_when_settled(&self, ticket: Ticket, core: u16, waker: &Waker) {
        let mut waiters = self.0.waiters.lock();
        if self.0.is_settled(ticket.0, &self.0.refused.lock()) {
            drop(waiters);
            waker.wake_by_ref();
        } else {
            waiters.push(Waiter { number: ticket.0, core, waker: waker.clone() });
        }
    }

    /// Starts the thread that commits. It ends when [`Journal::stop`] is called, after all that was appended before is safe or refused.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<B, H>(&self, keeper: Keeper<S, B>, host: H) -> io::Result<JoinHandle<()>>
    where
        S: Send + 'static,
        B: Backend + 'static,
        H: Host<Session = S> + Wake + Send + 'static,
    {
        let shared = self.0.clone();
        let mut committer = Committer {
            shared,
            troubled: keeper.is_waiting(),
            keeper,
            host,
            batch: Batch::default(),
            healthy: true,
            complained_at: None,
        };
        std::thread::Builder::new().name("store".into()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
                // Whoever waits for an acknowledgement would wait for ever. What was acknowledged is safe, and is there at the next start.
                tracing::error!(
                    "the store's thread has failed, and nothing could be acknowledged any more: the gateway ends"
                );
                std::process::abort();
            }
        })
    }

    /// Asks the thread to end. What cannot be kept then is given up; nobody was told that it was.
    pub fn stop(&self) {
        self.0.queue.lock().stopping = true;
        self.0.arrived.notify_one();
    }
}

fn weight(record: &Record) -> usize {
    match record {
        Record::Publish(publish) => publish.message.weight(),
        Record::Delay { message, .. } => message.weight(),
        _ => 0,
    }
}

struct Committer<S, B, H> {
    shared: Arc<Shared<S>>,
    keeper: Keeper<S, B>,
    host: H,
    batch: Batch<S>,
    /// Something is to be tried again although nothing is to be appended.
    troubled: bool,
    healthy: bool,
    complained_at: Option<Instant>,
}

/// What the thread has taken out of the queue.
struct Batch<S> {
    records: VecDeque<Appended<S>>,
    tickets: VecDeque<Issued>,
    questions: Vec<Question>,
}

impl<S> Default for Batch<S> {
    fn default() -> Self {
        Self { records: VecDeque::new(), tickets: VecDeque::new(), questions: Vec::new() }
    }
}

impl<S, B: Backend, H: Host<Session = S> + Wake> Committer<S, B, H> {
    fn run(&mut self) {
        let (mut expected, mut tending, mut patience) = (1, false, RETRY);
        self.count();
        loop {
            let stopping = self.gather(expected, tending, patience);
            let questions = std::mem::take(&mut self.batch.questions);
            let nothing = self.batch.records.is_empty();
            if !nothing {
                let begun = Instant::now();
                let count = self.commit();
                // Who is answered now asks again within a moment; without waiting for all of them they would be split in halves for ever.
                expected = if begun.elapsed() >= GATHER { count.max(1) } else { 1 };
            } else if self.troubled {
                // A commit of nothing tries again what failed.
                if let Err((_, error)) = self.keeper.commit(&mut self.batch.records, &mut self.host) {
                    self.complain(&error);
                }
            }
            questions.into_iter().for_each(|question| self.answer(question));
            if stopping && !self.batch.records.is_empty() {
                let records = self.batch.records.len();
                tracing::error!(
                    records,
                    "the end came before the store could keep everything: the next start is as after a crash"
                );
                return;
            }
            if nothing && stopping {
                if let Err(error) = self.finish() {
                    tracing::warn!(%error, "the store's rows are not up to date; the next start takes longer");
                }
                return;
            }
            tending = self.tend();
            patience = match self.troubled {
                true if nothing => (2 * patience).min(RETRY_MAX),
                true => patience,
                false => RETRY,
            };
            self.host.finish();
        }
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have given up.
        match question {
            Question::Frozen(sender) => {
                let begun = Instant::now();
                let frozen = self.keeper.freeze().map(|backend| Frozen { backend, held: begun.elapsed() });
                let _ = sender.send(frozen);
            }
            Question::Queued(sessions, sender) => {
                let queued = sessions.into_iter().map(|session| {
                    let (messages, bytes) = self.keeper.queued(session);
                    Queued { messages, bytes }
                });
                let _ = sender.send(queued.collect());
            }
            Question::Waiting(Page { session, is_under_way, after, count }, sender) => {
                let _ = sender.send(self.keeper.waiting_of(session, is_under_way, after, count));
            }
            Question::Set(changes, sender) => {
                let _ = sender.send(self.keeper.change_settings(changes));
            }
        }
    }

    fn count(&self) {
        let counts = self.keeper.counts();
        let (messages, bytes) = &self.shared.queued;
        messages.store(counts.messages, Ordering::Relaxed);
        bytes.store(counts.bytes, Ordering::Relaxed);
    }

    /// Brings rows up to date a step further; true when there is more to do at once.
    fn tend(&mut self) -> bool {
        match self.keeper.tend(false) {
            Ok(more) => {
                let was_troubled = std::mem::replace(&mut self.troubled, self.keeper.is_waiting());
                if was_troubled && !self.troubled && self.batch.records.is_empty() {
                    self.recover();
                }
                more
            }
            Err(error) => {
                self.complain(&error);
                self.troubled = true;
                false
            }
        }
    }

    fn finish(&mut self) -> Result<(), BackendError> {
        while self.keeper.tend(true)? {}
        Ok(())
    }

    /// Waits for records, and takes them. True when the end was asked for.
    fn gather(&mut self, expected: usize, tending: bool, patience: Duration) -> bool {
        let mut queue = self.shared.queue.lock();
        let held = !self.batch.records.is_empty();
        if queue.is_idle() && !tending {
            queue.wake_at = 1;
            if held {
                self.shared.arrived.wait_for(&mut queue, RETRY);
            } else if self.troubled {
                self.shared.arrived.wait_for(&mut queue, patience);
            } else {
                while queue.is_idle() {
                    self.shared.arrived.wait(&mut queue);
                }
            }
        }
        let until = Instant::now() + GATHER;
        while queue.records.len() < expected && !queue.stopping && queue.questions.is_empty() && !held && !tending {
            queue.wake_at = expected;
            if self.shared.arrived.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        queue.wake_at = 0;
        self.batch.records.append(&mut queue.records);
        self.batch.tickets.append(&mut queue.tickets);
        self.batch.questions.append(&mut queue.questions);
        queue.bytes = 0;
        let stopping = queue.stopping;
        drop(queue);
        // What could not be written waits as well.
        self.shared.behind.store(held && self.batch.records.len() >= WAITING_RECORDS, Ordering::Relaxed);
        stopping
    }

    /// Makes safe what was taken; how many records that were.
    fn commit(&mut self) -> usize {
        let mut total = 0;
        while !self.batch.records.is_empty() {
            match self.keeper.commit(&mut self.batch.records, &mut self.host) {
                Ok(count) => {
                    total += count;
                    self.count();
                    let last = self.batch.tickets.drain(..count).next_back();
                    if let Some(last) = last {
                        self.shared.kept.store(last.number, Ordering::Release);
                    }
                    if !self.troubled {
                        self.recover();
                    }
                    self.forget_refusals();
                }
                Err((count, error)) => {
                    self.complain(&error);
                    self.refuse(count);
                    self.wake();
                    self.host.finish();
                    return total;
                }
            }
            self.wake();
        }
        self.host.finish();
        total
    }

    /// Takes out of the next `count` records those whose authors can be told; the others are tried again.
    fn refuse(&mut self, count: usize) {
        let (mut records, mut tickets) = (VecDeque::new(), VecDeque::new());
        {
            let mut refused = self.shared.refused.lock();
            for (record, issued) in self.batch.records.drain(..count).zip(self.batch.tickets.drain(..count)) {
                if issued.refusable {
                    refused.insert(issued.number);
                } else {
                    records.push_back(record);
                    tickets.push_back(issued);
                }
            }
            while refused.len() > REFUSALS_MAX {
                self.shared.forget(refused.pop_first());
            }
            self.shared.refusing.store(!refused.is_empty(), Ordering::Release);
        }
        records.append(&mut self.batch.records);
        tickets.append(&mut self.batch.tickets);
        (self.batch.records, self.batch.tickets) = (records, tickets);
    }

    /// Forgets refusals of long ago: whoever has not asked is gone.
    fn forget_refusals(&mut self) {
        if !self.shared.refusing.load(Ordering::Acquire) {
            return;
        }
        let before = self.shared.kept.load(Ordering::Acquire).saturating_sub(REFUSALS_AGE);
        let mut refused = self.shared.refused.lock();
        while refused.first().is_some_and(|&number| number < before) {
            self.shared.forget(refused.pop_first());
        }
        self.shared.refusing.store(!refused.is_empty(), Ordering::Release);
    }

    fn wake(&mut self) {
        let mut waiters = self.shared.waiters.lock();
        if waiters.is_empty() {
            return;
        }
        let refused = self.shared.refused.lock();
        let ready: Vec<_> = waiters.extract_if(.., |waiter| self.shared.is_settled(waiter.number, &refused)).collect();
        drop((refused, waiters));
        for Waiter { core, waker, .. } in ready {
            self.host.wake(core, waker);
        }
    }

    fn complain(&mut self, error: &BackendError) {
        let again = self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAIN);
        if self.healthy || again {
            tracing::error!(%error, "the store cannot keep what it should: publishers are refused until it can");
            self.complained_at = Some(Instant::now());
        }
        self.healthy = false;
        self.shared.failing.store(true, Ordering::Relaxed);
    }

    fn recover(&mut self) {
        if !self.healthy {
            self.healthy = true;
            self.shared.failing.store(false, Ordering::Relaxed);
            tracing::info!("the store keeps what it should again");
        }
    }
}

#[cfg(test)]
mod tests;
