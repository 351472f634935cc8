//! The life of a session: granted, taken over, left, resumed, ended.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use thingway_contract::{
    ClientId, CloseReason, Connected, Delivery, Departure, Instant, Parked, PublisherKey, Qos, Refusal, Will, WillFate,
};

use super::{
    Bus, ConnectionInfo, Counter, DepartCause, Lane, Session,
    session::{Offline, State},
    timers::Timer,
};

/// Most connections that wait at a time for the one before to let go of a session.
const WAITING_MAX: usize = 64;

/// A connection asks for a session. Kept by the caller until it is granted, since it may have to ask again.
#[derive(Debug)]
pub struct SessionRequest {
    /// `None` asks for one to be assigned; it is then filled in.
    pub client_id: Option<ClientId>,
    /// Discard an existing session first.
    pub clean_start: bool,
    /// Refuse when there is no such session, or one with a connection of another protocol, or one that was left with another key.
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
}

/// The answer to a [`SessionRequest`].
#[derive(Debug)]
pub enum ConnectOutcome {
    /// Here it is.
    Granted(Box<Granted>),
    /// Another connection has it and was told to let go; the request's waker is woken when it has. Ask again then.
    Occupied,
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
                let made = || {
                    let key = PublisherKey(self.next_key.fetch_add(1, Ordering::Relaxed));
                    Arc::new(Session::new(id.clone(), key, self.budget.clone()))
                };
                self.registry.find_or_insert(&id, made).0
            };
            let mut state = session.state.lock();
            if state.ended {
                // It was taken out of the registry before it was marked, so the next look finds another.
                continue;
            }
            if let Some(connection) = &state.connection {
                if request.must_exist && connection.origin.protocol != request.info.origin.protocol {
                    return ConnectOutcome::Refused(Refusal::NoSession);
                }
                let waiting = state.waiting.get_or_insert_default();
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
                let left = state.parked.as_deref();
                let resumed =
                    left.map_or(request.resume_key.is_none(), |left| left.is_resumed_by(request.resume_key, now));
                if !resumed {
                    return ConnectOutcome::Refused(Refusal::NoSession);
                }
            }
            if state.started && request.clean_start {
                let rest = self.end(&session, &mut state);
                drop(state);
                lane.count(Counter::SessionDiscarded, 1);
                self.settle(rest, &session, now, lane);
                continue;
            }
            let granted = self.grant(&session, &mut state, request, lane);
            drop(state);
            self.tell_connected(&id, &request.info, granted.connected.session_expiry_secs, now, lane);
            return ConnectOutcome::Granted(Box::new(granted));
        }
    }

    fn grant(&self, session: &Arc<Session>, state: &mut State, request: &mut SessionRequest, lane: &Lane) -> Granted {
        // A will that waited for its delay is not sent when the session goes on in time [MQTT-3.1.3-9].
        self.cancel_timers(state);
        let session_present = state.started;
        state.started = true;
        let mut parked = state.parked.take();
        if let Some(parked) = parked.as_mut().filter(|_| !request.keep_will || request.will.is_some()) {
            parked.will = None;
        }
        let kept = parked.as_ref().and_then(|parked| parked.will.clone());
        state.will = request.will.take().or(kept);
        state.session_expiry_secs = request.session_expiry_secs.min(self.config.session_expiry_secs_max);
        state.connection = Some(Box::new(request.info.clone()));
        let epoch = session.attach(request.waker.clone(), request.core);
        let connected = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.connected_max.fetch_max(connected, Ordering::Relaxed);
        lane.count(if session_present { Counter::SessionResumed } else { Counter::SessionCreated }, 1);
        lane.count(Counter::ClientConnected, 1);
        Granted {
            session: session.clone(),
            epoch,
            connected: Connected {
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
            let mut inbox = session.inbox();
            if inbox.epoch != epoch || inbox.attached.take().is_none() {
                return;
            }
            inbox.signal = None;
            inbox.scheduled = false;
        }
        let info = state.connection.take();
        self.connected.fetch_sub(1, Ordering::Relaxed);
        lane.count(Counter::ClientDisconnected, 1);
        if cause == DepartCause::TakenOver {
            lane.count(Counter::SessionTakenOver, 1);
        }
        if let Some(expiry) = departure.session_expiry_secs {
            state.session_expiry_secs = expiry.min(self.config.session_expiry_secs_max);
        }
        match departure.will {
            WillFate::Publish => {}
            WillFate::Discard => state.will = None,
            WillFate::Keep => departure.parked.will = state.will.take(),
        }
        let expiry_secs = state.session_expiry_secs;
        state.parked = Some(Box::new(departure.parked)).filter(|parked| !parked.is_empty());
        let rest = if expiry_secs == 0 {
            self.end(session, &mut state)
        } else {
            let mut offline = Offline::default();
            if expiry_secs != u32::MAX {
                offline.expiry = Some(self.timers.session_expiry(now.plus_secs(expiry_secs.into()), session));
            }
            let delay_secs = state.will.as_ref().map_or(0, |will| will.delay_secs);
            let will = if delay_secs > 0 && delay_secs < expiry_secs {
                offline.will = Some(self.timers.will(now.plus_secs(delay_secs.into()), session));
                None
            } else if delay_secs == 0 {
                state.will.take()
            } else {
                // The will goes out when the session ends, which comes first [MQTT-3.1.2-8].
                None
            };
            state.offline = Some(Box::new(offline));
            let redispatch = self.go_offline(session, &mut state, lane);
            Rest { will, redispatch, waiting: state.take_waiting() }
        };
        drop(state);
        if let Some(info) = info {
            self.tell_disconnected(session.id(), &info, cause, now, lane);
        }
        self.settle(rest, session, now, lane);
    }

    /// Puts another will in the place of the present one, or none.
    pub fn set_will(&self, session: &Session, epoch: u32, will: Option<Box<Will>>) {
        let mut state = session.state.lock();
        if session.inbox().epoch == epoch {
            state.will = will;
        }
    }

    /// Trims the queue to what is kept without a connection; shared messages that nobody acknowledged go elsewhere.
    fn go_offline(&self, session: &Session, state: &mut State, lane: &Lane) -> Vec<Delivery> {
        let limits = &self.config.queue;
        let mut redispatch = Vec::new();
        let mut dropped_qos0 = 0;
        let mut parked = state.parked.take();
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
        state.parked = parked.filter(|parked| !parked.is_empty());
        let mut inbox = session.inbox();
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
        state.ended = true;
        self.cancel_timers(state);
        for (filter, _) in state.subscriptions.take_all() {
            self.routes.remove(&filter, session);
        }
        session.set_subscriptions_len(0);
        let queue = session.inbox().take_all();
        let Parked { outbound, .. } = state.parked.take().map_or_else(Parked::default, |parked| *parked);
        let sent = outbound.into_iter().filter_map(|entry| entry.delivery).filter(|d| d.qos == Qos::AtLeastOnce);
        let redispatch = sent.chain(queue).filter(|d| is_shared(d) && d.qos.is_acknowledged()).collect();
        Rest { will: state.will.take(), redispatch, waiting: state.take_waiting() }
    }

    fn cancel_timers(&self, state: &mut State) {
        if let Some(offline) = state.offline.take() {
            self.timers.cancel(offline.expiry);
            self.timers.cancel(offline.will);
        }
    }

    fn settle(&self, rest: Rest, session: &Arc<Session>, now: Instant, lane: &mut Lane) {
        lane.now = now;
        for delivery in rest.redispatch {
            self.redispatch(delivery, session, lane);
        }
        if let Some(will) = rest.will {
            self.publish_will(&will, now, lane);
        }
        if session.state.lock().ended {
            lane.count(Counter::SessionTerminated, 1);
        }
        for waker in rest.waiting {
            waker.wake();
        }
    }

    pub(super) fn fire(&self, timer: Timer, now: Instant, lane: &mut Lane) {
        match timer {
            Timer::Delayed(message) => {
                self.publish(message, None, now, lane);
            }
            Timer::SessionExpiry(session) => {
                let Some(session) = session.upgrade() else { return };
                let mut state = session.state.lock();
                let due = state.offline.as_ref().and_then(|offline| offline.expiry).is_some_and(|(at, _)| at <= now);
                if state.connection.is_some() || !due {
                    return;
                }
                let rest = self.end(&session, &mut state);
                drop(state);
                lane.count(Counter::SessionExpired, 1);
                self.settle(rest, &session, now, lane);
            }
            Timer::Will(session) => {
                let Some(session) = session.upgrade() else { return };
                let mut state = session.state.lock();
                let due = state.offline.as_ref().and_then(|offline| offline.will).is_some_and(|(at, _)| at <= now);
                if state.connection.is_some() || !due {
                    return;
                }
                if let Some(offline) = &mut state.offline {
                    offline.will = None;
                }
                let will = state.will.take();
                drop(state);
                if let Some(will) = will {
                    self.publish_will(&will, now, lane);
                }
            }
        }
    }

    fn publish_will(&self, will: &Will, now: Instant, lane: &mut Lane) {
        let mut head = *will.message.head();
        head.received_at = now;
        head.expires_at = will.expiry_secs.map_or(Instant::NEVER, |secs| now.plus_secs(secs.into()));
        lane.count(Counter::WillsPublished, 1);
        self.publish(will.message.with_head(head), None, now, lane);
    }
}

/// What is left to do once a session's lock is released.
struct Rest {
    will: Option<Box<Will>>,
    redispatch: Vec<Delivery>,
    waiting: Vec<Waker>,
}

fn is_shared(delivery: &Delivery) -> bool {
    delivery.rare.as_ref().is_some_and(|rare| rare.share.is_some())
}
