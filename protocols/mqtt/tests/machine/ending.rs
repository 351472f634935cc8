//! DISCONNECT in both directions, and what is left.

use thingway_contract::{CloseReason, Culprit, Fault, FaultKind, Instant, Protocol, PublishOutcome, Qos, WillFate};
use thingway_mqtt::{
    Config, MqttFault, PacketError, PropertyId, Reason, Value, Version,
    packet::{Packet, PacketType},
};

use crate::support::*;

/// [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-3.14.4-3], [MQTT-3.1.2-10]; in 3.1.1 [MQTT-3.14.4-1] to [MQTT-3.14.4-3].
#[test]
fn a_normal_goodbye_discards_the_will() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        pair.disconnect(Reason::Success, &[]);
        assert!(pair.closed && pair.fault.is_none());
        pair.expect_nothing();
        let departure = pair.depart();
        assert_eq!(departure.will, WillFate::Discard);
        assert_eq!(departure.session_expiry_secs, None);
        assert_eq!(pair.machine.deadline(), Instant::NEVER);
    }
}

/// [MQTT-3.1.2-8]: every other end publishes it.
#[test]
fn any_other_end_publishes_the_will() {
    for reason in [Reason::DisconnectWithWill, Reason::UnspecifiedError, Reason::AdministrativeAction] {
        let mut pair = Pair::connected(Version::V5);
        pair.disconnect(reason, &[]);
        assert!(pair.closed && pair.fault.is_none());
        assert_eq!(pair.depart().will, WillFate::Publish);
    }
    for version in BOTH {
        assert_eq!(Pair::connected(version).depart().will, WillFate::Publish);
        let mut pair = Pair::connected(version);
        pair.send_bytes(&[0]);
        assert_eq!(pair.depart().will, WillFate::Publish);
        let mut pair = Pair::connected(version);
        pair.close(&CloseReason::Administrative);
        assert_eq!(pair.depart().will, WillFate::Publish);
    }
}

#[test]
fn nothing_is_read_after_the_goodbye() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut bytes = Vec::new();
        Packet::Publish(plain(Qos::AtMostOnce, 0, "t", b"before")).encode(version, &mut bytes).expect("fits");
        bytes.extend([0xe0, 0, 0xc0, 0]);
        pair.automatic = false;
        pair.send_bytes(&bytes);
        assert_eq!(pair.requests_len(), 1);
        assert!(pair.closed);
        pair.expect_nothing();
    }
}

/// Section 3.14.2.2.2.
#[test]
fn goodbye_may_change_the_session_expiry_but_not_from_zero() {
    let expiry = |secs| [(PropertyId::SessionExpiryInterval, Value::Four(secs))];
    let config = Config { session_expiry_max_secs: 500, ..Config::default() };
    for (at_first, at_last, expected) in [(60, 0, 0), (60, 100, 100), (60, 1000, 500), (0, 0, 0)] {
        let properties = expiry(at_first);
        let opening = Opening { properties: &properties, ..Opening::default() };
        let mut pair = Pair::connected_with(Version::V5, config.clone(), &opening);
        pair.disconnect(Reason::Success, &expiry(at_last));
        assert!(pair.closed && pair.fault.is_none());
        assert_eq!(pair.depart().session_expiry_secs, Some(expected));
    }
    let mut pair = Pair::connected_with(Version::V5, config, &Opening::default());
    pair.disconnect(Reason::Success, &expiry(60));
    pair.expect_end(&MqttFault::SessionExpiryRaised, Reason::ProtocolError);
    let departure = pair.depart();
    assert_eq!((departure.will, departure.session_expiry_secs), (WillFate::Publish, None));
}

/// [MQTT-3.14.0-1], [MQTT-3.14.2-1], [MQTT-3.1.4-3], [MQTT-4.13.1-1]; older versions just close.
#[test]
fn the_gateways_reasons_are_told() {
    for (reason, code) in [
        (CloseReason::TakenOver, Reason::SessionTakenOver),
        (CloseReason::ShuttingDown, Reason::ServerShuttingDown),
        (CloseReason::Administrative, Reason::AdministrativeAction),
        (CloseReason::NotAuthorized, Reason::NotAuthorized),
        (CloseReason::RateExceeded, Reason::MessageRateTooHigh),
        (CloseReason::QuotaExceeded, Reason::QuotaExceeded),
        (CloseReason::Busy, Reason::ServerBusy),
        (CloseReason::IdleTimeout, Reason::KeepAliveTimeout),
        (CloseReason::SessionGone, Reason::AdministrativeAction),
        (CloseReason::UseAnotherServer("b:1883".into()), Reason::UseAnotherServer),
    ] {
        for version in BOTH {
            let mut pair = Pair::connected(version);
            pair.close(&reason);
            pair.expect_disconnect(code);
            assert!(pair.fault.is_none());
            // Closing twice says nothing more.
            pair.close(&reason);
            pair.expect_nothing();
        }
    }
}

#[test]
fn another_server_is_named() {
    for (given, expected) in [("b:1883", "b:1883"), ("", "configured:1883")] {
        let config = Config { server_reference: Some("configured:1883".into()), ..Config::default() };
        let mut pair = Pair::connected_with(Version::V5, config, &Opening::default());
        pair.close(&CloseReason::UseAnotherServer(given.into()));
        let bytes = pair.next_packet();
        let Packet::Disconnect(disconnect) = decode(Version::V5, &bytes) else { panic!("DISCONNECT") };
        assert_eq!(disconnect.reason, Reason::UseAnotherServer);
        assert_eq!(disconnect.properties.text(PropertyId::ServerReference), Some(expected));
    }
}

/// [MQTT-3.14.0-1]: before CONNACK there is no DISCONNECT.
#[test]
fn before_the_connection_is_up_a_close_is_a_refusal() {
    for (reason, v5, v3) in [
        (CloseReason::ShuttingDown, 0x88, 3),
        (CloseReason::Busy, 0x89, 3),
        (CloseReason::Administrative, 0x88, 3),
        (CloseReason::NotAuthorized, 0x87, 5),
        (CloseReason::UseAnotherServer("b:1".into()), 0x9c, 3),
    ] {
        for (version, code) in [(Version::V5, v5), (Version::V311, v3)] {
            let mut pair = Pair::open(version, Config::default());
            pair.send_connect(&Opening::default());
            pair.close(&reason);
            pair.expect_connack_code(code);
        }
    }
    let mut pair = Pair::open(Version::V5, Config::default());
    pair.close(&CloseReason::ShuttingDown);
    assert!(pair.closed);
    pair.expect_nothing();
}

/// [MQTT-3.14.2-3]: words and reference only as they fit.
#[test]
fn a_goodbye_fits_the_clients_packet_size() {
    for (bytes_max, words) in [(100, true), (30, false)] {
        let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(bytes_max))];
        let config = Config { receive_maximum: u16::MAX, packet_bytes_max: u32::MAX, ..Config::default() };
        let mut pair = Pair::connected_with(Version::V5, config, &Opening { properties, ..Opening::default() });
        pair.subscribe(1, &[("a", options(Qos::AtMostOnce)); 200], &[]);
        let bytes = pair.next_packet();
        assert!(bytes.len() <= bytes_max as usize);
        let Packet::Disconnect(disconnect) = decode(Version::V5, &bytes) else { panic!("DISCONNECT") };
        assert_eq!(disconnect.reason, Reason::PacketTooLarge);
        assert_eq!(disconnect.properties.has(PropertyId::ReasonString), words);
    }
}

/// [MQTT-3.1.2-29]: words in DISCONNECT are allowed to a client that wants none elsewhere; the operator can switch them
/// off.
#[test]
fn a_goodbye_says_why_in_words() {
    for (reason_strings, expected) in [(true, Some("wrong flags in the fixed header")), (false, None)] {
        let config = Config { reason_strings, ..Config::default() };
        let mut pair = Pair::connected_with(Version::V5, config, &Opening::default());
        pair.send_bytes(&[0xc1, 0]);
        let bytes = pair.next_packet();
        let Packet::Disconnect(disconnect) = decode(Version::V5, &bytes) else { panic!("DISCONNECT") };
        assert_eq!(disconnect.properties.text(PropertyId::ReasonString), expected);
    }
}

#[test]
fn a_client_may_not_send_the_servers_reasons() {
    let mut pair = Pair::connected(Version::V5);
    pair.send_bytes(&[0xe0, 1, 0x8b]);
    pair.expect_end(&MqttFault::Packet(PacketError::ReasonCode(0x8b)), Reason::ProtocolError);
}

#[test]
fn what_is_under_way_is_left_for_the_next_connection() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        for (qos, payload) in [(Qos::AtLeastOnce, b"1"), (Qos::ExactlyOnce, b"2"), (Qos::ExactlyOnce, b"3")] {
            pair.deliver_now(delivery(qos, "t", payload));
        }
        pair.pubrec(2);
        pair.publish(Qos::ExactlyOnce, 50, "t", b"");
        pair.automatic = false;
        pair.publish(Qos::ExactlyOnce, 40, "t", b"");
        let parked = pair.depart().parked;
        let outbound: Vec<_> = parked
            .outbound
            .iter()
            .map(|entry| (entry.packet_id, entry.delivery.as_ref().map(|delivery| delivery.message.payload())))
            .collect();
        assert_eq!(outbound, [(1, Some(&b"1"[..])), (2, None), (3, Some(b"3"))]);
        assert_eq!(parked.inbound, [40, 50]);
        assert_eq!(parked.next_packet_id, 4);
    }
}

#[test]
fn faults_name_culprit_and_kind() {
    for (fault, culprit, kind) in [
        (MqttFault::Packet(PacketError::NotUtf8), Culprit::Peer, FaultKind::Malformed),
        (MqttFault::Packet(PacketError::TooLarge), Culprit::Peer, FaultKind::TooLarge),
        (MqttFault::Packet(PacketError::ProtocolLevel(9)), Culprit::Peer, FaultKind::Unsupported),
        (MqttFault::SecondConnect, Culprit::Peer, FaultKind::ProtocolError),
        (MqttFault::KeepAliveTimeout, Culprit::Peer, FaultKind::Timeout),
        (MqttFault::DecisionTimeout, Culprit::Gateway, FaultKind::Timeout),
        (MqttFault::ReceiveMaximumExceeded, Culprit::Peer, FaultKind::LimitExceeded),
        (MqttFault::PublishFailed(PublishOutcome::Failed), Culprit::Gateway, FaultKind::LimitExceeded),
        (MqttFault::PublishFailed(PublishOutcome::TopicInvalid), Culprit::Peer, FaultKind::LimitExceeded),
        (MqttFault::BadReply, Culprit::Gateway, FaultKind::ProtocolError),
        (MqttFault::AnswerTooLarge(PacketType::Suback), Culprit::Peer, FaultKind::TooLarge),
    ] {
        assert_eq!((fault.culprit(), fault.kind()), (culprit, kind), "{fault}");
        assert!(!fault.to_string().is_empty());
    }
}
