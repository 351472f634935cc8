//! The same link with the parameters that RFC 7252, section 4.8, gives: five transmissions, of which at 30 % loss now and then all are lost. Then the sender
//! is told, and what it was not told about has arrived as its quality of service promises.
//!
//! What a sender cannot be told (nobody can tell it) is whether what failed has arrived: the request came and all its answers were lost, or the request was
//! lost. So what is acknowledged was published, what failed may have been, nothing is both, and nothing is neither.

use std::collections::BTreeSet;

use thingway_coap::{CoapFault, Config, message::Transmission};

use super::{Client, Job, World, body, gateway::Gateway, message};

const PUBLICATIONS: u64 = 12;
const NOTIFICATIONS: u64 = 15;

/// What came of all runs.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    failed: usize,
    /// Failed, and nevertheless published.
    unknown: usize,
    received: usize,
    /// Conversations that ended because a notification was never acknowledged.
    gone: usize,
    /// Observations of peers without a connection that ended for that.
    ended: usize,
}

impl World {
    fn published_of(&self, at: usize) -> Vec<Vec<u8>> {
        let topic = format!("out{}", self.clients[at].port);
        let published = self.gateway.bus.published.iter().filter(|message| message.topic() == topic);
        published.map(|message| message.payload().to_vec()).collect()
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(|client| client.current.is_none() && client.jobs.is_empty())
    }

    /// Publishes to all observers while the clients have their own to do; what each was told.
    fn exchange(&mut self, seed: u64) -> Vec<Vec<Vec<u8>>> {
        while self.clients.iter().any(|client| matches!(client.current, Some(Job::Open | Job::Observe))) {
            self.run_ms(1000);
        }
        let mut told = vec![Vec::new(); self.clients.len()];
        for number in 0..NOTIFICATIONS {
            for (at, told) in told.iter_mut().enumerate() {
                let topic = self.clients[at].topic();
                // One without a connection may have been given up, and its observation with it.
                if self.gateway.subscribed_qos(&topic).is_some() {
                    let payload = body(seed, 5000 + number + 100 * at as u64, 30);
                    self.gateway.publish(message(&topic, &payload, false));
                    told.push(payload);
                }
            }
            let ms = self.random.below(60_000);
            self.run_ms(ms);
        }
        while !self.is_done() {
            self.run_ms(1000);
        }
        told
    }

    /// What holds of publications. `exactly_once` is for conversations that never ended: with one that ends, what is known of message ids is forgotten, so a
    /// request that is sent again across the end is handled twice, as quality of service 1 allows.
    fn check_publications(&self, at: usize, exactly_once: bool, tally: &mut Tally) {
        let client = &self.clients[at];
        let published = self.published_of(at);
        let (acknowledged, failed): (BTreeSet<_>, BTreeSet<_>) =
            (client.acknowledged.iter().collect(), client.failed.iter().collect());
        assert_eq!(client.acknowledged.len() + client.failed.len(), PUBLICATIONS as usize, "each has one end");
        assert_eq!(acknowledged.len() + failed.len(), PUBLICATIONS as usize);
        assert!(acknowledged.is_disjoint(&failed), "none has both");
        let mut once = published.clone();
        if exactly_once {
            assert_eq!(published.iter().collect::<BTreeSet<_>>().len(), published.len(), "none is published twice");
        }
        once.dedup();
        let arrived: Vec<_> = once.iter().filter(|body| acknowledged.contains(body)).collect();
        assert_eq!(
            arrived,
            client.acknowledged.iter().collect::<Vec<_>>(),
            "what is acknowledged was published, in order"
        );
        assert!(published.iter().all(|body| acknowledged.contains(body) || failed.contains(body)));
        tally.acknowledged += acknowledged.len();
        tally.failed += failed.len();
        tally.unknown += once.len() - arrived.len();
    }
}

fn publications(client: &mut Client, seed: u64) {
    for number in 0..PUBLICATIONS {
        let bytes = if number % 4 == 3 { 1700 } else { 20 };
        client.jobs.push_back(Job::Publish(body(seed, number + 100 * u64::from(client.port), bytes)));
    }
}

fn clients(seed: u64) -> Vec<Client> {
    (1..=3).map(|port| Client::new(port, seed, Transmission::default())).collect()
}

/// A peer without a connection that cannot be reached is not observing any more; until then each message arrives once, and in order.
fn guests(seed: u64, tally: &mut Tally) {
    let gateway = Gateway::new(Config::default());
    let mut clients = clients(seed);
    for client in &mut clients {
        client.jobs.push_back(Job::Observe);
        publications(client, seed);
        client.begin(gateway.now);
    }
    let mut world = World::new(gateway, clients, seed, true);
    let told = world.exchange(seed);
    world.run_ms(10_000_000);
    assert!(world.gateway.faults.iter().all(|fault| !fault.is_fatal()), "{:?}", world.gateway.faults);
    for (at, told) in told.iter().enumerate() {
        world.check_publications(at, true, tally);
        let received = &world.clients[at].received;
        assert!(told.starts_with(received), "each notification once, in order, without gaps");
        let observes = world.gateway.subscribed_qos(&world.clients[at].topic()).is_some();
        assert!(
            received.len() == told.len() || !observes,
            "what is missing was given up together with the observation"
        );
        tally.received += received.len();
        tally.ended += usize::from(!observes);
    }
}

/// The session of a connection is kept when its peer cannot be reached, and what was not acknowledged comes again when it is back.
fn connections(seed: u64, tally: &mut Tally) {
    let config =
        Config { heartbeat_secs: 0, session_expiry_secs: u32::MAX, connection_required: true, ..Config::default() };
    let gateway = Gateway::new(config);
    let mut clients = clients(seed);
    for client in &mut clients {
        client.jobs.extend([Job::Open, Job::Observe]);
        publications(client, seed);
        client.begin(gateway.now);
    }
    let mut world = World::new(gateway, clients, seed, true);
    let told = world.exchange(seed);
    for _ in 0..50 {
        let now = world.gateway.now;
        for client in &mut world.clients {
            client.jobs.push_back(Job::Heartbeat);
            client.begin(now);
        }
        world.run_ms(200_000);
    }
    let gone = world.gateway.faults.iter().filter(|fault| **fault == CoapFault::PeerGone).count();
    assert_eq!(
        world.gateway.faults.iter().filter(|fault| fault.is_fatal()).count(),
        gone,
        "{:?}",
        world.gateway.faults
    );
    for (at, told) in told.iter().enumerate() {
        world.check_publications(at, gone == 0, tally);
        let mut received = world.clients[at].received.clone();
        if gone == 0 {
            assert_eq!(received, *told, "each once, in order");
        }
        received.dedup();
        assert_eq!(received, *told, "each at least once, in order, whatever was lost");
        tally.received += received.len();
    }
    tally.gone += gone;
}

#[test]
fn with_the_standards_parameters_nothing_is_lost_that_was_not_reported() {
    let (mut without, mut with) = (Tally::default(), Tally::default());
    for seed in 0..150 {
        println!("seed {seed}");
        guests(seed, &mut without);
        connections(seed, &mut with);
    }
    println!("{without:?}\n{with:?}");
    // Both ends were seen often enough to mean something.
    assert!(without.failed > 10 && without.unknown > 0 && without.ended > 10, "{without:?}");
    assert!(with.failed > 10 && with.gone > 10, "{with:?}");
    assert!(without.acknowledged.min(with.acknowledged) > 4000 && with.received == 150 * 3 * NOTIFICATIONS as usize);
}
