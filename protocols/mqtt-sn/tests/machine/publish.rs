use std::time::Duration;

use thingway_contract::{Parked, PublishOutcome, Qos, Standing};
use thingway_mqtt_sn::{
    Config, MqttSnFault, Packet, PacketType, Predefined, ReturnCode,
    packet::{Puback, Publish, Regack, Register, TopicRef},
};

use crate::support::*;

const AB: TopicRef = TopicRef::Short(*b"ab");

fn puback(topic: TopicRef, message_id: u16, code: ReturnCode) -> Packet<'static> {
    Packet::Puback(Puback { topic_id: topic.id(), message_id, code })
}

fn predefined() -> Predefined {
    let mut predefined = Predefined::default();
    predefined.insert(5, "all/five").expect("free");
    predefined.insert_for("c", 6, "own/six").expect("free");
    predefined
}

fn minus_one(topic: TopicRef, payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish { duplicate: false, qos: None, retain: true, topic, message_id: 0, payload })
}

#[test]
fn section_6_5_names_get_ids_from_1_upwards() {
    let mut pair = Pair::active();
    assert_eq!((pair.register("a/b"), pair.register("c/d"), pair.register("a/b")), (1, 2, 1));
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Normal(2), 0, b"x"));
    assert_eq!(pair.published(), [("c/d", &b"x"[..])]);
    let head = pair.published[0].head();
    assert_eq!(
        (head.publisher, head.received_at, head.qos, head.retain),
        (PUBLISHER, pair.now, Qos::AtMostOnce, false)
    );
}

#[test]
fn section_6_5_names_that_are_none_are_refused() {
    let mut pair = Pair::connected(Config { topic_ids_max: 1, ..Config::default() }, true);
    let register = |topic| Packet::Register(Register { topic_id: 0, message_id: 4, topic });
    let regack = |code| Packet::Regack(Regack { topic_id: 0, message_id: 4, code });
    for topic in ["a/+", "#", "", "a\0"] {
        pair.send(&register(topic));
        pair.expect(&[regack(ReturnCode::NotSupported)]);
    }
    assert_eq!(pair.register("a"), 1);
    pair.send(&register("b"));
    pair.expect(&[regack(ReturnCode::Congestion)]);
}

#[test]
fn section_6_6_an_unknown_id_is_told() {
    let mut pair = Pair::active();
    for (topic, qos, id) in [
        (TopicRef::Normal(1), Qos::AtMostOnce, 0),
        (TopicRef::Normal(0xffff), Qos::AtLeastOnce, 3),
        (TopicRef::Predefined(5), Qos::ExactlyOnce, 4),
        (TopicRef::Short(*b"a+"), Qos::AtLeastOnce, 5),
        (TopicRef::Short([0xff, 0xff]), Qos::AtLeastOnce, 6),
    ] {
        pair.send(&publish(qos, topic, id, b""));
        pair.expect(&[puback(topic, id, ReturnCode::InvalidTopicId)]);
    }
    assert_eq!(pair.published.len(), 0);
}

#[test]
fn section_6_7_short_and_predefined_topics_need_no_registration() {
    let mut pair = Pair::connected(Config { predefined: predefined(), ..Config::default() }, true);
    for topic in [AB, TopicRef::Predefined(5), TopicRef::Predefined(6)] {
        pair.send(&publish(Qos::AtMostOnce, topic, 0, b""));
    }
    assert_eq!(pair.published(), [("ab", &b""[..]), ("all/five", b""), ("own/six", b"")]);
}

#[test]
fn section_6_6_qos_1_is_acknowledged_when_the_gateway_has_it() {
    let mut pair = Pair::active();
    pair.silent = true;
    pair.send(&publish(Qos::AtLeastOnce, AB, 7, b"x"));
    pair.send(&again(Qos::AtLeastOnce, AB, 7, b"x"));
    pair.expect_nothing();
    assert_eq!(pair.published.len(), 1, "a copy while the answer is due");
    pair.answer_all();
    pair.expect(&[puback(AB, 7, ReturnCode::Accepted)]);
}

#[test]
fn section_6_6_qos_2_is_published_once() {
    let mut pair = Pair::active();
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.send(&again(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.send(&Packet::Pubrel(7));
    pair.send(&Packet::Pubrel(7));
    pair.expect(&[Packet::Pubrec(7), Packet::Pubrec(7), Packet::Pubcomp(7), Packet::Pubcomp(7)]);
    // A copy that the network delivers late.
    pair.pass_secs(4);
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.expect(&[Packet::Pubrec(7)]);
    assert_eq!(pair.published.len(), 1);
    // Another message, and the same message much later, with the same id.
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"y"));
    pair.send(&Packet::Pubrel(7));
    pair.pass_secs(6);
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"y"));
    pair.expect(&[Packet::Pubrec(7), Packet::Pubcomp(7), Packet::Pubrec(7)]);
    assert_eq!(pair.published.len(), 3);
}

#[test]
fn a_client_that_counts_from_the_beginning_again_is_heard() {
    let mut pair = Pair::active();
    pair.send(&publish(Qos::ExactlyOnce, AB, 1, b"x"));
    pair.send(&publish(Qos::ExactlyOnce, AB, 1, b"other"));
    pair.expect(&[Packet::Pubrec(1), Packet::Pubrec(1)]);
    assert_eq!(pair.published.len(), 2);
}

/// As when the gateway had forgotten the id, and the client has registered the name again.
#[test]
fn a_late_copy_with_an_id_that_is_not_known_ends_no_exchange() {
    let mut pair = Pair::active();
    let topic = TopicRef::Normal(pair.register("a/b"));
    let forgotten = TopicRef::Normal(99);
    pair.send(&again(Qos::ExactlyOnce, topic, 1, b"x"));
    pair.send(&publish(Qos::ExactlyOnce, forgotten, 1, b"x"));
    pair.send(&again(Qos::ExactlyOnce, topic, 1, b"x"));
    pair.expect(&[Packet::Pubrec(1), puback(forgotten, 1, ReturnCode::InvalidTopicId), Packet::Pubrec(1)]);
    assert_eq!(pair.published.len(), 1);
}

#[test]
fn qos_2_that_was_published_is_known_after_a_reconnect() {
    let mut pair = Pair::connected(Config::default(), false);
    pair.send(&publish(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.silent = true;
    pair.send(&publish(Qos::ExactlyOnce, AB, 8, b"y"));
    pair.send(&publish(Qos::AtLeastOnce, AB, 9, b"z"));
    pair.send(&goodbye());
    let parked = pair.departures.pop().expect("gone").parked;
    assert_eq!(parked.inbound, [7, 8]);
    let mut pair = Pair::new(Config::default());
    pair.present = Some(parked);
    pair.connect(false);
    pair.send(&again(Qos::ExactlyOnce, AB, 7, b"x"));
    pair.send(&Packet::Pubrel(7));
    pair.send(&publish(Qos::ExactlyOnce, AB, 8, b"y"));
    pair.expect(&[accepted(), Packet::Pubrec(7), Packet::Pubcomp(7), Packet::Pubrec(8)]);
    assert_eq!(pair.published.len(), 0);
}

#[test]
fn table_5_outcomes_have_return_codes() {
    for (outcome, code) in [
        (PublishOutcome::NoSubscribers, ReturnCode::Accepted),
        (PublishOutcome::NotAuthorized, ReturnCode::NotSupported),
        (PublishOutcome::QuotaExceeded, ReturnCode::Congestion),
    ] {
        let mut pair = Pair::active();
        pair.outcome = outcome;
        pair.send(&publish(Qos::AtLeastOnce, AB, 1, b""));
        pair.expect(&[puback(AB, 1, code)]);
        pair.send(&publish(Qos::ExactlyOnce, AB, 2, b""));
        let accepted = code == ReturnCode::Accepted;
        pair.expect(&[if accepted { Packet::Pubrec(2) } else { puback(AB, 2, code) }]);
        pair.send(&publish(Qos::AtMostOnce, AB, 0, b""));
        pair.expect_nothing();
    }
}

#[test]
fn too_many_unanswered_messages_are_congestion() {
    let mut pair = Pair::connected(Config { inbound_max: 2, ..Config::default() }, true);
    pair.silent = true;
    pair.send(&publish(Qos::AtLeastOnce, AB, 1, b""));
    pair.send(&publish(Qos::ExactlyOnce, AB, 2, b""));
    pair.send(&publish(Qos::AtLeastOnce, AB, 3, b""));
    pair.expect(&[puback(AB, 3, ReturnCode::Congestion)]);
    pair.silent = false;
    pair.answer_all();
    pair.expect(&[puback(AB, 1, ReturnCode::Accepted), Packet::Pubrec(2)]);
    // The client never releases: it has given up the exchange for another (section 6.6).
    for id in 10..20 {
        pair.send(&publish(Qos::ExactlyOnce, AB, id, b""));
        pair.expect(&[Packet::Pubrec(id)]);
    }
}

#[test]
fn section_5_3_9_a_message_that_is_acknowledged_has_an_id() {
    let mut pair = Pair::active();
    pair.send(&publish(Qos::AtLeastOnce, AB, 0, b""));
    assert_eq!((pair.faults.as_slice(), pair.published.len()), (&[MqttSnFault::MessageIdZero][..], 0));
}

#[test]
fn a_release_before_the_gateway_decided_is_too_early() {
    let mut pair = Pair::active();
    pair.silent = true;
    pair.send(&publish(Qos::ExactlyOnce, AB, 1, b""));
    pair.send(&Packet::Pubrel(1));
    assert_eq!(pair.faults, [MqttSnFault::Unexpected(PacketType::Pubrel)]);
    pair.answer_all();
    pair.expect(&[Packet::Pubrec(1)]);
}

#[test]
fn section_6_8_anybody_may_publish_at_qos_minus_one_again_and_again() {
    let mut pair = Pair::new(Config { predefined: predefined(), ..Config::default() });
    pair.send(&minus_one(AB, b"1"));
    let request = &pair.connects[0];
    assert_eq!((request.client_id.as_deref(), request.session_expiry_secs, request.clean_start), (None, 0, true));
    assert_eq!(request.credentials.username.as_deref(), Some("mqtt-sn-qos-1"));
    assert_eq!(pair.standing(), Standing::Unproven);
    pair.send(&minus_one(TopicRef::Predefined(5), b"2"));
    pair.send(&minus_one(AB, b"3"));
    assert_eq!(pair.published(), [("ab", &b"1"[..]), ("all/five", b"2"), ("ab", b"3")]);
    let head = pair.published[0].head();
    assert_eq!((head.publisher, head.received_at, head.qos, head.retain), (PUBLISHER, pair.now, Qos::AtMostOnce, true));
    assert_eq!(pair.connects.len(), 1);
    pair.expect_nothing();
}

#[test]
fn section_6_8_what_is_set_up_for_qos_minus_one_is_forgotten() {
    let mut pair = Pair::new(Config::default());
    pair.send(&minus_one(AB, b"1"));
    pair.pass_secs(29);
    pair.send(&minus_one(AB, b"2"));
    pair.pass_secs(29);
    assert!(!pair.closed);
    pair.pass(Duration::from_secs(1));
    assert!(pair.closed && pair.faults.is_empty());
    pair.expect_nothing();
}

#[test]
fn section_6_8_a_client_may_connect_afterwards() {
    let mut pair = Pair::new(Config::default());
    pair.send(&minus_one(AB, b"1"));
    pair.send(&publish(Qos::AtMostOnce, AB, 0, b"no session"));
    pair.expect(&[goodbye()]);
    pair.connect(true);
    pair.expect(&[accepted()]);
    assert_eq!(pair.departures.len(), 1);
    assert_eq!((pair.connects[1].client_id.as_deref(), pair.standing()), (Some("c"), Standing::Established));
    pair.send(&minus_one(AB, b"2"));
    assert_eq!(pair.published(), [("ab", &b"1"[..]), ("ab", b"2")]);
    assert_eq!(pair.connects.len(), 2);
}

#[test]
fn section_6_8_qos_minus_one_knows_only_what_all_know() {
    let mut pair = Pair::new(Config { predefined: predefined(), ..Config::default() });
    for topic in [TopicRef::Normal(1), TopicRef::Predefined(6), TopicRef::Short(*b"+/")] {
        pair.send(&minus_one(topic, b""));
        pair.expect(&[puback(topic, 0, ReturnCode::InvalidTopicId)]);
    }
    assert_eq!((pair.connects.len(), pair.standing()), (0, Standing::Forgettable));
}

#[test]
fn section_6_8_qos_minus_one_can_be_switched_off() {
    let mut pair = Pair::new(Config { qos_minus_one: false, ..Config::default() });
    pair.send(&minus_one(AB, b""));
    pair.expect(&[puback(AB, 0, ReturnCode::NotSupported)]);
    assert_eq!((pair.faults.as_slice(), pair.connects.len()), (&[MqttSnFault::QosMinusOne][..], 0));
}

#[test]
fn section_6_8_a_refused_identity_publishes_nothing() {
    let mut pair = Pair::new(Config::default());
    pair.refusal = Some(thingway_contract::Refusal::NotAuthorized);
    pair.send(&minus_one(AB, b"1"));
    assert_eq!((pair.published.len(), pair.standing()), (0, Standing::Forgettable));
    pair.expect_nothing();
    pair.send(&minus_one(AB, b"2"));
    assert_eq!(pair.published(), [("ab", &b"2"[..])]);
}

#[test]
fn a_kept_id_in_the_wrong_range_is_left_out() {
    let mut pair = Pair::new(Config::default());
    pair.present = Some(Parked { inbound: vec![0, 3], ..Parked::default() });
    pair.connect(false);
    pair.send(&goodbye());
    assert_eq!(pair.departures[0].parked.inbound, [3]);
}
