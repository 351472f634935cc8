use thingway_contract::{
    FilterKind, Outbox, Qos, Request, RetainHandling, SubscribeRefusal, Subscription, SubscriptionOptions, Token,
    TopicFilter,
};

use super::Conversation;
use crate::{
    MqttSnFault, Packet, ReturnCode,
    fault::subscribe_code,
    packet::{Suback, Subscribe, TopicName, Unsubscribe},
};

/// A SUBSCRIBE that the gateway has yet to answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    message_id: u16,
    topic_id: u16,
    /// The id is one of the conversation's own.
    registered: bool,
}

/// Most SUBSCRIBE that wait for the gateway; more are refused with 0x01. A client sends one at a time.
const ASKED_MAX: usize = 8;

/// Tokens of UNSUBSCRIBE have this in front of the message id.
const UNSUBSCRIBE: u32 = 1 << 16;

impl Conversation {
    /// Section 6.9.
    pub(super) fn on_subscribe(&mut self, subscribe: &Subscribe<'_>, out: &mut Outbox) -> Result<(), MqttSnFault> {
        let message_id = subscribe.message_id;
        let asked = self.flow.as_ref().map_or(&[][..], |flow| &flow.asked);
        if asked.iter().any(|asked| asked.message_id == message_id) {
            return Ok(());
        }
        let full = asked.len() >= ASKED_MAX;
        let prepared = match subscribe.qos {
            None => Err(ReturnCode::NotSupported),
            Some(_) if full => Err(ReturnCode::Congestion),
            Some(qos) => self.prepare(subscribe, qos),
        };
        let (subscription, asked) = match prepared {
            Ok(prepared) => prepared,
            Err(code) => {
                self.send_suback(Suback { qos: Qos::AtMostOnce, topic_id: 0, message_id, code }, out);
                return Ok(());
            }
        };
        self.flow().asked.push(asked);
        let token = Token(message_id.into());
        out.request(Request::Subscribe { token, subscriptions: vec![Ok(subscription)] });
        Ok(())
    }

    fn prepare(&mut self, subscribe: &Subscribe<'_>, qos: Qos) -> Result<(Subscription, Asked), ReturnCode> {
        let filter = self.filter(&subscribe.topic)?;
        let message_id = subscribe.message_id;
        let (topic_id, registered) = match subscribe.topic {
            TopicName::Predefined(id) => (id, false),
            TopicName::Short(name) => (u16::from_be_bytes(name), false),
            TopicName::Name(_) if filter.has_wildcard() => (0, false),
            TopicName::Name(_) => {
                let ids = self.config.topic_ids();
                let registry = self.registry.get_or_insert_default();
                (registry.assign(filter.filter(), ids).ok_or(ReturnCode::Congestion)?, true)
            }
        };
        // A request that is sent again after it was granted must not bring the retained messages a second time.
        let retain_handling = if subscribe.duplicate { RetainHandling::SendIfNew } else { RetainHandling::Send };
        let options = SubscriptionOptions { qos, retain_handling, ..SubscriptionOptions::default() };
        Ok((Subscription { filter, options }, Asked { message_id, topic_id, registered }))
    }

    fn filter(&self, topic: &TopicName<'_>) -> Result<TopicFilter, ReturnCode> {
        let limits = self.config.topic_limits;
        match topic {
            TopicName::Name(name) => TopicFilter::parse(name, limits).map_err(|_| ReturnCode::NotSupported),
            TopicName::Predefined(id) => {
                let name = self.config.predefined.name(self.client_id.as_deref(), *id);
                TopicFilter::parse(name.ok_or(ReturnCode::InvalidTopicId)?, limits)
                    .map_err(|_| ReturnCode::NotSupported)
            }
            TopicName::Short(bytes) => {
                let name = std::str::from_utf8(bytes).map_err(|_| ReturnCode::InvalidTopicId)?;
                let filter = TopicFilter::parse(name, limits).map_err(|_| ReturnCode::InvalidTopicId)?;
                // `$share` and the like are longer than two bytes.
                debug_assert_eq!(*filter.kind(), FilterKind::Plain);
                Ok(filter)
            }
        }
    }

    pub(super) fn subscribed(&mut self, token: Token, results: &[Result<Qos, SubscribeRefusal>], out: &mut Outbox) {
        let Some(flow) = &mut self.flow else { return };
        let position = flow.asked.iter().position(|asked| u32::from(asked.message_id) == token.0);
        let Some(asked) = position.map(|position| flow.asked.remove(position)) else { return };
        let Asked { message_id, topic_id, registered } = asked;
        match results.first().copied().unwrap_or(Err(SubscribeRefusal::Failed)) {
            Ok(qos) => {
                if let Some(registry) = self.registry.as_mut().filter(|_| registered) {
                    registry.set_known(topic_id, true);
                }
                self.send_suback(Suback { qos, topic_id, message_id, code: ReturnCode::Accepted }, out);
            }
            Err(refusal) => {
                let code = subscribe_code(refusal);
                self.send_suback(Suback { qos: Qos::AtMostOnce, topic_id: 0, message_id, code }, out);
            }
        }
    }

    /// Section 6.9. There is no way to refuse.
    pub(super) fn on_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Outbox,
    ) -> Result<(), MqttSnFault> {
        let message_id = unsubscribe.message_id;
        match self.filter(&unsubscribe.topic) {
            Ok(filter) => {
                let token = Token(UNSUBSCRIBE | u32::from(message_id));
                out.request(Request::Unsubscribe { token, filters: vec![Ok(filter)] });
            }
            Err(_) => self.send(&Packet::Unsuback(message_id), out),
        }
        Ok(())
    }

    pub(super) fn unsubscribed(&self, token: Token, out: &mut Outbox) {
        if token.0 >> 16 == 1 {
            self.send(&Packet::Unsuback(token.0 as u16), out);
        }
    }

    fn send_suback(&self, suback: Suback, out: &mut Outbox) {
        self.send(&Packet::Suback(suback), out);
    }
}
