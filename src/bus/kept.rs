//! Sessions that outlive the gateway itself: what changes of them is recorded in the journal first, and happens when the record is safe.
//!
//! The store's machine holds their queues and unfinished exchanges; the bus holds their routes, their wills' and their own deadlines, and hands
//! deliveries to their connections. QoS 0 to a connection goes past the journal.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use smallvec::SmallVec;
use thingway_contract::{Connected, Delivery, Instant, Message, Parked, Properties, Refusal, Will, WillFate};
use thingway_store::{
    Attach, Attached, Backend, BackendError, Cause, DropCause, Epoch, Exchange, Extras, Host, Keeper, Number, Position,
    Publish, Record, Target,
};

use super::{
    Bus, ConnectOutcome, Counter, Granted, Lane, Session, SessionRequest,
    life::{Life, secs_of},
    publish::with_retained_expiry,
    session::{Offline, State},
};
use crate::store::{Journal, Queued, Settled, Ticket, Wake};

/// Names of delayed messages begin with the time at which the gateway began; so many are there for a millisecond of it.
const DELAYED_PER_MS_BITS: u32 = 16;

/// A session's connection, as the store's machine knows it.
#[derive(Clone)]
pub struct Handle {
    session: Arc<Session>,
    epoch: u32,
    /// When it came.
    since: Instant,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("session", &self.session.id()).field("epoch", &self.epoch).finish()
    }
}

/// The journal, and how its times are told.
#[derive(Debug)]
pub(super) struct Keeping {
    pub journal: Journal<Handle>,
    pub epoch: Epoch,
}

/// What the bus knows of a kept session while it has a connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Where its connection was recorded; 0 until that is safe.
    attach: Position,
    /// What the machine found, until the connection asks for it.
    found: Option<Box<Attached>>,
    /// Extras were recorded.
    has_extras: bool,
    /// The retained messages recorded last for its new subscriptions.
    replayed: Option<Ticket>,
}

/// An exchange that the peer has not released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// The machine knows it, and must hear of its end.
    recorded: bool,
    /// Tells when that is safe.
    ticket: Option<Ticket>,
}

/// A session that is granted as soon as that is recorded.
#[derive(Debug)]
pub struct Reserved {
    /// The session.
    pub session: Arc<Session>,
    /// Proves to the session which connection speaks.
    pub epoch: u32,
    ticket: Ticket,
}

impl Bus {
    /// Has sessions kept by a journal. To be called before anybody uses the bus.
    pub fn keep(&mut self, journal: Journal<Handle>) {
        let epoch = Epoch(self.config.events.clock_zero_unix_ms);
        self.keeping = Some(Keeping { journal, epoch });
    }

    /// The journal, if there is one.
    pub fn journal(&self) -> Option<&Journal<Handle>> {
        self.keeping.as_ref().map(|keeping| &keeping.journal)
    }

    /// True when a session is kept, or shall be from this request on.
    pub(super) fn is_to_be_kept(&self, session: &Session, request: &SessionRequest) -> bool {
        self.keeping.is_some() && (session.is_kept() || request.session_expiry_secs > 0 && !request.must_exist)
    }

    /// Gives a connection the session, but for what the journal has to say.
    pub(super) fn reserve(
        &self,
        keeping: &Keeping,
        session: &Arc<Session>,
        state: &mut State,
        request: &mut SessionRequest,
        lane: &Lane,
    ) -> ConnectOutcome {
        self.cancel_timers(state);
        let _ = state.take_parked();
        let expiry_secs = request.session_expiry_secs.min(self.tuning().session_expiry_secs_max);
        state.session_expiry_secs = expiry_secs;
        state.connection = Some(Box::new(request.info.clone()));
        state.rare().link = Some(Link::default());
        let epoch = session.attach(request.waker.clone(), request.core);
        self.count_connected(&request.info, lane);
        let attach = Attach {
            client_id: session.id().clone(),
            expiry_secs,
            will: request.will.take(),
            keep_will: request.keep_will,
        };
        let handle = Handle { session: session.clone(), epoch, since: request.info.connected_at };
        let ticket = keeping.journal.append_awaited(Record::Attach(Box::new(attach)), Some(handle));
        keeping.journal.wake_when_settled(ticket, request.core, &request.waker);
        ConnectOutcome::Reserved(Box::new(Reserved { session: session.clone(), epoch, ticket }))
    }

    /// Grants a reserved session when its record is safe; `None` until then, when the request's waker is woken.
    pub fn granted(
        &self,
        reserved: &Reserved,
        request: &SessionRequest,
        now: Instant,
        lane: &mut Lane,
    ) -> Option<Result<Box<Granted>, Refusal>> {
        let keeping = self.keeping.as_ref()?;
        let Reserved { session, epoch, ticket } = reserved;
        match keeping.journal.settled(*ticket) {
            Settled::Not => return None,
            Settled::Refused => return Some(Err(Refusal::QuotaExceeded)),
            Settled::Kept => {}
        }
        let mut state = session.state.lock();
        let Some(found) = state.link().and_then(|link| link.found.take()) else {
            // Another connection has it by now.
            return Some(Err(Refusal::Unavailable));
        };
        state.life.begin(self.unix_ms(request.info.connected_at));
        state.will = found.will.clone();
        let session_expiry_secs = state.session_expiry_secs;
        drop(state);
        let present = found.present;
        lane.count(if present { Counter::SessionResumed } else { Counter::SessionCreated }, 1);
        let connected = Connected {
            kept: true,
            assigned_client_id: request.client_id.clone().filter(|_| request.assigned),
            session_present: present,
            session_expiry_secs,
            parked: parked(*found, request.keep_will),
            publisher: session.key(),
            authentication_data: None,
            response_information: None,
        };
        self.note_client(session);
        self.tell_connected(session.id(), &request.info, session_expiry_secs, now, lane);
        Some(Ok(Box::new(Granted { session: session.clone(), epoch: *epoch, connected })))
    }

    /// Records that a connection has left its session. What the connection still has of the session's messages stays the machine's.
    pub(super) fn record_departure(
        &self,
        session: &Session,
        state: &mut State,
        parked: &mut Parked,
        will: WillFate,
        now: Instant,
        lane: &mut Lane,
    ) {
        let (Some(keeping), Some(link)) = (&self.keeping, state.take_link()) else { return };
        // What whoever comes next must show is asked before the machine is.
        let resumption = parked.resumption;
        let extras = Extras::take(parked);
        *parked = Parked { resumption, ..Parked::default() };
        let mut unsent = 0;
        let mut later = Vec::new();
        {
            let offline_qos0 = self.config.queue.offline_qos0 && state.session_expiry_secs > 0;
            let mut inbox = session.inbox(&self.budget);
            for delivery in inbox.take_all() {
                if delivery.packet_id != 0 {
                    unsent = if unsent == 0 { delivery.packet_id } else { unsent };
                } else if offline_qos0 {
                    later.push(delivery);
                } else {
                    lane.count(Counter::DeliveryQos0, 1);
                }
            }
        }
        session.set_behind(false);
        // Whoever leaves before the session was granted never had a will.
        let will = if link.found.is_some() { WillFate::Discard } else { will };
        let number = session.kept();
        if link.attach == 0 || number == 0 {
            // It is not known yet where it was recorded. Whoever hears of it finds that nobody is there any more.
            return;
        }
        if extras.is_some() || link.has_extras {
            keeping.journal.append(Record::Keep { session: number, extras: extras.unwrap_or_default() }, None);
        }
        let detach = Record::Detach {
            session: number,
            attach: link.attach,
            at: keeping.epoch.wall(now),
            expiry_secs: Some(state.session_expiry_secs),
            will,
            unsent,
        };
        keeping.journal.append(detach, None);
        for delivery in later {
            let target = target(number, &delivery);
            self.record_publication(keeping, delivery.message, SmallVec::from_elem(target, 1), Kind::default());
        }
    }

    /// Records that a session is over. The ticket tells when that is safe.
    pub(super) fn record_end(&self, session: &Session) -> Option<Ticket> {
        let (Some(keeping), number @ 1..) = (&self.keeping, session.kept()) else { return None };
        Some(keeping.journal.append(Record::End { session: number }, None))
    }

    /// Records a publication for kept sessions, or that is retained. The lane's ticket tells when it is safe.
    pub(super) fn record(&self, message: &Message, targets: SmallVec<[Target; 1]>, kind: Kind, lane: &mut Lane) {
        let Some(keeping) = &self.keeping else { return };
        let ticket = self.record_publication(keeping, message.clone(), targets, kind);
        lane.wait_for(ticket);
        if keeping.journal.is_behind() {
            lane.mark_congested();
        }
    }

    fn record_publication(
        &self,
        keeping: &Keeping,
        message: Message,
        targets: SmallVec<[Target; 1]>,
        kind: Kind,
    ) -> Ticket {
        let Kind { retains, exchange, cause, unasked } = kind;
        let record = Record::Publish(Arc::new(Publish { message, retains, exchange, targets, cause }));
        if unasked {
            return keeping.journal.append(record, None);
        }
        keeping.journal.append_awaited(record, None)
    }

    /// What made the gateway publish by itself was dealt with without a record.
    pub(super) fn record_spent(&self, cause: Cause) {
        if let (Some(keeping), false) = (&self.keeping, cause == Cause::None) {
            keeping.journal.append(Record::Spent(cause), None);
        }
    }

    /// The exchange that a publication came in, when it must be recorded with it.
    pub(super) fn exchange_of(&self, publisher: Option<&Arc<Session>>, packet_id: u16) -> Option<Exchange> {
        let session = publisher.filter(|session| packet_id != 0 && session.is_kept())?;
        Some(Exchange { session: session.kept(), packet_id })
    }

    /// True for a publication of an exchange that is open already. The lane's ticket tells when it is safe, if it has to be.
    pub(super) fn is_repeated(&self, publisher: &Session, packet_id: u16, lane: &mut Lane) -> bool {
        if !publisher.is_kept() {
            return false;
        }
        let mut state = publisher.state.lock();
        let Some(open) = state.known_rare().and_then(|rare| rare.exchanges.get(&packet_id)) else { return false };
        if let Some(ticket) = open.ticket {
            lane.wait_for(ticket);
        }
        true
    }

    /// Remembers an exchange that a publication has opened, and whether it was recorded.
    pub(super) fn open_exchange(
        &self,
        exchange: Option<Exchange>,
        publisher: Option<&Arc<Session>>,
        ticket: Option<Ticket>,
    ) {
        if let (Some(exchange), Some(publisher)) = (exchange, publisher) {
            let open = Open { recorded: ticket.is_some(), ticket };
            publisher.state.lock().rare().exchanges.insert(exchange.packet_id, open);
        }
    }

    /// An exchange that was not kept: the peer's next publication under the packet identifier is another one.
    pub fn forget_exchange(&self, session: &Session, packet_id: u16) {
        let mut state = session.state.lock();
        if let Some(rare) = state.known_rare() {
            rare.exchanges.remove(&packet_id);
        }
        state.tidy();
    }

    /// The peer has released its message of QoS 2. The lane's ticket tells when that is safe, if it has to be.
    pub fn released(&self, session: &Session, packet_id: u16, lane: &mut Lane) {
        let Some(keeping) = &self.keeping else { return };
        let mut state = session.state.lock();
        let open = state.known_rare().and_then(|rare| rare.exchanges.remove(&packet_id));
        state.tidy();
        if open.is_some_and(|open| open.recorded) {
            let exchange = Exchange { session: session.kept(), packet_id };
            lane.wait_for(keeping.journal.append_awaited(Record::Released(exchange), None));
        }
    }

    /// The peer has taken over a message of QoS 2. The lane's ticket tells when that is safe.
    pub fn received(&self, session: &Session, packet_id: u16, lane: &mut Lane) {
        if let (Some(keeping), number @ 1..) = (&self.keeping, session.kept()) {
            let exchange = Exchange { session: number, packet_id };
            lane.wait_for(keeping.journal.append_awaited(Record::Received(exchange), None));
        }
    }

    /// An exchange with the peer is over.
    pub fn acknowledged(&self, session: &Session, packet_id: u16) {
        if let (Some(keeping), number @ 1..) = (&self.keeping, session.kept()) {
            keeping.journal.append(Record::Acknowledged(Exchange { session: number, packet_id }), None);
        }
    }

    /// Puts a session's subscription on record. The lane's ticket tells when it is safe.
    pub(super) fn record_change(&self, session: &Session, record: impl FnOnce(Number) -> Record, lane: &mut Lane) {
        if let (Some(keeping), number @ 1..) = (&self.keeping, session.kept()) {
            lane.wait_for(keeping.journal.append_awaited(record(number), None));
        }
    }

    /// True when retained messages for a session's new subscriptions must wait: those before them are not safe yet, or its connection is behind.
    pub(super) fn is_replay_held(&self, session: &Session, state: &mut State) -> bool {
        let (Some(keeping), Some(link)) = (&self.keeping, state.link()) else { return false };
        let Some(ticket) = link.replayed.filter(|&ticket| keeping.journal.settled(ticket) == Settled::Not) else {
            return session.is_behind();
        };
        if let Some(to) = &session.inbox(&self.budget).attached {
            keeping.journal.wake_when_settled(ticket, to.core, &to.waker);
        }
        true
    }

    /// Remembers what [`Bus::is_replay_held`] waits for.
    pub(super) fn hold_replay(state: &mut State, ticket: Option<Ticket>) {
        if let (Some(link), Some(_)) = (state.link(), ticket) {
            link.replayed = ticket;
        }
    }

    /// Puts on record what a session's next conversation needs.
    pub fn record_extras(&self, session: &Session, mut parked: Parked) {
        let (Some(keeping), number @ 1..) = (&self.keeping, session.kept()) else { return };
        let extras = Extras::take(&mut parked);
        if let Some(link) = session.state.lock().link() {
            if extras.is_none() && !link.has_extras {
                return;
            }
            link.has_extras = extras.is_some();
        }
        keeping.journal.append(Record::Keep { session: number, extras: extras.unwrap_or_default() }, None);
    }

    /// Puts a session's will on record.
    pub(super) fn record_will(&self, session: &Session, will: Option<Box<Will>>) {
        if let (Some(keeping), number @ 1..) = (&self.keeping, session.kept()) {
            keeping.journal.append(Record::SetWill { session: number, will }, None);
        }
    }

    /// Puts a delayed message on record.
    pub(super) fn record_delay(
        &self,
        id: u64,
        due: Instant,
        message: Message,
        exchange: Option<Exchange>,
        lane: &mut Lane,
    ) {
        if let Some(keeping) = &self.keeping {
            let due = keeping.epoch.wall(due);
            lane.wait_for(keeping.journal.append_awaited(Record::Delay { id, due, message, exchange }, None));
        }
    }

    /// Takes over what a store has kept. To be called after [`Bus::keep`], before anybody uses the bus.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restore<B: Backend>(
        &self,
        keeper: &mut Keeper<Handle, B>,
        now: Instant,
        lane: &mut Lane,
    ) -> Result<(), BackendError> {
        let Some(keeping) = &self.keeping else { return Ok(()) };
        let mut sessions = std::collections::HashMap::new();
        for view in keeper.sessions() {
            let made = || Arc::new(Session::new(view.client_id.clone(), self.next_publisher()));
            let (session, _) = self.registry.find_or_insert(view.client_id, made);
            session.set_kept(view.number);
            let mut state = session.state.lock();
            state.life = Life::RESTORED;
            session.set_left(secs_of(view.detached_at));
            state.session_expiry_secs = view.expiry_secs;
            state.will = view.will.cloned().map(Box::new);
            let mut offline = Offline::default();
            let after =
                |secs: u32| keeping.epoch.instant(view.detached_at.saturating_add(u64::from(secs) * 1000)).max(now);
            if view.expiry_secs != u32::MAX {
                offline.expiry = self.timers.session_expiry(after(view.expiry_secs), &session);
            }
            if let Some(will) = view.will.filter(|will| will.delay_secs < view.expiry_secs) {
                offline.will = self.timers.will(after(will.delay_secs), &session);
            }
            if !offline.is_empty() {
                state.rare().offline = offline;
            }
            if let Some(resumption) = view.resumption {
                let parked = Parked { resumption: Some(resumption), ..Parked::default() };
                state.rare().parked = Some(Box::new(parked));
            }
            drop(state);
            sessions.insert(view.number, session);
        }
        keeper.for_each_subscription(|number, filter, options| {
            if let Some(session) = sessions.get(&number)
                && self.routes.insert(&filter, session, options).is_ok()
            {
                let mut state = session.state.lock();
                state.subscriptions.insert(filter, options);
            }
        })?;
        keeper.for_each_retained(|message, received_at| {
            let expires_at = |secs| keeping.epoch.instant(received_at.saturating_add(u64::from(secs) * 1000));
            let message = with_retained_expiry(&message, self.tuning().retained_expiry_secs, expires_at);
            if message.is_expired(now) {
                self.record_forgotten(keeping, &message);
            } else if self.retained.insert(message).is_err() {
                lane.count(Counter::RetainRefused, 1);
            }
        })?;
        // No name is used twice, over restarts as well: what was published under it may not be forgotten yet.
        self.next_delayed.fetch_max(keeping.epoch.0 << DELAYED_PER_MS_BITS, Ordering::Relaxed);
        let mut delayed = Vec::new();
        keeper.for_each_delayed(|id, due, message| delayed.push((due, id, message)))?;
        // Those that fell due meanwhile are published in the order in which they would have been.
        delayed.sort_unstable_by_key(|(due, id, _)| (*due, *id));
        for (due, id, message) in delayed {
            let due = keeping.epoch.instant(due).max(now);
            self.next_delayed.fetch_max(id + 1, Ordering::Relaxed);
            if !self.timers.delayed(due, id, message, usize::MAX, usize::MAX) {
                lane.count(Counter::DroppedQuota, 1);
            }
        }
        Ok(())
    }

    /// What waits for each of these sessions: in the store for those that are kept, unacknowledged messages among it, and beside it. Waits until the
    /// store has written what it has to write, so it is not for those who serve connections.
    pub fn queued(&self, sessions: &[Arc<Session>]) -> Vec<Queued> {
        let kept = sessions.iter().map(|session| session.kept()).collect();
        let kept = self.journal().and_then(|journal| journal.queued(kept)).unwrap_or_default();
        let kept = kept.into_iter().chain(std::iter::repeat(Queued::default()));
        let sum = |(session, kept): (&Arc<Session>, Queued)| {
            let (messages, bytes) = session.queued();
            Queued { messages: kept.messages + messages, bytes: kept.bytes + bytes as u64 }
        };
        sessions.iter().zip(kept).map(sum).collect()
    }

    /// Forgets retained messages that have expired, here and in the store, at most `budget` of them.
    pub(super) fn expire_retained(&self, now: Instant, budget: usize) {
        let Some(keeping) = &self.keeping else {
            self.retained.expire(now, budget, |_| {});
            return;
        };
        // Nobody gets what has expired: there is no hurry while the store has more to write than it should.
        if !keeping.journal.is_behind() {
            // A message that takes its place is recorded behind this, so what is forgotten is never that one.
            self.retained.expire(now, budget, |message| self.record_forgotten(keeping, message));
        }
    }

    /// Puts on record that a retained message has expired.
    fn record_forgotten(&self, keeping: &Keeping, message: &Message) {
        if message.name().is_reserved() {
            return;
        }
        let message = Message::new(*message.head(), message.name(), Properties::default(), &[]);
        let kind = Kind { retains: true, unasked: true, ..Kind::default() };
        self.record_publication(keeping, message, SmallVec::new(), kind);
    }

    /// The one who gives the machine's effects to the bus.
    pub fn desk(self: &Arc<Self>, lane: Lane, forward: impl Fn(&mut Lane) + Send + 'static) -> Desk {
        Desk { bus: self.clone(), lane, forward: Box::new(forward) }
    }
}

/// What is recorded with a publication.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kind {
    pub retains: bool,
    pub exchange: Option<Exchange>,
    pub cause: Cause,
    /// There is nobody who can be told that it was refused: it is tried until it is kept.
    pub unasked: bool,
}

/// A kept session as the target of a delivery.
pub(super) fn target(session: Number, delivery: &Delivery) -> Target {
    Target {
        session,
        qos: delivery.qos,
        retain: delivery.retain,
        subscription_id: delivery.subscription_id,
        rare: delivery.rare.clone(),
    }
}

fn parked(found: Attached, keep_will: bool) -> Option<Box<Parked>> {
    let Attached { outbound, inbound, extras, will, .. } = found;
    let mut parked = Parked { outbound, inbound, ..Parked::default() };
    if let Some(extras) = extras {
        extras.put(&mut parked);
    }
    parked.will = will.filter(|_| keep_will);
    Some(Box::new(parked)).filter(|parked| !parked.is_empty())
}

/// Gives the machine's effects to the bus, on the store's thread.
pub struct Desk {
    bus: Arc<Bus>,
    lane: Lane,
    forward: Box<dyn Fn(&mut Lane) + Send>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Host for Desk {
    type Session = Handle;

    fn attached(&mut self, handle: &Handle, attached: Attached) {
        let Handle { session, epoch, since } = handle;
        let mut state = session.state.lock();
        session.set_kept(attached.session);
        let (present, has_connection) = {
            let inbox = session.inbox(&self.bus.budget);
            (inbox.epoch == *epoch && inbox.attached.is_some(), inbox.attached.is_some())
        };
        let recorded = Open { recorded: true, ticket: None };
        if present && !attached.inbound.is_empty() {
            for &packet_id in &attached.inbound {
                state.rare().exchanges.entry(packet_id).or_insert(recorded);
            }
        }
        if let Some(link) = state.link().filter(|_| present) {
            link.attach = attached.attach;
            link.has_extras = attached.extras.is_some();
            link.found = Some(Box::new(attached));
        } else if let (false, Some(keeping)) = (has_connection, &self.bus.keeping) {
            // It has left before this was safe. If another has come meanwhile, its own record takes the session over.
            let detach = Record::Detach {
                session: attached.session,
                attach: attached.attach,
                at: keeping.epoch.wall(*since),
                expiry_secs: state.life.has_ended().then_some(0),
                will: WillFate::Discard,
                unsent: 0,
            };
            keeping.journal.append(detach, None);
        }
    }

    fn deliver(&mut self, handle: &Handle, delivery: Delivery) {
        let Handle { session, epoch, .. } = handle;
        let mut inbox = session.inbox(&self.bus.budget);
        if inbox.epoch != *epoch {
            return;
        }
        let Some(to) = &mut inbox.attached else { return };
        if !std::mem::replace(&mut to.scheduled, true) {
            self.lane.wake(to.core, &to.waker);
        }
        inbox.push_back(delivery);
    }

    fn behind(&mut self, handle: &Handle, behind: bool) {
        handle.session.set_behind(behind);
    }

    fn dropped(&mut self, cause: DropCause, count: u64) {
        let counter = match cause {
            DropCause::Qos0 => Counter::DeliveryQos0,
            DropCause::Full | DropCause::NoMembers | DropCause::Ended => Counter::DeliveryQueueFull,
            DropCause::Unreadable => {
                tracing::error!(count, "messages that were kept cannot be read back");
                Counter::DeliveryQueueFull
            }
        };
        self.lane.count(counter, count);
    }
}

impl Wake for Desk {
    fn wake(&mut self, core: u16, waker: Waker) {
        self.lane.wake(core, &waker);
    }

    fn finish(&mut self) {
        (self.forward)(&mut self.lane);
    }
}

#[cfg(test)]
mod tests;
