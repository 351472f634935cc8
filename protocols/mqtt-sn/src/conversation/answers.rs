use thingway_contract::{Delivery, Instant, Outbox, Qos, Request, Token};

use super::{
    Conversation, RECEIVED,
    outbound::{Outgoing, Route, Stage, is_chosen},
};
use crate::{
    MqttSnFault, Packet, PacketType, ReturnCode,
    packet::{Puback, Regack, TopicRef},
};

/// What the client answers to REGISTER, PUBLISH and PUBREL.
impl Conversation {
    pub(super) fn on_regack(&mut self, regack: Regack, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let Some(mut outgoing) = self.take_current(regack.message_id, Stage::Registering) else { return Ok(()) };
        match regack.code {
            ReturnCode::Accepted => {
                if let Some(registry) = &mut self.registry {
                    registry.set_known(outgoing.topic_id, true);
                }
                let topic = TopicRef::Normal(outgoing.topic_id);
                outgoing.sent_at = now;
                match outgoing.delivery.take() {
                    Some(delivery) if delivery.qos == Qos::AtMostOnce => {
                        self.write_publish(&delivery, topic, 0, false, out);
                        self.next_left(now, out);
                    }
                    delivery => {
                        outgoing.delivery = delivery;
                        self.advance(&mut outgoing, &Route::Known(topic), out);
                        self.flow().outbound.current = Some(outgoing);
                    }
                }
            }
            // It has no room just now: it is asked again when the time has come.
            ReturnCode::Congestion => self.wait(outgoing, now),
            ReturnCode::InvalidTopicId | ReturnCode::NotSupported => self.finish(&outgoing, now, out),
        }
        Ok(())
    }

    pub(super) fn on_puback(&mut self, puback: Puback, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        if puback.code == ReturnCode::InvalidTopicId {
            self.correct(puback, now, out);
            return Ok(());
        }
        let Some(outgoing) = self.take_current(puback.message_id, Stage::Publishing) else { return Ok(()) };
        match puback.code {
            // Not an answer to a message of QoS 2.
            ReturnCode::Accepted if outgoing.is_exactly_once() => self.flow().outbound.current = Some(outgoing),
            ReturnCode::Congestion => self.wait(outgoing, now),
            _ => {
                tell_acknowledged(outgoing.delivery.as_ref(), out);
                self.finish(&outgoing, now, out);
            }
        }
        Ok(())
    }

    /// The client is there, but has no room.
    fn wait(&mut self, mut outgoing: Outgoing, now: Instant) {
        outgoing.repeats = 0;
        outgoing.sent_at = now;
        self.flow().outbound.current = Some(outgoing);
    }

    /// Section 6.10: the client does not know the topic id, so it is told once more.
    fn correct(&mut self, puback: Puback, now: Instant, out: &mut Outbox) {
        if let Some(registry) = &mut self.registry {
            // The id may as well be a predefined or short one; then nothing but one more REGISTER comes of it.
            registry.set_known(puback.topic_id, false);
        }
        let Some(mut outgoing) = self.take_current(puback.message_id, Stage::Publishing) else { return };
        // A second time may be a late copy of the first: it is told again when Tretry has passed, if it is still waited for then.
        let delivery = outgoing.delivery.as_ref().filter(|_| outgoing.corrections == 0);
        let route = delivery.map(|delivery| self.route(delivery.topic(), true));
        match route {
            Some(Ok(route)) => {
                outgoing.corrections = 1;
                outgoing.sent_at = now;
                self.advance(&mut outgoing, &route, out);
                self.flow().outbound.current = Some(outgoing);
            }
            // There is no id left for a name that the client should have known.
            Some(Err(_)) => self.finish(&outgoing, now, out),
            None => self.flow().outbound.current = Some(outgoing),
        }
    }

    /// QoS 2: the client has the message. It is released when the gateway has kept that, where it wants to.
    pub(super) fn on_pubrec(&mut self, id: u16, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        if let Some(outbound) = self.flow.as_mut().map(|flow| &mut flow.outbound) {
            let receiving = outbound.receiving;
            if let Some(current) = outbound.current.as_mut().filter(|current| current.message_id == id && id != 0) {
                // A message whose name is being registered may have been sent by an earlier conversation.
                match current.stage {
                    Stage::Releasing => {}
                    Stage::Received => return Ok(()),
                    _ if !current.is_exactly_once() => return Err(MqttSnFault::Unexpected(PacketType::Pubrec)),
                    _ if current.kept => {
                        current.stage = Stage::Received;
                        if receiving != id {
                            tell_acknowledged(current.delivery.as_ref(), out);
                            request_received(id, out);
                        }
                        return Ok(());
                    }
                    _ => {
                        tell_acknowledged(current.delivery.as_ref(), out);
                        current.release(now);
                    }
                }
            } else if let Some(entry) = outbound.left_with(id) {
                // It answers what an earlier conversation sent.
                if entry.delivery.as_ref().is_some_and(|delivery| is_chosen(delivery, id)) {
                    // One at a time is enough: the others are sent in their turn, and answered again.
                    if receiving == 0 {
                        tell_acknowledged(entry.delivery.as_ref(), out);
                        outbound.receiving = id;
                        request_received(id, out);
                    }
                    return Ok(());
                }
                tell_acknowledged(entry.delivery.take().as_ref(), out);
            }
        }
        // Also to one that is not known any more, so that the client can let it go.
        self.send(&Packet::Pubrel(id), out);
        Ok(())
    }

    /// The gateway has kept that the client has a message.
    pub(super) fn received_is_kept(&mut self, id: u16, now: Instant, out: &mut Outbox) {
        let Some(outbound) = self.flow.as_mut().map(|flow| &mut flow.outbound) else { return };
        if outbound.receiving == id {
            outbound.receiving = 0;
        }
        let current = outbound.current.as_mut().filter(|current| current.message_id == id && current.is_exactly_once());
        if let Some(current) = current {
            current.release(now);
        } else if let Some(entry) = outbound.left_with(id) {
            entry.delivery = None;
        } else {
            return;
        }
        self.send(&Packet::Pubrel(id), out);
    }

    pub(super) fn on_pubcomp(&mut self, id: u16, now: Instant, out: &mut Outbox) -> Result<(), MqttSnFault> {
        if let Some(outgoing) = self.take_current(id, Stage::Releasing) {
            self.finish(&outgoing, now, out);
        }
        Ok(())
    }

    fn take_current(&mut self, id: u16, stage: Stage) -> Option<Outgoing> {
        let current = &mut self.flow.as_mut()?.outbound.current;
        current.take_if(|current| current.id == id && current.stage == stage)
    }
}

/// The client has this message.
fn tell_acknowledged(delivery: Option<&Delivery>, out: &mut Outbox) {
    if out.is_watched()
        && let Some(delivery) = delivery
    {
        out.acknowledged(delivery.message.clone());
    }
}

fn request_received(id: u16, out: &mut Outbox) {
    out.request(Request::Received { token: Token(RECEIVED | u32::from(id)), packet_id: id });
}
