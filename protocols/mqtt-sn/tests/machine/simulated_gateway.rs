//! What a gateway knows of a session that it keeps, for the simulation: also after it was killed.

use std::collections::BTreeSet;

use thingway_contract::{
    Delivery, Message, Parked, PublishOutcome, Qos, Reply, Request, Token, TopicId, Unacknowledged,
};
use thingway_mqtt_sn::State;

/// What is safe. What the gateway was asked is there when it answers, and not before.
#[derive(Default)]
pub struct Log {
    last_id: u16,
    /// In the order in which they were first sent.
    outbound: Vec<Unacknowledged>,
    inbound: BTreeSet<u16>,
    /// What was told last of topic ids and sleep, or left at an orderly end.
    topic_ids: Vec<TopicId>,
    sleep_secs: u16,
    /// The same with what is not safe yet: that a client knows an id, and its sleep.
    told: (Vec<u16>, u16),
}

fn known(topic_ids: &[TopicId]) -> Vec<u16> {
    topic_ids.iter().filter(|entry| entry.known).map(|entry| entry.id).collect()
}

impl Log {
    /// A message for the client gets its identifier.
    pub fn number(&mut self, delivery: Delivery) -> Delivery {
        self.last_id += 1;
        Delivery { packet_id: self.last_id, ..delivery }
    }

    /// A message was given to the client's conversation, or may have been.
    pub fn sent(&mut self, delivery: Delivery) {
        self.outbound.push(Unacknowledged { packet_id: delivery.packet_id, delivery: Some(delivery) });
    }

    /// Does what a conversation asked for.
    pub fn execute(&mut self, request: Request, published: &mut Vec<Message>) -> Option<Reply> {
        match request {
            Request::Publish { token, packet_id, message } => {
                assert_eq!(packet_id != 0, message.head().qos == Qos::ExactlyOnce);
                assert!(packet_id == 0 || self.inbound.insert(packet_id), "{packet_id} is known already");
                published.push(message);
                Some(Reply::Published { token, outcome: PublishOutcome::Accepted })
            }
            Request::Released { token, packet_id } => {
                assert!(self.inbound.remove(&packet_id), "{packet_id} was not under way");
                (token != Token::NONE).then_some(Reply::Recorded { token })
            }
            Request::Received { token, packet_id } => {
                let position = self.position(packet_id);
                let entry = &mut self.outbound[position];
                assert!(entry.delivery.take().is_none_or(|delivery| delivery.qos == Qos::ExactlyOnce));
                Some(Reply::Recorded { token })
            }
            Request::Acknowledged { packet_id } => {
                let position = self.position(packet_id);
                self.outbound.remove(position);
                None
            }
            Request::Subscribe { token, subscriptions } => {
                let results = subscriptions.into_iter().map(|s| s.map(|s| s.options.qos)).collect();
                Some(Reply::Subscribed { token, results })
            }
            Request::Keep { parked } => {
                (self.topic_ids, self.sleep_secs) = (parked.topic_ids, parked.sleep_secs);
                None
            }
            other => panic!("{other:?}"),
        }
    }

    /// A conversation asks for something.
    pub fn ask(&mut self, request: &Request) {
        if let Request::Keep { parked } = request {
            let told = (known(&parked.topic_ids), parked.sleep_secs);
            assert_ne!(self.told, told, "told before");
            self.told = told;
        }
    }

    /// At the end of a turn of the session's conversation.
    pub fn check(&self, state: State) {
        match state {
            State::Active => assert_eq!(self.told.1, 0),
            State::Asleep | State::Awake => assert_ne!(self.told.1, 0),
            State::Disconnected | State::Connecting => {}
        }
    }

    fn position(&self, packet_id: u16) -> usize {
        let position = self.outbound.iter().position(|entry| entry.packet_id == packet_id);
        position.unwrap_or_else(|| panic!("{packet_id} is not under way"))
    }

    /// A conversation ended in order. What it asked for last is done afterwards.
    pub fn leave(&mut self, parked: Parked) {
        for entry in &parked.outbound {
            let known = &self.outbound[self.position(entry.packet_id)];
            assert!(entry.delivery.is_some() || known.delivery.is_none(), "released before that was kept");
        }
        assert!(parked.inbound.iter().all(|id| self.inbound.contains(id)), "{:?}", parked.inbound);
        assert_eq!(self.told.0, known(&parked.topic_ids), "so few are told at once");
        (self.topic_ids, self.sleep_secs) = (parked.topic_ids, parked.sleep_secs);
    }

    /// What the next conversation is given.
    pub fn parked(&mut self) -> Parked {
        self.told = (known(&self.topic_ids), self.sleep_secs);
        Parked {
            outbound: self.outbound.clone(),
            inbound: self.inbound.iter().copied().collect(),
            topic_ids: self.topic_ids.clone(),
            sleep_secs: self.sleep_secs,
            ..Parked::default()
        }
    }

    pub fn is_over(&self) -> bool {
        self.outbound.is_empty() && self.inbound.is_empty()
    }
}
