//! The life of a session: granted, taken over, left, resumed, ended.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use thingway_contract::{
    ClientId, CloseReason, Connected, Delivery, Departure, Instant, MessageHead, Parked, Qos, Refusal, TopicFilter,
    Will, WillFate,
};
use thingway_store::{Cause, Number};

use super::{
    Bus, ConnectionInfo, Counter, DepartCause, Lane, Reserved, Session,
    life::secs_of,
    session::{Offline, State},
    timers::Timer,
};
use crate::store::Ticket;

/// Most connections that wait at a time for the one before to let go of a session.
const WAITING_MAX: usize = 64;

/// A connection asks for a session. Kept by the caller until it is granted, since it may have to ask again.
#[derive(Debug)]
pub struct SessionRequest {
    /// `None` asks for one to be assigned; it is then filled in.
    pub client_id: Option<ClientId>,
    /// Discard an existing session first.
    pub clean_start: bool,
    /// Refuse when there is no such session, or one with a connection of another protocol or one that does not let it move, or one that was left with
    /// another key.
    pub must_exist: bool,
    /// What such a session must have been left with.
    pub resume_key: Option<u64>,
    /// Without a will here, a will that was kept counts again.
    pub keep_will: bool,
    /// Seconds that the session outlives the connection.
    pub session_expiry_secs: u32,
    /// The will; taken out when granted.
    pub will: Option<Box<Will>>,
    /// What is told of the connection.
    pub info: ConnectionInfo,
    /// Wakes the connection.
    pub waker: Waker,
    /// The core that the connection lives on.
    pub core: u16,
    /// The client id was assigned by the gateway.
    pub assigned: bool,
    /// What all its topics begin with. A session with a subscription to anything else, or a will there that would be gone on with, is another client's, whatever
    /// its name, and is discarded.
    pub prefix: Option<Arc<str>>,
}

/// The answer to a [`SessionRequest`].
#[derive(Debug)]
pub enum ConnectOutcome {
    /// Here it is.
    Granted(Box<Granted>),
    /// Another connection has it and was told to let go, or the end of the one before is not safe yet; the request's waker is woken when that is done.
    /// Ask again then.
    Occupied,
    /// It is this connection's, but must be recorded first: the request's waker is woken when it is. Ask [`Bus::granted`] then.
    Reserved(Box<Reserved>),
    /// No.
    Refused(Refusal),
}

/// A granted session.
#[derive(Debug)]
pub struct Granted {
    /// The session.
    pub session: Arc<Session>,
    /// Proves to the session which connection speaks.
    pub epoch: u32,
    /// For the protocol.
    pub connected: Connected,
}

impl Bus {
    /// Grants a session to a connection, or says what stands in the way.
    pub fn connect(&self, request: &mut SessionRequest, now: Instant, lane: &mut Lane) -> ConnectOutcome {
        if request.client_id.is_none() {
            request.client_id = Some(self.assign_client_id());
            request.assigned = true;
        }
        let Some(id) = request.client_id.clone() else { return ConnectOutcome::Refused(Refusal::ClientIdRejected) };
        loop {
            if self.registry.len() >= self.config.sessions_max && self.registry.find(&id).is_none() {
                return ConnectOutcome::Refused(Refusal::QuotaExceeded);
            }
            let session = if request.must_exist {
                let Some(session) = self.registry.find(&id) else { return ConnectOutcome::Refused(Refusal::NoSession) };
                session
            } else {
                let made = || Arc::new(Session::new(id.clone(), self.next_publisher()));
                self.registry.find_or_insert(&id, made).0
            };
            let mut state = session.state.lock();
            if state.life.has_ended() {
                // It was taken out of the registry before it was marked, so the next look finds another.
                continue;
            }
            if let Some(connection) = &state.connection {
                let is_kin = connection.origin.protocol == request.info.origin.protocol;
                if request.must_exist && !(is_kin && session.may_move()) {
                    return ConnectOutcome::Refused(Refusal::NoSession);
                }
                let waiting = &mut state.rare().waiting;
                if waiting.len() >= WAITING_MAX {
                    return ConnectOutcome::Refused(Refusal::Busy);
                }
                waiting.push(request.waker.clone());
                drop(state);
                session.signal(CloseReason::TakenOver);
                return ConnectOutcome::Occupied;
            }
            if request.must_exist {
                // Before anything is granted, for a grant changes the session.
                let left = state.known_rare().and_then(|rare| rare.parked.as_deref());
                let resumed =
                    left.map_or(request.resume_key.is_none(), |left| left.is_resumed_by(request.resume_key, now));
                if !resumed {
                    return ConnectOutcome::Refused(Refusal::NoSession);
                }
            }
            let is_foreign = request.prefix.as_deref().is_some_and(|prefix| !state.is_below(prefix, request.keep_will));
            if state.life.has_begun() && (request.clean_start || is_foreign) {
                let rest = self.end(&session, &mut state);
                drop(state);
                lane.count(Counter::SessionDiscarded, 1);
                let ticket = rest.ticket;
                self.settle(rest, &session, now, lane);
                if let (Some(ticket), Some(keeping), 0) = (ticket, &self.keeping, request.session_expiry_secs) {
                    // What comes next is not recorded, so nothing else would wait until the end is safe.
                    keeping.journal.wake_when_settled(ticket, request.core, &request.waker);
                    return ConnectOutcome::Occupied;
                }
                continue;
            }
            if let Some(keeping) = self.keeping.as_ref().filter(|_| self.is_to_be_kept(&session, request)) {
                if state.life.has_begun() && !session.is_kept() {
                    // What a session left that was to end with its connection does not begin one that is kept.
                    let rest = self.end(&session, &mut state);
                    drop(state);
                    self.settle(rest, &session, now, lane);
                    continue;
                }
                return self.reserve(keeping, &session, &mut state, request, lane);
            }
            let granted = self.grant(&session, &mut state, request, lane);
            drop(state);
            self.note_client(&session);
            self.tell_connected(&id, &request.info, granted.connected.session_expiry_secs, now, lane);
            return ConnectOutcome::Granted(Box::new(granted));
        }
    }

    fn grant(&self, session: &Arc<Session>, state: &mut State, request: &mut SessionRequest, lane: &Lane) -> Granted {
        // A will that waited for its delay is not sent when the session goes on in time [MQTT-3.1.3-9].
        self.cancel_timers(state);
        let session_present = state.life.begin(self.unix_ms(request.info.connected_at));
        let mut parked = state.take_parked();
        if let Some(parked) = parked.as_mut().filter(|_| !request.keep_will || request.will.is_some()) {
            parked.will = None;
        }
        let kept = parked.as_ref().and_then(|parked| parked.will.clone());
        state.will = request.will.take().or(kept);
        state.session_expiry_secs = request.session_expiry_secs.min(self.tuning().session_expiry_secs_max);
        state.connection = Some(Box::new(request.info.clone()));
        let epoch = session.attach(request.waker.clone(), request.core);
        self.count_connected(&request.info, lane);
        lane.count(if session_present { Counter::SessionResumed } else { Counter::SessionCreated }, 1);
        Granted {
            session: session.clone(),
            epoch,
            connected: Connected {
                kept: false,
                assigned_client_id: request.client_id.clone().filter(|_| request.assigned),
                session_present,
                session_expiry_secs: state.session_expiry_secs,
                parked: parked.filter(|parked| !parked.is_empty()),
                publisher: session.key(),
                authentication_data: None,
                response_information: None,
            },
        }
    }

    pub(super) fn count_connected(&self, info: &ConnectionInfo, lane: &Lane) {
        self.presence.enter(info.origin.protocol);
        let connected = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.connected_max.fetch_max(connected, Ordering::Relaxed);
        lane.count(Counter::ClientConnected, 1);
    }

    /// A connection is gone. Its session ends now or waits for the next one.
    pub fn depart(
        &self,
        session: &Arc<Session>,
        epoch: u32,
        mut departure: Departure,
        cause: DepartCause,
        now: Instant,
        lane: &mut Lane,
    ) {
        let mut state = session.state.lock();
        {
            let mut inbox = session.inbox(&self.budget);
            if inbox.epoch != epoch || inbox.attached.take().is_none() {
                return;
            }
            let _ = inbox.take_asked();
        }
        let info = state.connection.take();
        session.set_left(secs_of(self.unix_ms(now)));
        self.connected.fetch_sub(1, Ordering::Relaxed);
        if let Some(info) = &info {
            self.presence.leave(info.origin.protocol);
        }
        lane.count(Counter::ClientDisconnected, 1);
        if cause == DepartCause::TakenOver {
            lane.count(Counter::SessionTakenOver, 1);
        }
        if let Some(expiry) = departure.session_expiry_secs {
            state.session_expiry_secs = expiry.min(self.tuning().session_expiry_secs_max);
        }
        // One that was never granted has not begun, and is not kept if it was not before.
        let is_new = state.link().is_some() && !session.is_kept();
        if is_new {
            state.session_expiry_secs = 0;
        }
        self.record_departure(session, &mut state, &mut departure.parked, departure.will, now, lane);
        match departure.will {
            WillFate::Publish => {}
            WillFate::Discard => state.will = None,
            WillFate::Keep if session.is_kept() => state.will = None,
            WillFate::Keep => departure.parked.will = state.will.take(),
        }
        let expiry_secs = state.session_expiry_secs;
        if !departure.parked.is_empty() {
            state.rare().parked = Some(Box::new(departure.parked));
        }
        let rest = if expiry_secs == 0 {
            self.end(session, &mut state)
        } else {
            let mut offline = Offline::default();
            if expiry_secs != u32::MAX {
                offline.expiry = self.timers.session_expiry(now.plus_secs(expiry_secs.into()), session);
            }
            let delay_secs = state.will.as_ref().map_or(0, |will| will.delay_secs);
            let will = if delay_secs > 0 && delay_secs < expiry_secs {
                offline.will = self.timers.will(now.plus_secs(delay_secs.into()), session);
                None
            } else if delay_secs == 0 {
                state.will.take()
            } else {
                // The will goes out when the session ends, which comes first [MQTT-3.1.2-8].
                None
            };
            if !offline.is_empty() {
                state.rare().offline = offline;
            }
            let redispatch = self.go_offline(session, &mut state, lane);
            Rest { will, redispatch, waiting: state.take_waiting(), ticket: None }
        };
        drop(state);
        if let Some(info) = info {
            self.tell_disconnected(session.id(), &info, cause, now, lane);
        }
        self.settle(rest, session, now, lane);
    }

    /// Notes the keep-alive that holds for the connection with this epoch from now on.
    pub fn note_keep_alive(&self, session: &Session, epoch: u32, secs: u16) {
        let mut state = session.state.lock();
        if session.inbox(&self.budget).epoch == epoch
            && let Some(connection) = &mut state.connection
        {
            connection.keep_alive_secs = secs;
        }
    }

    /// Puts another will in the place of the present one, or none.
    pub fn set_will(&self, session: &Session, epoch: u32, will: Option<Box<Will>>) {
        let mut state = session.state.lock();
        if session.inbox(&self.budget).epoch == epoch {
            self.record_will(session, will.clone());
            state.will = will;
        }
    }

    /// Trims the queue to what is kept without a connection; shared messages that nobody acknowledged go elsewhere.
    fn go_offline(&self, session: &Session, state: &mut State, lane: &Lane) -> Vec<Delivery> {
        let limits = &self.config.queue;
        let mut redispatch = Vec::new();
        let mut dropped_qos0 = 0;
        let mut parked = state.take_parked();
        if let Some(parked) = &mut parked {
            // QoS 2 stays bound to this member once sent [MQTT-4.8.2-4].
            parked.outbound.retain(|entry| match &entry.delivery {
                Some(delivery) if delivery.qos == Qos::AtLeastOnce && is_shared(delivery) => {
                    redispatch.push(delivery.clone());
                    false
                }
                _ => true,
            });
        }
        if let Some(parked) = parked.filter(|parked| !parked.is_empty()) {
            state.rare().parked = Some(parked);
        }
        let mut inbox = session.inbox(&self.budget);
        inbox.retain(|delivery| {
            if is_shared(delivery) && delivery.qos.is_acknowledged() {
                redispatch.push(delivery.clone());
                return false;
            }
            let keep = delivery.qos.is_acknowledged() || limits.offline_qos0;
            dropped_qos0 += u64::from(!keep);
            keep
        });
        drop(inbox);
        if dropped_qos0 > 0 {
            lane.count(Counter::DeliveryQos0, dropped_qos0);
        }
        redispatch
    }

    /// Takes a session out of everything. What must be done without its lock is in the answer.
    fn end(&self, session: &Arc<Session>, state: &mut State) -> Rest {
        self.registry.remove(session);
        state.life.end();
        let ticket = self.record_end(session);
        self.cancel_timers(state);
        for (filter, _) in state.subscriptions.take_all() {
            self.routes.remove(&filter, session);
            self.note_filter(&filter, session);
        }
        let queue = session.inbox(&self.budget).take_all();
        let Parked { outbound, .. } = state.take_parked().map_or_else(Parked::default, |parked| *parked);
        let sent = outbound.into_iter().filter_map(|entry| entry.delivery).filter(|d| d.qos == Qos::AtLeastOnce);
        let lost = |d: &Delivery| is_shared(d) && d.qos.is_acknowledged() && d.packet_id == 0;
        let redispatch = sent.chain(queue).filter(lost).collect();
        Rest { will: state.will.take(), redispatch, waiting: state.take_waiting(), ticket }
    }

    /// Tells whoever keeps a directory of clients that one has changed.
    pub(super) fn note_client(&self, session: &Session) {
        self.changed_clients.note(session.key().0, || session.id().clone());
    }

    /// Tells whoever keeps a directory of filters that one may have come or gone.
    pub(super) fn note_filter(&self, filter: &TopicFilter, session: &Session) {
        self.changed_filters.note(session.key().0, || filter.shared_filter().clone());
    }

    pub(super) fn cancel_timers(&self, state: &mut State) {
        if let Some(rare) = state.known_rare() {
            let offline = std::mem::take(&mut rare.offline);
            self.timers.cancel_session_expiry(offline.expiry);
            self.timers.cancel_will(offline.will);
            state.tidy();
        }
    }

    fn settle(&self, rest: Rest, session: &Arc<Session>, now: Instant, lane: &mut Lane) {
        lane.now = now;
        self.note_client(session);
        for delivery in rest.redispatch {
            self.redispatch(delivery, session, lane);
        }
        if let Some(will) = rest.will {
            self.publish_will(&will, session.kept(), now, lane);
        }
        if session.state.lock().life.has_ended() {
            lane.count(Counter::SessionTerminated, 1);
        }
        for waker in rest.waiting {
            waker.wake();
        }
    }

    pub(super) fn fire(&self, timer: Timer, now: Instant, lane: &mut Lane) {
        match timer {
            Timer::Delayed(id, message) => {
                // It counts as published now, not when it came: what is retained for a time is so from here on.
                let message = message.with_head(MessageHead { received_at: now, ..*message.head() });
                self.publish_by_itself(message, Cause::Delayed(id), now, lane);
            }
            Timer::SessionExpiry(key, session) => {
                let Some(session) = session.upgrade() else { return };
                let mut state = session.state.lock();
                let due = state.known_rare().is_some_and(|rare| rare.offline.expiry == Some(key));
                if state.connection.is_some() || !due {
                    return;
                }
                let rest = self.end(&session, &mut state);
                drop(state);
                lane.count(Counter::SessionExpired, 1);
                self.settle(rest, &session, now, lane);
            }
            Timer::Will(key, session) => {
                let Some(session) = session.upgrade() else { return };
                let mut state = session.state.lock();
                let due = state.known_rare().is_some_and(|rare| rare.offline.will == Some(key));
                if state.connection.is_some() || !due {
                    return;
                }
                if let Some(rare) = state.known_rare() {
                    rare.offline.will = None;
                }
                state.tidy();
                let will = state.will.take();
                drop(state);
                if let Some(will) = will {
                    self.publish_will(&will, session.kept(), now, lane);
                }
            }
        }
    }

    fn publish_will(&self, will: &Will, session: Number, now: Instant, lane: &mut Lane) {
        let mut head = *will.message.head();
        head.received_at = now;
        head.expires_at = will.expiry_secs.map_or(Instant::NEVER, |secs| now.plus_secs(secs.into()));
        lane.count(Counter::WillsPublished, 1);
        let cause = if session == 0 { Cause::None } else { Cause::Will(session) };
        self.publish_by_itself(will.message.with_head(head), cause, now, lane);
    }
}

/// What is left to do once a session's lock is released.
struct Rest {
    will: Option<Box<Will>>,
    redispatch: Vec<Delivery>,
    waiting: Vec<Waker>,
    /// Tells when the end of a kept session is safe.
    ticket: Option<Ticket>,
}

fn is_shared(delivery: &Delivery) -> bool {
    delivery.rare.as_ref().is_some_and(|rare| rare.share.is_some())
}

#[cfg(test)]
mod tests {
    use thingway_contract::Transport;

    use super::*;
    use crate::bus::{BusConfig, NO_CORE, Origin};

    fn asks(protocol: &'static str, must_exist: bool) -> SessionRequest {
        SessionRequest {
            client_id: ClientId::new("node", 10).ok(),
            clean_start: false,
            must_exist,
            resume_key: None,
            keep_will: true,
            session_expiry_secs: 60,
            will: None,
            info: ConnectionInfo {
                origin: Arc::new(Origin { protocol, transport: Transport::Memory, listener: Arc::from("test") }),
                version: 0,
                remote: None,
                username: None,
                keep_alive_secs: 0,
                connected_at: Instant::ZERO,
                clean_start: false,
            },
            waker: Waker::noop().clone(),
            core: NO_CORE,
            assigned: false,
            prefix: None,
        }
    }

    fn granted(outcome: ConnectOutcome) -> Granted {
        let ConnectOutcome::Granted(granted) = outcome else { panic!("{outcome:?}") };
        *granted
    }

    #[test]
    fn who_needs_this_very_session_gets_it_only_from_one_that_lets_it_move() {
        let bus = Bus::new(BusConfig::default(), "assigned");
        let (mut lane, now) = (bus.lane(NO_CORE), Instant::ZERO);
        let is_refused = |outcome| matches!(outcome, ConnectOutcome::Refused(Refusal::NoSession));
        assert!(is_refused(bus.connect(&mut asks("sn", true), now, &mut lane)), "there is none");
        let held = granted(bus.connect(&mut asks("sn", false), now, &mut lane));
        let signal = |held: &Granted| bus.take(&held.session, held.epoch, 0, now, &mut Vec::new()).signal;

        assert!(is_refused(bus.connect(&mut asks("sn", true), now, &mut lane)), "nothing was said yet");
        assert_eq!(signal(&held), None, "its connection hears nothing of it");
        held.session.set_may_move(true);
        assert!(is_refused(bus.connect(&mut asks("other", true), now, &mut lane)), "another protocol");
        assert_eq!(signal(&held), None);
        let mut request = asks("sn", true);
        assert!(matches!(bus.connect(&mut request, now, &mut lane), ConnectOutcome::Occupied));
        assert_eq!(signal(&held), Some(CloseReason::TakenOver));
        bus.depart(&held.session, held.epoch, Departure::default(), DepartCause::TakenOver, now, &mut lane);
        let next = granted(bus.connect(&mut request, now, &mut lane));
        assert!(next.connected.session_present);

        assert!(is_refused(bus.connect(&mut asks("sn", true), now, &mut lane)), "the next speaks for itself");
        let mut connect = asks("sn", false);
        assert!(matches!(bus.connect(&mut connect, now, &mut lane), ConnectOutcome::Occupied), "CONNECT as ever");
        bus.depart(&next.session, next.epoch, Departure::default(), DepartCause::Closed, now, &mut lane);
        granted(bus.connect(&mut asks("other", true), now, &mut lane));
    }
}
