use std::collections::VecDeque;

use thingway_contract::{Delivered, Delivery, DropCause, Instant, Outbox, Qos, Request, Unacknowledged};

use super::{Conversation, KEPT, Phase};
use crate::{
    MqttSnFault, Packet, PacketType,
    codec::frame_bytes,
    packet::{PUBLISH_HEAD_BYTES, Publish, Register, TopicRef, put_publish},
};

/// Messages to the client that are not over yet.
///
/// One exchange is under way at a time, a REGISTER included: section 6.6 has it so for clients, and section 6.10 has the gateway do the same. Those
/// that an earlier conversation left follow before anything new.
///
/// An exchange under an id that the gateway chose is *kept*: the gateway is told how it goes on.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) current: Option<Outgoing>,
    /// A client that comes from another protocol may bring many, and so does a gateway that was killed and does not know which it had sent.
    left: VecDeque<Unacknowledged>,
    /// The one of those left for which the gateway keeps just now that PUBREC came; 0 for none.
    pub(super) receiving: u16,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    /// `None` once the client has taken it over (QoS 2 after PUBREC).
    pub(super) delivery: Option<Delivery>,
    /// When it was sent last.
    pub(super) sent_at: Instant,
    /// The id of what is waited for: REGISTER's, then PUBLISH's.
    pub(super) id: u16,
    /// What the client must be told before PUBLISH.
    pub(super) topic_id: u16,
    /// The message's own id, if it has one already.
    pub(super) message_id: u16,
    pub(super) stage: Stage,
    /// How often it was sent again.
    pub(super) repeats: u8,
    /// It was sent before.
    duplicate: bool,
    /// The gateway chose `message_id`.
    pub(super) kept: bool,
    /// How often the client did not know its topic id.
    pub(super) corrections: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// REGISTER was sent.
    Registering,
    /// PUBLISH was sent.
    Publishing,
    /// PUBREC came, and PUBREL waits for the gateway.
    Received,
    /// PUBREL was sent.
    Releasing,
}

/// How a topic name is told to the client.
pub(super) enum Route {
    /// It knows this.
    Known(TopicRef),
    /// It must be told this id first.
    Register(u16),
}

impl Outbound {
    pub(super) fn len(&self) -> usize {
        usize::from(self.current.is_some()) + self.left.len()
    }

    /// Messages that the client has not taken over, in order, with their ids; 0 for one that has none yet.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = (u16, &Delivery)> {
        let current = self.current.iter().filter_map(|current| Some((current.message_id, current.delivery.as_ref()?)));
        let left = self.left.iter().filter_map(|entry| Some((entry.packet_id, entry.delivery.as_ref()?)));
        current.chain(left)
    }

    /// When that was sent last which waits for an answer of the client.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.current.as_ref().filter(|current| current.stage != Stage::Received).map(|current| current.sent_at)
    }

    pub(super) fn uses(&self, id: u16) -> bool {
        let current = self.current.as_ref().is_some_and(|current| current.id == id || current.message_id == id);
        current || self.left.iter().any(|entry| entry.packet_id == id)
    }

    /// What was released goes first, as in MQTT.
    pub(super) fn restore(&mut self, outbound: Vec<Unacknowledged>) {
        let (unsent, released): (Vec<_>, Vec<_>) = outbound.into_iter().partition(|entry| entry.delivery.is_some());
        self.left.extend(released.into_iter().chain(unsent).filter(|entry| entry.packet_id != 0));
    }

    /// What is left for the next conversation. A message of QoS 0 whose REGISTER was not answered is not.
    pub(super) fn park(self, mut take_id: impl FnMut(&dyn Fn(u16) -> bool) -> u16) -> Vec<Unacknowledged> {
        let Self { current, left, .. } = self;
        let mut outbound = Vec::with_capacity(left.len() + 1);
        if let Some(current) = current
            && current.delivery.as_ref().is_none_or(|delivery| delivery.qos.is_acknowledged())
        {
            let packet_id = match current.message_id {
                0 => take_id(&|id| left.iter().any(|entry| entry.packet_id == id)),
                id => id,
            };
            outbound.push(Unacknowledged { packet_id, delivery: current.delivery });
        }
        outbound.extend(left);
        outbound
    }

    /// A message of QoS 2 that waits for its turn.
    pub(super) fn left_with(&mut self, id: u16) -> Option<&mut Unacknowledged> {
        let exactly_once =
            |entry: &Unacknowledged| entry.delivery.as_ref().is_some_and(|delivery| delivery.qos == Qos::ExactlyOnce);
        self.left.iter_mut().find(|entry| entry.packet_id == id && exactly_once(entry))
    }
}

impl Outgoing {
    /// True for a message of QoS 2 that the client has not taken over as far as is known here.
    pub(super) fn is_exactly_once(&self) -> bool {
        self.delivery.as_ref().is_some_and(|delivery| delivery.qos == Qos::ExactlyOnce)
    }

    /// QoS 2: the client has taken it over and PUBREL is sent.
    pub(super) fn release(&mut self, now: Instant) {
        self.delivery = None;
        self.id = self.message_id;
        self.stage = Stage::Releasing;
        self.repeats = 0;
        self.sent_at = now;
    }
}

/// True when the gateway chose this id for a message.
pub(super) fn is_chosen(delivery: &Delivery, message_id: u16) -> bool {
    message_id != 0 && delivery.packet_id == message_id && delivery.qos.is_acknowledged()
}

impl Conversation {
    /// Section 6.10.
    pub(super) fn send_delivery(&mut self, delivery: Delivery, now: Instant, out: &mut Outbox) -> Delivered {
        if !matches!(self.phase, Phase::Active | Phase::Awake) {
            return Delivered::Later(delivery);
        }
        if delivery.message.is_expired(now) {
            return Delivered::Dropped(DropCause::Expired);
        }
        if let Some(outbound) = self.flow.as_ref().map(|flow| &flow.outbound) {
            let registering = outbound.current.as_ref().is_some_and(|current| current.stage == Stage::Registering);
            let blocked = registering || !outbound.left.is_empty();
            if blocked || (delivery.qos.is_acknowledged() && outbound.current.is_some()) {
                return Delivered::Later(delivery);
            }
        }
        if !self.fits(&delivery) {
            return Delivered::Dropped(DropCause::TooLarge);
        }
        let route = match self.route(delivery.topic(), false) {
            Ok(route) => route,
            Err(cause) => return Delivered::Dropped(cause),
        };
        match route {
            Route::Known(topic) if delivery.qos == Qos::AtMostOnce => {
                self.write_publish(&delivery, topic, 0, false, out);
                Delivered::Sent
            }
            Route::Register(_) if self.flow.as_ref().is_some_and(|flow| flow.outbound.current.is_some()) => {
                Delivered::Later(delivery)
            }
            route => {
                let chosen = if delivery.qos.is_acknowledged() { delivery.packet_id } else { 0 };
                self.begin(delivery, chosen, false, &route, now, out);
                Delivered::Sent
            }
        }
    }

    /// True when the client gets datagrams as large as this message needs.
    fn fits(&self, delivery: &Delivery) -> bool {
        let bytes = frame_bytes(PUBLISH_HEAD_BYTES + delivery.message.payload().len()) + self.header_bytes();
        bytes <= self.config.datagram_bytes_max.min(usize::from(u16::MAX))
    }

    /// Sections 6.7 and 6.10. What the client registered or subscribed to by name has its id; other names have one that it knows beforehand, or are
    /// short, or must be told first.
    pub(super) fn route(&mut self, name: &str, must_register: bool) -> Result<Route, DropCause> {
        let found = self.registry.as_ref().and_then(|registry| registry.find(name));
        if let Some((id, true)) = found {
            return Ok(Route::Known(TopicRef::Normal(id)));
        }
        if found.is_none() && !must_register {
            if let Some(id) = self.config.predefined.id(self.client_id.as_deref(), name) {
                return Ok(Route::Known(TopicRef::Predefined(id)));
            }
            if let Ok(short) = <[u8; 2]>::try_from(name.as_bytes()) {
                return Ok(Route::Known(TopicRef::Short(short)));
            }
        }
        let ids = self.config.topic_ids();
        let bytes = frame_bytes(4 + name.len()) + self.header_bytes();
        if bytes > self.config.datagram_bytes_max.min(usize::from(u16::MAX)) {
            return Err(DropCause::TopicUnknown);
        }
        let registry = self.registry.get_or_insert_default();
        registry.assign(name, ids).map(Route::Register).ok_or(DropCause::TopicUnknown)
    }

    /// Starts an exchange. `message_id` is 0 for one that has none yet.
    fn begin(
        &mut self,
        delivery: Delivery,
        message_id: u16,
        duplicate: bool,
        route: &Route,
        now: Instant,
        out: &mut Outbox,
    ) {
        let mut outgoing = Outgoing {
            kept: is_chosen(&delivery, message_id),
            delivery: Some(delivery),
            sent_at: now,
            id: 0,
            topic_id: 0,
            message_id,
            stage: Stage::Publishing,
            repeats: 0,
            duplicate,
            corrections: 0,
        };
        self.advance(&mut outgoing, route, out);
        self.flow().outbound.current = Some(outgoing);
    }

    /// Sends REGISTER, or PUBLISH of QoS 1 or 2.
    pub(super) fn advance(&mut self, outgoing: &mut Outgoing, route: &Route, out: &mut Outbox) {
        outgoing.repeats = 0;
        match *route {
            Route::Known(_) => {
                if outgoing.message_id == 0 {
                    outgoing.message_id = self.take_id();
                }
                outgoing.id = outgoing.message_id;
                outgoing.stage = Stage::Publishing;
            }
            Route::Register(topic_id) => {
                outgoing.id = self.take_id();
                if outgoing.id == outgoing.message_id {
                    outgoing.id = self.take_id();
                }
                outgoing.topic_id = topic_id;
                outgoing.stage = Stage::Registering;
            }
        }
        self.write(outgoing, out);
    }

    fn write(&mut self, outgoing: &mut Outgoing, out: &mut Outbox) {
        let Some(delivery) = &outgoing.delivery else {
            self.send(&Packet::Pubrel(outgoing.message_id), out);
            return;
        };
        let name = delivery.topic();
        if outgoing.stage == Stage::Registering {
            let register = Register { topic_id: outgoing.topic_id, message_id: outgoing.id, topic: name };
            self.send(&Packet::Register(register), out);
            return;
        }
        // It was found when the exchange began, and ids stay.
        if let Ok(Route::Known(topic)) = self.route(name, false) {
            self.write_publish(delivery, topic, outgoing.message_id, outgoing.duplicate, out);
        }
        outgoing.duplicate = true;
    }

    pub(super) fn write_publish(
        &self,
        delivery: &Delivery,
        topic: TopicRef,
        message_id: u16,
        duplicate: bool,
        out: &mut Outbox,
    ) {
        let publish = Publish {
            duplicate,
            qos: Some(delivery.qos),
            retain: delivery.retain,
            topic,
            message_id,
            payload: delivery.message.payload(),
        };
        self.begin_datagram(out);
        put_publish(&publish, &delivery.message, out.wire());
        out.end_datagram();
        out.count_sent(PacketType::Publish as u8);
    }

    /// Goes on with what is under way, or was left: after a reconnect, and when a sleeping client listens again.
    pub(super) fn resume_outbound(&mut self, now: Instant, out: &mut Outbox) {
        let current = self.flow.as_mut().and_then(|flow| flow.outbound.current.take());
        match current {
            Some(mut outgoing) => {
                outgoing.repeats = 0;
                outgoing.sent_at = now;
                self.repeat(outgoing, out);
            }
            None => self.next_left(now, out),
        }
    }

    /// Sends it again, or its REGISTER if the client has forgotten its topic id meanwhile.
    fn repeat(&mut self, mut outgoing: Outgoing, out: &mut Outbox) {
        if outgoing.stage == Stage::Received {
            self.flow().outbound.current = Some(outgoing);
            return;
        }
        let route = match (&outgoing.delivery, outgoing.stage) {
            (Some(delivery), Stage::Publishing) => self.route(delivery.topic(), false).ok(),
            _ => None,
        };
        match route {
            Some(route @ Route::Register(_)) => {
                outgoing.corrections = outgoing.corrections.saturating_add(1);
                self.advance(&mut outgoing, &route, out);
            }
            _ => self.write(&mut outgoing, out),
        }
        self.flow().outbound.current = Some(outgoing);
    }

    /// The exchange is over, or will never be: its message is not sent any more. Goes on with the next.
    pub(super) fn finish(&mut self, outgoing: &Outgoing, now: Instant, out: &mut Outbox) {
        if outgoing.kept {
            out.request(Request::Acknowledged { packet_id: outgoing.message_id });
        }
        self.next_left(now, out);
    }

    /// Begins with the next of those that an earlier conversation left.
    pub(super) fn next_left(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(entry) = self.flow.as_mut().and_then(|flow| flow.outbound.left.pop_front()) {
            let Unacknowledged { packet_id, delivery } = entry;
            let Some(delivery) = delivery else {
                let mut outgoing = Outgoing {
                    delivery: None,
                    sent_at: now,
                    id: packet_id,
                    topic_id: 0,
                    message_id: packet_id,
                    stage: Stage::Releasing,
                    repeats: 0,
                    duplicate: true,
                    // Without its content nothing but the session tells whose an exchange is.
                    kept: self.has(KEPT),
                    corrections: 0,
                };
                self.write(&mut outgoing, out);
                self.flow().outbound.current = Some(outgoing);
                return;
            };
            // A message that is larger than what is sent here counts as delivered, as in MQTT.
            let route = if self.fits(&delivery) { self.route(delivery.topic(), false).ok() } else { None };
            if let Some(route) = route {
                self.begin(delivery, packet_id, true, &route, now, out);
                return;
            }
            if is_chosen(&delivery, packet_id) {
                out.request(Request::Acknowledged { packet_id });
            }
        }
    }

    /// Tretry has passed without an answer.
    pub(super) fn send_again(&mut self, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let Some(mut outgoing) = self.flow.as_mut().and_then(|flow| flow.outbound.current.take()) else {
            return Ok(());
        };
        if outgoing.corrections > self.config.retry_max {
            // It answers, and will not learn the name.
            self.finish(&outgoing, now, out);
            return Ok(());
        }
        if outgoing.repeats >= self.config.retry_max {
            self.flow().outbound.current = Some(outgoing);
            if self.phase == Phase::Awake {
                // It has gone to sleep again without waiting for all (section 6.14). The message is sent when it asks the next time.
                self.phase = Phase::Asleep;
                return Ok(());
            }
            return Err(MqttSnFault::NoAnswer);
        }
        outgoing.repeats += 1;
        outgoing.sent_at = now;
        self.repeat(outgoing, out);
        Ok(())
    }
}
