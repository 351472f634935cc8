//! Sessions that outlive their connections (sections 4.1, 4.3 and 4.4).

use std::collections::{BTreeSet, VecDeque};

use proptest::{collection::vec, prelude::*};
use thingway_contract::{
    Delivered, Delivery, Instant, MessageHead, Parked, PublishOutcome, Qos, Request, Token, Unacknowledged, WillFate,
};
use thingway_mqtt::{
    Config, PropertyId, Reason, Value, Version,
    packet::{Ack, Packet, Publish},
};

use crate::support::*;

fn unacknowledged(packet_id: u16, qos: Qos, payload: &[u8]) -> Unacknowledged {
    Unacknowledged { packet_id, delivery: Some(delivery(qos, "t", payload)) }
}

fn released(packet_id: u16) -> Unacknowledged {
    Unacknowledged { packet_id, delivery: None }
}

/// [MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-3.3.1-1], [MQTT-3.3.1-3], [MQTT-4.3.3-6]; in 3.1.1 [MQTT-4.4.0-1].
#[test]
fn unacknowledged_messages_are_sent_again_in_order_with_dup() {
    for version in Version::ALL {
        let outbound = vec![
            unacknowledged(65_535, Qos::ExactlyOnce, b"1"),
            unacknowledged(3, Qos::AtLeastOnce, b"2"),
            released(9),
            unacknowledged(1, Qos::AtLeastOnce, b"3"),
        ];
        let mut pair = Pair::resumed(version, Parked { outbound, next_packet_id: 2, ..Parked::default() });
        let again = |qos, id, payload| Packet::Publish(Publish { duplicate: true, ..plain(qos, id, "t", payload) });
        pair.expect(&Packet::Pubrel(Ack::success(9)));
        pair.expect(&again(Qos::ExactlyOnce, 65_535, b"1"));
        pair.expect(&again(Qos::AtLeastOnce, 3, b"2"));
        pair.expect(&again(Qos::AtLeastOnce, 1, b"3"));
        pair.expect_nothing();
        // New messages come without DUP and with identifiers that are free.
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"4"));
        pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 2, "t", b"4")));
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"5"));
        let bytes = pair.next_packet();
        assert!(![1, 2, 3, 9, 65_535].contains(&publish_of(version, &bytes).packet_id));
        pair.pubcomp(9);
        pair.puback(3);
        pair.pubrec(65_535);
        pair.expect(&Packet::Pubrel(Ack::success(65_535)));
        pair.pubcomp(65_535);
        assert_eq!(pair.depart().parked.outbound.len(), 3);
    }
}

/// [MQTT-4.9.0-1], [MQTT-4.9.0-2]: the receive maximum holds for what is sent again, and new messages wait behind.
#[test]
fn resending_keeps_to_the_receive_maximum() {
    let outbound = (1..=4).map(|id| unacknowledged(id, Qos::AtLeastOnce, &[id as u8])).chain([released(5)]).collect();
    let parked = Parked { outbound, next_packet_id: 6, ..Parked::default() };
    let properties: Extras<'_> = &[(PropertyId::ReceiveMaximum, Value::Two(2))];
    let opening = Opening { clean_start: false, properties, ..Opening::default() };
    let mut pair = Pair::resumed_with(Version::V5, Config::default(), &opening, Some(parked));
    let again =
        |id| Packet::Publish(Publish { duplicate: true, payload: &[], ..plain(Qos::AtLeastOnce, id, "t", &[]) });
    let expect_again = |pair: &mut Pair, id: u16| {
        let bytes = pair.next_packet();
        let publish = publish_of(Version::V5, &bytes);
        assert_eq!(publish.payload, [id as u8]);
        assert_eq!(Packet::Publish(Publish { payload: &[], ..publish }), again(id));
    };
    pair.expect(&Packet::Pubrel(Ack::success(5)));
    expect_again(&mut pair, 1);
    expect_again(&mut pair, 2);
    pair.expect_nothing();
    let delivered = pair.deliver(delivery(Qos::AtLeastOnce, "t", b"new"));
    assert!(matches!(delivered, Delivered::Later(_)));
    // The release took nothing of the window, so its end gives nothing back.
    pair.pubcomp(5);
    pair.expect_nothing();
    pair.puback(2);
    expect_again(&mut pair, 3);
    pair.puback(1);
    expect_again(&mut pair, 4);
    pair.expect_nothing();
    let delivered = pair.deliver(delivery(Qos::AtLeastOnce, "t", b"new"));
    assert!(matches!(delivered, Delivered::Later(_)));
    pair.puback(3);
    pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"new"));
}

/// [MQTT-4.3.3-10]: what was published before the reconnect is not published again.
#[test]
fn a_received_qos_2_message_stays_received() {
    for version in Version::ALL {
        let parked = Parked { inbound: vec![7, 8], next_packet_id: 1, ..Parked::default() };
        let mut pair = Pair::resumed(version, parked);
        pair.publish_with(true, Qos::ExactlyOnce, 7, "t", b"", &[]);
        pair.expect(&Packet::Pubrec(Ack::success(7)));
        assert!(pair.published.is_empty());
        pair.pubrel(7);
        pair.expect(&Packet::Pubcomp(Ack::success(7)));
        pair.pubrel(8);
        pair.expect(&Packet::Pubcomp(Ack::success(8)));
        pair.publish(Qos::ExactlyOnce, 7, "t", b"new");
        assert_eq!(pair.published.len(), 1);
    }
}

/// Section 4.9: the window of the new connection begins empty, and repeated messages count in it.
#[test]
fn repeated_messages_count_for_the_receive_maximum_of_this_connection() {
    let config = Config { receive_maximum: 2, ..Config::default() };
    let parked = Parked { inbound: vec![1, 2, 3], next_packet_id: 1, ..Parked::default() };
    let opening = Opening { clean_start: false, ..Opening::default() };
    let mut pair = Pair::resumed_with(Version::V5, config, &opening, Some(parked));
    for id in [1, 2] {
        pair.publish_with(true, Qos::ExactlyOnce, id, "t", b"", &[]);
        pair.expect(&Packet::Pubrec(Ack::success(id)));
    }
    pair.pubrel(1);
    pair.expect(&Packet::Pubcomp(Ack::success(1)));
    pair.publish_with(true, Qos::ExactlyOnce, 3, "t", b"", &[]);
    pair.expect(&Packet::Pubrec(Ack::success(3)));
    pair.publish(Qos::AtLeastOnce, 4, "t", b"");
    pair.expect_disconnect(Reason::ReceiveMaximumExceeded);
}

#[test]
fn state_moves_between_versions() {
    let properties: Extras<'_> = &[(PropertyId::TopicAliasMaximum, Value::Two(5))];
    let opening = Opening { properties, ..Opening::default() };
    let mut old = Pair::connected_with(Version::V5, Config::default(), &opening);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        old.deliver_now(delivery(qos, "some/topic", b"x"));
    }
    let parked = old.depart().parked;
    let mut new = Pair::resumed(Version::V31, parked);
    for (qos, id) in [(Qos::AtLeastOnce, 1), (Qos::ExactlyOnce, 2)] {
        let again = Publish { duplicate: true, ..plain(qos, id, "some/topic", b"x") };
        new.expect(&Packet::Publish(again));
    }
}

/// Topic aliases belong to the connection [MQTT-3.3.2-7].
#[test]
fn aliases_do_not_outlive_the_connection() {
    let properties: Extras<'_> = &[(PropertyId::TopicAliasMaximum, Value::Two(5))];
    let opening = Opening { properties, clean_start: false, ..Opening::default() };
    let mut parked = None;
    for _ in 0..2 {
        let mut pair = Pair::resumed_with(Version::V5, Config::default(), &opening, parked);
        pair.deliver_now(delivery(Qos::AtLeastOnce, "some/topic", b"x"));
        let bytes = pair.next_packet();
        let publish = publish_of(Version::V5, &bytes);
        assert_eq!(publish.topic, "some/topic");
        assert_eq!(publish.properties.short(PropertyId::TopicAlias), Some(1));
        pair.puback(publish.packet_id);
        parked = Some(pair.depart().parked);
    }
}

/// [MQTT-4.3.3-7]: once sent, a message does not expire; it goes out again with the least that can be told.
#[test]
fn an_expired_message_that_was_sent_is_sent_again() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let head = MessageHead { expires_at: Instant::from_millis(1), ..MessageHead::default() };
        let delivery = delivery_of(qos, message_with(head, "t", &[], b"x"));
        let outbound = vec![Unacknowledged { packet_id: 1, delivery: Some(delivery) }];
        let mut pair = Pair::resumed(Version::V5, Parked { outbound, next_packet_id: 2, ..Parked::default() });
        let bytes = pair.next_packet();
        let publish = publish_of(Version::V5, &bytes);
        assert!(publish.duplicate);
        assert_eq!(publish.properties.number(PropertyId::MessageExpiryInterval), Some(1));
    }
}

#[test]
fn a_message_too_large_for_the_new_connection_counts_as_delivered() {
    let outbound = vec![unacknowledged(1, Qos::AtLeastOnce, &[0; 100]), unacknowledged(2, Qos::AtLeastOnce, b"x")];
    let parked = Parked { outbound, next_packet_id: 3, ..Parked::default() };
    let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(50))];
    let opening = Opening { clean_start: false, properties, ..Opening::default() };
    let mut pair = Pair::resumed_with(Version::V5, Config::default(), &opening, Some(parked));
    let bytes = pair.next_packet();
    assert_eq!(publish_of(Version::V5, &bytes).packet_id, 2);
    pair.expect_nothing();
    assert_eq!(pair.depart().parked.outbound.len(), 1);
}

#[test]
fn a_connection_without_state_leaves_none() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        let departure = pair.depart();
        assert!(departure.parked.is_empty());
        let mut pair = Pair::open(version, Config::default());
        assert!(pair.depart().parked.is_empty());
    }
}

/// A client that keeps its own state over connections, as section 4.1 asks of it.
struct Client {
    version: Version,
    next_id: u16,
    to_publish: VecDeque<(Qos, u32)>,
    outgoing: Vec<Outgoing>,
    received: BTreeSet<u16>,
    /// What the application was given.
    given: Vec<(Qos, u32)>,
    /// Packets on their way to the server.
    wire: VecDeque<Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Outgoing {
    id: u16,
    qos: Qos,
    number: u32,
    released: bool,
}

const CLIENT_WINDOW: usize = 5;

impl Client {
    fn new(version: Version, messages: &[Qos]) -> Self {
        Self {
            version,
            next_id: 1,
            to_publish: messages.iter().copied().zip(0..).collect(),
            outgoing: Vec::new(),
            received: BTreeSet::new(),
            given: Vec::new(),
            wire: VecDeque::new(),
        }
    }

    fn write(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("fits");
        self.wire.push_back(bytes);
    }

    fn write_publish(&mut self, outgoing: Outgoing, duplicate: bool) {
        let payload = outgoing.number.to_be_bytes();
        let publish = Publish { duplicate, ..plain(outgoing.qos, outgoing.id, "up", &payload) };
        self.write(&Packet::Publish(publish));
    }

    fn publish_next(&mut self) -> bool {
        if self.outgoing.len() >= CLIENT_WINDOW {
            return false;
        }
        let Some((qos, number)) = self.to_publish.pop_front() else { return false };
        // Small numbers, so that identifiers are soon used again.
        while self.outgoing.iter().any(|outgoing| outgoing.id == self.next_id) {
            self.next_id = self.next_id % 7 + 1;
        }
        let outgoing = Outgoing { id: self.next_id, qos, number, released: false };
        self.next_id = self.next_id % 7 + 1;
        self.outgoing.push(outgoing);
        self.write_publish(outgoing, false);
        true
    }

    fn reconnect(&mut self) {
        self.wire.clear();
        for outgoing in self.outgoing.clone() {
            if outgoing.released {
                self.write(&Packet::Pubrel(Ack::success(outgoing.id)));
            } else {
                self.write_publish(outgoing, true);
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        match decode(self.version, bytes) {
            Packet::Publish(publish) => {
                let number = u32::from_be_bytes(publish.payload.try_into().expect("a number"));
                let id = publish.packet_id;
                if publish.qos != Qos::ExactlyOnce || self.received.insert(id) {
                    self.given.push((publish.qos, number));
                }
                match publish.qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => self.write(&Packet::Puback(Ack::success(id))),
                    Qos::ExactlyOnce => self.write(&Packet::Pubrec(Ack::success(id))),
                }
            }
            Packet::Puback(ack) => {
                self.outgoing.retain(|outgoing| outgoing.id != ack.packet_id);
            }
            // One that comes twice must not end the next message with the same identifier.
            Packet::Pubcomp(ack) => {
                self.outgoing.retain(|outgoing| outgoing.id != ack.packet_id || !outgoing.released);
            }
            Packet::Pubrec(ack) => {
                if let Some(outgoing) = self.outgoing.iter_mut().find(|outgoing| outgoing.id == ack.packet_id) {
                    outgoing.released = true;
                }
                self.write(&Packet::Pubrel(Ack::success(ack.packet_id)));
            }
            Packet::Pubrel(ack) => {
                self.received.remove(&ack.packet_id);
                self.write(&Packet::Pubcomp(Ack::success(ack.packet_id)));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// A client, its connection of the moment, and a gateway that remembers.
struct World {
    client: Client,
    pair: Pair,
    /// For the client, in order.
    queue: VecDeque<Delivery>,
    /// What the gateway was asked to publish.
    published: Vec<(Qos, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    ClientPublishes,
    GatewayDelivers,
    ToServer,
    /// The client's next packet arrives twice, as after an impatient retransmission, where that is harmless: with a
    /// second PUBACK the client could not tell which of two messages with the same identifier it is for.
    ToServerTwice,
    ToClient,
    GatewayAnswers,
    Cut,
}

impl World {
    fn new(version: Version, up: &[Qos], down: &[Qos]) -> Self {
        let queue =
            down.iter().zip(0u32..).map(|(&qos, number)| delivery(qos, "down", &number.to_be_bytes())).collect();
        Self {
            client: Client::new(version, up),
            pair: Self::connection(version, Parked::default()),
            queue,
            published: Vec::new(),
        }
    }

    fn connection(version: Version, parked: Parked) -> Pair {
        let properties: Extras<'_> =
            &[(PropertyId::ReceiveMaximum, Value::Two(3)), (PropertyId::SessionExpiryInterval, Value::Four(9))];
        let opening = Opening { clean_start: false, properties, ..Opening::default() };
        let mut pair =
            Pair::resumed_with(version, Config { inflight_max: 4, ..Config::default() }, &opening, Some(parked));
        pair.automatic = false;
        pair
    }

    /// Takes a step; false when there was nothing to do.
    fn step(&mut self, step: Step) -> bool {
        let done = match step {
            Step::ClientPublishes => self.client.publish_next(),
            Step::GatewayDelivers => match self.queue.pop_front() {
                None => false,
                Some(delivery) => match self.pair.deliver(delivery) {
                    Delivered::Sent => true,
                    Delivered::Later(delivery) => {
                        self.queue.push_front(delivery);
                        false
                    }
                    Delivered::Dropped(cause) => panic!("{cause:?}"),
                },
            },
            Step::ToServer | Step::ToServerTwice => match self.client.wire.pop_front() {
                None => false,
                Some(bytes) => {
                    self.pair.send_bytes(&bytes);
                    let is_qos_2 = matches!(bytes[0] & 0xf6, 0x34 | 0x62);
                    if step == Step::ToServerTwice && is_qos_2 {
                        self.pair.send_bytes(&bytes);
                    }
                    true
                }
            },
            Step::ToClient => {
                if self.pair.is_empty() {
                    false
                } else {
                    let bytes = self.pair.next_packet();
                    self.client.read(&bytes);
                    true
                }
            }
            Step::GatewayAnswers => self.answer(true),
            Step::Cut => {
                while self.answer(false) {}
                let departure = self.pair.depart();
                assert_eq!(departure.will, WillFate::Publish);
                self.pair = Self::connection(self.client.version, departure.parked);
                self.client.reconnect();
                true
            }
        };
        assert_eq!(self.pair.fault, None);
        assert!(!self.pair.closed);
        done
    }

    /// The gateway does what it was asked for, and says so if there is still somebody to tell.
    fn answer(&mut self, tell: bool) -> bool {
        let Some(Request::Publish { token, message, .. }) = self.pair.request() else { return false };
        let number = u32::from_be_bytes(message.payload().try_into().expect("a number"));
        self.published.push((message.head().qos, number));
        if tell && token != Token::NONE {
            let outcome = PublishOutcome::Accepted;
            self.pair.reply(thingway_contract::Reply::Published { token, outcome });
        }
        true
    }

    fn run_to_the_end(&mut self) {
        let all = [Step::ClientPublishes, Step::GatewayDelivers, Step::ToServer, Step::GatewayAnswers, Step::ToClient];
        loop {
            let mut done = false;
            for step in all {
                done |= self.step(step);
            }
            if !done {
                break;
            }
        }
    }

    fn check(&mut self, up: &[Qos], down: &[Qos]) {
        assert!(self.client.outgoing.is_empty() && self.client.received.is_empty());
        let parked = self.pair.depart().parked;
        assert!(parked.is_empty(), "{parked:?}");
        check_guarantees(up, &self.published);
        check_guarantees(down, &self.client.given);
    }
}

/// [MQTT-4.3.2-1], [MQTT-4.3.3-1]: QoS 1 at least once, QoS 2 exactly once; first arrivals of each in order
/// [MQTT-4.6.0-1].
fn check_guarantees(sent: &[Qos], seen: &[(Qos, u32)]) {
    for (&qos, number) in sent.iter().zip(0u32..) {
        let count = seen.iter().filter(|(_, n)| *n == number).count();
        match qos {
            Qos::AtMostOnce => assert!(count <= 1),
            Qos::AtLeastOnce => assert!(count >= 1, "message {number} lost"),
            Qos::ExactlyOnce => assert_eq!(count, 1, "message {number}"),
        }
    }
    let mut first: Vec<u32> = Vec::new();
    for (_, number) in seen.iter().filter(|(qos, _)| *qos != Qos::AtMostOnce) {
        if !first.contains(number) {
            first.push(*number);
        }
    }
    assert!(first.is_sorted(), "out of order: {first:?}");
}

const UP: [Qos; 6] =
    [Qos::ExactlyOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// Every point of an orderly exchange is a point where the connection breaks, in every order of doing things.
#[test]
fn a_cut_at_any_point_loses_nothing_and_repeats_no_qos_2() {
    let orders = [
        [Step::ClientPublishes, Step::ToServer, Step::GatewayAnswers, Step::ToClient, Step::GatewayDelivers],
        [Step::GatewayDelivers, Step::ToClient, Step::ToServer, Step::GatewayAnswers, Step::ClientPublishes],
        [Step::GatewayDelivers, Step::ClientPublishes, Step::GatewayDelivers, Step::ToServer, Step::ToClient],
        [Step::ClientPublishes, Step::GatewayDelivers, Step::ToServerTwice, Step::GatewayAnswers, Step::ToClient],
    ];
    for version in Version::ALL {
        for order in orders {
            let mut cut_at = 0;
            loop {
                let mut world = World::new(version, &UP, &UP);
                let mut taken = 0;
                let mut idle = 0;
                for &step in order.iter().cycle() {
                    if taken == cut_at || idle > 10 {
                        break;
                    }
                    if world.step(step) {
                        taken += 1;
                        idle = 0;
                    } else {
                        idle += 1;
                    }
                }
                world.step(Step::Cut);
                world.run_to_the_end();
                world.check(&UP, &UP);
                if taken < cut_at {
                    break;
                }
                cut_at += 1;
            }
            assert!(cut_at > 30, "the exchange has many points");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::ClientPublishes),
        3 => Just(Step::GatewayDelivers),
        6 => Just(Step::ToServer),
        1 => Just(Step::ToServerTwice),
        6 => Just(Step::ToClient),
        4 => Just(Step::GatewayAnswers),
        1 => Just(Step::Cut),
    ]
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

proptest! {
    #[test]
    fn any_sequence_of_steps_and_cuts_keeps_the_guarantees(
        version in prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)],
        up in vec(qos(), 0..20), down in vec(qos(), 0..20), steps in vec(step(), 0..300),
    ) {
        let mut world = World::new(version, &up, &down);
        for step in steps {
            world.step(step);
        }
        world.run_to_the_end();
        world.check(&up, &down);
    }
}
