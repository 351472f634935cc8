use std::{
    collections::BTreeMap,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64},
    },
};

use proptest::prelude::*;
use thingway_contract::{Qos, TopicLimits, filter_matches};

use super::*;

struct Session(usize);

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, TopicLimits::default()).expect("a valid filter")
}

fn topic(text: &str) -> Topic<'_> {
    Topic::parse(text, TopicLimits::default()).expect("a valid topic")
}

fn sessions(count: usize) -> Vec<Arc<Session>> {
    (0..count).map(|number| Arc::new(Session(number))).collect()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Routed {
    /// Session to (quality of service, retain as published, sorted identifiers).
    direct: BTreeMap<usize, (Qos, bool, Vec<u32>)>,
    /// Group, filter, sorted members.
    shared: Vec<(String, String, Vec<usize>)>,
}

fn routed(routes: &Routes<Session>, name: &str, publisher: Option<&Session>) -> Routed {
    routed_again(routes, name, publisher, &mut RouteScratch::default())
}

/// As [`routed`], by somebody who may remember where the topic went.
fn routed_again(
    routes: &Routes<Session>,
    name: &str,
    publisher: Option<&Session>,
    scratch: &mut RouteScratch<Session>,
) -> Routed {
    let mut result = Routed::default();
    let mut visits = 0;
    let count = routes.route(topic(name), publisher, scratch, |target| {
        visits += 1;
        match target {
            Target::Direct { session, grant } => {
                let mut ids: Vec<u32> = Some(grant.subscription_id).filter(|id| *id != 0).into_iter().collect();
                ids.extend(grant.further_subscription_ids);
                ids.sort_unstable();
                let before = result.direct.insert(session.0, (grant.qos, grant.retain_as_published, ids));
                assert!(before.is_none(), "session {} was named twice", session.0);
            }
            Target::Shared { group } => {
                let candidates = group.candidates(Default::default(), 0);
                let mut members: Vec<_> = candidates.iter().map(|member| member.session().0).collect();
                members.sort_unstable();
                result.shared.push((group.name().group.to_string(), group.name().filter.to_string(), members));
            }
        }
    });
    assert_eq!(count, visits);
    result.shared.sort_unstable();
    result
}

#[derive(Default)]
struct Model(Vec<(TopicFilter, usize, SubscriptionOptions)>);

impl Model {
    fn insert(
        &mut self,
        filter: &TopicFilter,
        session: usize,
        options: SubscriptionOptions,
    ) -> Result<Option<SubscriptionOptions>, ExclusiveTaken> {
        if *filter.kind() == FilterKind::Exclusive && self.0.iter().any(|(f, s, _)| f == filter && *s != session) {
            return Err(ExclusiveTaken);
        }
        match self.0.iter_mut().find(|(f, s, _)| f == filter && *s == session) {
            Some((_, _, old)) => Ok(Some(std::mem::replace(old, options))),
            None => {
                self.0.push((filter.clone(), session, options));
                Ok(None)
            }
        }
    }

    fn remove(&mut self, filter: &TopicFilter, session: usize) -> bool {
        let before = self.0.len();
        self.0.retain(|(f, s, _)| !(f == filter && *s == session));
        self.0.len() < before
    }

    fn routed(&self, name: &str, publisher: Option<usize>) -> Routed {
        let mut result = Routed::default();
        let mut shared: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for (filter, session, options) in &self.0 {
            if !filter_matches(filter.filter(), name) {
                continue;
            }
            if let Some(share) = filter.share_name() {
                shared.entry((share.group.to_string(), share.filter.to_string())).or_default().push(*session);
            } else if !(options.no_local && publisher == Some(*session)) {
                let (qos, retain, ids) = result.direct.entry(*session).or_default();
                *qos = (*qos).max(options.qos);
                *retain |= options.retain_as_published;
                ids.extend(Some(options.id).filter(|id| *id != 0));
                ids.sort_unstable();
            }
        }
        result.shared.extend(shared.into_iter().map(|((group, filter), mut members)| {
            members.sort_unstable();
            (group, filter, members)
        }));
        result
    }

    fn filters(&self) -> BTreeMap<String, (usize, usize)> {
        let mut filters: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (filter, ..) in &self.0 {
            let counts = filters.entry(filter.filter().to_owned()).or_default();
            if filter.share_name().is_some() { counts.1 += 1 } else { counts.0 += 1 }
        }
        filters
    }
}

/// Few different levels, so that filters overlap; among them an empty one, one too long to be kept inline, and reserved ones.
const LEVELS: [&str; 9] = ["", "a", "b", "ä", "日本", "$SYS", "$x", "fifteen-bytes-x", "fourteen-bytes"];

fn levels_of(wildcards: bool) -> impl Strategy<Value = String> {
    let level = prop_oneof![
        5 => prop::sample::select(&LEVELS[..]),
        if wildcards { 3 } else { 0 } => Just("+"),
    ];
    let tail = prop_oneof![2 => Just(""), if wildcards { 1 } else { 0 } => Just("#")];
    (prop::collection::vec(level, 0..4), tail).prop_filter_map("a topic is not empty", |(levels, tail)| {
        let mut levels = levels;
        levels.extend(Some(tail).filter(|tail| !tail.is_empty()));
        let text = levels.join("/");
        (!text.is_empty()).then_some(text)
    })
}

fn any_filter() -> impl Strategy<Value = TopicFilter> {
    let prefix = prop_oneof![
        6 => Just(""),
        1 => Just("$share/g/"),
        1 => Just("$share/other/"),
        1 => Just("$queue/"),
        1 => Just("$exclusive/"),
    ];
    (prefix, levels_of(true)).prop_map(|(prefix, text)| filter(&format!("{prefix}{text}")))
}

fn any_options() -> impl Strategy<Value = SubscriptionOptions> {
    (0..3_u8, any::<bool>(), any::<bool>(), prop_oneof![Just(0), 1..268_435_456_u32]).prop_map(
        |(qos, no_local, retain_as_published, id)| SubscriptionOptions {
            qos: Qos::from_u8(qos).expect("below 3"),
            no_local,
            retain_as_published,
            id,
            ..SubscriptionOptions::default()
        },
    )
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(usize, usize, SubscriptionOptions),
    Remove(usize, usize),
    Route(String, Option<usize>),
}

fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (any::<usize>(), 0..12_usize, any_options()).prop_map(|(f, s, o)| Operation::Insert(f, s, o)),
        2 => (any::<usize>(), 0..12_usize).prop_map(|(f, s)| Operation::Remove(f, s)),
        4 => (levels_of(false), prop::option::of(0..12_usize)).prop_map(|(t, p)| Operation::Route(t, p)),
    ]
}

/// How often a topic was looked for in the tables is not seen from outside, so the place that remembers is asked.
#[test]
fn a_topic_that_came_twice_is_remembered_until_somebody_subscribes() {
    let (routes, sessions) = (Routes::new(), sessions(6));
    let mut scratch = RouteScratch::default();
    let is_remembered = |routes: &Routes<Session>, scratch: &mut RouteScratch<Session>| {
        let version = routes.version.0.load(Ordering::Acquire);
        matches!(scratch.cache.find(b"t/1", version), Known::Targets(_))
    };
    let subscribe = |text: &str, session: usize| {
        routes.insert(&filter(text), &sessions[session], SubscriptionOptions::default()).expect("free");
    };
    subscribe("t/+", 0);
    for (count, remembered) in [(1, false), (2, true), (3, true)] {
        assert_eq!(routed_again(&routes, "t/1", None, &mut scratch).direct.len(), 1);
        assert_eq!(is_remembered(&routes, &mut scratch), remembered, "after {count}");
    }
    let mut again = |many: usize, remembered: bool| {
        assert!(!is_remembered(&routes, &mut scratch), "something has changed");
        for _ in 0..2 {
            assert_eq!(routed_again(&routes, "t/1", None, &mut scratch).direct.len(), many);
        }
        assert_eq!(is_remembered(&routes, &mut scratch), remembered);
    };
    subscribe("t/+", 1);
    again(2, true);
    assert!(routes.remove(&filter("t/+"), &sessions[0]));
    again(1, true);
    subscribe("t/1", 1);
    again(1, false);
    assert!(routes.remove(&filter("t/1"), &sessions[1]));
    (2..6).for_each(|session| subscribe("t/+", session));
    again(5, false);
    assert!(routes.remove(&filter("t/+"), &sessions[5]));
    again(4, true);
    subscribe("$share/g/t/1", 5);
    again(4, false);
}

#[test]
fn an_exact_filter_is_small() {
    assert_eq!(size_of::<Exact<u8>>(), 32);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn behaves_as_a_list_of_subscriptions(
        filters in prop::collection::vec(any_filter(), 1..24),
        operations in prop::collection::vec(any_operation(), 1..160),
    ) {
        let sessions = sessions(12);
        let routes = Routes::new();
        let mut model = Model::default();
        let (mut scratch, mut names) = (RouteScratch::default(), Vec::new());
        for operation in operations {
            match operation {
                Operation::Insert(f, s, options) => {
                    let filter = &filters[f % filters.len()];
                    prop_assert_eq!(routes.insert(filter, &sessions[s], options), model.insert(filter, s, options));
                    let kept = model.0.iter().find(|(f, t, _)| f == filter && *t == s).map(|(.., options)| *options);
                    prop_assert_eq!(routes.options(filter, &sessions[s]), kept);
                }
                Operation::Remove(f, s) => {
                    let filter = &filters[f % filters.len()];
                    prop_assert_eq!(routes.remove(filter, &sessions[s]), model.remove(filter, s));
                    prop_assert_eq!(routes.options(filter, &sessions[s]), None);
                }
                Operation::Route(name, publisher) => {
                    prop_assert_eq!(
                        routed(&routes, &name, publisher.map(|p| &*sessions[p])),
                        model.routed(&name, publisher)
                    );
                    names.push(name.clone());
                    let mut found = Vec::new();
                    routes.matching_filters(topic(&name), |info| found.push(info.filter.to_string()));
                    found.sort_unstable();
                    let expected: Vec<_> =
                        model.filters().into_keys().filter(|filter| filter_matches(filter, &name)).collect();
                    prop_assert_eq!(found, expected);
                    let subscribers = |is_meant: &dyn Fn(&TopicFilter) -> bool| {
                        let meant = model.0.iter().filter(|(filter, ..)| is_meant(filter));
                        let mut meant: Vec<_> = meant.map(|(_, s, _)| Arc::as_ptr(&sessions[*s])).collect();
                        meant.sort_unstable();
                        meant
                    };
                    let sorted = |found: Option<Vec<Arc<_>>>| {
                        let mut found: Vec<_> = found.expect("not too many").iter().map(Arc::as_ptr).collect();
                        found.sort_unstable();
                        found
                    };
                    let expected = subscribers(&|filter| filter.matches(topic(&name)));
                    prop_assert_eq!(sorted(routes.sessions_matching(topic(&name), expected.len())), &expected[..]);
                    if let Some(less) = expected.len().checked_sub(1) {
                        prop_assert!(routes.sessions_matching(topic(&name), less).is_none());
                    }
                    let expected = subscribers(&|filter| filter.filter() == name);
                    prop_assert_eq!(routes.has(&name), !expected.is_empty());
                    prop_assert_eq!(sorted(routes.sessions_of(&name, usize::MAX)), expected);
                }
            }
            // What came before is asked for until it is remembered, and the next change must not go unnoticed.
            for name in names.iter().rev().take(4) {
                for publisher in [None, Some(0), Some(1)] {
                    prop_assert_eq!(
                        routed_again(&routes, name, publisher.map(|p| &*sessions[p]), &mut scratch),
                        model.routed(name, publisher)
                    );
                }
            }
            let expected = model.filters();
            prop_assert_eq!(routes.counts(), RouteCounts {
                filters: expected.len(),
                wildcard_filters: expected.keys().filter(|filter| is_wildcard(filter)).count(),
                subscriptions: model.0.len(),
                shared_subscriptions: model.0.iter().filter(|(filter, ..)| filter.share_name().is_some()).count(),
            });
        }
        let mut listed = routes.filters();
        listed.sort_unstable();
        let listed: Vec<_> = listed
            .iter()
            .filter_map(|filter| routes.filter(filter))
            .map(|info| (info.filter.to_string(), (info.subscriptions, info.shared_subscriptions)))
            .collect();
        prop_assert_eq!(listed, model.filters().into_iter().collect::<Vec<_>>());

        for (filter, session, _) in std::mem::take(&mut model.0) {
            prop_assert!(routes.remove(&filter, &sessions[session]));
        }
        prop_assert_eq!(routes.counts(), RouteCounts::default());
        prop_assert_eq!(routes.wildcard.nodes(), 0);
        prop_assert_eq!(routes.exact.len(), 0);
        drop((routes, scratch));
        prop_assert!(sessions.iter().all(|session| Arc::strong_count(session) == 1));
    }
}

#[test]
fn long_lists_merge_without_doubles() {
    let sessions = sessions(3000);
    let routes = Routes::new();
    for (number, session) in sessions.iter().enumerate() {
        for (text, every) in [("t/1", 1), ("t/+", 2), ("#", 3), ("+/1", 1000)] {
            if number % every == 0 {
                let options = SubscriptionOptions { id: every as u32, ..SubscriptionOptions::default() };
                assert_eq!(routes.insert(&filter(text), session, options), Ok(None));
            }
        }
    }
    let result = routed(&routes, "t/1", None);
    assert_eq!(result.direct.len(), 3000);
    for (number, (_, _, ids)) in result.direct {
        let expected: Vec<u32> =
            [1, 2, 3, 1000].into_iter().filter(|every| (number as u32).is_multiple_of(*every)).collect();
        assert_eq!(ids, expected, "session {number}");
    }
}

#[test]
fn a_group_is_found_by_its_name() {
    let sessions = sessions(1);
    let routes = Routes::new();
    let shared = filter("$share/g/a/+");
    let name = shared.share_name().expect("shared");
    assert!(routes.group(&name).is_none());
    routes.insert(&shared, &sessions[0], SubscriptionOptions::default()).expect("not exclusive");
    assert_eq!(routes.group(&name).map(|group| group.len()), Some(1));
    assert!(routes.remove(&shared, &sessions[0]));
    assert!(routes.group(&name).is_none());
}

/// Threads subscribe and unsubscribe around subscriptions that stay, in the same lists and on the same branches, while others
/// route: what stays is always seen, and what never subscribed never.
#[test]
fn what_stays_is_always_seen() {
    const WRITERS: usize = 2;
    const READERS: usize = 2;
    let sessions = sessions(1200);
    let routes = Routes::new();
    let stable = ["t/1/x", "t/+/x", "t/#", "+/1/#"];
    for text in stable {
        routes
            .insert(&filter(text), &sessions[600], SubscriptionOptions { id: 7, ..Default::default() })
            .expect("free");
    }
    let shared = filter("$share/g/t/1/x");
    routes.insert(&shared, &sessions[601], SubscriptionOptions::default()).expect("free");
    let stop = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    let barrier = Barrier::new(WRITERS + READERS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (routes, sessions, barrier, stop) = (&routes, &sessions, &barrier, &stop);
            scope.spawn(move || {
                barrier.wait();
                let volatile = ["t/1/x", "t/+/x", "t/#", "+/1/#", "t/1/+", "+/+/+", "$share/g/t/1/x", "$share/h/t/1/x"];
                let filters: Vec<_> = volatile.iter().map(|text| filter(text)).collect();
                for round in 0..6 {
                    for pass in [true, false] {
                        for session in (writer..600).step_by(WRITERS).map(|number| &sessions[number]) {
                            for filter in filters.iter().cycle().skip(round).take(filters.len()) {
                                if pass {
                                    routes.insert(filter, session, SubscriptionOptions::default()).expect("free");
                                } else {
                                    assert!(routes.remove(filter, session));
                                }
                            }
                        }
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
        for _ in 0..READERS {
            let (routes, barrier, stop, rounds) = (&routes, &barrier, &stop, &rounds);
            scope.spawn(move || {
                barrier.wait();
                let mut scratch = RouteScratch::default();
                loop {
                    let (mut seen, mut group_seen) = (0, 0);
                    let mut numbers = std::collections::HashSet::new();
                    routes.route(topic("t/1/x"), None, &mut scratch, |target| match target {
                        Target::Direct { session, grant } => {
                            assert!(numbers.insert(session.0), "session {} was named twice", session.0);
                            assert!(session.0 <= 600, "session {} never subscribed", session.0);
                            if session.0 == 600 {
                                seen += 1;
                                assert_eq!((grant.subscription_id, grant.further_subscription_ids.len()), (7, 3));
                            }
                        }
                        Target::Shared { group } if &*group.name().group == "g" => {
                            let candidates = group.candidates(Default::default(), 0);
                            group_seen += candidates.iter().filter(|member| member.session().0 == 601).count();
                        }
                        Target::Shared { .. } => {}
                    });
                    assert_eq!((seen, group_seen), (1, 1));
                    rounds.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
    });
    assert!(rounds.load(Ordering::Relaxed) > READERS as u64);
    assert_eq!(routes.counts().subscriptions, 5);
    drop(routes);
    assert!(sessions.iter().all(|session| Arc::strong_count(session) == 1));
}
