//! A client and the machine joined by a network that loses, doubles and reorders datagrams, with a clock of its own, and a gateway that may keep the session
//! while it is killed and started again. Everything follows from a seed.

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
    simulated_gateway::Log,
    support::{delivery, peer},
};

/// Messages in each direction.
const MESSAGES: u32 = 12;
const LOSS_PERCENT: u64 = 30;
const DOUBLE_PERCENT: u64 = 10;
/// No datagram is longer under way.
const DELAY_MAX_MS: u64 = 2000;
/// A gateway that keeps the session takes up to so long for an answer, which is longer than anybody waits before sending something again.
const ANSWER_MAX_MS: u64 = 15_000;
/// How long it is away when it was killed: no datagram from before arrives afterwards.
const DOWN: Duration = Duration::from_secs(5);

enum Event {
    ToGateway(u16, Vec<u8>),
    ToClient(u16, Vec<u8>),
    /// Somebody publishes for the client.
    Publish(u32),
    /// The gateway does what it was asked, and says so.
    Answer(u64),
    /// The gateway is killed, and started again.
    Kill,
}

/// How a gateway behaves.
#[derive(Clone, Copy, Debug, Default)]
struct Keeping {
    /// It keeps the session through its own restart, and answers late.
    keeps: bool,
    /// How often it is killed.
    kills: u32,
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
    log: Option<Log>,
    /// What the gateway was asked and has not done, by number.
    pending: BTreeMap<u64, (u16, Request)>,
    /// It answers in the order of the requests.
    answered_at: Instant,
    down_until: Instant,
    out: Outbox,
    published: Vec<Message>,
    client: Client,
}

impl World {
    fn new(seed: u64, habits: Habits, keeping: Keeping) -> Self {
        let mut world = Self {
            now: Instant::from_millis(1_000_000),
            random: Random(seed),
            events: BTreeMap::new(),
            event_count: 0,
            config: Arc::new(Config::default()),
            conversations: BTreeMap::new(),
            session: Session::default(),
            log: keeping.keeps.then(Log::default),
            pending: BTreeMap::new(),
            answered_at: Instant::ZERO,
            down_until: Instant::ZERO,
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
        for _ in 0..keeping.kills {
            let at = world.now + Duration::from_millis(world.random.below(500_000));
            world.schedule(at, Event::Kill);
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
            let waiting = |address| self.is_connecting(address);
            let conversations = self.conversations.iter().filter(|&(&address, _)| !waiting(address));
            let conversation = conversations.map(|(&address, machine)| (machine.deadline(), address)).min();
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
        let parked = parked && self.log.as_ref().is_none_or(Log::is_over);
        let downs = self.client.received.len() == MESSAGES as usize;
        let quiet = self.events.is_empty();
        nothing_queued && parked && downs && quiet && self.client.due.is_empty() && self.client.current.is_none()
    }

    /// A session is waited for. Datagrams are dropped meanwhile.
    fn is_connecting(&self, address: u16) -> bool {
        self.pending.values().any(|(asker, request)| *asker == address && matches!(request, Request::Connect(_)))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToGateway(address, _) if self.now < self.down_until || self.is_connecting(address) => {}
            // Whoever publishes tries again.
            Event::Publish(_) if self.now < self.down_until => self.schedule(self.down_until, event),
            Event::Answer(number) => self.execute(number),
            Event::Kill => self.kill(),
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
                let delivery = delivery(topic, &number.to_be_bytes(), qos);
                let delivery = match &mut self.log {
                    Some(log) => log.number(delivery),
                    None => delivery,
                };
                self.session.queue.push_back(delivery);
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
                if self.log.is_some() {
                    self.ask(address, &mut machine, request);
                } else if let Some(reply) = self.answer(address, &mut machine, request) {
                    machine.reply(reply, self.now, &mut self.out).expect("no fault");
                }
            }
        }
        over |= self.out.is_closing();
        if !over && self.session.at == Some(address) {
            self.deliver(&mut machine);
            if let Some(log) = &self.log {
                log.check(machine.state());
            }
        }
        self.send_all(address);
        if over {
            self.leave(address, &mut machine);
        } else if machine.standing() != Standing::Forgettable {
            self.conversations.insert(address, machine);
        }
    }

    /// The gateway keeps what it is asked before it answers.
    fn ask(&mut self, address: u16, machine: &mut Conversation, request: Request) {
        if let Request::Connect(connect) = &request {
            if !self.make_way(address, machine, connect) {
                machine.reply(Reply::Refused(Refusal::NoSession), self.now, &mut self.out).expect("no fault");
                return;
            }
        } else {
            assert_eq!(self.session.at, Some(address));
            self.log.as_mut().expect("it keeps the session").ask(&request);
        }
        let takes = if self.random.below(4) == 0 { ANSWER_MAX_MS } else { 50 };
        self.answered_at = self.answered_at.max(self.now + Duration::from_millis(self.random.below(takes)));
        self.schedule(self.answered_at, Event::Answer(self.event_count + 1));
        self.pending.insert(self.event_count, (address, request));
    }

    fn execute(&mut self, number: u64) {
        let Some((address, request)) = self.pending.remove(&number) else { return };
        let reply = if let Request::Connect(connect) = request {
            let mut machine = self.conversations.remove(&address).expect("it has asked");
            // Another may have come first.
            let granted = self.make_way(address, &mut machine, &connect);
            self.conversations.insert(address, machine);
            Some(if granted { self.grant(address) } else { Reply::Refused(Refusal::NoSession) })
        } else {
            self.log.as_mut().expect("it keeps the session").execute(request, &mut self.published)
        };
        if let Some(reply) = reply {
            let mut machine = self.conversations.remove(&address).expect("it has asked");
            let result = machine.reply(reply, self.now, &mut self.out);
            self.turn(address, machine, result);
        }
    }

    /// What was not done is gone. Of what was taken from the queue nobody knows how far it has come.
    fn kill(&mut self) {
        let log = self.log.as_mut().expect("it keeps the session");
        self.conversations.clear();
        self.pending.clear();
        if self.session.at.take().is_some() {
            self.session.queue.drain(..).for_each(|delivery| log.sent(delivery));
        }
        let first_topic_id = self.config.first_topic_id + 100;
        self.config = Arc::new(Config { first_topic_id, ..Config::default() });
        self.down_until = self.now + DOWN;
    }

    fn deliver(&mut self, machine: &mut Conversation) {
        while let Some(delivery) = self.session.queue.pop_front() {
            let again = delivery.clone();
            match machine.deliver(delivery, self.now, &mut self.out) {
                Delivered::Sent => {
                    if let Some(log) = &mut self.log {
                        log.sent(again);
                    }
                }
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
            match &mut self.log {
                Some(log) => log.leave(departure.parked),
                None => self.session.parked = Some(departure.parked),
            }
        }
        // What it has asked is done, and there is nobody to tell.
        let asked = std::mem::take(&mut self.pending);
        for (number, (asker, request)) in asked {
            match &mut self.log {
                // What the departure says is newer.
                Some(_) if asker == address && matches!(request, Request::Keep { .. }) => {}
                Some(log) if asker == address && !matches!(request, Request::Connect(_)) => {
                    log.execute(request, &mut self.published);
                }
                _ => {
                    self.pending.insert(number, (asker, request));
                }
            }
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
        if self.make_way(address, machine, connect) { self.grant(address) } else { Reply::Refused(Refusal::NoSession) }
    }

    fn grant(&mut self, address: u16) -> Reply {
        self.session.at = Some(address);
        let session_present = std::mem::replace(&mut self.session.exists, true);
        let parked = match &mut self.log {
            Some(log) => Some(log.parked()),
            None => self.session.parked.take(),
        };
        let (parked, kept) = (parked.map(Box::new), self.log.is_some());
        Reply::Connected(Box::new(Connected { session_present, parked, kept, ..Connected::default() }))
    }

    /// Whoever has the session leaves it. False when it is not to be had.
    fn make_way(&mut self, address: u16, machine: &mut Conversation, connect: &ConnectRequest) -> bool {
        if connect.must_exist && !self.session.exists {
            return false;
        }
        match self.session.at {
            Some(at) if connect.must_exist && at != address && !self.conversations[&at].may_move() => return false,
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
        true
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

fn simulate(habits: Habits, keeping: Keeping) {
    for seed in 0..1000 {
        let mut world = World::new(seed, habits, keeping);
        world.run();
        world.check(&format!("seed {seed}, {habits:?}, {keeping:?}"));
    }
}

const FORGETS: Keeping = Keeping { keeps: false, kills: 0 };

#[test]
fn with_a_third_lost_every_message_arrives_as_often_as_it_should() {
    simulate(Habits { sleeps: false, moves: false }, FORGETS);
}

#[test]
fn with_a_third_lost_a_sleeping_client_misses_nothing() {
    simulate(Habits { sleeps: true, moves: false }, FORGETS);
}

#[test]
fn with_a_third_lost_a_client_may_change_its_address_in_its_sleep() {
    simulate(Habits { sleeps: true, moves: true }, FORGETS);
}

#[test]
fn a_gateway_that_keeps_the_session_may_answer_late() {
    for (sleeps, moves) in [(false, false), (true, false), (true, true)] {
        simulate(Habits { sleeps, moves }, Keeping { keeps: true, kills: 0 });
    }
}

#[test]
fn a_gateway_that_keeps_the_session_may_be_killed_at_any_time() {
    for (sleeps, moves) in [(false, false), (true, false), (true, true)] {
        simulate(Habits { sleeps, moves }, Keeping { keeps: true, kills: 4 });
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    let run = || {
        let mut world = World::new(7, Habits { sleeps: true, moves: true }, Keeping { keeps: true, kills: 2 });
        world.run();
        (world.now, world.event_count, world.published.len())
    };
    assert_eq!(run(), run());
}
