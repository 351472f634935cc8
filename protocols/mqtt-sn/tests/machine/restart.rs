//! A client that slept while the gateway was started again, in order or after it was killed.

use thingway_contract::{CloseReason, Parked, Protocol, Qos, TopicId, WillFate};
use thingway_mqtt_sn::{
    Config, Packet, ReturnCode, State,
    packet::{Disconnect, Puback, TopicRef},
};

use crate::{
    kept::{AB, chosen, kept, left, puback, regack, register, unacknowledged},
    support::{Asked::*, *},
};

#[test]
fn an_orderly_end_leaves_a_sleeping_client_its_names_and_its_sleep() {
    let mut pair = kept();
    let id = pair.register("a/b");
    pair.sleep(300);
    pair.close(&CloseReason::ShuttingDown);
    let parked = pair.departures.remove(0).parked;
    assert_eq!((parked.sleep_secs, parked.topic_ids.len()), (300, 1));
    // Nor does it matter whether there was time for a goodbye.
    let mut pair = kept();
    pair.sleep(300);
    assert_eq!(pair.machine.depart().parked.sleep_secs, 300);

    let queued = unacknowledged(chosen("a/b", Qos::AtLeastOnce, 5));
    let mut pair = Pair::keeping(Parked { outbound: vec![queued], ..parked });
    pair.ping("c");
    pair.expect(&[again(Qos::AtLeastOnce, TopicRef::Normal(id), 5, b"x")]);
    pair.send(&puback(5, ReturnCode::Accepted));
    pair.expect(&[Packet::Pingresp]);
    assert_eq!(pair.asked(), [Acknowledged(5)]);
    assert_eq!((pair.machine.state(), pair.connects[0].must_exist), (State::Asleep, true));
}

/// What a gateway was killed before it could keep it does not know afterwards.
#[test]
fn a_client_of_whose_sleep_nothing_was_kept_connects_anew_and_misses_nothing() {
    let outbound =
        || vec![unacknowledged(chosen("a/b", Qos::ExactlyOnce, 5)), unacknowledged(chosen("ab", Qos::AtLeastOnce, 6))];
    let mut pair = Pair::keeping(left(outbound()));
    pair.ping("c");
    pair.expect(&[goodbye()]);
    assert!(pair.closed && pair.asked().is_empty());
    let departure = &pair.departures[0];
    assert_eq!((departure.will, departure.session_expiry_secs), (WillFate::Keep, None));

    let mut pair = Pair::kept(left(outbound()));
    pair.expect(&[accepted(), register(1, 1, "a/b")]);
    pair.send(&regack(1, 1, ReturnCode::Accepted));
    pair.expect(&[again(Qos::ExactlyOnce, TopicRef::Normal(1), 5, b"x")]);
    pair.send(&Packet::Pubrec(5));
    pair.answer_all();
    pair.send(&Packet::Pubcomp(5));
    pair.expect(&[Packet::Pubrel(5), again(Qos::AtLeastOnce, AB, 6, b"x")]);
    pair.send(&Packet::Disconnect(Disconnect { duration_secs: Some(100) }));
    pair.send(&puback(6, ReturnCode::Accepted));
    pair.ping("c");
    pair.expect(&[goodbye(), Packet::Pingresp]);
    assert_eq!(pair.asked(), [Received(5), Acknowledged(5), Acknowledged(6)]);
}

#[test]
fn an_id_that_the_gateway_has_forgotten_is_unknown_and_no_other_name() {
    let mut before = Pair::new(Config { first_topic_id: 100, ..Config::default() });
    before.connect(false);
    before.expect(&[accepted()]);
    let up = before.register("up");
    // Killed before that was kept, and started again. An id from before is still known.
    let known = TopicId { id: 99, name: "old".into(), known: true };
    let mut pair = Pair::new(Config { first_topic_id: 7000, ..Config::default() });
    pair.present =
        Some(Parked { topic_ids: vec![known], ..left(vec![unacknowledged(chosen("down", Qos::AtLeastOnce, 5))]) });
    pair.kept = true;
    pair.connect(false);
    pair.expect(&[accepted(), register(7000, 1, "down")]);
    for (qos, id) in [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 3), (Qos::ExactlyOnce, 4)] {
        pair.send(&publish(qos, TopicRef::Normal(up), id, b"x"));
        let code = ReturnCode::InvalidTopicId;
        pair.expect(&[Packet::Puback(Puback { topic_id: up, message_id: id, code })]);
    }
    assert_eq!((pair.published().len(), pair.asked()), (0, vec![]));
    let up = pair.register("up");
    pair.send(&again(Qos::ExactlyOnce, TopicRef::Normal(up), 4, b"x"));
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Normal(99), 0, b"y"));
    pair.expect(&[Packet::Pubrec(4)]);
    assert_eq!(pair.published(), [("up", &b"x"[..]), ("old", b"y")]);
}
