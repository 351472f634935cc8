use std::time::Duration;

use thingway_contract::{CloseReason, Qos, WillFate};
use thingway_mqtt_sn::{
    Config, MqttSnFault, Packet, ReturnCode,
    packet::{Connect, TopicRef},
};

use crate::support::*;

#[test]
fn section_6_12_goodbye_is_answered() {
    for (clean_session, will, expiry) in [(true, WillFate::Discard, Some(0)), (false, WillFate::Keep, None)] {
        let mut pair = Pair::connected(Config::default(), clean_session);
        pair.register("a/b");
        pair.send(&goodbye());
        pair.expect(&[goodbye()]);
        assert!(pair.closed);
        let departure = &pair.departures[0];
        assert_eq!((departure.will, departure.session_expiry_secs), (will, expiry));
        assert_eq!(departure.parked.topic_ids[0].name.as_ref(), "a/b");
    }
}

#[test]
fn section_6_11_a_silent_client_is_lost() {
    let mut pair = Pair::active();
    pair.pass(Duration::from_millis(89_999));
    assert!(!pair.closed);
    pair.pass(Duration::from_millis(1));
    pair.expect(&[goodbye()]);
    assert_eq!(pair.faults, [MqttSnFault::KeepAliveTimeout]);
    assert_eq!(pair.departures[0].will, WillFate::Publish);
}

#[test]
fn section_6_11_any_message_is_a_sign_of_life() {
    let mut pair = Pair::active();
    for _ in 0..5 {
        pair.pass_secs(80);
        pair.send(&publish(Qos::AtMostOnce, TopicRef::Short(*b"ab"), 0, b""));
    }
    assert!(!pair.closed);
}

#[test]
fn a_client_without_keep_alive_is_not_kept_for_ever() {
    for (silence_secs_max, closed) in [(100, true), (0, false)] {
        let mut pair = Pair::new(Config { silence_secs_max, ..Config::default() });
        pair.send(&Packet::Connect(Connect { will: false, clean_session: true, duration_secs: 0, client_id: "c" }));
        pair.pass_secs(99);
        assert!(!pair.closed);
        pair.pass_secs(10_000_000);
        assert_eq!(pair.closed, closed);
    }
}

#[test]
fn the_gateways_goodbye_is_told() {
    for (reason, will) in [
        (CloseReason::TakenOver, WillFate::Keep),
        (CloseReason::ShuttingDown, WillFate::Publish),
        (CloseReason::Administrative, WillFate::Publish),
    ] {
        let mut pair = Pair::connected(Config::default(), false);
        pair.close(&reason);
        pair.expect(&[goodbye()]);
        assert_eq!((pair.departures[0].will, pair.departures[0].session_expiry_secs), (will, None));
    }
    let mut pair = Pair::new(Config::default());
    pair.undecided = true;
    pair.connect(true);
    pair.close(&CloseReason::Busy);
    pair.expect(&[refused(ReturnCode::Congestion)]);
}
