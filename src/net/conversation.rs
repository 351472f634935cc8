//! One peer's conversation, whatever carries its bytes: the protocol's machine, the session it was granted, and what it asks of the bus.

mod asking;
mod enhanced;
mod errands;
mod opening;

use std::{collections::VecDeque, io, sync::Arc, task::Waker};

use bytes::Bytes;
use thingway_contract::{
    CloseReason, Delivered, Delivery, DropCause, Fault, FaultKind, Instant, Message, Peer, Protocol, PublishOutcome,
    Qos, Reply, Request, SubscribeRefusal, Token,
};

use self::{asking::Asked, enhanced::Ongoing};
use super::{
    admission::Checking,
    core::CoreLocal,
    faults::RemoteName,
    naming::{Naming, OwnNames},
    permit::Permits,
    service::Service,
};
use crate::{
    access::{
        Exchange, Guard,
        names::{Mount, Names},
        quota::Rates,
    },
    bus::{Counter, DepartCause, Lane, Reserved, Session, SessionRequest},
    store::{Settled, Ticket},
};

/// Deliveries taken from the queue under one lock.
const DELIVERIES_PER_BATCH: usize = 64;
/// Replies that wait until what they acknowledge is safe, before no more input is taken.
const LATER_MAX: usize = 1024;

/// A conversation. Its drivers are [`super::stream`] and [`super::datagram`].
pub(super) struct Conversation<P: Protocol> {
    pub machine: P,
    session: Option<Arc<Session>>,
    /// Nothing while all is done that was asked for.
    stage: Option<Box<Stage>>,
    epoch: u32,
    /// The window was full: deliver again only after input, a reply or a timeout.
    pub blocked: bool,
    /// Refuse the session: the gateway is overloaded.
    shed: bool,
    /// The peer was told why it ends.
    pub wrote_last_words: bool,
}

/// What a conversation waits for, and what it has to ask before it does anything.
pub(super) enum Stage {
    /// A session, which then tells who the peer is.
    Opening(Opening),
    /// What its client does.
    Open(Open),
}

/// What a conversation that has a session waits for, and what its client is asked about.
#[derive(Default)]
pub(super) struct Open {
    /// Replies that must wait, in the order of their requests.
    replies: VecDeque<Later>,
    /// What the client may do.
    guard: Option<Box<Guard>>,
    /// Somebody has to be asked what it may do. Everything that it asks for waits.
    asked: Option<Box<Asked>>,
    /// It proves again who it is.
    again: Option<Box<Exchange>>,
    /// What happens to its topics.
    names: Option<Arc<OwnNames>>,
}

/// A conversation that has no session yet.
pub(super) struct Opening {
    pub(super) peer: Peer,
    /// Whether it may have one is being decided.
    checking: Option<Box<Checking>>,
    /// What it may do once it has one.
    guard: Option<Box<Guard>>,
    /// What happens to its topics then.
    names: Option<Arc<Names>>,
    /// It proves by an exchange of messages who it is.
    exchange: Option<Box<Ongoing>>,
    /// What it is told at the end of that.
    last_data: Option<Bytes>,
    /// For a session that another connection holds, or that is granted when that is recorded: to be asked again.
    pending: Option<Box<SessionRequest>>,
    reserved: Option<Box<Reserved>>,
}

/// A reply that waits until what it acknowledges is safe, or for those before it.
pub(super) struct Later {
    reply: Reply,
    ticket: Option<Ticket>,
    /// The exchange that it belongs to, 0 for none.
    packet_id: u16,
}

impl Stage {
    fn opening(peer: Peer) -> Option<Box<Self>> {
        let (checking, guard, names, exchange, last_data, pending, reserved) =
            (None, None, None, None, None, None, None);
        let opening = Opening { peer, checking, guard, names, exchange, last_data, pending, reserved };
        Some(Box::new(Self::Opening(opening)))
    }

    /// Nothing is waited for.
    fn at_rest(guard: Option<Box<Guard>>, names: Option<Arc<Names>>) -> Option<Box<Self>> {
        let is_mounted = guard.as_ref().is_some_and(|guard| guard.mount().is_some());
        let names = names.and_then(|names| OwnNames::of(names, is_mounted));
        let is_plain = guard.is_none() && names.is_none();
        (!is_plain).then(|| Box::new(Self::Open(Open { guard, names, ..Open::default() })))
    }

    /// What happens to the client's topics; `None` when they stay what they are.
    #[inline]
    pub(super) fn names(&self) -> Option<&Arc<OwnNames>> {
        match self {
            Self::Open(open) => open.names.as_ref(),
            Self::Opening(_) => None,
        }
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.guarded().is_some()
    }

    fn guarded(&self) -> Option<&Guard> {
        match self {
            Self::Open(open) => open.guard.as_deref(),
            Self::Opening(_) => None,
        }
    }

    /// Where the client is mounted.
    #[inline]
    pub(super) fn mount(&self) -> Option<&Arc<Mount>> {
        self.guarded()?.mount()
    }

    /// What the client and others may send together.
    #[inline]
    fn rates(&self) -> Option<&Arc<Rates>> {
        self.guarded()?.rates()
    }

    /// The guard, which is made if there is none.
    pub(super) fn guard(stage: &mut Option<Box<Self>>, made: impl FnOnce() -> Guard) -> &mut Guard {
        let stage = stage.get_or_insert_with(|| Box::new(Self::Open(Open::default())));
        let guard = match &mut **stage {
            Self::Opening(opening) => &mut opening.guard,
            Self::Open(open) => &mut open.guard,
        };
        guard.get_or_insert_with(|| Box::new(made()))
    }
}

/// What a conversation needs for a turn.
pub(super) struct Turn<'a, P: Protocol> {
    pub service: &'a Service<P>,
    /// Wakes the conversation.
    pub waker: &'a Waker,
    pub now: Instant,
}

impl<P: Protocol> Clone for Turn<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Protocol> Copy for Turn<'_, P> {}

/// Why a turn cannot go on.
pub(super) enum Stop<F> {
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

/// What a step of a turn comes to.
pub(super) type Step<P, T = ()> = Result<T, Stop<<P as Protocol>::Fault>>;

/// What a batch of deliveries left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// The queue may hold more.
    More,
    /// The queue is empty.
    Drained,
    /// Input, a reply, a timeout or a writable transport must come first.
    Held,
}

impl<P: Protocol> Conversation<P> {
    /// A conversation that begins. With `shed` it is refused a session.
    pub fn new(config: &Arc<P::Config>, peer: Peer, shed: bool, now: Instant) -> Self {
        Self {
            machine: P::open(config, &peer, now),
            session: None,
            stage: Stage::opening(peer),
            epoch: 0,
            blocked: false,
            shed,
            wrote_last_words: false,
        }
    }

    fn opening(&self) -> Option<&Opening> {
        match self.stage.as_deref()? {
            Stage::Opening(opening) => Some(opening),
            Stage::Open(_) => None,
        }
    }

    fn opening_mut(&mut self) -> Option<&mut Opening> {
        match self.stage.as_deref_mut()? {
            Stage::Opening(opening) => Some(opening),
            Stage::Open(_) => None,
        }
    }

    fn replies_len(&self) -> usize {
        match self.stage.as_deref() {
            Some(Stage::Open(open)) => open.replies.len(),
            _ => 0,
        }
    }

    /// True while a session is waited for, or a word on what the client may do. Input must wait, too.
    pub fn is_pending(&self) -> bool {
        let awaits_session = |opening: &Opening| opening.pending.is_some() || opening.checking.is_some();
        self.opening().is_some_and(awaits_session) || self.is_asking()
    }

    /// True while input must wait: for a session, or for replies of which more wait than should.
    pub fn is_full(&self) -> bool {
        self.is_pending() || self.replies_len() >= LATER_MAX
    }

    /// True while nobody but the session and the transport wakes it.
    pub fn is_settled(&self) -> bool {
        self.session.is_some() && self.opening().is_none() && self.replies_len() == 0 && !self.is_asking()
    }

    /// Tells the session that its connection is on another core now.
    pub fn moved(&self, waker: &Waker, core: u16) {
        if let Some(session) = &self.session {
            session.move_to(self.epoch, waker.clone(), core);
        }
    }

    /// What its client and others may send together.
    pub fn rates(&self) -> Option<&Arc<Rates>> {
        self.stage.as_deref().and_then(Stage::rates)
    }

    /// The session that was granted.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// Does what the protocol asked for and tells it the results. `charge` is asked for every publication, with the rates that the client shares,
    /// and says whether the peer may send it.
    pub fn answer(
        &mut self,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
        mut charge: impl FnMut(&Lane, Option<&Arc<Rates>>) -> bool,
    ) -> Step<P> {
        if core.outbox.is_watched() {
            self.tell_acknowledged(turn, core);
        }
        core.outbox.set_watched(turn.service.bus.watch().looks_at_acknowledgements());
        while core.outbox.requests_len() > 0 {
            let mut requests = std::mem::take(&mut core.requests);
            core.outbox.swap_requests(&mut requests);
            let mut result = Ok(());
            for request in requests.drain(..) {
                // What came before a fault was good: that the answer to one thing is a fault does not undo the next.
                if result.is_ok() {
                    result = self.execute(request, turn, core, &mut charge);
                } else if let Request::Publish { .. } = request {
                    let _ = self.execute(request, turn, core, &mut charge);
                }
                // Whether or not there is a reply: what was answered about it counts for nothing else.
                if turn.service.access.asks() {
                    self.has_decided();
                }
            }
            core.requests = requests;
            turn.service.bus.flush(&mut core.lane);
            result?;
        }
        Ok(())
    }

    /// Tells those who look for slow subscribers what this one has acknowledged.
    #[cold]
    fn tell_acknowledged(&self, turn: Turn<'_, P>, core: &mut CoreLocal) {
        let messages = core.outbox.take_acknowledged();
        if let Some(session) = &self.session {
            let watch = turn.service.bus.watch();
            messages.iter().for_each(|message| watch.acknowledged(message, turn.now, &|| session.who()));
        }
    }

    fn execute(
        &mut self,
        request: Request,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
        charge: &mut impl FnMut(&Lane, Option<&Arc<Rates>>) -> bool,
    ) -> Step<P> {
        let Turn { service, now, .. } = turn;
        if !matches!(request, Request::Publish { .. }) {
            service.bus.flush(&mut core.lane);
        }
        if let Request::Connect(connect) = request {
            return self.begin_connect(*connect, turn, core);
        }
        if let (None, Request::Authenticate { data, .. }) = (&self.session, &request) {
            return self.go_on(data.as_ref(), turn, core);
        }
        let request = if service.access.asks() || self.is_asking() {
            let Some(request) = self.ask_about(request, turn, core) else { return Ok(()) };
            request
        } else {
            request
        };
        // Only a protocol that is wrong asks before it has a session.
        let Some(session) = &self.session else { return Err(Stop::Gone) };
        let _ = core.lane.take_ticket();
        let mut exchange = 0;
        let naming = Naming::of_session(session, self.stage.as_deref());
        let rates = self.stage.as_deref().and_then(Stage::rates).cloned();
        let mut permits = Permits { stage: &mut self.stage, service, session, lane: &core.lane, now };
        let reply = match request {
            Request::Publish { token, packet_id, message } => {
                exchange = packet_id;
                let outcome = if !charge(&core.lane, rates.as_ref()) {
                    PublishOutcome::QuotaExceeded
                } else if let Some(message) = naming.rewritten(message) {
                    let is_allowed = permits.publish(&message).map_err(Stop::Gateway)?;
                    count_received(&message, &core.lane);
                    core.tally.message_received(message.head().qos);
                    match is_allowed.then(|| naming.inward(message)) {
                        Some(Some(message)) => {
                            service.bus.publish_exchange(message, session, packet_id, now, &mut core.lane)
                        }
                        Some(None) => PublishOutcome::TopicInvalid,
                        None => PublishOutcome::NotAuthorized,
                    }
                } else {
                    PublishOutcome::TopicInvalid
                };
                if !matches!(outcome, PublishOutcome::Accepted | PublishOutcome::NoSubscribers) {
                    core.tally.message_refused();
                }
                if token == Token::NONE {
                    return Ok(());
                }
                Reply::Published { token, outcome }
            }
            Request::Subscribe { token, subscriptions } => {
                if token == Token::NONE {
                    // Nobody has asked for them: they are not rewritten, and nobody is disconnected or told for what is not allowed of them.
                    let allowed = subscriptions.into_iter().flatten();
                    let allowed = allowed.filter(|wanted| permits.subscribe(wanted).unwrap_or(false));
                    let subscriptions = naming.inward_subscriptions(allowed.map(Ok).collect());
                    service.bus.subscribe(session, subscriptions, now, &mut core.lane);
                    return Ok(());
                }
                let subscriptions = naming.rewritten_subscriptions(subscriptions);
                let subscriptions = permits.subscribe_all(subscriptions).map_err(Stop::Gateway)?;
                let subscriptions = naming.inward_subscriptions(subscriptions);
                let results = service.bus.subscribe(session, subscriptions, now, &mut core.lane);
                Reply::Subscribed { token, results }
            }
            Request::Unsubscribe { token, filters } => {
                let results = service.bus.unsubscribe(session, naming.unsubscribed(filters), now, &mut core.lane);
                Reply::Unsubscribed { token, results }
            }
            Request::Released { token, packet_id } => {
                service.bus.released(session, packet_id, &mut core.lane);
                if token == Token::NONE {
                    return Ok(());
                }
                Reply::Recorded { token }
            }
            Request::Received { token, packet_id } => {
                service.bus.received(session, packet_id, &mut core.lane);
                Reply::Recorded { token }
            }
            Request::Acknowledged { packet_id } => {
                service.bus.acknowledged(session, packet_id);
                return Ok(());
            }
            Request::Keep { parked } => {
                service.bus.record_extras(session, *parked);
                return Ok(());
            }
            Request::SetWill { will } => {
                // There is no answer by which a client could be told of a topic that is none.
                let refused = || Stop::Gateway(CloseReason::NotAuthorized);
                let will = will.map(|will| naming.rewritten_will(will).ok_or_else(refused)).transpose()?;
                will.as_ref().map_or(Ok(()), |will| permits.will(will)).map_err(Stop::Gateway)?;
                let will = will.map(|will| naming.inward_will(will).ok_or_else(refused)).transpose()?;
                service.bus.set_will(session, self.epoch, will);
                return Ok(());
            }
            Request::ReadRetained { token, filter, count_max } => {
                let mut wanted = naming.rewritten_filter(filter).ok_or(SubscribeRefusal::FilterInvalid);
                if let Ok(filter) = &wanted
                    && !permits.read(filter, Qos::AtMostOnce).map_err(Stop::Gateway)?
                {
                    wanted = Err(SubscribeRefusal::NotAuthorized);
                }
                let wanted =
                    wanted.and_then(|filter| naming.inward_filter(filter).ok_or(SubscribeRefusal::FilterInvalid));
                let read = |filter| naming.outward(service.bus.read_retained(&filter, count_max as usize, now));
                Reply::Retained { token, messages: wanted.map(read) }
            }
            Request::Authenticate { method, data } => self.authenticate_again(&method, data.as_ref(), turn, core)?,
            Request::Connect(_) => return Err(Stop::Gone),
        };
        let ticket = core.lane.take_ticket();
        if ticket.is_none() && self.replies_len() == 0 {
            return self.machine.reply(reply, now, &mut core.outbox).map_err(Stop::Fault);
        }
        if let (Some(ticket), Some(journal)) = (ticket, service.bus.journal()) {
            journal.wake_when_settled(ticket, core.lane.core(), turn.waker);
        }
        let stage = self.stage.get_or_insert_with(|| Box::new(Stage::Open(Open::default())));
        if let Stage::Open(open) = &mut **stage {
            open.replies.push_back(Later { reply, ticket, packet_id: exchange });
        }
        Ok(())
    }

    /// Gives the replies that need wait no longer. True when there were any, which may have left requests in the outbox.
    fn settle(&mut self, service: &Service<P>, core: &mut CoreLocal, now: Instant) -> Step<P, bool> {
        let mut any = false;
        while let Some(Stage::Open(Open { replies, guard, asked, again, names })) = self.stage.as_deref_mut() {
            let Some(next) = replies.front() else {
                if guard.is_none() && asked.is_none() && again.is_none() && names.is_none() {
                    self.stage = None;
                }
                break;
            };
            let settled = match (next.ticket, service.bus.journal()) {
                (Some(ticket), Some(journal)) => journal.settled(ticket),
                _ => Settled::Kept,
            };
            if settled == Settled::Not {
                return Ok(any);
            }
            let Some(Later { mut reply, packet_id, .. }) = replies.pop_front() else { break };
            if settled == Settled::Refused {
                core.lane.count(Counter::DroppedQuota, u64::from(matches!(reply, Reply::Published { .. })));
                if let Some(session) = self.session.as_ref().filter(|_| packet_id != 0) {
                    service.bus.forget_exchange(session, packet_id);
                }
                reply = refused(reply).map_err(Stop::Gateway)?;
            }
            self.machine.reply(reply, now, &mut core.outbox).map_err(Stop::Fault)?;
            any = true;
        }
        Ok(any)
    }

    /// Moves one batch of deliveries from the session's queue through the machine into the outbox; with `hold` none, but a signal to end is seen.
    pub fn deliver_batch(&mut self, hold: bool, turn: Turn<'_, P>, core: &mut CoreLocal) -> Step<P, Batch> {
        if self.session.is_none() {
            return Ok(Batch::Held);
        }
        let mut batch = std::mem::take(&mut core.deliveries);
        let result = self.deliver_into(&mut batch, hold, turn, core);
        batch.clear();
        core.deliveries = batch;
        result
    }

    fn deliver_into(
        &mut self,
        batch: &mut Vec<Delivery>,
        hold: bool,
        turn: Turn<'_, P>,
        core: &mut CoreLocal,
    ) -> Step<P, Batch> {
        let hold = hold || self.blocked || core.outbox.is_closing() || !self.examine(turn, core);
        let Some(session) = &self.session else { return Ok(Batch::Held) };
        let taken =
            turn.service.bus.take(session, self.epoch, if hold { 0 } else { DELIVERIES_PER_BATCH }, turn.now, batch);
        if let Some(reason) = taken.signal {
            turn.service.bus.give_back(session, batch.drain(..));
            return Err(Stop::Gateway(reason));
        }
        core.pull = taken.pull;
        if taken.errands.is_some() {
            core.errands = taken.errands;
        }
        if hold {
            // Not the queue brings the next turn.
            turn.service.bus.give_back(session, batch.drain(..));
            return Ok(Batch::Held);
        }
        if batch.is_empty() {
            let more = session.is_replaying() && turn.service.bus.replay_retained(session, turn.now, &mut core.lane);
            return Ok(if more { Batch::More } else { Batch::Drained });
        }
        let sifts_until = self.sifts_until();
        let watch = turn.service.bus.watch();
        let is_watched = watch.looks_at_messages();
        let mut sent = Sent::default();
        let mut deliveries = batch.drain(..);
        let mount = self.stage.as_deref().and_then(Stage::mount).cloned();
        while let Some(mut delivery) = deliveries.next() {
            let (qos, packet_id) = (delivery.qos, delivery.packet_id);
            if sifts_until.is_some_and(|until| delivery.message.head().received_at <= until)
                && !session.is_subscribed_to(&delivery.message)
            {
                core.lane.count(Counter::DeliveryRevoked, 1);
                if packet_id != 0 {
                    turn.service.bus.acknowledged(session, packet_id);
                }
                continue;
            }
            if let Some(mount) = &mount
                && !mount.hide(&mut delivery)
            {
                // Of a subscription that is none any more.
                core.lane.count(Counter::DeliveryTopicUnknown, 1);
                if packet_id != 0 {
                    turn.service.bus.acknowledged(session, packet_id);
                }
                continue;
            }
            let bytes = delivery.message.payload().len() + delivery.message.topic_bytes().len();
            let seen = is_watched.then(|| delivery.clone());
            match self.machine.deliver(delivery, turn.now, &mut core.outbox) {
                Delivered::Sent => {
                    if let Some(seen) = &seen {
                        watch.delivered(seen, turn.now, &|| session.who());
                    }
                    sent.add(qos, bytes);
                    if packet_id != 0 && !qos.is_acknowledged() {
                        turn.service.bus.acknowledged(session, packet_id);
                    }
                }
                Delivered::Later(mut delivery) => {
                    self.blocked = true;
                    if let Some(mount) = &mount {
                        mount.show(&mut delivery);
                    }
                    turn.service.bus.give_back(session, std::iter::once(delivery).chain(deliveries));
                    break;
                }
                Delivered::Dropped(cause) => {
                    let counter = match cause {
                        DropCause::TooLarge => Counter::DeliveryTooLarge,
                        DropCause::TopicUnknown => Counter::DeliveryTopicUnknown,
                        _ => Counter::DeliveryExpired,
                    };
                    match cause {
                        DropCause::TooLarge | DropCause::TopicUnknown => core.tally.message_too_large(),
                        _ => core.tally.message_expired(),
                    }
                    core.lane.count(counter, 1);
                    if packet_id != 0 {
                        turn.service.bus.acknowledged(session, packet_id);
                    }
                }
            }
        }
        sent.count(&core.lane);
        core.tally.messages_sent(sent.messages);
        Ok(match taken.more || session.is_replaying() {
            _ if self.blocked => Batch::Held,
            true => Batch::More,
            false => Batch::Drained,
        })
    }

    /// The conversation is over: the peer is told why if that is for the gateway to say, and the session is given back.
    pub fn stop(&mut self, stop: &Stop<P::Fault>, service: &Service<P>, core: &mut CoreLocal, now: Instant) {
        // What is answered by now is known to whoever goes on with the session.
        let _ = self.settle(service, core, now);
        let cause = match stop {
            Stop::Gone => DepartCause::Closed,
            Stop::Done => DepartCause::Normal,
            Stop::Fault(fault) => {
                self.report(fault, service, &core.lane, now);
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
        self.depart(cause, service, now, &mut core.lane);
        if let Some(opening) = self.opening_mut() {
            opening.checking = None;
            opening.pending = None;
            opening.reserved = None;
        }
    }

    /// Counts a fault and has it logged.
    pub fn report(&self, fault: &P::Fault, service: &Service<P>, lane: &Lane, now: Instant) {
        lane.count(fault_counter(fault), 1);
        let id = self.session.as_deref().map(|session| session.id());
        service.faults.report(&self.remote(), P::NAME, id, fault, now);
    }

    /// Gives the session back, if there is one.
    pub fn depart(&mut self, cause: DepartCause, service: &Service<P>, now: Instant, lane: &mut Lane) {
        let departure = self.machine.depart();
        if let Some(Stage::Open(_)) = self.stage.as_deref() {
            self.stage = None;
        }
        if let Some(session) = self.session.take() {
            service.bus.depart(&session, self.epoch, departure, cause, now, lane);
        }
    }

    fn remote(&self) -> RemoteName {
        let peer = self.opening().and_then(|opening| opening.peer.remote);
        RemoteName(peer.or_else(|| self.session.as_ref()?.connection()?.remote))
    }
}

/// What is said in the place of a reply when what it acknowledges could not be kept; or why the conversation must end, where the protocol has no word
/// for that.
fn refused(reply: Reply) -> Result<Reply, CloseReason> {
    Ok(match reply {
        Reply::Published { token, .. } => Reply::Published { token, outcome: PublishOutcome::QuotaExceeded },
        Reply::Subscribed { token, results } => {
            let results = results.into_iter().map(|result| result.and(Err(SubscribeRefusal::QuotaExceeded))).collect();
            Reply::Subscribed { token, results }
        }
        _ => return Err(CloseReason::QuotaExceeded),
    })
}

fn count_received(message: &Message, lane: &Lane) {
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
