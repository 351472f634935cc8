//! The bus with a store in memory behind it. Time is told.

use std::thread::JoinHandle;

use thingway_contract::{
    ClientId, Departure, MessageHead, Qos, Subscription, SubscriptionOptions, Topic, TopicFilter, TopicLimits,
    Transport,
};
use thingway_store::{Epoch, FlushLimits, Memory, Settings};

use super::*;
use crate::bus::{BusConfig, ConnectionInfo, DepartCause, NO_CORE, Origin, Tuning};

/// A gateway's bus and store, without the gateway.
struct Kept {
    bus: Arc<Bus>,
    journal: Journal<Handle>,
    thread: Option<JoinHandle<()>>,
}

impl Kept {
    /// Begins when the wall says so, with what there is.
    fn begin(backend: Box<dyn Backend>, config: BusConfig, wall_ms: u64) -> Self {
        let mut config = config;
        config.events.clock_zero_unix_ms = wall_ms;
        let (limits, epoch) = (FlushLimits::default(), Epoch(wall_ms));
        let (mut keeper, _) =
            Keeper::open(backend, Settings::default(), limits, 1 << 20, epoch, wall_ms).expect("it opens");
        let journal = Journal::default();
        let mut bus = Bus::new(config, "assigned");
        bus.keep(journal.clone());
        let bus = Arc::new(bus);
        let mut lane = bus.lane(NO_CORE);
        bus.restore(&mut keeper, Instant::ZERO, &mut lane).expect("it can be read");
        let thread = journal.start(keeper, bus.desk(lane, |_| {})).expect("a thread");
        Self { bus, journal, thread: Some(thread) }
    }

    /// What is kept now, as one that begins anew finds it.
    fn frozen(&self) -> Box<dyn Backend> {
        self.journal.freeze().expect("frozen").backend
    }

    /// Topics that the store has a retained message for.
    fn retained_in_store(&self) -> Vec<String> {
        let (settings, limits) = (Settings::default(), FlushLimits::default());
        let (mut keeper, _) =
            Keeper::<Handle, _>::open(self.frozen(), settings, limits, 0, Epoch(0), 0).expect("it opens");
        let mut topics = Vec::new();
        keeper.for_each_retained(|message, _| topics.push(message.topic().to_owned())).expect("it can be read");
        topics.sort();
        topics
    }

    fn publish(&self, topic: &str, payload: &[u8], retain: bool, expires_at: Instant, now: Instant) {
        let topic = Topic::parse(topic, TopicLimits::default()).expect("a topic");
        // Of somebody, not the gateway's own.
        let publisher = self.bus.next_publisher();
        let head = MessageHead { qos: Qos::AtLeastOnce, retain, publisher, received_at: now, expires_at };
        let mut lane = self.bus.lane(NO_CORE);
        self.bus.publish(Message::new(head, topic, Properties::default(), payload), None, now, &mut lane);
    }

    fn connect(&self, client_id: &str) -> (Arc<Session>, u32) {
        let mut lane = self.bus.lane(NO_CORE);
        let mut request = request(client_id);
        let reserved = match self.bus.connect(&mut request, Instant::ZERO, &mut lane) {
            ConnectOutcome::Reserved(reserved) => reserved,
            other => panic!("{other:?}"),
        };
        loop {
            if let Some(granted) = self.bus.granted(&reserved, &request, Instant::ZERO, &mut lane) {
                let granted = granted.expect("granted");
                return (granted.session, granted.epoch);
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.journal.stop();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

fn request(client_id: &str) -> SessionRequest {
    SessionRequest {
        client_id: ClientId::new(client_id, 10).ok(),
        clean_start: false,
        must_exist: false,
        resume_key: None,
        keep_will: false,
        session_expiry_secs: 60,
        will: None,
        info: ConnectionInfo {
            origin: Arc::new(Origin { protocol: "test", transport: Transport::Memory, listener: Arc::from("test") }),
            version: 0,
            remote: None,
            username: None,
            keep_alive_secs: 0,
            connected_at: Instant::ZERO,
            clean_start: false,
        },
        waker: Waker::noop().clone(),
        core: NO_CORE,
        assigned: false,
        prefix: None,
    }
}

const fn secs(secs: u64) -> Instant {
    Instant::ZERO.plus_secs(secs)
}

#[test]
fn what_was_retained_and_has_expired_is_forgotten_by_the_store_as_well() {
    let kept = Kept::begin(Box::new(Memory::new()), BusConfig::default(), 1_000_000);
    kept.publish("short", b"1", true, secs(5), secs(0));
    kept.publish("replaced", b"1", true, secs(5), secs(0));
    kept.publish("replaced", b"2", true, secs(50), secs(1));
    kept.publish("for/ever", b"1", true, Instant::NEVER, secs(0));
    let mut lane = kept.bus.lane(NO_CORE);
    kept.bus.tick(secs(4), 100, &mut lane);
    assert_eq!(kept.retained_in_store(), ["for/ever", "replaced", "short"]);
    kept.bus.tick(secs(6), 100, &mut lane);
    assert_eq!(kept.retained_in_store(), ["for/ever", "replaced"]);
    assert_eq!(kept.bus.retained().len(), 2);
    kept.bus.tick(secs(60), 100, &mut lane);
    assert_eq!(kept.retained_in_store(), ["for/ever"]);
}

#[test]
fn a_configured_expiry_counts_from_the_publication_whenever_the_gateway_begins() {
    let tuning = || Tuning { retained_expiry_secs: 100, ..Tuning::default() };
    let config = || BusConfig { tuning: tuning(), ..BusConfig::default() };
    let first = Kept::begin(Box::new(Memory::new()), config(), 1_000_000);
    first.publish("early", b"1", true, Instant::NEVER, secs(0));
    first.publish("late", b"1", true, Instant::NEVER, secs(50));
    first.publish("own", b"1", true, secs(1000), secs(0));
    // A minute later by the wall, before the store has rows of it.
    let second = Kept::begin(first.frozen(), config(), 1_060_000);
    let expires = |kept: &Kept, topic| kept.bus.retained().get(topic, secs(0)).map(|message| message.head().expires_at);
    assert_eq!(expires(&second, "early"), Some(secs(40)));
    assert_eq!(expires(&second, "late"), Some(secs(90)));
    assert_eq!(expires(&second, "own"), Some(secs(940)));
    // And when it has expired meanwhile, it is not there, nor in the store.
    let third = Kept::begin(second.frozen(), config(), 1_120_000);
    assert_eq!(expires(&third, "early"), None);
    assert_eq!(expires(&third, "late"), Some(secs(30)));
    assert_eq!(third.retained_in_store(), ["late", "own"]);
}

#[test]
fn what_the_store_holds_for_a_session_is_counted() {
    let kept = Kept::begin(Box::new(Memory::new()), BusConfig::default(), 1_000_000);
    let mut lane = kept.bus.lane(NO_CORE);
    let (session, epoch) = kept.connect("client");
    let filter = TopicFilter::parse("t", TopicLimits::default()).expect("a filter");
    let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
    let granted = kept.bus.subscribe(&session, vec![Ok(Subscription { filter, options })], secs(0), &mut lane);
    assert_eq!(granted, [Ok(Qos::AtLeastOnce)]);
    let queued = || kept.bus.queued(std::slice::from_ref(&session))[0];
    assert_eq!(queued(), Queued::default());
    kept.publish("t", b"given to the connection", false, Instant::NEVER, secs(0));
    assert_eq!(queued().messages, 1, "once, though it is in the connection's queue as well");
    kept.bus.depart(&session, epoch, Departure::default(), DepartCause::Closed, secs(0), &mut lane);
    for payload in [&b"waits"[..], b"waits as well"] {
        kept.publish("t", payload, false, Instant::NEVER, secs(0));
    }
    let told = queued();
    assert_eq!(told.messages, 3);
    assert!(told.bytes > 36, "{told:?}");
    assert_eq!(kept.bus.gauges().stored, told, "there is nobody else");
    assert_eq!(kept.bus.gauges().queued_bytes, 0, "none of it waits here");
}

#[test]
fn delayed_messages_that_fell_due_meanwhile_come_in_the_order_in_which_they_were_due() {
    let first = Kept::begin(Box::new(Memory::new()), BusConfig::default(), 1_000_000);
    for topic in ["$delayed/30/t/c", "$delayed/10/t/a", "$delayed/20/t/b", "$delayed/10/t/a2"] {
        first.publish(topic, b"x", true, Instant::NEVER, secs(0));
    }
    let second = Kept::begin(first.frozen(), BusConfig::default(), 1_060_000);
    assert_eq!(second.bus.gauges().delayed, 4);
    let mut order = Vec::new();
    while let crate::bus::timers::Due::Timer(timer) = second.bus.timers.pop(secs(0)) {
        let crate::bus::timers::Timer::Delayed(_, message) = timer else { panic!("{timer:?}") };
        order.push(message.topic().to_owned());
    }
    assert_eq!(order, ["t/a", "t/a2", "t/b", "t/c"]);
}
