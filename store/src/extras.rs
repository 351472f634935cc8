use thingway_contract::{Observation, Parked, Resumption, TopicId};

/// What a conversation leaves to the next one beside messages and exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Topic names that the peer knows by a number (MQTT-SN 1.2, section 6.5).
    pub topic_ids: Vec<TopicId>,
    /// What the peer observes (RFC 7641, section 4.1).
    pub observations: Vec<Observation>,
    /// Seconds between signs of life that the peer promised when it went to sleep (MQTT-SN 1.2, section 6.14), 0 when it was awake.
    pub sleep_secs: u16,
    /// What the next conversation must show.
    pub resumption: Option<Resumption>,
}

impl Extras {
    /// Takes them out of what a conversation parked; `None` when there are none.
    pub fn take(parked: &mut Parked) -> Option<Box<Self>> {
        let extras = Self {
            topic_ids: std::mem::take(&mut parked.topic_ids),
            observations: std::mem::take(&mut parked.observations),
            sleep_secs: std::mem::take(&mut parked.sleep_secs),
            resumption: parked.resumption.take(),
        };
        (!extras.is_empty()).then(|| Box::new(extras))
    }

    /// Puts them where the next conversation finds them.
    pub fn put(self, parked: &mut Parked) {
        parked.topic_ids = self.topic_ids;
        parked.observations = self.observations;
        parked.sleep_secs = self.sleep_secs;
        parked.resumption = self.resumption;
    }

    /// True when there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.topic_ids.is_empty() && self.observations.is_empty() && self.sleep_secs == 0 && self.resumption.is_none()
    }
}
