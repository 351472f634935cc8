//! A client and the machine joined by a network that loses, doubles and reorders datagrams, with a clock of its own. Everything follows from a seed.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use thingway_contract::{
    CloseReason, Connect as ConnectRequest, Connected, DatagramProtocol, Delivered, Delivery, Input, Instant, Message,
    Outbox, Parked, Protocol, PublishOutcome, Qos, Refusal, Reply, Request, Standing, Token,
};
use thingway_mqtt_sn::{
    Config, Conversation, Packet, ReturnCode, State,
    packet::{
        Connack, Connect, Disconnect, Pingreq, Puback, Publish, Regack, Register, Suback, Subscribe, TopicName,
        TopicRef,
    },
};

use crate::support::{delivery, peer};

/// Messages in each direction.
const MESSAGES: u32 = 12;
const LOSS_PERCENT: u64 = 30;
const DOUBLE_PERCENT: u64 = 10;
/// No datagram is longer under way.
const DELAY_MAX_MS: u64 = 2000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

enum Event {
    ToGateway(u16, Vec<u8>),
    ToClient(u16, Vec<u8>),
    /// Somebody publishes for the client.
    Publish(u32),
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
struct Habits {
    sleeps: bool,
    /// Its address changes while it sleeps.
    moves: bool,
}

#[derive(Default)]
struct Session {
    exists: bool,
    /// Which address it is attached to.
    at: Option<u16>,
    queue: VecDeque<Delivery>,
    parked: Option<Parked>,
}

struct World {
    now: Instant,
    random: Random,
    events: BTreeMap<(Instant, u64), Event>,
    event_count: u64,
    config: Arc<Config>,
    conversations: BTreeMap<u16, Conversation>,
    session: Session,
    out: Outbox,
    published: Vec<Message>,
    client: Client,
}

impl World {
    fn new(seed: u64, habits: Habits) -> Self {
        let mut world = Self {
            now: Instant::from_millis(1_000_000),
            random: Random(seed),
            events: BTreeMap::new(),
            event_count: 0,
            config: Arc::new(Config::default()),
            conversations: BTreeMap::new(),
            session: Session::default(),
            out: Outbox::default(),
            published: Vec::new(),
            client: Client::new(habits),
        };
        for number in 0..MESSAGES {
            let up = world.now + Duration::from_millis(world.random.below(400_000));
            world.client.due.push(up);
            let down = world.now + Duration::from_secs(60 + u64::from(number) * 30);
            world.schedule(down, Event::Publish(number));
        }
        world.client.due.sort_unstable();
        world.client.due.reverse();
        world
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.event_count += 1;
        self.events.insert((at, self.event_count), event);
    }

    /// Puts a datagram on the network.
    fn transmit(&mut self, event: fn(u16, Vec<u8>) -> Event, address: u16, datagram: &[u8]) {
        let copies = 1 + u64::from(self.random.below(100) < DOUBLE_PERCENT);
        for _ in 0..copies {
            if self.random.below(100) >= LOSS_PERCENT {
                let at = self.now + Duration::from_millis(5 + self.random.below(DELAY_MAX_MS));
                self.schedule(at, event(address, datagram.to_vec()));
            }
        }
    }

    /// Runs until everything is delivered and quiet, or the time is up.
    fn run(&mut self) {
        let end = self.now + Duration::from_secs(8 * 3600);
        while self.now < end {
            if self.is_done() {
                return;
            }
            let event_at = self.events.first_key_value().map_or(Instant::NEVER, |((at, _), _)| *at);
            let conversation = self.conversations.iter().map(|(&address, machine)| (machine.deadline(), address)).min();
            let (machine_at, address) = conversation.unwrap_or((Instant::NEVER, 0));
            let client_at = self.client.wake_at(self.now);
            self.now = event_at.min(machine_at).min(client_at).max(self.now);
            if event_at <= self.now {
                let ((_, _), event) = self.events.pop_first().expect("there is one");
                self.happen(event);
            } else if machine_at <= self.now {
                let mut machine = self.conversations.remove(&address).expect("it has a deadline");
                let result = machine.timeout(self.now, &mut self.out);
                self.turn(address, machine, result);
            } else {
                self.client.timeout(self.now, &mut self.random);
            }
            self.flush_client();
        }
    }

    fn is_done(&self) -> bool {
        let nothing_queued =
            self.session.queue.is_empty() && self.conversations.values().all(|m| m.inflight_len() == 0);
        let parked = self.session.parked.as_ref().is_none_or(|parked| parked.outbound.is_empty());
        let downs = self.client.received.len() == MESSAGES as usize;
        let quiet = self.events.is_empty();
        nothing_queued && parked && downs && quiet && self.client.due.is_empty() && self.client.current.is_none()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToGateway(address, datagram) => {
                let open = || Conversation::open(&self.config, &peer(&[]), self.now);
                let mut machine = self.conversations.remove(&address).unwrap_or_else(open);
                let mut input = Input::new(&datagram);
                let result = machine.receive(&mut input, self.now, &mut self.out);
                self.turn(address, machine, result);
            }
            Event::ToClient(address, datagram) => {
                if address == self.client.address && self.client.listens() {
                    let packet = Packet::decode(&datagram).expect("the machine writes messages");
                    self.client.receive(&packet, self.now);
                }
            }
            Event::Publish(number) => {
                let topic = topic(number);
                let qos = qos(number);
                self.session.queue.push_back(delivery(topic, &number.to_be_bytes(), qos));
                if let Some(address) = self.session.at {
                    let machine = self.conversations.remove(&address).expect("attached");
                    self.turn(address, machine, Ok(()));
                }
            }
        }
    }

    /// What the driver does after each input: answers, deliveries, datagrams, and the end if it has come.
    fn turn(&mut self, address: u16, mut machine: Conversation, result: Result<(), thingway_mqtt_sn::MqttSnFault>) {
        let mut over = false;
        if let Err(fault) = result {
            machine.refuse(&fault, self.now, &mut self.out);
            over = Conversation::is_fatal(&fault);
        }
        loop {
            let mut requests = Vec::new();
            self.out.swap_requests(&mut requests);
            if requests.is_empty() {
                break;
            }
            for request in requests {
                if let Some(reply) = self.answer(address, &mut machine, request) {
                    machine.reply(reply, self.now, &mut self.out).expect("no fault");
                }
            }
        }
        over |= self.out.is_closing();
        if !over && self.session.at == Some(address) {
            self.deliver(&mut machine);
        }
        self.send_all(address);
        if over {
            self.leave(address, &mut machine);
        } else if machine.standing() != Standing::Forgettable {
            self.conversations.insert(address, machine);
        }
    }

    fn deliver(&mut self, machine: &mut Conversation) {
        while let Some(delivery) = self.session.queue.pop_front() {
            match machine.deliver(delivery, self.now, &mut self.out) {
                Delivered::Sent => {}
                Delivered::Later(delivery) => {
                    self.session.queue.push_front(delivery);
                    return;
                }
                Delivered::Dropped(cause) => panic!("{cause:?}"),
            }
        }
        machine.drained(self.now, &mut self.out);
    }

    fn send_all(&mut self, address: u16) {
        let datagrams: Vec<Vec<u8>> = self.out.datagrams().map(<[u8]>::to_vec).collect();
        self.out.clear();
        for datagram in datagrams {
            self.transmit(Event::ToClient, address, &datagram);
        }
    }

    fn leave(&mut self, address: u16, machine: &mut Conversation) {
        let departure = machine.depart();
        if self.session.at == Some(address) {
            self.session.at = None;
            assert_eq!(departure.session_expiry_secs, None, "the session is kept");
            self.session.parked = Some(departure.parked);
        }
    }

    fn answer(&mut self, address: u16, machine: &mut Conversation, request: Request) -> Option<Reply> {
        Some(match request {
            Request::Connect(connect) => self.connect(address, machine, &connect),
            Request::Publish { token, message } => {
                assert_eq!(self.session.at, Some(address));
                assert_ne!(token, Token::NONE);
                self.published.push(message);
                Reply::Published { token, outcome: PublishOutcome::Accepted }
            }
            Request::Subscribe { token, subscriptions } => {
                let results = subscriptions.into_iter().map(|s| s.map(|s| s.options.qos)).collect();
                Reply::Subscribed { token, results }
            }
            other => panic!("{other:?}"),
        })
    }

    fn connect(&mut self, address: u16, machine: &mut Conversation, connect: &ConnectRequest) -> Reply {
        if connect.must_exist && !self.session.exists {
            return Reply::Refused(Refusal::NoSession);
        }
        match self.session.at {
            Some(at) if at == address => self.leave(address, machine),
            Some(at) => {
                let mut other = self.conversations.remove(&at).expect("attached");
                // Its goodbye goes to its own address, before anything is written here.
                let mut out = std::mem::take(&mut self.out);
                other.close(&CloseReason::TakenOver, self.now, &mut self.out);
                self.send_all(at);
                self.leave(at, &mut other);
                std::mem::swap(&mut self.out, &mut out);
            }
            None => {}
        }
        let session_present = std::mem::replace(&mut self.session.exists, true);
        self.session.at = Some(address);
        let parked = self.session.parked.take().map(Box::new);
        Reply::Connected(Box::new(Connected { session_present, parked, ..Connected::default() }))
    }

    fn flush_client(&mut self) {
        let address = self.client.address;
        for datagram in std::mem::take(&mut self.client.outbox) {
            self.transmit(Event::ToGateway, address, &datagram);
        }
    }

    fn check(&self, what: &str) {
        assert!(self.is_done(), "{what}: not done; {} up, {:?}", self.published.len(), self.client.received);
        let mut times: HashMap<u32, u32> = HashMap::new();
        let mut first = Vec::new();
        for message in &self.published {
            assert_eq!(message.topic(), "up/x", "{what}");
            let number = u32::from_be_bytes(message.payload().try_into().expect("four bytes"));
            let count = times.entry(number).or_default();
            *count += 1;
            if *count == 1 {
                first.push(number);
            }
        }
        assert_eq!(first, (0..MESSAGES).collect::<Vec<_>>(), "{what}: all from the client, in order");
        assert_eq!(self.client.first, (0..MESSAGES).collect::<Vec<_>>(), "{what}: all to the client, in order");
        for number in (0..MESSAGES).filter(|&number| qos(number) == Qos::ExactlyOnce) {
            assert_eq!(times[&number], 1, "{what}: {number} from the client");
            assert_eq!(self.client.received[&number], 1, "{what}: {number} to the client");
        }
    }
}

fn qos(number: u32) -> Qos {
    if number % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce }
}

fn topic(number: u32) -> &'static str {
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
struct Client {
    habits: Habits,
    address: u16,
    state: State,
    waiting: Waiting,
    sent_at: Instant,
    repeats: u32,
    outbox: Vec<Vec<u8>>,
    /// When the messages that are left to send come up, the next one last.
    due: Vec<Instant>,
    /// Number and message id of the message under way, and whether it was sent before.
    current: Option<(u32, u16, bool)>,
    released: bool,
    next_id: u16,
    next_number: u32,
    subscribed: bool,
    up_id: Option<u16>,
    names: HashMap<u16, String>,
    /// Message ids of QoS 2.
    seen: HashSet<u16>,
    received: HashMap<u32, u32>,
    first: Vec<u32>,
}

const RETRY: Duration = Duration::from_secs(12);
const REPEATS_MAX: u32 = 4;
const SLEEP_SECS: u64 = 45;

impl Client {
    fn new(habits: Habits) -> Self {
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

    fn listens(&self) -> bool {
        self.state != State::Asleep
    }

    fn wake_at(&self, now: Instant) -> Instant {
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

    fn timeout(&mut self, now: Instant, random: &mut Random) {
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

    fn receive(&mut self, packet: &Packet<'_>, now: Instant) {
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

fn simulate(habits: Habits) {
    for seed in 0..300 {
        let mut world = World::new(seed, habits);
        world.run();
        world.check(&format!("seed {seed}, {habits:?}"));
    }
}

#[test]
fn with_a_third_lost_every_message_arrives_as_often_as_it_should() {
    simulate(Habits { sleeps: false, moves: false });
}

#[test]
fn with_a_third_lost_a_sleeping_client_misses_nothing() {
    simulate(Habits { sleeps: true, moves: false });
}

#[test]
fn with_a_third_lost_a_client_may_change_its_address_in_its_sleep() {
    simulate(Habits { sleeps: true, moves: true });
}

#[test]
fn the_same_seed_is_the_same_world() {
    let run = || {
        let mut world = World::new(7, Habits { sleeps: true, moves: true });
        world.run();
        (world.now, world.event_count, world.published.len())
    };
    assert_eq!(run(), run());
}
