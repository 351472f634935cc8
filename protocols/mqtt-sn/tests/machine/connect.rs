use std::time::Duration;

use thingway_contract::{ClientIdError, Parked, Qos, Refusal, Standing, TopicId, WillFate};
use thingway_mqtt_sn::{
    Config, MqttSnFault, Packet, PacketError, PacketType, ReturnCode, State,
    packet::{Auth, Connect, TopicRef, WillTopic},
};

use crate::support::*;

#[test]
fn section_6_2_a_clean_session_ends_with_the_conversation() {
    let pair = Pair::active();
    let request = &pair.connects[0];
    assert_eq!(request.client_id.as_deref(), Some("c"));
    assert!(request.clean_start && !request.must_exist && !request.keep_will && request.will.is_none());
    assert_eq!((request.session_expiry_secs, request.keep_alive_secs, request.receive_maximum), (0, 60, 1));
    assert_eq!(request.version, 1);
    assert_eq!(pair.standing(), Standing::Established);
}

#[test]
fn section_6_3_a_kept_session_keeps_its_will() {
    let pair = Pair::connected(Config { session_expiry_secs: 99, ..Config::default() }, false);
    let request = &pair.connects[0];
    assert!(!request.clean_start && request.keep_will);
    assert_eq!(request.session_expiry_secs, 99);
}

#[test]
fn section_5_3_1_client_identifiers_are_checked() {
    let config = Config { client_id_bytes_max: 5, ..Config::default() };
    for (client_id, error) in
        [("", ClientIdError::Empty), ("123456", ClientIdError::TooLong), ("a\0", ClientIdError::Nul)]
    {
        let mut pair = Pair::new(config.clone());
        pair.send(&Packet::Connect(Connect { will: false, clean_session: true, duration_secs: 1, client_id }));
        pair.expect(&[refused(ReturnCode::NotSupported)]);
        assert_eq!(pair.faults, [MqttSnFault::ClientId(error)]);
        assert_eq!((pair.connects.len(), pair.standing()), (0, Standing::Forgettable));
    }
    let mut pair = Pair::new(Config { assign_client_ids: true, ..config });
    pair.send(&Packet::Connect(Connect { will: false, clean_session: false, duration_secs: 1, client_id: "" }));
    pair.expect(&[accepted()]);
    assert_eq!((pair.connects[0].client_id.as_deref(), pair.connects[0].session_expiry_secs), (None, 0));
}

#[test]
fn section_5_3_8_another_protocol_id_is_not_supported() {
    let mut pair = Pair::new(Config::default());
    pair.send_raw(&[7, 4, 4, 2, 0, 60, b'c']);
    pair.expect(&[refused(ReturnCode::NotSupported)]);
    assert_eq!(pair.faults, [MqttSnFault::Packet(PacketError::ProtocolId(2))]);
}

#[test]
fn table_5_refusals_have_return_codes() {
    for (refusal, code) in [
        (Refusal::Busy, ReturnCode::Congestion),
        (Refusal::QuotaExceeded, ReturnCode::Congestion),
        (Refusal::ConnectionRateExceeded, ReturnCode::Congestion),
        (Refusal::NotAuthorized, ReturnCode::NotSupported),
        (Refusal::ClientIdRejected, ReturnCode::NotSupported),
    ] {
        let mut pair = Pair::new(Config::default());
        pair.refusal = Some(refusal);
        pair.connect(true);
        pair.expect(&[refused(code)]);
        assert_eq!((pair.machine.state(), pair.standing()), (State::Disconnected, Standing::Forgettable));
        pair.connect(true);
        pair.expect(&[accepted()]);
    }
}

#[test]
fn section_6_2_without_a_session_a_client_is_told_to_connect() {
    let mut pair = Pair::new(Config::default());
    let short = TopicRef::Short(*b"ab");
    for packet in [
        publish(Qos::AtMostOnce, short, 0, b""),
        publish(Qos::ExactlyOnce, short, 1, b""),
        Packet::Pubrel(1),
        Packet::Pingreq(thingway_mqtt_sn::packet::Pingreq { client_id: "" }),
        Packet::Register(thingway_mqtt_sn::packet::Register { topic_id: 0, message_id: 1, topic: "a" }),
        Packet::Disconnect(thingway_mqtt_sn::packet::Disconnect { duration_secs: Some(9) }),
    ] {
        pair.send(&packet);
        pair.expect(&[goodbye()]);
        assert_eq!(pair.faults.pop(), Some(MqttSnFault::NoSession(packet.packet_type())));
        assert_eq!(pair.standing(), Standing::Forgettable);
    }
}

#[test]
fn section_6_12_two_gateways_do_not_say_goodbye_for_ever() {
    let mut pair = Pair::new(Config::default());
    pair.send(&goodbye());
    pair.expect_nothing();
}

#[test]
fn a_second_connect_leaves_the_session_and_asks_again() {
    let mut pair = Pair::active();
    pair.register("a/b");
    pair.pass_secs(6);
    pair.connect(false);
    pair.expect(&[accepted()]);
    assert_eq!(pair.connects.len(), 2);
    let departure = &pair.departures[0];
    assert_eq!((departure.will, departure.session_expiry_secs), (WillFate::Keep, Some(0)));
    assert_eq!(pair.machine.state(), State::Active);
}

#[test]
fn section_6_13_a_connect_that_is_sent_again_is_answered_again() {
    let mut pair = Pair::active();
    pair.pass_secs(12);
    pair.connect(true);
    pair.expect(&[accepted()]);
    assert_eq!(pair.connects.len(), 1, "nothing came between");
    // A copy that the network delivers late must not wipe what was done since.
    pair.register("a/b");
    pair.pass(Duration::from_millis(999));
    pair.connect(true);
    pair.expect(&[accepted()]);
    assert_eq!((pair.connects.len(), pair.departures.len()), (1, 0));
    // Copies of a copy do not go on for ever.
    pair.pass(Duration::from_millis(1));
    pair.connect(true);
    pair.expect(&[accepted()]);
    assert_eq!((pair.connects.len(), pair.departures.len()), (2, 1));
}

#[test]
fn a_client_that_restarts_within_seconds_gets_the_clean_session_that_it_asks_for() {
    let mut pair = Pair::active();
    let id = pair.register("a/b");
    pair.pass_secs(2);
    pair.connect(true);
    pair.expect(&[accepted()]);
    assert!(pair.connects[1].clean_start);
    assert_eq!((pair.connects.len(), pair.departures[0].session_expiry_secs), (2, Some(0)));
    pair.send(&publish(Qos::AtLeastOnce, TopicRef::Normal(id), 1, b"x"));
    assert_eq!(pair.published(), [], "topic ids are gone with the session");
    // Any sign of life tells a new CONNECT from a copy of the last one.
    let mut pair = Pair::active();
    pair.pass_secs(2);
    pair.ping("");
    pair.expect(&[Packet::Pingresp]);
    pair.connect(true);
    pair.expect(&[accepted()]);
    assert_eq!(pair.connects.len(), 2);
}

#[test]
fn late_copies_are_new_when_the_operator_says_so() {
    let mut pair = Pair::connected(Config { late_copies_ms: 0, ..Config::default() }, true);
    pair.register("a/b");
    pair.connect(true);
    pair.expect(&[accepted()]);
    assert_eq!(pair.connects.len(), 2);
}

#[test]
fn a_client_that_does_not_finish_connecting_is_forgotten() {
    let mut pair = Pair::new(Config::default());
    pair.send(&connect(true, true));
    pair.expect(&[Packet::WillTopicReq]);
    assert_eq!((pair.machine.state(), pair.standing()), (State::Connecting, Standing::Unproven));
    pair.pass_secs(14);
    assert!(!pair.closed);
    pair.pass_secs(1);
    assert!(pair.closed);
    assert_eq!(pair.faults, [MqttSnFault::ConnectTimeout]);
}

#[test]
fn a_gateway_that_does_not_decide_says_so() {
    let mut pair = Pair::new(Config::default());
    pair.undecided = true;
    pair.connect(true);
    assert_eq!(pair.standing(), Standing::Unproven);
    pair.connect(true);
    pair.expect_nothing();
    pair.pass_secs(15);
    pair.expect(&[refused(ReturnCode::Congestion)]);
    assert_eq!(pair.faults, [MqttSnFault::DecisionTimeout]);
}

#[test]
fn a_late_setup_does_not_cost_the_session_that_is_there() {
    let mut pair = Pair::active();
    pair.register("a/b");
    pair.pass_secs(6);
    pair.send(&connect(true, true));
    pair.expect(&[Packet::WillTopicReq]);
    assert_eq!(pair.standing(), Standing::Established);
    pair.ping("");
    pair.expect(&[Packet::Pingresp]);
    assert_eq!((pair.machine.state(), pair.connects.len()), (State::Active, 1));
    pair.send(&connect(true, true));
    pair.expect(&[Packet::WillTopicReq]);
    pair.pass_secs(15);
    assert_eq!((pair.machine.state(), pair.closed), (State::Active, false));
}

#[test]
fn section_6_10_topic_ids_of_a_kept_session_stay_valid() {
    let mut pair = Pair::new(Config::default());
    let topic_ids = vec![TopicId { id: 1, name: "a/b".into(), known: true }];
    pair.present = Some(Parked { topic_ids, ..Parked::default() });
    pair.connect(false);
    pair.expect(&[accepted()]);
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Normal(1), 0, b"x"));
    assert_eq!(pair.published(), [("a/b", &b"x"[..])]);
    pair.deliver("a/b", b"y", Qos::AtMostOnce);
    pair.expect(&[publish(Qos::AtMostOnce, TopicRef::Normal(1), 0, b"y")]);
}

fn auth(data: &[u8]) -> Packet<'_> {
    Packet::Auth(Auth { reason: 0, method: "PLAIN", data })
}

#[test]
fn auth_comes_before_the_will_and_the_session() {
    let mut pair = Pair::new(Config { auth_required: true, ..Config::default() });
    pair.send(&connect(true, true));
    pair.expect_nothing();
    assert_eq!(pair.standing(), Standing::Unproven);
    pair.send(&auth(b"\0user\0secret"));
    pair.expect(&[Packet::WillTopicReq]);
    pair.send(&Packet::WillTopic(Some(WillTopic { qos: Qos::AtMostOnce, retain: false, topic: "w" })));
    pair.expect(&[Packet::WillMsgReq]);
    pair.send(&Packet::WillMsg(b"gone"));
    pair.expect(&[accepted()]);
    let credentials = &pair.connects[0].credentials;
    assert_eq!(
        (credentials.username.as_deref(), credentials.password.as_deref()),
        (Some("user"), Some(&b"secret"[..]))
    );
}

#[test]
fn auth_is_required_when_the_operator_says_so() {
    let mut pair = Pair::new(Config { auth_required: true, ..Config::default() });
    pair.connect(true);
    pair.pass_secs(15);
    assert_eq!((pair.connects.len(), pair.faults.as_slice()), (0, &[MqttSnFault::ConnectTimeout][..]));
    pair.expect_nothing();
}

#[test]
fn unusable_authentication_is_not_supported() {
    for packet in [auth(b"user"), Packet::Auth(Auth { reason: 0, method: "SCRAM", data: b"\0a\0b" })] {
        let mut pair = Pair::new(Config { auth_required: true, ..Config::default() });
        pair.connect(true);
        pair.send(&packet);
        pair.expect(&[refused(ReturnCode::NotSupported)]);
        assert_eq!((pair.faults.as_slice(), pair.connects.len()), (&[MqttSnFault::Authentication][..], 0));
        assert_eq!(pair.standing(), Standing::Forgettable);
    }
}

#[test]
fn auth_that_is_not_required_is_taken_while_there_is_time() {
    let mut pair = Pair::new(Config::default());
    pair.send(&connect(true, true));
    pair.send(&auth(b"\0user\0secret"));
    pair.send(&Packet::WillTopic(None));
    pair.expect(&[Packet::WillTopicReq, accepted()]);
    assert_eq!(pair.connects[0].credentials.username.as_deref(), Some("user"));
    pair.send(&auth(b"\0user\0secret"));
    pair.expect(&[refused(ReturnCode::NotSupported)]);
    assert_eq!(pair.machine.state(), State::Active);
    let mut pair = Pair::new(Config::default());
    pair.send(&auth(b"\0user\0secret"));
    assert_eq!(pair.faults, [MqttSnFault::Unexpected(PacketType::Auth)]);
}
