//! Topic aliases in both directions (section 3.3.2.3.4).

use thingway_contract::{Qos, TopicLimits};
use thingway_mqtt::{
    Config, MqttFault, PacketError, PropertyId, Reason, Value, Version,
    packet::{Ack, Packet},
};

use crate::support::*;

const ALIAS_1: Extras<'_> = &[(PropertyId::TopicAlias, Value::Two(1))];

/// [MQTT-3.3.2-12]
#[test]
fn an_incoming_alias_stands_for_its_topic() {
    let mut pair = Pair::connected(Version::V5);
    pair.publish_with(false, Qos::AtMostOnce, 0, "first/topic", b"1", ALIAS_1);
    pair.publish_with(false, Qos::AtMostOnce, 0, "", b"2", ALIAS_1);
    pair.publish_with(false, Qos::AtLeastOnce, 9, "", b"3", ALIAS_1);
    pair.expect(&Packet::Puback(Ack::success(9)));
    pair.publish_with(false, Qos::AtMostOnce, 0, "second", b"4", ALIAS_1);
    pair.publish_with(false, Qos::AtMostOnce, 0, "", b"5", ALIAS_1);
    let seen: Vec<_> = pair.published.iter().map(|message| (message.topic(), message.payload())).collect();
    assert_eq!(
        seen,
        [("first/topic", &b"1"[..]), ("first/topic", b"2"), ("first/topic", b"3"), ("second", b"4"), ("second", b"5"),]
    );
    assert!(pair.published.iter().all(|message| message.properties().is_empty()), "the alias stays here");
}

/// [MQTT-3.3.2-8], [MQTT-3.3.2-9], [MQTT-3.2.2-17], [MQTT-3.2.2-18]
#[test]
fn aliases_out_of_range_or_never_set_end_the_connection() {
    let config = Config { topic_alias_in_max: 2, ..Config::default() };
    for (topic, alias, fault, reason) in [
        ("t", 3, MqttFault::TopicAliasAboveMaximum(3), Reason::TopicAliasInvalid),
        ("", 2, MqttFault::TopicAliasUnknown(2), Reason::ProtocolError),
    ] {
        let mut pair = Pair::connected_with(Version::V5, config.clone(), &Opening::default());
        let extras: Extras<'_> = &[(PropertyId::TopicAlias, Value::Two(alias))];
        pair.publish_with(false, Qos::AtMostOnce, 0, topic, b"", extras);
        pair.expect_end(&fault, reason);
    }
    let mut pair = Pair::connected_with(Version::V5, config, &Opening::default());
    pair.send_bytes(&[0x30, 7, 0, 1, b't', 3, 0x23, 0, 0]);
    pair.expect_end(&MqttFault::Packet(PacketError::PropertyValue(0x23)), Reason::TopicAliasInvalid);
    let none = Config { topic_alias_in_max: 0, ..Config::default() };
    let mut pair = Pair::connected_with(Version::V5, none, &Opening::default());
    pair.publish_with(false, Qos::AtMostOnce, 0, "t", b"", ALIAS_1);
    pair.expect_end(&MqttFault::TopicAliasAboveMaximum(1), Reason::TopicAliasInvalid);
}

#[test]
fn a_refused_topic_sets_no_alias() {
    let config = Config { topic_limits: TopicLimits { bytes_max: 5, levels_max: 9 }, ..Config::default() };
    let mut pair = Pair::connected_with(Version::V5, config, &Opening::default());
    pair.publish_with(false, Qos::AtLeastOnce, 1, "too/long", b"", ALIAS_1);
    pair.next_packet();
    pair.publish_with(false, Qos::AtLeastOnce, 2, "", b"", ALIAS_1);
    pair.expect_end(&MqttFault::TopicAliasUnknown(1), Reason::ProtocolError);
}

#[test]
fn a_repeated_qos_2_message_sets_its_alias_too() {
    let mut pair = Pair::connected(Version::V5);
    pair.publish(Qos::ExactlyOnce, 1, "to/pic", b"");
    pair.publish_with(true, Qos::ExactlyOnce, 1, "to/pic", b"", ALIAS_1);
    pair.publish_with(false, Qos::AtMostOnce, 0, "", b"", ALIAS_1);
    let topics: Vec<_> = pair.published.iter().map(|message| message.topic()).collect();
    assert_eq!(topics, ["to/pic", "to/pic"]);
}

fn subscriber(aliases_max: u16) -> Pair {
    let properties: Extras<'_> = &[(PropertyId::TopicAliasMaximum, Value::Two(aliases_max))];
    let config = Config { topic_alias_out_max: 2, ..Config::default() };
    Pair::connected_with(Version::V5, config, &Opening { properties, ..Opening::default() })
}

fn next_topic(pair: &mut Pair) -> (String, Option<u16>) {
    let bytes = pair.next_packet();
    let publish = publish_of(Version::V5, &bytes);
    assert_eq!(publish.payload, b"x");
    (publish.topic.to_owned(), publish.properties.short(PropertyId::TopicAlias))
}

/// [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-11]
#[test]
fn outgoing_aliases_are_set_once_and_used_as_far_as_allowed() {
    let mut pair = subscriber(9);
    for (topic, expected) in [
        ("topic/1", ("topic/1", Some(1))),
        ("topic/2", ("topic/2", Some(2))),
        ("topic/3", ("topic/3", None)),
        ("topic/1", ("", Some(1))),
        ("topic/2", ("", Some(2))),
        ("topic/3", ("topic/3", None)),
        ("short", ("short", None)),
    ] {
        pair.deliver_now(delivery(Qos::AtMostOnce, topic, b"x"));
        let (seen, alias) = next_topic(&mut pair);
        assert_eq!((seen.as_str(), alias), expected);
    }
    let mut pair = subscriber(1);
    for (topic, expected) in [("topic/1", Some(1)), ("topic/2", None)] {
        pair.deliver_now(delivery(Qos::AtLeastOnce, topic, b"x"));
        assert_eq!(next_topic(&mut pair).1, expected);
    }
    let mut pair = subscriber(0);
    for _ in 0..2 {
        pair.deliver_now(delivery(Qos::AtMostOnce, "topic/1", b"x"));
        assert_eq!(next_topic(&mut pair), ("topic/1".to_owned(), None));
    }
}

/// Setting an alias takes three bytes more: where they do not fit, the message is sent without.
#[test]
fn an_alias_never_makes_a_message_too_large() {
    let size = 2 + 2 + 7 + 1 + 1;
    for (bytes_max, expected) in [(size, None), (size + 3, Some(1))] {
        let properties: Extras<'_> =
            &[(PropertyId::TopicAliasMaximum, Value::Two(9)), (PropertyId::MaximumPacketSize, Value::Four(bytes_max))];
        let config =
            Config { receive_maximum: 65_535, packet_bytes_max: u32::MAX, topic_alias_in_max: 0, ..Config::default() };
        let mut pair = Pair::connected_with(Version::V5, config, &Opening { properties, ..Opening::default() });
        for _ in 0..1 {
            pair.deliver_now(delivery(Qos::AtMostOnce, "topic/1", b"x"));
            assert_eq!(next_topic(&mut pair), ("topic/1".to_owned(), expected));
        }
    }
}
