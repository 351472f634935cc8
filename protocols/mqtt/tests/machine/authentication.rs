//! Enhanced authentication (section 4.12).

use bytes::Bytes;
use thingway_contract::{Connected, Qos, Refusal, Reply, Request};
use thingway_mqtt::{
    Config, MqttFault, PropertyId, Reason, Value, Version,
    packet::{Auth, Packet, PacketType},
};

use crate::support::*;

const METHOD: (PropertyId, Value<'_>) = (PropertyId::AuthenticationMethod, Value::Text("SCRAM"));

const fn data(bytes: &[u8]) -> (PropertyId, Value<'_>) {
    (PropertyId::AuthenticationData, Value::Bytes(bytes))
}

fn opening() -> Opening<'static> {
    const PROPERTIES: Extras<'_> = &[METHOD, data(b"first")];
    Opening { properties: PROPERTIES, ..Opening::default() }
}

fn expect_auth(pair: &mut Pair, reason: Reason, expected: Option<&[u8]>) {
    let bytes = pair.next_packet();
    let Packet::Auth(auth) = decode(Version::V5, &bytes) else { panic!("AUTH") };
    assert_eq!((auth.reason, auth.method(), auth.data()), (reason, Some("SCRAM"), expected));
}

fn authenticate_request(pair: &mut Pair) -> Option<Bytes> {
    match pair.request() {
        Some(Request::Authenticate { method, data }) => {
            assert_eq!(&*method, "SCRAM");
            data
        }
        other => panic!("no authentication: {other:?}, fault {:?}", pair.fault),
    }
}

fn connected() -> Pair {
    Pair::connected_with(Version::V5, Config::default(), &opening())
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-4.12.0-5]
#[test]
fn a_handshake_of_several_steps() {
    let mut pair = Pair::open(Version::V5, Config::default());
    pair.send_connect(&opening());
    let credentials = pair.connect_request().credentials;
    assert_eq!(credentials.method.as_deref(), Some("SCRAM"));
    assert_eq!(credentials.data.as_deref(), Some(&b"first"[..]));
    for step in [b"s1", b"s2"] {
        pair.reply(Reply::Challenge { data: Some(Bytes::from_static(step)) });
        expect_auth(&mut pair, Reason::ContinueAuthentication, Some(step));
        pair.auth(Reason::ContinueAuthentication, &[METHOD, data(b"answer")]);
        assert_eq!(authenticate_request(&mut pair).as_deref(), Some(&b"answer"[..]));
    }
    pair.grant(Connected { authentication_data: Some(Bytes::from_static(b"last")), ..Connected::default() });
    let bytes = pair.next_packet();
    let properties = connack_of(&bytes).properties;
    assert_eq!(properties.text(PropertyId::AuthenticationMethod), Some("SCRAM"));
    assert_eq!(properties.bytes(PropertyId::AuthenticationData), Some(&b"last"[..]));
}

/// [MQTT-4.12.0-1], [MQTT-4.12.0-4]
#[test]
fn an_unknown_method_or_a_failure_is_refused() {
    for (refusal, code) in [(Refusal::BadAuthenticationMethod, 0x8c), (Refusal::NotAuthorized, 0x87)] {
        let mut pair = Pair::open(Version::V5, Config::default());
        pair.send_connect(&opening());
        pair.connect_request();
        pair.reply(Reply::Refused(refusal.clone()));
        pair.expect_connack_code(code);
        let mut pair = Pair::open(Version::V5, Config::default());
        pair.send_connect(&opening());
        pair.connect_request();
        pair.reply(Reply::Challenge { data: None });
        expect_auth(&mut pair, Reason::ContinueAuthentication, None);
        pair.auth(Reason::ContinueAuthentication, &[METHOD]);
        authenticate_request(&mut pair);
        pair.reply(Reply::Refused(refusal));
        pair.expect_connack_code(code);
    }
}

/// [MQTT-3.1.2-30]: until CONNACK such a client sends only AUTH and DISCONNECT.
#[test]
fn only_auth_and_disconnect_may_follow_a_challenge() {
    let challenged = || {
        let mut pair = Pair::open(Version::V5, Config::default());
        pair.send_connect(&opening());
        pair.connect_request();
        pair.reply(Reply::Challenge { data: None });
        pair.next_packet();
        pair
    };
    let mut pair = challenged();
    pair.publish(Qos::AtMostOnce, 0, "t", b"");
    assert_eq!(pair.fault, Some(MqttFault::Unexpected(PacketType::Publish)));
    pair.expect_connack_code(0x82);
    let mut pair = challenged();
    pair.disconnect(Reason::Success, &[]);
    assert!(pair.closed && pair.fault.is_none());
    pair.expect_nothing();
    let mut pair = challenged();
    pair.auth(Reason::Reauthenticate, &[METHOD]);
    assert_eq!(pair.fault, Some(MqttFault::Unexpected(PacketType::Auth)));
    pair.expect_connack_code(0x82);
    let mut pair = challenged();
    pair.wait(std::time::Duration::from_secs(15));
    assert_eq!(pair.fault, Some(MqttFault::ConnectTimeout));
}

/// [MQTT-4.12.0-5], [MQTT-4.12.1-1]
#[test]
fn the_method_may_not_change() {
    let other = (PropertyId::AuthenticationMethod, Value::Text("OTHER"));
    let mut pair = Pair::open(Version::V5, Config::default());
    pair.send_connect(&opening());
    pair.connect_request();
    pair.reply(Reply::Challenge { data: None });
    pair.next_packet();
    pair.auth(Reason::ContinueAuthentication, &[other]);
    assert_eq!(pair.fault, Some(MqttFault::AuthenticationMethodChanged));
    pair.expect_connack_code(0x8c);
    let mut pair = connected();
    pair.auth(Reason::Reauthenticate, &[other]);
    pair.expect_end(&MqttFault::AuthenticationMethodChanged, Reason::BadAuthenticationMethod);
}

/// [MQTT-4.12.0-7]
#[test]
fn auth_without_a_method_in_connect_is_a_protocol_error() {
    let mut pair = Pair::connected(Version::V5);
    pair.auth(Reason::Reauthenticate, &[METHOD]);
    pair.expect_end(&MqttFault::Unexpected(PacketType::Auth), Reason::ProtocolError);
}

/// Section 4.12.1.
#[test]
fn authentication_again_while_connected() {
    let mut pair = connected();
    pair.automatic = false;
    pair.auth(Reason::Reauthenticate, &[METHOD, data(b"again")]);
    assert_eq!(authenticate_request(&mut pair).as_deref(), Some(&b"again"[..]));
    pair.reply(Reply::Challenge { data: Some(Bytes::from_static(b"s")) });
    expect_auth(&mut pair, Reason::ContinueAuthentication, Some(b"s"));
    // Other packets may go on meanwhile.
    pair.send(&Packet::Pingreq);
    pair.expect(&Packet::Pingresp);
    pair.deliver_now(delivery(Qos::AtMostOnce, "t", b"x"));
    pair.next_packet();
    pair.auth(Reason::ContinueAuthentication, &[METHOD, data(b"c")]);
    authenticate_request(&mut pair);
    pair.reply(Reply::Reauthenticated { data: Some(Bytes::from_static(b"end")) });
    expect_auth(&mut pair, Reason::Success, Some(b"end"));
    // And once more.
    pair.auth(Reason::Reauthenticate, &[METHOD]);
    authenticate_request(&mut pair);
    pair.reply(Reply::Reauthenticated { data: None });
    expect_auth(&mut pair, Reason::Success, None);
}

/// [MQTT-4.12.1-2]
#[test]
fn failing_authentication_again_ends_the_connection() {
    for (refusal, reason) in [
        (Refusal::NotAuthorized, Reason::NotAuthorized),
        (Refusal::BadCredentials, Reason::NotAuthorized),
        (Refusal::BadAuthenticationMethod, Reason::BadAuthenticationMethod),
    ] {
        let mut pair = connected();
        pair.automatic = false;
        pair.auth(Reason::Reauthenticate, &[METHOD]);
        authenticate_request(&mut pair);
        pair.reply(Reply::Refused(refusal));
        pair.expect_disconnect(reason);
    }
}

#[test]
fn steps_out_of_turn_are_protocol_errors() {
    let mut pair = connected();
    pair.auth(Reason::ContinueAuthentication, &[METHOD]);
    pair.expect_end(&MqttFault::Unexpected(PacketType::Auth), Reason::ProtocolError);
    let mut pair = connected();
    pair.automatic = false;
    pair.auth(Reason::Reauthenticate, &[METHOD]);
    authenticate_request(&mut pair);
    pair.reply(Reply::Challenge { data: None });
    pair.next_packet();
    pair.auth(Reason::Reauthenticate, &[METHOD]);
    pair.expect_end(&MqttFault::Unexpected(PacketType::Auth), Reason::ProtocolError);
}

#[test]
fn nothing_is_read_while_the_gateway_decides_again() {
    let mut pair = connected();
    pair.automatic = false;
    pair.auth(Reason::Reauthenticate, &[METHOD]);
    pair.send(&Packet::Pingreq);
    pair.expect_nothing();
    authenticate_request(&mut pair);
    pair.reply(Reply::Reauthenticated { data: None });
    expect_auth(&mut pair, Reason::Success, None);
    pair.expect(&Packet::Pingresp);
}

#[test]
fn replies_that_nobody_asked_for_are_the_gateways_fault() {
    let unasked: [fn() -> Reply; 3] = [
        || Reply::Challenge { data: None },
        || Reply::Reauthenticated { data: None },
        || Reply::Connected(Box::default()),
    ];
    for reply in unasked {
        let mut pair = Pair::connected(Version::V5);
        pair.reply(reply());
        assert_eq!(pair.fault, Some(MqttFault::BadReply));
    }
}

#[test]
fn auth_does_not_exist_before_5() {
    for version in [Version::V31, Version::V311] {
        let mut pair = Pair::connected(version);
        pair.send_bytes(&[0xf0, 0]);
        assert_eq!(pair.fault, Some(MqttFault::Packet(thingway_mqtt::PacketError::ReservedType)));
        assert!(pair.closed);
        let mut bytes = Vec::new();
        let auth = Auth { reason: Reason::Success, properties: thingway_mqtt::PropertyBlock::EMPTY };
        assert!(Packet::Auth(auth).encode(version, &mut bytes).is_err());
    }
}
