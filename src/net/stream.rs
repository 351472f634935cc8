//! The driver of byte streams: one hand-written future for each connection, generic over protocol and transport.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use thingway_contract::{
    CloseReason, Delivered, Delivery, DropCause, Fault, Input, Instant, Peer, Protocol, Qos, Reply, Request,
    SubscribeRefusal, Token,
};
use tokio::{io::ReadBuf, time::Sleep};

use super::{
    ByteStream,
    core::{CoreGuard, CoreLocal, SCRATCH_BYTES},
    pending::{Pending, Stash, Unwritten, poll_write_pieces},
    service::{Allowance, Service},
    wheel::{TimerId, Wheel},
};
use crate::bus::{ConnectOutcome, ConnectionInfo, Counter, DepartCause, Granted, Lane, Session, SessionRequest};

/// Reads of one turn; a connection with more to read goes to the end of the queue.
const READS_PER_TURN: usize = 4;
/// Deliveries taken from the queue under one lock.
const DELIVERIES_PER_BATCH: usize = 64;
/// Batches of one turn.
const BATCHES_PER_TURN: usize = 16;
/// Bytes collected before they are written within a turn.
const WRITE_BYTES: usize = 64 * 1024;
/// Answers kept for a peer that takes no bytes now, before it is read no further. A peer may well write all it has before it reads: not to
/// read it until then would leave both waiting for each other. Deliveries wait in the session's queue, so these are acknowledgements.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a large frame that must have come before the rest is read to where it is needed: who only announces one gets no buffer for it.
const STASH_BYTES: usize = SCRATCH_BYTES / 4;
/// How long reading is put off when a subscriber is behind.
const BACKPRESSURE: Duration = Duration::from_millis(5);
/// Longest time for which reading is put off at once; what is owed then is charged again.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a connection that ends may take to get rid of its last bytes.
const LINGER: Duration = Duration::from_secs(3);
/// Bytes that a connection that ends reads away so that its last words are not lost to a reset.
const LINGER_BYTES: usize = 256 * 1024;

/// A connection.
pub struct Connection<P: Protocol, T, G> {
    io: T,
    machine: P,
    service: Arc<Service<P>>,
    session: Option<Arc<Session>>,
    epoch: u32,
    /// The window was full: deliver again only after input or a timeout.
    blocked: bool,
    /// The stash may hold whole frames.
    stash_ready: bool,
    wrote_last_words: bool,
    /// Refuse the session: the gateway is overloaded.
    shed: bool,
    /// Over for protocol and bus; last bytes are written, the peer's end awaited until the deadline.
    lingering: Option<Box<Linger>>,
    /// Incomplete frame, or input that waits for a reply.
    stash: Option<Box<Stash>>,
    unwritten: Option<Box<Unwritten>>,
    pending: Option<Box<Pending>>,
    /// Nothing is read before its end.
    pause: Option<Pin<Box<Sleep>>>,
    /// What the peer may send, when that is limited.
    allowance: Option<Box<Allowance>>,
    timer: Option<TimerId>,
    timer_at: Instant,
    peer: Option<Box<Peer>>,
    _place: CoreGuard,
    /// The listener's guard of this connection's place in its counts.
    _opened: G,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Linger {
    until: Instant,
    discarded: usize,
}

/// Why a turn cannot go on.
enum Stop<F> {
    /// The transport ended or failed.
    Gone,
    Fault(F),
    Gateway(CloseReason),
    /// The protocol asked for the end.
    Done,
}

impl<F> From<io::Error> for Stop<F> {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

type Turn<P, T = ()> = Result<T, Stop<<P as Protocol>::Fault>>;

impl<P: Protocol, T: ByteStream, G: Send + Unpin + 'static> Connection<P, T, G> {
    /// A connection that was just opened. To be spawned on the core that `place` names.
    pub fn new(service: Arc<Service<P>>, peer: Peer, io: T, place: CoreGuard, opened: G, shed: bool) -> Self {
        let now = service.clock.now();
        let machine = P::open(&service.config, &peer, now);
        Self {
            io,
            machine,
            session: None,
            epoch: 0,
            shed,
            lingering: None,
            blocked: false,
            stash_ready: false,
            wrote_last_words: false,
            stash: None,
            unwritten: None,
            pending: None,
            pause: None,
            allowance: Allowance::new(&service.rates, now),
            timer: None,
            timer_at: Instant::NEVER,
            peer: Some(Box::new(peer)),
            service,
            _place: place,
            _opened: opened,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal) -> Poll<()> {
        let now = self.service.clock.now();
        core.tidy();
        if self.timer_at <= now {
            self.timer = None;
            self.timer_at = Instant::NEVER;
        }
        if self.lingering.is_none() {
            match self.work(cx, core, now) {
                Ok(()) => {
                    // Who is not read from cannot be called silent.
                    if self.pause.is_none() {
                        self.arm(self.machine.deadline(), cx, &mut core.wheel);
                    }
                    core.outbox.clear();
                    return Poll::Pending;
                }
                Err(stop) => self.stop(stop, cx, core, now),
            }
        }
        // The outbox is the core's: what a conversation that is over still asked for must not become the next one's.
        core.outbox.forget_requests();
        core.outbox.clear();
        let done = self.linger(cx, core, now);
        core.outbox.clear();
        done
    }

    fn work(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Turn<P> {
        self.flush_unwritten(cx)?;
        let mut fresh = self.poll_pending(cx, core, now)?;
        if self.machine.deadline() <= now && self.pause.is_none() {
            let outcome = self.machine.timeout(now, &mut core.outbox);
            self.answer(cx, core, now)?;
            outcome.map_err(Stop::Fault)?;
            fresh = true;
        }
        fresh |= self.read(cx, core, now)?;
        self.blocked &= !fresh;
        if fresh && T::STREAMS {
            // Answers go where the question came from, which need not be where deliveries go.
            self.write(cx, core)?;
        }
        self.io.select_main();
        self.deliver(cx, core, now)?;
        self.write(cx, core)?;
        if core.outbox.is_closing() { Err(Stop::Done) } else { Ok(()) }
    }

    /// True when the peer takes no bytes and no more can be kept for it.
    fn is_clogged(&self) -> bool {
        // With several streams an answer must be written before the next question is read: that decides where it goes.
        self.unwritten.as_ref().is_some_and(|unwritten| T::STREAMS || unwritten.answer_bytes() >= ANSWER_BYTES_MAX)
    }

    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_clogged() || self.pending.is_some() {
            return false;
        }
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.pause = None;
        }
        true
    }

    /// Reads what there is, up to this turn's share. True when anything came.
    fn read(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Turn<P, bool> {
        let mut any = false;
        for _ in 0..READS_PER_TURN {
            // Asked first, for it also sees to it that the end of a pause wakes this connection.
            if !self.may_read(cx) || core.outbox.is_closing() {
                return Ok(any);
            }
            // What is kept and ready comes before anything new.
            if self.stash_ready {
                let bytes = self.stash.take().map(|stash| stash.bytes).unwrap_or_default();
                self.feed(&bytes, cx, core, now)?;
                any = true;
                continue;
            }
            if self
                .stash
                .as_ref()
                .is_some_and(|stash| stash.wanted > SCRATCH_BYTES / 2 && stash.bytes.len() >= STASH_BYTES)
            {
                let Some(count) = self.read_into_stash(cx)? else { return Ok(any) };
                core.lane.count(Counter::BytesReceived, count as u64);
                self.charge_bytes(count, &core.lane, now);
                any = true;
                if self.stash.as_ref().is_some_and(|stash| stash.is_complete()) {
                    let bytes = self.stash.take().map(|stash| stash.bytes).unwrap_or_default();
                    self.feed(&bytes, cx, core, now)?;
                }
                continue;
            }
            let mut scratch = std::mem::take(&mut core.scratch);
            let held = self.stash.as_ref().map_or(0, |stash| stash.bytes.len());
            let mut buffer = ReadBuf::new(&mut scratch[held..]);
            let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
            let count = buffer.filled().len();
            let result = match polled {
                Poll::Ready(Ok(())) if count > 0 => {
                    if let Some(stash) = self.stash.take() {
                        scratch[..held].copy_from_slice(&stash.bytes);
                    }
                    any = true;
                    core.lane.count(Counter::BytesReceived, count as u64);
                    self.feed(&scratch[..held + count], cx, core, now).map(|()| {
                        self.charge_bytes(count, &core.lane, now);
                        true
                    })
                }
                Poll::Ready(Ok(())) => Err(Stop::Gone),
                Poll::Ready(Err(_)) => Err(Stop::Gone),
                Poll::Pending => Ok(false),
            };
            core.scratch = scratch;
            if !result? {
                return Ok(any);
            }
        }
        cx.waker().wake_by_ref();
        Ok(any)
    }

    /// Reads the rest of a large frame to where it is needed. The buffer grows with what arrives, not with what was announced.
    fn read_into_stash(&mut self, cx: &mut Context<'_>) -> Turn<P, Option<usize>> {
        let Some(stash) = &mut self.stash else { return Ok(None) };
        let held = stash.bytes.len();
        let room = (stash.wanted - held).min(held);
        stash.bytes.resize(held + room, 0);
        let mut buffer = ReadBuf::new(&mut stash.bytes[held..]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        stash.bytes.truncate(held + count);
        match polled {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(())) if count > 0 => Ok(Some(count)),
            Poll::Ready(_) => Err(Stop::Gone),
        }
    }

    /// Gives bytes to the protocol until it has consumed all whole frames or must wait; keeps the rest.
    fn feed(&mut self, bytes: &[u8], cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Turn<P> {
        let mut input = Input::new(bytes);
        self.stash_ready = false;
        loop {
            let before = input.consumed();
            let outcome = self.machine.receive(&mut input, now, &mut core.outbox);
            // What came before a bad packet was good.
            self.answer(cx, core, now)?;
            outcome.map_err(Stop::Fault)?;
            if core.outbox.is_closing() {
                return Ok(());
            }
            if input.remaining().is_empty() {
                return Ok(());
            }
            if core.outbox.len() >= WRITE_BYTES {
                self.write(cx, core)?;
            }
            let must_wait = self.pending.is_some() || self.is_clogged() || self.pause.is_some();
            if must_wait || input.consumed() == before {
                self.stash_ready = must_wait;
                let wanted = if must_wait { 0 } else { input.wanted() };
                self.stash = Some(Stash::new(input.remaining(), wanted));
                return Ok(());
            }
        }
    }

    /// Does what the protocol asked for and tells it the results.
    fn answer(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Turn<P> {
        while core.outbox.requests_len() > 0 {
            let mut requests = std::mem::take(&mut core.requests);
            core.outbox.swap_requests(&mut requests);
            let result = requests.drain(..).try_for_each(|request| self.execute(request, cx, core, now));
            requests.clear();
            core.requests = requests;
            result?;
        }
        if core.lane.take_congested() && self.pause.is_none() {
            core.lane.count(Counter::Backpressure, 1);
            self.pause = Some(Box::pin(tokio::time::sleep(BACKPRESSURE)));
        }
        Ok(())
    }

    fn charge_message(&mut self, lane: &Lane, now: Instant) {
        let bucket = self.allowance.as_mut().and_then(|allowance| allowance.messages.as_mut());
        let debt = bucket.map_or(Duration::ZERO, |bucket| bucket.charge(1, now));
        self.rest(debt, lane);
    }

    fn charge_bytes(&mut self, count: usize, lane: &Lane, now: Instant) {
        let bucket = self.allowance.as_mut().and_then(|allowance| allowance.bytes.as_mut());
        let debt = bucket.map_or(Duration::ZERO, |bucket| bucket.charge(count as u64, now));
        self.rest(debt, lane);
    }

    /// Puts off reading until the peer has the right to send again. What it sends meanwhile waits in the transport.
    fn rest(&mut self, debt: Duration, lane: &Lane) {
        if debt.is_zero() {
            return;
        }
        lane.count(Counter::RateLimited, 1);
        let until = tokio::time::Instant::now() + debt.min(PAUSE_MAX);
        if self.pause.as_ref().is_none_or(|pause| pause.deadline() < until) {
            self.pause = Some(Box::pin(tokio::time::sleep_until(until)));
        }
    }

    fn execute(&mut self, request: Request, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Turn<P> {
        if matches!(request, Request::Publish { .. }) {
            self.charge_message(&core.lane, now);
        }
        let Some(session) = &self.session else {
            return match request {
                Request::Connect(connect) => self.begin_connect(*connect, cx, core, now),
                // Only a protocol that is wrong asks before it has a session.
                _ => Err(Stop::Gone),
            };
        };
        let reply = match request {
            Request::Publish { token, message } => {
                count_received(&message, &core.lane);
                let outcome = if self.service.access.may_publish(session, message.topic()) {
                    self.service.bus.publish(message, Some(session), now, &mut core.lane)
                } else {
                    thingway_contract::PublishOutcome::NotAuthorized
                };
                if token == Token::NONE {
                    return Ok(());
                }
                Reply::Published { token, outcome }
            }
            Request::Subscribe { token, subscriptions } => {
                let allowed = |wanted: Result<thingway_contract::Subscription, SubscribeRefusal>| {
                    wanted.and_then(|subscription| {
                        if self.service.access.may_subscribe(session, &subscription.filter) {
                            Ok(subscription)
                        } else {
                            Err(SubscribeRefusal::NotAuthorized)
                        }
                    })
                };
                let subscriptions = subscriptions.into_iter().map(allowed).collect();
                let results = self.service.bus.subscribe(session, subscriptions, now, &mut core.lane);
                Reply::Subscribed { token, results }
            }
            Request::Unsubscribe { token, filters } => {
                let results = self.service.bus.unsubscribe(session, filters, now, &mut core.lane);
                Reply::Unsubscribed { token, results }
            }
            Request::SetWill { will } => {
                self.service.bus.set_will(session, self.epoch, will);
                return Ok(());
            }
            Request::ReadRetained { token, filter, count_max } => {
                let messages = if self.service.access.may_subscribe(session, &filter) {
                    Ok(self.service.bus.read_retained(&filter, count_max as usize, now))
                } else {
                    Err(SubscribeRefusal::NotAuthorized)
                };
                Reply::Retained { token, messages }
            }
            Request::Authenticate { .. } => Reply::Refused(thingway_contract::Refusal::BadAuthenticationMethod),
            Request::Connect(_) => return Err(Stop::Gone),
        };
        self.machine.reply(reply, now, &mut core.outbox).map_err(Stop::Fault)
    }

    fn begin_connect(
        &mut self,
        connect: thingway_contract::Connect,
        cx: &mut Context<'_>,
        core: &mut CoreLocal,
        now: Instant,
    ) -> Turn<P> {
        let Some(peer) = &self.peer else { return Err(Stop::Gone) };
        if self.shed {
            return self.refuse_session(thingway_contract::Refusal::Busy, core, now);
        }
        let admission = match self.service.access.admit(&connect, peer) {
            Ok(admission) => admission,
            Err(refusal) => return self.refuse_session(refusal, core, now),
        };
        let request = SessionRequest {
            client_id: connect.client_id,
            clean_start: connect.clean_start,
            must_exist: connect.must_exist,
            keep_will: connect.keep_will,
            session_expiry_secs: connect.session_expiry_secs,
            will: connect.will,
            info: ConnectionInfo {
                protocol: P::NAME,
                version: connect.version,
                transport: peer.transport,
                listener: peer.listener.clone(),
                remote: peer.remote,
                username: admission.username,
                keep_alive_secs: connect.keep_alive_secs,
                connected_at: now,
                clean_start: connect.clean_start,
            },
            waker: cx.waker().clone(),
            core: core.lane.core(),
            assigned: false,
        };
        self.connect(Box::new(Pending { request }), core, now)
    }

    fn connect(&mut self, mut pending: Box<Pending>, core: &mut CoreLocal, now: Instant) -> Turn<P> {
        match self.service.bus.connect(&mut pending.request, now, &mut core.lane) {
            ConnectOutcome::Granted(granted) => {
                let Granted { session, epoch, connected } = *granted;
                self.session = Some(session);
                self.epoch = epoch;
                // From here on the session tells who it is.
                self.peer = None;
                let reply = Reply::Connected(Box::new(connected));
                self.machine.reply(reply, now, &mut core.outbox).map_err(Stop::Fault)
            }
            ConnectOutcome::Occupied => {
                self.pending = Some(pending);
                Ok(())
            }
            ConnectOutcome::Refused(refusal) => self.refuse_session(refusal, core, now),
        }
    }

    fn refuse_session(&mut self, refusal: thingway_contract::Refusal, core: &mut CoreLocal, now: Instant) -> Turn<P> {
        core.lane.count(Counter::ClientRefused, 1);
        self.service.faults.refused(&self.remote(), P::NAME, &refusal, now);
        self.wrote_last_words = true;
        self.machine.reply(Reply::Refused(refusal), now, &mut core.outbox).map_err(Stop::Fault)
    }

    /// Asks again for a session that another connection had. True when there was an answer.
    fn poll_pending(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Turn<P, bool> {
        let Some(pending) = self.pending.take() else { return Ok(false) };
        self.connect(pending, core, now)?;
        self.answer(cx, core, now)?;
        Ok(self.pending.is_none())
    }

    /// Moves deliveries from the session's queue to the peer, as far as the peer and this turn's share allow.
    fn deliver(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Turn<P> {
        let Some(session) = self.session.clone() else { return Ok(()) };
        let mut batch = std::mem::take(&mut core.deliveries);
        let result = self.deliver_batches(&session, &mut batch, cx, core, now);
        batch.clear();
        core.deliveries = batch;
        result
    }

    fn deliver_batches(
        &mut self,
        session: &Arc<Session>,
        batch: &mut Vec<Delivery>,
        cx: &mut Context<'_>,
        core: &mut CoreLocal,
        now: Instant,
    ) -> Turn<P> {
        for _ in 0..BATCHES_PER_TURN {
            let hold = self.blocked || self.unwritten.is_some() || core.outbox.is_closing();
            let taken = session.take(self.epoch, if hold { 0 } else { DELIVERIES_PER_BATCH }, now, batch);
            if let Some(reason) = taken.signal {
                session.give_back(batch.drain(..));
                return Err(Stop::Gateway(reason));
            }
            if hold {
                // Input, a timeout or a writable socket brings the next turn, not the queue.
                session.give_back(batch.drain(..));
                return Ok(());
            }
            if batch.is_empty() {
                if session.is_replaying() && self.service.bus.replay_retained(session, now, &mut core.lane) {
                    continue;
                }
                return Ok(());
            }
            let mut sent = Sent::default();
            let mut deliveries = batch.drain(..);
            while let Some(delivery) = deliveries.next() {
                let (qos, bytes) =
                    (delivery.qos, delivery.message.payload().len() + delivery.message.topic_bytes().len());
                match self.machine.deliver(delivery, now, &mut core.outbox) {
                    Delivered::Sent => sent.add(qos, bytes),
                    Delivered::Later(delivery) => {
                        self.blocked = true;
                        session.give_back(std::iter::once(delivery).chain(deliveries));
                        break;
                    }
                    Delivered::Dropped(DropCause::TooLarge) => core.lane.count(Counter::DeliveryTooLarge, 1),
                    Delivered::Dropped(_) => core.lane.count(Counter::DeliveryExpired, 1),
                }
            }
            sent.count(&core.lane);
            if core.outbox.len() >= WRITE_BYTES {
                self.write(cx, core)?;
            }
            if !taken.more && !session.is_replaying() {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Writes the outbox; what the transport does not take now is kept, and nothing more is delivered until it is gone.
    fn write(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal) -> Turn<P> {
        if core.outbox.is_empty() {
            return Ok(());
        }
        let total = core.outbox.len();
        core.lane.count(Counter::BytesSent, total as u64);
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.append(&mut core.outbox);
            return Ok(());
        }
        let mut written = 0;
        while written < total {
            match poll_write_pieces(&mut self.io, core.outbox.pieces(), written, cx) {
                Poll::Ready(Ok(0)) => return Err(Stop::Gone),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => {
                    self.unwritten = Some(Box::new(Unwritten::new(&mut core.outbox, written)));
                    return Ok(());
                }
            }
        }
        let closing = core.outbox.is_closing();
        core.outbox.clear();
        if closing {
            core.outbox.close();
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(result) => Ok(result?),
            Poll::Pending => {
                self.unwritten = Some(Box::default());
                Ok(())
            }
        }
    }

    fn flush_unwritten(&mut self, cx: &mut Context<'_>) -> Turn<P> {
        let Some(unwritten) = &mut self.unwritten else { return Ok(()) };
        match unwritten.poll_write(&mut self.io, cx) {
            Poll::Ready(result) => {
                result?;
                self.unwritten = None;
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    /// The conversation is over: last words are written if there are any, the session is given back.
    fn stop(&mut self, stop: Stop<P::Fault>, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) {
        let cause = match &stop {
            Stop::Gone => DepartCause::Closed,
            Stop::Done => DepartCause::Normal,
            Stop::Fault(fault) => {
                core.lane.count(fault_counter(fault), 1);
                self.service.faults.report(
                    &self.remote(),
                    P::NAME,
                    self.session.as_deref().map(|s| s.id()),
                    fault,
                    now,
                );
                self.machine.refuse(fault, now, &mut core.outbox);
                self.wrote_last_words = true;
                DepartCause::Fault(fault.kind())
            }
            Stop::Gateway(reason) => {
                self.machine.close(reason, now, &mut core.outbox);
                self.wrote_last_words = true;
                match reason {
                    CloseReason::TakenOver => DepartCause::TakenOver,
                    CloseReason::Administrative => DepartCause::Kicked,
                    _ => DepartCause::Gateway,
                }
            }
        };
        self.depart(cause, now, &mut core.lane);
        let gone = matches!(stop, Stop::Gone) || self.write(cx, core).is_err();
        if let Some(timer) = self.timer.take() {
            core.wheel.cancel(timer);
        }
        self.timer_at = Instant::NEVER;
        self.stash = None;
        self.pending = None;
        if gone {
            self.unwritten = None;
        }
        let until = if gone { now } else { now + LINGER };
        self.lingering = Some(Box::new(Linger { until, discarded: 0 }));
    }

    fn depart(&mut self, cause: DepartCause, now: Instant, lane: &mut Lane) {
        let departure = self.machine.depart();
        if let Some(session) = self.session.take() {
            self.service.bus.depart(&session, self.epoch, departure, cause, now, lane);
        }
    }

    fn linger(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Poll<()> {
        let Some(linger) = &mut self.lingering else { return Poll::Ready(()) };
        let deadline = linger.until;
        if deadline <= now {
            return Poll::Ready(());
        }
        let mut step = |cx: &mut Context<'_>| -> Poll<io::Result<()>> {
            if let Some(unwritten) = &mut self.unwritten {
                ready!(unwritten.poll_write(&mut self.io, cx))?;
                self.unwritten = None;
            }
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            // Closing with unread input would reset the connection and could destroy the last words on their way.
            while self.wrote_last_words && linger.discarded < LINGER_BYTES {
                let mut buffer = ReadBuf::new(&mut core.scratch);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
                match buffer.filled().len() {
                    0 => break,
                    count => linger.discarded += count,
                }
            }
            Poll::Ready(Ok(()))
        };
        match step(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => {
                self.arm(deadline, cx, &mut core.wheel);
                Poll::Pending
            }
        }
    }

    fn arm(&mut self, at: Instant, cx: &Context<'_>, wheel: &mut Wheel) {
        if at >= self.timer_at {
            return;
        }
        if let Some(timer) = self.timer.take() {
            wheel.cancel(timer);
        }
        self.timer = Some(wheel.arm(at, cx.waker().clone()));
        self.timer_at = at;
    }

    fn remote(&self) -> RemoteName {
        let peer = self.peer.as_ref().and_then(|peer| peer.remote);
        RemoteName(peer.or_else(|| self.session.as_ref()?.connection()?.remote))
    }
}

impl<P: Protocol, T: ByteStream, G: Send + Unpin + 'static> Future for Connection<P, T, G> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Without a core there is nothing to run on: the thread is ending.
        CoreLocal::with(|core| {
            let turn = this.turn(cx, core);
            let (lane, outbox) = (&core.lane, &mut core.outbox);
            outbox.drain_counts(|kind, received, sent| lane.counters().add_packets(kind, received.into(), sent.into()));
            turn
        })
        .unwrap_or(Poll::Ready(()))
    }
}

impl<P: Protocol, T, G> Drop for Connection<P, T, G> {
    /// A connection that is dropped in mid-life (a panic in it, or the gateway's end) still gives its session back.
    fn drop(&mut self) {
        let (timer, session) = (self.timer.take(), self.session.take());
        if timer.is_none() && session.is_none() {
            return;
        }
        let now = self.service.clock.now();
        let departure = if session.is_some() { self.machine.depart() } else { Default::default() };
        CoreLocal::with(|core| {
            if let Some(timer) = timer {
                core.wheel.cancel(timer);
            }
            if let Some(session) = session {
                self.service.bus.depart(&session, self.epoch, departure, DepartCause::Closed, now, &mut core.lane);
            }
        });
    }
}

fn count_received(message: &thingway_contract::Message, lane: &Lane) {
    lane.count(
        match message.head().qos {
            Qos::AtMostOnce => Counter::MessagesQos0Received,
            Qos::AtLeastOnce => Counter::MessagesQos1Received,
            Qos::ExactlyOnce => Counter::MessagesQos2Received,
        },
        1,
    );
    lane.count(Counter::PublishBytesReceived, (message.payload().len() + message.topic_bytes().len()) as u64);
}

fn fault_counter(fault: &impl Fault) -> Counter {
    use thingway_contract::FaultKind;
    match fault.kind() {
        FaultKind::Malformed => Counter::FaultMalformed,
        FaultKind::ProtocolError => Counter::FaultProtocolError,
        FaultKind::TooLarge => Counter::FaultTooLarge,
        FaultKind::LimitExceeded => Counter::FaultLimit,
        FaultKind::Timeout => Counter::FaultTimeout,
        _ => Counter::FaultOther,
    }
}

/// Deliveries of a batch, counted once.
#[derive(Default)]
struct Sent {
    messages: [u64; 3],
    bytes: u64,
}

impl Sent {
    fn add(&mut self, qos: Qos, bytes: usize) {
        self.messages[qos as usize] += 1;
        self.bytes += bytes as u64;
    }

    fn count(&self, lane: &Lane) {
        let counters = [Counter::MessagesQos0Sent, Counter::MessagesQos1Sent, Counter::MessagesQos2Sent];
        for (counter, count) in counters.into_iter().zip(self.messages) {
            if count > 0 {
                lane.count(counter, count);
            }
        }
        lane.count(Counter::PublishBytesSent, self.bytes);
    }
}

struct RemoteName(Option<SocketAddr>);

impl std::fmt::Display for RemoteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("local"),
        }
    }
}
