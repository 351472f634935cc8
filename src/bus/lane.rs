use std::{sync::Arc, task::Waker};

use smallvec::SmallVec;
use thingway_contract::{Delivery, Instant};
use thingway_store::Target;

use super::{Counter, Counters, Session, routes::RouteScratch};
use crate::store::Ticket;

/// One thread's way onto the bus: the scratch space, the counters and the wake-ups that a call needs.
///
/// A lane belongs to one thread. After a batch of calls its owner sends the collected wake-ups on their way with
/// [`Lane::take_remote`]; wake-ups for its own core have happened already.
#[derive(Debug)]
pub struct Lane {
    core: u16,
    counters: Arc<Counters>,
    remote: Vec<(u16, Waker)>,
    congested: bool,
    ticket: Option<Ticket>,
    /// Kept sessions that a publication goes to.
    pub(super) targets: SmallVec<[Target; 1]>,
    /// The time of the present call.
    pub(super) now: Instant,
    pub(super) routes: RouteScratch<Session>,
    pub(super) staged: Staged,
}

/// Deliveries to one session that follow each other and are not in its queue yet.
#[derive(Debug, Default)]
pub(super) struct Staged {
    to: Option<Arc<Session>>,
    deliveries: Vec<Delivery>,
    /// The address of the session that got the last delivery, when nothing is staged.
    last: usize,
}

impl Staged {
    /// Most deliveries that wait.
    const MAX: usize = 64;

    /// True for the session for which some wait.
    pub fn extends(&self, session: &Arc<Session>) -> bool {
        self.to.as_ref().is_some_and(|to| Arc::ptr_eq(to, session))
    }

    /// True for the session that got the last delivery, too: its next ones wait.
    pub fn begins(&mut self, session: &Arc<Session>) -> bool {
        let address = Arc::as_ptr(session).addr();
        if std::mem::replace(&mut self.last, address) != address {
            return false;
        }
        self.to = Some(session.clone());
        true
    }

    /// True when no more should wait.
    pub fn add(&mut self, delivery: Delivery) -> bool {
        self.deliveries.push(delivery);
        self.deliveries.len() >= Self::MAX
    }

    /// What waits, and for whom.
    pub fn take(&mut self) -> Option<(Arc<Session>, Vec<Delivery>)> {
        Some((self.to.take()?, std::mem::take(&mut self.deliveries)))
    }

    /// For the next time.
    pub fn give_back(&mut self, empty: Vec<Delivery>) {
        self.deliveries = empty;
    }
}

/// Core number of threads that run no connections.
pub const NO_CORE: u16 = u16::MAX;

impl Lane {
    /// A lane for the thread of this core.
    pub fn new(core: u16, counters: Arc<Counters>) -> Self {
        Self {
            core,
            counters,
            remote: Vec::new(),
            congested: false,
            ticket: None,
            targets: SmallVec::new(),
            now: Instant::ZERO,
            routes: RouteScratch::default(),
            staged: Staged::default(),
        }
    }

    /// The core that the lane belongs to.
    pub fn core(&self) -> u16 {
        self.core
    }

    /// Adds to a counter.
    pub fn count(&self, counter: Counter, count: u64) {
        self.counters.add(counter, count);
    }

    /// The lane's counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Says and forgets whether a queue that was pushed to is nearly full: the publisher should be read from more slowly.
    pub fn take_congested(&mut self) -> bool {
        std::mem::take(&mut self.congested)
    }

    /// Says and forgets what the last call must wait for before it is acknowledged.
    pub fn take_ticket(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    pub(super) fn wait_for(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    /// Wake-ups for other cores, collected so that each core is signalled once for many of them.
    pub fn take_remote(&mut self) -> std::vec::Drain<'_, (u16, Waker)> {
        self.remote.drain(..)
    }

    /// True when there are wake-ups to send on.
    pub fn has_remote(&self) -> bool {
        !self.remote.is_empty()
    }

    pub(super) fn wake(&mut self, core: u16, waker: &Waker) {
        if core == self.core {
            waker.wake_by_ref();
        } else {
            self.remote.push((core, waker.clone()));
        }
    }

    /// Has the publication at hand recorded for a kept session, whose connection may fall behind.
    pub(super) fn add_target(&mut self, target: Target, behind: bool) {
        self.targets.push(target);
        self.congested |= behind;
    }

    pub(super) fn mark_congested(&mut self) {
        self.congested = true;
    }
}
