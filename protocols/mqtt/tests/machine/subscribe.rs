//! SUBSCRIBE and UNSUBSCRIBE.

use thingway_contract::{
    FilterKind, Qos, Reply, Request, RetainHandling, SubscribeRefusal, SubscriptionOptions, TopicLimits,
    UnsubscribeRefusal,
};
use thingway_mqtt::{Config, MqttFault, PacketError, PropertyId, Reason, Value, Version, packet::PacketType};

use crate::support::*;

/// [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5], [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-2.2.1-6]; in
/// 3.1.1 [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-4], [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-2.3.1-7].
#[test]
fn subscriptions_are_passed_on_and_granted_in_order() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        let filters =
            [("a/#", options(Qos::AtMostOnce)), ("b/+", options(Qos::AtLeastOnce)), ("c", options(Qos::ExactlyOnce))];
        pair.subscribe(7, &filters, &[]);
        let (token, subscriptions) = pair.subscribe_request();
        let seen: Vec<_> = subscriptions
            .iter()
            .map(|s| s.as_ref().expect("valid"))
            .map(|s| (s.filter.to_string(), s.options))
            .collect();
        assert_eq!(seen, filters.map(|(filter, options)| (filter.to_owned(), options)));
        pair.expect_nothing();
        let results = vec![Ok(Qos::AtMostOnce), Ok(Qos::AtMostOnce), Ok(Qos::ExactlyOnce)];
        pair.reply(Reply::Subscribed { token, results });
        let bytes = pair.next_packet();
        let suback = suback_of(version, &bytes);
        assert_eq!((suback.packet_id, suback.codes), (7, &[0, 0, 2][..]));
        assert!(suback.properties.is_empty());
    }
}

#[test]
fn options_and_identifier_are_passed_on() {
    let wanted = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        id: 0,
    };
    let mut pair = Pair::connected(Version::V5);
    pair.automatic = false;
    pair.subscribe(7, &[("t", wanted)], &[(PropertyId::SubscriptionIdentifier, Value::Variable(268_435_455))]);
    let (_, subscriptions) = pair.subscribe_request();
    let subscription = subscriptions[0].as_ref().expect("valid");
    assert_eq!(subscription.options, SubscriptionOptions { id: 268_435_455, ..wanted });
}

/// [MQTT-3.2.2-9], [MQTT-3.2.2-10]
#[test]
fn a_quality_of_service_above_the_maximum_is_lowered() {
    for version in BOTH {
        let config = Config { qos_max: Qos::AtMostOnce, ..Config::default() };
        let mut pair = Pair::connected_with(version, config, &Opening::default());
        pair.subscribe(7, &[("a", options(Qos::ExactlyOnce)), ("b", options(Qos::AtMostOnce))], &[]);
        let bytes = pair.next_packet();
        assert_eq!(suback_of(version, &bytes).codes, [0, 0]);
    }
}

/// [MQTT-3.9.3-2]; before 5.0 there is one code for all.
#[test]
fn each_refusal_has_its_code() {
    for (refusal, code) in [
        (SubscribeRefusal::NotAuthorized, 0x87),
        (SubscribeRefusal::FilterInvalid, 0x8f),
        (SubscribeRefusal::QuotaExceeded, 0x97),
        (SubscribeRefusal::ExclusiveTaken, 0x97),
        (SubscribeRefusal::SharedNotSupported, 0x9e),
        (SubscribeRefusal::WildcardNotSupported, 0xa2),
        (SubscribeRefusal::IdentifiersNotSupported, 0xa1),
        (SubscribeRefusal::ExclusiveNotSupported, 0x8f),
        (SubscribeRefusal::Failed, 0x83),
    ] {
        for (version, code) in [(Version::V5, code), (Version::V311, 0x80), (Version::V31, 0x80)] {
            let mut pair = Pair::connected(version);
            pair.automatic = false;
            pair.subscribe(7, &[("a", options(Qos::AtLeastOnce)), ("b", options(Qos::AtLeastOnce))], &[]);
            let (token, _) = pair.subscribe_request();
            pair.reply(Reply::Subscribed { token, results: vec![Ok(Qos::AtLeastOnce), Err(refusal)] });
            let bytes = pair.next_packet();
            let suback = suback_of(version, &bytes);
            assert_eq!(suback.codes, [1, code]);
            assert_eq!(suback.properties.has(PropertyId::ReasonString), version == Version::V5);
        }
    }
}

/// [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT-4.8.2-1], [MQTT-4.8.2-2]
#[test]
fn bad_filters_are_refused_one_by_one() {
    let bad = ["", "a#", "#/a", "a+", "$share/g", "$share//t", "$share/+/t", "a/b/c/d"];
    let config = Config { topic_limits: TopicLimits { bytes_max: 20, levels_max: 3 }, ..Config::default() };
    for (version, code) in [(Version::V5, 0x8f), (Version::V311, 0x80)] {
        let mut pair = Pair::connected_with(version, config.clone(), &Opening::default());
        let mut filters: Vec<_> = bad.iter().map(|&filter| (filter, options(Qos::AtMostOnce))).collect();
        filters.push(("good/+", options(Qos::AtLeastOnce)));
        pair.subscribe(7, &filters, &[]);
        let bytes = pair.next_packet();
        let mut expected = vec![code; bad.len()];
        expected.push(1);
        assert_eq!(suback_of(version, &bytes).codes, expected);
        assert!(!pair.closed);
    }
}

/// [MQTT-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
    let mut pair = Pair::connected(Version::V5);
    pair.subscribe(7, &[("$share/g/t", no_local)], &[]);
    pair.expect_end(&MqttFault::Packet(PacketError::NoLocalOnShared), Reason::ProtocolError);
}

#[test]
fn shared_subscriptions_keep_their_group() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        pair.subscribe(7, &[("$share/g/a/#", options(Qos::AtMostOnce))], &[]);
        let (_, subscriptions) = pair.subscribe_request();
        let filter = &subscriptions[0].as_ref().expect("valid").filter;
        assert!(matches!(filter.kind(), FilterKind::Shared(group) if &**group == "g"));
        assert_eq!(filter.filter(), "a/#");
    }
}

/// Sections 3.2.2.3.11 to 3.2.2.3.13: a client that was told must not try; an older one cannot know.
#[test]
fn what_is_not_served_ends_the_connection_in_5_and_is_refused_before() {
    let config = Config { wildcard_available: false, shared_available: false, ..Config::default() };
    for (filter, fault, reason) in [
        ("a/#", MqttFault::WildcardNotSupported, Reason::WildcardSubscriptionsNotSupported),
        ("$share/g/t", MqttFault::SharedNotSupported, Reason::SharedSubscriptionsNotSupported),
    ] {
        let mut pair = Pair::connected_with(Version::V5, config.clone(), &Opening::default());
        pair.subscribe(7, &[(filter, options(Qos::AtMostOnce))], &[]);
        pair.expect_end(&fault, reason);
        let mut pair = Pair::connected_with(Version::V311, config.clone(), &Opening::default());
        pair.subscribe(7, &[(filter, options(Qos::AtMostOnce)), ("t", options(Qos::AtMostOnce))], &[]);
        let bytes = pair.next_packet();
        assert_eq!(suback_of(Version::V311, &bytes).codes, [0x80, 0]);
    }
    let config = Config { subscription_ids_available: false, ..Config::default() };
    let mut pair = Pair::connected_with(Version::V5, config, &Opening::default());
    pair.subscribe(7, &[("t", options(Qos::AtMostOnce))], &[(PropertyId::SubscriptionIdentifier, Value::Variable(1))]);
    pair.expect_end(&MqttFault::SubscriptionIdsNotSupported, Reason::SubscriptionIdentifiersNotSupported);
}

#[test]
fn exclusive_subscriptions_are_off_unless_configured() {
    for (version, code) in [(Version::V5, 0x8f), (Version::V311, 0x80)] {
        let mut pair = Pair::connected(version);
        pair.subscribe(7, &[("$exclusive/t", options(Qos::AtLeastOnce))], &[]);
        let bytes = pair.next_packet();
        assert_eq!(suback_of(version, &bytes).codes, [code]);
        let config = Config { exclusive_available: true, ..Config::default() };
        let mut pair = Pair::connected_with(version, config, &Opening::default());
        pair.subscribe(7, &[("$exclusive/t", options(Qos::AtLeastOnce))], &[]);
        let bytes = pair.next_packet();
        assert_eq!(suback_of(version, &bytes).codes, [1]);
    }
}

#[test]
fn too_many_filters_end_the_connection() {
    for version in BOTH {
        let config = Config { filters_per_packet_max: 3, ..Config::default() };
        let four = [("a", options(Qos::AtMostOnce)); 4];
        let mut pair = Pair::connected_with(version, config.clone(), &Opening::default());
        pair.subscribe(7, &four[..3], &[]);
        pair.next_packet();
        pair.subscribe(7, &four, &[]);
        pair.expect_end(&MqttFault::TooManyFilters, Reason::QuotaExceeded);
        let mut pair = Pair::connected_with(version, config, &Opening::default());
        pair.unsubscribe(7, &["a"; 4]);
        pair.expect_end(&MqttFault::TooManyFilters, Reason::QuotaExceeded);
    }
}

/// [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2]; in 3.1.1 [MQTT-3.10.4-4] to
/// [MQTT-3.10.4-6].
#[test]
fn unsubscribing_is_answered_filter_by_filter() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.automatic = false;
        pair.unsubscribe(9, &["a/#", "b", "bad#"]);
        let Some(Request::Unsubscribe { token, filters }) = pair.request() else { panic!("a request") };
        let seen: Vec<_> = filters.iter().map(|f| f.as_ref().map(ToString::to_string)).collect();
        assert_eq!(seen, [Ok("a/#".to_owned()), Ok("b".to_owned()), Err(&UnsubscribeRefusal::FilterInvalid)]);
        let results = vec![Ok(()), Err(UnsubscribeRefusal::NotSubscribed), Err(UnsubscribeRefusal::FilterInvalid)];
        pair.reply(Reply::Unsubscribed { token, results });
        let bytes = pair.next_packet();
        let unsuback = unsuback_of(version, &bytes);
        assert_eq!(unsuback.packet_id, 9);
        if version == Version::V5 {
            assert_eq!(unsuback.codes, [0, 0x11, 0x8f]);
        }
    }
}

/// [MQTT-3.8.3-2], [MQTT-3.10.3-2]; in 3.1.1 [MQTT-3.8.3-3], [MQTT-3.10.3-2].
#[test]
fn empty_requests_are_protocol_errors() {
    for (version, gap) in [(Version::V311, &[][..]), (Version::V5, &[0])] {
        for first in [0x82, 0xa2] {
            let mut pair = Pair::connected(version);
            pair.send_bytes(&[&[first, 2 + gap.len() as u8, 0, 1], gap].concat());
            pair.expect_end(&MqttFault::Packet(PacketError::NoFilters), Reason::ProtocolError);
        }
    }
}

/// [MQTT-3.1.2-24], [MQTT-3.9.2-1], [MQTT-3.11.2-1]
#[test]
fn an_answer_never_exceeds_what_the_client_takes() {
    let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(30))];
    let config = Config { receive_maximum: u16::MAX, packet_bytes_max: u32::MAX, ..Config::default() };
    let opening = Opening { properties, ..Opening::default() };
    let mut pair = Pair::connected_with(Version::V5, config.clone(), &opening);
    // With the reason in words it would be too large.
    pair.subscribe(7, &[("#a", options(Qos::AtMostOnce)); 10], &[]);
    let bytes = pair.next_packet();
    let suback = suback_of(Version::V5, &bytes);
    assert!(suback.properties.is_empty() && suback.codes == [0x8f; 10]);
    // And so many codes never fit.
    pair.subscribe(7, &[("a", options(Qos::AtMostOnce)); 26], &[]);
    pair.expect_end(&MqttFault::AnswerTooLarge(PacketType::Suback), Reason::PacketTooLarge);
}

/// [MQTT-3.1.2-29]
#[test]
fn no_words_for_clients_that_want_none() {
    let properties: Extras<'_> = &[(PropertyId::RequestProblemInformation, Value::Byte(0))];
    let mut pair = Pair::connected_with(Version::V5, Config::default(), &Opening { properties, ..Opening::default() });
    pair.subscribe(7, &[("#a", options(Qos::AtMostOnce))], &[]);
    let bytes = pair.next_packet();
    assert!(suback_of(Version::V5, &bytes).properties.is_empty());
    pair.unsubscribe(8, &["#a"]);
    let bytes = pair.next_packet();
    assert!(unsuback_of(Version::V5, &bytes).properties.is_empty());
}
