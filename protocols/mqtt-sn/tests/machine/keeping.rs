//! What the gateway is told of a kept session while it lasts, and what that is worth when it is killed.

use thingway_contract::{CloseReason, Parked, Qos, SubscribeRefusal, TopicId};
use thingway_mqtt_sn::{
    Config, Packet, ReturnCode, State,
    packet::{Puback, Suback, Subscribe, TopicName, TopicRef},
};

use crate::{
    kept::{chosen, kept, regack, register, unacknowledged},
    support::*,
};

fn topic_id(id: u16, name: &str, known: bool) -> TopicId {
    TopicId { id, name: name.into(), known }
}

/// Killed, and started again with what it was told last and with this in the session's queue.
fn killed(mut pair: Pair, queued: &[u16], first_topic_id: u16) -> Pair {
    let (sleep_secs, topic_ids) = pair.told().pop().expect("it was told something");
    let outbound = queued.iter().map(|&id| unacknowledged(chosen("a/b", Qos::AtLeastOnce, id))).collect();
    let mut pair = Pair::new(Config { first_topic_id, ..Config::default() });
    pair.present = Some(Parked { outbound, topic_ids, sleep_secs, ..Parked::default() });
    pair.kept = true;
    pair
}

#[test]
fn a_name_is_told_when_the_client_learns_or_forgets_its_id() {
    let mut pair = kept();
    let up = pair.register("up");
    assert_eq!(pair.told(), [(0, vec![topic_id(up, "up", true)])]);
    pair.register("up");
    pair.register("up");
    assert_eq!(pair.told(), [], "the same");

    let down = pair.subscribe("down", Qos::AtLeastOnce);
    let two = [topic_id(up, "up", true), topic_id(down, "down", true)];
    assert_eq!(pair.told(), [(0, two.to_vec())]);
    pair.subscribe("down", Qos::AtMostOnce);
    pair.subscribe("a/+", Qos::AtMostOnce);
    pair.subscribe_refusal = Some(SubscribeRefusal::NotAuthorized);
    let topic = TopicName::Name("refused");
    pair.send(&Packet::Subscribe(Subscribe { duplicate: false, qos: Some(Qos::AtMostOnce), message_id: 5, topic }));
    let code = ReturnCode::NotSupported;
    pair.expect(&[Packet::Suback(Suback { qos: Qos::AtMostOnce, topic_id: 0, message_id: 5, code })]);
    assert_eq!(pair.told(), [], "none that the client was told");

    pair.deliver_this(chosen("a/b", Qos::AtLeastOnce, 9));
    pair.expect(&[register(4, 1, "a/b")]);
    assert_eq!(pair.told(), [], "not before it has answered");
    pair.send(&regack(4, 1, ReturnCode::Accepted));
    let all = |known| [&two[..], &[topic_id(3, "refused", false), topic_id(4, "a/b", known)]].concat();
    assert_eq!(pair.told(), [(0, all(true))]);
    let invalid = Packet::Puback(Puback { topic_id: 4, message_id: 9, code: ReturnCode::InvalidTopicId });
    pair.send(&invalid);
    pair.send(&invalid);
    assert_eq!(pair.told(), [(0, all(false))]);
    pair.send(&regack(4, 2, ReturnCode::Accepted));
    assert_eq!(pair.told(), [(0, all(true))]);
}

#[test]
fn sleep_is_told_when_it_changes() {
    let mut pair = kept();
    for (secs, told) in [(100, &[(100, vec![])][..]), (100, &[]), (200, &[(200, vec![])])] {
        pair.sleep(secs);
        assert_eq!(pair.told(), told);
    }
    pair.ping("c");
    pair.deliver_this(chosen("ab", Qos::AtLeastOnce, 1));
    pair.ping("c");
    pair.pass_secs(60);
    assert_eq!((pair.told(), pair.machine.state()), (vec![], State::Asleep));
    pair.connect(false);
    pair.connect(false);
    assert_eq!((pair.told(), pair.machine.state()), (vec![(0, vec![])], State::Active));
}

#[test]
fn a_client_that_has_forgotten_its_ids_when_it_wakes_is_told_of_once() {
    let mut pair = kept();
    let id = pair.register("up");
    pair.sleep(100);
    pair.told();
    pair.connect(true);
    assert_eq!(pair.told(), [(0, vec![topic_id(id, "up", false)])]);
}

#[test]
fn an_end_tells_nothing_but_its_departure() {
    let mut pair = kept();
    pair.sleep(100);
    pair.told();
    pair.send(&goodbye());
    assert_eq!((pair.told(), pair.departures[0].parked.sleep_secs), (vec![], 0));
    let mut pair = kept();
    pair.sleep(100);
    pair.told();
    pair.pass_secs(200);
    assert_eq!((pair.told(), pair.departures[0].parked.sleep_secs), (vec![], 0));
    let mut pair = kept();
    pair.sleep(100);
    pair.told();
    pair.close(&CloseReason::ShuttingDown);
    assert_eq!((pair.told(), pair.departures[0].parked.sleep_secs), (vec![], 100));
}

#[test]
fn nothing_is_told_of_a_session_that_is_not_kept() {
    // Pair sees to it that nobody is told.
    for clean_session in [false, true] {
        let mut pair = Pair::connected(Config::default(), clean_session);
        pair.register("up");
        pair.subscribe("down", Qos::AtMostOnce);
        pair.sleep(100);
        pair.ping("c");
        pair.connect(true);
        assert_eq!(pair.told(), []);
    }
}

#[test]
fn what_a_session_was_left_with_is_told_when_it_holds_no_more() {
    let known = vec![topic_id(7, "up", true), topic_id(8, "down", false)];
    let left = |sleep_secs| Parked { sleep_secs, topic_ids: known.clone(), ..Parked::default() };
    assert_eq!(Pair::kept(left(0)).told(), []);
    assert_eq!(Pair::kept(left(300)).told(), [(0, known.clone())], "it is active now");
    let mut pair = Pair::keeping(left(300));
    pair.ping("c");
    pair.expect(&[Packet::Pingresp]);
    assert_eq!(pair.told(), [], "it sleeps as before");
    // The operator has allowed fewer meanwhile.
    let mut pair = Pair::new(Config { topic_ids_max: 1, ..Config::default() });
    (pair.present, pair.kept) = (Some(left(0)), true);
    pair.connect(false);
    assert_eq!(pair.told(), [(0, known[..1].to_vec())]);
}

#[test]
fn after_a_crash_a_sleeping_client_that_asks_is_served_on_the_ids_that_it_knows() {
    let mut pair = kept();
    let (up, down) = (pair.register("up"), pair.subscribe("a/b", Qos::AtLeastOnce));
    pair.sleep(300);
    let mut pair = killed(pair, &[5], 7000);
    pair.ping("c");
    pair.expect(&[again(Qos::AtLeastOnce, TopicRef::Normal(down), 5, b"x")]);
    pair.send(&Packet::Puback(Puback { topic_id: down, message_id: 5, code: ReturnCode::Accepted }));
    pair.expect(&[Packet::Pingresp]);
    assert!(!pair.closed && pair.connects[0].must_exist);
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Normal(up), 0, b"y"));
    assert_eq!((pair.machine.state(), pair.published()), (State::Asleep, vec![("up", &b"y"[..])]));
    pair.pass_secs(329);
    assert!(!pair.closed, "it has promised nothing sooner");
    pair.pass_secs(1);
    assert!(pair.closed);
}

#[test]
fn after_a_crash_an_active_client_goes_on_with_the_ids_that_it_knows() {
    let mut pair = kept();
    pair.sleep(300);
    pair.connect(false);
    pair.expect(&[accepted()]);
    let up = pair.register("up");
    pair.deliver_this(chosen("a/b", Qos::AtLeastOnce, 5));
    pair.send(&regack(up + 1, 1, ReturnCode::Accepted));
    let mut pair = killed(pair, &[5], 7000);
    // It does not know that the gateway was away, and that it slept once is over.
    pair.ping("c");
    pair.expect(&[goodbye()]);
    assert!(pair.closed);
    let left = pair.departures.remove(0).parked;
    let mut pair = Pair::keeping(left);
    pair.connect(false);
    pair.expect(&[accepted(), again(Qos::AtLeastOnce, TopicRef::Normal(up + 1), 5, b"x")]);
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Normal(up), 0, b"y"));
    assert_eq!(pair.told(), []);
    assert_eq!(pair.published(), [("up", &b"y"[..])]);
}

/// A message is sent under the number that the client knew before its name had another, or none.
#[test]
fn after_a_crash_an_id_that_the_client_disowned_is_told_anew() {
    let mut pair = kept();
    pair.register("a/b");
    pair.deliver_this(chosen("a/b", Qos::AtLeastOnce, 5));
    pair.send(&Packet::Puback(Puback { topic_id: 1, message_id: 5, code: ReturnCode::InvalidTopicId }));
    let mut pair = killed(pair, &[5], 7000);
    pair.connect(false);
    pair.expect(&[accepted(), register(1, 1, "a/b")]);
}

#[test]
fn a_client_with_many_names_is_told_of_from_time_to_time() {
    let mut pair = kept();
    let names: Vec<String> = (1..=500).map(|number| format!("t/{number}")).collect();
    let (mut records, mut recorded, mut last) = (0, 0, 0);
    for (name, count) in names.iter().zip(1..) {
        pair.register(name);
        for (_, topic_ids) in pair.told() {
            (records, recorded, last) = (records + 1, recorded + topic_ids.len(), count);
        }
        assert!((count - last) * 16 <= count, "{last} of {count}");
    }
    assert!(records < 90 && recorded < 16 * 500, "{recorded} names in {records} records");
    // The rest when it has nothing to say, and once.
    pair.register("one/more");
    pair.ping("");
    pair.ping("");
    pair.expect(&[Packet::Pingresp, Packet::Pingresp]);
    let told = pair.told();
    assert_eq!(told.iter().map(|(_, topic_ids)| topic_ids.len()).collect::<Vec<_>>(), [501]);
    // Another client's is none of its own.
    pair.register("and/another");
    pair.ping("d");
    pair.expect(&[goodbye()]);
    assert_eq!(pair.told(), []);
    pair.sleep(100);
    assert_eq!(pair.told()[0].1.len(), 502);
}

#[test]
fn an_id_that_was_not_told_yet_is_refused_after_a_crash_and_registered_again() {
    let mut pair = kept();
    let ids: Vec<u16> = (1..=32).map(|number| pair.register(&format!("t/{number}"))).collect();
    let last = pair.register("a/b");
    let mut pair = killed(pair, &[], 7000);
    pair.connect(false);
    pair.expect(&[accepted()]);
    pair.send(&publish(Qos::AtLeastOnce, TopicRef::Normal(ids[31]), 1, b"x"));
    pair.send(&publish(Qos::AtLeastOnce, TopicRef::Normal(last), 2, b"y"));
    let answer = |topic_id, message_id, code| Packet::Puback(Puback { topic_id, message_id, code });
    pair.expect(&[answer(ids[31], 1, ReturnCode::Accepted), answer(last, 2, ReturnCode::InvalidTopicId)]);
    let anew = pair.register("a/b");
    assert_eq!(anew, 7000);
    pair.send(&again(Qos::AtLeastOnce, TopicRef::Normal(anew), 2, b"y"));
    assert_eq!(pair.published(), [("t/32", &b"x"[..]), ("a/b", b"y")]);
}
