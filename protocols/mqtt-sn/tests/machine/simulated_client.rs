//! A client as sections 6.13 and 6.14 have it, for the simulation.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use thingway_contract::{Instant, Qos};
use thingway_mqtt_sn::{
    Packet, ReturnCode, State,
    packet::{
        Connack, Connect, Disconnect, Pingreq, Puback, Publish, Regack, Register, Suback, Subscribe, TopicName,
        TopicRef,
    },
};

/// Numbers that follow from a seed.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub sleeps: bool,
    /// Its address changes while it sleeps.
    pub moves: bool,
}

/// What message number `number` is published with, in both directions.
pub fn qos(number: u32) -> Qos {
    if number.is_multiple_of(2) { Qos::AtLeastOnce } else { Qos::ExactlyOnce }
}

/// Where it is published for the client.
pub fn topic(number: u32) -> &'static str {
    ["down/0", "down/1", "ab", "down/2"][number as usize % 4]
}

/// What the client waits for an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    Connect,
    Subscribe,
    Register,
    Publish,
    Release,
    Sleep,
    Ping,
}

/// A client as sections 6.13 and 6.14 have it: one request at a time, sent again until it is answered, and its radio is off while it sleeps.
pub struct Client {
    habits: Habits,
    pub address: u16,
    state: State,
    waiting: Waiting,
    sent_at: Instant,
    repeats: u32,
    pub outbox: Vec<Vec<u8>>,
    /// When the messages that are left to send come up, the next one last.
    pub due: Vec<Instant>,
    /// Number and message id of the message under way, and whether it was sent before.
    pub current: Option<(u32, u16, bool)>,
    released: bool,
    next_id: u16,
    next_number: u32,
    subscribed: bool,
    up_id: Option<u16>,
    names: HashMap<u16, String>,
    /// Message ids of QoS 2.
    seen: HashSet<u16>,
    pub received: HashMap<u32, u32>,
    pub first: Vec<u32>,
}

const RETRY: Duration = Duration::from_secs(12);
const REPEATS_MAX: u32 = 4;
const SLEEP_SECS: u64 = 45;

impl Client {
    pub fn new(habits: Habits) -> Self {
        Self {
            habits,
            address: 1,
            state: State::Disconnected,
            waiting: Waiting::Nothing,
            sent_at: Instant::ZERO,
            repeats: 0,
            outbox: Vec::new(),
            due: Vec::new(),
            current: None,
            released: false,
            next_id: 1,
            next_number: 0,
            subscribed: false,
            up_id: None,
            names: HashMap::new(),
            seen: HashSet::new(),
            received: HashMap::new(),
            first: Vec::new(),
        }
    }

    pub fn listens(&self) -> bool {
        self.state != State::Asleep
    }

    pub fn wake_at(&self, now: Instant) -> Instant {
        match (self.state, self.waiting) {
            (State::Asleep, _) => self.sent_at + Duration::from_secs(SLEEP_SECS),
            (_, Waiting::Nothing) if self.state == State::Active => {
                let due = self.due.last().copied().unwrap_or(Instant::NEVER);
                due.min(self.sent_at + Duration::from_secs(30))
            }
            (_, Waiting::Nothing) => now,
            _ => self.sent_at + RETRY,
        }
    }

    pub fn timeout(&mut self, now: Instant, random: &mut Random) {
        if self.state == State::Asleep {
            if self.habits.moves && random.below(4) == 0 {
                self.address += 1;
            }
            if self.current.is_some() || self.due.last().is_some_and(|&due| due <= now) {
                self.connect(now);
            } else {
                self.state = State::Awake;
                self.ask(Waiting::Ping, now);
            }
        } else if self.waiting == Waiting::Nothing {
            self.go_on(now);
        } else if self.repeats < REPEATS_MAX {
            self.repeats += 1;
            self.sent_at = now;
            self.transmit();
        } else if self.state == State::Awake {
            // Section 6.14: it goes back to sleep and tries again later.
            self.fall_asleep(now);
        } else {
            self.connect(now);
        }
    }

    fn connect(&mut self, now: Instant) {
        self.state = State::Connecting;
        self.ask(Waiting::Connect, now);
    }

    fn fall_asleep(&mut self, now: Instant) {
        self.state = State::Asleep;
        self.waiting = Waiting::Nothing;
        self.sent_at = now;
    }

    fn ask(&mut self, what: Waiting, now: Instant) {
        self.waiting = what;
        self.repeats = 0;
        self.sent_at = now;
        self.transmit();
    }

    /// What there is to do for an active client that waits for nothing.
    fn go_on(&mut self, now: Instant) {
        if self.state != State::Active {
            self.connect(now);
        } else if !self.subscribed {
            self.ask(Waiting::Subscribe, now);
        } else if self.up_id.is_none() {
            self.ask(Waiting::Register, now);
        } else if self.current.is_some() {
            self.ask(if self.released { Waiting::Release } else { Waiting::Publish }, now);
        } else if self.due.last().is_some_and(|&due| due <= now) {
            self.due.pop();
            self.current = Some((self.next_number, self.next_id, false));
            self.released = false;
            self.next_number += 1;
            self.next_id += 1;
            self.ask(Waiting::Publish, now);
        } else if self.habits.sleeps {
            self.ask(Waiting::Sleep, now);
        } else {
            self.ask(Waiting::Ping, now);
        }
    }

    fn transmit(&mut self) {
        let duplicate = self.repeats > 0;
        match self.waiting {
            Waiting::Nothing => {}
            Waiting::Connect => {
                let connect = Connect { will: false, clean_session: false, duration_secs: 60, client_id: "c" };
                self.put(&Packet::Connect(connect));
            }
            Waiting::Subscribe => {
                let topic = TopicName::Name("down/+");
                let qos = Some(Qos::ExactlyOnce);
                self.put(&Packet::Subscribe(Subscribe { duplicate, qos, message_id: 60_000, topic }));
            }
            Waiting::Register => {
                self.put(&Packet::Register(Register { topic_id: 0, message_id: 60_001, topic: "up/x" }));
            }
            Waiting::Publish => {
                let (number, message_id, duplicate) = self.current.expect("under way");
                self.current = Some((number, message_id, true));
                self.put(&Packet::Publish(Publish {
                    duplicate,
                    qos: Some(qos(number)),
                    retain: false,
                    topic: TopicRef::Normal(self.up_id.expect("registered")),
                    message_id,
                    payload: &number.to_be_bytes(),
                }));
            }
            Waiting::Release => self.put(&Packet::Pubrel(self.current.expect("under way").1)),
            Waiting::Sleep => {
                self.put(&Packet::Disconnect(Disconnect { duration_secs: Some(2 * SLEEP_SECS as u16) }));
            }
            Waiting::Ping => {
                let client_id = if self.state == State::Awake { "c" } else { "" };
                self.put(&Packet::Pingreq(Pingreq { client_id }));
            }
        }
    }

    fn put(&mut self, packet: &Packet<'_>) {
        let mut datagram = Vec::new();
        packet.encode(&mut datagram).expect("short");
        self.outbox.push(datagram);
    }

    fn answered(&mut self, what: Waiting, now: Instant) -> bool {
        let expected = self.waiting == what;
        if expected {
            self.waiting = Waiting::Nothing;
            self.sent_at = now;
        }
        expected
    }

    pub fn receive(&mut self, packet: &Packet<'_>, now: Instant) {
        if self.state == State::Awake && *packet != Packet::Pingresp {
            self.sent_at = now;
        }
        match *packet {
            Packet::Connack(Connack { code }) => {
                if self.state == State::Connecting && self.answered(Waiting::Connect, now) {
                    assert_eq!(code, ReturnCode::Accepted);
                    self.state = State::Active;
                    self.go_on_if_active(now);
                }
            }
            Packet::Suback(Suback { code: ReturnCode::Accepted, .. }) => {
                self.subscribed = true;
                self.finish(Waiting::Subscribe, now);
            }
            Packet::Regack(Regack { topic_id, code: ReturnCode::Accepted, message_id: 60_001 }) => {
                self.up_id = Some(topic_id);
                self.finish(Waiting::Register, now);
            }
            Packet::Puback(Puback { message_id, code, .. }) => self.on_puback(message_id, code, now),
            Packet::Pubrec(id) => {
                if self.waiting == Waiting::Publish && self.current.is_some_and(|current| current.1 == id) {
                    self.released = true;
                    self.ask(Waiting::Release, now);
                }
            }
            Packet::Pubcomp(id) => {
                if self.waiting == Waiting::Release && self.current.is_some_and(|current| current.1 == id) {
                    self.current = None;
                    self.finish(Waiting::Release, now);
                }
            }
            Packet::Register(Register { topic_id, message_id, topic }) => {
                self.names.insert(topic_id, topic.to_owned());
                self.put(&Packet::Regack(Regack { topic_id, message_id, code: ReturnCode::Accepted }));
            }
            Packet::Publish(publish) => self.on_publish(&publish),
            Packet::Pubrel(id) => self.put(&Packet::Pubcomp(id)),
            Packet::Pingresp => {
                if self.state == State::Awake {
                    self.fall_asleep(now);
                } else {
                    self.answered(Waiting::Ping, now);
                }
            }
            Packet::Disconnect(_) => match self.state {
                State::Active if self.waiting == Waiting::Sleep => self.fall_asleep(now),
                State::Active | State::Awake => self.connect(now),
                _ => {}
            },
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, what: Waiting, now: Instant) {
        if self.answered(what, now) {
            self.go_on_if_active(now);
        }
    }

    fn go_on_if_active(&mut self, now: Instant) {
        let busy = !self.subscribed || self.up_id.is_none() || self.current.is_some();
        if self.state == State::Active && busy {
            self.go_on(now);
        }
    }

    fn on_puback(&mut self, message_id: u16, code: ReturnCode, now: Instant) {
        let Some((number, id, _)) = self.current else { return };
        if id != message_id || self.waiting != Waiting::Publish {
            return;
        }
        match code {
            ReturnCode::Accepted => {
                assert_eq!(qos(number), Qos::AtLeastOnce);
                self.current = None;
            }
            ReturnCode::InvalidTopicId => self.up_id = None,
            other => panic!("{other}"),
        }
        self.finish(Waiting::Publish, now);
    }

    fn on_publish(&mut self, publish: &Publish<'_>) {
        let short;
        let name = match publish.topic {
            TopicRef::Normal(id) => self.names.get(&id).map(String::as_str),
            TopicRef::Short(bytes) => {
                short = bytes;
                std::str::from_utf8(&short).ok()
            }
            TopicRef::Predefined(_) => None,
        };
        let (topic_id, message_id) = (publish.topic.id(), publish.message_id);
        let Some(name) = name else {
            self.put(&Packet::Puback(Puback { topic_id, message_id, code: ReturnCode::InvalidTopicId }));
            return;
        };
        let number = u32::from_be_bytes(publish.payload.try_into().expect("four bytes"));
        assert_eq!(name, topic(number), "a message on another topic");
        let exactly_once = publish.qos == Some(Qos::ExactlyOnce);
        if !exactly_once || self.seen.insert(message_id) {
            let count = self.received.entry(number).or_default();
            *count += 1;
            if *count == 1 {
                self.first.push(number);
            }
        }
        if exactly_once {
            self.put(&Packet::Pubrec(message_id));
        } else {
            self.put(&Packet::Puback(Puback { topic_id, message_id, code: ReturnCode::Accepted }));
        }
    }
}
