use std::{collections::VecDeque, time::Duration};

use smallvec::SmallVec;
use thingway_contract::{Delivered, Delivery, DropCause, Instant, Outbox, Request, Unacknowledged, levels};

use super::{Conversation, Step, answer::UNVALIDATED_BYTES};
use crate::{
    Amplification, CoapFault, NotifyType,
    blockwise::{Block, Body, Download, exponent_for},
    codec::{Code, Kind, Packet, option},
    message::UNTAGGED,
    observe::{Observation, RECORD, next_sequence, wire_sequence},
    resources::{TopicConfig, age_secs, entity_tag, format_of},
};

/// Messages on their way to observers. Where RFC 7641, section 4.5.2, lets a newer state take the place of one that is not acknowledged, all are sent here,
/// one after the other: they are messages, and each is owed its quality of service. A message that several observations want, as of overlapping filters, goes to one after the other.
///
/// A delivery with a packet identifier is in the queue or unacknowledged until no observation waits for it any more; then the gateway is told. Here
/// an identifier of 0 says that it need not be.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    /// At most one that came from the gateway, and behind a take-over those that were left unacknowledged.
    queue: VecDeque<Spread>,
    /// Sent in confirmable messages.
    unacknowledged: SmallVec<[Sent; 1]>,
}

#[derive(Debug)]
struct Spread {
    delivery: Delivery,
    /// Serial numbers of the observations that still want it.
    targets: SmallVec<[u32; 4]>,
}

#[derive(Debug)]
struct Sent {
    /// The observation's serial number.
    serial: u32,
    /// The message id.
    id: u16,
    delivery: Delivery,
}

impl Notifier {
    /// True while an observation waits for the delivery with this packet identifier.
    fn holds(&self, packet_id: u16) -> bool {
        let queued = self.queue.iter().map(|spread| &spread.delivery);
        let mut all = queued.chain(self.unacknowledged.iter().map(|sent| &sent.delivery));
        all.any(|delivery| delivery.packet_id == packet_id)
    }

    /// Messages that were sent or are about to be, in order, and that no observer has acknowledged.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = (u16, &Delivery)> {
        let sent = self.unacknowledged.iter().map(|sent| (sent.id, &sent.delivery));
        sent.chain(self.queue.iter().map(|spread| (0, &spread.delivery)))
    }

    /// True while an observation waits for this message, or has not acknowledged it.
    fn owes(&self, delivery: &Delivery) -> bool {
        let queued = self.queue.iter().filter(|spread| !spread.targets.is_empty()).map(|spread| &spread.delivery);
        queued.chain(self.unacknowledged.iter().map(|sent| &sent.delivery)).any(|other| is_same(other, delivery))
    }

    /// Takes out what was sent and fits.
    fn take_sent(&mut self, fits: impl Fn(&Sent) -> bool) -> SmallVec<[Delivery; 2]> {
        let mut taken = SmallVec::new();
        while let Some(at) = self.unacknowledged.iter().position(&fits) {
            taken.push(self.unacknowledged.remove(at).delivery);
        }
        taken
    }
}

fn ids_of(delivery: &Delivery) -> SmallVec<[u32; 4]> {
    let mut ids = SmallVec::<[u32; 4]>::from_slice(&[delivery.subscription_id]);
    if let Some(rare) = &delivery.rare {
        ids.extend_from_slice(&rare.further_subscription_ids);
    }
    ids
}

/// True for what is one message to the session, though it waits for several observations.
fn is_same(one: &Delivery, other: &Delivery) -> bool {
    one.packet_id == other.packet_id && (one.packet_id != 0 || one.message.is_same(&other.message))
}

impl Conversation {
    pub(super) fn on_delivery(&mut self, mut delivery: Delivery, now: Instant, out: &mut Outbox) -> Delivered {
        if self.closed {
            return Delivered::Later(delivery);
        }
        if delivery.message.is_expired(now) {
            return Delivered::Dropped(DropCause::Expired);
        }
        // What need not be acknowledged is over for the gateway as soon as it is sent.
        let packet_id = if delivery.qos.is_acknowledged() { delivery.packet_id } else { 0 };
        let targets = self.targets(&delivery);
        if targets.is_empty() {
            // It is a topic's configuration, or the last observation of it ended while it was on its way.
            self.on_record(&delivery, now, out);
            self.finish(packet_id, out);
            return Delivered::Sent;
        }
        let is_waiting = self.notifier.as_ref().is_some_and(|notifier| !notifier.queue.is_empty());
        let is_held = targets.iter().any(|serial| self.is_held(*serial, now));
        if is_waiting || is_held || !self.endpoint.is_free(&self.config.transmission) {
            return Delivered::Later(delivery);
        }
        self.on_record(&delivery, now, out);
        delivery.packet_id = packet_id;
        if let [only] = targets[..] {
            self.notify(only, delivery, now, out);
            self.finish(packet_id, out);
        } else {
            self.notifier.get_or_insert_default().queue.push_back(Spread { delivery, targets });
            self.pump(now, out);
        }
        Delivered::Sent
    }

    fn targets(&self, delivery: &Delivery) -> SmallVec<[u32; 4]> {
        let topic = delivery.name();
        self.observations
            .as_ref()
            .map(|observations| observations.targets(&ids_of(delivery), topic))
            .unwrap_or_default()
    }

    /// Tells the gateway that the exchange of a delivery is over, unless an observation waits for it.
    fn finish(&self, packet_id: u16, out: &mut Outbox) {
        if packet_id != 0 && !self.notifier.as_ref().is_some_and(|notifier| notifier.holds(packet_id)) {
            out.request(Request::Acknowledged { packet_id });
        }
    }

    /// All observations that a message was for have it, as far as that can be known: one that was sent without asking for an acknowledgement will not be
    /// acknowledged later.
    fn tell_acknowledged(&self, delivery: &Delivery, out: &mut Outbox) {
        let is_owed = || self.notifier.as_ref().is_some_and(|notifier| notifier.owes(delivery));
        if out.is_watched() && delivery.qos.is_acknowledged() && !is_owed() {
            out.acknowledged(delivery.message.clone());
        }
    }

    /// The configuration of a topic that is observed has changed, or is deleted: then so are its data.
    fn on_record(&mut self, delivery: &Delivery, now: Instant, out: &mut Outbox) {
        let ids = ids_of(delivery);
        if ids.iter().all(|id| id & RECORD == 0) || self.closed {
            return;
        }
        let config = TopicConfig::parse(delivery.message.payload()).ok();
        let observations = self.observations.iter().flat_map(|observations| observations.iter());
        let concerned = observations.filter(|one| one.ends_when_empty && ids.contains(&(one.options.id | RECORD)));
        let topic = delivery.name();
        let concerned = concerned.filter(|one| self.record_of(&one.filter).is_some_and(|record| record.matches(topic)));
        let concerned: SmallVec<[u32; 4]> = concerned.map(|observation| observation.serial).collect();
        for serial in concerned {
            let Some(config) = &config else {
                self.end_observation(serial, Code::NOT_FOUND, now, out);
                continue;
            };
            let check_secs = config.observer_check_secs().unwrap_or(self.config.confirm_secs);
            if let Some(observations) = &mut self.observations {
                observations.set_terms(serial, check_secs.min(86_400), delivery.message.head().expires_at);
            }
        }
    }

    /// Ends the observations of topics that have expired.
    pub(super) fn end_expired(&mut self, now: Instant, out: &mut Outbox) {
        let expired = |one: &&Observation| one.ends_at <= now;
        while let Some(serial) =
            self.observations.as_ref().and_then(|all| all.iter().find(expired)).map(|one| one.serial)
        {
            self.end_observation(serial, Code::NOT_FOUND, now, out);
        }
    }

    /// True while the observation's registration has no answer yet, or the rest of its last large notification is being fetched.
    fn is_held(&self, serial: u32, now: Instant) -> bool {
        let mut pending = self.pending.iter().flat_map(|pending| &pending.list);
        if pending.any(|pending| matches!(pending.step, Step::FirstRead { serial: other, .. } if other == serial)) {
            return true;
        }
        let Some(transfers) = &self.transfers else { return false };
        let observation = self.observations.iter().flat_map(|all| all.iter()).find(|other| other.serial == serial);
        observation.and_then(|observation| transfers.held_until(Some(observation.key))).is_some_and(|until| until > now)
    }

    /// Sends what can be sent now.
    pub(super) fn pump(&mut self, now: Instant, out: &mut Outbox) {
        if self.closed {
            return;
        }
        while let Some(spread) = self.notifier.as_mut().and_then(|notifier| notifier.queue.front_mut()) {
            if spread.targets.is_empty() || spread.delivery.message.is_expired(now) {
                let over = self.notifier.as_mut().and_then(|notifier| notifier.queue.pop_front());
                self.finish(over.map_or(0, |spread| spread.delivery.packet_id), out);
                continue;
            }
            let serial = spread.targets[0];
            let delivery = spread.delivery.clone();
            if !self.endpoint.is_free(&self.config.transmission) || self.is_held(serial, now) {
                return;
            }
            if let Some(spread) = self.notifier.as_mut().and_then(|notifier| notifier.queue.front_mut()) {
                spread.targets.remove(0);
            }
            self.notify(serial, delivery, now, out);
        }
        self.notifier.take_if(|notifier| notifier.unacknowledged.is_empty());
    }

    fn notify(&mut self, serial: u32, delivery: Delivery, now: Instant, out: &mut Outbox) {
        let Some(observation) = self.observations.as_mut().and_then(|all| all.get_mut(serial)) else { return };
        let message = &delivery.message;
        let format = format_of(message);
        if observation.ends_when_empty && message.payload().is_empty() {
            return self.end_observation(serial, Code::NOT_FOUND, now, out);
        }
        if observation.accept.is_some_and(|accept| format.is_some_and(|format| format != accept)) {
            // The one format that the observer takes is not to be had any more (RFC 7641, section 4.2).
            return self.end_observation(serial, Code::NOT_ACCEPTABLE, now, out);
        }
        observation.sequence = next_sequence(observation.sequence, self.config.unix_ms(now));
        let wanted = match self.config.notify_type {
            NotifyType::Qos => delivery.qos.is_acknowledged(),
            NotifyType::Confirmable => true,
            NotifyType::NonConfirmable => false,
        };
        // Until somebody there has acknowledged something, nobody may have asked for this (RFC 7641, section 7).
        let confirmable = wanted
            || !(observation.proven && self.validated)
            || observation.must_confirm(self.config.unconfirmed_max, now);
        let mut packet = Packet::new(Kind::NonConfirmable, Code::CONTENT);
        packet.set_token(&observation.token);
        packet.push_uint(option::OBSERVE, wire_sequence(observation.sequence));
        if let Some(format) = format {
            packet.push_uint(option::CONTENT_FORMAT, format.into());
        }
        let max_age_secs = age_secs(message, observation.ends_at, now);
        if let Some(secs) = max_age_secs {
            packet.push_uint(option::MAX_AGE, secs);
        }
        if observation.filter.has_wildcard() && levels(message.topic()).all(|level| level.len() <= 255) {
            // Which of the topics it is, as the path of the resource that could be asked for it. Elective, so observers may do without.
            packet.push(option::LOCATION_PATH, b"ps");
            for level in levels(message.topic()) {
                packet.push(option::LOCATION_PATH, level.as_bytes());
            }
        }
        let is_bounded = !self.validated && self.config.amplification != Amplification::Unbounded;
        let key = observation.key;
        let mut exponent = observation.exponent.min(exponent_for(self.config.block_bytes_max));
        let payload = message.payload();
        let head_bytes = packet.to_bytes().len() + 1;
        let needs_less = is_bounded && head_bytes + payload.len().min(16 << exponent) > UNVALIDATED_BYTES;
        if needs_less {
            // Two or three bytes of Block2, nine of ETag. No Echo: it must not be in what is sent again (RFC 9175, section 2.4, item 3), and the
            // acknowledgement proves as much.
            exponent = exponent.min(exponent_for(UNVALIDATED_BYTES.saturating_sub(head_bytes + 12)));
        }
        let first = Block { number: 0, more: false, exponent };
        if let Some((block, part)) = first.slice(payload) {
            if block.more {
                let etag = entity_tag(format, payload);
                packet.push(option::ETAG, &etag);
                packet.push_uint(option::BLOCK2, block.value());
                let expires = now + Duration::from_millis(self.config.block_ms.into());
                let body = Body::Message(message.clone());
                let download = Download { key, body, etag, format, max_age_secs, expires, holds: true };
                self.transfers.get_or_insert_default().keep(download, self.config.downloads_max);
            }
            packet.set_payload(part.to_vec());
        }
        if confirmable {
            let id = self.endpoint.send_confirmable(&mut packet, serial, &self.config.transmission, now, out);
            self.notifier.get_or_insert_default().unacknowledged.push(Sent { serial, id, delivery });
        } else {
            let id = self.endpoint.send(&mut packet, &self.config.transmission, now, out);
            if let Some(observation) = self.observations.as_mut().and_then(|all| all.get_mut(serial)) {
                observation.last_id = Some(id);
                observation.unconfirmed += 1;
            }
            self.tell_acknowledged(&delivery, out);
        }
    }

    /// Ends an observation with a last notification that says why (RFC 7641, section 4.2).
    fn end_observation(&mut self, serial: u32, code: Code, now: Instant, out: &mut Outbox) {
        let token = self.observations.as_mut().and_then(|all| all.get_mut(serial)).map(|one| one.token.clone());
        self.forget_observation(serial, out);
        if let Some(token) = token {
            self.say_last(&token, code, true, now, out);
        }
    }

    fn say_last(&mut self, token: &[u8], code: Code, confirmable: bool, now: Instant, out: &mut Outbox) {
        let mut packet = Packet::new(Kind::NonConfirmable, code);
        packet.set_token(token);
        if confirmable && self.validated {
            self.endpoint.send_confirmable(&mut packet, UNTAGGED, &self.config.transmission, now, out);
        } else {
            self.endpoint.send(&mut packet, &self.config.transmission, now, out);
        }
    }

    /// Ends all observations, whose subscriptions go with the session, as do messages that are not acknowledged.
    pub(super) fn end_observations(&mut self, code: Code, now: Instant, out: &mut Outbox) {
        let all = self.observations.as_mut().map(|observations| observations.take_all()).unwrap_or_default();
        for observation in all {
            self.endpoint.forget(observation.serial);
            self.say_last(&observation.token, code, false, now, out);
        }
        self.observations = None;
    }

    pub(super) fn on_acknowledged(&mut self, tag: u32, now: Instant, out: &mut Outbox) {
        let Self { notifier, endpoint, .. } = self;
        let taken = notifier.as_mut().map(|notifier| {
            // Of several that are under way to an observation one was acknowledged.
            notifier.take_sent(|sent| sent.serial == tag && !endpoint.is_unacknowledged(sent.id))
        });
        for delivery in taken.unwrap_or_default() {
            self.tell_acknowledged(&delivery, out);
            self.finish(delivery.packet_id, out);
        }
        if let Some(observation) = self.observations.as_mut().and_then(|all| all.get_mut(tag)) {
            observation.confirmed(now);
        }
    }

    /// The observer does not know what the notification is about (RFC 7641, section 3.6).
    pub(super) fn on_reset(&mut self, id: u16, tag: Option<u32>, out: &mut Outbox) {
        let serial = tag.or_else(|| self.observations.as_ref().and_then(|all| all.find_message(id)));
        if let Some(serial) = serial {
            self.forget_observation(serial, out);
        }
    }

    /// A notification or a ping was never acknowledged: nobody is there. That ends a connection, and all observations of a peer without one, for the others would
    /// come to the same.
    pub(super) fn on_silence(&mut self, out: &mut Outbox) -> Result<(), CoapFault> {
        if self.is_connected() {
            return Err(CoapFault::PeerGone);
        }
        while let Some(serial) = self.observations.as_ref().and_then(|all| all.iter().next()).map(|one| one.serial) {
            self.forget_observation(serial, out);
        }
        Ok(())
    }

    /// Forgets what is on its way to an observation.
    pub(super) fn drop_notifications(&mut self, serial: u32, out: &mut Outbox) {
        self.endpoint.forget(serial);
        let Some(notifier) = &mut self.notifier else { return };
        let taken = notifier.take_sent(|sent| sent.serial == serial);
        for spread in &mut notifier.queue {
            spread.targets.retain(|other| *other != serial);
        }
        for delivery in taken {
            self.finish(delivery.packet_id, out);
        }
    }

    /// What was not acknowledged, each message once: under the packet identifier that it came with, or another.
    pub(super) fn take_unacknowledged(&mut self) -> Vec<Unacknowledged> {
        let Some(notifier) = self.notifier.take() else { return Vec::new() };
        let mut left: Vec<Delivery> = Vec::new();
        let sent = notifier.unacknowledged.into_iter().map(|sent| sent.delivery);
        for delivery in sent.chain(notifier.queue.into_iter().map(|spread| spread.delivery)) {
            let is_there = left.iter().any(|other| is_same(other, &delivery));
            if (delivery.qos.is_acknowledged() || delivery.packet_id != 0) && !is_there {
                left.push(delivery);
            }
        }
        let chosen: SmallVec<[u16; 4]> = left.iter().map(|delivery| delivery.packet_id).collect();
        let mut free = (1..=u16::MAX).filter(|id| !chosen.contains(id));
        left.into_iter()
            .filter_map(|delivery| {
                let packet_id = if delivery.packet_id != 0 { delivery.packet_id } else { free.next()? };
                Some(Unacknowledged { packet_id, delivery: Some(delivery) })
            })
            .collect()
    }

    /// Sends again, first of all, what an earlier conversation left unacknowledged. What nobody observes any more is over.
    pub(super) fn send_again(&mut self, left: Unacknowledged, out: &mut Outbox) {
        let Some(mut delivery) = left.delivery else { return self.finish(left.packet_id, out) };
        if delivery.packet_id != left.packet_id {
            delivery.packet_id = 0;
        }
        let targets = self.targets(&delivery);
        if targets.is_empty() {
            return self.finish(delivery.packet_id, out);
        }
        self.notifier.get_or_insert_default().queue.push_back(Spread { delivery, targets });
    }
}
