use std::collections::HashMap;

use thingway_contract::{
    Instant, Message, MessageHead, Outbox, PublishOutcome, Qos, Request, Token, Topic, TopicError,
};

use super::{Connection, TokenKind, held::HeldAcks};
use crate::{
    MqttFault, PacketError, PropertyId, Reason, Version,
    fault::outcome_reason,
    packet::{Ack, PacketType, Publish, PublishLayout, Sender},
};

/// What is under way from the client.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// QoS 2 messages between PUBLISH and the end of their release, by packet identifier.
    ///
    /// The client chooses the identifiers, so this is a keyed hash map, and it holds no more than the receive maximum, or
    /// before 5.0 as many as there are identifiers.
    ids: HashMap<u16, InboundId>,
    pub(super) held: HeldAcks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InboundId {
    stage: InboundStage,
    /// It counts as unacknowledged on this connection.
    counted: bool,
}

/// How far the exchange of an incoming QoS 2 message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InboundStage {
    /// The gateway has yet to say what became of the message.
    Asked,
    /// PUBREC was sent.
    Received,
    /// PUBREC was sent, the message came again, and PUBREC is to be sent again when it is its turn.
    Repeated,
    /// PUBREL came, and PUBCOMP waits for the gateway.
    Releasing,
}

impl Inbound {
    pub(super) fn restore(&mut self, ids: &[u16]) {
        let known = InboundId { stage: InboundStage::Received, counted: false };
        self.ids.extend(ids.iter().filter(|&&id| id != 0).map(|&id| (id, known)));
    }

    /// Messages of QoS 2 that are not over.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// In ascending order.
    ///
    /// A message that the gateway has not answered for was not promised to the client, which sends it again. In a kept
    /// session it is left out: the gateway was told the identifier with the message, knows from it what it has taken, and
    /// says so when it is safe. PUBREC for an identifier found here would go out at once, perhaps before that. In any
    /// other session the message counts as published even if its answer comes too late, for nobody but this machine knows
    /// the identifier, and exactly once means not twice.
    pub(super) fn park(&self, session_kept: bool) -> Vec<u16> {
        let is_left = |state: &InboundId| !session_kept || state.stage != InboundStage::Asked;
        let mut ids: Vec<u16> = self.ids.iter().filter(|(_, state)| is_left(state)).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}

impl Connection {
    pub(super) fn on_publish(
        &mut self,
        version: Version,
        first: u8,
        body: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MqttFault> {
        let publish = Publish::decode_topic_unchecked(version, Sender::Client, first, body)?;
        if publish.qos > self.config.qos_max {
            return Err(MqttFault::QosNotSupported);
        }
        if publish.retain && !self.config.retain_available {
            return Err(MqttFault::RetainNotSupported);
        }
        let refusal = self.topic_refusal(version, &publish)?;
        let alias = publish.properties.short(PropertyId::TopicAlias);
        if let Some(alias) = alias {
            self.take_alias(alias, &publish, refusal.is_none())?;
        }
        if publish.qos == Qos::ExactlyOnce && self.is_repeated(version, publish.packet_id, out)? {
            return Ok(());
        }
        if publish.qos.is_acknowledged() {
            if version.has_properties() && self.unacknowledged >= self.config.receive_maximum.max(1) {
                return Err(MqttFault::ReceiveMaximumExceeded);
            }
            if let Some(refusal) = refusal.or_else(|| self.content_refusal(version, &publish)) {
                let kind = if publish.qos == Qos::AtLeastOnce { PacketType::Puback } else { PacketType::Pubrec };
                self.refuse_publish(kind, publish.packet_id, refusal, out);
                return Ok(());
            }
        } else if self.is_payload_format_wrong(&publish) {
            return Err(MqttFault::PayloadFormat);
        }

        let token = self.expect_outcome(version, &publish);
        let message = self.message(version, &publish, body, alias, now, out);
        let is_kept = self.kept && publish.qos == Qos::ExactlyOnce;
        out.request(Request::Publish { token, packet_id: if is_kept { publish.packet_id } else { 0 }, message });
        Ok(())
    }

    /// Checks a topic name that is there. One beyond the operator's limits is refused alone where there is an
    /// acknowledgement with a reason.
    fn topic_refusal(&self, version: Version, publish: &Publish<'_>) -> Result<Option<Reason>, MqttFault> {
        if publish.topic.is_empty() {
            return Ok(None);
        }
        match Topic::parse(publish.topic, self.config.topic_limits) {
            Ok(_) => Ok(None),
            Err(error @ (TopicError::TooLong | TopicError::TooManyLevels)) => {
                if version.has_properties() && publish.qos.is_acknowledged() {
                    Ok(Some(Reason::TopicNameInvalid))
                } else {
                    Err(MqttFault::TopicBeyondLimits(error))
                }
            }
            Err(error) => Err(MqttFault::Packet(PacketError::Topic(error))),
        }
    }

    /// Sets an alias, or makes sure that it was set.
    fn take_alias(&mut self, alias: u16, publish: &Publish<'_>, acceptable: bool) -> Result<(), MqttFault> {
        if alias > self.config.topic_alias_in_max {
            return Err(MqttFault::TopicAliasAboveMaximum(alias));
        }
        if publish.topic.is_empty() {
            return match self.aliases.as_ref().and_then(|aliases| aliases.topic(alias)) {
                Some(_) => Ok(()),
                None => Err(MqttFault::TopicAliasUnknown(alias)),
            };
        }
        if acceptable {
            self.aliases.get_or_insert_default().set(alias, publish.topic);
        }
        Ok(())
    }

    /// QoS 2: true for a message that was published before and not yet released; it is acknowledged again and not
    /// published again [MQTT-4.3.3-10].
    fn is_repeated(&mut self, version: Version, id: u16, out: &mut Outbox) -> Result<bool, MqttFault> {
        let Some(state) = self.inbound.as_mut().and_then(|inbound| inbound.ids.get_mut(&id)) else {
            return Ok(false);
        };
        if state.stage == InboundStage::Releasing {
            // Not the message that was released, and its identifier is not free before PUBCOMP [MQTT-2.2.1-3]. From 5.0
            // on it is refused; before, where nothing can be refused, it gets no answer, so that the client still has it.
            return Ok(!version.has_properties());
        }
        if !state.counted {
            if version.has_properties() && self.unacknowledged >= self.config.receive_maximum.max(1) {
                return Err(MqttFault::ReceiveMaximumExceeded);
            }
            state.counted = true;
            self.unacknowledged = self.unacknowledged.saturating_add(1);
        }
        // PUBREC goes out again, or later if the gateway has yet to answer for this message or one that came before this
        // repetition.
        if state.stage == InboundStage::Received {
            if self.unanswered == 0 {
                self.acknowledge(PacketType::Pubrec, id, Reason::Success, out);
            } else {
                state.stage = InboundStage::Repeated;
                self.hold(PacketType::Pubrec, id, Reason::Success);
            }
        }
        Ok(true)
    }

    fn content_refusal(&self, version: Version, publish: &Publish<'_>) -> Option<Reason> {
        if self.is_payload_format_wrong(publish) {
            return Some(Reason::PayloadFormatInvalid);
        }
        let in_use = version.has_properties()
            && self.inbound.as_ref().is_some_and(|inbound| inbound.ids.contains_key(&publish.packet_id));
        in_use.then_some(Reason::PacketIdentifierInUse)
    }

    fn is_payload_format_wrong(&self, publish: &Publish<'_>) -> bool {
        self.config.payload_format_checked
            && publish.properties.flag(PropertyId::PayloadFormatIndicator) == Some(true)
            && std::str::from_utf8(publish.payload).is_err()
    }

    fn expect_outcome(&mut self, version: Version, publish: &Publish<'_>) -> Token {
        let id = publish.packet_id;
        let token = match publish.qos {
            // The outcome matters only where it would end the connection.
            Qos::AtMostOnce if publish.retain && version.has_properties() => TokenKind::Qos0.token(0),
            Qos::AtMostOnce => return Token::NONE,
            Qos::AtLeastOnce => TokenKind::Qos1.token(id),
            Qos::ExactlyOnce => {
                let pending = InboundId { stage: InboundStage::Asked, counted: true };
                self.inbound.get_or_insert_default().ids.insert(id, pending);
                TokenKind::Qos2.token(id)
            }
        };
        if publish.qos.is_acknowledged() {
            self.unacknowledged = self.unacknowledged.saturating_add(1);
        }
        self.await_reply();
        token
    }

    /// The bytes as they came, unless something in them belongs to this connection or is counted down.
    fn message(
        &self,
        version: Version,
        publish: &Publish<'_>,
        body: &[u8],
        alias: Option<u16>,
        now: Instant,
        out: &mut Outbox,
    ) -> Message {
        let expiry_secs = publish.properties.number(PropertyId::MessageExpiryInterval);
        let head = MessageHead {
            qos: publish.qos,
            retain: publish.retain,
            publisher: self.publisher,
            received_at: now,
            expires_at: expiry_secs.map_or(Instant::NEVER, |secs| now.plus_secs(u64::from(secs))),
        };
        if alias.is_none() && expiry_secs.is_none() {
            let PublishLayout { topic, properties, payload } = publish.layout(version);
            return Message::from_body(head, body, topic, properties, payload);
        }
        let topic = match alias.filter(|_| publish.topic.is_empty()) {
            Some(alias) => self.aliases.as_ref().and_then(|aliases| aliases.topic(alias)).unwrap_or_default(),
            None => publish.topic,
        };
        // The end of the wire bytes serves as scratch, so that no other buffer is needed.
        let wire = out.wire();
        let start = wire.len();
        wire.extend_from_slice(topic.as_bytes());
        for (id, _, encoded) in publish.properties.iter_encoded() {
            if !matches!(id, PropertyId::TopicAlias | PropertyId::MessageExpiryInterval) {
                wire.extend_from_slice(encoded);
            }
        }
        let payload = wire.len() - start;
        wire.extend_from_slice(publish.payload);
        let message = Message::from_body(head, &wire[start..], 0..topic.len(), topic.len()..payload, payload);
        wire.truncate(start);
        message
    }

    pub(super) fn published(
        &mut self,
        token: Token,
        outcome: PublishOutcome,
        out: &mut Outbox,
    ) -> Result<(), MqttFault> {
        let Some((kind, id)) = TokenKind::of(token) else {
            return Err(MqttFault::BadReply);
        };
        let is_taken = self.is_taken(outcome);
        if kind == TokenKind::Qos2 && !is_taken {
            self.forget_inbound(id);
        }
        if outcome == PublishOutcome::RetainNotSupported {
            return Err(MqttFault::RetainNotSupported);
        }
        // Without reasons an acknowledgement says that the message was taken; the client must be able to try again.
        let with_reasons = self.version.is_some_and(Version::has_properties);
        if !is_taken && !with_reasons && kind != TokenKind::Qos0 {
            return Err(MqttFault::PublishFailed(outcome));
        }
        let reason = outcome_reason(outcome);
        match kind {
            TokenKind::Qos0 => {}
            TokenKind::Qos1 => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.acknowledge(PacketType::Puback, id, reason, out);
            }
            TokenKind::Qos2 => {
                self.move_inbound(id, InboundStage::Asked, InboundStage::Received);
                self.acknowledge(PacketType::Pubrec, id, reason, out);
            }
            _ => return Err(MqttFault::BadReply),
        }
        Ok(())
    }

    /// An answer that comes after the end. Nothing is written, but what is left of the conversation depends on it.
    pub(super) fn published_too_late(&mut self, token: Token, outcome: PublishOutcome) {
        if let Some((TokenKind::Qos2, id)) = TokenKind::of(token) {
            if self.is_taken(outcome) {
                self.move_inbound(id, InboundStage::Asked, InboundStage::Received);
            } else {
                self.forget_inbound(id);
            }
        }
    }

    /// False when the message is gone and the client is not to believe otherwise. Before 5.0 one that was not allowed is
    /// taken and dropped (MQTT 3.1.1, section 3.3.5).
    fn is_taken(&self, outcome: PublishOutcome) -> bool {
        let with_reasons = self.version.is_some_and(Version::has_properties);
        !outcome_reason(outcome).is_failure() || (!with_reasons && outcome == PublishOutcome::NotAuthorized)
    }

    pub(super) fn on_pubrel(&mut self, version: Version, ack: Ack<'_>, out: &mut Outbox) -> Result<(), MqttFault> {
        let id = ack.packet_id;
        let reason = match self.inbound.as_mut().and_then(|inbound| inbound.ids.get_mut(&id)) {
            // No PUBREC went out that this could answer.
            Some(InboundId { stage: InboundStage::Asked, .. }) => {
                return Err(MqttFault::AckOutOfOrder(PacketType::Pubrel));
            }
            // PUBCOMP answers both.
            Some(InboundId { stage: InboundStage::Releasing, .. }) => return Ok(()),
            Some(state) if self.kept => {
                state.stage = InboundStage::Releasing;
                self.await_reply();
                out.request(Request::Released { token: TokenKind::Released.token(id), packet_id: id });
                return Ok(());
            }
            Some(_) => Reason::Success,
            // PUBCOMP has no order to keep, so it waits for nothing.
            None if version.has_properties() => Reason::PacketIdentifierNotFound,
            None => Reason::Success,
        };
        self.forget_inbound(id);
        self.acknowledge(PacketType::Pubcomp, id, reason, out);
        Ok(())
    }

    pub(super) fn is_releasing(&self, id: u16) -> bool {
        let state = self.inbound.as_ref().and_then(|inbound| inbound.ids.get(&id));
        state.is_some_and(|state| state.stage == InboundStage::Releasing)
    }

    /// From one stage to another. False when it is not in the first.
    pub(super) fn move_inbound(&mut self, id: u16, from: InboundStage, to: InboundStage) -> bool {
        let state = self.inbound.as_mut().and_then(|inbound| inbound.ids.get_mut(&id));
        let Some(state) = state.filter(|state| state.stage == from) else { return false };
        state.stage = to;
        true
    }

    pub(super) fn forget_inbound(&mut self, id: u16) {
        let Some(inbound) = &mut self.inbound else { return };
        if inbound.ids.remove(&id).is_some_and(|state| state.counted) {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
        }
        if inbound.ids.is_empty() && inbound.ids.capacity() > 64 && inbound.held.is_empty() {
            self.inbound = None;
        }
    }
}
