use smallvec::SmallVec;
use thingway_contract::{
    FilterKind, Outbox, Qos, Request, SubscribeRefusal, Subscription, SubscriptionOptions, Token, TopicFilter,
    UnsubscribeRefusal,
};

use super::{Connection, TokenKind};
use crate::{
    MqttFault, PropertyBlock, PropertyId, PropertyWriter, Reason, Value, Version,
    fault::{subscribe_reason, unsubscribe_reason},
    packet::{Packet, Suback, Subscribe, Unsuback, Unsubscribe},
};

/// The only failure that SUBACK knows before 5.0.
const FAILURE: u8 = 0x80;

impl Connection {
    pub(super) fn on_subscribe(&mut self, version: Version, body: &[u8], out: &mut Outbox) -> Result<(), MqttFault> {
        let subscribe = Subscribe::decode(version, body)?;
        let id = subscribe.properties.number(PropertyId::SubscriptionIdentifier).unwrap_or(0);
        if id != 0 && !self.config.subscription_ids_available {
            return Err(MqttFault::SubscriptionIdsNotSupported);
        }
        let mut subscriptions = Vec::new();
        for (filter, options) in subscribe.filters.iter() {
            if subscriptions.len() >= self.config.filters_per_packet_max {
                return Err(MqttFault::TooManyFilters);
            }
            subscriptions.push(self.subscription(version, filter, SubscriptionOptions { id, ..options })?);
        }
        self.await_reply();
        let token = TokenKind::Subscribe.token(subscribe.packet_id);
        out.request(Request::Subscribe { token, subscriptions });
        Ok(())
    }

    fn subscription(
        &self,
        version: Version,
        filter: &str,
        mut options: SubscriptionOptions,
    ) -> Result<Result<Subscription, SubscribeRefusal>, MqttFault> {
        let Ok(filter) = TopicFilter::parse(filter, self.config.topic_limits) else {
            return Ok(Err(SubscribeRefusal::FilterInvalid));
        };
        // A 5.0 client was told what is not served, so using it is a protocol error (sections 3.2.2.3.11 and
        // 3.2.2.3.13).
        let refuse = |fault: MqttFault, refusal| if version.has_properties() { Err(fault) } else { Ok(Err(refusal)) };
        if filter.has_wildcard() && !self.config.wildcard_available {
            return refuse(MqttFault::WildcardNotSupported, SubscribeRefusal::WildcardNotSupported);
        }
        match filter.kind() {
            FilterKind::Shared(_) if !self.config.shared_available => {
                return refuse(MqttFault::SharedNotSupported, SubscribeRefusal::SharedNotSupported);
            }
            FilterKind::Exclusive if !self.config.exclusive_available => {
                return Ok(Err(SubscribeRefusal::ExclusiveNotSupported));
            }
            FilterKind::Plain | FilterKind::Shared(_) | FilterKind::Exclusive => {}
        }
        options.qos = options.qos.min(self.config.qos_max);
        Ok(Ok(Subscription { filter, options }))
    }

    pub(super) fn on_unsubscribe(&mut self, version: Version, body: &[u8], out: &mut Outbox) -> Result<(), MqttFault> {
        let unsubscribe = Unsubscribe::decode(version, body)?;
        let mut filters = Vec::new();
        for filter in unsubscribe.filters.iter() {
            if filters.len() >= self.config.filters_per_packet_max {
                return Err(MqttFault::TooManyFilters);
            }
            let parsed = TopicFilter::parse(filter, self.config.topic_limits);
            filters.push(parsed.map_err(|_| UnsubscribeRefusal::FilterInvalid));
        }
        self.await_reply();
        let token = TokenKind::Unsubscribe.token(unsubscribe.packet_id);
        out.request(Request::Unsubscribe { token, filters });
        Ok(())
    }

    pub(super) fn subscribed(
        &self,
        token: Token,
        results: &[Result<Qos, SubscribeRefusal>],
        out: &mut Outbox,
    ) -> Result<(), MqttFault> {
        let Some((TokenKind::Subscribe, packet_id)) = TokenKind::of(token) else {
            return Err(MqttFault::BadReply);
        };
        let with_reasons = self.version.is_some_and(Version::has_properties);
        let codes: SmallVec<[u8; 16]> = results
            .iter()
            .map(|result| match result {
                Ok(qos) => *qos as u8,
                Err(refusal) if with_reasons => subscribe_reason(*refusal).code(),
                Err(_) => FAILURE,
            })
            .collect();
        let refusal = results.iter().find_map(|result| result.err()).map(subscribe_reason);
        self.send_explained(suback, packet_id, &codes, refusal, out)
    }

    pub(super) fn unsubscribed(
        &self,
        token: Token,
        results: &[Result<(), UnsubscribeRefusal>],
        out: &mut Outbox,
    ) -> Result<(), MqttFault> {
        let Some((TokenKind::Unsubscribe, packet_id)) = TokenKind::of(token) else {
            return Err(MqttFault::BadReply);
        };
        let codes: SmallVec<[u8; 16]> =
            results.iter().map(|result| result.map_or_else(unsubscribe_reason, |()| Reason::Success).code()).collect();
        let refusal = results.iter().find_map(|result| result.err()).map(unsubscribe_reason);
        let refusal = refusal.filter(|reason| reason.is_failure());
        self.send_explained(unsuback, packet_id, &codes, refusal, out)
    }

    /// Sends an answer with the first refusal in words, or without them when they are not wanted or do not fit
    /// [MQTT-3.9.2-1].
    fn send_explained(
        &self,
        answer: for<'a> fn(u16, PropertyBlock<'a>, &'a [u8]) -> Packet<'a>,
        packet_id: u16,
        codes: &[u8],
        refusal: Option<Reason>,
        out: &mut Outbox,
    ) -> Result<(), MqttFault> {
        if let Some(reason) = refusal.filter(|_| self.version == Some(Version::V5) && self.may_explain()) {
            let mut properties = PropertyWriter::new();
            if properties.push(PropertyId::ReasonString, Value::Text(reason.text())).is_ok()
                && self.send(&answer(packet_id, properties.as_block(), codes), out).is_ok()
            {
                return Ok(());
            }
        }
        self.send(&answer(packet_id, PropertyBlock::EMPTY, codes), out)
    }
}

fn suback<'a>(packet_id: u16, properties: PropertyBlock<'a>, codes: &'a [u8]) -> Packet<'a> {
    Packet::Suback(Suback { packet_id, properties, codes })
}

fn unsuback<'a>(packet_id: u16, properties: PropertyBlock<'a>, codes: &'a [u8]) -> Packet<'a> {
    Packet::Unsuback(Unsuback { packet_id, properties, codes })
}
