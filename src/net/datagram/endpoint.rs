use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use parking_lot::Mutex;
use thingway_contract::{CloseReason, DatagramProtocol, Input, Instant, Peer, Standing, Transport};

use super::{
    UdpOptions,
    socket::{Arrival, Arrivals, BatchSocket, Departures, SEND_BATCH},
    sources::Sources,
    table::{Place, Table},
};
use crate::{
    bus::{Counter, DepartCause},
    net::{
        conversation::{Batch, Conversation, Step, Stop, Turn},
        core::CoreLocal,
        limit::{ListenerShared, Stopping},
        service::{Allowance, Service},
        wheel::TimerId,
    },
};

/// Batches of datagrams taken in one turn of the core.
const BATCHES_PER_TURN: usize = 4;
/// Conversations that were woken and are served in one turn of the core.
const WOKEN_PER_TURN: usize = 1024;
/// Batches of deliveries in one turn of a conversation.
const DELIVERIES_PER_TURN: usize = 4;
/// Datagrams kept while the kernel takes none. Deliveries then wait in their queues; answers beyond it are lost, as on any network.
const UNSENT_MAX: usize = 1024;
/// Most different addresses of the gateway that peers are answered from; beyond it the system chooses.
const LOCALS_MAX: usize = 1024;

/// One core's share of a listener: its socket and the conversations whose datagrams arrive there.
pub(super) struct Endpoint<P: DatagramProtocol> {
    service: Arc<Service<P>>,
    shared: Arc<ListenerShared>,
    options: UdpOptions,
    local: SocketAddr,
    core: usize,
    table: Table<Talk<P>>,
    /// Conversations whose peers have not shown that they are there, the oldest first; some are no such any more.
    unproven: VecDeque<Weak<Nudge>>,
    unproven_len: usize,
    woken: Arc<Woken>,
    due: VecDeque<Arc<Nudge>>,
    sources: Sources,
    arrivals: Option<Box<Arrivals>>,
    out: Out,
}

/// What is sent by.
struct Out {
    socket: Arc<BatchSocket>,
    by_v6: bool,
    /// Addresses of the gateway that peers have sent to.
    locals: Vec<IpAddr>,
    /// To be sent at the end of the turn, or when there are enough.
    departures: Departures,
    /// What the kernel did not take.
    unsent: VecDeque<Unsent>,
    tally: Tally,
}

struct Unsent {
    bytes: Box<[u8]>,
    destination: SocketAddr,
    source: Option<IpAddr>,
}

/// What happened in a turn of the core, added to the listener's counts at its end.
#[derive(Default)]
struct Tally {
    received: u64,
    refused: u64,
    sent: u64,
    unsent: u64,
    bytes_sent: u64,
}

/// A conversation and what the driver keeps for it.
struct Talk<P: DatagramProtocol> {
    conversation: Conversation<P>,
    nudge: Arc<Nudge>,
    allowance: Option<Box<Allowance>>,
    timer: Option<TimerId>,
    /// Index in [`Out::locals`].
    local: u16,
    unproven: bool,
}

/// Conversations that were woken.
#[derive(Default)]
struct Woken {
    nudges: Mutex<Vec<Arc<Nudge>>>,
    waker: Mutex<Option<Waker>>,
}

/// Wakes one conversation, and tells whether it is still the one.
struct Nudge {
    woken: Arc<Woken>,
    index: u32,
    queued: AtomicBool,
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut nudges = self.woken.nudges.lock();
        nudges.push(self.clone());
        if nudges.len() == 1 {
            drop(nudges);
            if let Some(waker) = &*self.woken.waker.lock() {
                waker.wake_by_ref();
            }
        }
    }
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
            service,
            shared,
            options,
            local,
            core,
            table: Table::new(),
            unproven: VecDeque::new(),
            unproven_len: 0,
            woken: Arc::default(),
            due: VecDeque::new(),
            arrivals: Some(Box::new(Arrivals::new())),
            out: Out {
                socket: Arc::new(socket),
                by_v6: local.is_ipv6(),
                locals: Vec::new(),
                departures: Departures::default(),
                unsent: VecDeque::new(),
                tally: Tally::default(),
            },
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
        if more || !self.due.is_empty() {
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
            certificate_identity: None,
        };
        let shed = self.shared.shed.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        counters.connections.fetch_add(1, Ordering::Relaxed);
        self.service.cores.enter(self.core);
        let (service, woken) = (&self.service, &self.woken);
        Some(self.table.insert(place, |index| Talk {
            conversation: Conversation::new(service, peer, shed, now),
            nudge: Arc::new(Nudge { woken: woken.clone(), index, queued: AtomicBool::new(false) }),
            allowance: Allowance::new(&service.rates, now),
            timer: None,
            local,
            unproven: false,
        }))
    }

    /// One conversation's turn, with a datagram from its peer or without.
    fn converse(&mut self, index: u32, datagram: Option<&[u8]>, core: &mut CoreLocal, now: Instant) {
        let Some((place, talk)) = self.table.get_mut(index) else { return };
        let waker = Waker::from(talk.nudge.clone());
        let turn = Turn { service: &*self.service, waker: &waker, now };
        let mut refused = 0;
        let worked = talk.work(datagram, self.out.is_clogged(), turn, core, &mut refused);
        self.out.tally.refused += refused;
        let over = match worked {
            Ok(()) if core.outbox.is_closing() => Some(Stop::Done),
            Ok(()) => None,
            Err(stop) => Some(stop),
        };
        if let Some(stop) = &over {
            talk.conversation.stop(stop, &self.service, core, now);
            core.outbox.forget_requests();
        }
        let destination = place.destination(self.out.by_v6);
        let source = self.out.locals.get(usize::from(talk.local)).copied();
        for datagram in core.outbox.datagrams() {
            self.out.send(datagram, destination, source);
        }
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
        let unproven = standing < Standing::Established;
        if unproven != talk.unproven {
            talk.unproven = unproven;
            if unproven {
                let nudge = Arc::downgrade(&talk.nudge);
                self.note_unproven(nudge, core, now);
            } else {
                self.unproven_len -= 1;
                self.shared.counters.established.fetch_add(1, Ordering::Relaxed);
            }
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
        talk.conversation.depart(cause, &self.service, now, &mut core.lane);
        if let Some(timer) = talk.timer.take() {
            core.wheel.cancel(timer);
        }
        self.unproven_len -= usize::from(talk.unproven);
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
                let destination = place.destination(self.out.by_v6);
                let source = self.out.locals.get(usize::from(talk.local)).copied();
                for datagram in core.outbox.datagrams() {
                    self.out.send(datagram, destination, source);
                }
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
    (talk.unproven && Arc::ptr_eq(&talk.nudge, &nudge)).then_some(nudge.index)
}

impl<P: DatagramProtocol> Talk<P> {
    fn work(
        &mut self,
        datagram: Option<&[u8]>,
        clogged: bool,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
        refused: &mut u64,
    ) -> Step<P> {
        let now = turn.now;
        let mut fresh = self.conversation.poll_pending(turn, core)?;
        self.answer(turn, core)?;
        if self.conversation.machine.deadline() <= now && !self.conversation.is_pending() {
            let outcome = self.conversation.machine.timeout(now, &mut core.outbox);
            self.answer(turn, core)?;
            outcome.map_err(Stop::Fault)?;
            fresh = true;
        }
        if let Some(datagram) = datagram {
            if self.conversation.is_pending() || !self.may_send(datagram.len(), now) {
                // The peer sends it again.
                *refused += 1;
            } else {
                self.receive(datagram, turn, core)?;
                fresh = true;
            }
        }
        self.conversation.blocked &= !fresh;
        for _ in 0..DELIVERIES_PER_TURN {
            let hold = clogged || self.conversation.is_pending();
            match self.conversation.deliver_batch(hold, turn, core)? {
                Batch::More => {}
                Batch::Held => return self.answer(turn, core),
                Batch::Drained => {
                    self.conversation.machine.drained(now, &mut core.outbox);
                    return self.answer(turn, core);
                }
            }
        }
        turn.waker.wake_by_ref();
        self.answer(turn, core)
    }

    fn receive(&mut self, datagram: &[u8], turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        let outcome = self.conversation.machine.receive(&mut Input::new(datagram), turn.now, &mut core.outbox);
        self.answer(turn, core)?;
        match outcome {
            Ok(()) => Ok(()),
            Err(fault) if P::is_fatal(&fault) => Err(Stop::Fault(fault)),
            Err(fault) => {
                self.conversation.report(&fault, turn.service, &core.lane, turn.now);
                self.conversation.machine.refuse(&fault, turn.now, &mut core.outbox);
                self.answer(turn, core)
            }
        }
    }

    fn answer(&mut self, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P> {
        let Self { conversation, allowance, .. } = self;
        let outcome = conversation.answer(turn, core, |lane| {
            let bucket = allowance.as_mut().and_then(|allowance| allowance.messages.as_mut());
            let may = bucket.is_none_or(|bucket| bucket.take(turn.now).is_ok());
            lane.count(Counter::RateLimited, u64::from(!may));
            may
        });
        // Queues that are nearly full cannot slow a sender of datagrams down; what they cannot hold is dropped by their own rule.
        core.lane.take_congested();
        outcome
    }

    fn may_send(&mut self, bytes: usize, now: Instant) -> bool {
        let bucket = self.allowance.as_mut().and_then(|allowance| allowance.bytes.as_mut());
        bucket.is_none_or(|bucket| bucket.take(now).is_ok() && bucket.charge(bytes as u64, now).is_zero())
    }
}

impl Out {
    fn is_clogged(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The index of an address of the gateway.
    fn local(&mut self, ip: Option<IpAddr>) -> u16 {
        // Nothing is sent from a group's address.
        let Some(ip) = ip.filter(|ip| !ip.to_canonical().is_multicast()) else { return u16::MAX };
        let index = self.locals.iter().position(|known| *known == ip).or_else(|| {
            (self.locals.len() < LOCALS_MAX).then(|| {
                self.locals.push(ip);
                self.locals.len() - 1
            })
        });
        index.map_or(u16::MAX, |index| index as u16)
    }

    fn send(&mut self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        if !self.unsent.is_empty() {
            return self.keep(bytes, destination, source);
        }
        self.departures.push(bytes, destination, source);
        if self.departures.len() >= SEND_BATCH {
            self.dispatch();
        }
    }

    /// Gives the kernel what was collected; what it does not take now is kept.
    fn dispatch(&mut self) {
        let departures = std::mem::take(&mut self.departures);
        let mut first = 0;
        let mut clogged = false;
        while first < departures.len() && !clogged {
            match self.socket.try_send_batch(&departures, first) {
                Ok(count) => {
                    departures.iter().skip(first).take(count).for_each(|(bytes, ..)| self.count(bytes.len(), true));
                    first += count.max(1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => clogged = true,
                Err(_) => {
                    // Alone, it may go from another address.
                    if let Some((bytes, destination, source)) = departures.iter().nth(first) {
                        let sent = self.try_send(bytes, destination, source);
                        self.count(bytes.len(), sent.is_ok());
                    }
                    first += 1;
                }
            }
        }
        for (bytes, destination, source) in departures.iter().skip(first) {
            self.keep(bytes, destination, source);
        }
        // The buffers are used again.
        self.departures = departures;
        self.departures.clear();
    }

    fn keep(&mut self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        if self.unsent.len() < UNSENT_MAX {
            self.unsent.push_back(Unsent { bytes: bytes.into(), destination, source });
        } else {
            self.count(bytes.len(), false);
        }
    }

    fn try_send(&self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) -> io::Result<()> {
        match self.socket.try_send(bytes, destination, source) {
            // What was sent to a broadcast address cannot be answered from it.
            Err(error) if source.is_some() && error.kind() != io::ErrorKind::WouldBlock => {
                self.socket.try_send(bytes, destination, None)
            }
            result => result,
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        self.dispatch();
        while let Some(next) = self.unsent.front() {
            match self.try_send(&next.bytes, next.destination, next.source) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.socket.poll_writable(cx).is_pending() {
                        return;
                    }
                }
                sent => {
                    let bytes = next.bytes.len();
                    self.unsent.pop_front();
                    self.count(bytes, sent.is_ok());
                }
            }
        }
    }

    fn count(&mut self, bytes: usize, sent: bool) {
        if sent {
            self.tally.sent += 1;
            self.tally.bytes_sent += bytes as u64;
        } else {
            self.tally.unsent += 1;
        }
    }
}

/// Sends the protocol's beacon at its intervals; never ends when there is nothing to send.
async fn announce<P: DatagramProtocol>(
    service: Arc<Service<P>>,
    socket: Arc<BatchSocket>,
    by_v6: bool,
    announce_to: Vec<SocketAddr>,
) {
    let Some(beacon) = P::beacon(&service.config).filter(|_| !announce_to.is_empty()) else {
        return std::future::pending().await;
    };
    let mut interval = tokio::time::interval(beacon.interval);
    loop {
        interval.tick().await;
        for address in &announce_to {
            let destination = Place::new(*address, &[]).destination(by_v6);
            if let Err(error) = socket.try_send(&beacon.datagram, destination, None) {
                tracing::debug!(%address, %error, "an announcement was not sent");
            }
        }
    }
}

/// Bytes that the driver keeps for each conversation of a protocol, beside what its parts point to.
#[cfg(test)]
pub(crate) const fn talk_bytes<P: DatagramProtocol>() -> usize {
    super::table::slot_bytes::<Talk<P>>()
}
