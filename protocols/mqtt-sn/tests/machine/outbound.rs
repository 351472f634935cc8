use thingway_contract::{Delivery, DropCause, Instant, MessageHead, Parked, Qos, Unacknowledged, WillFate};
use thingway_mqtt_sn::{
    Config, MqttSnFault, Packet, Predefined, ReturnCode,
    packet::{Puback, Regack, Register, TopicRef},
};

use crate::support::*;

const AB: TopicRef = TopicRef::Short(*b"ab");

fn register(topic_id: u16, message_id: u16, topic: &str) -> Packet<'_> {
    Packet::Register(Register { topic_id, message_id, topic })
}

fn regack(topic_id: u16, message_id: u16, code: ReturnCode) -> Packet<'static> {
    Packet::Regack(Regack { topic_id, message_id, code })
}

fn puback(topic: TopicRef, message_id: u16, code: ReturnCode) -> Packet<'static> {
    Packet::Puback(Puback { topic_id: topic.id(), message_id, code })
}

#[test]
fn section_6_10_an_unknown_name_is_registered_first() {
    let mut pair = Pair::active();
    pair.deliver("a/b", b"1", Qos::AtMostOnce);
    pair.deliver("a/b", b"2", Qos::AtLeastOnce);
    pair.expect(&[register(1, 1, "a/b")]);
    pair.send(&regack(1, 9, ReturnCode::Accepted));
    pair.expect_nothing();
    pair.send(&regack(1, 1, ReturnCode::Accepted));
    let topic = TopicRef::Normal(1);
    pair.expect(&[publish(Qos::AtMostOnce, topic, 0, b"1"), publish(Qos::AtLeastOnce, topic, 2, b"2")]);
    pair.send(&puback(topic, 2, ReturnCode::Accepted));
    pair.deliver("a/b", b"3", Qos::AtMostOnce);
    pair.expect(&[publish(Qos::AtMostOnce, topic, 0, b"3")]);
    assert_eq!(pair.machine.inflight_len(), 0);
}

#[test]
fn section_6_10_a_rejected_name_costs_its_message_only() {
    let mut pair = Pair::active();
    pair.deliver("a/b", b"1", Qos::AtLeastOnce);
    pair.deliver("a/b", b"2", Qos::AtLeastOnce);
    pair.expect(&[register(1, 1, "a/b")]);
    pair.send(&regack(1, 1, ReturnCode::NotSupported));
    pair.expect(&[register(1, 2, "a/b")]);
    pair.send(&regack(1, 2, ReturnCode::Accepted));
    pair.expect(&[publish(Qos::AtLeastOnce, TopicRef::Normal(1), 3, b"2")]);
}

#[test]
fn section_6_10_a_congested_client_is_asked_again_later() {
    let mut pair = Pair::active();
    pair.deliver("a/b", b"1", Qos::AtLeastOnce);
    pair.send(&regack(1, 1, ReturnCode::Congestion));
    pair.expect(&[register(1, 1, "a/b")]);
    pair.pass_secs(10);
    pair.expect(&[register(1, 1, "a/b")]);
    pair.send(&regack(1, 1, ReturnCode::Accepted));
    pair.expect(&[publish(Qos::AtLeastOnce, TopicRef::Normal(1), 2, b"1")]);
    pair.send(&puback(TopicRef::Normal(1), 2, ReturnCode::Congestion));
    pair.expect_nothing();
    pair.pass_secs(10);
    pair.expect(&[again(Qos::AtLeastOnce, TopicRef::Normal(1), 2, b"1")]);
}

#[test]
fn section_6_7_short_and_predefined_names_are_not_registered() {
    let mut predefined = Predefined::default();
    predefined.insert_for("c", 6, "own/six").expect("free");
    let mut pair = Pair::connected(Config { predefined, ..Config::default() }, true);
    pair.deliver("own/six", b"1", Qos::AtMostOnce);
    pair.deliver("ab", b"2", Qos::AtMostOnce);
    let topic = TopicRef::Predefined(6);
    pair.expect(&[publish(Qos::AtMostOnce, topic, 0, b"1"), publish(Qos::AtMostOnce, AB, 0, b"2")]);
    // A client that does not know what it should is told.
    pair.deliver("own/six", b"3", Qos::AtLeastOnce);
    pair.send(&puback(topic, 1, ReturnCode::InvalidTopicId));
    pair.expect(&[publish(Qos::AtLeastOnce, topic, 1, b"3"), register(1, 2, "own/six")]);
    pair.send(&regack(1, 2, ReturnCode::Accepted));
    pair.expect(&[again(Qos::AtLeastOnce, TopicRef::Normal(1), 1, b"3")]);
}

#[test]
fn section_6_10_an_id_that_the_client_forgot_is_registered_again() {
    let mut pair = Pair::active();
    let id = pair.subscribe("a/b", Qos::AtLeastOnce);
    let topic = TopicRef::Normal(id);
    pair.deliver("a/b", b"1", Qos::AtLeastOnce);
    pair.send(&puback(topic, 1, ReturnCode::InvalidTopicId));
    pair.expect(&[publish(Qos::AtLeastOnce, topic, 1, b"1"), register(id, 2, "a/b")]);
    pair.send(&regack(id, 2, ReturnCode::Accepted));
    pair.expect(&[again(Qos::AtLeastOnce, topic, 1, b"1")]);
    // A late copy of that answer is not believed at once, and a client that never learns is not asked for ever.
    let mut register_id = 2;
    for _ in 0..3 {
        pair.send(&puback(topic, 1, ReturnCode::InvalidTopicId));
        pair.expect_nothing();
        pair.pass_secs(10);
        register_id += 1;
        pair.expect(&[register(id, register_id, "a/b")]);
        pair.send(&regack(id, register_id, ReturnCode::Accepted));
        pair.expect(&[again(Qos::AtLeastOnce, topic, 1, b"1")]);
    }
    pair.send(&puback(topic, 1, ReturnCode::InvalidTopicId));
    pair.pass_secs(10);
    pair.expect_nothing();
    assert_eq!((pair.machine.inflight_len(), pair.faults.len()), (0, 0));
    // At QoS 0 the next message is the first that profits.
    pair.deliver("a/b", b"2", Qos::AtMostOnce);
    pair.expect(&[register(id, 6, "a/b")]);
    pair.send(&regack(id, 6, ReturnCode::Accepted));
    pair.send(&puback(topic, 0, ReturnCode::InvalidTopicId));
    pair.deliver("a/b", b"3", Qos::AtMostOnce);
    pair.expect(&[publish(Qos::AtMostOnce, topic, 0, b"2"), register(id, 7, "a/b")]);
}

#[test]
fn section_6_6_one_message_is_under_way_at_a_time() {
    let mut pair = Pair::active();
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.deliver("ab", b"2", Qos::ExactlyOnce);
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 1, b"1")]);
    pair.send(&puback(AB, 1, ReturnCode::Accepted));
    pair.expect(&[publish(Qos::ExactlyOnce, AB, 2, b"2")]);
    pair.send(&puback(AB, 2, ReturnCode::Accepted));
    pair.send(&Packet::Pubrec(2));
    pair.send(&Packet::Pubrec(2));
    pair.expect(&[Packet::Pubrel(2), Packet::Pubrel(2)]);
    pair.deliver("ab", b"3", Qos::AtLeastOnce);
    pair.expect_nothing();
    pair.send(&Packet::Pubcomp(2));
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 3, b"3")]);
    pair.deliver("ab", b"4", Qos::AtMostOnce);
    pair.expect(&[publish(Qos::AtMostOnce, AB, 0, b"4")]);
}

#[test]
fn section_6_13_what_is_not_answered_is_sent_again() {
    let mut pair = Pair::active();
    pair.deliver("ab", b"1", Qos::ExactlyOnce);
    pair.expect(&[publish(Qos::ExactlyOnce, AB, 1, b"1")]);
    pair.pass_secs(9);
    pair.expect_nothing();
    pair.pass_secs(1);
    pair.expect(&[again(Qos::ExactlyOnce, AB, 1, b"1")]);
    pair.send(&Packet::Pubrec(1));
    pair.expect(&[Packet::Pubrel(1)]);
    for _ in 0..3 {
        pair.pass_secs(10);
        pair.expect(&[Packet::Pubrel(1)]);
    }
    pair.send(&Packet::Pubcomp(1));
    pair.pass_secs(30);
    pair.expect_nothing();
}

#[test]
fn section_6_13_a_client_that_never_answers_is_lost() {
    for (clean_session, expiry) in [(true, Some(0)), (false, None)] {
        let mut pair = Pair::connected(Config::default(), clean_session);
        pair.deliver("ab", b"1", Qos::AtLeastOnce);
        pair.pass_secs(40);
        let repeated = again(Qos::AtLeastOnce, AB, 1, b"1");
        pair.expect(&[publish(Qos::AtLeastOnce, AB, 1, b"1"), repeated, repeated, repeated, goodbye()]);
        assert_eq!(pair.faults, [MqttSnFault::NoAnswer]);
        let departure = pair.departures.pop().expect("gone");
        assert_eq!((departure.will, departure.session_expiry_secs), (WillFate::Publish, expiry));
        assert_eq!((departure.parked.outbound.len(), departure.parked.next_packet_id), (1, 2));
        assert_eq!(departure.parked.outbound[0].packet_id, 1);
    }
}

#[test]
fn what_was_not_acknowledged_is_sent_again_after_a_reconnect() {
    let mut pair = Pair::new(Config::default());
    let left = |packet_id, delivery| Unacknowledged { packet_id, delivery };
    let outbound = vec![
        left(7, Some(delivery("ab", b"7", Qos::AtLeastOnce))),
        left(9, Some(delivery("a/b", b"9", Qos::ExactlyOnce))),
        left(8, None),
        left(0, None),
    ];
    pair.present = Some(Parked { outbound, next_packet_id: 65_535, ..Parked::default() });
    pair.queue.push_back(delivery("ab", b"new", Qos::AtMostOnce));
    pair.connect(false);
    pair.expect(&[accepted(), Packet::Pubrel(8)]);
    pair.send(&Packet::Pubcomp(8));
    pair.expect(&[again(Qos::AtLeastOnce, AB, 7, b"7")]);
    pair.send(&puback(AB, 7, ReturnCode::Accepted));
    pair.expect(&[register(1, 65_535, "a/b")]);
    pair.send(&regack(1, 65_535, ReturnCode::Accepted));
    let normal = TopicRef::Normal(1);
    pair.expect(&[again(Qos::ExactlyOnce, normal, 9, b"9"), publish(Qos::AtMostOnce, AB, 0, b"new")]);
    pair.send(&Packet::Pubrec(9));
    pair.send(&Packet::Pubcomp(9));
    pair.expect(&[Packet::Pubrel(9)]);
    pair.deliver("ab", b"x", Qos::AtLeastOnce);
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 1, b"x")]);
}

#[test]
fn what_is_being_registered_is_not_lost_with_the_conversation() {
    let mut pair = Pair::connected(Config::default(), false);
    pair.deliver("a/b", b"1", Qos::AtLeastOnce);
    pair.expect(&[register(1, 1, "a/b")]);
    pair.send(&goodbye());
    let parked = pair.departures.pop().expect("gone").parked;
    let left: Vec<_> = parked.outbound.iter().map(|entry| (entry.packet_id, entry.delivery.is_some())).collect();
    assert_eq!((left, parked.next_packet_id), (vec![(2, true)], 3));
    assert_eq!(parked.topic_ids.len(), 1);
}

#[test]
fn a_late_pubrec_for_what_waits_is_heard() {
    let mut pair = Pair::new(Config::default());
    let outbound = [7, 8].map(|packet_id| {
        let delivery = Some(delivery("ab", &[packet_id as u8], Qos::ExactlyOnce));
        Unacknowledged { packet_id, delivery }
    });
    pair.present = Some(Parked { outbound: outbound.to_vec(), next_packet_id: 9, ..Parked::default() });
    pair.connect(false);
    pair.expect(&[accepted(), again(Qos::ExactlyOnce, AB, 7, &[7])]);
    pair.send(&Packet::Pubrec(8));
    pair.expect(&[Packet::Pubrel(8)]);
    pair.send(&Packet::Pubrec(7));
    pair.send(&Packet::Pubcomp(7));
    pair.expect(&[Packet::Pubrel(7), Packet::Pubrel(8)]);
    pair.send(&Packet::Pubcomp(8));
    assert_eq!(pair.machine.inflight_len(), 0);
}

#[test]
fn messages_that_cannot_be_sent_are_dropped() {
    let mut pair = Pair::connected(Config { datagram_bytes_max: 20, topic_ids_max: 1, ..Config::default() }, true);
    pair.deliver("ab", &[0; 14], Qos::AtLeastOnce);
    pair.deliver("a/long/topic/name", b"", Qos::AtLeastOnce);
    pair.register("a");
    pair.deliver("b", b"", Qos::AtLeastOnce);
    assert_eq!(pair.dropped, [DropCause::TooLarge, DropCause::TopicUnknown, DropCause::TopicUnknown]);
    pair.deliver("ab", &[0; 13], Qos::AtMostOnce);
    pair.expect(&[publish(Qos::AtMostOnce, AB, 0, &[0; 13])]);
    let mut old = delivery("ab", b"", Qos::AtMostOnce);
    old.message = old.message.with_head(MessageHead { expires_at: pair.now, ..MessageHead::default() });
    pair.deliver_this(old);
    assert_eq!(pair.dropped.pop(), Some(DropCause::Expired));
    let mut pair = Pair::behind(Config { datagram_bytes_max: 20, ..Config::default() }, b"nd");
    pair.connect(true);
    pair.deliver("ab", &[0; 9], Qos::AtMostOnce);
    assert_eq!(pair.dropped, [DropCause::TooLarge]);
}

#[test]
fn the_retain_flag_is_sent() {
    let mut pair = Pair::active();
    pair.deliver_this(Delivery { retain: true, ..delivery("ab", b"x", Qos::AtMostOnce) });
    let sent = pair.take();
    let Ok(Packet::Publish(publish)) = Packet::decode(&sent) else { panic!("{sent:?}") };
    assert!(publish.retain && !publish.duplicate);
}

#[test]
fn a_stranger_is_released() {
    let mut pair = Pair::active();
    pair.send(&Packet::Pubrec(42));
    pair.expect(&[Packet::Pubrel(42)]);
    pair.send(&Packet::Pubcomp(42));
    pair.send(&puback(AB, 42, ReturnCode::Accepted));
    pair.expect_nothing();
    assert_eq!(pair.faults, []);
}

#[test]
fn an_idle_client_has_no_deadline_but_its_own() {
    let mut pair = Pair::active();
    pair.pass_secs(41);
    use thingway_contract::Protocol;
    assert_eq!(pair.machine.deadline(), Instant::from_millis(1_000_000 + 90_000));
}

#[test]
fn those_who_watch_are_told_what_the_client_has() {
    let mut pair = Pair::active();
    pair.deliver("ab", b"unwatched", Qos::AtLeastOnce);
    pair.send(&puback(AB, 1, ReturnCode::Accepted));
    assert!(pair.acknowledged().is_empty(), "nobody wants to know");
    pair.watch();
    pair.deliver("ab", b"0", Qos::AtMostOnce);
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.send(&puback(AB, 2, ReturnCode::Congestion));
    pair.send(&puback(AB, 9, ReturnCode::Accepted));
    assert!(pair.acknowledged().is_empty(), "not yet");
    pair.send(&puback(AB, 2, ReturnCode::Accepted));
    pair.send(&puback(AB, 2, ReturnCode::Accepted));
    assert_eq!(pair.acknowledged(), [b"1"], "once");
    pair.deliver("ab", b"2", Qos::ExactlyOnce);
    pair.send(&Packet::Pubrec(3));
    assert_eq!(pair.acknowledged(), [b"2"]);
    pair.send(&Packet::Pubrec(3));
    pair.send(&Packet::Pubcomp(3));
    assert!(pair.acknowledged().is_empty());
}

#[test]
fn those_who_watch_are_told_once_what_a_client_has_that_was_sent_before() {
    let left = |packet_id, payload: &[u8]| {
        let delivery = Delivery { packet_id, ..delivery("ab", payload, Qos::ExactlyOnce) };
        Unacknowledged { packet_id, delivery: Some(delivery) }
    };
    let mut pair = Pair::kept(Parked { outbound: vec![left(7, b"7"), left(8, b"8")], ..Parked::default() });
    pair.watch();
    pair.send(&Packet::Pubrec(8));
    pair.send(&Packet::Pubrec(8));
    assert_eq!(pair.acknowledged(), [b"8"]);
    pair.send(&Packet::Pubrec(7));
    assert_eq!(pair.acknowledged(), [b"7"]);
    pair.answer_all();
    pair.send(&Packet::Pubrec(7));
    pair.send(&Packet::Pubcomp(7));
    pair.send(&Packet::Pubrec(8));
    assert!(pair.acknowledged().is_empty());
}
