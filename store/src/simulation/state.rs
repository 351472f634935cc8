//! Random records through a keeper, against a machine that is given what was committed and never writes or crashes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use smallvec::SmallVec;
use thingway_contract::{
    ClientId, Delivery, Message, MessageHead, Properties, Qos, Rare, SubscriptionOptions, Topic, TopicFilter,
    TopicLimits, Will, WillFate,
};

use super::{Disk, Setup, for_each_seed};
use crate::{
    Appended, Attach, Attached, Backend, Bounds, Cause, DropCause, Durability, Exchange, Extras, Faulty, Host, Keeper,
    Library, Machine, Position, Publish, Record, Settings, Table, Target, TryAgain, faulty::Chance,
};

const CLIENTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const TOPICS: [&str; 4] = ["t", "t/u", "x", "a/long/topic/that/weighs"];
const FILTERS: [&str; 6] = ["t", "t/#", "+/u", "$share/g/t", "$share/h/t", "$queue/x"];

/// Nobody hears anything of the reference, and nothing is read for it.
struct Deaf;

impl Host for Deaf {
    type Session = ();

    fn attached(&mut self, (): &(), _: Attached) {}

    fn deliver(&mut self, (): &(), _: Delivery) {}

    fn behind(&mut self, (): &(), _: bool) {}

    fn dropped(&mut self, _: DropCause, _: u64) {}
}

impl Library for Deaf {
    fn load(&mut self, _: Position) -> Result<Option<Arc<Publish>>, TryAgain> {
        panic!("what is kept depends on what can be read")
    }
}

/// Who hears of the store that is tested. Nothing may be given up for want of a message.
struct Ears;

impl Host for Ears {
    type Session = ();

    fn attached(&mut self, (): &(), attached: Attached) {
        assert!(attached.outbound.iter().all(|open| open.packet_id != 0));
    }

    fn deliver(&mut self, (): &(), delivery: Delivery) {
        assert_ne!(delivery.packet_id, 0);
    }

    fn behind(&mut self, (): &(), _: bool) {}

    fn dropped(&mut self, cause: DropCause, _: u64) {
        assert_ne!(cause, DropCause::Unreadable);
    }
}

struct World {
    chance: Chance,
    durability: Durability,
    setup: Setup,
    disk: Disk,
    keeper: Option<Keeper<(), Disk>>,
    /// What was committed, from position 1.
    history: Vec<Record>,
    reference: Machine<()>,
    next_delay: u64,
    now: u64,
}

fn settings(chance: &mut Chance) -> Settings {
    let mut bounds =
        |messages, bytes: u64| Bounds { messages: chance.within(1, messages), bytes: 1 + chance.below(bytes) };
    let (attached, detached, window) = (bounds(30, 4000), bounds(30, 4000), bounds(6, 1500));
    Settings { attached, detached, window, bytes_total: 500 + chance.below(10_000), newest_goes: chance.one_in(2) }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let durability =
            [Durability::Fsync, Durability::Fsync, Durability::Os, Durability::Memory][chance.within(0, 3)];
        let settings = settings(&mut chance);
        let cache_bytes = chance.within(0, 1) * chance.within(0, 5000);
        let setup = Setup { settings, limits: Setup::small(&mut chance), cache_bytes };
        let disk = Disk::new(Faulty::new(durability, seed));
        let reference = Machine::new(settings);
        let (history, keeper, next_delay, now) = (Vec::new(), None, 1, 1000);
        let mut world = Self { chance, durability, setup, disk, keeper, history, reference, next_delay, now };
        world.open(0);
        world
    }

    fn apply(&mut self, record: Record) {
        self.history.push(record.clone());
        self.reference.apply(self.history.len() as u64, record, None, &mut Deaf, &mut Deaf);
        self.reference.check();
    }

    /// Opens the store; at least `promised` records must be there.
    fn open(&mut self, promised: usize) {
        self.now += 10;
        let (keeper, _) = self.setup.open(&self.disk, self.now);
        let found = keeper.machine().position() as usize - 1;
        assert!(found >= promised, "{found} records are left of {promised}");
        assert!(found <= self.history.len());
        if found < self.history.len() {
            let history = std::mem::take(&mut self.history);
            self.reference = Machine::new(self.setup.settings);
            history.into_iter().take(found).for_each(|record| self.apply(record));
        }
        self.apply(Record::Restarted { at: self.now });
        self.keeper = Some(keeper);
        self.compare();
    }

    fn compare(&mut self) {
        let keeper = self.keeper.as_ref().expect("it is open");
        keeper.machine().check();
        let (kept, expected) = (keeper.machine().dump(), self.reference.dump());
        assert!(kept == expected, "kept:\n{kept}\nexpected:\n{expected}");
    }

    fn crash(&mut self) {
        let power = self.chance.one_in(2);
        let survives = match self.durability {
            Durability::Fsync => true,
            Durability::Os => !power,
            Durability::Memory => false,
        };
        let owed = self.keeper.as_ref().is_some_and(Keeper::has_no_room);
        let promised = if survives { self.history.len() - usize::from(owed) } else { 0 };
        self.keeper = None;
        if power {
            self.disk.get().power_cut();
        } else {
            self.disk.get().kill();
        }
        self.open(promised);
    }

    fn weather(&mut self) {
        let (errors, limit) = (self.chance.below(12), self.chance.one_in(5));
        let mut disk = self.disk.get();
        disk.fail_one_in([None, Some(2), Some(5), Some(20)].get(errors as usize).copied().flatten());
        let room = disk.bytes() + self.chance.below(2000);
        disk.limit(limit.then_some(room));
    }

    fn commit(&mut self) {
        let count = self.chance.within(1, 6);
        let mut pending = VecDeque::new();
        // Each must fit what is there when it is applied, but most do if they fit what is there now.
        for _ in 0..count {
            let record = self.record();
            let handle = matches!(record, Record::Attach(_)).then_some(());
            pending.push_back(Appended { record, handle });
        }
        let copies: Vec<_> = pending.iter().map(|appended| appended.record.clone()).collect();
        let mut done = 0;
        for _ in 0..10 {
            let keeper = self.keeper.as_mut().expect("it is open");
            match keeper.commit(&mut pending, &mut Ears) {
                Ok(0) => break,
                Ok(count) => {
                    copies[done..done + count].iter().cloned().for_each(|record| self.apply(record));
                    done += count;
                }
                Err((count, _)) => assert!(count <= pending.len() && count > 0),
            }
            self.compare();
        }
    }

    fn tend(&mut self) {
        let (now, steps) = (self.chance.one_in(3), self.chance.within(1, 5));
        let keeper = self.keeper.as_mut().expect("it is open");
        for _ in 0..steps {
            if keeper.tend(now).is_ok_and(|more| !more) {
                break;
            }
        }
        self.compare();
    }

    /// Everything that can be read of the store is as the records say.
    fn read_all(&mut self) {
        self.disk.get().fail_one_in(None);
        let keeper = self.keeper.as_mut().expect("it is open");
        let message_at = |at: Position| match &self.history[at as usize - 1] {
            Record::Publish(publish) => (&publish.message, publish.targets.clone()),
            Record::Delay { message, .. } => (message, SmallVec::new()),
            record => panic!("{record:?} is not a message"),
        };
        let same = |a: &Message, b: &Message| (a.topic(), a.payload()) == (b.topic(), b.payload());
        for at in self.reference.rows_wanted().1 {
            let publish = keeper.read(at).expect("it is wanted");
            let (message, targets) = message_at(at);
            assert!(same(&publish.message, message) && publish.targets == targets);
        }
        let mut subscriptions = BTreeMap::new();
        let mut put = |number, filter: TopicFilter, options| {
            assert!(subscriptions.insert((number, filter.to_string()), options).is_none(), "{number} {filter} twice");
        };
        keeper.for_each_subscription(&mut put).expect("read");
        let expected: BTreeMap<_, _> = self
            .reference
            .dirty_subscriptions()
            .filter_map(|(number, filter, options)| Some(((number, filter.to_owned()), options?)))
            .collect();
        assert_eq!(subscriptions, expected);
        let mut retained = BTreeMap::new();
        let mut put = |message: Message, _| {
            assert!(retained.insert(message.topic().to_owned(), message.payload().to_vec()).is_none());
        };
        keeper.for_each_retained(&mut put).expect("read");
        let expected: BTreeMap<_, _> = self
            .reference
            .dirty_retained()
            .map(|at| message_at(at).0)
            .map(|message| (message.topic().to_owned(), message.payload().to_vec()))
            .collect();
        assert_eq!(retained, expected);
        let mut delayed = Vec::new();
        keeper.for_each_delayed(|id, due, message| delayed.push((id, due, message.payload().to_vec()))).expect("read");
        let payload = |at| message_at(at).0.payload().to_vec();
        let expected: Vec<_> = self.reference.delayed().map(|(id, due, at)| (id, due, payload(at))).collect();
        assert_eq!(delayed, expected);
    }

    /// Once all is written, nothing is there that nobody wants.
    fn no_leftovers(&mut self) {
        self.disk.get().fail_one_in(None);
        self.disk.get().limit(None);
        let keeper = self.keeper.as_mut().expect("it is open");
        // What there was no room for when it was opened.
        keeper.commit(&mut VecDeque::new(), &mut Ears).expect("nothing fails");
        // It may tell what went wrong before, and end what was begun before.
        let _ = keeper.tend(true);
        for _ in 0..2 {
            while keeper.tend(true).expect("nothing fails") {}
        }
        let mut keys = |table| {
            let mut keys = BTreeSet::new();
            let mut visit = |key: &[u8], _: &[u8]| {
                keys.insert(key.to_vec());
                std::ops::ControlFlow::Continue(())
            };
            self.disk.rows(table, b"", &mut visit).expect("read");
            keys
        };
        let number = |key: &Vec<u8>| u64::from_be_bytes(key[..8].try_into().expect("a number"));
        let (numbers, messages) = self.reference.rows_wanted();
        assert_eq!(keys(Table::Sessions).iter().map(number).collect::<BTreeSet<_>>(), numbers);
        assert_eq!(keys(Table::Messages).iter().map(number).collect::<BTreeSet<_>>(), messages);
        assert!(keys(Table::Queues).iter().all(|key| numbers.contains(&number(key))));
        let subscribed = self.reference.dirty_subscriptions().filter(|(.., options)| options.is_some()).count();
        assert_eq!(keys(Table::Subscriptions).len(), subscribed);
        assert_eq!(keys(Table::Retained).len(), self.reference.dirty_retained().count());
        assert_eq!(keys(Table::Delayed).len(), self.reference.delayed().count());
        let mut blocks = 0;
        let mut count = |_: Position, _: &[u8]| {
            blocks += 1;
            std::ops::ControlFlow::Continue(())
        };
        self.disk.blocks(0, &mut count).expect("read");
        assert_eq!(blocks, 1, "the log is trimmed");
        self.read_all();
    }

    fn message(&mut self) -> Message {
        let qos = Qos::from_u8(self.chance.within(0, 2) as u8).expect("a quality of service");
        let head = MessageHead { qos, retain: self.chance.one_in(3), ..MessageHead::default() };
        let topic = Topic::parse(TOPICS[self.chance.within(0, 3)], TopicLimits::default()).expect("a topic");
        let mut payload = (self.history.len() as u32).to_be_bytes().to_vec();
        payload.resize(4 + self.chance.within(0, 3) * self.chance.within(0, 60), b'.');
        if self.chance.one_in(8) {
            payload.clear();
        }
        Message::new(head, topic, Properties::default(), &payload)
    }

    fn session(&mut self) -> u64 {
        let mut numbers: Vec<_> = self.reference.sessions().map(|view| view.number).collect();
        numbers.sort_unstable();
        if numbers.is_empty() || self.chance.one_in(20) {
            return self.chance.below(self.history.len() as u64 + 5);
        }
        numbers[self.chance.within(0, numbers.len() - 1)]
    }

    /// An exchange that is under way, for the most part.
    fn exchange(&mut self) -> Exchange {
        let session = self.session();
        let ids = self.reference.window_ids(session);
        let packet_id = if ids.is_empty() || self.chance.one_in(20) {
            self.chance.below(20) as u16
        } else {
            // The first ones first, as a rule.
            let last = if self.chance.one_in(2) { 0 } else { ids.len() - 1 };
            ids[self.chance.within(0, last)]
        };
        Exchange { session, packet_id }
    }

    fn begun(&mut self) -> Option<Exchange> {
        let packet_id = 1 + self.chance.below(5) as u16;
        self.chance.one_in(4).then(|| Exchange { session: self.session(), packet_id })
    }

    fn targets(&mut self, qos: Qos) -> SmallVec<[Target; 1]> {
        let mut targets = SmallVec::new();
        for _ in 0..self.chance.within(0, 4) {
            let filter = TopicFilter::parse(FILTERS[self.chance.within(0, 5)], TopicLimits::default());
            let share = filter.expect("a filter").share_name();
            let rare = self.chance.one_in(2) || share.is_some();
            let further_subscription_ids = SmallVec::from_slice(&[7, 8][..self.chance.within(0, 2)]);
            targets.push(Target {
                session: self.session(),
                qos: if self.chance.one_in(4) { Qos::AtMostOnce } else { qos },
                retain: self.chance.one_in(4),
                subscription_id: self.chance.below(3) as u32,
                rare: rare.then(|| Arc::new(Rare { further_subscription_ids, share, ..Rare::default() })),
            });
        }
        targets
    }

    fn will(&mut self) -> Option<Box<Will>> {
        let message = self.message();
        self.chance.one_in(3).then(|| Box::new(Will { message, delay_secs: 3, expiry_secs: Some(9) }))
    }

    fn filter(&mut self) -> TopicFilter {
        TopicFilter::parse(FILTERS[self.chance.within(0, 5)], TopicLimits::default()).expect("a filter")
    }

    fn record(&mut self) -> Record {
        self.now += 1;
        match self.chance.below(100) {
            0..13 => {
                let client_id = ClientId::new(CLIENTS[self.chance.within(0, 5)], 100).expect("an identifier");
                let expiry_secs = [0, 10, 10, u32::MAX][self.chance.within(0, 3)];
                let (will, keep_will) = (self.will(), self.chance.one_in(2));
                Record::Attach(Box::new(Attach { client_id, expiry_secs, will, keep_will }))
            }
            13..20 => {
                let Exchange { session, packet_id } = self.exchange();
                let attach = self.reference.attach_of(session);
                let unsent = if self.chance.one_in(3) { 0 } else { packet_id };
                Record::Detach {
                    session,
                    attach: if self.chance.one_in(10) { session } else { attach },
                    at: self.now,
                    expiry_secs: [None, None, None, Some(0), Some(20)][self.chance.within(0, 4)],
                    will: [WillFate::Publish, WillFate::Discard, WillFate::Keep][self.chance.within(0, 2)],
                    unsent,
                }
            }
            20..22 => Record::End { session: self.session() },
            22..24 => Record::SetWill { session: self.session(), will: self.will() },
            24..26 => {
                let extras = Extras { sleep_secs: self.chance.below(3) as u16, ..Extras::default() };
                Record::Keep { session: self.session(), extras: Box::new(extras) }
            }
            26..34 => {
                let qos = Qos::from_u8(self.chance.within(0, 2) as u8).expect("a quality of service");
                let retain_as_published = self.chance.one_in(2);
                let id = self.chance.below(4) as u32;
                let options = SubscriptionOptions { qos, retain_as_published, id, ..SubscriptionOptions::default() };
                Record::Subscribe { session: self.session(), filter: self.filter(), options }
            }
            34..37 => Record::Unsubscribe { session: self.session(), filter: self.filter() },
            37..67 => {
                let message = self.message();
                let targets = self.targets(message.head().qos);
                let (exchange, retains) = (self.begun(), self.chance.one_in(4));
                let cause = if self.chance.one_in(8) { self.cause() } else { Cause::None };
                Record::Publish(Arc::new(Publish { message, retains, exchange, targets, cause }))
            }
            67..70 => {
                // A name may have been another message's before.
                let again = 1 + self.chance.below(self.next_delay);
                let is_free = self.reference.delayed().all(|(id, ..)| id != again);
                let id = if is_free && self.chance.one_in(3) {
                    again
                } else {
                    self.next_delay += 1;
                    self.next_delay
                };
                let (due, message) = (self.now + 50, self.message());
                Record::Delay { id, due, message, exchange: self.begun() }
            }
            70..72 => Record::Spent(self.cause()),
            72..86 => Record::Acknowledged(self.exchange()),
            86..96 => Record::Received(self.exchange()),
            _ => Record::Released(Exchange { session: self.session(), packet_id: 1 + self.chance.below(5) as u16 }),
        }
    }

    fn cause(&mut self) -> Cause {
        let delayed: Vec<_> = self.reference.delayed().map(|(id, ..)| id).collect();
        if delayed.is_empty() || self.chance.one_in(2) {
            return Cause::Will(self.session());
        }
        Cause::Delayed(delayed[self.chance.within(0, delayed.len() - 1)])
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.chance.within(20, 150) {
        match world.chance.below(40) {
            0 => world.crash(),
            1 => world.weather(),
            2..10 => world.tend(),
            10 => world.read_all(),
            _ => world.commit(),
        }
    }
    world.no_leftovers();
    world.crash();
    world.read_all();
    world.no_leftovers();
}

#[test]
fn a_store_is_what_its_records_say_whatever_happens_to_its_disk() {
    for_each_seed(300, run);
}
