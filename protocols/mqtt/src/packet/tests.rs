use proptest::{collection::vec, option, prelude::*};
use thingway_contract::{Qos, RetainHandling, SubscriptionOptions};

use super::*;
use crate::{PropertyBlock, PropertyId, PropertyWriter, Reason, Split, Value, split};

/// Splits and decodes bytes that must be exactly one packet.
pub(crate) fn decode_whole(version: Version, sender: Sender, bytes: &[u8]) -> Result<Packet<'_>, PacketError> {
    match split(bytes, usize::MAX)? {
        Split::Frame(frame) => {
            assert_eq!(frame.total_bytes(), bytes.len(), "the test's bytes are one packet");
            Packet::decode(version, sender, frame)
        }
        Split::Incomplete(_) => panic!("the test's bytes are a whole packet: {bytes:02x?}"),
    }
}

pub(crate) fn encode(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out).expect("fits");
    out
}

/// The packet encodes to these bytes and these bytes decode to the packet; no prefix of them does anything.
pub(crate) fn check_valid(version: Version, sender: Sender, bytes: &[u8], packet: &Packet<'_>) {
    assert_eq!(encode(version, packet), bytes, "{packet:?}");
    assert_eq!(decode_whole(version, sender, bytes), Ok(*packet));
    check_prefixes(version, sender, bytes);
}

pub(crate) fn check_malformed(version: Version, sender: Sender, bytes: &[u8], error: PacketError) {
    assert_eq!(decode_whole(version, sender, bytes), Err(error), "{version:?} {bytes:02x?}");
}

/// Every prefix of the bytes is incomplete, and every body cut short is an error or another packet, but never a panic.
fn check_prefixes(version: Version, sender: Sender, bytes: &[u8]) {
    for cut in 0..bytes.len() {
        assert!(matches!(split(&bytes[..cut], usize::MAX), Ok(Split::Incomplete(_))), "{cut} of {bytes:02x?}");
    }
    let Ok(Split::Frame(frame)) = split(bytes, usize::MAX) else { panic!("a frame") };
    for cut in 0..frame.body.len() {
        let _ = Packet::decode(version, sender, Frame { body: &frame.body[..cut], ..frame });
    }
}

pub(crate) fn wrap_ack(kind: PacketType, ack: Ack<'_>) -> Packet<'_> {
    match kind {
        PacketType::Puback => Packet::Puback(ack),
        PacketType::Pubrec => Packet::Pubrec(ack),
        PacketType::Pubrel => Packet::Pubrel(ack),
        PacketType::Pubcomp => Packet::Pubcomp(ack),
        other => panic!("{other:?} is no acknowledgement"),
    }
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)]
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

fn text() -> impl Strategy<Value = String> {
    "[a-zäß€😀 /]{0,40}"
}

fn topic() -> impl Strategy<Value = String> {
    "[a-z/ä€]{1,40}"
}

fn user_properties() -> impl Strategy<Value = PropertyWriter> {
    vec((text(), text()), 0..8).prop_map(|pairs| {
        let mut writer = PropertyWriter::new();
        for (name, value) in &pairs {
            writer.push(PropertyId::UserProperty, Value::Pair(name, value)).expect("short");
        }
        writer
    })
}

fn add_some(writer: &mut PropertyWriter, numbers: u32, text: &str) {
    // The bits decide which properties are there.
    let mut add = |bit: u32, id, value: Value<'_>| {
        if numbers >> bit & 1 != 0 {
            writer.push(id, value).expect("short");
        }
    };
    add(0, PropertyId::MessageExpiryInterval, Value::Four(numbers));
    add(1, PropertyId::ContentType, Value::Text(text));
    add(2, PropertyId::CorrelationData, Value::Bytes(text.as_bytes()));
    add(3, PropertyId::PayloadFormatIndicator, Value::Byte((numbers >> 8 & 1) as u8));
}

fn block_for(version: Version, writer: &PropertyWriter) -> PropertyBlock<'_> {
    if version.has_properties() { writer.as_block() } else { PropertyBlock::EMPTY }
}

proptest! {
    #[test]
    fn connect_round_trips(
        version in version(), clean_start: bool, keep_alive_secs: u16, client_id in text(), username in option::of(text()),
        password in option::of(vec(any::<u8>(), 0..40)), user in user_properties(),
        will in option::of((topic(), vec(any::<u8>(), 0..300), qos(), any::<bool>(), any::<u32>())),
    ) {
        let mut will_properties = PropertyWriter::new();
        if let Some((topic, .., numbers)) = &will {
            add_some(&mut will_properties, *numbers, topic);
        }
        let will = will.as_ref().map(|(topic, payload, qos, retain, _)| Will {
            topic, payload, qos: *qos, retain: *retain, properties: block_for(version, &will_properties),
        });
        let password = password.as_deref().filter(|_| version == Version::V5 || username.is_some());
        let connect = Connect {
            version, clean_start, keep_alive_secs, client_id: &client_id, will, username: username.as_deref(), password,
            properties: block_for(version, &user),
        };
        check_round_trip(version, Sender::Client, &Packet::Connect(connect))?;
    }

    #[test]
    fn publish_round_trips(
        version in version(), qos in qos(), duplicate: bool, retain: bool, topic in topic(), packet_id in 1u16..,
        payload in vec(any::<u8>(), 0..400), mut user in user_properties(), numbers: u32, by_client: bool,
    ) {
        add_some(&mut user, numbers, &topic);
        let sender = if by_client { Sender::Client } else { Sender::Server };
        let acknowledged = qos.is_acknowledged();
        let publish = Publish {
            duplicate: duplicate && acknowledged, qos, retain, topic: &topic,
            packet_id: if acknowledged { packet_id } else { 0 },
            properties: block_for(version, &user), payload: &payload,
        };
        check_round_trip(version, sender, &Packet::Publish(publish))?;
    }

    #[test]
    fn acknowledgements_round_trip(version in version(), packet_id in 1u16.., code: u8, user in user_properties()) {
        for kind in [PacketType::Puback, PacketType::Pubrec, PacketType::Pubrel, PacketType::Pubcomp] {
            let reason = Reason::from_u8(code)
                .filter(|reason| version == Version::V5 && reason.is_valid_in(kind, Sender::Client))
                .unwrap_or(Reason::Success);
            let ack = Ack { packet_id, reason, properties: block_for(version, &user) };
            check_round_trip(version, Sender::Client, &wrap_ack(kind, ack))?;
        }
    }

    #[test]
    fn subscribe_round_trips(
        version in version(), packet_id in 1u16.., user in user_properties(),
        filters in vec((text(), qos(), any::<bool>(), any::<bool>(), 0u8..3), 1..20),
    ) {
        let mut list = Vec::new();
        let mut names = Vec::new();
        for (filter, qos, no_local, retain_as_published, handling) in &filters {
            let mut options = SubscriptionOptions { qos: *qos, ..SubscriptionOptions::default() };
            if version == Version::V5 {
                options.no_local = *no_local;
                options.retain_as_published = *retain_as_published;
                options.retain_handling =
                    [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][usize::from(*handling)];
            }
            SubscribeFilters::push(&mut list, filter, options).expect("short");
            UnsubscribeFilters::push(&mut names, filter).expect("short");
        }
        let properties = block_for(version, &user);
        let filters = SubscribeFilters::from_encoded(&list);
        check_round_trip(version, Sender::Client, &Packet::Subscribe(Subscribe { packet_id, properties, filters }))?;
        let filters = UnsubscribeFilters::from_encoded(&names);
        check_round_trip(version, Sender::Client, &Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }))?;
    }

    #[test]
    fn answers_round_trip(version in version(), packet_id in 1u16.., user in user_properties(), codes in vec(0u8..3, 1..20)) {
        let properties = block_for(version, &user);
        check_round_trip(version, Sender::Server, &Packet::Suback(Suback { packet_id, properties, codes: &codes }))?;
        let zeros = vec![0; codes.len()];
        let codes: &[u8] = if version == Version::V5 { &zeros } else { &[] };
        check_round_trip(version, Sender::Server, &Packet::Unsuback(Unsuback { packet_id, properties, codes }))?;
        let connack = Connack { session_present: version > Version::V31, code: 0, properties };
        check_round_trip(version, Sender::Server, &Packet::Connack(connack))?;
        check_round_trip(version, Sender::Client, &Packet::Disconnect(Disconnect { reason: Reason::Success, properties }))?;
    }

    #[test]
    fn any_bytes_are_decoded_without_panic(bytes in vec(any::<u8>(), 0..200), version in version(), by_client: bool) {
        let sender = if by_client { Sender::Client } else { Sender::Server };
        if let Ok(Split::Frame(frame)) = split(&bytes, usize::MAX)
            && let Ok(packet) = Packet::decode(version, sender, frame)
        {
            // What was read can be written, and is read again as the same.
            let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
            let again = encode(version, &packet);
            prop_assert_eq!(decode_whole(version, sender, &again), Ok(packet));
        }
    }
}

fn check_round_trip(version: Version, sender: Sender, packet: &Packet<'_>) -> Result<(), TestCaseError> {
    let bytes = encode(version, packet);
    prop_assert_eq!(decode_whole(version, sender, &bytes), Ok(*packet));
    check_prefixes(version, sender, &bytes);
    Ok(())
}
