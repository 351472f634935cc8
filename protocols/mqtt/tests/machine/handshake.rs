//! CONNECT and CONNACK.

use std::time::Duration;

use thingway_contract::{ClientId, ClientIdError, Connected, Instant, Property, Protocol, Qos, Refusal, Reply};
use thingway_mqtt::{
    Config, MqttFault, PacketError, PropertyId, Reason, Value, Version,
    packet::{Connect, Packet, PacketType},
};

use crate::support::*;

/// [MQTT-3.1.0-1], in 3.1.1 the same.
#[test]
fn the_first_packet_must_be_connect() {
    for version in BOTH {
        let mut pair = Pair::open(version, Config::default());
        pair.send(&Packet::Pingreq);
        assert_eq!(pair.fault, Some(MqttFault::NotConnect(PacketType::Pingreq)));
        pair.expect_nothing();
        assert!(pair.closed);
    }
}

#[test]
fn what_is_no_mqtt_is_refused_at_its_first_byte() {
    let mut pair = Pair::open(Version::V311, Config::default());
    pair.send_bytes(b"G");
    assert_eq!(pair.fault, Some(MqttFault::NotConnect(PacketType::Puback)));
    let mut pair = Pair::open(Version::V311, Config::default());
    pair.send_bytes(b"\0");
    assert_eq!(pair.fault, Some(MqttFault::Packet(PacketError::ReservedType)));
}

/// [MQTT-3.1.0-2], in 3.1.1 the same.
#[test]
fn a_second_connect_is_a_protocol_error() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        pair.send_connect(&Opening::default());
        pair.expect_end(&MqttFault::SecondConnect, Reason::ProtocolError);
    }
}

/// [MQTT-3.1.4-5], [MQTT-3.2.0-2]; in 3.1.1 [MQTT-3.1.4-4], [MQTT-3.2.0-1].
#[test]
fn connect_is_passed_on_and_acknowledged() {
    for version in Version::ALL {
        let mut pair = Pair::open(version, Config::default());
        let opening = Opening {
            client_id: "device",
            keep_alive_secs: 30,
            username: Some("admin"),
            password: Some(b"public"),
            ..Opening::default()
        };
        pair.send_connect(&opening);
        let request = pair.connect_request();
        assert_eq!(request.client_id.as_deref(), Some("device"));
        assert!(request.clean_start);
        assert_eq!(request.version, version.level());
        assert_eq!(request.keep_alive_secs, 30);
        assert_eq!(request.session_expiry_secs, 0);
        assert_eq!(request.credentials.username.as_deref(), Some("admin"));
        assert_eq!(request.credentials.password.as_deref(), Some(&b"public"[..]));
        assert!(request.will.is_none() && request.credentials.method.is_none());
        pair.expect_nothing();
        pair.grant(Connected::default());
        pair.expect_connack_code(0);
    }
}

/// [MQTT-3.2.0-1], [MQTT-3.1.4-6]; in 3.1.1 [MQTT-3.2.0-1], [MQTT-3.1.4-5].
#[test]
fn nothing_is_read_until_the_gateway_has_decided() {
    for version in BOTH {
        let mut pair = Pair::open(version, Config::default());
        pair.send_connect(&Opening::default());
        pair.send(&Packet::Pingreq);
        pair.publish(Qos::AtMostOnce, 0, "t", b"early");
        pair.connect_request();
        assert_eq!(pair.requests_len(), 0);
        pair.expect_nothing();
        pair.automatic = true;
        pair.grant(Connected::default());
        assert!(matches!(decode(version, &pair.next_packet()), Packet::Connack(_)));
        pair.expect(&Packet::Pingresp);
        assert_eq!(pair.published.len(), 1);
    }
}

/// [MQTT-3.1.2-2]; the answer is in the version nearest to what the client said.
#[test]
fn unknown_levels_are_answered_in_a_format_that_the_client_can_read() {
    let connect = |level: u8| [&[0x10, 13, 0, 4], &b"MQTT"[..], &[level, 2, 0, 0, 0, 1, b'c']].concat();
    for (level, version, code) in [
        (6, Version::V5, 0x84),
        (0x7f, Version::V5, 0x84),
        (2, Version::V311, 1),
        (3, Version::V311, 1),
        (0x84, Version::V311, 1),
    ] {
        let mut pair = Pair::open(version, Config::default());
        pair.send_bytes(&connect(level));
        assert_eq!(pair.fault, Some(MqttFault::Packet(PacketError::ProtocolLevel(level))));
        pair.expect_connack_code(code);
    }
}

/// [MQTT-3.1.2-1]
#[test]
fn an_unknown_protocol_name_is_closed_without_an_answer() {
    let mut pair = Pair::open(Version::V5, Config::default());
    pair.send_bytes(b"\x10\x0d\0\x04XXXX\x05\x02\0\0\0\0\0");
    assert_eq!(pair.fault, Some(MqttFault::Packet(PacketError::ProtocolName)));
    assert!(pair.closed);
    pair.expect_nothing();
}

#[test]
fn versions_can_be_switched_off() {
    let only_5 = Config { version_min: Version::V5, ..Config::default() };
    for (version, config, code) in [
        (Version::V311, only_5.clone(), 1),
        (Version::V31, only_5, 1),
        (Version::V5, Config { version_max: Version::V311, ..Config::default() }, 0x84),
    ] {
        let mut pair = Pair::open(version, config);
        pair.send_connect(&Opening::default());
        assert_eq!(pair.fault, Some(MqttFault::VersionNotSupported(version)));
        pair.expect_connack_code(code);
    }
}

/// [MQTT-3.1.4-1], [MQTT-3.1.2-3], [MQTT-4.13.1-1]; in 3.1.1 [MQTT-3.1.4-1], [MQTT-3.1.2-3]. Before 5.0 there is no
/// code for it.
#[test]
fn a_malformed_connect_is_answered_in_5_only() {
    let mut pair = Pair::open(Version::V5, Config::default());
    pair.send_bytes(b"\x10\x0e\0\x04MQTT\x05\x03\0\0\0\0\x01c");
    assert_eq!(pair.fault, Some(MqttFault::Packet(PacketError::ConnectFlags)));
    pair.expect_connack_code(0x81);
    let mut pair = Pair::open(Version::V311, Config::default());
    pair.send_bytes(b"\x10\x0d\0\x04MQTT\x04\x03\0\0\0\x01c");
    assert_eq!(pair.fault, Some(MqttFault::Packet(PacketError::ConnectFlags)));
    assert!(pair.closed);
    pair.expect_nothing();
}

/// [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]; in 3.1.1 [MQTT-3.1.3-6] to [MQTT-3.1.3-8].
#[test]
fn an_empty_client_id_asks_for_an_assigned_one() {
    let id = ClientId::new("auto-1", 100).expect("valid");
    for (version, clean_start) in [(Version::V5, true), (Version::V5, false), (Version::V311, true)] {
        let mut pair = Pair::open(version, Config::default());
        pair.send_connect(&Opening { client_id: "", clean_start, ..Opening::default() });
        assert_eq!(pair.connect_request().client_id, None);
        pair.grant(Connected { assigned_client_id: Some(id.clone()), ..Connected::default() });
        let bytes = pair.next_packet();
        if version == Version::V5 {
            assert_eq!(connack_of(&bytes).properties.text(PropertyId::AssignedClientIdentifier), Some("auto-1"));
        }
    }
    let empty = MqttFault::ClientId(ClientIdError::Empty);
    for (version, clean_start, code) in [(Version::V311, false, 2), (Version::V31, true, 2)] {
        let mut pair = Pair::open(version, Config::default());
        pair.send_connect(&Opening { client_id: "", clean_start, ..Opening::default() });
        assert_eq!(pair.fault, Some(empty.clone()));
        pair.expect_connack_code(code);
    }
    for (version, code) in [(Version::V311, 2), (Version::V5, 0x85)] {
        let mut pair = Pair::open(version, Config { allow_empty_client_id: false, ..Config::default() });
        pair.send_connect(&Opening { client_id: "", ..Opening::default() });
        assert_eq!(pair.fault, Some(empty.clone()));
        pair.expect_connack_code(code);
    }
}

/// [MQTT-3.1.3-8]; in 3.1.1 [MQTT-3.1.3-9].
#[test]
fn a_long_client_id_is_rejected() {
    for (version, code) in [(Version::V31, 2), (Version::V311, 2), (Version::V5, 0x85)] {
        let mut pair = Pair::open(version, Config { client_id_bytes_max: 4, ..Config::default() });
        pair.send_connect(&Opening { client_id: "12345", ..Opening::default() });
        assert_eq!(pair.fault, Some(MqttFault::ClientId(ClientIdError::TooLong)));
        pair.expect_connack_code(code);
    }
}

/// [MQTT-3.2.2-2], [MQTT-3.2.2-3]; in 3.1.1 [MQTT-3.2.2-1] to [MQTT-3.2.2-3]. 3.1 has no such flag.
#[test]
fn session_present_is_told() {
    for version in Version::ALL {
        for session_present in [false, true] {
            let mut pair = Pair::open(version, Config::default());
            pair.send_connect(&Opening { clean_start: false, ..Opening::default() });
            pair.connect_request();
            pair.grant(Connected { session_present, ..Connected::default() });
            let bytes = pair.next_packet();
            let Packet::Connack(connack) = decode(version, &bytes) else { panic!("CONNACK") };
            assert_eq!(connack.session_present, session_present && version > Version::V31);
        }
    }
}

#[test]
fn session_expiry_follows_the_version() {
    let config = Config { session_expiry_v3_secs: 100, session_expiry_max_secs: 60, ..Config::default() };
    let expiry: Extras<'_> = &[(PropertyId::SessionExpiryInterval, Value::Four(u32::MAX))];
    for (version, clean_start, properties, expected) in [
        (Version::V311, true, &[][..], 0),
        (Version::V311, false, &[], 60),
        (Version::V31, false, &[], 60),
        (Version::V5, false, &[], 0),
        (Version::V5, true, expiry, 60),
    ] {
        let mut pair = Pair::open(version, config.clone());
        pair.send_connect(&Opening { clean_start, properties, ..Opening::default() });
        assert_eq!(pair.connect_request().session_expiry_secs, expected);
    }
}

/// Section 3.2.2.3.2: the client is told when it does not get what it asked for.
#[test]
fn a_lowered_session_expiry_is_told() {
    let properties: Extras<'_> = &[(PropertyId::SessionExpiryInterval, Value::Four(1000))];
    for (granted, told) in [(1000, None), (60, Some(60)), (0, Some(0))] {
        let mut pair = Pair::open(Version::V5, Config::default());
        pair.send_connect(&Opening { properties, ..Opening::default() });
        assert_eq!(pair.connect_request().session_expiry_secs, 1000);
        pair.grant(Connected { session_expiry_secs: granted, ..Connected::default() });
        let bytes = pair.next_packet();
        assert_eq!(connack_of(&bytes).properties.number(PropertyId::SessionExpiryInterval), told);
    }
}

/// Section 3.2.2.3: limits are told where they differ from what the specification presumes.
#[test]
fn connack_tells_the_servers_limits() {
    let generous =
        Config { receive_maximum: u16::MAX, packet_bytes_max: u32::MAX, topic_alias_in_max: 0, ..Config::default() };
    let mut pair = Pair::open(Version::V5, generous);
    pair.send_connect(&Opening::default());
    pair.connect_request();
    pair.grant(Connected::default());
    assert_eq!(pair.next_packet(), [0x20, 3, 0, 0, 0]);

    let strict = Config {
        receive_maximum: 7,
        packet_bytes_max: 5000,
        topic_alias_in_max: 3,
        qos_max: Qos::AtLeastOnce,
        retain_available: false,
        wildcard_available: false,
        shared_available: false,
        subscription_ids_available: false,
        ..Config::default()
    };
    let mut pair = Pair::open(Version::V5, strict);
    pair.send_connect(&Opening::default());
    pair.connect_request();
    pair.grant(Connected::default());
    let bytes = pair.next_packet();
    let properties = connack_of(&bytes).properties;
    for (id, value) in [
        (PropertyId::ReceiveMaximum, 7),
        (PropertyId::MaximumPacketSize, 5000),
        (PropertyId::TopicAliasMaximum, 3),
        (PropertyId::MaximumQos, 1),
        (PropertyId::RetainAvailable, 0),
        (PropertyId::WildcardSubscriptionAvailable, 0),
        (PropertyId::SharedSubscriptionAvailable, 0),
        (PropertyId::SubscriptionIdentifierAvailable, 0),
    ] {
        assert_eq!(properties.number(id), Some(value), "{id:?}");
    }
    assert_eq!(properties.iter().count(), 8);
}

/// [MQTT-3.1.2-28]
#[test]
fn response_information_goes_only_to_those_who_ask() {
    let asks: Extras<'_> = &[(PropertyId::RequestResponseInformation, Value::Byte(1))];
    for (properties, given, expected) in
        [(&[][..], Some("own/"), None), (asks, Some("own/"), Some("own/")), (asks, None, Some("configured/"))]
    {
        let config = Config { response_information: Some("configured/".into()), ..Config::default() };
        let mut pair = Pair::open(Version::V5, config);
        pair.send_connect(&Opening { properties, ..Opening::default() });
        pair.connect_request();
        pair.grant(Connected { response_information: given.map(Box::from), ..Connected::default() });
        let bytes = pair.next_packet();
        assert_eq!(connack_of(&bytes).properties.text(PropertyId::ResponseInformation), expected);
    }
}

/// [MQTT-3.1.4-2], [MQTT-3.2.2-6], [MQTT-3.2.2-7], [MQTT-3.2.2-8]; in 3.1.1 [MQTT-3.1.4-2], [MQTT-3.2.2-4],
/// [MQTT-3.2.2-5].
#[test]
fn each_refusal_has_its_code() {
    for (refusal, v5, v3) in [
        (Refusal::BadCredentials, 0x86, 4),
        (Refusal::NotAuthorized, 0x87, 5),
        (Refusal::Banned, 0x8a, 5),
        (Refusal::ClientIdRejected, 0x85, 2),
        (Refusal::BadAuthenticationMethod, 0x8c, 5),
        (Refusal::Unavailable, 0x88, 3),
        (Refusal::Busy, 0x89, 3),
        (Refusal::QuotaExceeded, 0x97, 3),
        (Refusal::ConnectionRateExceeded, 0x9f, 3),
        (Refusal::UseAnotherServer("other:1883".into()), 0x9c, 3),
        (Refusal::ServerMoved("other:1883".into()), 0x9d, 3),
    ] {
        for (version, code) in [(Version::V5, v5), (Version::V311, v3), (Version::V31, v3)] {
            let mut pair = Pair::open(version, Config::default());
            pair.send_connect(&Opening::default());
            pair.connect_request();
            pair.reply(Reply::Refused(refusal.clone()));
            pair.expect_connack_code(code);
        }
    }
}

/// [MQTT-3.2.2-19], section 4.11.
#[test]
fn a_refusal_names_the_other_server_and_the_reason_as_far_as_they_fit() {
    let refusal = Refusal::UseAnotherServer("other:1883".into());
    for (bytes_max, server, words) in [(100, true, true), (30, true, false), (10, false, false)] {
        let mut pair = Pair::open(Version::V5, Config::default());
        let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(bytes_max))];
        pair.send_connect(&Opening { properties, ..Opening::default() });
        pair.connect_request();
        pair.reply(Reply::Refused(refusal.clone()));
        let bytes = pair.next_packet();
        assert!(bytes.len() <= bytes_max as usize);
        let connack = connack_of(&bytes);
        assert_eq!(connack.code, 0x9c);
        assert_eq!(connack.properties.text(PropertyId::ServerReference), server.then_some("other:1883"));
        assert_eq!(connack.properties.has(PropertyId::ReasonString), words);
    }
}

#[test]
fn the_configured_server_reference_fills_in() {
    let config = Config { server_reference: Some("second:1883".into()), ..Config::default() };
    let mut pair = Pair::open(Version::V5, config);
    pair.send_connect(&Opening::default());
    pair.connect_request();
    pair.reply(Reply::Refused(Refusal::ServerMoved("".into())));
    let bytes = pair.next_packet();
    assert_eq!(connack_of(&bytes).properties.text(PropertyId::ServerReference), Some("second:1883"));
}

/// [MQTT-3.1.2-24]: no packet beyond the client's maximum, so a client that cannot take CONNACK cannot be served.
#[test]
fn a_client_that_cannot_take_connack_is_closed() {
    let mut pair = Pair::open(Version::V5, Config::default());
    let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(6))];
    pair.send_connect(&Opening { properties, ..Opening::default() });
    pair.connect_request();
    pair.grant(Connected::default());
    assert_eq!(pair.fault, Some(MqttFault::AnswerTooLarge(PacketType::Connack)));
    pair.expect_connack_code(0x95);
}

/// [MQTT-3.2.2-21], [MQTT-3.2.2-22]; the server's interval is also the one that is enforced.
#[test]
fn server_keep_alive_replaces_the_clients() {
    let config = Config { server_keep_alive_secs: Some(10), ..Config::default() };
    let mut pair = Pair::open(Version::V5, config.clone());
    pair.send_connect(&Opening { keep_alive_secs: 300, ..Opening::default() });
    assert_eq!(pair.connect_request().keep_alive_secs, 10);
    pair.grant(Connected::default());
    let bytes = pair.next_packet();
    assert_eq!(connack_of(&bytes).properties.short(PropertyId::ServerKeepAlive), Some(10));
    assert_eq!(pair.machine.deadline(), pair.now + Duration::from_secs(15));
    // An older client cannot be told.
    let mut pair = Pair::open(Version::V311, config);
    pair.send_connect(&Opening { keep_alive_secs: 300, ..Opening::default() });
    assert_eq!(pair.connect_request().keep_alive_secs, 300);
}

/// [MQTT-3.1.2-22]; in 3.1.1 [MQTT-3.1.2-24].
#[test]
fn silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    for version in BOTH {
        let opening = Opening { keep_alive_secs: 10, ..Opening::default() };
        let mut pair = Pair::connected_with(version, Config::default(), &opening);
        pair.wait(Duration::from_secs(14));
        assert!(!pair.closed);
        pair.send(&Packet::Pingreq);
        pair.expect(&Packet::Pingresp);
        pair.wait(Duration::from_secs(14));
        assert!(!pair.closed);
        pair.wait(Duration::from_secs(1));
        pair.expect_end(&MqttFault::KeepAliveTimeout, Reason::KeepAliveTimeout);
    }
}

#[test]
fn the_operator_changes_the_keep_alive_from_now_on() {
    let opening = Opening { keep_alive_secs: 10, ..Opening::default() };
    let mut pair = Pair::connected_with(Version::V5, Config::default(), &opening);
    pair.wait(Duration::from_secs(14));
    assert!(pair.machine.set_keep_alive(20, pair.now));
    pair.wait(Duration::from_secs(29));
    assert!(!pair.closed);
    pair.wait(Duration::from_secs(1));
    pair.expect_end(&MqttFault::KeepAliveTimeout, Reason::KeepAliveTimeout);
    assert!(!pair.machine.set_keep_alive(20, pair.now), "it is over");
    let mut pair = Pair::open(Version::V5, Config::default());
    assert!(!pair.machine.set_keep_alive(20, pair.now), "it has not begun");
}

#[test]
fn a_part_of_a_packet_is_no_sign_of_life() {
    let opening = Opening { keep_alive_secs: 10, ..Opening::default() };
    let mut pair = Pair::connected_with(Version::V311, Config::default(), &opening);
    pair.wait(Duration::from_secs(14));
    pair.send_bytes(&[0x30, 100, 0]);
    pair.wait(Duration::from_secs(1));
    assert_eq!(pair.fault, Some(MqttFault::KeepAliveTimeout));
}

#[test]
fn keep_alive_zero_never_times_out() {
    let pair = Pair::connected(Version::V5);
    assert_eq!(pair.machine.deadline(), Instant::NEVER);
}

#[test]
fn the_handshake_has_its_own_deadline() {
    let config = Config { connect_timeout_ms: 5000, ..Config::default() };
    let mut silent = Pair::open(Version::V5, config.clone());
    silent.wait(Duration::from_millis(4999));
    assert!(!silent.closed);
    silent.wait(Duration::from_millis(1));
    assert_eq!(silent.fault, Some(MqttFault::ConnectTimeout));
    silent.expect_nothing();
    // Bytes that are no whole packet do not help.
    let mut slow = Pair::open(Version::V5, config);
    for byte in [0x10, 0x20, 0x00] {
        slow.wait(Duration::from_millis(1500));
        slow.send_bytes(&[byte]);
    }
    slow.wait(Duration::from_millis(500));
    assert_eq!(slow.fault, Some(MqttFault::ConnectTimeout));
}

#[test]
fn a_gateway_that_does_not_decide_is_unavailable() {
    for (version, code) in [(Version::V5, 0x88), (Version::V311, 3)] {
        let mut pair = Pair::open(version, Config::default());
        pair.send_connect(&Opening::default());
        pair.wait(Duration::from_secs(15));
        assert_eq!(pair.fault, Some(MqttFault::DecisionTimeout));
        pair.expect_connack_code(code);
        // A decision that comes too late changes nothing.
        pair.grant(Connected::default());
        pair.expect_nothing();
    }
}

/// [MQTT-3.1.2-7], [MQTT-3.1.2-9], [MQTT-3.1.2-14], [MQTT-3.1.2-15]: the will with its properties, of which those for
/// the server are taken out.
#[test]
fn the_will_is_passed_on() {
    let will_properties: Extras<'_> = &[
        (PropertyId::WillDelayInterval, Value::Four(5)),
        (PropertyId::ContentType, Value::Text("text/plain")),
        (PropertyId::MessageExpiryInterval, Value::Four(60)),
        (PropertyId::UserProperty, Value::Pair("k", "v")),
    ];
    for version in BOTH {
        let mut pair = Pair::open(version, Config::default());
        let will = Some(("last/words", &b"gone"[..], Qos::ExactlyOnce, true, will_properties));
        pair.send_connect(&Opening { will, ..Opening::default() });
        let will = pair.connect_request().will.expect("a will");
        assert_eq!(will.message.topic(), "last/words");
        assert_eq!(will.message.payload(), b"gone");
        assert_eq!((will.message.head().qos, will.message.head().retain), (Qos::ExactlyOnce, true));
        let properties: Vec<_> = will.message.properties().iter().collect();
        if version == Version::V5 {
            assert_eq!((will.delay_secs, will.expiry_secs), (5, Some(60)));
            assert_eq!(properties, [Property::ContentType("text/plain"), Property::UserProperty("k", "v")]);
        } else {
            assert_eq!((will.delay_secs, will.expiry_secs), (0, None));
            assert_eq!(properties, []);
        }
    }
}

/// [MQTT-3.2.2-12], [MQTT-3.2.2-13]
#[test]
fn a_will_that_cannot_be_served_is_refused() {
    let utf8: Extras<'_> = &[(PropertyId::PayloadFormatIndicator, Value::Byte(1))];
    let config = Config { qos_max: Qos::AtLeastOnce, retain_available: false, ..Config::default() };
    for (will, fault, code) in [
        (("t", &b""[..], Qos::ExactlyOnce, false, &[][..]), MqttFault::QosNotSupported, 0x9b),
        (("t", b"", Qos::AtMostOnce, true, &[]), MqttFault::RetainNotSupported, 0x9a),
        (("t", b"\xff", Qos::AtMostOnce, false, utf8), MqttFault::PayloadFormat, 0x99),
    ] {
        let mut pair = Pair::open(Version::V5, config.clone());
        pair.send_connect(&Opening { will: Some(will), ..Opening::default() });
        assert_eq!(pair.fault, Some(fault));
        pair.expect_connack_code(code);
    }
}

#[test]
fn the_clients_receive_maximum_is_passed_on() {
    let mut pair = Pair::open(Version::V5, Config::default());
    let properties: Extras<'_> = &[(PropertyId::ReceiveMaximum, Value::Two(3))];
    pair.send_connect(&Opening { properties, ..Opening::default() });
    assert_eq!(pair.connect_request().receive_maximum, 3);
    let mut pair = Pair::open(Version::V311, Config::default());
    pair.send_connect(&Opening::default());
    assert_eq!(pair.connect_request().receive_maximum, u16::MAX);
}

#[test]
fn a_connect_beyond_the_packet_size_is_refused_by_its_header() {
    let config = Config { packet_bytes_max: 100, ..Config::default() };
    let mut pair = Pair::open(Version::V5, config);
    pair.send_bytes(&[0x10, 0x80, 0x02]);
    assert_eq!(pair.fault, Some(MqttFault::Packet(PacketError::TooLarge)));
    assert!(pair.closed);
}

#[test]
fn a_padded_remaining_length_is_malformed_in_5() {
    let mut bytes = Vec::new();
    Packet::Connect(Connect::new(Version::V5, "c")).encode(Version::V5, &mut bytes).expect("fits");
    bytes.splice(1..2, [bytes[1] | 0x80, 0]);
    let mut pair = Pair::open(Version::V5, Config::default());
    pair.send_bytes(&bytes);
    assert_eq!(pair.fault, Some(MqttFault::Packet(PacketError::IntegerNotMinimal)));
    pair.expect_connack_code(0x81);
}
