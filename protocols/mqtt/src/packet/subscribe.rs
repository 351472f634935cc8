use thingway_contract::{Qos, RetainHandling, SubscriptionOptions};

use crate::{
    EncodeError, PacketError, PropertyBlock, Version,
    codec::{Reader, put_frame, put_text, put_u16},
    packet::PacketType,
    property::Owner,
};

/// SUBSCRIBE (MQTT 5.0, section 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Not 0.
    pub packet_id: u16,
    /// May hold the subscription identifier; none before 5.0.
    pub properties: PropertyBlock<'a>,
    /// At least one.
    pub filters: SubscribeFilters<'a>,
}

/// Topic filters and their options in the encoding of the packet: checked, borrowed bytes.
///
/// The filters are UTF-8 without NUL; whether they are well-formed topic filters is not looked at.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeFilters<'a> {
    list: &'a [u8],
    /// The bits of an options byte that mean something.
    options_mask: u8,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = if version.has_properties() {
            PropertyBlock::read(Owner::Subscribe, &mut reader)?
        } else {
            PropertyBlock::EMPTY
        };
        let options_mask = if version == Version::V31 { 0b11 } else { 0xff };
        let filters = SubscribeFilters { list: reader.rest(), options_mask };
        if reader.is_empty() {
            return Err(PacketError::NoFilters);
        }
        while !reader.is_empty() {
            let filter = reader.text()?;
            let options = read_options(version, reader.u8()?)?;
            if options.no_local && filter.starts_with("$share/") {
                return Err(PacketError::NoLocalOnShared);
            }
        }
        Ok(Self { packet_id, properties, filters })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, PacketType::Subscribe.first_byte(), |out| {
            put_u16(out, self.packet_id);
            if version.has_properties() {
                self.properties.write(out)?;
                out.extend_from_slice(self.filters.list);
                return Ok(());
            }
            for (filter, options) in self.filters.iter() {
                put_text(out, filter)?;
                out.push(options.qos as u8);
            }
            Ok(())
        })
    }
}

impl<'a> SubscribeFilters<'a> {
    /// Appends a filter and its options to a list that [`SubscribeFilters::from_encoded`] takes.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`] for a filter of more than 65,535 bytes.
    pub fn push(list: &mut Vec<u8>, filter: &str, options: SubscriptionOptions) -> Result<(), EncodeError> {
        put_text(list, filter)?;
        let retain_handling = match options.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        };
        list.push(
            options.qos as u8
                | u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | retain_handling << 4,
        );
        Ok(())
    }

    /// A list that [`SubscribeFilters::push`] made.
    pub const fn from_encoded(list: &'a [u8]) -> Self {
        Self { list, options_mask: 0xff }
    }

    /// The filters in order, each with its options; their subscription identifier is 0, as that is in the properties.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + use<'a> {
        let Self { list, options_mask } = *self;
        let mut reader = Reader::new(list);
        std::iter::from_fn(move || {
            let filter = reader.text().ok()?;
            let options = reader.u8().ok()? & options_mask;
            Some((filter, read_options(Version::V5, options).unwrap_or_default()))
        })
    }
}

/// Equal when they mean the same.
impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeFilters<'_> {}

/// Section 3.8.3.1; before 5.0 there is only a quality of service, and in 3.1 the other bits have no meaning.
fn read_options(version: Version, byte: u8) -> Result<SubscriptionOptions, PacketError> {
    let reserved = match version {
        Version::V31 => 0,
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if byte & reserved != 0 {
        return Err(PacketError::SubscriptionOptions);
    }
    let qos = Qos::from_u8(byte & 3).ok_or(PacketError::SubscriptionQos)?;
    if !version.has_properties() {
        return Ok(SubscriptionOptions { qos, ..SubscriptionOptions::default() });
    }
    let retain_handling = match byte >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(PacketError::RetainHandling),
    };
    let no_local = byte & 0b100 != 0;
    let retain_as_published = byte & 0b1000 != 0;
    Ok(SubscriptionOptions { qos, no_local, retain_as_published, retain_handling, id: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PropertyId, PropertyWriter, Split, Value,
        packet::{
            Packet, Sender,
            tests::{check_malformed, check_valid},
        },
        split,
    };

    #[test]
    fn valid_encodings() {
        let mut list = Vec::new();
        let qos1 = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
        SubscribeFilters::push(&mut list, "a/#", qos1).expect("short");
        SubscribeFilters::push(&mut list, "b", SubscriptionOptions::default()).expect("short");
        let filters = SubscribeFilters::from_encoded(&list);
        let subscribe = Subscribe { packet_id: 0x0102, properties: PropertyBlock::EMPTY, filters };
        let tail: &[u8] = &[0, 3, b'a', b'/', b'#', 1, 0, 1, b'b', 0];
        for version in [Version::V31, Version::V311] {
            let bytes = [&[0x82, 12, 1, 2], tail].concat();
            check_valid(version, Sender::Client, &bytes, &Packet::Subscribe(subscribe));
        }
        let bytes = [&[0x82, 13, 1, 2, 0], tail].concat();
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Subscribe(subscribe));
        let read: Vec<_> = filters.iter().collect();
        assert_eq!(read, [("a/#", qos1), ("b", SubscriptionOptions::default())]);
    }

    #[test]
    fn bits_without_meaning_are_ignored_in_3_1() {
        let mut subscribe = vec![0x82, 7, 0, 5, 0, 2, b'a', b'b', 0];
        for (options, expected) in [(0xd4, Qos::AtMostOnce), (0xfd, Qos::AtLeastOnce), (0x06, Qos::ExactlyOnce)] {
            *subscribe.last_mut().expect("options") = options;
            let Ok(Split::Frame(frame)) = split(&subscribe, usize::MAX) else { panic!("a whole packet") };
            let Ok(Packet::Subscribe(packet)) = Packet::decode(Version::V31, Sender::Client, frame) else {
                panic!("a SUBSCRIBE")
            };
            let read: Vec<_> = packet.filters.iter().collect();
            assert_eq!(read, [("ab", SubscriptionOptions { qos: expected, ..SubscriptionOptions::default() })]);
        }
    }

    #[test]
    fn all_options_and_an_identifier() {
        let options = SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
            id: 0,
        };
        let mut list = Vec::new();
        SubscribeFilters::push(&mut list, "t", options).expect("short");
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::SubscriptionIdentifier, Value::Variable(7)).expect("fits");
        let filters = SubscribeFilters::from_encoded(&list);
        let subscribe = Subscribe { packet_id: 1, properties: properties.as_block(), filters };
        let bytes = [0x82, 9, 0, 1, 2, 0x0b, 7, 0, 1, b't', 0b10_1110];
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Subscribe(subscribe));
        assert_eq!(filters.iter().next(), Some(("t", options)));
    }

    #[test]
    fn malformed_ones() {
        for (version, gap) in [(Version::V31, &[][..]), (Version::V311, &[]), (Version::V5, &[0])] {
            let check = |id: &[u8], tail: &[u8], error| {
                let body = [id, gap, tail].concat();
                let bytes = [&[0x82, body.len() as u8], &body[..]].concat();
                check_malformed(version, Sender::Client, &bytes, error);
            };
            check(&[0, 0], &[0, 1, b't', 0], PacketError::PacketIdZero);
            // [MQTT-3.8.3-1], [MQTT-3.8.3-2]
            check(&[0, 1], &[], PacketError::NoFilters);
            check(&[0, 1], &[0, 1, b't'], PacketError::Truncated);
            check(&[0, 1], &[0, 1, b't', 0, 0], PacketError::Truncated);
            check(&[0, 1], &[0, 1, 0xff, 0], PacketError::NotUtf8);
            check(&[0, 1], &[0, 1, 0, 0], PacketError::Nul);
            check(&[0, 1], &[0, 1, b't', 3], PacketError::SubscriptionQos);
            if version == Version::V311 {
                // [MQTT-3-8.3-4] of 3.1.1
                check(&[0, 1], &[0, 1, b't', 4], PacketError::SubscriptionOptions);
            }
        }
        let v5 = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Client, bytes, error);
        // [MQTT-3.8.3-5], [MQTT-3.8.3-4]
        v5(&[0x82, 7, 0, 1, 0, 0, 1, b't', 0x40], PacketError::SubscriptionOptions);
        v5(&[0x82, 7, 0, 1, 0, 0, 1, b't', 0x80], PacketError::SubscriptionOptions);
        v5(&[0x82, 7, 0, 1, 0, 0, 1, b't', 0x30], PacketError::RetainHandling);
        let shared = [&[0x82, 16, 0, 1, 0, 0, 10], &b"$share/g/t"[..], &[4]].concat();
        v5(&shared, PacketError::NoLocalOnShared);
        v5(&[0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, b't', 0], PacketError::PropertyValue(0x0b));
        v5(&[0x82, 11, 0, 1, 4, 0x0b, 1, 0x0b, 2, 0, 1, b't', 0], PacketError::PropertyRepeated(0x0b));
        v5(&[0x82, 10, 0, 1, 3, 0x23, 0, 1, 0, 1, b't', 0], PacketError::PropertyMisplaced(0x23));
        v5(&[0x80, 7, 0, 1, 0, 0, 1, b't', 0], PacketError::FixedHeaderFlags);
        let direction = PacketError::Direction(PacketType::Subscribe);
        check_malformed(Version::V5, Sender::Server, &[0x82, 7, 0, 1, 0, 0, 1, b't', 0], direction);
    }
}
