//! A client and the machine joined by a network that loses, doubles and reorders datagrams, with a clock of its own. Everything follows from a seed.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use thingway_contract::{
    CloseReason, Connect as ConnectRequest, Connected, DatagramProtocol, Delivered, Delivery, Input, Instant, Message,
    Outbox, Parked, Protocol, PublishOutcome, Qos, Refusal, Reply, Request, Standing, Token,
};
use thingway_mqtt_sn::{Config, Conversation, MqttSnFault, Packet};

use crate::{
    simulated_client::{Client, Habits, Random, qos, topic},
    support::{delivery, peer},
};

/// Messages in each direction.
const MESSAGES: u32 = 12;
const LOSS_PERCENT: u64 = 30;
const DOUBLE_PERCENT: u64 = 10;
/// No datagram is longer under way.
const DELAY_MAX_MS: u64 = 2000;

enum Event {
    ToGateway(u16, Vec<u8>),
    ToClient(u16, Vec<u8>),
    /// Somebody publishes for the client.
    Publish(u32),
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
    fn turn(&mut self, address: u16, mut machine: Conversation, result: Result<(), MqttSnFault>) {
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
            Request::Publish { token, message, .. } => {
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
            Some(at) if connect.must_exist && at != address && !self.conversations[&at].may_move() => {
                return Reply::Refused(Refusal::NoSession);
            }
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

fn simulate(habits: Habits) {
    for seed in 0..1000 {
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
