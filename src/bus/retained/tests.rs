use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering as Memory},
};

use proptest::prelude::*;
use thingway_contract::{MessageHead, Properties, Topic, TopicLimits, filter_matches};

use super::*;

const UNLIMITED: RetainLimits =
    RetainLimits { messages_max: usize::MAX, payload_bytes_max: usize::MAX, bytes_max: usize::MAX };

fn message(topic: &str, payload: &[u8], expires_at: Instant) -> Message {
    let topic = Topic::parse(topic, TopicLimits::default()).expect("a valid topic");
    Message::new(MessageHead { expires_at, ..MessageHead::default() }, topic, Properties::default(), payload)
}

fn lasting(topic: &str, payload: &[u8]) -> Message {
    message(topic, payload, Instant::NEVER)
}

fn matching(retained: &Retained, filter: &str, now: Instant) -> Vec<String> {
    let mut found = Vec::new();
    retained.matching(filter, now, |message| {
        found.push(message.topic().to_owned());
        ControlFlow::Continue(())
    });
    found.sort_unstable();
    found
}

#[test]
fn an_empty_payload_removes() {
    let retained = Retained::new(RetainLimits::default());
    assert!(retained.insert(lasting("a", b"1")).expect("room").is_none());
    let replaced = retained.insert(lasting("a", b"2")).expect("room").expect("the first");
    assert_eq!(replaced.payload(), b"1");
    assert_eq!(retained.get("a", Instant::ZERO).expect("kept").payload(), b"2");
    assert_eq!(retained.insert(lasting("a", b"")).expect("no limit").expect("the second").payload(), b"2");
    assert!(retained.insert(lasting("a", b"")).expect("no limit").is_none());
    assert_eq!((retained.len(), retained.bytes()), (0, 0));
}

#[test]
fn limits_refuse_and_keep_what_was_there() {
    let each = cost(&lasting("a", b"123"));
    let retained = Retained::new(RetainLimits { messages_max: 2, payload_bytes_max: 8, bytes_max: 2 * each + 2 });
    assert_eq!(retained.insert(lasting("a", b"123456789")).err(), Some(RetainRefusal::PayloadTooLarge));
    retained.insert(lasting("a", b"123")).expect("room");
    retained.insert(lasting("b", b"123")).expect("room");
    assert_eq!(retained.insert(lasting("c", b"1")).err(), Some(RetainRefusal::TooManyMessages));
    assert_eq!(retained.insert(lasting("b", b"123456")).err(), Some(RetainRefusal::TooManyBytes));
    assert_eq!(retained.get("b", Instant::ZERO).expect("kept").payload(), b"123");
    retained.insert(lasting("b", b"12345")).expect("replaces within the bytes");
    retained.set_limits(RetainLimits { messages_max: 9, payload_bytes_max: 8, bytes_max: 2 * each + 2 });
    assert_eq!(retained.insert(lasting("c", b"1")).err(), Some(RetainRefusal::TooManyBytes));
    assert_eq!((retained.len(), retained.bytes()), (2, 2 * each + 2));
    retained.set_limits(RetainLimits { messages_max: 1, payload_bytes_max: 8, bytes_max: 1 });
    retained.insert(lasting("b", b"1")).expect("a smaller one may replace beyond a lowered limit");
    assert_eq!(retained.bytes(), 2 * each - 2);
}

#[test]
fn expired_messages_are_hidden_and_swept_within_the_budget() {
    let retained = Retained::new(RetainLimits::default());
    for number in 0..1000 {
        retained.insert(message(&format!("{number}/x"), b"1", Instant::from_millis(number))).expect("room");
    }
    // Replaced: the old deadline must not sweep the new message.
    retained.insert(lasting("3/x", b"2")).expect("room");
    let now = Instant::from_millis(499);
    assert!(retained.get("499/x", now).is_none() && retained.get("500/x", now).is_some());
    assert_eq!(matching(&retained, "+/x", now).len(), 501);
    assert_eq!(retained.expire(now, 100, |_| {}), 100);
    assert_eq!(retained.len(), 900);
    assert_eq!(retained.expire(now, usize::MAX, |_| {}), 399);
    assert_eq!(retained.expire(now, usize::MAX, |_| {}), 0);
    assert_eq!(retained.len(), 501);
    assert_eq!(retained.expire(Instant::from_millis(1000), usize::MAX, |_| {}), 500);
    assert_eq!(matching(&retained, "#", now), ["3/x"]);
    retained.remove("3/x");
    assert_eq!(retained.bytes(), 0);
}

#[test]
fn a_wildcard_in_the_middle_leaps() {
    let topics: BTreeSet<_> = (0..200)
        .flat_map(|site| (0..50).map(move |device| ByTopic(lasting(&format!("s/{site}/d/{device}"), b"1"))))
        .collect();
    let mut looked_at = 0;
    let mut hits = 0;
    let mut seek = Vec::new();
    first_seek("s/+/d/30", &mut seek);
    'seek: loop {
        let from = Seek(&seek);
        let range = topics.range::<dyn Key, _>((Bound::Included(&from as &dyn Key), Bound::Unbounded));
        for ByTopic(message) in range {
            looked_at += 1;
            let verdict = judge("s/+/d/30", message.topic_bytes(), false, true);
            hits += usize::from(verdict.hit);
            match verdict.then {
                Then::Next => {}
                Then::Leap(leap) => {
                    leap.write(message.topic_bytes(), &mut seek);
                    continue 'seek;
                }
                Then::Over => break 'seek,
            }
        }
        break;
    }
    assert_eq!(hits, 200);
    assert!(looked_at <= 2 * hits + 1, "{looked_at} topics looked at for {hits} matches");
}

#[test]
fn a_cursor_gives_no_more_than_asked_for() {
    let retained = Retained::new(RetainLimits::default());
    for number in 0..300 {
        retained.insert(lasting(&format!("a/{number}"), b"1")).expect("room");
    }
    retained.insert(lasting("$SYS/a", b"1")).expect("room");
    for (mut cursor, expected) in [(RetainedCursor::new("#"), 300), (RetainedCursor::everything(), 301)] {
        let mut all = BTreeSet::new();
        let mut batch = Vec::new();
        let mut more = true;
        while more {
            more = retained.next_batch(&mut cursor, Instant::ZERO, 7, &mut batch);
            assert!(batch.len() <= 7);
            assert!(batch.drain(..).all(|message| all.insert(message.topic().to_owned())));
        }
        assert_eq!(all.len(), expected);
        assert!(!retained.next_batch(&mut cursor, Instant::ZERO, 7, &mut batch) && batch.is_empty());
    }
}

#[test]
fn what_stays_is_always_found() {
    let retained = Retained::new(RetainLimits::default());
    for number in 0..500 {
        retained.insert(lasting(&format!("t/{number}/stable"), b"1")).expect("room");
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..20 {
                for number in 0..500 {
                    let topic = format!("t/{number}/{}", number % 7);
                    retained.insert(lasting(&topic, if round % 2 == 0 { b"1" } else { b"" })).expect("room");
                    retained.insert(lasting(&format!("t/{number}/stable"), b"2")).expect("room");
                }
            }
            done.store(true, Memory::Relaxed);
        });
        loop {
            let stop = done.load(Memory::Relaxed);
            assert_eq!(matching(&retained, "t/+/stable", Instant::ZERO).len(), 500);
            if stop {
                break;
            }
        }
    });
}

const LEVELS: [&str; 10] = ["", "a", "b", "aa", "a\u{1}", "ä", "a!", "$SYS", "$", "%"];

fn any_topic() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&LEVELS[..]), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |text| !text.is_empty())
}

fn any_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => prop::sample::select(&LEVELS[..]), 3 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, tail)| {
            levels.extend(tail.then_some("#"));
            levels.join("/")
        })
        .prop_filter("not empty", |text| !text.is_empty())
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(String, u8, Option<u64>),
    Remove(String),
    Match(String),
    Pass(u64),
    Sweep(usize),
}

fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (any_topic(), 0..20_u8, prop::option::of(0..50_u64)).prop_map(|(t, n, e)| Operation::Insert(t, n, e)),
        1 => any_topic().prop_map(Operation::Remove),
        4 => any_filter().prop_map(Operation::Match),
        1 => (0..20_u64).prop_map(Operation::Pass),
        1 => (0..9_usize).prop_map(Operation::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn behaves_as_a_list_of_messages(operations in prop::collection::vec(any_operation(), 1..200)) {
        let retained = Retained::new(UNLIMITED);
        let mut model: BTreeMap<String, Message> = BTreeMap::new();
        let mut now = Instant::ZERO;
        for operation in operations {
            match operation {
                Operation::Insert(topic, len, expiry) => {
                    let expires_at = expiry.map_or(Instant::NEVER, |after| Instant::from_millis(now.as_millis() + after));
                    let new = message(&topic, &vec![b'x'; usize::from(len)], expires_at);
                    let replaced = retained.insert(new.clone()).expect("no limits");
                    let expected = if len == 0 { model.remove(&topic) } else { model.insert(topic, new) };
                    prop_assert_eq!(replaced.is_some(), expected.is_some());
                    prop_assert!(replaced.is_none_or(|old| old.is_same(&expected.expect("as many"))));
                }
                Operation::Remove(topic) => {
                    prop_assert_eq!(retained.remove(&topic).is_some(), model.remove(&topic).is_some());
                }
                Operation::Match(filter) => {
                    let expected: Vec<_> = model
                        .values()
                        .filter(|message| filter_matches(&filter, message.topic()) && !message.is_expired(now))
                        .map(|message| message.topic().to_owned())
                        .collect();
                    prop_assert_eq!(matching(&retained, &filter, now), expected, "{:?}", filter);
                    for topic in model.keys() {
                        prop_assert_eq!(
                            retained.get(topic, now).is_some(),
                            !model[topic].is_expired(now)
                        );
                    }
                }
                Operation::Pass(millis) => now = Instant::from_millis(now.as_millis() + millis),
                Operation::Sweep(budget) => {
                    let expired = model.values().filter(|message| message.is_expired(now)).count();
                    let mut gone = Vec::new();
                    let swept = retained.expire(now, budget, |message| gone.push(message.topic().to_owned()));
                    prop_assert_eq!(swept, budget.min(expired));
                    prop_assert_eq!(gone.len(), swept);
                    prop_assert!(gone.iter().all(|topic| model[topic].is_expired(now)));
                    // Which of them went within the budget is not promised.
                    let kept = |message: &Message| {
                        let shard = retained.shard(message.topic_bytes()).read();
                        shard.topics.contains(&Seek(message.topic_bytes()) as &dyn Key)
                    };
                    model.retain(|_, message| kept(message));
                }
            }
            prop_assert_eq!(retained.len(), model.len());
            prop_assert_eq!(retained.bytes(), model.values().map(cost).sum::<usize>());
        }
    }

    #[test]
    fn the_order_is_by_level(a in any_topic(), b in any_topic()) {
        let by_level = a.split('/').map(str::as_bytes).cmp(b.split('/').map(str::as_bytes));
        prop_assert_eq!(compare(a.as_bytes(), b.as_bytes()), by_level);
        let (long_a, long_b) = (format!("eight-by{a}"), format!("eight-by{b}"));
        prop_assert_eq!(compare(long_a.as_bytes(), long_b.as_bytes()), by_level);
    }
}
