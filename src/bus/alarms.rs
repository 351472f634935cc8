use serde_json::json;
use thingway_contract::{Instant, Message, MessageHead, Properties, Topic, TopicLimits};

use super::{Bus, Lane};
use crate::watch::Alarm;

impl Bus {
    /// Tells of an alarm that came or is over, under `$SYS`.
    pub fn tell_alarm(&self, node: &str, alarm: &Alarm, now: Instant, lane: &mut Lane) {
        let word = if alarm.deactivated_ms.is_some() { "deactivate" } else { "activate" };
        let topic = format!("$SYS/brokers/{node}/alarms/{word}");
        let Ok(topic) = Topic::parse(&topic, TopicLimits::default()) else { return };
        let mut told = json!({
            "name": alarm.name, "message": alarm.message, "details": alarm.details, "activate_at": alarm.activated_ms,
        });
        if let Some(at) = alarm.deactivated_ms {
            told["deactivate_at"] = at.into();
        }
        let head = MessageHead { received_at: now, ..MessageHead::default() };
        let payload = told.to_string();
        self.publish(Message::new(head, topic, Properties::default(), payload.as_bytes()), None, now, lane);
    }
}
