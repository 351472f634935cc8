//! Sequences of operations on the bus against a model of a few lines.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    task::Waker,
};

use thingway::bus::{
    Bus, BusConfig, ConnectOutcome, ConnectionInfo, DepartCause, Granted, Lane, NO_CORE, Origin, Session,
    SessionRequest,
};
use thingway_contract::{
    ClientId, Departure, Instant, Message, MessageHead, Properties, PublishOutcome, Qos, RetainHandling, Subscription,
    SubscriptionOptions, Topic, TopicFilter, TopicLimits, Transport, WillFate, filter_matches,
};

use crate::random::Random;

const CLIENTS: &[&str] = &["a", "b", "c", "d"];
const FILTERS: &[&str] = &["t/1", "t/2", "t/+", "t/#", "#", "+/1", "$share/g/t/1", "$share/g/t/#", "$share/h/t/1"];
const TOPICS: &[&str] = &["t/1", "t/2", "t/1/x", "u/1", "$x/1"];

/// What a session should be.
#[derive(Default)]
struct Expected {
    connected: bool,
    persistent: bool,
    /// Filters in the order of nothing, with their quality of service.
    subscriptions: BTreeMap<&'static str, Qos>,
    /// Numbers of the messages that must come, in order, by plain subscriptions.
    queue: VecDeque<u32>,
}

struct World {
    bus: Bus,
    lane: Lane,
    now: Instant,
    model: BTreeMap<&'static str, Expected>,
    live: BTreeMap<&'static str, (Arc<Session>, u32)>,
    /// Shared messages: number of the message and how many groups must each have given it to one member.
    shared: BTreeMap<u32, usize>,
    shared_got: BTreeMap<u32, usize>,
    next: u32,
}

pub fn operations(random: &mut Random) {
    let bus = Bus::new(BusConfig::default(), "auto-");
    let lane = bus.lane(NO_CORE);
    let mut world = World {
        bus,
        lane,
        now: Instant::from_millis(1000),
        model: BTreeMap::new(),
        live: BTreeMap::new(),
        shared: BTreeMap::new(),
        shared_got: BTreeMap::new(),
        next: 0,
    };
    for _ in 0..10 + random.below(150) {
        world.step(random);
    }
    world.finish();
}

impl World {
    fn step(&mut self, random: &mut Random) {
        let client = random.pick(CLIENTS);
        match random.below(10) {
            0 | 1 => self.connect(client, random.chance(3), !random.chance(3)),
            2 => self.depart(client),
            3 | 4 => self.subscribe(client, random.pick(FILTERS), Qos::from_u8(random.below(3) as u8).unwrap()),
            5 => self.unsubscribe(client, random.pick(FILTERS)),
            6 => self.drain(client),
            _ => self.publish(random.pick(TOPICS)),
        }
    }

    fn connect(&mut self, client: &'static str, clean: bool, persistent: bool) {
        let mut request = SessionRequest {
            client_id: Some(ClientId::new(client, 10).unwrap()),
            clean_start: clean,
            must_exist: false,
            resume_key: None,
            keep_will: false,
            session_expiry_secs: if persistent { u32::MAX } else { 0 },
            will: None,
            info: ConnectionInfo {
                origin: Arc::new(Origin {
                    protocol: "fuzz",
                    transport: Transport::Memory,
                    listener: Arc::from("fuzz"),
                }),
                version: 0,
                remote: None,
                username: None,
                keep_alive_secs: 0,
                connected_at: self.now,
                clean_start: clean,
            },
            waker: Waker::noop().clone(),
            core: NO_CORE,
            assigned: false,
            prefix: None,
        };
        let mut outcome = self.bus.connect(&mut request, self.now, &mut self.lane);
        if let ConnectOutcome::Occupied = outcome {
            assert!(self.model.get(client).is_some_and(|expected| expected.connected), "nobody has {client}");
            self.depart(client);
            outcome = self.bus.connect(&mut request, self.now, &mut self.lane);
        }
        let ConnectOutcome::Granted(granted) = outcome else { panic!("{client}: {outcome:?}") };
        let Granted { session, epoch, connected } = *granted;
        let kept = !clean && self.model.get(client).is_some_and(|expected| expected.persistent);
        assert_eq!(connected.session_present, kept, "{client}");
        if !kept {
            self.forget(client);
        }
        let expected = self.model.entry(client).or_default();
        expected.connected = true;
        expected.persistent = persistent;
        self.live.insert(client, (session, epoch));
    }

    /// The session's end: shared messages it had go to others if there are any, which the final count allows for.
    fn forget(&mut self, client: &'static str) {
        self.model.remove(client);
    }

    fn depart(&mut self, client: &'static str) {
        let Some((session, epoch)) = self.live.remove(client) else { return };
        // What is sent and not acknowledged is not modelled here: take what there is first.
        self.take(client, &session, epoch);
        let departure = Departure { will: WillFate::Discard, ..Departure::default() };
        self.bus.depart(&session, epoch, departure, DepartCause::Normal, self.now, &mut self.lane);
        let expected = self.model.get_mut(client).unwrap();
        expected.connected = false;
        if !expected.persistent {
            self.forget(client);
        }
    }

    fn subscribe(&mut self, client: &'static str, filter: &'static str, qos: Qos) {
        let Some((session, _)) = self.live.get(client) else { return };
        let subscription = Subscription {
            filter: TopicFilter::parse(filter, TopicLimits::default()).unwrap(),
            options: SubscriptionOptions { qos, retain_handling: RetainHandling::DoNotSend, ..Default::default() },
        };
        let results = self.bus.subscribe(session, vec![Ok(subscription)], self.now, &mut self.lane);
        assert_eq!(results, [Ok(qos)]);
        let expected = self.model.get_mut(client).unwrap();
        expected.subscriptions.insert(filter, qos);
        assert_eq!(session.subscriptions_len(), expected.subscriptions.len());
    }

    fn unsubscribe(&mut self, client: &'static str, filter: &'static str) {
        let Some((session, _)) = self.live.get(client) else { return };
        let parsed = TopicFilter::parse(filter, TopicLimits::default()).unwrap();
        let results = self.bus.unsubscribe(session, vec![Ok(parsed)], self.now, &mut self.lane);
        let was_there = self.model.get_mut(client).unwrap().subscriptions.remove(filter).is_some();
        assert_eq!(results[0].is_ok(), was_there, "{client} {filter}");
    }

    fn publish(&mut self, topic: &'static str) {
        self.next += 1;
        let number = self.next;
        let head = MessageHead { qos: Qos::AtLeastOnce, received_at: self.now, ..MessageHead::default() };
        let name = Topic::parse(topic, TopicLimits::default()).unwrap();
        let message = Message::new(head, name, Properties::default(), &number.to_be_bytes());
        let outcome = self.bus.publish(message, None, self.now, &mut self.lane);

        let mut groups = BTreeSet::new();
        let mut reached = false;
        for expected in self.model.values_mut() {
            let mut best: Option<Qos> = None;
            for (filter, qos) in &expected.subscriptions {
                let parsed = TopicFilter::parse(filter, TopicLimits::default()).unwrap();
                if !filter_matches(parsed.filter(), topic) {
                    continue;
                }
                reached = true;
                match parsed.share_name() {
                    // Which member is asked is the group's business.
                    Some(share) => drop(groups.insert((share.group.to_string(), share.filter.to_string()))),
                    None => best = best.max(Some(*qos)),
                }
            }
            if best.is_some_and(|qos| expected.connected || qos > Qos::AtMostOnce) {
                expected.queue.push_back(number);
            }
        }
        assert_eq!(outcome == PublishOutcome::Accepted, reached, "{topic}");
        self.shared.insert(number, groups.len());
    }

    fn drain(&mut self, client: &'static str) {
        let Some((session, epoch)) = self.live.get(client).cloned() else { return };
        self.take(client, &session, epoch);
    }

    fn take(&mut self, client: &'static str, session: &Arc<Session>, epoch: u32) {
        let mut batch = Vec::new();
        let taken = self.bus.take(session, epoch, usize::MAX, self.now, &mut batch);
        assert!(!taken.more, "{client}");
        let expected = self.model.get_mut(client).unwrap();
        for delivery in batch {
            let number = u32::from_be_bytes(delivery.message.payload().try_into().unwrap());
            if delivery.rare.as_ref().is_some_and(|rare| rare.share.is_some()) {
                *self.shared_got.entry(number).or_default() += 1;
            } else {
                assert_eq!(expected.queue.pop_front(), Some(number), "{client} got {number}");
            }
        }
        assert!(expected.queue.is_empty(), "{client} still misses {:?}", expected.queue);
    }

    fn finish(&mut self) {
        for client in CLIENTS {
            self.connect(client, false, true);
            self.drain(client);
        }
        for (number, got) in &self.shared_got {
            let most = self.shared[number];
            assert!(*got <= most, "{number} went to {got} members of {most} groups");
        }
        let connected = CLIENTS.len();
        assert_eq!((self.bus.gauges().connected, self.bus.gauges().queued_bytes), (connected, 0));
        let subscriptions: usize = self.model.values().map(|expected| expected.subscriptions.len()).sum();
        assert_eq!(self.bus.gauges().subscriptions, subscriptions);
        for client in CLIENTS {
            self.connect(client, true, false);
            self.depart(client);
        }
        let gauges = self.bus.gauges();
        assert_eq!((gauges.connected, gauges.sessions, gauges.subscriptions, gauges.filters), (0, 0, 0, 0));
    }
}
