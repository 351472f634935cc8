//! Clients and gateway joined by a link that loses 30 % of all datagrams, doubles some and puts many out of order, under a clock that is simulated. The
//! client's side of the message layer and of block-wise transfers is the crate's own.

mod defaults;

#[path = "../machine/gateway.rs"]
#[allow(dead_code, reason = "made for scripts as well")]
mod gateway;

use std::collections::{BTreeMap, VecDeque};

use gateway::Gateway;
use thingway_coap::{
    Config,
    blockwise::{Assembly, Block, Piece},
    codec::{Code, Kind, Packet, option},
    message::{Endpoint, Incoming, Lost, Transmission},
};
use thingway_contract::{Instant, Message, MessageHead, Outbox, Properties, Qos, Topic, TopicLimits};

/// A number from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Enough that nobody gives up: the chance that 17 transmissions all fail is one in a hundred thousand.
fn patient() -> Transmission {
    Transmission { max_retransmit: 16, ..Transmission::default() }
}

const OBSERVATION: u32 = 0;

/// What the client does, one after the other.
#[derive(Clone, Debug)]
enum Job {
    /// Opens a connection.
    Open,
    Heartbeat,
    Observe,
    /// A PUT, in blocks if it is large.
    Publish(Vec<u8>),
    /// A GET of a path whose representation is known.
    Read(&'static str, Vec<u8>),
    /// The rest of a large notification.
    Rest(Large),
}

/// A notification of which the first block came.
#[derive(Clone, Debug)]
struct Large {
    /// Its place among all.
    at: usize,
    first: Vec<u8>,
    exponent: u8,
    etag: Vec<u8>,
}

struct Client {
    port: u16,
    endpoint: Endpoint,
    settings: Transmission,
    out: Outbox,
    jobs: VecDeque<Job>,
    current: Option<Job>,
    /// The tag of the request that is under way.
    tag: u32,
    number: u32,
    /// The block size, which the gateway may make smaller.
    exponent: u8,
    assembly: Assembly,
    /// Notifications, whole.
    received: Vec<Vec<u8>>,
    acknowledged: Vec<Vec<u8>>,
    /// Publications of which the client was told that they came to nothing.
    failed: Vec<Vec<u8>>,
    /// What later requests show, once there is a connection.
    query: Vec<String>,
}

impl Client {
    fn new(port: u16, seed: u64, settings: Transmission) -> Self {
        Self {
            port,
            endpoint: Endpoint::new(seed ^ u64::from(port)),
            settings,
            out: Outbox::default(),
            jobs: VecDeque::new(),
            current: None,
            tag: OBSERVATION,
            number: 0,
            exponent: 5,
            assembly: Assembly::default(),
            received: Vec::new(),
            acknowledged: Vec::new(),
            failed: Vec::new(),
            query: Vec::new(),
        }
    }

    fn topic(&self) -> String {
        format!("in{}", self.port)
    }

    fn begin(&mut self, now: Instant) {
        if self.current.is_some() {
            return;
        }
        let Some(job) = self.jobs.pop_front() else { return };
        self.number = 0;
        self.exponent = 5;
        self.assembly = Assembly::default();
        if let Job::Rest(rest) = &job {
            self.exponent = rest.exponent;
            let block = Block { number: 0, more: true, exponent: rest.exponent };
            assert_eq!(self.assembly.add(block, &rest.first, 1 << 20), Piece::More);
            self.number = 1;
        }
        self.current = Some(job);
        self.ask(now);
    }

    fn ask(&mut self, now: Instant) {
        let Some(job) = &self.current else { return };
        let (code, path) = match job {
            Job::Open => (Code::POST, "connection".into()),
            Job::Heartbeat => (Code::PUT, "connection".into()),
            Job::Observe | Job::Rest(_) => (Code::GET, self.topic()),
            Job::Publish(_) => (Code::PUT, format!("out{}", self.port)),
            Job::Read(path, _) => (Code::GET, (*path).to_owned()),
        };
        let mut packet = Packet::new(Kind::Confirmable, code);
        let is_connection = matches!(job, Job::Open | Job::Heartbeat);
        packet.push(option::URI_PATH, if is_connection { b"mqtt" } else { b"ps" });
        packet.push(option::URI_PATH, path.as_bytes());
        if matches!(job, Job::Open) {
            packet.push(option::URI_QUERY, format!("c=client{}", self.port).as_bytes());
        }
        for parameter in &self.query {
            packet.push(option::URI_QUERY, parameter.as_bytes());
        }
        let block = Block { number: self.number, more: false, exponent: self.exponent };
        match job {
            Job::Open | Job::Heartbeat => {}
            Job::Observe => packet.push_uint(option::OBSERVE, 0),
            Job::Publish(body) if body.len() > block.bytes() => {
                let (block, part) = block.slice(body).expect("within the body");
                packet.push_uint(option::BLOCK1, block.value());
                packet.set_payload(part.to_vec());
            }
            Job::Publish(body) => packet.set_payload(body.clone()),
            Job::Rest(_) | Job::Read(..) => packet.push_uint(option::BLOCK2, block.value()),
        }
        let tag = if matches!(job, Job::Observe) { OBSERVATION } else { self.tag + 1 };
        self.tag = self.tag.max(tag);
        packet.set_token(&tag.to_be_bytes());
        self.endpoint.ask(&mut packet, true, tag, &self.settings, now, &mut self.out);
    }

    fn receive(&mut self, datagram: &[u8], now: Instant) {
        match self.endpoint.receive(datagram, &self.settings, now, &mut self.out) {
            Ok(Incoming::Response(OBSERVATION, packet)) => self.on_notification(&packet),
            Ok(Incoming::Response(tag, packet)) if tag == self.tag => self.on_response(&packet, now),
            // Duplicates of answers that came already.
            Ok(Incoming::Response(..) | Incoming::Acknowledged(_) | Incoming::Nothing) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
        self.begin(now);
    }

    /// An exchange of the client's own came to nothing.
    fn on_lost(&mut self, lost: Lost, now: Instant) {
        let (Lost::GivenUp(tag) | Lost::NoResponse(tag)) = lost;
        match self.current.take() {
            Some(Job::Publish(body)) if tag == self.tag => self.failed.push(body),
            // What changes nothing is asked once more.
            Some(job) => {
                assert!(tag == self.tag || matches!(job, Job::Observe), "{job:?} is not under way");
                self.current = Some(job);
                self.ask(now);
            }
            None => panic!("nothing is under way"),
        }
    }

    fn on_notification(&mut self, packet: &Packet) {
        assert_eq!(packet.code(), Code::CONTENT);
        assert!(packet.has(option::OBSERVE), "an observation that is not refused");
        if matches!(self.current, Some(Job::Observe)) {
            self.current = None;
        }
        match Block::of_response(packet).expect("valid") {
            Some(block) if block.more => {
                let etag = packet.first(option::ETAG).expect("an entity tag").to_vec();
                let at = self.received.len();
                self.received.push(Vec::new());
                let rest = Large { at, first: packet.payload().to_vec(), exponent: block.exponent, etag };
                let place = self.jobs.iter().take_while(|job| matches!(job, Job::Rest(_))).count();
                self.jobs.insert(place, Job::Rest(rest));
            }
            _ if packet.payload().is_empty() => {}
            _ => self.received.push(packet.payload().to_vec()),
        }
    }

    fn on_response(&mut self, packet: &Packet, now: Instant) {
        match self.current.take() {
            Some(Job::Publish(body)) => match packet.code() {
                Code::CONTINUE => {
                    self.number += 1;
                    self.current = Some(Job::Publish(body));
                    self.ask(now);
                }
                // The conversation with the first blocks is over.
                Code::REQUEST_ENTITY_INCOMPLETE if !self.query.is_empty() => self.failed.push(body),
                code => {
                    assert_eq!(code, Code::CHANGED);
                    self.acknowledged.push(body);
                }
            },
            Some(Job::Open) => {
                assert_eq!(packet.code(), Code::CREATED);
                let token = std::str::from_utf8(packet.payload()).expect("text");
                self.query = vec![format!("c=client{}", self.port), format!("t={token}")];
            }
            Some(Job::Heartbeat) => assert_eq!(packet.code(), Code::CHANGED),
            Some(Job::Read(path, expected)) => {
                if self.add(packet) {
                    assert_eq!(self.assembly.take(), expected);
                } else {
                    self.current = Some(Job::Read(path, expected));
                    self.ask(now);
                }
            }
            Some(Job::Rest(rest)) => {
                assert_eq!(packet.first(option::ETAG), Some(&rest.etag[..]), "blocks of the very same body");
                if self.add(packet) {
                    self.received[rest.at] = self.assembly.take();
                } else {
                    self.current = Some(Job::Rest(rest));
                    self.ask(now);
                }
            }
            other => panic!("{other:?} got {packet:?}"),
        }
    }

    /// Takes a block of a response; true for the last.
    fn add(&mut self, packet: &Packet) -> bool {
        assert_eq!(packet.code(), Code::CONTENT);
        let block = Block::of_response(packet).expect("valid").expect("in blocks");
        match self.assembly.add(block, packet.payload(), 1 << 20) {
            Piece::Whole => true,
            Piece::More => {
                (self.number, self.exponent) = (block.number + 1, block.exponent);
                false
            }
            piece => panic!("{piece:?}"),
        }
    }
}

struct World {
    random: Random,
    gateway: Gateway,
    clients: Vec<Client>,
    /// Datagrams under way, by the time they arrive: to the gateway, or to a client.
    link: BTreeMap<(Instant, u64), (bool, u16, Vec<u8>)>,
    sequence: u64,
    lost: u64,
    /// Exchanges may come to nothing.
    may_fail: bool,
}

impl World {
    fn new(gateway: Gateway, clients: Vec<Client>, seed: u64, may_fail: bool) -> Self {
        let (link, random) = (BTreeMap::new(), Random(seed.wrapping_mul(77) + 1));
        Self { random, gateway, clients, link, sequence: 0, lost: 0, may_fail }
    }

    fn run_ms(&mut self, ms: u64) {
        self.run(Instant::from_millis(self.gateway.now.as_millis() + ms));
    }

    fn carry(&mut self, to_gateway: bool, port: u16, datagram: &[u8]) {
        let copies = match self.random.below(100) {
            0..30 => 0,
            30..40 => 2,
            _ => 1,
        };
        self.lost += u64::from(copies == 0);
        for _ in 0..copies {
            let at = Instant::from_millis(self.gateway.now.as_millis() + 5 + self.random.below(600));
            self.sequence += 1;
            self.link.insert((at, self.sequence), (to_gateway, port, datagram.to_vec()));
        }
    }

    fn send_all(&mut self) {
        for (port, datagram) in std::mem::take(&mut self.gateway.sent) {
            self.carry(false, port, &datagram);
        }
        for at in 0..self.clients.len() {
            let port = self.clients[at].port;
            let sent: Vec<Vec<u8>> = self.clients[at].out.datagrams().map(<[u8]>::to_vec).collect();
            self.clients[at].out.clear();
            for datagram in sent {
                self.carry(true, port, &datagram);
            }
        }
    }

    /// Goes on until `end`, or until nothing is under way.
    fn run(&mut self, end: Instant) {
        self.send_all();
        loop {
            let arrival = self.link.keys().next().map(|(at, _)| *at);
            let deadlines = self.clients.iter().map(|client| client.endpoint.deadline());
            let next = arrival.into_iter().chain(self.gateway.deadline()).chain(deadlines).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            let now = next.max(self.gateway.now);
            self.gateway.now = now;
            while let Some(entry) = self.link.first_entry().filter(|entry| entry.key().0 <= now) {
                let (to_gateway, port, datagram) = entry.remove();
                if to_gateway {
                    self.gateway.receive(port, &datagram);
                } else if let Some(client) = self.clients.iter_mut().find(|client| client.port == port) {
                    client.receive(&datagram, now);
                }
            }
            self.gateway.fire();
            for client in &mut self.clients {
                let lost = client.endpoint.timeout(&client.settings.clone(), now, &mut client.out);
                assert!(lost.is_empty() || self.may_fail, "{lost:?}");
                for lost in lost {
                    client.on_lost(lost, now);
                }
                client.begin(now);
            }
            self.send_all();
        }
        self.gateway.now = end;
    }
}

fn message(topic: &str, payload: &[u8], retain: bool) -> Message {
    let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
    let head = MessageHead { qos: Qos::AtLeastOnce, retain, ..MessageHead::default() };
    Message::new(head, topic, Properties::default(), payload)
}

fn body(seed: u64, number: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(seed ^ number << 20);
    let mut body: Vec<u8> = (0..bytes).map(|_| random.below(256) as u8).collect();
    body.splice(0..0, number.to_be_bytes());
    body
}

fn simulate(seed: u64) {
    let config = Config { transmission: patient(), block_ms: 400_000_000, ..Config::default() };
    let mut gateway = Gateway::new(config);
    let large = body(seed, 7777, 4000);
    gateway.publish(message("large", &large, true));
    let mut clients: Vec<Client> = (1..=3).map(|port| Client::new(port, seed, patient())).collect();
    for client in &mut clients {
        client.jobs.push_back(Job::Observe);
        for number in 0..12 {
            let bytes = if number % 4 == 3 { 1700 } else { 20 };
            client.jobs.push_back(Job::Publish(body(seed, number + 100 * u64::from(client.port), bytes)));
        }
        client.jobs.push_back(Job::Read("large", large.clone()));
        client.begin(gateway.now);
    }
    let mut world = World::new(gateway, clients, seed, false);
    // Messages for observers come while the clients have their own to do.
    let mut told: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 3];
    while world.clients.iter().any(|client| matches!(client.current, Some(Job::Observe))) {
        world.run_ms(1000);
    }
    for number in 0..15 {
        for (at, told) in told.iter_mut().enumerate() {
            let payload = body(seed, 5000 + number + 100 * at as u64, if number % 5 == 4 { 2600 } else { 30 });
            let topic = world.clients[at].topic();
            world.gateway.publish(message(&topic, &payload, false));
            told.push(payload);
        }
        let ms = world.random.below(5000);
        world.run_ms(ms);
    }
    let far = world.gateway.now.plus_secs(10_000_000);
    world.run(far);

    assert!(world.lost > 100, "{} datagrams were lost", world.lost);
    assert!(world.gateway.faults.iter().all(|fault| !fault.is_fatal()), "{:?}", world.gateway.faults);
    for (client, told) in world.clients.iter().zip(&told) {
        assert!(client.current.is_none() && client.jobs.is_empty(), "{:?} and {:?}", client.current, client.jobs);
        let topic = format!("out{}", client.port);
        let published = world.gateway.bus.published.iter().filter(|message| message.topic() == topic);
        let published: Vec<&[u8]> = published.map(|message| message.payload()).collect();
        assert_eq!(client.acknowledged.len(), 12);
        assert_eq!(published, client.acknowledged, "each publication once, in order");
        assert_eq!(client.received.len(), told.len());
        assert!(client.received == *told, "each notification once, in order, whole");
    }
}

#[test]
fn with_30_percent_loss_everything_arrives_exactly_as_promised() {
    for seed in 0..100 {
        println!("seed {seed}");
        simulate(seed);
    }
}
