use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Map;
use thingway_contract::Qos;
use thingway_mqtt_sn::{
    Packet, ReturnCode,
    packet::{Puback, Publish, Regack, TopicRef},
};

use super::told;
use crate::cli::client::{conversation::Message, error::ClientError};

/// Most messages that wait to be printed. Further ones are as good as lost on the way: those of QoS 1 and 2 come again.
const WAITING_MAX: usize = 1024;

/// What the gateway sends of its own accord.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Topic names by the ids that the gateway gave them, or that were registered.
    names: HashMap<u16, String>,
    predefined: HashMap<u16, String>,
    waiting: VecDeque<(Handshake, Message)>,
    /// Of the message that came last.
    last: Option<Handshake>,
    /// Messages of QoS 2 that were received and not released.
    unreleased: HashSet<u16>,
    /// No more messages are taken.
    closed: bool,
    /// Credentials were shown, and the gateway has said nothing against them.
    pub authenticated: bool,
}

/// What acknowledges a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handshake {
    qos: Qos,
    topic_id: u16,
    message_id: u16,
}

impl Inbox {
    /// Remembers what an id stands for. There are not more than ids.
    pub fn name(&mut self, id: u16, topic: &str) {
        self.names.insert(id, topic.to_owned());
    }

    /// Remembers what a predefined id stands for.
    pub fn name_predefined(&mut self, id: u16, topic: &str) {
        self.predefined.insert(id, topic.to_owned());
    }

    /// The next message.
    pub fn pop(&mut self) -> Option<Message> {
        let (handshake, message) = self.waiting.pop_front()?;
        self.last = Some(handshake);
        Some(message)
    }

    /// What acknowledges the message that was given last.
    pub fn acknowledge(&mut self) -> Option<Packet<'static>> {
        let Handshake { qos, topic_id, message_id } = self.last.take()?;
        match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(Packet::Puback(Puback { topic_id, message_id, code: ReturnCode::Accepted })),
            Qos::ExactlyOnce => {
                self.unreleased.insert(message_id);
                Some(Packet::Pubrec(message_id))
            }
        }
    }

    /// True while handshakes of QoS 2 are under way.
    pub fn has_unreleased(&self) -> bool {
        !self.unreleased.is_empty()
    }

    /// Takes no more messages: they stay with the gateway.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Handles what is no answer to a request. What is to be answered is given back.
    pub fn take(&mut self, packet: &Packet<'_>, bytes: &[u8]) -> Result<Option<Packet<'static>>, ClientError> {
        Ok(match packet {
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::Register(register) => {
                self.name(register.topic_id, register.topic);
                let (topic_id, message_id) = (register.topic_id, register.message_id);
                Some(Packet::Regack(Regack { topic_id, message_id, code: ReturnCode::Accepted }))
            }
            Packet::Pubrel(id) => {
                self.unreleased.remove(id);
                Some(Packet::Pubcomp(*id))
            }
            Packet::Pingreq(_) => Some(Packet::Pingresp),
            Packet::Disconnect(_) => return Err(ClientError::Disconnected("without a reason".into())),
            // Only publications of QoS 0 have no other name.
            Packet::Puback(puback) if puback.code.is_refusal() && puback.message_id == 0 => {
                return Err(ClientError::PublicationRefused(told(bytes)));
            }
            Packet::Connack(connack) if connack.code.is_refusal() && self.authenticated => {
                self.authenticated = false;
                eprintln!("the gateway has no use for user name and password: {}", told(bytes));
                None
            }
            _ => None,
        })
    }

    fn on_publish(&mut self, publish: &Publish<'_>) -> Option<Packet<'static>> {
        // Nobody sends to a client with QoS -1.
        let qos = publish.qos.unwrap_or_default();
        let (topic_id, message_id) = (publish.topic.id(), publish.message_id);
        if qos == Qos::ExactlyOnce && self.unreleased.contains(&message_id) {
            return Some(Packet::Pubrec(message_id));
        }
        let handshake = Handshake { qos, topic_id, message_id };
        let waits = self.waiting.iter().map(|(handshake, _)| handshake).chain(&self.last);
        let is_known = qos.is_acknowledged() && waits.into_iter().any(|known| known.message_id == message_id);
        if self.closed || is_known || self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let topic = match publish.topic {
            TopicRef::Normal(id) => match self.names.get(&id) {
                Some(name) => name.clone(),
                // Section 6.10: the gateway shall register the name.
                None => {
                    return Some(Packet::Puback(Puback { topic_id, message_id, code: ReturnCode::InvalidTopicId }));
                }
            },
            TopicRef::Predefined(id) => self.predefined.get(&id).cloned().unwrap_or_else(|| nameless(id)),
            TopicRef::Short(name) => String::from_utf8_lossy(&name).into_owned(),
        };
        let message = Message {
            topic,
            payload: publish.payload.to_vec(),
            qos: Some(qos),
            retain: publish.retain,
            duplicate: publish.duplicate,
            properties: Map::new(),
        };
        self.waiting.push_back((handshake, message));
        None
    }
}

/// What is printed for a predefined id whose topic was not told.
pub fn nameless(id: u16) -> String {
    format!("predefined:{id}")
}
