//! Answers of the gateway that come turns later, with other packets in between.

use std::time::Duration;

use thingway_contract::{Parked, PublishOutcome, Qos, Reply};
use thingway_mqtt::{
    Config, MqttFault, PropertyId, Reason, Value, Version,
    packet::{Ack, Packet, PacketType, Publish},
};

use crate::support::*;

/// A client, and a gateway that answers when it is told to.
fn patient(version: Version, config: Config) -> Pair {
    let mut pair = Pair::connected_with(version, config, &Opening::default());
    pair.automatic = false;
    pair
}

const NO_TEXT: (&[u8], Extras<'_>) = (b"\xff", &[(PropertyId::PayloadFormatIndicator, Value::Byte(1))]);

fn publish_no_text(pair: &mut Pair, qos: Qos, id: u16) {
    pair.publish_with(false, qos, id, "t", NO_TEXT.0, NO_TEXT.1);
}

#[test]
fn everything_else_goes_on_while_answers_are_missing() {
    for version in Version::ALL {
        let mut pair = patient(version, Config::default());
        pair.publish(Qos::AtLeastOnce, 1, "t", b"");
        pair.subscribe(2, &[("a", options(Qos::AtLeastOnce))], &[]);
        pair.publish(Qos::ExactlyOnce, 3, "t", b"");
        pair.unsubscribe(4, &["a"]);
        pair.expect_nothing();
        pair.send(&Packet::Pingreq);
        pair.expect(&Packet::Pingresp);
        pair.deliver_now(delivery(Qos::ExactlyOnce, "t", b"x"));
        pair.expect(&Packet::Publish(plain(Qos::ExactlyOnce, 1, "t", b"x")));
        pair.pubrec(1);
        pair.expect(&Packet::Pubrel(Ack::success(1)));
        pair.answer();
        pair.expect(&Packet::Puback(Ack::success(1)));
        pair.pubcomp(1);
        pair.answer();
        assert_eq!(suback_of(version, &pair.next_packet()).packet_id, 2);
        // Repeated before its answer.
        pair.publish_with(true, Qos::ExactlyOnce, 3, "t", b"", &[]);
        pair.answer();
        pair.expect(&Packet::Pubrec(Ack::success(3)));
        pair.pubrel(3);
        pair.expect(&Packet::Pubcomp(Ack::success(3)));
        pair.publish(Qos::ExactlyOnce, 3, "t", b"");
        pair.answer();
        assert_eq!(unsuback_of(version, &pair.next_packet()).packet_id, 4);
        pair.expect_nothing();
        pair.answer();
        pair.expect(&Packet::Pubrec(Ack::success(3)));
        assert_eq!(pair.published.len(), 3);
    }
}

/// [MQTT-4.6.0-2], [MQTT-4.6.0-3]: a message that is refused without asking waits for those before it.
#[test]
fn refusals_do_not_overtake() {
    for (qos, kind) in [(Qos::AtLeastOnce, PacketType::Puback), (Qos::ExactlyOnce, PacketType::Pubrec)] {
        let mut config = Config::default();
        config.topic_limits.levels_max = 2;
        let mut pair = patient(Version::V5, config);
        publish_no_text(&mut pair, qos, 1);
        pair.expect_ack(kind, 1, Reason::PayloadFormatInvalid);
        pair.publish(qos, 2, "t", b"");
        publish_no_text(&mut pair, qos, 3);
        pair.publish(qos, 4, "a/b/c", b"");
        pair.publish(qos, 5, "t", b"");
        publish_no_text(&mut pair, qos, 6);
        pair.expect_nothing();
        pair.answer();
        pair.expect_ack(kind, 2, Reason::Success);
        pair.expect_ack(kind, 3, Reason::PayloadFormatInvalid);
        pair.expect_ack(kind, 4, Reason::TopicNameInvalid);
        pair.expect_nothing();
        pair.answer();
        pair.expect_ack(kind, 5, Reason::Success);
        pair.expect_ack(kind, 6, Reason::PayloadFormatInvalid);
        pair.expect_nothing();
        publish_no_text(&mut pair, qos, 7);
        pair.expect_ack(kind, 7, Reason::PayloadFormatInvalid);
    }
}

/// [MQTT-4.6.0-2]
#[test]
fn an_identifier_in_use_is_refused_in_its_turn() {
    let mut pair = patient(Version::V5, Config::default());
    pair.publish(Qos::ExactlyOnce, 7, "t", b"");
    pair.publish(Qos::AtLeastOnce, 8, "t", b"");
    pair.publish(Qos::AtLeastOnce, 7, "t", b"");
    pair.answer();
    pair.expect(&Packet::Pubrec(Ack::success(7)));
    pair.expect_nothing();
    pair.answer();
    pair.expect(&Packet::Puback(Ack::success(8)));
    pair.expect_ack(PacketType::Puback, 7, Reason::PacketIdentifierInUse);
}

/// [MQTT-3.3.4-7]: a refusal that waits is not said, so the message counts.
#[test]
fn refusals_that_wait_count_for_the_receive_maximum() {
    let config = Config { receive_maximum: 3, ..Config::default() };
    let mut pair = patient(Version::V5, config);
    for _ in 0..3 {
        pair.publish(Qos::AtLeastOnce, 1, "t", b"");
        publish_no_text(&mut pair, Qos::AtLeastOnce, 2);
        publish_no_text(&mut pair, Qos::ExactlyOnce, 3);
        pair.answer();
        pair.expect_ack(PacketType::Puback, 1, Reason::Success);
        pair.expect_ack(PacketType::Puback, 2, Reason::PayloadFormatInvalid);
        pair.expect_ack(PacketType::Pubrec, 3, Reason::PayloadFormatInvalid);
    }
    pair.publish(Qos::AtLeastOnce, 1, "t", b"");
    publish_no_text(&mut pair, Qos::AtLeastOnce, 2);
    publish_no_text(&mut pair, Qos::AtLeastOnce, 3);
    publish_no_text(&mut pair, Qos::AtLeastOnce, 4);
    pair.expect_end(&MqttFault::ReceiveMaximumExceeded, Reason::ReceiveMaximumExceeded);
}

/// [MQTT-4.6.0-3]: after a reconnect the client repeats in its order, and a message that never arrived may be among those
/// that did.
#[test]
fn repetitions_do_not_overtake() {
    for version in Version::ALL {
        let parked = Parked { inbound: vec![2], next_packet_id: 1, ..Parked::default() };
        let mut pair = Pair::resumed(version, parked);
        pair.automatic = false;
        for id in [1, 2, 2, 3, 2] {
            pair.publish_with(true, Qos::ExactlyOnce, id, "t", b"", &[]);
        }
        pair.expect_nothing();
        assert_eq!(pair.requests_len(), 2);
        pair.answer();
        pair.expect(&Packet::Pubrec(Ack::success(1)));
        pair.expect(&Packet::Pubrec(Ack::success(2)));
        pair.expect_nothing();
        // Said again, it waits again.
        pair.publish_with(true, Qos::ExactlyOnce, 2, "t", b"", &[]);
        pair.answer();
        pair.expect(&Packet::Pubrec(Ack::success(3)));
        pair.expect(&Packet::Pubrec(Ack::success(2)));
        pair.expect_nothing();
    }
}

/// A PUBREC that comes after PUBCOMP would be taken for one of the next message with the same identifier.
#[test]
fn a_repetition_that_is_released_meanwhile_is_not_acknowledged() {
    for version in Version::ALL {
        for session_kept in [false, true] {
            let parked = Parked { inbound: vec![2], next_packet_id: 1, ..Parked::default() };
            let opening = Opening { clean_start: false, ..Opening::default() };
            let mut pair = Pair::granted_with(version, Config::default(), &opening, Some(parked), session_kept);
            pair.automatic = false;
            pair.publish(Qos::AtLeastOnce, 1, "t", b"");
            pair.publish_with(true, Qos::ExactlyOnce, 2, "t", b"", &[]);
            pair.pubrel(2);
            if session_kept {
                pair.answer();
                pair.expect(&Packet::Puback(Ack::success(1)));
                pair.answer();
                pair.expect(&Packet::Pubcomp(Ack::success(2)));
            } else {
                pair.expect(&Packet::Pubcomp(Ack::success(2)));
                pair.publish(Qos::ExactlyOnce, 2, "t", b"new");
                pair.answer();
                pair.expect(&Packet::Puback(Ack::success(1)));
                pair.expect_nothing();
                pair.answer();
                pair.expect(&Packet::Pubrec(Ack::success(2)));
            }
            pair.expect_nothing();
        }
    }
}

/// Section 4.3.3: what the gateway did not take is not left behind as received, or the client's next try would be
/// acknowledged and lost.
#[test]
fn a_failure_that_ends_the_connection_leaves_the_message_to_the_client() {
    for (version, outcome) in [
        (Version::V311, PublishOutcome::QuotaExceeded),
        (Version::V311, PublishOutcome::Failed),
        (Version::V311, PublishOutcome::RetainNotSupported),
        (Version::V5, PublishOutcome::RetainNotSupported),
    ] {
        let mut pair = patient(version, Config::default());
        pair.publish(Qos::ExactlyOnce, 6, "t", b"");
        pair.answer();
        pair.publish(Qos::ExactlyOnce, 7, "t", b"");
        pair.outcome = outcome;
        pair.answer();
        assert!(pair.fault.is_some());
        assert_eq!(pair.depart().parked.inbound, [6]);
    }
}

/// Answers that come after the goodbye are not said, but what they tell is left.
#[test]
fn answers_after_the_goodbye_are_taken_into_account() {
    for version in Version::ALL {
        for session_kept in [false, true] {
            let opening = Opening { clean_start: false, ..Opening::default() };
            let mut pair = Pair::granted_with(version, Config::default(), &opening, None, session_kept);
            pair.automatic = false;
            pair.publish(Qos::AtLeastOnce, 5, "t", b"");
            for id in [6, 7, 8] {
                pair.publish(Qos::ExactlyOnce, id, "t", b"");
            }
            pair.subscribe(9, &[("a", options(Qos::AtMostOnce))], &[]);
            pair.disconnect(Reason::Success, &[]);
            assert!(pair.closed);
            pair.answer();
            pair.answer();
            pair.outcome = PublishOutcome::QuotaExceeded;
            pair.answer();
            pair.expect_nothing();
            assert!(pair.fault.is_none());
            let inbound = pair.depart().parked.inbound;
            // Without an answer, it is known to the gateway that keeps it, and else counts as published.
            assert_eq!(inbound, if session_kept { vec![6] } else { vec![6, 8] });
            pair.answer();
            pair.answer();
            pair.expect_nothing();
        }
    }
}

/// Nothing that is refused or repeated is left behind either.
#[test]
fn what_waits_is_gone_with_the_connection() {
    let mut pair = patient(Version::V5, Config::default());
    pair.publish(Qos::AtLeastOnce, 1, "t", b"");
    publish_no_text(&mut pair, Qos::ExactlyOnce, 2);
    assert!(pair.depart().parked.is_empty());
    pair.answer();
    pair.expect_nothing();
}

#[test]
fn reading_pauses_when_too_many_answers_are_missing() {
    for (version, most) in [(Version::V311, 2), (Version::V5, 258)] {
        let mut pair = patient(version, Config { receive_maximum: 2, ..Config::default() });
        for _ in 0..most {
            pair.subscribe(1, &[("a", options(Qos::AtMostOnce))], &[]);
        }
        pair.send(&Packet::Pingreq);
        pair.subscribe(1, &[("a", options(Qos::AtMostOnce))], &[]);
        assert_eq!(pair.requests_len(), most);
        pair.expect_nothing();
        pair.answer();
        assert_eq!(suback_of(version, &pair.next_packet()).packet_id, 1);
        pair.expect(&Packet::Pingresp);
        pair.expect_nothing();
        assert_eq!(pair.requests_len(), most);
    }
}

/// A client that is not listened to is not to blame for its silence.
#[test]
fn the_keep_alive_begins_anew_when_reading_goes_on() {
    let behind = || {
        let opening = Opening { keep_alive_secs: 10, ..Opening::default() };
        let config = Config { receive_maximum: 1, ..Config::default() };
        let mut pair = Pair::connected_with(Version::V311, config, &opening);
        pair.automatic = false;
        pair.publish(Qos::AtLeastOnce, 1, "t", b"");
        pair.wait(Duration::from_secs(14));
        pair
    };
    let mut pair = behind();
    pair.answer();
    pair.wait(Duration::from_secs(14));
    assert_eq!(pair.fault, None);
    pair.wait(Duration::from_secs(1));
    assert_eq!(pair.fault, Some(MqttFault::KeepAliveTimeout));
    let mut pair = behind();
    pair.wait(Duration::from_secs(1));
    assert_eq!(pair.fault, Some(MqttFault::DecisionTimeout));
    assert_eq!(MqttFault::DecisionTimeout.reason(), Reason::ServerUnavailable);
}

#[test]
fn a_long_row_of_answers_keeps_its_order() {
    let mut pair = patient(Version::V5, Config::default());
    for id in 1..=100 {
        if id % 3 == 0 {
            publish_no_text(&mut pair, Qos::AtLeastOnce, id);
        } else {
            pair.publish(Qos::AtLeastOnce, id, "t", b"");
        }
    }
    while pair.requests_len() > 0 {
        pair.answer();
    }
    for id in 1..=100 {
        let reason = if id % 3 == 0 { Reason::PayloadFormatInvalid } else { Reason::Success };
        pair.expect_ack(PacketType::Puback, id, reason);
    }
    pair.expect_nothing();
    // A retained message of QoS 0 has an answer, too.
    pair.send(&Packet::Publish(Publish { retain: true, ..plain(Qos::AtMostOnce, 0, "t", b"x") }));
    let Some(request) = pair.request() else { panic!("a publication") };
    let thingway_contract::Request::Publish { token, .. } = request else { panic!("{request:?}") };
    publish_no_text(&mut pair, Qos::AtLeastOnce, 1);
    pair.expect_nothing();
    pair.reply(Reply::Published { token, outcome: PublishOutcome::Accepted });
    pair.expect_ack(PacketType::Puback, 1, Reason::PayloadFormatInvalid);
}
