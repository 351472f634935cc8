//! What a core runs beside its tokio runtime: the futures of connections, and the sockets that wake them.
//!
//! In a runtime made for all purposes a connection took some 250 bytes more, and several cache lines. Here a connection is one box, and
//! 24 bytes that say where it is; its waker is a number, which costs nothing to copy and keeps nothing alive; its socket is a descriptor and two words.
//! Sockets are watched by an epoll set of the core's own, which in turn is one descriptor of the runtime's: a core still waits in one place for all,
//! and timers, channels and everything else of tokio work in these futures as in any other.
//!
//! | module | what |
//! | --- | --- |
//! | `tasks` | the futures of a core by number |
//! | `waker` | wakers that are numbers, and how they find their core from anywhere |
//! | `driver` | the one task of the runtime that runs all these |
//! | `socket` | a TCP or Unix socket |

mod driver;
mod socket;
mod tasks;
mod waker;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt, io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use parking_lot::Mutex;

pub use self::socket::Socket;
use self::{
    driver::Driver,
    tasks::{Events, Task, Tasks},
    waker::TaskId,
};

/// Tasks polled in one round, so that those of the runtime (timers, datagrams, listeners) have their turn in time.
const TASKS_MAX: usize = 64;

/// What a core's thread keeps of its reactor.
struct Reactor {
    remote: Arc<Remote>,
    tasks: RefCell<Tasks>,
    /// Tasks that were woken, each once.
    ready: RefCell<VecDeque<u32>>,
    /// The task that is being polled, if any is.
    current: Cell<TaskId>,
    /// What its socket was reported to be ready for.
    events: Cell<Events>,
    /// Where the task that is being polled goes next.
    leaving: RefCell<Option<Arc<Remote>>>,
}

/// What all threads may use of a core's reactor.
pub struct Remote {
    number: u16,
    epoll: Epoll,
    /// Wakers from other threads, to be woken on the core's own: as often as something happens that its tasks wait for. Taken whole at each turn.
    woken: Mutex<Vec<Waker>>,
    /// Tasks from other cores, at most all that there are; nothing once the core has ended.
    arrived: Mutex<Option<Vec<Task>>>,
    /// There are some of either.
    pending: AtomicBool,
    /// The driver waits to be woken.
    asleep: AtomicBool,
    driver: Mutex<Option<Waker>>,
}

thread_local! {
    static HERE: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// A core's reactor that is not on its thread yet.
pub struct Installer(Arc<Remote>);

/// Makes a reactor for a core.
///
/// # Errors
/// When the system gives no descriptor, or 65,535 cores are there already.
pub fn prepare() -> io::Result<(Installer, Arc<Remote>)> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let remote = waker::register(|number| Remote {
        number,
        epoll,
        woken: Mutex::default(),
        arrived: Mutex::new(Some(Vec::new())),
        pending: AtomicBool::new(false),
        asleep: AtomicBool::new(false),
        driver: Mutex::default(),
    })?;
    Ok((Installer(remote.clone()), remote))
}

impl Installer {
    /// Makes the calling thread the core's. To be called in its runtime, which drives the reactor from now on.
    ///
    /// # Errors
    /// When the runtime cannot watch the reactor's descriptor.
    pub fn install(self) -> io::Result<Installed> {
        let driver = Driver::new(self.0.clone())?;
        let reactor = Reactor {
            remote: self.0.clone(),
            tasks: RefCell::default(),
            ready: RefCell::default(),
            current: Cell::new(TaskId::NONE),
            events: Cell::new(Events::NONE),
            leaving: RefCell::default(),
        };
        HERE.set(Some(Rc::new(reactor)));
        // What bounds a turn of a task of the runtime would here bound all connections together; the driver has a bound of its own.
        tokio::spawn(tokio::task::unconstrained(driver));
        Ok(Installed { remote: self.0 })
    }
}

/// The thread is a core's until this is dropped, and with it all that is left of the reactor's futures.
pub struct Installed {
    remote: Arc<Remote>,
}

impl Drop for Installed {
    fn drop(&mut self) {
        if let Some(here) = here() {
            here.clear();
        }
        HERE.set(None);
        waker::forget(self.remote.number);
    }
}

/// Runs a future on the calling thread's core; on a thread that is no core, in the runtime that it is in.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    match here() {
        Some(here) => here.spawn(Box::pin(future)),
        None => drop(tokio::spawn(future)),
    }
}

/// Has the task that is being polled go to another core when it returns: it is polled there, with another waker, and those that it has given away are
/// good for nothing any more. False where no task of a core is polled.
pub fn move_to(core: &Arc<Remote>) -> bool {
    let Some(here) = here().filter(|here| here.current.get() != TaskId::NONE) else { return false };
    *here.leaving.borrow_mut() = Some(core.clone());
    true
}

impl Remote {
    /// True on the thread of this reactor.
    pub fn is_here(&self) -> bool {
        here().is_some_and(|here| here.remote.number == self.number)
    }

    /// Has a waker woken on the core's thread. The core hears of it with the next [`Remote::notify`].
    pub fn push(&self, waker: Waker) {
        self.woken.lock().push(waker);
    }

    /// Sees to it that the core looks at what was pushed. Costs a system call only if the core may be waiting for one.
    pub fn notify(&self) {
        // Against the driver, which first says that it sleeps and then looks: one of both sees the other.
        if !self.pending.swap(true, Ordering::SeqCst) {
            self.rouse();
        }
    }

    /// Takes a task from another core; if this one has ended, so has the task.
    fn take_in(&self, task: Task) {
        let mut arrived = self.arrived.lock();
        let Some(tasks) = &mut *arrived else {
            drop(arrived);
            return drop_task(task);
        };
        tasks.push(task);
        drop(arrived);
        self.notify();
    }

    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(driver) = &*self.driver.lock()
        {
            driver.wake_by_ref();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("number", &self.number).finish_non_exhaustive()
    }
}

fn here() -> Option<Rc<Reactor>> {
    HERE.with_borrow(Clone::clone)
}

impl Reactor {
    fn spawn(&self, task: Task) {
        let id = self.tasks.borrow_mut().insert(self.remote.number, task);
        self.schedule(id, Events::NONE);
    }

    /// Has a task polled, and tells it what its socket is ready for.
    fn schedule(&self, id: TaskId, events: Events) {
        if !self.tasks.borrow_mut().schedule(id, events) {
            return;
        }
        self.ready.borrow_mut().push_back(id.index());
        self.remote.rouse();
    }

    /// Wakes what other threads wanted woken.
    fn receive(&self) {
        if !self.remote.pending.load(Ordering::Relaxed) {
            return;
        }
        // Cleared before the list is taken: whoever pushes later signals again.
        self.remote.pending.store(false, Ordering::SeqCst);
        let woken = std::mem::take(&mut *self.remote.woken.lock());
        woken.into_iter().for_each(Waker::wake);
        let arrived = self.remote.arrived.lock().as_mut().map(std::mem::take);
        arrived.into_iter().flatten().for_each(|task| self.spawn(task));
    }

    /// Polls tasks that are ready now, as many as may be before the core looks for what else there is; those that become ready meanwhile are for the next
    /// time.
    fn run(&self) {
        let count = self.ready.borrow().len().min(TASKS_MAX);
        for _ in 0..count {
            let Some(index) = self.ready.borrow_mut().pop_front() else { return };
            self.poll(index);
        }
    }

    fn poll(&self, index: u32) {
        let number = self.remote.number;
        let taken = self.tasks.borrow_mut().take(number, index);
        let Some((id, mut task, events)) = taken else { return };
        self.current.set(id);
        self.events.set(events);
        let waker = id.waker();
        let mut cx = std::task::Context::from_waker(&waker);
        // A connection that fails by a fault of ours takes no other with it. The panic was reported where it happened.
        let is_pending = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.as_mut().poll(&mut cx)))
            .is_ok_and(|polled| polled.is_pending());
        self.current.set(TaskId::NONE);
        let rest = self.events.replace(Events::NONE);
        let leaving = self.leaving.borrow_mut().take();
        if let Some(core) = leaving.filter(|_| is_pending) {
            self.tasks.borrow_mut().remove(index);
            core.take_in(task);
        } else if is_pending {
            self.tasks.borrow_mut().put_back(index, task, rest);
        } else {
            drop_task(task);
            self.tasks.borrow_mut().remove(index);
        }
    }

    /// Drops all tasks.
    fn clear(&self) {
        let tasks = self.tasks.borrow_mut().drain();
        let arrived = self.remote.arrived.lock().take();
        tasks.into_iter().chain(arrived.into_iter().flatten()).for_each(drop_task);
        self.ready.borrow_mut().clear();
    }

    /// True when no task is ready.
    fn is_idle(&self) -> bool {
        self.ready.borrow().is_empty()
    }
}

fn drop_task(task: Task) {
    // As above.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(task)));
}

#[cfg(test)]
mod tests;
