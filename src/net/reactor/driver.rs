use std::{
    future::Future,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Events, Reactor, Remote, TaskId, here};

/// Events taken with one system call.
const EVENTS_MAX: usize = 512;
/// After a batch of more events than this it is likely that more have come meanwhile, and asking at once is cheaper than being told by the runtime.
const EVENTS_FEW: usize = 32;
/// Rounds after which the runtime's other tasks have their turn.
const ROUNDS_MAX: usize = 4;

/// The task of the runtime that runs a reactor.
pub(super) struct Driver {
    watched: AsyncFd<Watched>,
    events: Vec<EpollEvent>,
    /// Sockets may be ready that were not asked for yet.
    more: bool,
}

/// The reactor's epoll set as a descriptor that the runtime's epoll set watches.
struct Watched(Arc<Remote>);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.epoll.0.as_fd()
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Driver {
    pub fn new(remote: Arc<Remote>) -> io::Result<Self> {
        // SAFETY: the descriptor is the epoll set's, which is open and the same as long as `Remote` lives, and the runtime lets go of it first.
        let watched = unsafe { AsyncFd::register_with_interest(Watched(remote), Interest::READABLE) }?;
        Ok(Self { watched, events: vec![EpollEvent::empty(); EVENTS_MAX], more: true })
    }

    /// Schedules the tasks whose sockets are ready.
    fn look(&mut self, reactor: &Reactor) {
        if !self.more {
            return;
        }
        // It fails only when interrupted, which it is not: it does not wait.
        let count = reactor.remote.epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &self.events[..count] {
            reactor.schedule(TaskId::from_word(event.data()), events(event.events()));
        }
        self.more = count > EVENTS_FEW;
    }

    /// True when the runtime has heard of sockets that are ready; else it tells when it does.
    fn poll_sockets(&mut self, cx: &mut Context<'_>) -> bool {
        match self.watched.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => {
                // What comes from here on is told anew.
                guard.clear_ready();
                self.more = true;
                true
            }
            // The runtime is ending.
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    fn poll_reactor(&mut self, reactor: &Rc<Reactor>, cx: &mut Context<'_>) {
        let remote = &reactor.remote;
        {
            let mut own = remote.driver.lock();
            if !own.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *own = Some(cx.waker().clone());
            }
        }
        remote.asleep.store(false, Ordering::SeqCst);
        for _ in 0..ROUNDS_MAX {
            reactor.receive();
            self.look(reactor);
            reactor.run();
            if self.more || !reactor.is_idle() || self.poll_sockets(cx) {
                continue;
            }
            remote.asleep.store(true, Ordering::SeqCst);
            if !remote.pending.load(Ordering::SeqCst) {
                return;
            }
            remote.asleep.store(false, Ordering::SeqCst);
        }
        cx.waker().wake_by_ref();
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(reactor) = here() else { return Poll::Ready(()) };
        self.poll_reactor(&reactor, cx);
        Poll::Pending
    }
}

fn events(flags: EpollFlags) -> Events {
    let mut events = Events::NONE;
    if flags.intersects(EpollFlags::EPOLLIN) {
        events |= Events::READ;
    }
    if flags.intersects(EpollFlags::EPOLLOUT) {
        events |= Events::WRITE;
    }
    if flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
        events |= Events::READ | Events::CLOSED;
    }
    if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
        events |= Events::WRITE;
    }
    events
}
