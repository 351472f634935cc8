//! What a gateway that keeps a session knows of its exchanges, against which each step is checked.

use std::collections::{BTreeSet, VecDeque};

use thingway_contract::{Delivery, Parked, PublishOutcome, Qos, Request, TopicId, Unacknowledged};

use crate::{Packet, State};

#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// In the order in which they were first sent.
    outbound: Vec<Outgoing>,
    /// Ids of incoming messages that were taken, and those that are being released.
    inbound: BTreeSet<u16>,
    releasing: BTreeSet<u16>,
    /// Ids of incoming messages that the gateway has not answered for.
    asked: BTreeSet<u16>,
    /// The topic ids that it was told last, and the sleep.
    topic_ids: Vec<TopicId>,
    sleep_secs: u16,
}

#[derive(Debug)]
struct Outgoing {
    delivery: Delivery,
    /// It was asked to keep that the client has it, and has done so.
    asked: bool,
    kept: bool,
}

impl Exchanges {
    /// An id for a delivery that neither those under way nor those in the queue have.
    pub(super) fn free_id(&self, queue: &VecDeque<Delivery>) -> u16 {
        let in_use = |id: u16| queue.iter().any(|delivery| delivery.packet_id == id) || self.find(id).is_some();
        (1..).find(|&id| !in_use(id)).unwrap_or_default()
    }

    fn find(&self, id: u16) -> Option<usize> {
        self.outbound.iter().position(|outgoing| outgoing.delivery.packet_id == id)
    }

    /// The machine has taken a delivery, or may have.
    pub(super) fn sent(&mut self, delivery: Delivery) {
        if delivery.packet_id != 0 && delivery.qos.is_acknowledged() {
            assert_eq!(self.find(delivery.packet_id), None);
            self.outbound.push(Outgoing { delivery, asked: false, kept: false });
        }
    }

    /// The machine asks for something.
    pub(super) fn asked(&mut self, request: &Request, session_kept: bool) {
        match *request {
            Request::Publish { packet_id, ref message, .. } => {
                assert_eq!(packet_id != 0, session_kept && message.head().qos == Qos::ExactlyOnce);
                if packet_id != 0 {
                    assert!(!self.inbound.contains(&packet_id) && !self.releasing.contains(&packet_id), "taken before");
                    assert!(self.asked.insert(packet_id), "asked before");
                }
            }
            Request::Released { token, packet_id } => {
                assert!(self.inbound.remove(&packet_id), "nothing to release");
                if token != thingway_contract::Token::NONE {
                    self.releasing.insert(packet_id);
                }
            }
            Request::Received { packet_id, .. } => {
                let outgoing = self.find(packet_id).map(|position| &mut self.outbound[position]);
                let outgoing = outgoing.expect("under way");
                assert_eq!(outgoing.delivery.qos, Qos::ExactlyOnce);
                assert!(!std::mem::replace(&mut outgoing.asked, true), "asked before");
            }
            Request::Acknowledged { packet_id } => {
                let position = self.find(packet_id).expect("under way");
                self.outbound.remove(position);
            }
            Request::Keep { ref parked } => {
                assert!(session_kept, "there is nothing to keep");
                let news = self.sleep_secs != parked.sleep_secs || self.untold_len(&parked.topic_ids) > 0;
                assert!(news, "told before: {parked:?}");
                self.topic_ids.clone_from(&parked.topic_ids);
                self.sleep_secs = parked.sleep_secs;
            }
            _ => {}
        }
    }

    /// In how many of these the client knows what the gateway was not told, or the other way round.
    fn untold_len(&self, topic_ids: &[TopicId]) -> usize {
        let told = |entry: &&TopicId| entry.known && !topic_ids.contains(entry);
        let known = |entry: &&TopicId| entry.known && !self.topic_ids.contains(entry);
        self.topic_ids.iter().filter(told).count() + topic_ids.iter().filter(known).count()
    }

    /// What an orderly end leaves was told before, but for a few topic ids.
    fn check_told(&self, parked: &Parked, state: State) {
        match state {
            State::Active => assert_eq!(self.sleep_secs, 0),
            State::Asleep | State::Awake => assert_eq!(self.sleep_secs, parked.sleep_secs),
            // It is ending, or asks for another session.
            State::Disconnected | State::Connecting => return,
        }
        let untold = self.untold_len(&parked.topic_ids);
        assert!(untold == 0 || untold * 16 < parked.topic_ids.len(), "{untold} of {:?}", parked.topic_ids);
    }

    /// The gateway has done what it was asked.
    pub(super) fn done(&mut self, request: &Request, outcome: PublishOutcome) {
        match *request {
            Request::Publish { packet_id: id @ 1.., .. } => {
                self.asked.remove(&id);
                if outcome == PublishOutcome::Accepted {
                    self.inbound.insert(id);
                }
            }
            Request::Released { packet_id, .. } => {
                self.releasing.remove(&packet_id);
            }
            Request::Received { packet_id, .. } => {
                if let Some(position) = self.find(packet_id) {
                    self.outbound[position].kept = true;
                }
            }
            _ => {}
        }
    }

    /// The machine writes a packet.
    pub(super) fn written(&self, packet: &Packet<'_>) {
        match *packet {
            Packet::Pubrec(id) => assert!(!self.asked.contains(&id), "PUBREC before the gateway's answer"),
            Packet::Pubcomp(id) => assert!(!self.releasing.contains(&id), "PUBCOMP before the gateway's answer"),
            Packet::Pubrel(id) => {
                // A PUBREC that belongs to no message of QoS 2 is answered as a stranger's.
                let early = |outgoing: &Outgoing| outgoing.delivery.qos == Qos::ExactlyOnce && !outgoing.kept;
                let early = self.find(id).is_some_and(|position| early(&self.outbound[position]));
                assert!(!early, "PUBREL before the gateway's answer");
            }
            _ => {}
        }
    }

    /// A conversation has ended in order, and everything was done.
    pub(super) fn check_left(&mut self, parked: &Parked, state: State) {
        self.check_told(parked, state);
        self.topic_ids.clone_from(&parked.topic_ids);
        self.sleep_secs = parked.sleep_secs;
        assert!(self.asked.is_empty() && self.releasing.is_empty());
        for outgoing in &self.outbound {
            let id = outgoing.delivery.packet_id;
            assert!(parked.outbound.iter().any(|entry| entry.packet_id == id), "{id} is over, and nobody was told");
        }
        for entry in parked.outbound.iter().filter(|entry| entry.delivery.as_ref().is_none_or(|d| d.packet_id != 0)) {
            // Without its content it may as well be one of the machine's own.
            if let Some(position) = self.find(entry.packet_id) {
                assert!(entry.delivery.is_some() || self.outbound[position].kept);
            } else {
                assert!(entry.delivery.is_none());
            }
        }
    }

    /// The gateway was killed: nobody knows what it had sent of the queue, and what it has not done was never asked. An orderly end would have left
    /// `parked`.
    pub(super) fn kill(&mut self, parked: &Parked, state: State, queue: &mut VecDeque<Delivery>) {
        self.check_told(parked, state);
        self.asked.clear();
        self.inbound.append(&mut self.releasing);
        queue.drain(..).for_each(|delivery| self.sent(delivery));
    }

    /// What the next conversation is given.
    pub(super) fn parked(&mut self) -> Parked {
        let entry = |outgoing: &mut Outgoing| {
            outgoing.asked = outgoing.kept;
            let delivery = (!outgoing.kept).then(|| outgoing.delivery.clone());
            Unacknowledged { packet_id: outgoing.delivery.packet_id, delivery }
        };
        let outbound = self.outbound.iter_mut().map(entry).collect();
        let inbound = self.inbound.iter().copied().collect();
        let (topic_ids, sleep_secs) = (self.topic_ids.clone(), self.sleep_secs);
        Parked { outbound, inbound, topic_ids, sleep_secs, ..Parked::default() }
    }
}
