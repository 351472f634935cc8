use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use arc_swap::{ArcSwap, Cache};
use foldhash::fast::RandomState;
use thingway_contract::{CloseReason, DatagramProtocol, Instant, Peer, Standing, Transport};

use super::{
    UdpOptions,
    out::{Out, announce},
    socket::{Arrival, Arrivals, BatchSocket},
    sources::Sources,
    table::{Place, Table},
    talk::{Nudge, Talk, Woken},
};
use crate::{
    bus::{Counter, DepartCause},
    net::{
        conversation::{Conversation, Stop, Turn},
        core::CoreLocal,
        limit::{ListenerShared, Stopping},
        service::{Allowance, Service},
        traffic::{Apart, Few},
    },
};

/// Batches of datagrams taken in one turn of the core.
const BATCHES_PER_TURN: usize = 4;
/// Conversations that were woken and are served in one turn of the core.
const WOKEN_PER_TURN: usize = 1024;

/// One core's share of a listener: its socket and the conversations whose datagrams arrive there.
pub(super) struct Endpoint<P: DatagramProtocol> {
    service: Arc<Service<P>>,
    /// What conversations to come begin with.
    config: Cache<Arc<ArcSwap<P::Config>>, Arc<P::Config>>,
    shared: Arc<ListenerShared>,
    options: UdpOptions,
    local: SocketAddr,
    core: usize,
    table: Table<Talk<P>>,
    /// What few conversations have, by their indexes.
    apart: HashMap<u32, Box<Apart>, RandomState>,
    /// Conversations whose peers have not shown that they are there, the oldest first; some are no such any more.
    unproven: VecDeque<Weak<Nudge>>,
    unproven_len: usize,
    woken: Arc<Woken>,
    due: VecDeque<Arc<Nudge>>,
    /// Conversations whose deliveries wait until the kernel takes datagrams again; each is in it once.
    held: Vec<Arc<Nudge>>,
    sources: Sources,
    arrivals: Option<Box<Arrivals>>,
    out: Out,
}

impl<P: DatagramProtocol> Endpoint<P> {
    pub fn new(
        service: Arc<Service<P>>,
        shared: Arc<ListenerShared>,
        options: UdpOptions,
        local: SocketAddr,
        core: usize,
        socket: BatchSocket,
    ) -> Self {
        Self {
            sources: Sources::new(options.source_rate),
            config: Cache::new(service.config.clone()),
            service,
            shared,
            options,
            local,
            core,
            table: Table::new(),
            apart: HashMap::default(),
            unproven: VecDeque::new(),
            unproven_len: 0,
            woken: Arc::default(),
            due: VecDeque::new(),
            held: Vec::new(),
            arrivals: Some(Box::new(Arrivals::new())),
            out: Out::new(socket, local),
        }
    }

    /// Serves until the listener stops; then all conversations are told so and ended.
    pub async fn run(mut self, announce_to: Vec<SocketAddr>, mut stopping: Stopping) {
        let announcing = announce::<P>(self.service.clone(), self.out.socket.clone(), self.out.by_v6, announce_to);
        tokio::select! {
            biased;
            () = stopping.wait() => {}
            () = poll_fn(|cx| self.poll(cx)) => {}
            () = announcing => {}
        }
        CoreLocal::with(|core| self.end_all(Some(&CloseReason::ShuttingDown), core));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Without a core there is nothing to run on: the thread is ending.
        CoreLocal::with(|core| {
            self.turn(cx, core);
            self.settle(core);
        })
        .map_or(Poll::Ready(()), |()| Poll::Pending)
    }

    fn turn(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal) {
        {
            let mut own = self.woken.waker.lock();
            if !own.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *own = Some(cx.waker().clone());
            }
        }
        core.tidy();
        let now = self.service.clock.now();
        self.out.flush(cx);
        if !self.out.is_clogged() {
            self.due.extend(self.held.drain(..));
        }
        self.due.extend(std::mem::take(&mut *self.woken.nudges.lock()));
        for _ in 0..WOKEN_PER_TURN {
            let Some(nudge) = self.due.pop_front() else { break };
            // Cleared before the look: whoever wakes it later queues it again.
            nudge.queued.store(false, Ordering::Release);
            if is_current(&mut self.table, &nudge) {
                self.converse(nudge.index, None, core, now);
            }
        }
        let more = self.receive(cx, core, now);
        self.out.flush(cx);
        let freed = !self.held.is_empty() && !self.out.is_clogged();
        if more || freed || !self.due.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    /// Takes what has arrived, up to this turn's share. True when there may be more.
    fn receive(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> bool {
        let Some(mut arrivals) = self.arrivals.take() else { return false };
        let mut more = true;
        for _ in 0..BATCHES_PER_TURN {
            match self.out.socket.poll_receive(cx, &mut arrivals) {
                Poll::Ready(Ok(())) => {
                    for arrival in arrivals.iter() {
                        core.lane.count(Counter::BytesReceived, arrival.bytes.len() as u64);
                        self.arrive(&arrival, core, now);
                    }
                }
                // The network's word about an earlier datagram: nothing to do with the next.
                Poll::Ready(Err(_)) => {}
                Poll::Pending => {
                    more = false;
                    break;
                }
            }
        }
        self.arrivals = Some(arrivals);
        more
    }

    fn arrive(&mut self, arrival: &Arrival<'_>, core: &mut CoreLocal, now: Instant) {
        self.out.tally.received += 1;
        if !self.sources.admit(arrival.remote.ip(), now) {
            self.out.tally.refused += 1;
            return;
        }
        let place = Place::new(arrival.remote, P::node(arrival.bytes));
        let index = match self.table.find(&place) {
            Some(index) => index,
            None => match self.open(place, arrival, core, now) {
                Some(index) => index,
                None => {
                    self.out.tally.refused += 1;
                    return;
                }
            },
        };
        self.converse(index, Some(arrival.bytes), core, now);
    }

    /// Begins a conversation, unless there are too many or they come too fast.
    fn open(&mut self, place: Place, arrival: &Arrival<'_>, core: &mut CoreLocal, now: Instant) -> Option<u32> {
        let counters = &self.shared.counters;
        if !self.shared.try_rate() {
            counters.rate_pauses.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if counters.connections.load(Ordering::Relaxed) >= self.shared.limits.connections_max
            && !self.evict_unproven(core, now)
        {
            self.shared.counters.refused_full.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let local = self.out.local(arrival.local);
        let peer = Peer {
            remote: Some(place.address()),
            local: arrival.local.map(|ip| SocketAddr::new(ip.to_canonical(), self.local.port())),
            transport: Transport::Udp,
            node: place.node().into(),
            listener: self.shared.name.clone(),
            certificate: None,
        };
        let shed = self.shared.shed.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        counters.connections.fetch_add(1, Ordering::Relaxed);
        self.service.cores.enter(self.core);
        // No more than a look where nothing has changed: many a conversation is one datagram long.
        let (config, woken) = (self.config.load(), &self.woken);
        let index = self.table.insert(place, |index| Talk {
            conversation: Conversation::new(config, peer, shed, now),
            nudge: Arc::new(Nudge { woken: woken.clone(), index, queued: AtomicBool::new(false) }),
            timer: None,
            few: Few::default(),
            local,
            standing: Standing::Forgettable,
        });
        if let Some(apart) = Apart::of(Allowance::new(&self.service.rates, now)) {
            self.apart.insert(index, apart);
        }
        Some(index)
    }

    /// One conversation's turn, with a datagram from its peer or without.
    fn converse(&mut self, index: u32, datagram: Option<&[u8]>, core: &mut CoreLocal, now: Instant) {
        let Some((place, talk)) = self.table.get_mut(index) else { return };
        let waker = Waker::from(talk.nudge.clone());
        let turn = Turn { service: &*self.service, waker: &waker, now };
        let mut refused = 0;
        let clogged = self.out.is_clogged();
        let allowance = self.apart.get_mut(&index).and_then(|apart| apart.allowance.as_deref_mut());
        let worked = talk.work(datagram, clogged, turn, core, allowance, &mut refused);
        // Its queue will not wake it: it was looked at, and nothing was taken.
        if clogged && talk.conversation.session().is_some() && !talk.nudge.queued.swap(true, Ordering::AcqRel) {
            self.held.push(talk.nudge.clone());
        }
        self.out.tally.refused += refused;
        let over = match worked {
            Ok(()) if core.outbox.is_closing() && talk.conversation.may_end() => Some(Stop::Done),
            Ok(()) => None,
            Err(stop) => Some(stop),
        };
        if let Some(stop) = &over {
            talk.conversation.stop(stop, &self.service, core, now);
            core.outbox.forget_requests();
        }
        // Before anything is sent by which its peer, or another, could know.
        if let Some(session) = talk.conversation.session() {
            session.set_may_move(talk.conversation.machine.may_move());
        }
        core.tally.received(datagram.map_or(0, <[u8]>::len));
        core.tally.sent(core.outbox.len());
        core.tally.packets(datagram.is_some().into(), core.outbox.datagrams().count() as u64);
        if talk.few.add(&mut core.tally) {
            Few::carry(&mut core.tally, self.apart.entry(index).or_default());
        }
        if let Some(errands) = core.errands.take() {
            let traffic = talk.few.all(self.apart.get(&index).map(|apart| &**apart));
            talk.conversation.run_errands(*errands, traffic, &self.service, now);
        }
        self.out.send_all(&core.outbox, place, talk.local);
        core.outbox.clear();
        let standing = talk.conversation.machine.standing();
        if over.is_some() || standing == Standing::Forgettable && !talk.conversation.is_pending() {
            return self.close(index, DepartCause::Normal, core, now);
        }
        let deadline = talk.conversation.machine.deadline();
        if !deadline.is_never() && !core.wheel.covers(talk.timer, deadline) {
            if let Some(timer) = talk.timer.take() {
                core.wheel.cancel(timer);
            }
            talk.timer = Some(core.wheel.arm(deadline, waker));
        }
        // One that only waits for its session is kept, too.
        let standing = standing.max(Standing::Unproven);
        let before = std::mem::replace(&mut talk.standing, standing);
        if standing == before {
            return;
        }
        self.unproven_len -= usize::from(before == Standing::Unproven);
        if standing == Standing::Established {
            self.shared.counters.established.fetch_add(1, Ordering::Relaxed);
        } else {
            let nudge = Arc::downgrade(&talk.nudge);
            self.note_unproven(nudge, core, now);
        }
    }

    fn note_unproven(&mut self, nudge: Weak<Nudge>, core: &mut CoreLocal, now: Instant) {
        self.unproven_len += 1;
        self.unproven.push_back(nudge);
        if self.unproven_len > self.options.unproven_max {
            self.evict_unproven(core, now);
        }
        if self.unproven.len() > 2 * self.options.unproven_max + 64 {
            let table = &mut self.table;
            self.unproven.retain(|nudge| is_unproven(table, nudge).is_some());
        }
    }

    /// Ends the oldest conversation whose peer has not shown that it is there. False when there is none.
    fn evict_unproven(&mut self, core: &mut CoreLocal, now: Instant) -> bool {
        while let Some(nudge) = self.unproven.pop_front() {
            if let Some(index) = is_unproven(&mut self.table, &nudge) {
                self.close(index, DepartCause::Closed, core, now);
                self.shared.counters.evicted.fetch_add(1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn close(&mut self, index: u32, cause: DepartCause, core: &mut CoreLocal, now: Instant) {
        let Some((_, mut talk)) = self.table.remove(index) else { return };
        self.apart.remove(&index);
        talk.conversation.depart(cause, &self.service, now, &mut core.lane);
        if let Some(timer) = talk.timer.take() {
            core.wheel.cancel(timer);
        }
        self.unproven_len -= usize::from(talk.standing == Standing::Unproven);
        self.shared.counters.connections.fetch_sub(1, Ordering::Relaxed);
        self.service.cores.leave(self.core);
    }

    /// Ends all conversations, with a word to their peers or without.
    fn end_all(&mut self, reason: Option<&CloseReason>, core: &mut CoreLocal) {
        let now = self.service.clock.now();
        let indexes: Vec<u32> = self.table.indexes().collect();
        for index in indexes {
            if let (Some(reason), Some((place, talk))) = (reason, self.table.get_mut(index)) {
                core.tidy();
                talk.conversation.stop(&Stop::Gateway(reason.clone()), &self.service, core, now);
                self.out.send_all(&core.outbox, place, talk.local);
                core.tidy();
            }
            self.close(index, DepartCause::Closed, core, now);
        }
        self.out.dispatch();
        self.settle(core);
    }

    fn settle(&mut self, core: &mut CoreLocal) {
        let tally = std::mem::take(&mut self.out.tally);
        core.lane.count(Counter::BytesSent, tally.bytes_sent);
        let counters = &self.shared.counters;
        core.outbox.drain_counts(|kind, received, sent| {
            counters.packets[kind].0.fetch_add(received.into(), Ordering::Relaxed);
            counters.packets[kind].1.fetch_add(sent.into(), Ordering::Relaxed);
        });
        for (counter, count) in [
            (&counters.datagrams_received, tally.received),
            (&counters.datagrams_refused, tally.refused),
            (&counters.datagrams_sent, tally.sent),
            (&counters.datagrams_unsent, tally.unsent),
        ] {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

impl<P: DatagramProtocol> Drop for Endpoint<P> {
    /// One that is dropped in mid-life (the gateway's end) still gives its sessions back.
    fn drop(&mut self) {
        CoreLocal::with(|core| self.end_all(None, core));
    }
}

fn is_current<P: DatagramProtocol>(table: &mut Table<Talk<P>>, nudge: &Arc<Nudge>) -> bool {
    table.get_mut(nudge.index).is_some_and(|(_, talk)| Arc::ptr_eq(&talk.nudge, nudge))
}

/// The index of a conversation that is still unproven.
fn is_unproven<P: DatagramProtocol>(table: &mut Table<Talk<P>>, nudge: &Weak<Nudge>) -> Option<u32> {
    let nudge = nudge.upgrade()?;
    let (_, talk) = table.get_mut(nudge.index)?;
    (talk.standing == Standing::Unproven && Arc::ptr_eq(&talk.nudge, &nudge)).then_some(nudge.index)
}

/// Bytes that the driver keeps for each conversation of a protocol, beside what its parts point to.
#[cfg(test)]
pub(crate) const fn talk_bytes<P: DatagramProtocol>() -> usize {
    super::table::slot_bytes::<Talk<P>>()
}
