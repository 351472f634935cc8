use thingway_contract::{Delivered, Delivery, DropCause, Instant, Outbox, Qos, Request};

use super::{Connection, Phase, TokenKind};
use crate::{
    MqttFault, PropertyId, Reason, Version,
    alias::{AliasUse, AliasesOut},
    codec::varint,
    inflight::{Inflight, Stage},
    packet::{Ack, PacketType, Publish},
};

/// How messages are written to this client.
#[derive(Debug)]
pub(super) struct Downstream {
    aliases: Option<Box<AliasesOut>>,
    /// Most bytes of a packet that the client takes.
    pub(super) packet_bytes_max: u32,
    /// Most topic aliases to set.
    pub(super) aliases_max: u16,
    pub(super) version: Version,
    /// Reason strings may be sent on any packet [MQTT-3.1.2-29].
    pub(super) problem_information: bool,
}

impl Default for Downstream {
    fn default() -> Self {
        Self {
            aliases: None,
            packet_bytes_max: u32::MAX,
            aliases_max: 0,
            version: Version::V311,
            problem_information: true,
        }
    }
}

impl Connection {
    pub(super) fn send_delivery(&mut self, delivery: Delivery, now: Instant, out: &mut Outbox) -> Delivered {
        if self.phase != Phase::Connected {
            return Delivered::Later(delivery);
        }
        if delivery.message.is_expired(now) {
            return Delivered::Dropped(DropCause::Expired);
        }
        if delivery.qos == Qos::AtMostOnce {
            return match self.downstream.publish(&delivery, 0, false, now, out) {
                Ok(()) => Delivered::Sent,
                Err(cause) => Delivered::Dropped(cause),
            };
        }
        let (window, len_max) = (self.window, self.config.inflight_max);
        let inflight = self.inflight.get_or_insert_with(|| Box::new(Inflight::new(window, len_max)));
        let Some(id) = inflight.next_id(delivery.packet_id) else {
            return Delivered::Later(delivery);
        };
        match self.downstream.publish(&delivery, id, false, now, out) {
            Ok(()) => {
                inflight.insert(id, delivery);
                Delivered::Sent
            }
            Err(cause) => Delivered::Dropped(cause),
        }
    }

    /// After a reconnect: releases first what the client has taken over, then sends again what it has not acknowledged
    /// [MQTT-4.4.0-1].
    pub(super) fn resume(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(inflight) = &self.inflight {
            for id in inflight.released() {
                self.acknowledge(PacketType::Pubrel, id, Reason::Success, out);
            }
        }
        self.send_unsent(now, out);
    }

    /// Sends again as much as the window allows, in the original order [MQTT-4.6.0-1].
    fn send_unsent(&mut self, now: Instant, out: &mut Outbox) {
        let Some(inflight) = &mut self.inflight else { return };
        while let Some((id, delivery)) = inflight.unsent() {
            // A message that is larger than the client takes now counts as delivered [MQTT-3.1.2-25].
            match self.downstream.publish(delivery, id, true, now, out) {
                Ok(()) => inflight.mark_sent(id),
                Err(_) if inflight.remove(id) => out.request(Request::Acknowledged { packet_id: id }),
                Err(_) => {}
            }
        }
    }

    pub(super) fn on_puback(&mut self, ack: Ack<'_>, now: Instant, out: &mut Outbox) -> Result<(), MqttFault> {
        let id = ack.packet_id;
        match self.outbound_stage(id) {
            Some((_, Qos::AtLeastOnce)) => {
                self.tell_acknowledged(id, out);
                self.finish(id, now, out);
            }
            Some(_) => return Err(MqttFault::AckOutOfOrder(PacketType::Puback)),
            // Of an earlier connection, or sent twice.
            None => {}
        }
        Ok(())
    }

    pub(super) fn on_pubrec(
        &mut self,
        version: Version,
        ack: Ack<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MqttFault> {
        let id = ack.packet_id;
        match self.outbound_stage(id) {
            // It has taken the message over, and nothing takes that back; PUBREL is on its way.
            Some((Stage::Received, _)) => {}
            Some((_, Qos::ExactlyOnce)) if ack.reason.is_failure() => self.finish(id, now, out),
            // PUBREL was sent in its turn; this one is sent again.
            Some((Stage::Released { .. }, _)) => self.acknowledge(PacketType::Pubrel, id, Reason::Success, out),
            Some((_, Qos::ExactlyOnce)) => self.take_over(id, out),
            Some(_) => return Err(MqttFault::AckOutOfOrder(PacketType::Pubrec)),
            None if ack.reason.is_failure() => {}
            // There is no message here whose turn it could be, so it waits for nothing.
            None => {
                let reason = if version.has_properties() { Reason::PacketIdentifierNotFound } else { Reason::Success };
                self.acknowledge(PacketType::Pubrel, id, reason, out);
            }
        }
        Ok(())
    }

    /// QoS 2: the client has the message. It is released when the gateway has kept that, where it wants to, and not before
    /// those that the client took over earlier [MQTT-4.6.0-4].
    fn take_over(&mut self, id: u16, out: &mut Outbox) {
        self.tell_acknowledged(id, out);
        let Some(inflight) = &mut self.inflight else { return };
        if inflight.is_kept(id) {
            inflight.receive(id);
            self.await_reply();
            out.request(Request::Received { token: TokenKind::Received.token(id), packet_id: id });
        } else if inflight.has_received() && self.unanswered != 0 {
            inflight.receive(id);
            self.hold(PacketType::Pubrel, id, Reason::Success);
        } else {
            inflight.release(id);
            self.acknowledge(PacketType::Pubrel, id, Reason::Success, out);
        }
    }

    pub(super) fn on_pubcomp(&mut self, ack: Ack<'_>, now: Instant, out: &mut Outbox) -> Result<(), MqttFault> {
        let id = ack.packet_id;
        match self.outbound_stage(id) {
            Some((Stage::Released { .. }, _)) => self.finish(id, now, out),
            Some(_) => return Err(MqttFault::AckOutOfOrder(PacketType::Pubcomp)),
            None => {}
        }
        Ok(())
    }

    fn outbound_stage(&self, id: u16) -> Option<(Stage, Qos)> {
        self.inflight.as_ref()?.stage(id)
    }

    /// The client has this message.
    fn tell_acknowledged(&self, id: u16, out: &mut Outbox) {
        if out.is_watched()
            && let Some(message) = self.inflight.as_ref().and_then(|inflight| inflight.message(id))
        {
            out.acknowledged(message.clone());
        }
    }

    fn finish(&mut self, id: u16, now: Instant, out: &mut Outbox) {
        if self.inflight.as_mut().is_some_and(|inflight| inflight.remove(id)) {
            out.request(Request::Acknowledged { packet_id: id });
        }
        self.send_unsent(now, out);
    }
}

impl Downstream {
    /// Writes a PUBLISH, or tells why it will never be written.
    fn publish(
        &mut self,
        delivery: &Delivery,
        id: u16,
        duplicate: bool,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), DropCause> {
        if self.version.has_properties() {
            return self.publish_v5(delivery, id, duplicate, now, out);
        }
        let message = &delivery.message;
        let topic = delivery.topic_bytes();
        let payload_bytes = message.payload().len();
        let id_bytes = if delivery.qos.is_acknowledged() { 2 } else { 0 };
        let body_bytes = 2 + topic.len() + id_bytes + payload_bytes;
        let head_bytes = self.check_size(body_bytes)? - payload_bytes;
        begin(delivery, duplicate, body_bytes, head_bytes, payload_bytes, out);
        put_topic(topic, delivery.qos, id, out.wire());
        finish(delivery, out);
        Ok(())
    }

    fn publish_v5(
        &mut self,
        delivery: &Delivery,
        id: u16,
        duplicate: bool,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), DropCause> {
        let message = &delivery.message;
        let full_topic = delivery.topic_bytes();
        let payload_bytes = message.payload().len();
        let id_bytes = if delivery.qos.is_acknowledged() { 2 } else { 0 };
        let own = message.properties().as_bytes();
        let expires_at = message.head().expires_at;
        let mut property_bytes = own.len() + if expires_at.is_never() { 0 } else { 5 };
        for subscription_id in subscription_ids(delivery) {
            property_bytes += 1 + varint::len(subscription_id);
        }
        let mut alias_use = match &self.aliases {
            Some(aliases) => aliases.choose(full_topic, self.aliases_max),
            None => AliasesOut::choose_first(full_topic, self.aliases_max),
        };
        let body_bytes = |alias_use: AliasUse| {
            let (topic_bytes, alias_bytes) = match alias_use {
                AliasUse::Topic => (full_topic.len(), 0),
                AliasUse::Set(_) => (full_topic.len(), 3),
                AliasUse::Alias(_) => (0, 3),
            };
            let property_bytes = property_bytes + alias_bytes;
            2 + topic_bytes + id_bytes + varint::len(property_bytes as u32) + property_bytes + payload_bytes
        };
        let mut size = self.check_size(body_bytes(alias_use));
        if size.is_err() && matches!(alias_use, AliasUse::Set(_)) {
            alias_use = AliasUse::Topic;
            size = self.check_size(body_bytes(alias_use));
        }
        let head_bytes = size? - payload_bytes;

        begin(delivery, duplicate, body_bytes(alias_use), head_bytes, payload_bytes, out);
        let wire = out.wire();
        let (topic, alias) = match alias_use {
            AliasUse::Topic => (full_topic, None),
            AliasUse::Set(alias) => {
                self.aliases.get_or_insert_default().set(full_topic, alias);
                (full_topic, Some(alias))
            }
            AliasUse::Alias(alias) => (&[][..], Some(alias)),
        };
        put_topic(topic, delivery.qos, id, wire);
        varint::put(wire, (property_bytes + if alias.is_some() { 3 } else { 0 }) as u32);
        if !expires_at.is_never() {
            wire.push(PropertyId::MessageExpiryInterval as u8);
            wire.extend_from_slice(&remaining_secs(expires_at, now).to_be_bytes());
        }
        if let Some(alias) = alias {
            wire.push(PropertyId::TopicAlias as u8);
            wire.extend_from_slice(&alias.to_be_bytes());
        }
        for subscription_id in subscription_ids(delivery) {
            wire.push(PropertyId::SubscriptionIdentifier as u8);
            varint::put(wire, subscription_id);
        }
        wire.extend_from_slice(own);
        finish(delivery, out);
        Ok(())
    }

    /// The size of the whole packet, if the client takes it [MQTT-3.1.2-24].
    fn check_size(&self, body_bytes: usize) -> Result<usize, DropCause> {
        let body = u32::try_from(body_bytes).ok().filter(|&b| b <= varint::MAX).ok_or(DropCause::TooLarge)?;
        let total = 1 + varint::len(body) + body_bytes;
        if total > self.packet_bytes_max as usize { Err(DropCause::TooLarge) } else { Ok(total) }
    }
}

fn begin(
    delivery: &Delivery,
    duplicate: bool,
    body_bytes: usize,
    head_bytes: usize,
    payload_bytes: usize,
    out: &mut Outbox,
) {
    let copied = if payload_bytes < Outbox::SPLICE_BYTES_MIN { payload_bytes } else { 0 };
    let wire = out.wire();
    wire.reserve(head_bytes + copied);
    wire.push(Publish::first_byte(duplicate, delivery.qos, delivery.retain));
    varint::put(wire, body_bytes as u32);
}

fn put_topic(topic: &[u8], qos: Qos, id: u16, wire: &mut Vec<u8>) {
    wire.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    wire.extend_from_slice(topic);
    if qos.is_acknowledged() {
        wire.extend_from_slice(&id.to_be_bytes());
    }
}

fn finish(delivery: &Delivery, out: &mut Outbox) {
    out.payload(&delivery.message);
    out.count_sent(PacketType::Publish as u8);
}

fn subscription_ids(delivery: &Delivery) -> impl Iterator<Item = u32> {
    let further = delivery.rare.iter().flat_map(|rare| rare.further_subscription_ids.iter().copied());
    std::iter::once(delivery.subscription_id).chain(further).filter(|&id| id != 0)
}

/// What is left of the message expiry interval [MQTT-3.3.2-6], rounded up. A message that is sent again after it
/// expired was begun to be delivered in time, so it is not held back; it has one second left.
fn remaining_secs(expires_at: Instant, now: Instant) -> u32 {
    let millis = expires_at.since(now).as_millis();
    u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}
