//! Messages to the client.

use std::{sync::Arc, time::Duration};

use thingway_contract::{Delivered, Delivery, DropCause, MessageHead, Property, Qos, Rare};
use thingway_mqtt::{
    Config, MqttFault, PropertyId, Reason, Value, Version,
    packet::{Ack, Packet, PacketType, Publish},
};

use crate::support::*;

fn later(delivered: Delivered) -> Delivery {
    match delivered {
        Delivered::Later(delivery) => delivery,
        other => panic!("not put off: {other:?}"),
    }
}

fn dropped(delivered: &Delivered) -> DropCause {
    match delivered {
        Delivered::Dropped(cause) => *cause,
        other => panic!("not dropped: {other:?}"),
    }
}

/// [MQTT-4.3.1-1], [MQTT-2.2.1-2]
#[test]
fn qos_0_goes_out_with_its_parts() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.deliver_now(delivery(Qos::AtMostOnce, "a/b", b"hello"));
        pair.expect(&Packet::Publish(plain(Qos::AtMostOnce, 0, "a/b", b"hello")));
        pair.deliver_now(Delivery { retain: true, ..delivery(Qos::AtMostOnce, "a/b", b"") });
        pair.expect(&Packet::Publish(Publish { retain: true, ..plain(Qos::AtMostOnce, 0, "a/b", b"") }));
    }
}

/// [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.2-3], [MQTT-2.2.1-4]; in 3.1.1 [MQTT-4.3.2-1], [MQTT-2.3.1-4].
#[test]
fn qos_1_is_under_way_until_its_puback() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"1"));
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"2"));
        pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 1, "t", b"1")));
        pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 2, "t", b"2")));
        pair.puback(1);
        let parked = pair.depart().parked;
        assert_eq!(parked.outbound.iter().map(|entry| entry.packet_id).collect::<Vec<_>>(), [2]);
    }
}

/// [MQTT-4.3.3-1] to [MQTT-4.3.3-6]; in 3.1.1 [MQTT-4.3.3-1].
#[test]
fn qos_2_is_released_after_pubrec_and_over_after_pubcomp() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.deliver_now(delivery(Qos::ExactlyOnce, "t", b"x"));
        pair.expect(&Packet::Publish(plain(Qos::ExactlyOnce, 1, "t", b"x")));
        pair.pubrec(1);
        pair.expect(&Packet::Pubrel(Ack::success(1)));
        // PUBREC again, as if PUBREL had not arrived.
        pair.pubrec(1);
        pair.expect(&Packet::Pubrel(Ack::success(1)));
        pair.pubcomp(1);
        pair.expect_nothing();
        assert!(pair.depart().parked.is_empty());
    }
}

#[test]
fn stray_acknowledgements_do_no_harm() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        pair.puback(9);
        pair.pubcomp(9);
        pair.expect_nothing();
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b""));
        pair.next_packet();
        pair.puback(1);
        pair.puback(1);
        assert!(!pair.closed);
    }
}

/// Section 3.6.2.1; before 5.0 there is no reason to give.
#[test]
fn an_unknown_pubrec_gets_a_release() {
    let mut pair = Pair::connected(Version::V5);
    pair.pubrec(9);
    pair.expect_ack(PacketType::Pubrel, 9, Reason::PacketIdentifierNotFound);
    pair.send(&Packet::Pubrec(Ack::new(9, Reason::UnspecifiedError)));
    pair.expect_nothing();
    let mut pair = Pair::connected(Version::V311);
    pair.pubrec(9);
    pair.expect(&Packet::Pubrel(Ack::success(9)));
}

/// [MQTT-4.3.3-4], [MQTT-4.4.0-2], [MQTT-4.8.2-6]: a PUBREC or PUBACK with a failure ends the exchange.
#[test]
fn a_refused_message_is_over() {
    for reason in [Reason::UnspecifiedError, Reason::QuotaExceeded, Reason::PacketIdentifierInUse] {
        let properties: Extras<'_> = &[(PropertyId::ReceiveMaximum, Value::Two(1))];
        let opening = Opening { properties, ..Opening::default() };
        let mut pair = Pair::connected_with(Version::V5, Config::default(), &opening);
        pair.deliver_now(delivery(Qos::ExactlyOnce, "t", b""));
        pair.next_packet();
        pair.send(&Packet::Pubrec(Ack::new(1, reason)));
        pair.expect_nothing();
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b""));
        pair.next_packet();
        pair.send(&Packet::Puback(Ack::new(2, reason)));
        assert!(pair.depart().parked.is_empty());
    }
}

#[test]
fn acknowledgements_of_the_wrong_kind_are_protocol_errors() {
    for version in BOTH {
        for (qos, kind) in [
            (Qos::AtLeastOnce, PacketType::Pubrec),
            (Qos::AtLeastOnce, PacketType::Pubcomp),
            (Qos::ExactlyOnce, PacketType::Puback),
            (Qos::ExactlyOnce, PacketType::Pubcomp),
        ] {
            let mut pair = Pair::connected(version);
            pair.deliver_now(delivery(qos, "t", b""));
            pair.next_packet();
            match kind {
                PacketType::Puback => pair.puback(1),
                PacketType::Pubrec => pair.pubrec(1),
                _ => pair.pubcomp(1),
            }
            pair.expect_end(&MqttFault::AckOutOfOrder(kind), Reason::ProtocolError);
        }
    }
}

/// [MQTT-4.9.0-1], [MQTT-4.9.0-2], [MQTT-4.9.0-3], [MQTT-3.3.4-9], [MQTT-3.3.4-10]
#[test]
fn the_clients_receive_maximum_is_kept() {
    let properties: Extras<'_> = &[(PropertyId::ReceiveMaximum, Value::Two(2))];
    let opening = Opening { properties, ..Opening::default() };
    let mut pair = Pair::connected_with(Version::V5, Config::default(), &opening);
    pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"1"));
    pair.deliver_now(delivery(Qos::ExactlyOnce, "t", b"2"));
    let delivered = pair.deliver(delivery(Qos::AtLeastOnce, "t", b"3"));
    let waiting = later(delivered);
    assert_eq!(waiting.message.payload(), b"3");
    // QoS 0 is not held back.
    pair.deliver_now(delivery(Qos::AtMostOnce, "t", b"0"));
    // PUBREC alone frees nothing.
    pair.pubrec(2);
    let delivered = pair.deliver(waiting);
    let waiting = later(delivered);
    pair.pubcomp(2);
    pair.deliver_now(waiting);
    let delivered = pair.deliver(delivery(Qos::AtLeastOnce, "t", b"4"));
    later(delivered);
    pair.puback(1);
    pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"4"));
}

#[test]
fn the_configured_window_is_kept_in_every_version() {
    for version in Version::ALL {
        let config = Config { inflight_max: 3, ..Config::default() };
        let mut pair = Pair::connected_with(version, config, &Opening::default());
        for _ in 0..3 {
            pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b""));
        }
        let delivered = pair.deliver(delivery(Qos::AtLeastOnce, "t", b""));
        later(delivered);
        pair.puback(2);
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b""));
    }
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]
#[test]
fn the_expiry_interval_is_counted_down_and_then_the_message_is_dropped() {
    let mut pair = Pair::connected(Version::V5);
    let expires_at = pair.now + Duration::from_secs(10);
    let head = MessageHead { expires_at, ..MessageHead::default() };
    let message = message_with(head, "t", &[Property::ContentType("x")], b"x");
    for (wait_ms, left) in [(0, 10), (1, 10), (998, 10), (1, 9), (8000, 1), (999, 1)] {
        pair.advance(Duration::from_millis(wait_ms));
        pair.deliver_now(delivery_of(Qos::AtMostOnce, message.clone()));
        let bytes = pair.next_packet();
        let properties = publish_of(Version::V5, &bytes).properties;
        assert_eq!(properties.number(PropertyId::MessageExpiryInterval), Some(left));
        assert_eq!(properties.text(PropertyId::ContentType), Some("x"));
    }
    pair.advance(Duration::from_millis(1));
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let delivered = pair.deliver(delivery_of(qos, message.clone()));
        assert_eq!(dropped(&delivered), DropCause::Expired);
    }
    pair.expect_nothing();
    // Older clients are not told, but get no expired message either.
    let mut pair = Pair::connected(Version::V311);
    pair.deliver_now(delivery_of(Qos::AtMostOnce, message.clone()));
    pair.expect(&Packet::Publish(plain(Qos::AtMostOnce, 0, "t", b"x")));
    pair.advance(Duration::from_secs(10));
    let delivered = pair.deliver(delivery_of(Qos::AtMostOnce, message));
    assert_eq!(dropped(&delivered), DropCause::Expired);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]
#[test]
fn what_is_larger_than_the_client_takes_is_dropped() {
    let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(100))];
    let opening = Opening { properties, ..Opening::default() };
    for (qos, overhead) in [(Qos::AtMostOnce, 6), (Qos::AtLeastOnce, 8), (Qos::ExactlyOnce, 8)] {
        let mut pair = Pair::connected_with(Version::V5, Config::default(), &opening);
        pair.deliver_now(delivery(qos, "t", &vec![0; 100 - overhead]));
        assert_eq!(pair.next_packet().len(), 100);
        let delivered = pair.deliver(delivery(qos, "t", &vec![0; 101 - overhead]));
        assert_eq!(dropped(&delivered), DropCause::TooLarge);
        pair.expect_nothing();
        // The dropped one took nothing of the window and no identifier.
        pair.deliver_now(delivery(qos, "t", b""));
        let bytes = pair.next_packet();
        assert_eq!(publish_of(Version::V5, &bytes).packet_id, if qos.is_acknowledged() { 2 } else { 0 });
    }
}

/// [MQTT-3.3.4-3], [MQTT-3.3.4-4]
#[test]
fn subscription_identifiers_are_sent() {
    let rare = Rare { further_subscription_ids: [300, 2].into_iter().collect(), ..Rare::default() };
    let mut pair = Pair::connected(Version::V5);
    let with_ids =
        |qos| Delivery { subscription_id: 5, rare: Some(Arc::new(rare.clone())), ..delivery(qos, "t", b"x") };
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        pair.deliver_now(with_ids(qos));
        let bytes = pair.next_packet();
        let publish = publish_of(Version::V5, &bytes);
        let ids: Vec<_> = publish.properties.iter().collect();
        assert_eq!(ids, [5, 300, 2].map(|id| (PropertyId::SubscriptionIdentifier, Value::Variable(id))));
        assert_eq!(publish.payload, b"x");
    }
    let mut pair = Pair::connected(Version::V311);
    pair.deliver_now(with_ids(Qos::AtMostOnce));
    pair.expect(&Packet::Publish(plain(Qos::AtMostOnce, 0, "t", b"x")));
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]
#[test]
fn properties_reach_5_clients_unchanged_and_in_order() {
    let properties = [
        Property::UserProperty("a", "1"),
        Property::PayloadFormatIndicator(true),
        Property::UserProperty("a", "2"),
        Property::ResponseTopic("re/ply"),
        Property::CorrelationData(&[0, 1]),
        Property::ContentType("t"),
    ];
    let message = message_with(MessageHead::default(), "t", &properties, b"x");
    let mut pair = Pair::connected(Version::V5);
    pair.deliver_now(delivery_of(Qos::AtLeastOnce, message.clone()));
    let bytes = pair.next_packet();
    let publish = publish_of(Version::V5, &bytes);
    assert_eq!(publish.properties.as_bytes(), message.properties().as_bytes());
    let mut pair = Pair::connected(Version::V311);
    pair.deliver_now(delivery_of(Qos::AtLeastOnce, message));
    pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 1, "t", b"x")));
}

#[test]
fn large_payloads_arrive_whole() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        for bytes in [0, 1, 127, 128, 2047, 2048, 16_384, 300_000] {
            let payload: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
            pair.deliver_now(delivery(Qos::AtMostOnce, "a/b", &payload));
            pair.expect(&Packet::Publish(plain(Qos::AtMostOnce, 0, "a/b", &payload)));
        }
    }
}

#[test]
fn nothing_is_delivered_outside_the_connection() {
    let mut pair = Pair::open(Version::V311, Config::default());
    let delivered = pair.deliver(delivery(Qos::AtMostOnce, "t", b""));
    later(delivered);
    let mut pair = Pair::connected(Version::V311);
    pair.disconnect(Reason::Success, &[]);
    let delivered = pair.deliver(delivery(Qos::AtMostOnce, "t", b""));
    later(delivered);
    pair.expect_nothing();
}
