//! What is measured: schedules that run on the gateway's one core, each as a client would see it, with every answer checked.
//!
//! Clients write all they have, the core works until nothing is left to do, clients read. Nobody spins and nothing is timed.

use std::{future::Future, ops::ControlFlow, sync::Arc};

use thingway::{
    bus::{
        retained::{RetainLimits, Retained},
        routes::{RouteScratch, Routes},
    },
    config::Listener,
    net::memory::MemoryListener,
};
use thingway_contract::{
    Instant, Message, MessageHead, Properties, SubscriptionOptions, Topic, TopicFilter, TopicLimits,
};
use tokio::sync::oneshot;

use super::{
    callgrind,
    client::{Client, DISCONNECT, PINGREQ, PINGRESP, connect, subscribe},
    common::TestGateway,
    flow::{Flow, Shape, Traffic},
    meter,
};

/// How often a scenario is counted, each time on a new gateway: what counts is the least. Hash seeds differ, and timers fire, once in a while.
const ATTEMPTS: usize = 3;
/// Rounds in which tables and buffers grow to what they need, before anything is counted.
const WARM_UP_ROUNDS: usize = 4;

pub struct Scenario {
    pub name: &'static str,
    pub rounds: usize,
    pub work: Work,
}

#[derive(Clone, Copy)]
pub enum Work {
    /// Messages from publishers to subscribers.
    Flow(Shape, Traffic),
    /// Each of so many idle connections sends a PINGREQ.
    Ping(usize),
    /// So many clients come one after the other: connect, subscribe, disconnect.
    Visit(usize),
}

const fn flow(name: &'static str, rounds: usize, shape: Shape, qos: u8, burst: usize) -> Scenario {
    Scenario { name, rounds, work: Work::Flow(shape, Traffic { qos, burst, payload_bytes: 64 }) }
}

/// Pairs are few enough that a reactor polls all of them in one round: then every batch is written at once.
pub const SCENARIOS: &[Scenario] = &[
    flow("fan-out 1 to 100, QoS 0", 4, Shape::FanOut(100), 0, 8),
    flow("fan-in 50 to 1, QoS 0", 8, Shape::FanIn(50), 0, 8),
    flow("fan-in 50 to 1, QoS 1", 8, Shape::FanIn(50), 1, 8),
    flow("pairs, QoS 0", 8, Shape::Pairs(10), 0, 32),
    flow("pairs, QoS 1", 8, Shape::Pairs(10), 1, 32),
    flow("pairs, QoS 2", 8, Shape::Pairs(10), 2, 32),
    flow("lone messages, QoS 0", 50, Shape::PairsInTurn(20), 0, 1),
    flow("lone messages, QoS 1", 50, Shape::PairsInTurn(20), 1, 1),
    Scenario {
        name: "pairs, 16 KiB, QoS 0",
        rounds: 10,
        work: Work::Flow(Shape::Pairs(10), Traffic { qos: 0, burst: 4, payload_bytes: 16 * 1024 }),
    },
    Scenario { name: "keep-alive ping", rounds: 20, work: Work::Ping(50) },
    Scenario { name: "connect, subscribe, disconnect", rounds: 10, work: Work::Visit(20) },
];

/// Runs everything, several times where it is counted.
pub async fn run_all() {
    let attempts = if callgrind::is_running() { ATTEMPTS } else { 1 };
    for _ in 0..attempts {
        for scenario in SCENARIOS {
            assert!(run(scenario).await.messages > 0);
        }
        routes();
        retained();
    }
}

/// What a scenario came to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Messages, or what else there is one of for each answer.
    pub messages: u64,
    pub allocations: u64,
}

/// Runs a scenario on a gateway of its own with one core. Under callgrind its instructions are written under its name.
pub async fn run(scenario: &'static Scenario) -> Measured {
    // What it says about itself comes from another thread, at times that are not the schedule's.
    let gateway = TestGateway::with(|config| config.sys_topics.enable = false).await;
    let gateway_here = gateway.gateway();
    let listener = gateway_here.listen_in_memory("memory.default", &Listener::default());
    let measured = on_core(gateway_here.cores(), async move {
        let mut crowd = Crowd::connect(&listener, scenario.work).await;
        for _ in 0..WARM_UP_ROUNDS {
            crowd.round().await;
        }
        let messages = crowd.messages() * scenario.rounds as u64;
        let rounds = async {
            for _ in 0..scenario.rounds {
                crowd.round().await;
            }
        };
        let allocations = count(scenario.name, messages, rounds).await;
        Measured { messages, allocations }
    });
    measured.await
}

/// Counts what the core does while a schedule waits. The allocations are returned.
async fn count(name: &str, messages: u64, schedule: impl Future<Output = ()>) -> u64 {
    meter::take_allocations();
    callgrind::zero();
    meter::while_waiting(schedule).await;
    callgrind::dump(&format!("{name}: {messages}"));
    meter::take_allocations()
}

async fn on_core<T: Send + 'static>(
    cores: &thingway::net::Cores,
    schedule: impl Future<Output = T> + Send + 'static,
) -> T {
    let (done, outcome) = oneshot::channel();
    cores.spawn_on(0, async move {
        // Who waits for it is gone only when the test is.
        let _ = done.send(schedule.await);
    });
    outcome.await.expect("the schedule came to its end")
}

enum Crowd {
    Flow(Flow),
    Ping(Vec<Client>),
    Visit(MemoryListener, usize),
}

impl Crowd {
    async fn connect(listener: &MemoryListener, work: Work) -> Self {
        match work {
            Work::Flow(shape, traffic) => Self::Flow(Flow::connect(listener, shape, traffic).await),
            Work::Ping(count) => {
                let mut clients = Vec::new();
                for number in 0..count {
                    let mut client = Client::connect(listener, &format!("device-{number:07}")).await;
                    client.subscribe(&format!("device/{number:07}/command"), 0).await;
                    clients.push(client);
                }
                Self::Ping(clients)
            }
            Work::Visit(count) => {
                // Who subscribes is looked for something retained.
                let mut client = Client::connect(listener, "notice").await;
                client.send(b"\x31\x0a\x00\x06noticeon");
                client.send(PINGREQ);
                client.expect(PINGRESP).await;
                client.send(DISCONNECT);
                client.expect_end().await;
                Self::Visit(listener.clone(), count)
            }
        }
    }

    fn messages(&self) -> u64 {
        match self {
            Self::Flow(flow) => flow.messages(),
            Self::Ping(clients) => clients.len() as u64,
            Self::Visit(_, count) => *count as u64,
        }
    }

    async fn round(&mut self) {
        match self {
            Self::Flow(flow) => flow.round().await,
            Self::Ping(clients) => {
                clients.iter_mut().for_each(|client| client.send(PINGREQ));
                for client in clients {
                    client.expect(PINGRESP).await;
                }
            }
            Self::Visit(listener, count) => {
                for number in 0..*count {
                    let mut client = Client::open(listener);
                    client.send(&connect(&format!("visitor-{number:06}")));
                    client.expect(&[0x20, 2, 0, 0]).await;
                    client.send(&subscribe(&format!("visitor/{number:06}/command"), 1));
                    client.expect(&[0x90, 3, 0, 1, 1]).await;
                    client.send(DISCONNECT);
                    client.expect_end().await;
                }
            }
        }
    }
}

const ROUTES: usize = 10_000;

/// Who gets a message, among ten thousand filters of which one in ten has wildcards; every topic is another.
fn routes() {
    struct Session;
    let routes = Routes::new();
    let session = Arc::new(Session);
    let limits = TopicLimits::default();
    for number in 0..ROUTES {
        let fleet = number % 100;
        let text = match number % 10 {
            0 => format!("fleet/{fleet}/vehicle/{number}/+"),
            _ => format!("fleet/{fleet}/vehicle/{number}/state"),
        };
        let filter = TopicFilter::parse(&text, limits).expect("a valid filter");
        routes.insert(&filter, &session, SubscriptionOptions::default()).expect("nothing exclusive");
    }
    let topics: Vec<_> = (0..ROUTES).map(|number| format!("fleet/{}/vehicle/{number}/state", number % 100)).collect();
    let mut scratch = RouteScratch::default();
    let mut visited = 0;
    callgrind::zero();
    for text in &topics {
        let topic = Topic::parse(text, limits).expect("a valid topic");
        meter::start();
        visited += routes.route(topic, None, &mut scratch, |_| {});
        meter::stop();
    }
    callgrind::dump(&format!("match of a topic's routes: {ROUTES}"));
    assert_eq!(visited, ROUTES, "every topic has one subscriber");
}

const RETAINED_SITES: usize = 100;
const RETAINED_DEVICES: usize = 50;

/// Retained messages that match a wildcard in the middle; for each message found.
fn retained() {
    let retained = Retained::new(RetainLimits::default());
    let head = MessageHead { retain: true, ..MessageHead::default() };
    for number in 0..RETAINED_SITES * RETAINED_DEVICES {
        let text = format!("site/{}/device/{}/value", number % RETAINED_SITES, number / RETAINED_SITES);
        let topic = Topic::parse(&text, TopicLimits::default()).expect("a valid topic");
        retained.insert(Message::new(head, topic, Properties::default(), &[b'x'; 32])).expect("within limits");
    }
    let mut matches = 0;
    callgrind::zero();
    for device in 0..RETAINED_DEVICES {
        let filter = format!("site/+/device/{device}/value");
        meter::start();
        retained.matching(&filter, Instant::ZERO, |_| {
            matches += 1;
            ControlFlow::Continue(())
        });
        meter::stop();
    }
    let count = RETAINED_SITES * RETAINED_DEVICES;
    callgrind::dump(&format!("match of a retained message: {count}"));
    assert_eq!(matches, count);
}
