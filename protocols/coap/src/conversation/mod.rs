//! The server's side of one CoAP conversation.
//!
//! | module | what |
//! | --- | --- |
//! | `request` | a request taken apart: options, blocks, which resource and what to do with it |
//! | `answer` | answers: blocks, entity tags, and how much goes to an address that may be forged |
//! | `session` | connections, and sessions of peers without one |
//! | `publish`, `read`, `subscribe` | what is done with topics |
//! | `pubsub` | topic collections of the publish/subscribe draft |
//! | `notify` | messages to observers |
//! | `ending` | what is told and kept at the end |
//! | `keep` | what is told to a gateway that may end without warning |

mod answer;
mod ending;
mod keep;
mod notify;
mod publish;
mod pubsub;
mod read;
mod request;
mod session;
mod subscribe;

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;
use thingway_contract::{
    CloseReason, DatagramProtocol, Delivered, Delivery, Departure, Exchanges, Input, Instant, Outbox, Peer, Protocol,
    Reply, Standing, Token,
};

use self::{
    answer::Answer,
    notify::Notifier,
    publish::Publication,
    pubsub::Errand,
    request::Question,
    session::{Deciding, Session},
    subscribe::Registration,
};
use crate::{
    CoapFault, Config,
    blockwise::Transfers,
    codec::Code,
    message::{Endpoint, Incoming, Lost, PACKET_NAMES, UNTAGGED},
    observe::Observations,
    resources::address_key,
};

/// One peer's conversation over CoAP.
///
/// The message layer is in place, all else behind pointers that are null for peers that do not use it.
#[derive(Debug)]
pub struct Conversation {
    config: Arc<Config>,
    endpoint: Endpoint,
    /// Stands for the peer's address.
    address: u64,
    /// When the last well-formed message came.
    last_heard: Instant,
    session: Option<Box<Session>>,
    deciding: Option<Box<Deciding>>,
    pending: Option<Box<Pendings>>,
    observations: Option<Box<Observations>>,
    notifier: Option<Box<Notifier>>,
    transfers: Option<Box<Transfers>>,
    /// The peer has shown that it receives what is sent to its address.
    validated: bool,
    fate: Fate,
    closed: bool,
}

/// What becomes of a connection's session when its conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is kept for as long as was agreed, and the connection's token goes on with it.
    Default,
    /// It is kept, but the connection is over, and so is its token.
    Over,
    /// Another conversation goes on with it.
    TakenOver,
    /// The peer closed it.
    Left,
}

/// Requests that wait for the gateway.
#[derive(Debug, Default)]
struct Pendings {
    list: SmallVec<[Pending; 1]>,
    last_token: u32,
}

#[derive(Debug)]
struct Pending {
    token: Token,
    question: Question,
    step: Step,
    /// When the request is acknowledged alone; never once it was.
    acknowledge_at: Instant,
}

/// What a reply of the gateway goes on with.
#[derive(Debug)]
enum Step {
    /// The retained message decides whether to publish.
    Precondition(Box<Publication>),
    /// Published: then this is the answer.
    Published(Box<Answer>),
    /// A retained message is the answer, or an empty body if there is none but may be.
    Read { initialized: bool, ends_at: Instant },
    /// Subscribed: then the observation counts.
    Subscribed(Box<Registration>),
    /// The observation's first representation.
    FirstRead { serial: u32, initialized: bool },
    /// The configuration of a topic, or all, for an errand with it.
    Configured(Box<Errand>),
}

/// Tag of the ping that asks observers whether they are still there.
const CHECK: u32 = UNTAGGED - 1;

/// Most requests of a peer that wait for the gateway; further ones get 4.29.
const PENDING_MAX: usize = 64;

impl Protocol for Conversation {
    const NAME: &'static str = "coap";
    const PACKET_NAMES: &'static [&'static str] = &PACKET_NAMES;
    type Config = Config;
    type Fault = CoapFault;

    fn open(config: &Arc<Config>, peer: &Peer, now: Instant) -> Self {
        let address = address_key(&config.secret, peer);
        // Also of another gateway process, if it has the same secret.
        let unix_ms = config.unix_ms(now);
        let seed = crate::hash::keyed(&config.secret, &[&address.to_be_bytes(), &unix_ms.to_be_bytes()]);
        let first_id = (address as u16).wrapping_add(config.transmission.id_ticks(config.clock_unix_ms) as u16);
        Self {
            config: Arc::clone(config),
            endpoint: Endpoint::new(seed).with_first_id(first_id),
            address,
            last_heard: now,
            session: None,
            deciding: None,
            pending: None,
            observations: None,
            notifier: None,
            transfers: None,
            validated: false,
            fate: Fate::Default,
            closed: false,
        }
    }

    fn receive(&mut self, input: &mut Input<'_>, now: Instant, out: &mut Outbox) -> Result<(), CoapFault> {
        let datagram = input.remaining();
        input.consume(datagram.len());
        if self.closed {
            return Ok(());
        }
        if self.deciding.is_some() {
            // Before the message layer sees it, so that it counts as new when it comes again.
            return Err(CoapFault::Busy);
        }
        let incoming = self.endpoint.receive(datagram, &self.config.transmission, now, out)?;
        self.last_heard = now;
        let result = match incoming {
            Incoming::Request(exchange, packet) => self.on_request(exchange, packet, datagram.len(), now, out),
            Incoming::Acknowledged(tag) => {
                self.validated = true;
                self.on_acknowledged(tag, now, out);
                Ok(())
            }
            // A ping is answered by a reset.
            Incoming::Reset(_, Some(CHECK)) => {
                self.validated = true;
                Ok(())
            }
            Incoming::Reset(id, tag) => {
                self.on_reset(id, tag, out);
                Ok(())
            }
            // Nothing is asked of peers here.
            Incoming::Response(..) | Incoming::Nothing => Ok(()),
        };
        self.pump(now, out);
        self.keep(now, out);
        result
    }

    fn reply(&mut self, reply: Reply, now: Instant, out: &mut Outbox) -> Result<(), CoapFault> {
        if self.closed {
            return Ok(());
        }
        match reply {
            Reply::Connected(connected) => self.on_connected(*connected, now, out),
            Reply::Refused(refusal) => self.on_refused(&refusal, now, out),
            Reply::Published { token, outcome } => {
                if let Some(pending) = self.take_pending(token) {
                    self.on_published(pending, outcome, now, out);
                }
            }
            Reply::Subscribed { token, results } => {
                if let Some(pending) = self.take_pending(token) {
                    self.on_subscribed(pending, &results, now, out);
                }
            }
            Reply::Retained { token, messages } => {
                if let Some(pending) = self.take_pending(token) {
                    self.on_retained(pending, messages, now, out);
                }
            }
            // Nobody waits for the end of a subscription, and the rest is never asked for.
            Reply::Unsubscribed { .. }
            | Reply::Challenge { .. }
            | Reply::Reauthenticated { .. }
            | Reply::Recorded { .. } => {}
        }
        self.leave_session(now, out);
        self.pump(now, out);
        self.keep(now, out);
        Ok(())
    }

    fn deliver(&mut self, delivery: Delivery, now: Instant, out: &mut Outbox) -> Delivered {
        let delivered = self.on_delivery(delivery, now, out);
        self.keep(now, out);
        delivered
    }

    fn timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), CoapFault> {
        if self.closed {
            return Ok(());
        }
        let mut silent = false;
        for lost in self.endpoint.timeout(&self.config.transmission, now, out) {
            silent |= matches!(lost, Lost::GivenUp(tag) if tag != UNTAGGED);
        }
        if silent {
            self.on_silence(out)?;
        }
        if self.connection_deadline() <= now {
            self.fate = Fate::Over;
            return Err(CoapFault::HeartbeatLost);
        }
        self.acknowledge_late(now, out);
        self.end_expired(now, out);
        if self.check_deadline() <= now {
            self.endpoint.ping(CHECK, &self.config.transmission, now, out);
        }
        if let Some(transfers) = &mut self.transfers {
            transfers.prune(now);
        }
        self.transfers.take_if(|transfers| transfers.is_empty());
        self.pump(now, out);
        if self.remember_until().is_some_and(|until| until <= now) {
            self.closed = true;
            out.close();
        }
        self.keep(now, out);
        Ok(())
    }

    fn deadline(&self) -> Instant {
        if self.closed {
            return Instant::NEVER;
        }
        let pending = self.pending.iter().flat_map(|pending| &pending.list);
        let deciding = self.deciding.iter().map(|deciding| deciding.acknowledge_at);
        let acknowledge = pending.map(|pending| pending.acknowledge_at).chain(deciding).min().unwrap_or(Instant::NEVER);
        let transfers = self.transfers.as_ref().map_or(Instant::NEVER, |transfers| transfers.deadline());
        let end = self.remember_until().unwrap_or(Instant::NEVER);
        let observed = self.observations.as_ref().map_or(Instant::NEVER, |observations| observations.ends_at());
        let ends = self.connection_deadline().min(self.check_deadline()).min(observed).min(end);
        self.endpoint.deadline().min(acknowledge).min(transfers).min(ends)
    }

    fn close(&mut self, reason: &CloseReason, now: Instant, out: &mut Outbox) {
        self.close_with(reason, now, out);
    }

    fn refuse(&mut self, _fault: &CoapFault, _now: Instant, _out: &mut Outbox) {
        // What CoAP has to say about a datagram was said when it came; a peer that is silent is told nothing.
    }

    fn depart(&mut self) -> Departure {
        self.take_departure()
    }

    fn exchanges(&self) -> Option<Exchanges> {
        Some(Exchanges {
            outbound: self.notifier.as_ref().map_or(0, |notifier| notifier.deliveries().count()),
            outbound_max: self.config.transmission.nstart.max(1).into(),
            inbound: 0,
            inbound_max: Some(0),
        })
    }

    fn under_way(&self, show: &mut dyn FnMut(u16, &Delivery)) {
        if let Some(notifier) = &self.notifier {
            notifier.deliveries().for_each(|(id, delivery)| show(id, delivery));
        }
    }
}

impl DatagramProtocol for Conversation {
    fn node(_datagram: &[u8]) -> &[u8] {
        &[]
    }

    fn standing(&self) -> Standing {
        if self.is_busy() || self.is_connected() || self.remember_until().is_some() {
            return if self.validated { Standing::Established } else { Standing::Unproven };
        }
        Standing::Forgettable
    }

    fn is_fatal(fault: &CoapFault) -> bool {
        fault.is_fatal()
    }
}

impl Conversation {
    /// True once the peer has shown that it receives what is sent to its address.
    pub const fn is_validated(&self) -> bool {
        self.validated
    }

    /// A session was granted, and not left.
    pub(crate) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// How many observations the peer has.
    pub fn observations_len(&self) -> usize {
        self.observations.as_ref().map_or(0, |observations| observations.len())
    }

    /// Something goes on that has an end of its own.
    fn is_busy(&self) -> bool {
        self.deciding.is_some()
            || self.pending.is_some()
            || self.observations_len() > 0
            || self.notifier.is_some()
            || !self.endpoint.is_idle()
    }

    /// When observers from whom nothing came, because nothing was published, are asked whether they are still there: after so long as a notification
    /// would have to be acknowledged, and soon if nobody there has ever been heard of. Connections have their heartbeat.
    fn check_deadline(&self) -> Instant {
        let has_heartbeat = self.is_connected() && self.config.heartbeat_secs > 0;
        if self.observations_len() == 0 || has_heartbeat || !self.endpoint.is_idle() {
            return Instant::NEVER;
        }
        if self.validated {
            return self.last_heard.plus_secs(self.config.confirm_secs.clamp(1, 86_400).into());
        }
        self.last_heard + self.config.transmission.exchange_lifetime()
    }

    /// When a conversation in which nothing goes on ends; `None` when there is nothing to remember, or something goes on.
    fn remember_until(&self) -> Option<Instant> {
        if self.is_busy() || self.is_connected() {
            return None;
        }
        let idle = Duration::from_millis(self.config.idle_ms.into());
        let session = self.session.as_ref().map(|_| self.last_heard + idle);
        let transfers = self.transfers.as_ref().map(|transfers| transfers.deadline()).filter(|at| !at.is_never());
        session.into_iter().chain(transfers).chain(self.endpoint.needed_until()).max()
    }

    /// Keeps a request until the gateway's reply to `token` comes. The gateway is not asked when too many wait already.
    fn wait(&mut self, question: Question, step: Step, now: Instant, out: &mut Outbox) -> Option<Token> {
        if self.pending.as_ref().is_some_and(|pending| pending.list.len() >= PENDING_MAX) {
            self.answer(&question, Answer::too_many("too many requests wait"), now, out);
            return None;
        }
        let pending = self.pending.get_or_insert_default();
        pending.last_token = (pending.last_token + 1) % (Token::NONE.0 - 1);
        let token = Token(pending.last_token);
        let acknowledge_at = acknowledge_at(&question, &self.config, now);
        pending.list.push(Pending { token, question, step, acknowledge_at });
        Some(token)
    }

    fn take_pending(&mut self, token: Token) -> Option<Pending> {
        let pending = self.pending.as_mut()?;
        let at = pending.list.iter().position(|pending| pending.token == token)?;
        let taken = pending.list.remove(at);
        self.pending.take_if(|pending| pending.list.is_empty());
        Some(taken)
    }

    /// Answers requests whose replies will not come any more. What they asked for may have been done.
    fn abandon(&mut self, now: Instant, out: &mut Outbox) {
        for pending in self.pending.take().into_iter().flat_map(|pending| pending.list) {
            self.answer(&pending.question, Answer::code(Code::SERVICE_UNAVAILABLE), now, out);
        }
    }

    /// Requests whose answer takes long are acknowledged alone (RFC 7252, section 5.2.2).
    fn acknowledge_late(&mut self, now: Instant, out: &mut Outbox) {
        for pending in self.pending.iter_mut().flat_map(|pending| &mut pending.list) {
            if pending.acknowledge_at <= now {
                pending.acknowledge_at = Instant::NEVER;
                pending.question.acknowledged = true;
                self.endpoint.acknowledge(pending.question.exchange, out);
            }
        }
        let Some(deciding) = &mut self.deciding else { return };
        if deciding.acknowledge_at <= now {
            deciding.acknowledge_at = Instant::NEVER;
            deciding.question.acknowledged = true;
            self.endpoint.acknowledge(deciding.question.exchange, out);
        }
    }
}

/// When a request that has no answer yet is to be acknowledged alone.
fn acknowledge_at(question: &Question, config: &Config, now: Instant) -> Instant {
    if question.exchange.confirmable && !question.acknowledged {
        now + Duration::from_millis(config.acknowledge_ms.into())
    } else {
        Instant::NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_small() {
        assert!(size_of::<Conversation>() <= 120, "{}", size_of::<Conversation>());
    }
}
