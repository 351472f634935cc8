use thingway_contract::{Message, MessageHead, Outbox, Properties, Request, Topic, TopicError, TopicLimits, Will};

use super::Conversation;
use crate::{MqttSnFault, Packet, ReturnCode, packet::WillTopic};

/// A will on this topic.
pub(super) fn will_on(will: &WillTopic<'_>, payload: &[u8], limits: TopicLimits) -> Result<Box<Will>, TopicError> {
    let topic = Topic::parse(will.topic, limits)?;
    let head = MessageHead { qos: will.qos, retain: will.retain, ..MessageHead::default() };
    let message = Message::new(head, topic, Properties::default(), payload);
    Ok(Box::new(Will { message, delay_secs: 0, expiry_secs: None }))
}

/// The same will with another payload.
pub(super) fn with_payload(will: &Will, payload: &[u8]) -> Will {
    let message = &will.message;
    let message = Message::new(*message.head(), message.name(), message.properties(), payload);
    Will { message, ..*will }
}

impl Conversation {
    /// Section 6.4. Without a topic there shall be no will any more.
    pub(super) fn on_will_topic_update(
        &mut self,
        update: Option<WillTopic<'_>>,
        out: &mut Outbox,
    ) -> Result<(), MqttSnFault> {
        let present = self.rare.as_ref().and_then(|rare| rare.will.as_ref());
        let payload = present.map_or(&[][..], |will| will.message.payload());
        let will = match update.map(|update| will_on(&update, payload, self.config.topic_limits)).transpose() {
            Ok(will) => will,
            Err(error) => {
                self.send(&Packet::WillTopicResp(ReturnCode::NotSupported), out);
                return Err(MqttSnFault::WillTopic(error));
            }
        };
        self.set_will(will, out);
        self.send(&Packet::WillTopicResp(ReturnCode::Accepted), out);
        Ok(())
    }

    /// Section 6.4. Without a topic there is nothing to update.
    pub(super) fn on_will_msg_update(&mut self, payload: &[u8], out: &mut Outbox) -> Result<(), MqttSnFault> {
        if payload.len() > self.config.will_bytes_max {
            self.send(&Packet::WillMsgResp(ReturnCode::NotSupported), out);
            return Err(MqttSnFault::WillTooLong);
        }
        let present = self.rare.as_ref().and_then(|rare| rare.will.as_ref());
        let Some(will) = present.map(|will| Box::new(with_payload(will, payload))) else {
            self.send(&Packet::WillMsgResp(ReturnCode::NotSupported), out);
            return Ok(());
        };
        self.set_will(Some(will), out);
        self.send(&Packet::WillMsgResp(ReturnCode::Accepted), out);
        Ok(())
    }

    fn set_will(&mut self, will: Option<Box<Will>>, out: &mut Outbox) {
        if will.is_some() {
            self.rare().will = will.clone();
        } else if let Some(rare) = &mut self.rare {
            rare.will = None;
        }
        out.request(Request::SetWill { will });
    }
}
