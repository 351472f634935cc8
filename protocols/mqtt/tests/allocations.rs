//! What the data path allocates, counted: one allocation for a message that comes in, none for one that goes out.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use thingway_contract::{
    Delivered, Delivery, Input, Instant, Message, MessageHead, Outbox, Peer, Properties, Protocol, PublishOutcome, Qos,
    Reply, Request, Token, Topic, TopicLimits, Transport,
};
use thingway_mqtt::{
    Config, Connection, PropertyBlock, PropertyId, PropertyWriter, Value, Version,
    packet::{Ack, Connect, Packet, Publish},
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as demanded of our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as demanded of our caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(mut work: impl FnMut()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const NOW: Instant = Instant::from_millis(1000);

struct Session {
    machine: Connection,
    out: Outbox,
    requests: Vec<Request>,
}

impl Session {
    fn new(version: Version) -> Self {
        let peer = Peer {
            remote: None,
            local: None,
            transport: Transport::Memory,
            node: Box::default(),
            listener: Arc::from("test"),
            certificate: None,
        };
        let machine = Connection::open(&Arc::new(Config::default()), &peer, NOW);
        let mut session = Self { machine, out: Outbox::default(), requests: Vec::new() };
        let mut properties = PropertyWriter::new();
        if version == Version::V5 {
            properties.push(PropertyId::TopicAliasMaximum, Value::Two(3)).expect("fits");
        }
        let connect = Connect { properties: properties.as_block(), ..Connect::new(version, "c") };
        session.receive(&encode(version, &Packet::Connect(connect)));
        let reply = Reply::Connected(Box::default());
        session.machine.reply(reply, NOW, &mut session.out).expect("connected");
        session.out.clear();
        session
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut input = Input::new(bytes);
        self.machine.receive(&mut input, NOW, &mut self.out).expect("valid");
        assert_eq!(input.consumed(), bytes.len());
        self.out.swap_requests(&mut self.requests);
    }

    /// Answers that what was asked is kept.
    fn keep(&mut self) {
        for request in self.requests.drain(..) {
            let Request::Received { token, .. } = request else { panic!("PUBREC") };
            self.machine.reply(Reply::Recorded { token }, NOW, &mut self.out).expect("valid");
        }
    }

    /// Receives, and answers publications as the bus does.
    fn publish(&mut self, bytes: &[u8]) {
        self.receive(bytes);
        for request in self.requests.drain(..) {
            let Request::Publish { token, message, .. } = request else { panic!("a publication") };
            assert_eq!(message.payload(), PAYLOAD);
            if token != Token::NONE {
                let reply = Reply::Published { token, outcome: PublishOutcome::Accepted };
                self.machine.reply(reply, NOW, &mut self.out).expect("valid");
            }
        }
        self.out.clear();
    }
}

const PAYLOAD: &[u8] = b"sixteen bytes...";

fn encode(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("fits");
    bytes
}

fn publish(version: Version, qos: Qos, packet_id: u16) -> Vec<u8> {
    let properties = PropertyBlock::EMPTY;
    let publish =
        Publish { duplicate: false, qos, retain: false, topic: "some/topic", packet_id, properties, payload: PAYLOAD };
    encode(version, &Packet::Publish(publish))
}

#[test]
fn a_message_in_is_one_allocation() {
    for version in [Version::V311, Version::V5] {
        for (qos, id) in [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 7), (Qos::ExactlyOnce, 7)] {
            let mut session = Session::new(version);
            let publish = publish(version, qos, id);
            let release = encode(version, &Packet::Pubrel(Ack::success(7)));
            let mut round = || {
                session.publish(&publish);
                if qos == Qos::ExactlyOnce {
                    session.receive(&release);
                    session.out.clear();
                }
            };
            round();
            round();
            assert_eq!(allocations(|| (0..100).for_each(|_| round())), 100, "{version:?} {qos:?}");
        }
    }
}

#[test]
fn a_message_out_is_no_allocation() {
    let topic = Topic::parse("some/topic", TopicLimits::default()).expect("valid");
    let message = Message::new(MessageHead::default(), topic, Properties::default(), PAYLOAD);
    for version in [Version::V311, Version::V5] {
        for (qos, chosen) in [
            (Qos::AtMostOnce, false),
            (Qos::AtLeastOnce, false),
            (Qos::ExactlyOnce, false),
            (Qos::AtLeastOnce, true),
            (Qos::ExactlyOnce, true),
        ] {
            let mut session = Session::new(version);
            let mut id = 0u16;
            let mut acks =
                [Packet::Puback(Ack::success(1)), Packet::Pubrec(Ack::success(1)), Packet::Pubcomp(Ack::success(1))]
                    .map(|packet| encode(version, &packet));
            let mut round = || {
                id = id.wrapping_add(1);
                let delivery = Delivery {
                    message: message.clone(),
                    rare: None,
                    subscription_id: 0,
                    qos,
                    retain: false,
                    packet_id: if chosen { id } else { 0 },
                };
                assert!(matches!(session.machine.deliver(delivery, NOW, &mut session.out), Delivered::Sent));
                for ack in &mut acks {
                    ack[2..4].copy_from_slice(&id.to_be_bytes());
                }
                match qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => session.receive(&acks[0]),
                    Qos::ExactlyOnce => {
                        session.receive(&acks[1]);
                        session.keep();
                        session.receive(&acks[2]);
                    }
                }
                session.out.clear();
            };
            round();
            round();
            assert_eq!(allocations(|| (0..1000).for_each(|_| round())), 0, "{version:?} {qos:?}");
        }
    }
}

#[test]
fn a_window_full_of_messages_out_allocates_only_its_ring() {
    let topic = Topic::parse("some/topic", TopicLimits::default()).expect("valid");
    let message = Message::new(MessageHead::default(), topic, Properties::default(), PAYLOAD);
    let mut session = Session::new(Version::V311);
    session.out.wire().reserve(1 << 20);
    let count = allocations(|| {
        for _ in 0..1024 {
            let message = message.clone();
            let delivery = Delivery {
                message,
                rare: None,
                subscription_id: 0,
                qos: Qos::AtLeastOnce,
                retain: false,
                packet_id: 0,
            };
            assert!(matches!(session.machine.deliver(delivery, NOW, &mut session.out), Delivered::Sent));
        }
    });
    // Its box, and 4, 8, ... 1024 slots.
    assert_eq!(count, 10);
}
