use std::collections::BTreeMap;

use proptest::prelude::*;
use thingway_contract::{ClientId, Instant, Subscription, SubscriptionOptions, TopicFilter, TopicLimits, Transport};

use super::*;
use crate::{
    api::{clients::Clients, subscriptions::Filters},
    bus::{BusConfig, ConnectOutcome, ConnectionInfo, Lane, NO_CORE, Origin, Session, SessionRequest},
};

/// Numbers by name, which change without a bus.
#[derive(Default)]
struct Numbers(Mutex<BTreeMap<String, u32>>);

impl Source for Numbers {
    type Name = Box<str>;
    type Facts = u32;
    const COLUMNS: usize = 2;

    fn feed<'a>(&self, _: &'a Bus) -> &'a Feed<Box<str>> {
        unreachable!("these tests tell what has changed")
    }

    fn names(&self, _: &Bus) -> Vec<Box<str>> {
        self.0.lock().keys().map(|name| name.as_str().into()).collect()
    }

    fn read(&self, _: &Bus, name: &str, tell: &mut dyn FnMut(&[&str], u32)) {
        if let Some(number) = self.0.lock().get(name) {
            tell(&[&number.to_string()], *number);
        }
    }
}

fn listed(view: &View<u32>, after: Option<&str>) -> Vec<(String, u32)> {
    let of = |(block, from): (&Block<u32>, usize)| {
        assert!((1..=BLOCK_MAX).contains(&block.len()));
        let entry = |at| {
            assert_eq!(block.column(1).get(at), block.facts()[at].to_string());
            (block.name(at).to_owned(), block.facts()[at])
        };
        (from..block.len()).map(entry).collect::<Vec<_>>()
    };
    view.blocks_after(after).flat_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // Runs of names that come or go, so that blocks fill, split, empty and join.
    #[test]
    fn behaves_as_a_map(
        runs in prop::collection::vec((any::<bool>(), 0..4000_u32, 1..1500_u32, 1..5_u32), 1..12),
        after in 0..5000_u32,
    ) {
        let bus = Bus::new(BusConfig::default(), "assigned");
        let numbers = Numbers::default();
        let mut view = View::default();
        for (number, (comes, from, count, step)) in (0..).zip(runs) {
            let names = (from..from + count).step_by(step as usize).map(|name| format!("a-rather-long-name-{name}"));
            let names: Vec<_> = names.collect();
            for name in &names {
                if comes {
                    numbers.0.lock().insert(name.clone(), number);
                } else {
                    numbers.0.lock().remove(name);
                }
            }
            view = view.changed(&numbers, &bus, sorted(names.iter().map(|name| name.as_str().into()).collect()));
            let expected: Vec<_> = numbers.0.lock().iter().map(|(name, number)| (name.clone(), *number)).collect();
            prop_assert_eq!(view.len(), expected.len());
            prop_assert_eq!(listed(&view, None), expected);
        }
        let after = format!("a-rather-long-name-{after}");
        let expected: Vec<_> =
            numbers.0.lock().iter().filter(|(name, _)| **name > after).map(|(name, number)| (name.clone(), *number)).collect();
        prop_assert_eq!(listed(&view, Some(&after)), expected);
    }
}

#[test]
fn names_are_sorted_by_all_of_their_bytes() {
    let names = ["b", "a", "a-name-of-sixteen-1", "a-name-of-sixteen", "", "a-name-of-sixteen-0", "a"];
    let sorted = sorted(names.iter().map(|name| Box::<str>::from(*name)).collect());
    let expected = ["", "a", "a-name-of-sixteen", "a-name-of-sixteen-0", "a-name-of-sixteen-1", "b"];
    assert_eq!(sorted.iter().map(|name| &**name).collect::<Vec<_>>(), expected);
}

fn session(bus: &Bus, lane: &mut Lane, id: &str) -> Arc<Session> {
    let origin = Origin { protocol: "test", transport: Transport::Memory, listener: Arc::from("test") };
    let mut request = SessionRequest {
        client_id: ClientId::new(id, 10).ok(),
        clean_start: true,
        must_exist: false,
        resume_key: None,
        keep_will: false,
        session_expiry_secs: 0,
        will: None,
        info: ConnectionInfo {
            origin: Arc::new(origin),
            version: 0,
            remote: None,
            username: None,
            keep_alive_secs: 0,
            connected_at: Instant::ZERO,
            clean_start: true,
        },
        waker: std::task::Waker::noop().clone(),
        core: NO_CORE,
        assigned: false,
        prefix: None,
    };
    match bus.connect(&mut request, Instant::ZERO, lane) {
        ConnectOutcome::Granted(granted) => granted.session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_follows_the_bus_even_when_more_changes_than_can_be_noted() {
    let bus = Bus::new(BusConfig::default(), "assigned");
    let mut lane = bus.lane(NO_CORE);
    let one = session(&bus, &mut lane, "one");
    let (clients, filters) = (Directory::new(Clients::default()), Directory::new(Filters));
    assert_eq!((clients.look(&bus).len(), filters.look(&bus).len()), (1, 0));
    let mut count = 0;
    for round in [10, 20_000, 10] {
        let wanted = (count..count + round).map(|number| {
            let filter = TopicFilter::parse(&format!("f/{number}"), TopicLimits::default()).expect("a filter");
            Ok(Subscription { filter, options: SubscriptionOptions::default() })
        });
        bus.subscribe(&one, wanted.collect(), Instant::ZERO, &mut lane);
        count += round;
        assert_eq!(filters.look(&bus).len(), count);
        let view = clients.look(&bus);
        let subscriptions: Vec<_> =
            view.blocks_after(None).flat_map(|(block, _)| block.facts()).map(|facts| facts.subscriptions).collect();
        assert_eq!(subscriptions, [count as u32]);
    }
    session(&bus, &mut lane, "another");
    assert_eq!(clients.look(&bus).len(), 2);
}

#[test]
fn it_goes_when_nobody_looks() {
    let bus = Bus::new(BusConfig::default(), "assigned");
    let mut lane = bus.lane(NO_CORE);
    let directory = Directory::new(Clients::default());
    assert!(!directory.is_open());
    for id in ["one", "two"] {
        directory.look(&bus);
        for _ in 0..IDLE_SECS_MAX {
            assert!(directory.is_open());
            directory.keep_up(&bus);
        }
        session(&bus, &mut lane, id);
    }
    directory.keep_up(&bus);
    assert!(!directory.is_open());
    session(&bus, &mut lane, "three");
    assert_eq!(bus.changed_clients().take(), Some(vec![]), "nobody watches");
    assert_eq!(directory.look(&bus).len(), 3);
}
