//! MQTT-SN over UDP. "Section" means MQTT-SN 1.2.
//!
//! | module | what |
//! | --- | --- |
//! | `link` | messages to and from the gateway: requests that are sent until they are answered, keep-alive |
//! | `connect` | CONNECT, AUTH and the will |
//! | `inbox` | what the gateway sends of its own accord: topic ids, messages, the handshakes of QoS 2 |
//! | `unconnected` | QoS -1 |

mod connect;
mod inbox;
mod link;
mod unconnected;

#[cfg(test)]
mod tests;

use thingway_contract::{Qos, Topic, TopicLimits};
use thingway_mqtt_sn::{
    Packet, ReturnCode,
    packet::{Disconnect, Publish, Register, Subscribe, TopicName, TopicRef},
};

use self::{inbox::Inbox, link::Link};
use super::{
    arguments::{PublishArguments, SubscribeArguments, refuse},
    conversation::{self, Message},
    error::ClientError,
};

pub use self::unconnected::{Unconnected, check_publish as check_publish_unconnected};

const PROTOCOL: &str = "MQTT-SN";

/// A connected MQTT-SN client.
pub struct Client {
    link: Link,
    inbox: Inbox,
    /// What stands for the topic that is published to.
    topic: Option<TopicRef>,
}

/// Checks what can be checked before anything is sent.
pub fn check_publish(arguments: &PublishArguments) -> Result<(), ClientError> {
    refuse(PROTOCOL, &arguments.connect.of_mqtt())?;
    refuse(PROTOCOL, &arguments.of_mqtt())?;
    refuse(PROTOCOL, &arguments.of_mqtt_and_coap())?;
    if let Some(topic) = &arguments.topic {
        let limits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
        Topic::parse(topic, limits).map_err(ClientError::Topic)?;
    }
    Ok(())
}

/// Checks what can be checked before anything is sent.
pub fn check_subscribe(arguments: &SubscribeArguments) -> Result<(), ClientError> {
    refuse(PROTOCOL, &arguments.connect.of_mqtt())?;
    refuse(PROTOCOL, &arguments.of_mqtt())?;
    refuse(PROTOCOL, &arguments.of_mqtt_and_coap())
}

impl Client {
    async fn topic(&mut self, arguments: &PublishArguments) -> Result<TopicRef, ClientError> {
        if let Some(topic) = self.topic {
            return Ok(topic);
        }
        let topic = match (arguments.predefined_id, arguments.topic.as_deref().unwrap_or_default()) {
            (Some(id), _) => TopicRef::Predefined(id),
            (None, topic) => match short(topic) {
                Some(short) => TopicRef::Short(short),
                None => TopicRef::Normal(self.register(topic).await?),
            },
        };
        self.topic = Some(topic);
        Ok(topic)
    }

    async fn register(&mut self, topic: &str) -> Result<u16, ClientError> {
        let message_id = self.link.fresh_id();
        let register = Packet::Register(Register { topic_id: 0, message_id, topic });
        let regack = |packet: &Packet<'_>, bytes: &[u8]| match packet {
            Packet::Regack(regack) if regack.message_id == message_id => {
                Some(accepted(regack.code, bytes, regack.topic_id))
            }
            _ => None,
        };
        let registered = self.link.request("REGISTER", &register, &mut self.inbox, regack).await?;
        let topic_id = registered.map_err(ClientError::PublicationRefused)?;
        self.inbox.name(topic_id, topic);
        Ok(topic_id)
    }

    async fn publish_once(
        &mut self,
        arguments: &PublishArguments,
        payload: &[u8],
    ) -> Result<Result<(), Refused>, ClientError> {
        let qos = arguments.qos.0.unwrap_or_default();
        let topic = self.topic(arguments).await?;
        let message_id = if qos.is_acknowledged() { self.link.fresh_id() } else { 0 };
        let retain = arguments.retain;
        let publish = Packet::Publish(Publish { duplicate: false, qos: Some(qos), retain, topic, message_id, payload });
        if !qos.is_acknowledged() {
            self.link.send(&publish).await?;
            return Ok(Ok(()));
        }
        let received = |packet: &Packet<'_>, bytes: &[u8]| match packet {
            Packet::Puback(puback) if puback.message_id == message_id => Some(match puback.code {
                ReturnCode::Accepted => Ok(()),
                ReturnCode::InvalidTopicId => Err(Refused::UnknownTopicId(told(bytes))),
                _ => Err(Refused::Otherwise(told(bytes))),
            }),
            Packet::Pubrec(id) if *id == message_id => Some(Ok(())),
            _ => None,
        };
        let outcome = self.link.request("PUBLISH", &publish, &mut self.inbox, received).await?;
        if outcome.is_err() || qos == Qos::AtLeastOnce {
            return Ok(outcome);
        }
        let complete =
            |packet: &Packet<'_>, _: &[u8]| matches!(packet, Packet::Pubcomp(id) if *id == message_id).then_some(());
        self.link.request("PUBREL", &Packet::Pubrel(message_id), &mut self.inbox, complete).await?;
        Ok(Ok(()))
    }

    async fn subscribe_to(&mut self, topic: TopicName<'_>, name: &str, qos: Qos) -> Result<(), ClientError> {
        let message_id = self.link.fresh_id();
        let subscribe = Packet::Subscribe(Subscribe { duplicate: false, qos: Some(qos), message_id, topic });
        let suback = |packet: &Packet<'_>, bytes: &[u8]| match packet {
            Packet::Suback(suback) if suback.message_id == message_id => {
                Some(accepted(suback.code, bytes, suback.topic_id))
            }
            _ => None,
        };
        match self.link.request("SUBSCRIBE", &subscribe, &mut self.inbox, suback).await? {
            Ok(topic_id) => {
                if topic_id != 0 && matches!(topic, TopicName::Name(_)) {
                    self.inbox.name(topic_id, name);
                }
                Ok(())
            }
            Err(reason) => Err(ClientError::SubscriptionRefused { filter: name.to_owned(), reason }),
        }
    }
}

/// Why a publication was not taken.
enum Refused {
    /// The gateway has forgotten the topic id: the name is to be registered again (section 6.10).
    UnknownTopicId(String),
    Otherwise(String),
}

impl conversation::Client for Client {
    async fn publish(&mut self, arguments: &PublishArguments, payload: &[u8]) -> Result<(), ClientError> {
        let refused = match self.publish_once(arguments, payload).await? {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let again = match (refused, self.topic) {
            (Refused::UnknownTopicId(_), Some(TopicRef::Normal(_))) => {
                self.topic = None;
                self.publish_once(arguments, payload).await?
            }
            (refused, _) => Err(refused),
        };
        again.map_err(|(Refused::UnknownTopicId(reason) | Refused::Otherwise(reason))| {
            ClientError::PublicationRefused(reason)
        })
    }

    async fn subscribe(&mut self, arguments: &SubscribeArguments) -> Result<(), ClientError> {
        for (id, topic) in &arguments.predefined_ids {
            let name = topic.clone().unwrap_or_else(|| inbox::nameless(*id));
            self.inbox.name_predefined(*id, &name);
            self.subscribe_to(TopicName::Predefined(*id), &name, arguments.qos).await?;
        }
        for filter in &arguments.topics {
            let topic = short(filter).map_or(TopicName::Name(filter), TopicName::Short);
            self.subscribe_to(topic, filter, arguments.qos).await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Message, ClientError> {
        loop {
            if let Some(message) = self.inbox.pop() {
                return Ok(message);
            }
            self.link.turn(&mut self.inbox).await?;
        }
    }

    async fn acknowledge(&mut self) -> Result<(), ClientError> {
        match self.inbox.acknowledge() {
            Some(answer) => self.link.send(&answer).await,
            None => Ok(()),
        }
    }

    async fn settle(&mut self) -> Result<(), ClientError> {
        self.inbox.close();
        let patience = self.link.patience();
        // The messages were printed. A gateway that does not release them any more will not deliver them again either.
        while self.inbox.has_unreleased() && self.link.turn_before(patience, &mut self.inbox).await? {}
        Ok(())
    }

    async fn close(mut self) -> Result<(), ClientError> {
        self.inbox.close();
        let goodbye = |packet: &Packet<'_>, _: &[u8]| matches!(packet, Packet::Disconnect(_)).then_some(());
        let disconnect = Packet::Disconnect(Disconnect::default());
        match self.link.request("DISCONNECT", &disconnect, &mut self.inbox, goodbye).await {
            Ok(()) | Err(ClientError::Io(_) | ClientError::Unanswered(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The bytes of a topic name that stands for itself in two bytes (section 3).
fn short(topic: &str) -> Option<[u8; 2]> {
    topic.as_bytes().try_into().ok().filter(|_| !topic.contains(['+', '#']))
}

/// `Err` with the return code for people.
fn accepted<T>(code: ReturnCode, bytes: &[u8], value: T) -> Result<T, String> {
    if code.is_refusal() { Err(told(bytes)) } else { Ok(value) }
}

/// The return code, with which all messages that have one end, for people. Gateways have codes of their own in the reserved range.
fn told(bytes: &[u8]) -> String {
    let number = bytes.last().copied().unwrap_or(0);
    match ReturnCode::of(number) {
        Some(code) => format!("{code} ({number})"),
        None => format!("rejected: reserved return code (0x{number:02x})"),
    }
}
