//! What a gateway and a client know of the exchanges of a session, to hold a conversation against.

use std::collections::{HashMap, VecDeque};

use thingway_contract::{Parked, PublishOutcome, Qos, Request, Token};

use crate::{
    Frame, Version,
    packet::{Ack, Packet, PacketType, Publish, Sender},
};

/// Exchanges under way, as the requests and packets so far tell.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The gateway keeps the session.
    pub(super) kept: bool,
    /// Outgoing messages under identifiers that the gateway chose.
    outbound: HashMap<u16, Outbound>,
    /// Incoming QoS 2 messages.
    inbound: HashMap<u16, Inbound>,
    /// PUBACKs that are due, in the order of their packets.
    pubacks: VecDeque<u16>,
    /// PUBRECs that are due, and whether the message was repeated.
    pubrecs: VecDeque<(u16, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outbound {
    Sent,
    /// The gateway was asked to keep that PUBREC came.
    Received,
    /// It has.
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbound {
    Asked,
    Received,
    Releasing,
}

impl Model {
    pub(super) fn new(kept: bool) -> Self {
        Self { kept, ..Self::default() }
    }

    pub(super) fn is_chosen(&self, id: u16) -> bool {
        self.outbound.contains_key(&id)
    }

    /// A delivery with an identifier of the gateway's went out.
    pub(super) fn sent(&mut self, id: u16) {
        assert_eq!(self.outbound.insert(id, Outbound::Sent), None, "an identifier in use was used");
    }

    /// The client sends a packet, and nothing was said against it.
    pub(super) fn client_sent(&mut self, version: Version, frame: Frame<'_>) {
        match frame.packet_type(version) {
            Ok(PacketType::Publish) => {
                let publish = Publish::decode_topic_unchecked(version, Sender::Client, frame.first, frame.body);
                let Publish { qos, packet_id: id, .. } = publish.expect("accepted");
                match (qos, self.inbound.get(&id)) {
                    (Qos::AtMostOnce, _) | (Qos::ExactlyOnce, Some(Inbound::Asked)) => {}
                    (Qos::AtLeastOnce, _) => self.pubacks.push_back(id),
                    (Qos::ExactlyOnce, Some(Inbound::Received)) => {
                        if !self.pubrecs.contains(&(id, true)) {
                            self.pubrecs.push_back((id, true));
                        }
                    }
                    (Qos::ExactlyOnce, Some(Inbound::Releasing)) if !version.has_properties() => {}
                    (Qos::ExactlyOnce, _) => self.pubrecs.push_back((id, false)),
                }
            }
            Ok(kind @ PacketType::Pubrel) => {
                let Ack { packet_id: id, .. } = Ack::decode(version, kind, frame.body).expect("accepted");
                if self.inbound.get(&id) == Some(&Inbound::Received) {
                    self.pubrecs.retain(|&due| due != (id, true));
                    if !self.kept {
                        self.inbound.remove(&id);
                    }
                }
            }
            _ => {}
        }
    }

    /// The gateway is asked something.
    pub(super) fn asked(&mut self, request: &Request) {
        match *request {
            Request::Publish { token, packet_id, ref message } if message.head().qos == Qos::ExactlyOnce => {
                let id = token.0 as u16;
                assert_eq!(packet_id, if self.kept { id } else { 0 });
                assert_eq!(self.inbound.insert(id, Inbound::Asked), None, "published twice");
            }
            Request::Publish { packet_id, .. } => assert_eq!(packet_id, 0),
            Request::Released { packet_id, .. } => {
                assert!(self.kept);
                let before = self.inbound.insert(packet_id, Inbound::Releasing);
                assert_eq!(before, Some(Inbound::Received), "released what it did not have");
            }
            Request::Received { packet_id, .. } => {
                let before = self.outbound.insert(packet_id, Outbound::Received);
                assert_eq!(before, Some(Outbound::Sent), "received what was not sent");
            }
            Request::Acknowledged { packet_id } => {
                let before = self.outbound.remove(&packet_id);
                assert!(matches!(before, Some(Outbound::Sent | Outbound::Released)), "over from {before:?}");
            }
            _ => {}
        }
    }

    /// The gateway is about to answer a publication.
    pub(super) fn published(&mut self, version: Version, token: Token, qos: Qos, outcome: PublishOutcome) {
        if qos != Qos::ExactlyOnce {
            return;
        }
        let is_taken = match outcome {
            PublishOutcome::Accepted | PublishOutcome::NoSubscribers => true,
            PublishOutcome::NotAuthorized => !version.has_properties(),
            _ => false,
        };
        let id = token.0 as u16;
        let before = if is_taken { self.inbound.insert(id, Inbound::Received) } else { self.inbound.remove(&id) };
        assert_eq!(before, Some(Inbound::Asked));
    }

    /// The gateway is about to answer that it has kept something. Tells what must be written then.
    pub(super) fn recorded(&mut self, request: &Request) -> Option<(PacketType, u16)> {
        match *request {
            Request::Received { packet_id, .. } => {
                assert_eq!(self.outbound.insert(packet_id, Outbound::Released), Some(Outbound::Received));
                Some((PacketType::Pubrel, packet_id))
            }
            Request::Released { packet_id, .. } => {
                assert_eq!(self.inbound.remove(&packet_id), Some(Inbound::Releasing));
                Some((PacketType::Pubcomp, packet_id))
            }
            _ => None,
        }
    }

    /// A packet is written to the client, which sent its own one at a time.
    pub(super) fn written(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Puback(ack) => assert_eq!(self.pubacks.pop_front(), Some(ack.packet_id), "PUBACK in its turn"),
            Packet::Pubrec(ack) => {
                let due = self.pubrecs.pop_front();
                assert_eq!(due.map(|(id, _)| id), Some(ack.packet_id), "PUBREC in its turn");
                let is_received = self.inbound.get(&ack.packet_id) == Some(&Inbound::Received);
                assert!(ack.reason.is_failure() || is_received, "PUBREC before the gateway's answer");
            }
            Packet::Pubrel(ack) => {
                let stage = self.outbound.get(&ack.packet_id);
                assert!(matches!(stage, None | Some(Outbound::Released)), "PUBREL before the gateway's answer");
            }
            Packet::Pubcomp(ack) => {
                assert_eq!(self.inbound.get(&ack.packet_id), None, "PUBCOMP before the gateway's answer");
            }
            _ => {}
        }
    }

    /// All requests were answered.
    pub(super) fn check_settled(&self) {
        assert!(self.pubacks.is_empty() && self.pubrecs.is_empty(), "not acknowledged: {self:?}");
        assert!(self.inbound.values().all(|&stage| stage == Inbound::Received), "{self:?}");
    }

    /// The connection is gone, and with it what was asked and not answered. What is left of it must fit.
    pub(super) fn depart(&mut self, parked: &Parked) {
        self.pubacks.clear();
        self.pubrecs.clear();
        let kept = self.kept;
        self.inbound.retain(|_, stage| !kept || *stage != Inbound::Asked);
        let mut known: Vec<u16> = self.inbound.keys().copied().collect();
        known.sort_unstable();
        assert_eq!(known, parked.inbound);
        self.inbound.values_mut().for_each(|stage| *stage = Inbound::Received);
        for entry in &parked.outbound {
            match (&entry.delivery, self.outbound.get(&entry.packet_id)) {
                (Some(delivery), None) => assert_eq!(delivery.packet_id, 0),
                (Some(delivery), Some(stage)) => {
                    assert_eq!(delivery.packet_id, entry.packet_id);
                    assert_ne!(*stage, Outbound::Released);
                }
                (None, stage) => assert!(matches!(stage, None | Some(Outbound::Released))),
            }
        }
        let left = |id: &u16| parked.outbound.iter().any(|entry| entry.packet_id == *id);
        assert!(self.outbound.keys().all(left), "lost: {self:?}");
        self.outbound
            .values_mut()
            .filter(|stage| **stage == Outbound::Received)
            .for_each(|stage| *stage = Outbound::Sent);
        // A kept session ends all releases as its own.
        let released = parked.outbound.iter().filter(|entry| kept && entry.delivery.is_none());
        self.outbound.extend(released.map(|entry| (entry.packet_id, Outbound::Released)));
    }
}
