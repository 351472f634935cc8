//! The guarantees of QoS 1 and 2 through cut connections and a gateway that is killed and started again (section 4.3).

use std::collections::{BTreeSet, VecDeque};

use proptest::{collection::vec, prelude::*};
use thingway_contract::{
    Delivered, Delivery, Departure, Parked, PublishOutcome, Qos, Reply, Request, Token, Unacknowledged, WillFate,
};
use thingway_mqtt::{
    Config, PropertyId, Value, Version,
    packet::{Ack, Packet, Publish},
};

use crate::support::*;

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
    /// Of a session that is kept.
    log: Option<Log>,
    /// What it was asked on a connection that is gone and has not done yet.
    late: VecDeque<Request>,
}

/// What a gateway that keeps the session knows of its exchanges after it was killed. What it was asked is there when it
/// has answered, and perhaps before.
#[derive(Default)]
struct Log {
    last_id: u16,
    /// In the order in which they were first sent.
    outbound: Vec<Unacknowledged>,
    inbound: BTreeSet<u16>,
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
    /// The connection breaks. The gateway does what it was asked, and has nobody to tell. If it keeps the session it does
    /// so later, but before anything that it is asked then.
    Cut,
    /// The gateway is killed and started again, if it keeps the session. What it has not done was never asked.
    Crash,
}

impl World {
    fn new(version: Version, kept: bool, up: &[Qos], down: &[Qos]) -> Self {
        let queue =
            down.iter().zip(0u32..).map(|(&qos, number)| delivery(qos, "down", &number.to_be_bytes())).collect();
        Self {
            client: Client::new(version, up),
            pair: Self::connection(version, kept, Parked::default()),
            queue,
            published: Vec::new(),
            log: kept.then(Log::default),
            late: VecDeque::new(),
        }
    }

    fn connection(version: Version, kept: bool, parked: Parked) -> Pair {
        let properties: Extras<'_> =
            &[(PropertyId::ReceiveMaximum, Value::Two(3)), (PropertyId::SessionExpiryInterval, Value::Four(9))];
        let opening = Opening { clean_start: false, properties, ..Opening::default() };
        let config = Config { inflight_max: 4, ..Config::default() };
        let mut pair = Pair::granted_with(version, config, &opening, Some(parked), kept);
        pair.automatic = false;
        pair
    }

    /// Takes a step; false when there was nothing to do.
    fn step(&mut self, step: Step) -> bool {
        let done = match step {
            Step::ClientPublishes => self.client.publish_next(),
            Step::GatewayDelivers => self.deliver(),
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
            Step::GatewayAnswers => self.answer(),
            Step::Cut => {
                self.late.extend(std::iter::from_fn(|| self.pair.request()));
                while self.log.is_none() && self.answer() {}
                let Departure { will, parked, .. } = self.pair.depart();
                assert_eq!(will, WillFate::Publish);
                self.check_left(&parked);
                self.reconnect(parked);
                true
            }
            Step::Crash => match &self.log {
                None => false,
                Some(log) => {
                    let parked = Parked {
                        outbound: log.outbound.clone(),
                        inbound: log.inbound.iter().copied().collect(),
                        ..Parked::default()
                    };
                    self.late.clear();
                    self.reconnect(parked);
                    true
                }
            },
        };
        assert_eq!(self.pair.fault, None);
        assert!(!self.pair.closed);
        done
    }

    fn reconnect(&mut self, parked: Parked) {
        self.pair = Self::connection(self.client.version, self.log.is_some(), parked);
        self.client.reconnect();
    }

    /// What a conversation leaves fits what the gateway that keeps the session knows.
    fn check_left(&self, parked: &Parked) {
        let Some(log) = &self.log else { return };
        let mut known = log.outbound.iter();
        for left in &parked.outbound {
            let known = known.find(|entry| entry.packet_id == left.packet_id).expect("known, and in order");
            assert!(left.delivery.is_some() || known.delivery.is_none(), "released before that was kept");
        }
    }

    fn deliver(&mut self) -> bool {
        let mut chosen = 0;
        if let Some(log) = &mut self.log {
            // Soon used again, as the client's. More than the window are in use while the gateway has not read of their end.
            let in_use = |id| log.outbound.iter().any(|entry| entry.packet_id == id);
            let Some(id) = (0..9).map(|step| (log.last_id + step) % 9 + 1).find(|&id| !in_use(id)) else {
                return false;
            };
            chosen = id;
        }
        let Some(delivery) = self.queue.pop_front() else { return false };
        let delivery = Delivery { packet_id: chosen, ..delivery };
        let again = delivery.clone();
        match self.pair.deliver(delivery) {
            Delivered::Sent => {
                if let Some(log) = &mut self.log {
                    log.last_id = again.packet_id;
                    log.outbound.push(Unacknowledged { packet_id: again.packet_id, delivery: Some(again) });
                }
                true
            }
            Delivered::Later(delivery) => {
                self.queue.push_front(delivery);
                false
            }
            Delivered::Dropped(cause) => panic!("{cause:?}"),
        }
    }

    /// The gateway does what it was asked for, and says so if there is still somebody to tell.
    fn answer(&mut self) -> bool {
        let late = self.late.pop_front();
        let tell = late.is_none();
        let Some(request) = late.or_else(|| self.pair.request()) else { return false };
        let reply = match request {
            Request::Publish { token, packet_id, message } => {
                let is_new = match &mut self.log {
                    Some(log) if packet_id != 0 => log.inbound.insert(packet_id),
                    _ => true,
                };
                if is_new {
                    let number = u32::from_be_bytes(message.payload().try_into().expect("a number"));
                    self.published.push((message.head().qos, number));
                }
                if token == Token::NONE {
                    return true;
                }
                Reply::Published { token, outcome: PublishOutcome::Accepted }
            }
            Request::Released { token, packet_id } => {
                self.log.as_mut().expect("a kept session").inbound.remove(&packet_id);
                Reply::Recorded { token }
            }
            Request::Received { token, packet_id } => {
                let log = self.log.as_mut().expect("a kept session");
                let entry = log.outbound.iter_mut().find(|entry| entry.packet_id == packet_id);
                entry.expect("an exchange under way").delivery = None;
                Reply::Recorded { token }
            }
            Request::Acknowledged { packet_id } => {
                let log = self.log.as_mut().expect("a kept session");
                let position = log.outbound.iter().position(|entry| entry.packet_id == packet_id);
                log.outbound.remove(position.expect("an exchange under way"));
                return true;
            }
            other => panic!("unexpected {other:?}"),
        };
        if tell {
            self.pair.reply(reply);
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
        if let Some(log) = &self.log {
            assert!(log.outbound.is_empty() && log.inbound.is_empty());
        }
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

/// Every point of an orderly exchange is a point where the connection breaks or the gateway is killed, in every order of
/// doing things.
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
            for ends in [
                (false, &[Step::Cut][..]),
                (true, &[Step::Cut]),
                (true, &[Step::Crash]),
                (true, &[Step::Cut, Step::Crash]),
            ] {
                break_at_every_point(version, order, ends);
            }
        }
    }
}

fn break_at_every_point(version: Version, order: [Step; 5], (kept, ends): (bool, &[Step])) {
    let mut cut_at = 0;
    loop {
        let mut world = World::new(version, kept, &UP, &UP);
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
        for &end in ends {
            world.step(end);
        }
        world.run_to_the_end();
        world.check(&UP, &UP);
        if taken < cut_at {
            break;
        }
        cut_at += 1;
    }
    // In one of the orders the gateway answers nothing before the end, so that nothing is released that it keeps.
    assert!(cut_at > if kept { 20 } else { 30 }, "the exchange has many points: {cut_at}");
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
        1 => Just(Step::Crash),
    ]
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

proptest! {
    #[test]
    fn any_sequence_of_steps_and_cuts_keeps_the_guarantees(
        version in prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)],
        kept in any::<bool>(), up in vec(qos(), 0..20), down in vec(qos(), 0..20), steps in vec(step(), 0..300),
    ) {
        let mut world = World::new(version, kept, &up, &down);
        for step in steps {
            world.step(step);
        }
        world.run_to_the_end();
        world.check(&up, &down);
    }
}
