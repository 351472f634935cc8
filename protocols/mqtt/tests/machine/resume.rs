//! Sessions that outlive their connections (sections 4.1, 4.3 and 4.4).

use thingway_contract::{Delivered, Instant, MessageHead, Parked, Qos, Unacknowledged};
use thingway_mqtt::{
    Config, PropertyId, Reason, Value, Version,
    packet::{Ack, Packet, Publish},
};

use crate::support::*;

fn unacknowledged(packet_id: u16, qos: Qos, payload: &[u8]) -> Unacknowledged {
    Unacknowledged { packet_id, delivery: Some(delivery(qos, "t", payload)) }
}

fn released(packet_id: u16) -> Unacknowledged {
    Unacknowledged { packet_id, delivery: None }
}

/// [MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-3.3.1-1], [MQTT-3.3.1-3], [MQTT-4.3.3-6]; in 3.1.1 [MQTT-4.4.0-1].
#[test]
fn unacknowledged_messages_are_sent_again_in_order_with_dup() {
    for version in Version::ALL {
        let outbound = vec![
            unacknowledged(65_535, Qos::ExactlyOnce, b"1"),
            unacknowledged(3, Qos::AtLeastOnce, b"2"),
            released(9),
            unacknowledged(1, Qos::AtLeastOnce, b"3"),
        ];
        let mut pair = Pair::resumed(version, Parked { outbound, next_packet_id: 2, ..Parked::default() });
        let again = |qos, id, payload| Packet::Publish(Publish { duplicate: true, ..plain(qos, id, "t", payload) });
        pair.expect(&Packet::Pubrel(Ack::success(9)));
        pair.expect(&again(Qos::ExactlyOnce, 65_535, b"1"));
        pair.expect(&again(Qos::AtLeastOnce, 3, b"2"));
        pair.expect(&again(Qos::AtLeastOnce, 1, b"3"));
        pair.expect_nothing();
        // New messages come without DUP and with identifiers that are free.
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"4"));
        pair.expect(&Packet::Publish(plain(Qos::AtLeastOnce, 2, "t", b"4")));
        pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"5"));
        let bytes = pair.next_packet();
        assert!(![1, 2, 3, 9, 65_535].contains(&publish_of(version, &bytes).packet_id));
        pair.pubcomp(9);
        pair.puback(3);
        pair.pubrec(65_535);
        pair.expect(&Packet::Pubrel(Ack::success(65_535)));
        pair.pubcomp(65_535);
        assert_eq!(pair.depart().parked.outbound.len(), 3);
    }
}

/// [MQTT-4.9.0-1], [MQTT-4.9.0-2]: the receive maximum holds for what is sent again, and new messages wait behind.
#[test]
fn resending_keeps_to_the_receive_maximum() {
    let outbound = (1..=4).map(|id| unacknowledged(id, Qos::AtLeastOnce, &[id as u8])).chain([released(5)]).collect();
    let parked = Parked { outbound, next_packet_id: 6, ..Parked::default() };
    let properties: Extras<'_> = &[(PropertyId::ReceiveMaximum, Value::Two(2))];
    let opening = Opening { clean_start: false, properties, ..Opening::default() };
    let mut pair = Pair::resumed_with(Version::V5, Config::default(), &opening, Some(parked));
    let again =
        |id| Packet::Publish(Publish { duplicate: true, payload: &[], ..plain(Qos::AtLeastOnce, id, "t", &[]) });
    let expect_again = |pair: &mut Pair, id: u16| {
        let bytes = pair.next_packet();
        let publish = publish_of(Version::V5, &bytes);
        assert_eq!(publish.payload, [id as u8]);
        assert_eq!(Packet::Publish(Publish { payload: &[], ..publish }), again(id));
    };
    pair.expect(&Packet::Pubrel(Ack::success(5)));
    expect_again(&mut pair, 1);
    expect_again(&mut pair, 2);
    pair.expect_nothing();
    let delivered = pair.deliver(delivery(Qos::AtLeastOnce, "t", b"new"));
    assert!(matches!(delivered, Delivered::Later(_)));
    // The release took nothing of the window, so its end gives nothing back.
    pair.pubcomp(5);
    pair.expect_nothing();
    pair.puback(2);
    expect_again(&mut pair, 3);
    pair.puback(1);
    expect_again(&mut pair, 4);
    pair.expect_nothing();
    let delivered = pair.deliver(delivery(Qos::AtLeastOnce, "t", b"new"));
    assert!(matches!(delivered, Delivered::Later(_)));
    pair.puback(3);
    pair.deliver_now(delivery(Qos::AtLeastOnce, "t", b"new"));
}

/// [MQTT-4.3.3-10]: what was published before the reconnect is not published again.
#[test]
fn a_received_qos_2_message_stays_received() {
    for version in Version::ALL {
        let parked = Parked { inbound: vec![7, 8], next_packet_id: 1, ..Parked::default() };
        let mut pair = Pair::resumed(version, parked);
        pair.publish_with(true, Qos::ExactlyOnce, 7, "t", b"", &[]);
        pair.expect(&Packet::Pubrec(Ack::success(7)));
        assert!(pair.published.is_empty());
        pair.pubrel(7);
        pair.expect(&Packet::Pubcomp(Ack::success(7)));
        pair.pubrel(8);
        pair.expect(&Packet::Pubcomp(Ack::success(8)));
        pair.publish(Qos::ExactlyOnce, 7, "t", b"new");
        assert_eq!(pair.published.len(), 1);
    }
}

/// Section 4.9: the window of the new connection begins empty, and repeated messages count in it.
#[test]
fn repeated_messages_count_for_the_receive_maximum_of_this_connection() {
    let config = Config { receive_maximum: 2, ..Config::default() };
    let parked = Parked { inbound: vec![1, 2, 3], next_packet_id: 1, ..Parked::default() };
    let opening = Opening { clean_start: false, ..Opening::default() };
    let mut pair = Pair::resumed_with(Version::V5, config, &opening, Some(parked));
    for id in [1, 2] {
        pair.publish_with(true, Qos::ExactlyOnce, id, "t", b"", &[]);
        pair.expect(&Packet::Pubrec(Ack::success(id)));
    }
    pair.pubrel(1);
    pair.expect(&Packet::Pubcomp(Ack::success(1)));
    pair.publish_with(true, Qos::ExactlyOnce, 3, "t", b"", &[]);
    pair.expect(&Packet::Pubrec(Ack::success(3)));
    pair.publish(Qos::AtLeastOnce, 4, "t", b"");
    pair.expect_disconnect(Reason::ReceiveMaximumExceeded);
}

#[test]
fn state_moves_between_versions() {
    let properties: Extras<'_> = &[(PropertyId::TopicAliasMaximum, Value::Two(5))];
    let opening = Opening { properties, ..Opening::default() };
    let mut old = Pair::connected_with(Version::V5, Config::default(), &opening);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        old.deliver_now(delivery(qos, "some/topic", b"x"));
    }
    let parked = old.depart().parked;
    let mut new = Pair::resumed(Version::V31, parked);
    for (qos, id) in [(Qos::AtLeastOnce, 1), (Qos::ExactlyOnce, 2)] {
        let again = Publish { duplicate: true, ..plain(qos, id, "some/topic", b"x") };
        new.expect(&Packet::Publish(again));
    }
}

/// Topic aliases belong to the connection [MQTT-3.3.2-7].
#[test]
fn aliases_do_not_outlive_the_connection() {
    let properties: Extras<'_> = &[(PropertyId::TopicAliasMaximum, Value::Two(5))];
    let opening = Opening { properties, clean_start: false, ..Opening::default() };
    let mut parked = None;
    for _ in 0..2 {
        let mut pair = Pair::resumed_with(Version::V5, Config::default(), &opening, parked);
        pair.deliver_now(delivery(Qos::AtLeastOnce, "some/topic", b"x"));
        let bytes = pair.next_packet();
        let publish = publish_of(Version::V5, &bytes);
        assert_eq!(publish.topic, "some/topic");
        assert_eq!(publish.properties.short(PropertyId::TopicAlias), Some(1));
        pair.puback(publish.packet_id);
        parked = Some(pair.depart().parked);
    }
}

/// [MQTT-4.3.3-7]: once sent, a message does not expire; it goes out again with the least that can be told.
#[test]
fn an_expired_message_that_was_sent_is_sent_again() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let head = MessageHead { expires_at: Instant::from_millis(1), ..MessageHead::default() };
        let delivery = delivery_of(qos, message_with(head, "t", &[], b"x"));
        let outbound = vec![Unacknowledged { packet_id: 1, delivery: Some(delivery) }];
        let mut pair = Pair::resumed(Version::V5, Parked { outbound, next_packet_id: 2, ..Parked::default() });
        let bytes = pair.next_packet();
        let publish = publish_of(Version::V5, &bytes);
        assert!(publish.duplicate);
        assert_eq!(publish.properties.number(PropertyId::MessageExpiryInterval), Some(1));
    }
}

#[test]
fn a_message_too_large_for_the_new_connection_counts_as_delivered() {
    let outbound = vec![unacknowledged(1, Qos::AtLeastOnce, &[0; 100]), unacknowledged(2, Qos::AtLeastOnce, b"x")];
    let parked = Parked { outbound, next_packet_id: 3, ..Parked::default() };
    let properties: Extras<'_> = &[(PropertyId::MaximumPacketSize, Value::Four(50))];
    let opening = Opening { clean_start: false, properties, ..Opening::default() };
    let mut pair = Pair::resumed_with(Version::V5, Config::default(), &opening, Some(parked));
    let bytes = pair.next_packet();
    assert_eq!(publish_of(Version::V5, &bytes).packet_id, 2);
    pair.expect_nothing();
    assert_eq!(pair.depart().parked.outbound.len(), 1);
}

#[test]
fn a_connection_without_state_leaves_none() {
    for version in Version::ALL {
        let mut pair = Pair::connected(version);
        let departure = pair.depart();
        assert!(departure.parked.is_empty());
        let mut pair = Pair::open(version, Config::default());
        assert!(pair.depart().parked.is_empty());
    }
}
