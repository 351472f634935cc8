//! Messages from the client.

use std::time::Duration;

use thingway_contract::{Instant, Property, PublishOutcome, Qos, Request, Token, TopicError, TopicLimits};
use thingway_mqtt::{
    Config, MqttFault, PacketError, PropertyBlock, PropertyId, Reason, Value, Version,
    packet::{Ack, Packet, PacketType, Publish},
};

use crate::support::*;

fn connected_with(version: Version, config: Config) -> Pair {
    Pair::connected_with(version, config, &Opening::default())
}

#[test]
fn qos_0_is_published_without_an_answer() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        pair.publish(Qos::AtMostOnce, 0, "a/b", b"hello");
        let Some(Request::Publish { token, message, .. }) = pair.request() else { panic!("a publication") };
        assert_eq!(token, Token::NONE);
        assert_eq!((message.topic(), message.payload()), ("a/b", &b"hello"[..]));
        assert_eq!(message.head().publisher, PUBLISHER);
        assert_eq!(message.head().received_at, pair.now);
        assert_eq!(message.head().expires_at, Instant::NEVER);
        pair.expect_nothing();
    }
}

/// [MQTT-4.3.2-4], [MQTT-3.3.4-1]; in 3.1.1 [MQTT-4.3.2-2], [MQTT-3.3.4-1].
#[test]
fn qos_1_is_acknowledged_after_the_gateway_took_it() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        pair.publish(Qos::AtLeastOnce, 7, "t", b"x");
        pair.expect_nothing();
        let message = pair.answer_publish(PublishOutcome::Accepted);
        assert_eq!(message.head().qos, Qos::AtLeastOnce);
        pair.expect(&Packet::Puback(Ack::success(7)));
    }
}

/// [MQTT-4.3.2-5]: after PUBACK the same identifier is a new message, DUP or not.
#[test]
fn qos_1_may_be_published_twice() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        for duplicate in [false, true] {
            pair.publish_with(duplicate, Qos::AtLeastOnce, 7, "t", b"x", &[]);
            pair.expect(&Packet::Puback(Ack::success(7)));
        }
        assert_eq!(pair.published.len(), 2);
    }
}

/// [MQTT-4.3.3-8], [MQTT-4.3.3-9], [MQTT-4.3.3-11]; in 3.1.1 [MQTT-4.3.3-2].
#[test]
fn qos_2_is_received_released_and_complete() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        pair.publish(Qos::ExactlyOnce, 7, "t", b"x");
        pair.expect_nothing();
        pair.answer_publish(PublishOutcome::Accepted);
        pair.expect(&Packet::Pubrec(Ack::success(7)));
        pair.pubrel(7);
        pair.expect(&Packet::Pubcomp(Ack::success(7)));
        assert_eq!(pair.requests_len(), 0);
    }
}

/// [MQTT-4.3.3-10], [MQTT-4.3.3-11], [MQTT-4.3.3-12]; in 3.1.1 [MQTT-4.3.3-2].
#[test]
fn qos_2_is_published_once_however_often_it_comes() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        for duplicate in [false, true, true, false] {
            pair.publish_with(duplicate, Qos::ExactlyOnce, 7, "t", b"x", &[]);
            pair.expect(&Packet::Pubrec(Ack::success(7)));
        }
        assert_eq!(pair.published.len(), 1);
        pair.pubrel(7);
        pair.expect(&Packet::Pubcomp(Ack::success(7)));
        // Afterwards the identifier is free for a new message.
        pair.publish(Qos::ExactlyOnce, 7, "t", b"y");
        assert_eq!(pair.published.len(), 2);
    }
}

#[test]
fn a_repetition_before_the_gateways_answer_gets_one_answer() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        pair.publish(Qos::ExactlyOnce, 7, "t", b"x");
        pair.publish_with(true, Qos::ExactlyOnce, 7, "t", b"x", &[]);
        assert_eq!(pair.requests_len(), 1);
        pair.answer_publish(PublishOutcome::Accepted);
        pair.expect(&Packet::Pubrec(Ack::success(7)));
        pair.expect_nothing();
    }
}

#[test]
fn a_release_before_the_gateways_answer_is_a_protocol_error() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        pair.publish(Qos::ExactlyOnce, 7, "t", b"x");
        pair.pubrel(7);
        pair.expect_end(&MqttFault::AckOutOfOrder(PacketType::Pubrel), Reason::ProtocolError);
    }
}

/// Section 3.7.2.1; before 5.0 there is no reason to give.
#[test]
fn an_unknown_release_is_completed() {
    let mut pair = Pair::connected(Version::V5);
    pair.pubrel(9);
    pair.expect_ack(PacketType::Pubcomp, 9, Reason::PacketIdentifierNotFound);
    let mut pair = Pair::connected(Version::V311);
    pair.pubrel(9);
    pair.expect(&Packet::Pubcomp(Ack::success(9)));
    pair.pubrel(9);
    pair.expect(&Packet::Pubcomp(Ack::success(9)));
}

/// [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-2.2.1-5]; in 3.1.1 [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-2.3.1-6]: answers in
/// the order of the messages.
#[test]
fn answers_keep_the_order_of_the_messages() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        for (qos, id) in [(Qos::AtLeastOnce, 3), (Qos::ExactlyOnce, 1), (Qos::AtLeastOnce, 2), (Qos::ExactlyOnce, 4)] {
            pair.publish(qos, id, "t", b"");
        }
        for _ in 0..4 {
            pair.answer_publish(PublishOutcome::Accepted);
        }
        pair.expect(&Packet::Puback(Ack::success(3)));
        pair.expect(&Packet::Pubrec(Ack::success(1)));
        pair.expect(&Packet::Puback(Ack::success(2)));
        pair.expect(&Packet::Pubrec(Ack::success(4)));
        pair.pubrel(4);
        pair.pubrel(1);
        pair.expect(&Packet::Pubcomp(Ack::success(4)));
        pair.expect(&Packet::Pubcomp(Ack::success(1)));
    }
}

fn failing_ack(pair: &mut Pair, qos: Qos, id: u16, reason: Reason) {
    let bytes = pair.next_packet();
    let ack = match decode(Version::V5, &bytes) {
        Packet::Puback(ack) if qos == Qos::AtLeastOnce => ack,
        Packet::Pubrec(ack) if qos == Qos::ExactlyOnce => ack,
        other => panic!("{other:?}"),
    };
    assert_eq!((ack.packet_id, ack.reason), (id, reason));
    assert_eq!(ack.properties.has(PropertyId::ReasonString), reason.is_failure());
}

/// [MQTT-3.4.2-1], [MQTT-3.5.2-1]
#[test]
fn each_outcome_has_its_reason_code() {
    for (outcome, reason) in [
        (PublishOutcome::Accepted, Reason::Success),
        (PublishOutcome::NoSubscribers, Reason::NoMatchingSubscribers),
        (PublishOutcome::NotAuthorized, Reason::NotAuthorized),
        (PublishOutcome::QuotaExceeded, Reason::QuotaExceeded),
        (PublishOutcome::TopicInvalid, Reason::TopicNameInvalid),
        (PublishOutcome::Failed, Reason::ImplementationSpecificError),
    ] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut pair = Pair::connected(Version::V5);
            pair.outcome = outcome;
            pair.publish(qos, 7, "t", b"x");
            failing_ack(&mut pair, qos, 7, reason);
            assert!(!pair.closed);
        }
    }
}

/// [MQTT-4.3.3-9]: PUBREC with a failure ends the exchange, so the identifier may be used for a new message.
#[test]
fn a_refused_qos_2_message_leaves_nothing_behind() {
    let mut pair = connected_with(Version::V5, Config { receive_maximum: 1, ..Config::default() });
    pair.outcome = PublishOutcome::QuotaExceeded;
    for _ in 0..3 {
        pair.publish(Qos::ExactlyOnce, 7, "t", b"x");
        failing_ack(&mut pair, Qos::ExactlyOnce, 7, Reason::QuotaExceeded);
    }
    assert_eq!(pair.published.len(), 3);
    pair.pubrel(7);
    pair.expect_ack(PacketType::Pubcomp, 7, Reason::PacketIdentifierNotFound);
    assert!(pair.depart().parked.is_empty());
}

/// In 3.1.1 [MQTT-3.3.5-2]: a message that is not allowed is acknowledged as if it were.
#[test]
fn before_5_an_unauthorized_message_is_acknowledged_and_gone() {
    for version in [Version::V31, Version::V311] {
        let mut pair = Pair::connected(version);
        pair.outcome = PublishOutcome::NotAuthorized;
        pair.publish(Qos::AtLeastOnce, 7, "t", b"x");
        pair.expect(&Packet::Puback(Ack::success(7)));
        pair.publish(Qos::ExactlyOnce, 8, "t", b"x");
        pair.expect(&Packet::Pubrec(Ack::success(8)));
        pair.pubrel(8);
        pair.expect(&Packet::Pubcomp(Ack::success(8)));
    }
}

#[test]
fn before_5_a_failed_message_is_never_acknowledged() {
    for outcome in [PublishOutcome::QuotaExceeded, PublishOutcome::Failed, PublishOutcome::TopicInvalid] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut pair = Pair::connected(Version::V311);
            pair.outcome = outcome;
            pair.publish(qos, 7, "t", b"x");
            assert_eq!(pair.fault, Some(MqttFault::PublishFailed(outcome)));
            assert!(pair.closed);
            pair.expect_nothing();
        }
    }
}

/// [MQTT-3.2.2-14]
#[test]
fn retain_where_it_is_not_served_ends_the_connection() {
    for version in BOTH {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let config = Config { retain_available: false, ..Config::default() };
            let mut pair = connected_with(version, config);
            let packet_id = u16::from(qos.is_acknowledged());
            let publish = Publish { retain: true, ..plain(qos, packet_id, "t", b"") };
            pair.send(&Packet::Publish(publish));
            pair.expect_end(&MqttFault::RetainNotSupported, Reason::RetainNotSupported);
            assert!(pair.published.is_empty());
        }
    }
}

#[test]
fn the_gateway_too_may_find_that_retain_is_not_served() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut pair = Pair::connected(Version::V5);
        pair.outcome = PublishOutcome::RetainNotSupported;
        let packet_id = u16::from(qos.is_acknowledged());
        pair.send(&Packet::Publish(Publish { retain: true, ..plain(qos, packet_id, "t", b"") }));
        pair.expect_end(&MqttFault::RetainNotSupported, Reason::RetainNotSupported);
    }
}

#[test]
fn retain_is_passed_on() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        pair.send(&Packet::Publish(Publish { retain: true, ..plain(Qos::AtMostOnce, 0, "t", b"x") }));
        assert!(pair.published[0].head().retain);
    }
}

/// [MQTT-3.2.2-11]
#[test]
fn a_quality_of_service_above_the_maximum_ends_the_connection() {
    for version in BOTH {
        let mut pair = connected_with(version, Config { qos_max: Qos::AtLeastOnce, ..Config::default() });
        pair.publish(Qos::AtLeastOnce, 1, "t", b"");
        pair.expect(&Packet::Puback(Ack::success(1)));
        pair.publish(Qos::ExactlyOnce, 2, "t", b"");
        pair.expect_end(&MqttFault::QosNotSupported, Reason::QosNotSupported);
    }
}

/// [MQTT-3.3.4-7]
#[test]
fn more_than_the_receive_maximum_ends_the_connection() {
    let config = Config { receive_maximum: 2, ..Config::default() };
    let mut pair = connected_with(Version::V5, config.clone());
    for id in 1..=2 {
        pair.publish(Qos::ExactlyOnce, id, "t", b"");
        pair.expect(&Packet::Pubrec(Ack::success(id)));
    }
    // QoS 0 and repetitions do not count.
    pair.publish(Qos::AtMostOnce, 0, "t", b"");
    pair.publish_with(true, Qos::ExactlyOnce, 2, "t", b"", &[]);
    pair.expect(&Packet::Pubrec(Ack::success(2)));
    pair.pubrel(1);
    pair.expect(&Packet::Pubcomp(Ack::success(1)));
    pair.publish(Qos::AtLeastOnce, 3, "t", b"");
    pair.expect(&Packet::Puback(Ack::success(3)));
    pair.publish(Qos::ExactlyOnce, 4, "t", b"");
    pair.expect(&Packet::Pubrec(Ack::success(4)));
    pair.publish(Qos::AtLeastOnce, 5, "t", b"");
    pair.expect_end(&MqttFault::ReceiveMaximumExceeded, Reason::ReceiveMaximumExceeded);

    let mut pair = connected_with(Version::V5, config);
    pair.automatic = false;
    for id in 1..=3 {
        pair.publish(Qos::AtLeastOnce, id, "t", b"");
    }
    pair.expect_end(&MqttFault::ReceiveMaximumExceeded, Reason::ReceiveMaximumExceeded);
}

#[test]
fn before_5_reading_pauses_instead() {
    let mut pair = connected_with(Version::V311, Config { receive_maximum: 2, ..Config::default() });
    pair.automatic = false;
    for id in 1..=5 {
        pair.publish(Qos::AtLeastOnce, id, "t", b"");
    }
    assert_eq!(pair.requests_len(), 2);
    pair.answer_publish(PublishOutcome::Accepted);
    assert_eq!(pair.requests_len(), 2);
    for _ in 0..4 {
        pair.answer_publish(PublishOutcome::Accepted);
    }
    for id in 1..=5 {
        pair.expect(&Packet::Puback(Ack::success(id)));
    }
}

#[test]
fn a_turn_ends_after_256_requests() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            Packet::Publish(plain(Qos::AtMostOnce, 0, "t", b"x")).encode(version, &mut bytes).expect("fits");
        }
        pair.automatic = false;
        let most = pair.largest_turn(&bytes);
        assert_eq!(most, 256);
    }
}

/// [MQTT-3.3.2-1], [MQTT-3.3.2-2], [MQTT-4.7.3-2]
#[test]
fn a_topic_that_is_none_ends_the_connection() {
    for version in BOTH {
        for (topic, error, reason) in [
            ("a/+", TopicError::WildcardInName, Reason::TopicNameInvalid),
            ("#", TopicError::WildcardInName, Reason::TopicNameInvalid),
            ("a\0", TopicError::Nul, Reason::MalformedPacket),
        ] {
            let mut pair = Pair::connected(version);
            pair.publish(Qos::AtLeastOnce, 1, topic, b"");
            pair.expect_end(&MqttFault::Packet(PacketError::Topic(error)), reason);
        }
        let mut pair = Pair::connected(version);
        pair.publish(Qos::AtMostOnce, 0, "", b"");
        pair.expect_end(&MqttFault::Packet(PacketError::NoTopic), Reason::ProtocolError);
    }
}

#[test]
fn a_topic_beyond_the_limits_is_refused_alone_where_that_can_be_said() {
    let config = Config { topic_limits: TopicLimits { bytes_max: 8, levels_max: 2 }, ..Config::default() };
    for (topic, error) in [("a/b/c", TopicError::TooManyLevels), ("123456789", TopicError::TooLong)] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut pair = connected_with(Version::V5, config.clone());
            pair.publish(qos, 1, topic, b"");
            failing_ack(&mut pair, qos, 1, Reason::TopicNameInvalid);
            assert!(pair.published.is_empty() && !pair.closed);
        }
        for (version, qos) in [(Version::V5, Qos::AtMostOnce), (Version::V311, Qos::AtLeastOnce)] {
            let mut pair = connected_with(version, config.clone());
            pair.publish(qos, u16::from(qos.is_acknowledged()), topic, b"");
            pair.expect_end(&MqttFault::TopicBeyondLimits(error), Reason::TopicNameInvalid);
        }
    }
}

/// Section 3.3.2.3.2.
#[test]
fn a_payload_that_is_not_the_text_it_claims_is_refused() {
    let utf8: Extras<'_> = &[(PropertyId::PayloadFormatIndicator, Value::Byte(1))];
    let bytes: Extras<'_> = &[(PropertyId::PayloadFormatIndicator, Value::Byte(0))];
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut pair = Pair::connected(Version::V5);
        pair.publish_with(false, qos, 1, "t", b"\xff", utf8);
        failing_ack(&mut pair, qos, 1, Reason::PayloadFormatInvalid);
        pair.publish_with(false, qos, 1, "t", "ä".as_bytes(), utf8);
        pair.publish_with(false, Qos::AtMostOnce, 0, "t", b"\xff", bytes);
        assert_eq!(pair.published.len(), 2);
    }
    let mut pair = Pair::connected(Version::V5);
    pair.publish_with(false, Qos::AtMostOnce, 0, "t", b"\xff", utf8);
    pair.expect_end(&MqttFault::PayloadFormat, Reason::PayloadFormatInvalid);
    let mut pair = connected_with(Version::V5, Config { payload_format_checked: false, ..Config::default() });
    pair.publish_with(false, Qos::AtMostOnce, 0, "t", b"\xff", utf8);
    assert_eq!(pair.published.len(), 1);
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]: passed on
/// unchanged and in order.
#[test]
fn properties_are_passed_on_but_not_those_of_the_connection() {
    let all: Extras<'_> = &[
        (PropertyId::UserProperty, Value::Pair("a", "1")),
        (PropertyId::MessageExpiryInterval, Value::Four(60)),
        (PropertyId::PayloadFormatIndicator, Value::Byte(1)),
        (PropertyId::ContentType, Value::Text("text/plain")),
        (PropertyId::TopicAlias, Value::Two(3)),
        (PropertyId::UserProperty, Value::Pair("a", "2")),
        (PropertyId::ResponseTopic, Value::Text("re/ply")),
        (PropertyId::CorrelationData, Value::Bytes(&[0, 255])),
    ];
    let expected = [
        Property::UserProperty("a", "1"),
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::UserProperty("a", "2"),
        Property::ResponseTopic("re/ply"),
        Property::CorrelationData(&[0, 255]),
    ];
    let verbatim: Vec<_> = all
        .iter()
        .copied()
        .filter(|(id, _)| !matches!(id, PropertyId::MessageExpiryInterval | PropertyId::TopicAlias))
        .collect();
    for (qos, id) in [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 9), (Qos::ExactlyOnce, 9)] {
        let mut pair = Pair::connected(Version::V5);
        pair.publish_with(false, qos, id, "to/pic", b"payload", all);
        pair.publish_with(false, qos, id.saturating_mul(2), "to/pic", b"payload", &verbatim);
        for (message, expires_at) in pair.published.iter().zip([pair.now + Duration::from_secs(60), Instant::NEVER]) {
            assert_eq!((message.topic(), message.payload()), ("to/pic", &b"payload"[..]));
            assert_eq!(message.properties().iter().collect::<Vec<_>>(), expected);
            assert_eq!(message.head().expires_at, expires_at);
        }
    }
}

/// [MQTT-3.3.4-6]
#[test]
fn a_client_sends_no_subscription_identifier() {
    let mut pair = Pair::connected(Version::V5);
    let extras: Extras<'_> = &[(PropertyId::SubscriptionIdentifier, Value::Variable(1))];
    pair.publish_with(false, Qos::AtMostOnce, 0, "t", b"", extras);
    pair.expect_end(&MqttFault::Packet(PacketError::PropertyMisplaced(0x0b)), Reason::ProtocolError);
}

/// Section 3.4.2.1: 0x91.
#[test]
fn an_identifier_in_use_is_refused_for_another_message() {
    let mut pair = Pair::connected(Version::V5);
    pair.publish(Qos::ExactlyOnce, 7, "t", b"");
    pair.expect(&Packet::Pubrec(Ack::success(7)));
    pair.publish(Qos::AtLeastOnce, 7, "t", b"");
    failing_ack(&mut pair, Qos::AtLeastOnce, 7, Reason::PacketIdentifierInUse);
}

/// [MQTT-3.1.2-29]: no reason strings when the client does not want them, and [MQTT-3.4.2-2], [MQTT-3.5.2-2] when they
/// do not fit.
#[test]
fn reason_strings_are_left_out_where_unwanted_or_too_long() {
    let unwanted: Extras<'_> = &[(PropertyId::RequestProblemInformation, Value::Byte(0))];
    let small: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(20))];
    for (properties, config) in [
        (unwanted, Config::default()),
        (small, Config { receive_maximum: u16::MAX, packet_bytes_max: u32::MAX, ..Config::default() }),
        (&[], Config { reason_strings: false, ..Config::default() }),
    ] {
        let mut pair = Pair::connected_with(Version::V5, config, &Opening { properties, ..Opening::default() });
        pair.outcome = PublishOutcome::Failed;
        pair.publish(Qos::AtLeastOnce, 7, "t", b"");
        pair.expect(&Packet::Puback(Ack::new(7, Reason::ImplementationSpecificError)));
        pair.publish(Qos::ExactlyOnce, 8, "t", b"");
        let pubrec =
            Ack { packet_id: 8, reason: Reason::ImplementationSpecificError, properties: PropertyBlock::EMPTY };
        pair.expect(&Packet::Pubrec(pubrec));
    }
}

#[test]
fn a_packet_beyond_the_limit_is_refused_by_its_header() {
    for version in BOTH {
        let mut pair = connected_with(version, Config { packet_bytes_max: 100, ..Config::default() });
        pair.send_bytes(&[0x30, 99]);
        pair.expect_end(&MqttFault::Packet(PacketError::TooLarge), Reason::PacketTooLarge);
        // Exactly the limit is fine.
        let mut pair = connected_with(version, Config { packet_bytes_max: 100, ..Config::default() });
        let overhead = if version == Version::V5 { 6 } else { 5 };
        pair.publish(Qos::AtMostOnce, 0, "t", &vec![0; 100 - overhead]);
        assert_eq!(pair.published.len(), 1);
    }
}

#[test]
fn packets_may_come_in_any_pieces() {
    for version in BOTH {
        let mut bytes = Vec::new();
        for (qos, id) in [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 1), (Qos::ExactlyOnce, 2)] {
            Packet::Publish(plain(qos, id, "a/b", &[7; 200])).encode(version, &mut bytes).expect("fits");
        }
        for piece in [1, 2, 3, 7, 100, 1000] {
            let mut pair = Pair::connected(version);
            for part in bytes.chunks(piece) {
                pair.send_bytes(part);
            }
            assert_eq!(pair.published.len(), 3);
            pair.expect(&Packet::Puback(Ack::success(1)));
            pair.expect(&Packet::Pubrec(Ack::success(2)));
        }
    }
}

#[test]
fn a_partial_packet_announces_its_length() {
    let mut pair = Pair::connected(Version::V311);
    let mut bytes = Vec::new();
    Packet::Pingreq.encode(Version::V311, &mut bytes).expect("fits");
    Packet::Publish(plain(Qos::AtMostOnce, 0, "a", &[0; 300])).encode(Version::V311, &mut bytes).expect("fits");
    assert_eq!(pair.wanted(&bytes[..50]), (2, bytes.len() - 2));
    assert_eq!(pair.wanted(&bytes[2..4]), (0, 0));
}

#[test]
fn packets_are_counted_by_type() {
    let mut pair = Pair::connected(Version::V5);
    pair.publish(Qos::AtLeastOnce, 1, "t", b"");
    pair.send(&Packet::Pingreq);
    let counts = pair.counts();
    let count = |kind: PacketType| counts[kind as usize];
    assert_eq!(count(PacketType::Connect), (1, 0));
    assert_eq!(count(PacketType::Connack), (0, 1));
    assert_eq!(count(PacketType::Publish), (1, 0));
    assert_eq!(count(PacketType::Puback), (0, 1));
    assert_eq!(count(PacketType::Pingreq), (1, 0));
    assert_eq!(count(PacketType::Pingresp), (0, 1));
}

#[test]
fn what_only_a_server_sends_is_a_protocol_error() {
    for version in BOTH {
        for (bytes, kind) in [
            (&[0x20, 2, 0, 0][..], PacketType::Connack),
            (&[0x90, 3, 0, 1, 0], PacketType::Suback),
            (&[0xb0, 2, 0, 1], PacketType::Unsuback),
            (&[0xd0, 0], PacketType::Pingresp),
        ] {
            let mut pair = Pair::connected(version);
            pair.send_bytes(bytes);
            pair.expect_end(&MqttFault::Unexpected(kind), Reason::ProtocolError);
        }
    }
}

/// [MQTT-4.13.1-1], [MQTT-4.8.0-1] of 3.1.1: what cannot be read ends the connection.
#[test]
fn malformed_packets_end_the_connection() {
    for version in BOTH {
        for (bytes, error, reason) in [
            (&[0x36, 5, 0, 1, b't', 0, 1][..], PacketError::QosInvalid, Reason::MalformedPacket),
            (&[0x38, 4, 0, 1, b't', 0], PacketError::DuplicateAtQos0, Reason::MalformedPacket),
            (&[0x32, 6, 0, 1, b't', 0, 0, 0], PacketError::PacketIdZero, Reason::ProtocolError),
            (&[0x41, 2, 0, 1], PacketError::FixedHeaderFlags, Reason::MalformedPacket),
            (&[0x00], PacketError::ReservedType, Reason::MalformedPacket),
            (&[0x30, 0xff, 0xff, 0xff, 0xff], PacketError::IntegerTooLong, Reason::MalformedPacket),
            (&[0xc0, 1, 0], PacketError::TrailingBytes, Reason::MalformedPacket),
            (&[0x30, 4, 0, 1, 0xff, 0], PacketError::NotUtf8, Reason::MalformedPacket),
        ] {
            let mut pair = Pair::connected(version);
            pair.send_bytes(bytes);
            pair.expect_end(&MqttFault::Packet(error), reason);
        }
    }
}

/// [MQTT-3.12.4-1]
#[test]
fn pings_are_answered() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.send(&Packet::Pingreq);
        pair.expect(&Packet::Pingresp);
    }
}
