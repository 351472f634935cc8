//! Subscribers that keep to MQTT's rules, at a gateway whose disk fails and which crashes: nothing that was committed is lost, QoS 2 comes once, and all
//! in its order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use smallvec::SmallVec;
use thingway_contract::{
    ClientId, Delivery, Message, MessageHead, Properties, Qos, Rare, SubscriptionOptions, Topic, TopicFilter,
    TopicLimits, WillFate,
};

use super::{Disk, Setup, for_each_seed};
use crate::{
    Appended, Attach, Attached, Backend, Bounds, Cause, DropCause, Durability, Exchange, Faulty, Host, Keeper, Number,
    Position, Publish, Record, Settings, Target, faulty::Chance,
};

const CLIENTS: usize = 4;
/// Of the clients, the first ones are members of a group.
const MEMBERS: usize = 3;
const GROUP: &str = "$share/g/t";

/// A connection, as the store calls it.
type Handle = (usize, u32);

/// What is on its way to a client.
enum Down {
    Publish { id: u16, qos: Qos, payload: u32, duplicate: bool },
    Release(u16),
}

/// What is on its way from a client.
enum Up {
    Acknowledged(u16),
    Received(u16),
}

/// A connection at the gateway; all of it goes when either side does.
#[derive(Default)]
struct Connection {
    epoch: u32,
    session: Number,
    /// 0 until it has its session.
    attach: Position,
    /// Given to it, but not sent.
    inbox: VecDeque<Delivery>,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
}

/// A client, who never forgets.
#[derive(Default)]
struct Client {
    connection: Option<Connection>,
    epochs: u32,
    /// Packet identifiers of QoS 2 that were received and not released.
    held: BTreeSet<u16>,
    /// Payloads in the order of their coming.
    receipts: Vec<u32>,
    has_session: bool,
}

/// Who waits for a record.
enum Waiter {
    Nobody,
    Publisher(Published),
    Subscriber(Handle, u16),
}

/// A publication that was committed, or is to be.
#[derive(Clone, Debug)]
struct Published {
    payload: u32,
    qos: Qos,
    to: Vec<usize>,
    to_group: bool,
}

/// The connections, and what they want recorded.
#[derive(Default)]
struct Gateway {
    clients: Vec<Client>,
    records: VecDeque<Appended<Handle>>,
    waiters: VecDeque<Waiter>,
}

impl Gateway {
    fn record(&mut self, record: Record, handle: Option<Handle>, waiter: Waiter) {
        self.records.push_back(Appended { record, handle });
        self.waiters.push_back(waiter);
    }

    fn connection(&mut self, (client, epoch): Handle) -> Option<&mut Connection> {
        self.clients[client].connection.as_mut().filter(|connection| connection.epoch == epoch)
    }

    fn connect(&mut self, client: usize) {
        let peer = &mut self.clients[client];
        peer.epochs += 1;
        let handle = (client, peer.epochs);
        peer.connection = Some(Connection { epoch: peer.epochs, ..Connection::default() });
        let client_id = ClientId::new(&format!("c{client}"), 100).expect("an identifier");
        let attach = Attach { client_id, expiry_secs: u32::MAX, will: None, keep_will: false };
        self.record(Record::Attach(Box::new(attach)), Some(handle), Waiter::Nobody);
    }

    fn detach(&mut self, session: Number, attach: Position, unsent: u16) {
        let (at, expiry_secs, will) = (1, None, WillFate::Discard);
        self.record(Record::Detach { session, attach, at, expiry_secs, will, unsent }, None, Waiter::Nobody);
    }

    /// The connection is gone. The gateway notices, or not before the next one comes.
    fn disconnect(&mut self, client: usize, notices: bool) {
        let Some(connection) = self.clients[client].connection.take() else { return };
        if connection.attach != 0 && notices {
            let unsent = connection.inbox.front().map_or(0, |delivery| delivery.packet_id);
            self.detach(connection.session, connection.attach, unsent);
        }
    }

    /// Sends the next message.
    fn send(&mut self, client: usize) {
        let Some(connection) = &mut self.clients[client].connection else { return };
        let Some(Delivery { qos, packet_id: id, message, .. }) = connection.inbox.pop_front() else { return };
        connection.down.push_back(Down::Publish { id, qos, payload: number(&message), duplicate: false });
        if qos == Qos::AtMostOnce {
            let exchange = Exchange { session: connection.session, packet_id: id };
            self.record(Record::Acknowledged(exchange), None, Waiter::Nobody);
        }
    }

    /// The client takes the next packet.
    fn take(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let Some(connection) = &mut client.connection else { return };
        match connection.down.pop_front() {
            None => {}
            Some(Down::Release(id)) => {
                client.held.remove(&id);
                connection.up.push_back(Up::Acknowledged(id));
            }
            Some(Down::Publish { id, qos, payload, duplicate }) => match qos {
                Qos::AtMostOnce => client.receipts.push(payload),
                Qos::AtLeastOnce => {
                    client.receipts.push(payload);
                    connection.up.push_back(Up::Acknowledged(id));
                }
                Qos::ExactlyOnce => {
                    let is_new = client.held.insert(id);
                    assert!(is_new || duplicate, "another message under {id}, which is in use");
                    if is_new {
                        client.receipts.push(payload);
                    }
                    connection.up.push_back(Up::Received(id));
                }
            },
        }
    }

    /// The gateway takes the client's next packet.
    fn read(&mut self, client: usize) {
        let Some(connection) = &mut self.clients[client].connection else { return };
        let (session, handle) = (connection.session, (client, connection.epoch));
        match connection.up.pop_front() {
            None => {}
            Some(Up::Acknowledged(packet_id)) => {
                self.record(Record::Acknowledged(Exchange { session, packet_id }), None, Waiter::Nobody);
            }
            Some(Up::Received(packet_id)) => {
                let record = Record::Received(Exchange { session, packet_id });
                self.record(record, None, Waiter::Subscriber(handle, packet_id));
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let quiet = |connection: &Connection| {
            connection.attach != 0
                && connection.inbox.is_empty()
                && connection.down.is_empty()
                && connection.up.is_empty()
        };
        self.records.is_empty() && self.clients.iter().all(|client| client.connection.as_ref().is_some_and(quiet))
    }
}

impl Host for Gateway {
    type Session = Handle;

    fn attached(&mut self, handle: &Handle, attached: Attached) {
        let Attached { session, attach, present, outbound, .. } = attached;
        let client = &mut self.clients[handle.0];
        assert!(present || !client.has_session, "its session is gone");
        client.has_session = true;
        let Some(connection) = self.connection(*handle) else {
            // It has left before it had its session. Whoever came then takes it over.
            if self.clients[handle.0].connection.is_none() {
                self.detach(session, attach, 0);
            }
            return;
        };
        assert_eq!(connection.attach, 0, "it is told once");
        assert!(connection.inbox.is_empty(), "before anything else");
        (connection.session, connection.attach) = (session, attach);
        for open in outbound {
            let (id, release) = (open.packet_id, Down::Release(open.packet_id));
            connection.down.push_back(open.delivery.map_or(release, |delivery| {
                assert_eq!(delivery.packet_id, id);
                Down::Publish { id, qos: delivery.qos, payload: number(&delivery.message), duplicate: true }
            }));
        }
    }

    fn deliver(&mut self, handle: &Handle, delivery: Delivery) {
        if let Some(connection) = self.connection(*handle) {
            assert_ne!(connection.attach, 0);
            connection.inbox.push_back(delivery);
        }
    }

    fn behind(&mut self, _: &Handle, _: bool) {}

    fn dropped(&mut self, cause: DropCause, count: u64) {
        panic!("{count} messages given up: {cause:?}");
    }
}

fn number(message: &Message) -> u32 {
    u32::from_be_bytes(message.payload()[..4].try_into().expect("a number"))
}

struct World {
    chance: Chance,
    durability: Durability,
    setup: Setup,
    disk: Disk,
    keeper: Option<Keeper<Handle, Disk>>,
    gateway: Gateway,
    next: u32,
    committed: Vec<Published>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let durability = if chance.one_in(3) { Durability::Os } else { Durability::Fsync };
        let window = Bounds { messages: chance.within(1, 12), bytes: 100 + chance.below(2000) };
        let settings = Settings { window, ..Settings::default() };
        let cache_bytes = chance.within(0, 1) * chance.within(0, 2000);
        let setup = Setup { settings, limits: Setup::small(&mut chance), cache_bytes };
        let disk = Disk::new(Faulty::new(durability, seed));
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        let gateway = Gateway { clients, ..Gateway::default() };
        let keeper = Some(setup.open(&disk, 1).0);
        let mut world = Self { chance, durability, setup, disk, keeper, gateway, next: 1, committed: Vec::new() };
        for client in 0..CLIENTS {
            world.gateway.connect(client);
        }
        world.commit_all();
        let filter = TopicFilter::parse(GROUP, TopicLimits::default()).expect("a filter");
        for client in 0..MEMBERS {
            let options = SubscriptionOptions { qos: Qos::ExactlyOnce, ..SubscriptionOptions::default() };
            let record = Record::Subscribe { session: world.session(client), filter: filter.clone(), options };
            world.gateway.record(record, None, Waiter::Nobody);
        }
        world.commit_all();
        world
    }

    fn session(&self, client: usize) -> Number {
        let keeper = self.keeper.as_ref().expect("it is open");
        keeper.machine().find(&format!("c{client}")).expect("a session")
    }

    fn publish(&mut self) {
        let (payload, to_group) = (self.next, self.chance.one_in(3));
        self.next += 1;
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce][self.chance.within(0, 3)];
        let to: Vec<_> = (0..CLIENTS).filter(|_| self.chance.one_in(2)).collect();
        let target = |session| Target { session, qos, retain: false, subscription_id: 0, rare: None };
        let mut targets: SmallVec<_> = to.iter().map(|&client| target(self.session(client))).collect();
        if to_group {
            let share = TopicFilter::parse(GROUP, TopicLimits::default()).expect("a filter").share_name();
            let rare = Some(Arc::new(Rare { share, ..Rare::default() }));
            let preferred = self.chance.within(0, CLIENTS - 1);
            let preferred = self.session(preferred);
            targets.push(Target { rare, ..target(preferred) });
        }
        let mut bytes = payload.to_be_bytes().to_vec();
        bytes.resize(4 + self.chance.within(0, 200), 0);
        let topic = Topic::parse("t", TopicLimits::default()).expect("a topic");
        let head = MessageHead { qos, ..MessageHead::default() };
        let message = Message::new(head, topic, Properties::default(), &bytes);
        let publish = Publish { message, retains: false, exchange: None, targets, cause: Cause::None };
        let waiter = Waiter::Publisher(Published { payload, qos, to, to_group });
        self.gateway.record(Record::Publish(Arc::new(publish)), None, waiter);
    }

    /// Commits one block, or fails to. What publishers are refused did not happen.
    fn commit(&mut self) {
        let mut records = std::mem::take(&mut self.gateway.records);
        let mut waiters = std::mem::take(&mut self.gateway.waiters);
        let keeper = self.keeper.as_mut().expect("it is open");
        match keeper.commit(&mut records, &mut self.gateway) {
            Ok(count) => {
                for waiter in waiters.drain(..count) {
                    match waiter {
                        Waiter::Nobody => {}
                        Waiter::Publisher(published) => self.committed.push(published),
                        Waiter::Subscriber(handle, id) => {
                            if let Some(connection) = self.gateway.connection(handle) {
                                connection.down.push_back(Down::Release(id));
                            }
                        }
                    }
                }
            }
            Err((count, _)) if self.chance.one_in(2) => {
                let is_kept = |waiter: &Waiter| !matches!(waiter, Waiter::Publisher(_));
                let (first, rest) = (waiters.drain(..count).collect::<Vec<_>>(), std::mem::take(&mut waiters));
                let kept: Vec<_> = first.into_iter().zip(records.drain(..count)).filter(|(w, _)| is_kept(w)).collect();
                let (first, first_records): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
                waiters = first.into_iter().chain(rest).collect();
                records = first_records.into_iter().chain(records).collect();
            }
            Err(_) => {}
        }
        // What came meanwhile comes after.
        records.append(&mut self.gateway.records);
        waiters.append(&mut self.gateway.waiters);
        (self.gateway.records, self.gateway.waiters) = (records, waiters);
    }

    fn commit_all(&mut self) {
        while !self.gateway.records.is_empty() {
            self.commit();
        }
    }

    fn crash(&mut self) {
        self.keeper = None;
        if self.durability == Durability::Fsync && self.chance.one_in(2) {
            self.disk.get().power_cut();
        } else {
            self.disk.get().kill();
        }
        self.gateway.records.clear();
        self.gateway.waiters.clear();
        for client in &mut self.gateway.clients {
            client.connection = None;
        }
        self.keeper = Some(self.setup.open(&self.disk, 1).0);
    }

    fn weather(&mut self) {
        let rate = [None, None, Some(3), Some(10)][self.chance.within(0, 3)];
        let limit = self.chance.one_in(5);
        let mut disk = self.disk.get();
        disk.fail_one_in(rate);
        let room = disk.bytes() + self.chance.below(1000);
        disk.limit(limit.then_some(room));
    }

    fn step(&mut self) {
        let client = self.chance.within(0, CLIENTS - 1);
        match self.chance.below(120) {
            0 => self.crash(),
            1..3 => self.weather(),
            3..10 => {
                let now = self.chance.one_in(4);
                let keeper = self.keeper.as_mut().expect("it is open");
                let _ = keeper.tend(now);
            }
            10..13 => {
                let notices = !self.chance.one_in(4);
                self.gateway.disconnect(client, notices);
            }
            13..19 if self.gateway.clients[client].connection.is_none() => self.gateway.connect(client),
            19..35 => self.publish(),
            35..60 => self.gateway.send(client),
            60..80 => self.gateway.take(client),
            80..100 => self.gateway.read(client),
            _ => self.commit(),
        }
        self.keeper.as_ref().expect("it is open").machine().check();
    }

    /// Everybody comes, nothing fails, and all is delivered.
    fn finish(&mut self) {
        self.disk.get().fail_one_in(None);
        self.disk.get().limit(None);
        for client in 0..CLIENTS {
            if self.gateway.clients[client].connection.is_none() {
                self.gateway.connect(client);
            }
        }
        for _ in 0..100_000 {
            // Also gives what could not be read before.
            self.commit();
            if self.gateway.is_quiet() {
                break;
            }
            for client in 0..CLIENTS {
                self.gateway.send(client);
                self.gateway.take(client);
                self.gateway.read(client);
            }
        }
        assert!(self.gateway.is_quiet(), "it comes to an end");
        let keeper = self.keeper.as_ref().expect("it is open");
        assert_eq!(keeper.counts().messages, 0, "all was delivered:\n{}", keeper.machine().dump());
        for client in 0..CLIENTS {
            assert_eq!(keeper.queued(self.session(client)).0, 0);
        }
    }

    fn judge(&self) {
        let mut counts = Vec::new();
        for client in &self.gateway.clients {
            let mut count = BTreeMap::<u32, u32>::new();
            client.receipts.iter().for_each(|&payload| *count.entry(payload).or_default() += 1);
            counts.push(count);
        }
        let count = |client: usize, payload| counts[client].get(&payload).copied().unwrap_or_default();
        for published in &self.committed {
            let Published { payload, qos, to, to_group } = published;
            let all: u32 = (0..CLIENTS).map(|client| count(client, *payload)).sum();
            let wanted = to.len() as u32 + u32::from(*to_group);
            match qos {
                Qos::AtMostOnce => assert!(all <= wanted, "{published:?} came {all} times"),
                Qos::AtLeastOnce => assert!(all >= wanted, "{published:?} came {all} times"),
                Qos::ExactlyOnce => assert_eq!(all, wanted, "{published:?}"),
            }
            if *qos != Qos::AtMostOnce {
                assert!(to.iter().all(|&client| count(client, *payload) > 0), "{published:?} is lost");
            }
        }
        let mut order = BTreeMap::new();
        for (index, published) in self.committed.iter().enumerate() {
            order.insert(published.payload, (index, published));
        }
        for (number, client) in self.gateway.clients.iter().enumerate() {
            let mut seen = BTreeSet::new();
            let mut last = None;
            for payload in client.receipts.iter().filter(|payload| seen.insert(**payload)) {
                let (index, published) = order.get(payload).expect("only what was committed is delivered");
                if published.to.contains(&number) && !published.to_group {
                    assert!(last < Some(*index), "client {number} got {published:?} late");
                    last = Some(*index);
                }
            }
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.chance.within(50, 600) {
        world.step();
    }
    world.finish();
    world.judge();
}

#[test]
fn subscribers_get_all_that_was_committed_and_qos_2_once_in_order() {
    for_each_seed(300, run);
}
