use crate::{
    EncodeError, PacketError, PropertyBlock, Version,
    codec::{Reader, put_frame, put_text, put_u16},
    packet::PacketType,
    property::Owner,
};

/// UNSUBSCRIBE (MQTT 5.0, section 3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Not 0.
    pub packet_id: u16,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
    /// At least one.
    pub filters: UnsubscribeFilters<'a>,
}

/// Topic filters in the encoding of the packet: checked, borrowed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a>(&'a [u8]);

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = if version.has_properties() {
            PropertyBlock::read(Owner::Unsubscribe, &mut reader)?
        } else {
            PropertyBlock::EMPTY
        };
        let filters = UnsubscribeFilters(reader.rest());
        if reader.is_empty() {
            return Err(PacketError::NoFilters);
        }
        while !reader.is_empty() {
            reader.text()?;
        }
        Ok(Self { packet_id, properties, filters })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, PacketType::Unsubscribe.first_byte(), |out| {
            put_u16(out, self.packet_id);
            if version.has_properties() {
                self.properties.write(out)?;
            }
            out.extend_from_slice(self.filters.0);
            Ok(())
        })
    }
}

impl<'a> UnsubscribeFilters<'a> {
    /// Appends a filter to a list that [`UnsubscribeFilters::from_encoded`] takes.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`] for a filter of more than 65,535 bytes.
    pub fn push(list: &mut Vec<u8>, filter: &str) -> Result<(), EncodeError> {
        put_text(list, filter)
    }

    /// A list that [`UnsubscribeFilters::push`] made.
    pub const fn from_encoded(list: &'a [u8]) -> Self {
        Self(list)
    }

    /// The filters in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || reader.text().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet, Sender,
        tests::{check_malformed, check_valid},
    };

    #[test]
    fn valid_encodings() {
        let mut list = Vec::new();
        UnsubscribeFilters::push(&mut list, "a/#").expect("short");
        UnsubscribeFilters::push(&mut list, "b").expect("short");
        let filters = UnsubscribeFilters::from_encoded(&list);
        assert_eq!(filters.iter().collect::<Vec<_>>(), ["a/#", "b"]);
        let unsubscribe = Unsubscribe { packet_id: 0x0102, properties: PropertyBlock::EMPTY, filters };
        let tail: &[u8] = &[0, 3, b'a', b'/', b'#', 0, 1, b'b'];
        for version in [Version::V31, Version::V311] {
            let bytes = [&[0xa2, 10, 1, 2], tail].concat();
            check_valid(version, Sender::Client, &bytes, &Packet::Unsubscribe(unsubscribe));
        }
        let bytes = [&[0xa2, 11, 1, 2, 0], tail].concat();
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Unsubscribe(unsubscribe));
    }

    /// [MQTT-3.10.1-1], [MQTT-3.10.3-1], [MQTT-3.10.3-2]
    #[test]
    fn malformed_ones() {
        for (version, gap) in [(Version::V31, &[][..]), (Version::V311, &[]), (Version::V5, &[0])] {
            let check = |id: &[u8], tail: &[u8], error| {
                let body = [id, gap, tail].concat();
                let bytes = [&[0xa2, body.len() as u8], &body[..]].concat();
                check_malformed(version, Sender::Client, &bytes, error);
            };
            check(&[0, 0], &[0, 1, b't'], PacketError::PacketIdZero);
            check(&[0, 1], &[], PacketError::NoFilters);
            check(&[0, 1], &[0, 2, b't'], PacketError::Truncated);
            check(&[0, 1], &[0, 1, b't', 0], PacketError::Truncated);
            check(&[0, 1], &[0, 1, 0xff], PacketError::NotUtf8);
        }
        check_malformed(Version::V311, Sender::Client, &[0xa0, 5, 0, 1, 0, 1, b't'], PacketError::FixedHeaderFlags);
        let identifier = [0xa2, 8, 0, 1, 2, 0x0b, 1, 0, 1, b't'];
        check_malformed(Version::V5, Sender::Client, &identifier, PacketError::PropertyMisplaced(0x0b));
    }
}
