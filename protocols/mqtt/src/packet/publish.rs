use std::ops::Range;

use thingway_contract::{Qos, Topic, TopicLimits};

use crate::{
    EncodeError, PacketError, PropertyBlock, PropertyId, Version,
    codec::{Reader, put_frame, put_text, put_u16, varint},
    packet::{PacketType, Sender},
    property::Owner,
};

const RETAIN: u8 = 0x01;
const DUPLICATE: u8 = 0x08;

/// PUBLISH: a message (MQTT 5.0, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Possibly sent before; false at QoS 0.
    pub duplicate: bool,
    /// Quality of service.
    pub qos: Qos,
    /// To be retained, or delivered because it was.
    pub retain: bool,
    /// Empty when a topic alias stands for it.
    pub topic: &'a str,
    /// 0 at QoS 0 and never else.
    pub packet_id: u16,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
    /// Any bytes.
    pub payload: &'a [u8],
}

/// Where the parts of a PUBLISH lie in the bytes behind its fixed header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishLayout {
    pub(crate) topic: Range<usize>,
    pub(crate) properties: Range<usize>,
    pub(crate) payload: usize,
}

impl<'a> Publish<'a> {
    pub(crate) fn decode(version: Version, sender: Sender, first: u8, body: &'a [u8]) -> Result<Self, PacketError> {
        let publish = Self::decode_topic_unchecked(version, sender, first, body)?;
        if !publish.topic.is_empty() {
            let limits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
            Topic::parse(publish.topic, limits).map_err(PacketError::Topic)?;
        }
        Ok(publish)
    }

    /// Leaves it to the caller to look for U+0000 and wildcards in a topic that is not empty: that pass also knows the
    /// operator's limits.
    pub(crate) fn decode_topic_unchecked(
        version: Version,
        sender: Sender,
        first: u8,
        body: &'a [u8],
    ) -> Result<Self, PacketError> {
        let qos = Qos::from_u8(first >> 1 & 3).ok_or(PacketError::QosInvalid)?;
        let duplicate = first & DUPLICATE != 0;
        if duplicate && !qos.is_acknowledged() {
            return Err(PacketError::DuplicateAtQos0);
        }
        let mut reader = Reader::new(body);
        let topic = reader.utf8()?;
        let packet_id = if qos.is_acknowledged() { reader.packet_id()? } else { 0 };
        let properties = if version.has_properties() {
            let owner = match sender {
                Sender::Client => Owner::PublishByClient,
                Sender::Server => Owner::PublishByServer,
            };
            PropertyBlock::read(owner, &mut reader)?
        } else {
            PropertyBlock::EMPTY
        };
        if topic.is_empty() && !properties.has(PropertyId::TopicAlias) {
            return Err(PacketError::NoTopic);
        }
        let retain = first & RETAIN != 0;
        Ok(Self { duplicate, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    /// Where the parts lie, as in every valid encoding there is one place for each.
    pub(crate) fn layout(&self, version: Version) -> PublishLayout {
        let topic = 2..2 + self.topic.len();
        let mut at = topic.end;
        if self.qos.is_acknowledged() {
            at += 2;
        }
        let length = self.properties.as_bytes().len();
        if version.has_properties() {
            at += varint::len(length as u32);
        }
        PublishLayout { topic, properties: at..at + length, payload: at + length }
    }

    /// The first byte of a PUBLISH with these flags.
    pub(crate) const fn first_byte(duplicate: bool, qos: Qos, retain: bool) -> u8 {
        let mut first = PacketType::Publish.first_byte() | (qos as u8) << 1;
        if duplicate {
            first |= DUPLICATE;
        }
        if retain {
            first |= RETAIN;
        }
        first
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, Self::first_byte(self.duplicate, self.qos, self.retain), |out| {
            put_text(out, self.topic)?;
            if self.qos.is_acknowledged() {
                put_u16(out, self.packet_id);
            }
            if version.has_properties() {
                self.properties.write(out)?;
            }
            out.extend_from_slice(self.payload);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::TopicError;

    use super::*;
    use crate::{
        PropertyWriter, Value,
        packet::{
            Packet,
            tests::{check_malformed, check_valid},
        },
    };

    fn plain(topic: &'static str, payload: &'static [u8]) -> Publish<'static> {
        Publish {
            duplicate: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic,
            packet_id: 0,
            properties: PropertyBlock::EMPTY,
            payload,
        }
    }

    #[test]
    fn valid_encodings() {
        for version in [Version::V31, Version::V311] {
            let publish = plain("a/b", b"hi");
            let bytes = [0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i'];
            check_valid(version, Sender::Client, &bytes, &Packet::Publish(publish));
            let publish =
                Publish { qos: Qos::AtLeastOnce, retain: true, duplicate: true, packet_id: 10, ..plain("t", b"") };
            check_valid(version, Sender::Server, &[0x3b, 5, 0, 1, b't', 0, 10], &Packet::Publish(publish));
        }
        check_valid(Version::V5, Sender::Client, &[0x30, 4, 0, 1, b't', 0], &Packet::Publish(plain("t", b"")));
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::TopicAlias, Value::Two(5)).expect("fits");
        let publish =
            Publish { qos: Qos::ExactlyOnce, packet_id: 0x0102, properties: properties.as_block(), ..plain("", b"x") };
        let bytes = [0x34, 9, 0, 0, 1, 2, 3, 0x23, 0, 5, b'x'];
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Publish(publish));
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::SubscriptionIdentifier, Value::Variable(1)).expect("fits");
        properties.push(PropertyId::SubscriptionIdentifier, Value::Variable(300)).expect("fits");
        let publish = Publish { properties: properties.as_block(), ..plain("t", b"") };
        let bytes = [0x30, 9, 0, 1, b't', 5, 0x0b, 1, 0x0b, 0xac, 2];
        check_valid(Version::V5, Sender::Server, &bytes, &Packet::Publish(publish));
    }

    #[test]
    fn the_layout_finds_the_parts() {
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::UserProperty, Value::Pair("k", &"v".repeat(200))).expect("short");
        for (version, qos, block) in [
            (Version::V311, Qos::AtMostOnce, PropertyBlock::EMPTY),
            (Version::V311, Qos::AtLeastOnce, PropertyBlock::EMPTY),
            (Version::V5, Qos::AtMostOnce, PropertyBlock::EMPTY),
            (Version::V5, Qos::ExactlyOnce, properties.as_block()),
        ] {
            let packet_id = if qos.is_acknowledged() { 7 } else { 0 };
            let publish = Publish { qos, packet_id, properties: block, ..plain("a/b", b"payload") };
            let mut out = Vec::new();
            publish.encode(version, &mut out).expect("fits");
            let body = &out[out.len() - (out.len() - 1 - varint::len(out.len() as u32 - 3))..];
            let layout = publish.layout(version);
            assert_eq!(&body[layout.topic], b"a/b");
            assert_eq!(&body[layout.properties], block.as_bytes());
            assert_eq!(&body[layout.payload..], b"payload");
        }
    }

    #[test]
    fn malformed_ones() {
        for version in Version::ALL {
            let client = |bytes: &[u8], error| check_malformed(version, Sender::Client, bytes, error);
            // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
            client(&[0x36, 6, 0, 1, b't', 0, 1, 0], PacketError::QosInvalid);
            client(&[0x38, 4, 0, 1, b't', 0], PacketError::DuplicateAtQos0);
            // [MQTT-2.2.1-3], [MQTT-3.3.2-1], [MQTT-3.3.2-2]
            client(&[0x32, 6, 0, 1, b't', 0, 0, 0], PacketError::PacketIdZero);
            client(&[0x32, 4, 0, 1, b't', 0], PacketError::Truncated);
            client(&[0x30, 3, 0, 2, b't'], PacketError::Truncated);
            client(&[0x30, 1, 0], PacketError::Truncated);
            client(&[0x30, 4, 0, 1, 0xff, 0], PacketError::NotUtf8);
            client(&[0x30, 4, 0, 1, 0, 0], PacketError::Topic(TopicError::Nul));
            client(&[0x30, 4, 0, 1, b'+', 0], PacketError::Topic(TopicError::WildcardInName));
            client(&[0x30, 5, 0, 2, b'a', b'#', 0], PacketError::Topic(TopicError::WildcardInName));
            // [MQTT-4.7.3-1]
            client(&[0x30, 3, 0, 0, 0], PacketError::NoTopic);
        }
        let client = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Client, bytes, error);
        client(&[0x30, 3, 0, 1, b't'], PacketError::Truncated);
        // [MQTT-3.3.4-6], [MQTT-3.3.2-8], [MQTT-3.3.2-14]
        client(&[0x30, 6, 0, 1, b't', 2, 0x0b, 1], PacketError::PropertyMisplaced(0x0b));
        client(&[0x30, 7, 0, 1, b't', 3, 0x23, 0, 0], PacketError::PropertyValue(0x23));
        client(&[0x30, 8, 0, 1, b't', 4, 0x08, 0, 1, b'+'], PacketError::PropertyValue(0x08));
        client(&[0x30, 6, 0, 1, b't', 2, 0x01, 2], PacketError::PropertyValue(0x01));
        client(&[0x30, 8, 0, 1, b't', 4, 0x01, 0, 0x01, 0], PacketError::PropertyRepeated(0x01));
        client(&[0x30, 10, 0, 1, b't', 6, 0x23, 0, 1, 0x23, 0, 1], PacketError::PropertyRepeated(0x23));
        client(&[0x30, 9, 0, 1, b't', 5, 0x11, 0, 0, 0, 1], PacketError::PropertyMisplaced(0x11));
        let zero = [0x30, 6, 0, 1, b't', 2, 0x0b, 0];
        check_malformed(Version::V5, Sender::Server, &zero, PacketError::PropertyValue(0x0b));
    }
}
