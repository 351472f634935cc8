use thingway_contract::{
    Instant, Message, MessageHead, Outbox, PublishOutcome, Qos, Request, Token, Topic, TopicError, TopicLimits,
};

use super::{Conversation, KEPT, Phase, RELEASED, after};
use crate::{
    MqttSnFault, Packet, PacketType, ReturnCode,
    fault::outcome_code,
    packet::{Puback, Publish, Regack, Register, TopicRef},
};

/// Messages of QoS 1 and 2 from the client that are not over yet, or were over a moment ago.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// In the order in which they came. The operator bounds their number.
    messages: Vec<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    /// When its state changed last.
    at: Instant,
    /// A hash of what was published; 0 when it is not known.
    digest: u32,
    id: u16,
    topic_id: u16,
    state: Received,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// The gateway has yet to say what became of it: QoS 1.
    AskedOnce,
    /// The same at QoS 2.
    AskedExactly,
    /// QoS 2: PUBREC was sent.
    Taken,
    /// QoS 2: PUBREL came, and PUBCOMP waits for the gateway.
    Releasing,
    /// QoS 2: PUBCOMP was sent. Remembered for copies that the network delivers late.
    Complete,
}

impl Received {
    const fn is_asked(self) -> bool {
        matches!(self, Self::AskedOnce | Self::AskedExactly)
    }
}

impl Inbound {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages of QoS 2 that the client has not released.
    pub(super) fn unreleased(&self) -> usize {
        let is_unreleased = |message: &&Incoming| matches!(message.state, Received::AskedExactly | Received::Taken);
        self.messages.iter().filter(is_unreleased).count()
    }

    pub(super) fn restore(&mut self, ids: &[u16]) {
        let taken = |&id: &u16| Incoming { at: Instant::ZERO, digest: 0, id, topic_id: 0, state: Received::Taken };
        self.messages.retain(|message| !ids.contains(&message.id));
        self.messages.extend(ids.iter().filter(|&&id| id != 0).map(taken));
    }

    /// A message that the gateway has not answered for was not promised to the client, which sends it again. In a kept session it is left out: the gateway
    /// was told the id with the message, knows from it what it has taken, and says so when it is safe. PUBREC for an id found here would go out at once,
    /// perhaps before that. In any other session the message counts as published even if its answer comes too late, for nobody but this machine knows the
    /// id, and exactly once means not twice.
    pub(super) fn park(self, session_kept: bool) -> Vec<u16> {
        let is_left = |message: &Incoming| match message.state {
            Received::AskedExactly => !session_kept,
            Received::Taken | Received::Releasing => true,
            Received::AskedOnce | Received::Complete => false,
        };
        self.messages.into_iter().filter(is_left).map(|message| message.id).collect()
    }

    /// What is only remembered for copies that come late.
    pub(super) fn take_complete(&mut self) -> Self {
        let messages = std::mem::take(&mut self.messages);
        let (complete, others) = messages.into_iter().partition(|message| message.state == Received::Complete);
        self.messages = others;
        Self { messages: complete }
    }

    pub(super) fn tidy(&mut self, now: Instant, late_ms: u32) {
        self.messages.retain(|message| message.state != Received::Complete || after(message.at, late_ms.into()) > now);
    }

    fn find(&mut self, id: u16) -> Option<&mut Incoming> {
        self.messages.iter_mut().find(|message| message.id == id)
    }

    /// Forgets a message, and tells how far it was.
    fn remove(&mut self, id: u16) -> Option<Received> {
        let position = self.messages.iter().position(|message| message.id == id)?;
        Some(self.messages.remove(position).state)
    }

    /// Makes room for one more: false when as many as may be wait for the gateway. `given_up` gets the ids of exchanges that the client has not ended.
    fn make_room(&mut self, count_max: usize, mut given_up: impl FnMut(u16)) -> bool {
        while self.messages.len() >= count_max.max(1) {
            let complete = self.messages.iter().position(|message| message.state == Received::Complete);
            // Section 6.6: a client that begins another exchange has given up the one before.
            let oldest = || self.messages.iter().position(|message| message.state == Received::Taken);
            let Some(position) = complete.or_else(oldest) else { return false };
            let message = self.messages.remove(position);
            if message.state == Received::Taken {
                given_up(message.id);
            }
        }
        true
    }
}

/// FNV-1a. It tells copies of one message apart from another message that has its id; nobody gains by a collision, as only the client's own messages
/// are compared. Never 0.
fn digest(publish: &Publish<'_>) -> u32 {
    let [high, low] = publish.topic.id().to_be_bytes();
    let head = [publish.topic.kind(), u8::from(publish.retain), high, low];
    let bytes = head.iter().chain(publish.payload);
    bytes.fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).max(1)
}

/// Limits for names that were checked when they became known.
const CHECKED: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: usize::MAX };

impl Conversation {
    /// Section 6.5, from the client.
    pub(super) fn on_register(&mut self, register: &Register<'_>, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let message_id = register.message_id;
        let (topic_id, code) = match Topic::parse(register.topic, self.config.topic_limits) {
            Err(_) => (0, ReturnCode::NotSupported),
            Ok(_) => {
                let ids = self.config.topic_ids();
                let registry = self.registry.get_or_insert_default();
                match registry.assign(register.topic, ids) {
                    Some(id) => {
                        registry.set_known(id, true);
                        (id, ReturnCode::Accepted)
                    }
                    None => (0, ReturnCode::Congestion),
                }
            }
        };
        self.send(&Packet::Regack(Regack { topic_id, message_id, code }), out);
        Ok(())
    }

    /// Section 6.6.
    pub(super) fn on_publish(
        &mut self,
        publish: &Publish<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MqttSnFault> {
        let qos = publish.qos.unwrap_or_default();
        if qos.is_acknowledged() && publish.message_id == 0 {
            return Err(MqttSnFault::MessageIdZero);
        }
        if qos.is_acknowledged() && self.is_repeated(publish, qos, now, out) {
            return Ok(());
        }
        let Some(message) = self.message(publish, qos, now, out) else {
            self.send_puback(publish.topic.id(), publish.message_id, ReturnCode::InvalidTopicId, out);
            return Ok(());
        };
        let kept = self.has(KEPT);
        let token = if qos.is_acknowledged() {
            let count_max = usize::from(self.config.inbound_max);
            let state = if qos == Qos::ExactlyOnce { Received::AskedExactly } else { Received::AskedOnce };
            let inbound = &mut self.flow().inbound;
            // Not before it is known to be a message at all: a late copy may have a topic id that is not known any more.
            if inbound.remove(publish.message_id) == Some(Received::Taken) {
                give_up(kept, publish.message_id, out);
            }
            if !inbound.make_room(count_max, |id| give_up(kept, id, out)) {
                self.send_puback(publish.topic.id(), publish.message_id, ReturnCode::Congestion, out);
                return Ok(());
            }
            let (id, topic_id) = (publish.message_id, publish.topic.id());
            inbound.messages.push(Incoming { at: now, digest: digest(publish), id, topic_id, state });
            Token(publish.message_id.into())
        } else {
            Token::NONE
        };
        let packet_id = if kept && qos == Qos::ExactlyOnce { publish.message_id } else { 0 };
        out.request(Request::Publish { token, packet_id, message });
        Ok(())
    }

    /// Answers a copy of a message that is known already.
    fn is_repeated(&mut self, publish: &Publish<'_>, qos: Qos, now: Instant, out: &mut Outbox) -> bool {
        let late_ms = u64::from(self.config.late_copies_ms);
        let Some(flow) = &mut self.flow else { return false };
        let Some(known) = flow.inbound.find(publish.message_id) else { return false };
        // Before PUBCOMP the id is not free for another message, either.
        if known.state.is_asked() || known.state == Received::Releasing {
            return true;
        }
        let digest = digest(publish);
        if known.digest == 0 && qos == Qos::ExactlyOnce {
            // An earlier conversation left only its id.
            known.digest = digest;
        }
        let same = known.digest == digest;
        let is_copy = qos == Qos::ExactlyOnce
            && match known.state {
                // Different content that is not sent again is a new message of a client that counts from the beginning again.
                Received::Taken => same || publish.duplicate,
                _ => same && now < after(known.at, late_ms),
            };
        if is_copy {
            self.send(&Packet::Pubrec(publish.message_id), out);
        }
        is_copy
    }

    /// Section 6.8: a publication of QoS -1, which may come without a session.
    pub(super) fn on_publish_unasked(
        &mut self,
        publish: &Publish<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MqttSnFault> {
        let refused = if !self.config.qos_minus_one {
            Some(ReturnCode::NotSupported)
        } else if matches!(publish.topic, TopicRef::Normal(_)) {
            Some(ReturnCode::InvalidTopicId)
        } else {
            None
        };
        if let Some(code) = refused {
            self.send_puback(publish.topic.id(), publish.message_id, code, out);
            return Err(MqttSnFault::QosMinusOne);
        }
        let Some(message) = self.message(publish, Qos::AtMostOnce, now, out) else {
            self.send_puback(publish.topic.id(), publish.message_id, ReturnCode::InvalidTopicId, out);
            return Ok(());
        };
        match self.phase {
            Phase::Idle => self.introduce(message, now, out),
            Phase::Anonymous | Phase::Active | Phase::Asleep | Phase::Awake => {
                self.last_seen = now;
                out.request(Request::Publish { token: Token::NONE, packet_id: 0, message });
            }
            // There is no session just now, and at QoS -1 nobody waits for an answer.
            _ => return Err(MqttSnFault::Unexpected(PacketType::Publish)),
        }
        Ok(())
    }

    /// Publishes what was made before the session was there.
    pub(super) fn publish_stamped(&self, message: &Message, now: Instant, out: &mut Outbox) {
        let head = MessageHead { publisher: self.publisher, received_at: now, ..*message.head() };
        out.request(Request::Publish { token: Token::NONE, packet_id: 0, message: message.with_head(head) });
    }

    /// The publication; `None` when its topic id means nothing here.
    fn message(&self, publish: &Publish<'_>, qos: Qos, now: Instant, out: &mut Outbox) -> Option<Message> {
        let short;
        let name = match publish.topic {
            TopicRef::Normal(id) => self.registry.as_ref()?.name(id)?,
            TopicRef::Predefined(id) => self.config.predefined.name(self.client_id.as_deref(), id)?,
            TopicRef::Short(bytes) => {
                short = bytes;
                short_name(&short).ok()?
            }
        };
        let head = MessageHead {
            qos,
            retain: publish.retain,
            publisher: self.publisher,
            received_at: now,
            expires_at: Instant::NEVER,
        };
        // The end of the wire bytes serves as scratch, so that no other buffer is needed.
        let wire = out.wire();
        let start = wire.len();
        wire.extend_from_slice(name.as_bytes());
        wire.extend_from_slice(publish.payload);
        let topic = 0..name.len();
        let message = Message::from_body(head, &wire[start..], topic.clone(), topic.end..topic.end, topic.end);
        wire.truncate(start);
        Some(message)
    }

    pub(super) fn published(&mut self, token: Token, outcome: PublishOutcome, out: &mut Outbox) {
        let Ok(id) = u16::try_from(token.0) else { return };
        let code = outcome_code(outcome);
        let Some(flow) = &mut self.flow else { return };
        let Some(message) = flow.inbound.find(id).filter(|message| message.state.is_asked()) else { return };
        let topic_id = message.topic_id;
        if message.state == Received::AskedExactly && !code.is_refusal() {
            message.state = Received::Taken;
            self.send(&Packet::Pubrec(id), out);
        } else {
            flow.inbound.remove(id);
            self.send_puback(topic_id, id, code, out);
        }
    }

    /// The exchange is over when the gateway has kept that, where it wants to.
    pub(super) fn on_pubrel(&mut self, id: u16, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let kept = self.has(KEPT);
        let known = self.flow.as_mut().and_then(|flow| flow.inbound.find(id));
        if let Some(message) = known {
            match message.state {
                Received::Taken if kept => {
                    message.state = Received::Releasing;
                    out.request(Request::Released { token: Token(RELEASED | u32::from(id)), packet_id: id });
                    return Ok(());
                }
                Received::Taken => {
                    message.state = Received::Complete;
                    message.at = now;
                }
                // PUBCOMP answers both.
                Received::Releasing => return Ok(()),
                Received::Complete => {}
                // No PUBREC went out that this could answer.
                Received::AskedOnce | Received::AskedExactly => {
                    return Err(MqttSnFault::Unexpected(PacketType::Pubrel));
                }
            }
        }
        self.send(&Packet::Pubcomp(id), out);
        Ok(())
    }

    /// The gateway has kept that an exchange is over.
    pub(super) fn release_is_kept(&mut self, id: u16, now: Instant, out: &mut Outbox) {
        let known = self.flow.as_mut().and_then(|flow| flow.inbound.find(id));
        let Some(message) = known.filter(|message| message.state == Received::Releasing) else { return };
        message.state = Received::Complete;
        message.at = now;
        self.send(&Packet::Pubcomp(id), out);
    }

    fn send_puback(&self, topic_id: u16, message_id: u16, code: ReturnCode, out: &mut Outbox) {
        self.send(&Packet::Puback(Puback { topic_id, message_id, code }), out);
    }
}

/// The client will not end this exchange. A gateway that keeps it would take the next message with its id for the same.
fn give_up(kept: bool, id: u16, out: &mut Outbox) {
    if kept {
        out.request(Request::Released { token: Token::NONE, packet_id: id });
    }
}

/// A topic name of two bytes.
pub(super) fn short_name(bytes: &[u8; 2]) -> Result<&str, TopicError> {
    let name = std::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?;
    Topic::parse(name, CHECKED).map(Topic::as_str)
}
