use std::time::Duration;

use thingway_contract::{DatagramProtocol, Qos, Standing};
use thingway_mqtt_sn::{
    Config, Conversation, MqttSnFault, Packet, PacketError, PacketType,
    packet::{Advertise, GwInfo, SearchGw, TopicRef},
};

use crate::support::*;

#[test]
fn section_6_1_a_gateway_advertises_itself_if_told_to() {
    assert_eq!(Conversation::beacon(&Config::default()), None);
    let config = Config { gateway_id: 7, advertise_interval_secs: 900, ..Config::default() };
    let beacon = Conversation::beacon(&config).expect("on");
    assert_eq!(beacon.interval, Duration::from_secs(900));
    let advertise = Packet::Advertise(Advertise { gateway_id: 7, duration_secs: 900 });
    assert_eq!(Packet::decode(&beacon.datagram), Ok(advertise));
}

#[test]
fn section_6_1_whoever_looks_for_a_gateway_finds_it() {
    let mut pair = Pair::new(Config { gateway_id: 7, ..Config::default() });
    let info = Packet::GwInfo(GwInfo { gateway_id: 7, address: &[] });
    pair.send(&Packet::SearchGw(SearchGw { radius: 0 }));
    pair.expect(&[info]);
    assert_eq!(pair.standing(), Standing::Forgettable);
    pair.connect(true);
    pair.expect(&[accepted()]);
    pair.send(&Packet::SearchGw(SearchGw { radius: 1 }));
    pair.expect(&[info]);
    assert_eq!(pair.standing(), Standing::Established);
}

#[test]
fn section_6_1_what_other_gateways_tell_is_not_for_us() {
    let mut pair = Pair::new(Config::default());
    pair.send(&Packet::Advertise(Advertise { gateway_id: 9, duration_secs: 900 }));
    pair.send(&Packet::GwInfo(GwInfo { gateway_id: 9, address: &[1] }));
    pair.expect_nothing();
    assert_eq!(pair.faults, []);
}

#[test]
fn section_5_5_answers_go_back_through_the_forwarder() {
    let mut pair = Pair::behind(Config { forward_radius: 2, ..Config::default() }, &[9, 8, 7]);
    pair.connect(true);
    pair.expect(&[accepted()]);
    pair.deliver("ab", b"x", Qos::AtMostOnce);
    pair.expect(&[publish(Qos::AtMostOnce, TopicRef::Short(*b"ab"), 0, b"x")]);
    assert_eq!(Conversation::node(&[6, 0xfe, 0, 9, 8, 7, 2, 0x16]), [9, 8, 7]);
}

#[test]
fn section_5_5_the_radius_is_the_operators() {
    let config = std::sync::Arc::new(Config { forward_radius: 2, ..Config::default() });
    let now = thingway_contract::Instant::ZERO;
    let mut machine = <Conversation as thingway_contract::Protocol>::open(&config, &peer(&[9]), now);
    let mut out = thingway_contract::Outbox::default();
    let mut input = thingway_contract::Input::new(&[4, 0xfe, 1, 9, 3, 1, 0]);
    thingway_contract::Protocol::receive(&mut machine, &mut input, now, &mut out).expect("valid");
    assert_eq!(out.datagrams().collect::<Vec<_>>(), [&[4, 0xfe, 2, 9, 3, 2, 1][..]]);
}

#[test]
fn section_5_5_forwarders_can_be_switched_off() {
    let mut pair = Pair::behind(Config { forwarding: false, ..Config::default() }, &[9]);
    pair.connect(true);
    pair.expect_nothing();
    assert_eq!(pair.faults, [MqttSnFault::ForwardingRefused]);
}

#[test]
fn malformed_datagrams_are_counted_and_harm_nobody() {
    let mut pair = Pair::active();
    for datagram in [&[][..], &[0], &[9, 0x0c], &[2, 0x11], &[4, 0xfe, 0, 9, 4, 0xfe, 0, 9, 2, 0x16]] {
        pair.send_datagram(datagram);
    }
    let faults: Vec<_> = [
        PacketError::Truncated,
        PacketError::Length,
        PacketError::Truncated,
        PacketError::UnknownType(0x11),
        PacketError::NestedForwarding,
    ]
    .map(MqttSnFault::Packet)
    .to_vec();
    assert_eq!(pair.faults, faults);
    pair.expect_nothing();
    pair.ping("");
    pair.expect(&[Packet::Pingresp]);
}

#[test]
fn a_datagram_over_the_limit_is_not_read() {
    let mut pair = Pair::connected(Config { packet_bytes_max: 10, ..Config::default() }, true);
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Short(*b"ab"), 0, b"1234"));
    assert_eq!((pair.faults.as_slice(), pair.published.len()), (&[MqttSnFault::TooLarge][..], 0));
    pair.send(&publish(Qos::AtMostOnce, TopicRef::Short(*b"ab"), 0, b"123"));
    assert_eq!(pair.published.len(), 1);
}

#[test]
fn what_only_gateways_send_is_not_answered() {
    let mut pair = Pair::new(Config::default());
    pair.send(&accepted());
    pair.send(&Packet::Pingresp);
    pair.send(&goodbye());
    pair.expect_nothing();
    assert_eq!(
        pair.faults,
        [MqttSnFault::Unexpected(PacketType::Connack), MqttSnFault::Unexpected(PacketType::Pingresp)]
    );
}
