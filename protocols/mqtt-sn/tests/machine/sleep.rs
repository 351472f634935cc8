use std::time::Duration;

use thingway_contract::{DatagramProtocol, Parked, Qos, Refusal, Standing, Unacknowledged, WillFate};
use thingway_mqtt_sn::{
    Config, MqttSnFault, Packet, PacketType, ReturnCode, State,
    packet::{Connect, Disconnect, Pingreq, Puback, Regack, Register, TopicRef},
};

use crate::support::*;

const AB: TopicRef = TopicRef::Short(*b"ab");

fn puback(message_id: u16) -> Packet<'static> {
    Packet::Puback(Puback { topic_id: AB.id(), message_id, code: ReturnCode::Accepted })
}

#[test]
fn section_6_14_messages_wait_while_the_client_sleeps() {
    let mut pair = Pair::asleep(300);
    pair.deliver("ab", b"1", Qos::AtMostOnce);
    pair.deliver("ab", b"2", Qos::AtLeastOnce);
    pair.pass_secs(200);
    pair.expect_nothing();
    assert_eq!((pair.queue.len(), pair.standing()), (2, Standing::Established));
}

#[test]
fn section_6_14_pingresp_comes_after_the_last_acknowledgement() {
    let mut pair = Pair::asleep(300);
    for (payload, qos) in [(b"1", Qos::AtMostOnce), (b"2", Qos::AtLeastOnce), (b"3", Qos::ExactlyOnce)] {
        pair.deliver("ab", payload, qos);
    }
    pair.ping("c");
    assert_eq!(pair.machine.state(), State::Awake);
    pair.expect(&[publish(Qos::AtMostOnce, AB, 0, b"1"), publish(Qos::AtLeastOnce, AB, 1, b"2")]);
    pair.ping("c");
    pair.expect_nothing();
    pair.send(&puback(1));
    pair.expect(&[publish(Qos::ExactlyOnce, AB, 2, b"3")]);
    pair.send(&Packet::Pubrec(2));
    pair.expect(&[Packet::Pubrel(2)]);
    pair.send(&Packet::Pubcomp(2));
    pair.expect(&[Packet::Pingresp]);
    assert_eq!(pair.machine.state(), State::Asleep);
    // Nothing of it is sent again.
    pair.ping("c");
    pair.expect(&[Packet::Pingresp]);
    assert_eq!(pair.machine.state(), State::Asleep);
}

#[test]
fn section_6_14_names_are_registered_before_messages_of_qos_0() {
    let mut pair = Pair::asleep(300);
    pair.deliver("a/b", b"1", Qos::AtMostOnce);
    pair.ping("c");
    pair.expect(&[Packet::Register(Register { topic_id: 1, message_id: 1, topic: "a/b" })]);
    pair.send(&Packet::Regack(Regack { topic_id: 1, message_id: 1, code: ReturnCode::Accepted }));
    pair.expect(&[publish(Qos::AtMostOnce, TopicRef::Normal(1), 0, b"1"), Packet::Pingresp]);
}

#[test]
fn section_6_14_what_was_not_acknowledged_comes_with_the_next_ping() {
    let mut pair = Pair::asleep(3000);
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.ping("c");
    pair.pass_secs(40);
    let repeated = again(Qos::AtLeastOnce, AB, 1, b"1");
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 1, b"1"), repeated, repeated, repeated]);
    assert_eq!((pair.machine.state(), pair.faults.len()), (State::Asleep, 0));
    pair.pass_secs(100);
    pair.expect_nothing();
    pair.ping("c");
    pair.expect(&[repeated]);
    pair.send(&puback(1));
    pair.expect(&[Packet::Pingresp]);
}

#[test]
fn section_6_14_an_acknowledgement_may_come_after_the_client_fell_asleep() {
    let mut pair = Pair::active();
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.expect(&[publish(Qos::AtLeastOnce, AB, 1, b"1")]);
    pair.sleep(300);
    pair.send(&puback(1));
    pair.ping("c");
    pair.expect(&[Packet::Pingresp]);
}

#[test]
fn section_6_14_connect_goes_on_with_the_same_session() {
    let mut pair = Pair::asleep(300);
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.send(&Packet::Connect(Connect { will: false, clean_session: false, duration_secs: 20, client_id: "c" }));
    pair.expect(&[accepted(), publish(Qos::AtLeastOnce, AB, 1, b"1")]);
    assert_eq!((pair.machine.state(), pair.connects.len(), pair.departures.len()), (State::Active, 1, 0));
    pair.send(&puback(1));
    pair.pass_secs(29);
    assert!(!pair.closed);
    pair.pass_secs(1);
    assert_eq!(pair.faults, [MqttSnFault::KeepAliveTimeout], "the keep-alive of that CONNECT counts");
}

#[test]
fn section_6_14_flags_of_a_waking_client_mean_nothing_but_forgotten_ids() {
    let mut pair = Pair::active();
    pair.subscribe("a/b", Qos::AtMostOnce);
    pair.sleep(300);
    pair.deliver("a/b", b"1", Qos::AtMostOnce);
    pair.send(&connect(true, true));
    pair.expect(&[accepted(), Packet::Register(Register { topic_id: 1, message_id: 1, topic: "a/b" })]);
    assert_eq!(pair.connects.len(), 1);
}

#[test]
fn section_6_14_a_client_goes_from_awake_to_active() {
    let mut pair = Pair::asleep(300);
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.ping("c");
    pair.connect(false);
    let (first, second) = (publish(Qos::AtLeastOnce, AB, 1, b"1"), again(Qos::AtLeastOnce, AB, 1, b"1"));
    pair.expect(&[first, accepted(), second]);
    pair.send(&puback(1));
    pair.expect_nothing();
    assert_eq!(pair.machine.state(), State::Active);
}

#[test]
fn section_6_14_goodbye_from_asleep_ends_the_conversation() {
    let mut pair = Pair::asleep(300);
    pair.send(&goodbye());
    pair.expect(&[goodbye()]);
    assert!(pair.closed);
    let departure = &pair.departures[0];
    assert_eq!((departure.will, departure.parked.sleep_secs), (WillFate::Keep, 0));
}

#[test]
fn section_6_14_the_duration_can_be_changed() {
    let mut pair = Pair::asleep(100);
    pair.pass_secs(100);
    pair.sleep(1000);
    pair.pass_secs(1099);
    assert!(!pair.closed);
    pair.pass_secs(1);
    assert_eq!(pair.faults, [MqttSnFault::SleepTimeout]);
}

#[test]
fn section_6_14_a_client_that_oversleeps_is_lost() {
    let mut pair = Pair::asleep(100);
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.pass(Duration::from_millis(109_999));
    assert!(!pair.closed);
    pair.pass(Duration::from_millis(1));
    assert!(pair.closed);
    pair.expect_nothing();
    let departure = &pair.departures[0];
    assert_eq!((departure.will, departure.session_expiry_secs), (WillFate::Publish, None));
    assert_eq!((departure.parked.sleep_secs, pair.queue.len()), (0, 1));
}

#[test]
fn section_6_14_each_ping_starts_the_duration_again() {
    let mut pair = Pair::asleep(100);
    for _ in 0..5 {
        pair.pass_secs(105);
        pair.ping("c");
        pair.expect(&[Packet::Pingresp]);
    }
}

#[test]
fn section_6_14_duration_0_is_goodbye() {
    let mut pair = Pair::active();
    pair.send(&Packet::Disconnect(Disconnect { duration_secs: Some(0) }));
    pair.expect(&[goodbye()]);
    assert!(pair.closed);
    assert_eq!(pair.departures[0].will, WillFate::Discard);
}

#[test]
fn section_6_11_an_active_client_gets_its_answer_at_once() {
    let mut pair = Pair::active();
    pair.ping("");
    pair.ping("c");
    pair.expect(&[Packet::Pingresp, Packet::Pingresp]);
    let mut pair = Pair::asleep(100);
    pair.deliver("ab", b"1", Qos::AtMostOnce);
    pair.ping("");
    pair.expect(&[Packet::Pingresp]);
    assert_eq!((pair.machine.state(), pair.queue.len()), (State::Asleep, 1), "it did not ask for messages");
}

#[test]
fn a_client_does_not_get_the_messages_of_another() {
    let mut pair = Pair::asleep(100);
    pair.deliver("ab", b"1", Qos::AtMostOnce);
    pair.ping("other");
    pair.expect(&[goodbye()]);
    assert_eq!(pair.faults, [MqttSnFault::NoSession(PacketType::Pingreq)]);
    assert_eq!((pair.machine.state(), pair.queue.len()), (State::Asleep, 1));
}

fn parked(sleep_secs: u16, transient: bool) -> Option<Parked> {
    let outbound = vec![Unacknowledged { packet_id: 4, delivery: Some(delivery("ab", b"4", Qos::AtLeastOnce)) }];
    Some(Parked { outbound, next_packet_id: 5, sleep_secs, transient, ..Parked::default() })
}

#[test]
fn section_6_14_a_sleeping_client_finds_its_session_from_another_address() {
    let mut pair = Pair::new(Config::default());
    pair.present = parked(100, false);
    pair.queue.push_back(delivery("ab", b"5", Qos::AtMostOnce));
    pair.ping("c");
    let request = &pair.connects[0];
    assert!(request.must_exist && request.keep_will && !request.clean_start);
    assert_eq!((request.client_id.as_deref(), request.session_expiry_secs), (Some("c"), 7200));
    assert_eq!(pair.machine.state(), State::Awake);
    pair.expect(&[again(Qos::AtLeastOnce, AB, 4, b"4"), publish(Qos::AtMostOnce, AB, 0, b"5")]);
    pair.send(&puback(4));
    pair.expect(&[Packet::Pingresp]);
    pair.pass_secs(109);
    assert_eq!((pair.machine.state(), pair.closed), (State::Asleep, false));
    pair.pass_secs(1);
    assert_eq!(pair.faults, [MqttSnFault::SleepTimeout]);
}

#[test]
fn without_such_a_session_a_client_is_told_to_connect() {
    let mut pair = Pair::new(Config::default());
    pair.refusal = Some(Refusal::NoSession);
    pair.ping("c");
    pair.expect(&[goodbye()]);
    assert_eq!(pair.standing(), Standing::Forgettable);
    for config in [Config { roaming: false, ..Config::default() }, Config { auth_required: true, ..Config::default() }]
    {
        let mut pair = Pair::new(config);
        pair.ping("c");
        pair.expect(&[goodbye()]);
        assert_eq!(pair.connects.len(), 0);
    }
}

#[test]
fn an_active_session_is_not_given_to_a_ping() {
    let mut pair = Pair::new(Config::default());
    pair.present = parked(0, false);
    pair.ping("c");
    pair.expect(&[goodbye()]);
    assert!(pair.closed);
    let departure = &pair.departures[0];
    assert_eq!((departure.will, departure.parked.outbound.len()), (WillFate::Keep, 1), "all stays as it was");
}

#[test]
fn only_the_session_of_a_sleeping_client_may_move() {
    let mut pair = Pair::active();
    assert!(!pair.machine.may_move());
    pair.sleep(100);
    assert!(pair.machine.may_move());
    pair.deliver("ab", b"1", Qos::AtLeastOnce);
    pair.ping("c");
    assert_eq!((pair.machine.state(), pair.machine.may_move()), (State::Awake, true), "it may move in between");
    // Somebody else at its address, who does not get far.
    pair.send(&Packet::Connect(Connect { will: true, clean_session: true, duration_secs: 60, client_id: "d" }));
    assert_eq!((pair.machine.state(), pair.machine.may_move()), (State::Connecting, true));
    pair.connect(false);
    assert_eq!((pair.machine.state(), pair.machine.may_move()), (State::Active, false));
}

#[test]
fn a_session_that_moves_while_its_client_sleeps_says_nothing_to_the_old_address() {
    for (clean_session, expiry) in [(true, Some(10)), (false, None)] {
        let mut pair = Pair::connected(Config::default(), clean_session);
        pair.sleep(100);
        pair.close(&thingway_contract::CloseReason::TakenOver);
        pair.expect_nothing();
        let departure = &pair.departures[0];
        assert_eq!((departure.will, departure.session_expiry_secs), (WillFate::Keep, expiry));
        assert_eq!((departure.parked.sleep_secs, departure.parked.transient), (100, clean_session));
    }
    // And it still ends with its client.
    let mut pair = Pair::new(Config::default());
    pair.present = parked(100, true);
    pair.ping("c");
    pair.send(&goodbye());
    assert_eq!((pair.departures[0].will, pair.departures[0].session_expiry_secs), (WillFate::Discard, Some(0)));
}

#[test]
fn a_publication_in_sleep_is_taken() {
    let mut pair = Pair::asleep(100);
    pair.send(&publish(Qos::AtLeastOnce, AB, 1, b"x"));
    pair.expect(&[puback(1)]);
    assert_eq!(pair.machine.state(), State::Asleep);
}

#[test]
fn a_ping_can_follow_a_publication_of_qos_minus_one() {
    let mut pair = Pair::new(Config::default());
    pair.send(&Packet::Publish(thingway_mqtt_sn::packet::Publish {
        duplicate: false,
        qos: None,
        retain: false,
        topic: AB,
        message_id: 0,
        payload: b"",
    }));
    pair.present = parked(100, false);
    pair.send(&Packet::Pingreq(Pingreq { client_id: "c" }));
    pair.expect(&[again(Qos::AtLeastOnce, AB, 4, b"4")]);
    assert_eq!((pair.departures.len(), pair.machine.state()), (1, State::Awake));
}
