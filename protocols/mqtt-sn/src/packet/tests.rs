use proptest::{collection::vec, prelude::*};
use thingway_contract::Qos;

use super::*;

/// What a packet is made of, owned.
#[derive(Clone, Debug)]
struct Parts {
    kind: usize,
    text: String,
    bytes: Vec<u8>,
    numbers: (u8, u16, u16),
    flags: (bool, bool),
    qos: u8,
    topic: u8,
    code: u8,
}

fn parts() -> impl Strategy<Value = Parts> {
    let text = prop_oneof![4 => "[a-zA-Z0-9/+#ä]{0,30}", 1 => "[a-z]{240,300}"];
    let bytes = prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 240..300)];
    let numbers = (any::<u8>(), any::<u16>(), any::<u16>());
    let flags = (any::<bool>(), any::<bool>());
    (0usize..28, text, bytes, numbers, flags, 0u8..4, 0u8..3, 0u8..4).prop_map(
        |(kind, text, bytes, numbers, flags, qos, topic, code)| Parts {
            kind,
            text,
            bytes,
            numbers,
            flags,
            qos,
            topic,
            code,
        },
    )
}

fn packet(parts: &Parts) -> Packet<'_> {
    let (byte, one, two) = parts.numbers;
    let (yes, also) = parts.flags;
    let qos = Qos::from_u8(parts.qos);
    let topic = match parts.topic {
        0 => TopicName::Name(&parts.text),
        1 => TopicName::Predefined(one),
        _ => TopicName::Short(one.to_be_bytes()),
    };
    let reference = TopicRef::of(parts.topic, one).expect("a type");
    let code = ReturnCode::of(parts.code).expect("a code");
    let will = Some(WillTopic { qos: qos.unwrap_or_default(), retain: yes, topic: &parts.text }).filter(|_| also);
    match PacketType::ALL[parts.kind] {
        PacketType::Advertise => Packet::Advertise(Advertise { gateway_id: byte, duration_secs: one }),
        PacketType::SearchGw => Packet::SearchGw(SearchGw { radius: byte }),
        PacketType::GwInfo => Packet::GwInfo(GwInfo { gateway_id: byte, address: &parts.bytes }),
        PacketType::Auth => Packet::Auth(Auth { reason: byte, method: METHOD_PLAIN, data: &parts.bytes }),
        PacketType::Connect => {
            Packet::Connect(Connect { will: yes, clean_session: also, duration_secs: one, client_id: &parts.text })
        }
        PacketType::Connack => Packet::Connack(Connack { code }),
        PacketType::WillTopicReq => Packet::WillTopicReq,
        PacketType::WillTopic => Packet::WillTopic(will),
        PacketType::WillMsgReq => Packet::WillMsgReq,
        PacketType::WillMsg => Packet::WillMsg(&parts.bytes),
        PacketType::Register => Packet::Register(Register { topic_id: one, message_id: two, topic: &parts.text }),
        PacketType::Regack => Packet::Regack(Regack { topic_id: one, message_id: two, code }),
        PacketType::Publish => Packet::Publish(Publish {
            duplicate: yes,
            qos,
            retain: also,
            topic: reference,
            message_id: two,
            payload: &parts.bytes,
        }),
        PacketType::Puback => Packet::Puback(Puback { topic_id: one, message_id: two, code }),
        PacketType::Pubcomp => Packet::Pubcomp(one),
        PacketType::Pubrec => Packet::Pubrec(one),
        PacketType::Pubrel => Packet::Pubrel(one),
        PacketType::Subscribe => Packet::Subscribe(Subscribe { duplicate: yes, qos, message_id: two, topic }),
        PacketType::Suback => {
            Packet::Suback(Suback { qos: qos.unwrap_or_default(), topic_id: one, message_id: two, code })
        }
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe { message_id: two, topic }),
        PacketType::Unsuback => Packet::Unsuback(one),
        PacketType::Pingreq => Packet::Pingreq(Pingreq { client_id: &parts.text }),
        PacketType::Pingresp => Packet::Pingresp,
        PacketType::Disconnect => Packet::Disconnect(Disconnect { duration_secs: yes.then_some(one) }),
        PacketType::WillTopicUpd => Packet::WillTopicUpd(will),
        PacketType::WillTopicResp => Packet::WillTopicResp(code),
        PacketType::WillMsgUpd => Packet::WillMsgUpd(&parts.bytes),
        PacketType::WillMsgResp => Packet::WillMsgResp(code),
    }
}

proptest! {
    #[test]
    fn round_trip(parts in parts()) {
        let packet = packet(&parts);
        prop_assert_eq!(packet.packet_type(), PacketType::ALL[parts.kind]);
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).expect("short");
        prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        // The long form of the length means the same.
        if bytes[0] != 1 {
            let [high, low] = (bytes.len() as u16 + 2).to_be_bytes();
            let long = [&[1, high, low], &bytes[1..]].concat();
            prop_assert_eq!(Packet::decode(&long), Ok(packet));
        }
        // A length that does not fit the datagram is an error.
        for cut in 0..bytes.len() {
            prop_assert!(Packet::decode(&bytes[..cut]).is_err());
        }
        bytes.push(0);
        prop_assert_eq!(Packet::decode(&bytes), Err(PacketError::TrailingBytes));
    }

    #[test]
    fn what_is_read_can_be_written(data in vec(any::<u8>(), 0..60), kind in 0u8..0x20) {
        let message = [&[data.len() as u8 + 2, kind], &data[..]].concat();
        if let Ok(packet) = Packet::decode(&message) {
            let mut bytes = Vec::new();
            packet.encode(&mut bytes).expect("short");
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }
    }
}

/// Bytes as the figures of section 5.4 have them.
#[test]
fn section_5_4_messages_have_the_specifications_bytes() {
    let qos = Some(Qos::AtLeastOnce);
    for (packet, bytes) in [
        (Packet::Advertise(Advertise { gateway_id: 7, duration_secs: 900 }), &[5, 0, 7, 3, 0x84][..]),
        (Packet::SearchGw(SearchGw { radius: 1 }), &[3, 1, 1]),
        (Packet::GwInfo(GwInfo { gateway_id: 7, address: &[] }), &[3, 2, 7]),
        (Packet::Auth(Auth { reason: 0, method: "PLAIN", data: b"\0u\0p" }), b"\x0d\x03\0\x05PLAIN\0u\0p"),
        (
            Packet::Connect(Connect { will: true, clean_session: true, duration_secs: 60, client_id: "ab" }),
            b"\x08\x04\x0c\x01\0\x3cab",
        ),
        (Packet::Connack(Connack { code: ReturnCode::Congestion }), &[3, 5, 1]),
        (Packet::WillTopicReq, &[2, 6]),
        (Packet::WillTopic(None), &[2, 7]),
        (Packet::WillTopic(Some(WillTopic { qos: Qos::ExactlyOnce, retain: true, topic: "w" })), b"\x04\x07\x50w"),
        (Packet::WillMsgReq, &[2, 8]),
        (Packet::WillMsg(b"x"), b"\x03\x09x"),
        (Packet::Register(Register { topic_id: 0, message_id: 9, topic: "a/b" }), b"\x09\x0a\0\0\0\x09a/b"),
        (Packet::Regack(Regack { topic_id: 1, message_id: 9, code: ReturnCode::Accepted }), &[7, 0x0b, 0, 1, 0, 9, 0]),
        (
            Packet::Publish(Publish {
                duplicate: true,
                qos,
                retain: true,
                topic: TopicRef::Short(*b"ab"),
                message_id: 9,
                payload: b"x",
            }),
            b"\x08\x0c\xb2ab\0\x09x",
        ),
        (
            Packet::Publish(Publish {
                duplicate: false,
                qos: None,
                retain: false,
                topic: TopicRef::Predefined(5),
                message_id: 0,
                payload: b"",
            }),
            &[7, 0x0c, 0x61, 0, 5, 0, 0],
        ),
        (
            Packet::Puback(Puback { topic_id: 5, message_id: 9, code: ReturnCode::InvalidTopicId }),
            &[7, 0x0d, 0, 5, 0, 9, 2],
        ),
        (Packet::Pubrec(9), &[4, 0x0f, 0, 9]),
        (Packet::Pubrel(9), &[4, 0x10, 0, 9]),
        (Packet::Pubcomp(9), &[4, 0x0e, 0, 9]),
        (
            Packet::Subscribe(Subscribe { duplicate: false, qos, message_id: 9, topic: TopicName::Name("a/#") }),
            b"\x08\x12\x20\0\x09a/#",
        ),
        (
            Packet::Suback(Suback { qos: Qos::AtLeastOnce, topic_id: 1, message_id: 9, code: ReturnCode::Accepted }),
            &[8, 0x13, 0x20, 0, 1, 0, 9, 0],
        ),
        (
            Packet::Unsubscribe(Unsubscribe { message_id: 9, topic: TopicName::Predefined(3) }),
            &[7, 0x14, 1, 0, 9, 0, 3],
        ),
        (Packet::Unsuback(9), &[4, 0x15, 0, 9]),
        (Packet::Pingreq(Pingreq { client_id: "" }), &[2, 0x16]),
        (Packet::Pingreq(Pingreq { client_id: "ab" }), b"\x04\x16ab"),
        (Packet::Pingresp, &[2, 0x17]),
        (Packet::Disconnect(Disconnect { duration_secs: None }), &[2, 0x18]),
        (Packet::Disconnect(Disconnect { duration_secs: Some(300) }), &[4, 0x18, 1, 0x2c]),
        (Packet::WillTopicUpd(None), &[2, 0x1a]),
        (Packet::WillMsgUpd(b"x"), b"\x03\x1cx"),
        (Packet::WillTopicResp(ReturnCode::Accepted), &[3, 0x1b, 0]),
        (Packet::WillMsgResp(ReturnCode::NotSupported), &[3, 0x1d, 3]),
    ] {
        let mut out = Vec::new();
        packet.encode(&mut out).expect("short");
        assert_eq!(out, bytes, "{packet:?}");
        assert_eq!(Packet::decode(bytes), Ok(packet));
    }
}

#[test]
fn what_is_wrong_is_told() {
    for (bytes, error) in [
        (&[2, 0x11][..], PacketError::UnknownType(0x11)),
        (&[2, 0xfe], PacketError::UnknownType(0xfe)),
        (&[6, 4, 0, 2, 0, 0], PacketError::ProtocolId(2)),
        (&[7, 4, 0, 1, 0, 0, 0xff], PacketError::NotUtf8),
        (&[3, 5], PacketError::Truncated),
        (&[7, 0x0c, 0x03, 0, 1, 0, 1], PacketError::TopicIdType),
        (&[6, 0x12, 0x23, 0, 1, b'a'], PacketError::TopicIdType),
        (&[4, 7, 0x60, b'w'], PacketError::Qos),
        (&[8, 0x13, 0x60, 0, 1, 0, 9, 0], PacketError::Qos),
        (&[3, 0x18, 1], PacketError::Truncated),
        (&[3, 0x17, 1], PacketError::TrailingBytes),
        (&[6, 0x0c, 0, 0, 1, 0], PacketError::Truncated),
        (&[6, 0x12, 1, 0, 1, 7], PacketError::Truncated),
        (&[8, 0x12, 2, 0, 1, 7, 7, 7], PacketError::TrailingBytes),
        (&[4, 3, 0, 9], PacketError::Truncated),
    ] {
        assert_eq!(Packet::decode(bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn table_5_reserved_return_codes_are_refusals() {
    assert_eq!(Packet::decode(&[3, 5, 0x80]), Ok(Packet::Connack(Connack { code: ReturnCode::NotSupported })));
}
