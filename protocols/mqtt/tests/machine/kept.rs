//! Sessions that the gateway keeps through its own restart: it chooses the packet identifiers of what it sends, and is told
//! how exchanges go on.

use thingway_contract::{Delivered, Delivery, Parked, PublishOutcome, Qos, Reply, Request, Token, Unacknowledged};
use thingway_mqtt::{
    Config, MqttFault, PropertyId, Reason, Value, Version,
    packet::{Ack, Packet, PacketType, Publish},
};

use crate::support::{Asked::*, *};

fn kept(qos: Qos, packet_id: u16, payload: &[u8]) -> Delivery {
    Delivery { packet_id, ..delivery(qos, "t", payload) }
}

fn unacknowledged(delivery: Delivery) -> Unacknowledged {
    Unacknowledged { packet_id: delivery.packet_id, delivery: Some(delivery) }
}

fn again<'a>(qos: Qos, packet_id: u16, payload: &'a [u8]) -> Packet<'a> {
    Packet::Publish(Publish { duplicate: true, ..plain(qos, packet_id, "t", payload) })
}

#[test]
fn the_gateways_identifier_is_sent_and_its_end_is_told() {
    for version in Version::ALL {
        let mut pair = Pair::kept(version);
        pair.deliver_now(kept(Qos::AtLeastOnce, 60_000, b"1"));
        pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 60_000, "t", b"1")));
        pair.deliver_now(kept(Qos::AtLeastOnce, 1, b"2"));
        pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 1, "t", b"2")));
        // The machine's own choice skips what is in use, and nobody is told of its end.
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"3"));
        pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 2, "t", b"3")));
        pair.puback(2);
        assert_eq!(pair.asked(), []);
        pair.puback(60_000);
        pair.puback(60_000);
        pair.puback(1);
        assert_eq!(pair.asked(), [Acknowledged(60_000), Acknowledged(1)]);
        // QoS 0 has no exchange.
        pair.deliver_now(kept(Qos::AtMostOnce, 9, b"4"));
        pair.expect(&Packet::Publish(plain(Qos::AtMostOnce, 0, "t", b"4")));
        assert!(pair.depart().parked.is_empty());
    }
}

#[test]
fn an_identifier_in_use_waits() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut pair = Pair::kept(Version::V5);
        pair.deliver_now(delivery(qos, "t", b"own"));
        pair.deliver_now(kept(qos, 7, b"1"));
        for id in [1, 7] {
            let delivered = pair.deliver(kept(qos, id, b"2"));
            assert!(matches!(delivered, Delivered::Later(Delivery { packet_id, .. }) if packet_id == id));
        }
        pair.next_packet();
        pair.next_packet();
        pair.expect_nothing();
        pair.send(&if qos == Qos::AtLeastOnce {
            Packet::Puback(Ack::success(7))
        } else {
            Packet::Pubrec(Ack::new(7, Reason::QuotaExceeded))
        });
        pair.deliver_now(kept(qos, 7, b"2"));
        pair.expect(&Packet::Publish(plain(qos, 7, "t", b"2")));
    }
}

/// [MQTT-4.9.0-2]
#[test]
fn chosen_identifiers_do_not_widen_the_window() {
    let properties: Extras<'_> = &[(PropertyId::ReceiveMaximum, Value::Two(2))];
    let opening = Opening { properties, ..Opening::default() };
    let mut pair = Pair::granted_with(Version::V5, Config::default(), &opening, None, true);
    pair.automatic = false;
    pair.deliver_now(kept(Qos::AtLeastOnce, 5, b""));
    pair.deliver_now(kept(Qos::ExactlyOnce, 3, b""));
    assert!(matches!(pair.deliver(kept(Qos::AtLeastOnce, 4, b"")), Delivered::Later(_)));
    // Neither PUBREC nor that it is kept frees anything.
    pair.pubrec(3);
    pair.answer();
    assert!(matches!(pair.deliver(kept(Qos::AtLeastOnce, 4, b"")), Delivered::Later(_)));
    pair.pubcomp(3);
    pair.deliver_now(kept(Qos::AtLeastOnce, 4, b""));
}

#[test]
fn pubrel_goes_out_when_pubrec_is_kept() {
    for version in Version::ALL {
        let mut pair = Pair::kept(version);
        pair.deliver_now(kept(Qos::ExactlyOnce, 7, b"x"));
        pair.expect(&Packet::Publish(plain(Qos::ExactlyOnce, 7, "t", b"x")));
        pair.pubrec(7);
        pair.pubrec(7);
        assert_eq!(pair.asked(), [Received(7)]);
        pair.expect_nothing();
        pair.answer();
        pair.expect(&Packet::Pubrel(Ack::success(7)));
        pair.expect_nothing();
        // Once kept it is kept.
        pair.pubrec(7);
        pair.expect(&Packet::Pubrel(Ack::success(7)));
        assert_eq!(pair.asked(), []);
        pair.pubcomp(7);
        assert_eq!(pair.asked(), [Acknowledged(7)]);
        pair.pubcomp(7);
        assert_eq!(pair.asked(), [Acknowledged(7)]);
        assert!(pair.depart().parked.is_empty());
    }
}

/// A message that was taken over cannot be refused any more.
#[test]
fn a_refusal_after_pubrec_changes_nothing() {
    let mut pair = Pair::kept(Version::V5);
    pair.deliver_now(kept(Qos::ExactlyOnce, 7, b"x"));
    pair.next_packet();
    pair.pubrec(7);
    pair.send(&Packet::Pubrec(Ack::new(7, Reason::UnspecifiedError)));
    assert_eq!(pair.asked(), [Received(7)]);
    pair.answer();
    pair.expect(&Packet::Pubrel(Ack::success(7)));
}

#[test]
fn a_refused_message_is_told_as_over() {
    let mut pair = Pair::kept(Version::V5);
    pair.deliver_now(kept(Qos::ExactlyOnce, 7, b"x"));
    pair.deliver_now(kept(Qos::AtLeastOnce, 8, b"x"));
    pair.send(&Packet::Pubrec(Ack::new(7, Reason::UnspecifiedError)));
    pair.send(&Packet::Puback(Ack::new(8, Reason::QuotaExceeded)));
    assert_eq!(pair.asked(), [Acknowledged(7), Acknowledged(8)]);
    assert!(pair.depart().parked.is_empty());
}

#[test]
fn acknowledgements_before_pubrel_are_protocol_errors() {
    for version in BOTH {
        for kind in [PacketType::Puback, PacketType::Pubcomp] {
            let mut pair = Pair::kept(version);
            pair.deliver_now(kept(Qos::ExactlyOnce, 7, b"x"));
            pair.next_packet();
            pair.pubrec(7);
            if kind == PacketType::Puback {
                pair.puback(7)
            } else {
                pair.pubcomp(7)
            }
            pair.expect_end(&MqttFault::AckOutOfOrder(kind), Reason::ProtocolError);
        }
    }
}

/// [MQTT-4.6.0-4]: PUBREL in the order of PUBREC, whoever chose the identifiers.
#[test]
fn releases_keep_the_order_of_what_was_received() {
    for version in BOTH {
        let mut pair = Pair::kept(version);
        let [first, _, _, second] = [
            delivery(Qos::ExactlyOnce, "t", b"own"),
            kept(Qos::ExactlyOnce, 10, b""),
            kept(Qos::ExactlyOnce, 20, b""),
            delivery(Qos::ExactlyOnce, "t", b"own"),
        ]
        .map(|delivery| {
            pair.deliver_now(delivery);
            publish_of(version, &pair.next_packet()).packet_id
        });
        pair.pubrec(20);
        pair.pubrec(first);
        pair.pubrec(first);
        pair.pubrec(10);
        pair.pubrec(second);
        pair.expect_nothing();
        assert_eq!(pair.asked(), [Received(20), Received(10)]);
        pair.answer();
        pair.expect(&Packet::Pubrel(Ack::success(20)));
        pair.expect(&Packet::Pubrel(Ack::success(first)));
        pair.expect_nothing();
        pair.answer();
        pair.expect(&Packet::Pubrel(Ack::success(10)));
        pair.expect(&Packet::Pubrel(Ack::success(second)));
        pair.expect_nothing();
        for id in [second, 10, 20, first] {
            pair.pubcomp(id);
        }
        assert_eq!(pair.asked(), [Acknowledged(10), Acknowledged(20)]);
        assert!(pair.depart().parked.is_empty());
    }
}

/// What belongs to no message has no turn to wait for.
#[test]
fn strays_are_answered_at_once() {
    let mut pair = Pair::kept(Version::V5);
    pair.deliver_now(kept(Qos::ExactlyOnce, 7, b""));
    pair.next_packet();
    pair.pubrec(7);
    pair.pubrec(8);
    pair.expect_ack(PacketType::Pubrel, 8, Reason::PacketIdentifierNotFound);
    pair.pubrel(8);
    pair.expect_ack(PacketType::Pubcomp, 8, Reason::PacketIdentifierNotFound);
    assert_eq!(pair.asked(), [Received(7)]);
}

#[test]
fn both_kinds_are_resumed() {
    for version in Version::ALL {
        let outbound = vec![
            unacknowledged(kept(Qos::ExactlyOnce, 300, b"1")),
            Unacknowledged { packet_id: 9, delivery: None },
            Unacknowledged { packet_id: 2, delivery: Some(delivery(Qos::ExactlyOnce, "t", b"2")) },
            unacknowledged(kept(Qos::AtLeastOnce, 4, b"3")),
            Unacknowledged { packet_id: 5, delivery: Some(delivery(Qos::AtLeastOnce, "t", b"4")) },
        ];
        let parked = Parked { outbound, next_packet_id: 2, ..Parked::default() };
        let mut pair = Pair::kept_with(version, Config::default(), parked);
        pair.expect(&Packet::Pubrel(Ack::success(9)));
        pair.expect(&again(Qos::ExactlyOnce, 300, b"1"));
        pair.expect(&again(Qos::ExactlyOnce, 2, b"2"));
        pair.expect(&again(Qos::AtLeastOnce, 4, b"3"));
        pair.expect(&again(Qos::AtLeastOnce, 5, b"4"));
        pair.pubcomp(9);
        pair.puback(5);
        pair.puback(4);
        pair.pubrec(2);
        pair.expect(&Packet::Pubrel(Ack::success(2)));
        pair.pubcomp(2);
        pair.pubrec(300);
        assert_eq!(pair.asked(), [Acknowledged(9), Acknowledged(4), Received(300)]);
        for _ in 0..3 {
            pair.answer();
        }
        pair.expect(&Packet::Pubrel(Ack::success(300)));
        pair.pubcomp(300);
        assert_eq!(pair.asked(), [Acknowledged(300)]);
        assert!(pair.depart().parked.is_empty());
    }
}

/// Without its content nothing but the session tells whose an exchange is.
#[test]
fn a_release_of_another_session_is_told_to_nobody() {
    let outbound =
        vec![Unacknowledged { packet_id: 9, delivery: None }, unacknowledged(kept(Qos::AtLeastOnce, 4, b"x"))];
    let mut pair = Pair::resumed(Version::V5, Parked { outbound, next_packet_id: 2, ..Parked::default() });
    pair.automatic = false;
    pair.pubcomp(9);
    assert_eq!(pair.asked(), []);
    pair.puback(4);
    assert_eq!(pair.asked(), [Acknowledged(4)]);
}

#[test]
fn what_is_too_large_for_the_new_connection_is_told_as_over() {
    let outbound = vec![
        unacknowledged(kept(Qos::AtLeastOnce, 1, &[0; 100])),
        Unacknowledged { packet_id: 2, delivery: Some(delivery(Qos::AtLeastOnce, "t", &[0; 100])) },
        unacknowledged(kept(Qos::AtLeastOnce, 3, b"x")),
    ];
    let parked = Parked { outbound, next_packet_id: 3, ..Parked::default() };
    let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(50))];
    let opening = Opening { clean_start: false, properties, ..Opening::default() };
    let mut pair = Pair::granted_with(Version::V5, Config::default(), &opening, Some(parked), true);
    pair.expect(&again(Qos::AtLeastOnce, 3, b"x"));
    assert_eq!(pair.asked(), [Acknowledged(1)]);
    assert_eq!(pair.depart().parked.outbound.len(), 1);
}

#[test]
fn only_a_kept_session_tells_the_identifiers_of_qos_2() {
    for version in Version::ALL {
        for (mut pair, id) in [(Pair::kept(version), 7), (Pair::connected(version), 0)] {
            pair.automatic = false;
            pair.publish(Qos::AtMostOnce, 0, "t", b"");
            pair.publish(Qos::AtLeastOnce, 7, "t", b"");
            pair.publish(Qos::ExactlyOnce, 7, "t", b"");
            pair.publish_with(true, Qos::ExactlyOnce, 7, "t", b"", &[]);
            assert_eq!(pair.asked()[..2], [Publish(0), Publish(0)]);
            assert_eq!(pair.asked().last(), Some(&Publish(id)));
        }
    }
}

#[test]
fn pubcomp_goes_out_when_the_release_is_kept() {
    for version in Version::ALL {
        let mut pair = Pair::kept(version);
        pair.publish(Qos::ExactlyOnce, 7, "t", b"x");
        pair.answer();
        pair.expect(&Packet::Pubrec(Ack::success(7)));
        pair.pubrel(7);
        pair.pubrel(7);
        assert_eq!(pair.asked(), [Released(7)]);
        pair.expect_nothing();
        pair.answer();
        pair.expect(&Packet::Pubcomp(Ack::success(7)));
        pair.expect_nothing();
        assert!(pair.depart().parked.is_empty());
    }
}

#[test]
fn a_release_of_an_earlier_connection_is_kept_before_pubcomp() {
    let parked = Parked { inbound: vec![7], next_packet_id: 1, ..Parked::default() };
    let mut pair = Pair::kept_with(Version::V311, Config::default(), parked);
    pair.pubrel(7);
    pair.expect_nothing();
    assert_eq!(pair.asked(), [Released(7)]);
    pair.answer();
    pair.expect(&Packet::Pubcomp(Ack::success(7)));
}

/// [MQTT-2.2.1-3]: before PUBCOMP the identifier is not free for another message.
#[test]
fn an_identifier_that_is_being_released_is_in_use() {
    let released = |version| {
        let mut pair = Pair::kept(version);
        pair.publish(Qos::ExactlyOnce, 7, "t", b"1");
        pair.answer();
        pair.expect(&Packet::Pubrec(Ack::success(7)));
        pair.pubrel(7);
        pair.publish(Qos::ExactlyOnce, 7, "t", b"2");
        assert_eq!(pair.asked(), [Released(7)]);
        pair.answer();
        pair.expect(&Packet::Pubcomp(Ack::success(7)));
        pair
    };
    let mut pair = released(Version::V5);
    pair.expect_ack(PacketType::Pubrec, 7, Reason::PacketIdentifierInUse);
    // Nothing was said that could make the client forget it.
    released(Version::V311).expect_nothing();
    for version in BOTH {
        let mut pair = released(version);
        pair.publish_with(true, Qos::ExactlyOnce, 7, "t", b"2", &[]);
        pair.answer();
        let payloads: Vec<_> = pair.published.iter().map(|message| message.payload()).collect();
        assert_eq!(payloads, [b"1", b"2"]);
    }
}

/// [MQTT-3.3.4-7]: a message counts until PUBCOMP.
#[test]
fn a_release_that_is_not_kept_frees_nothing() {
    let config = Config { receive_maximum: 1, ..Config::default() };
    for answered in [false, true] {
        let mut pair = Pair::kept_with(Version::V5, config.clone(), Parked::default());
        pair.publish(Qos::ExactlyOnce, 7, "t", b"");
        pair.answer();
        pair.pubrel(7);
        if answered {
            pair.answer();
        }
        pair.publish(Qos::AtLeastOnce, 8, "t", b"");
        assert_eq!(pair.fault, (!answered).then_some(MqttFault::ReceiveMaximumExceeded));
    }
}

/// What the client was not told is left as it was, so that the next connection asks again: that PUBREC came, and that
/// PUBREL came. Incoming messages without an answer are the gateway's to know.
#[test]
fn only_what_was_told_is_left() {
    for version in Version::ALL {
        let mut pair = Pair::kept(version);
        for id in 1..=3 {
            pair.publish(Qos::ExactlyOnce, id, "t", b"");
            pair.answer();
        }
        for id in 11..=13 {
            pair.deliver_now(kept(Qos::ExactlyOnce, id, b"x"));
        }
        pair.pubrec(11);
        pair.pubrel(1);
        pair.answer();
        pair.answer();
        pair.pubrec(12);
        pair.pubrel(2);
        pair.publish(Qos::ExactlyOnce, 1, "t", b"");
        assert_eq!(pair.asked(), [Received(12), Released(2), Publish(1)]);
        let parked = pair.depart().parked;
        let outbound: Vec<_> = parked.outbound.iter().map(|e| (e.packet_id, e.delivery.is_some())).collect();
        assert_eq!(outbound, [(11, false), (12, true), (13, true)]);
        assert_eq!(parked.inbound, [2, 3]);

        let mut pair = Pair::kept_with(version, Config::default(), parked);
        pair.expect(&Packet::Pubrel(Ack::success(11)));
        pair.expect(&again(Qos::ExactlyOnce, 12, b"x"));
        pair.expect(&again(Qos::ExactlyOnce, 13, b"x"));
        pair.publish_with(true, Qos::ExactlyOnce, 1, "t", b"", &[]);
        pair.pubrel(2);
        pair.pubrec(12);
        assert_eq!(pair.asked(), [Publish(1), Released(2), Received(12)]);
    }
}

#[test]
fn replies_that_were_not_asked_for_are_the_gateways_fault() {
    let mut pair = Pair::kept(Version::V5);
    pair.deliver_now(kept(Qos::ExactlyOnce, 7, b""));
    pair.next_packet();
    pair.pubrec(7);
    let Some(Request::Received { token, .. }) = pair.request() else { panic!("PUBREC is told") };
    pair.reply(Reply::Recorded { token });
    pair.expect(&Packet::Pubrel(Ack::success(7)));
    pair.reply(Reply::Recorded { token });
    assert_eq!(pair.fault, Some(MqttFault::BadReply));
    for token in [Token(7), Token(5 << 16 | 7), Token(6 << 16 | 7), Token::NONE] {
        let mut pair = Pair::kept(Version::V5);
        pair.publish(Qos::ExactlyOnce, 7, "t", b"");
        pair.answer();
        pair.reply(Reply::Recorded { token });
        assert_eq!(pair.fault, Some(MqttFault::BadReply));
    }
    let mut pair = Pair::kept(Version::V5);
    pair.publish(Qos::ExactlyOnce, 7, "t", b"");
    pair.answer();
    pair.pubrel(7);
    let Some(Request::Released { token, .. }) = pair.request() else { panic!("PUBREL is told") };
    pair.reply(Reply::Published { token, outcome: PublishOutcome::Accepted });
    assert_eq!(pair.fault, Some(MqttFault::BadReply));
}
