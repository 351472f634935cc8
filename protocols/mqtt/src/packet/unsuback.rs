use crate::{
    EncodeError, PacketError, PropertyBlock, Reason, Version,
    codec::{Reader, put_frame, put_u16},
    packet::{PacketType, Sender},
    property::Owner,
};

/// UNSUBACK: the answer to UNSUBSCRIBE (MQTT 5.0, section 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// Of the UNSUBSCRIBE.
    pub packet_id: u16,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
    /// A [`Reason`] for each filter in order; none before 5.0.
    pub codes: &'a [u8],
}

impl<'a> Unsuback<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if !version.has_properties() {
            reader.finish()?;
            return Ok(Self { packet_id, properties: PropertyBlock::EMPTY, codes: &[] });
        }
        let properties = PropertyBlock::read(Owner::Acknowledgement, &mut reader)?;
        let codes = reader.rest();
        if codes.is_empty() {
            return Err(PacketError::Truncated);
        }
        let known = |code: u8| {
            Reason::from_u8(code).is_some_and(|reason| reason.is_valid_in(PacketType::Unsuback, Sender::Server))
        };
        match codes.iter().find(|&&code| !known(code)) {
            Some(&code) => Err(PacketError::ReasonCode(code)),
            None => Ok(Self { packet_id, properties, codes }),
        }
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, PacketType::Unsuback.first_byte(), |out| {
            put_u16(out, self.packet_id);
            if version.has_properties() {
                self.properties.write(out)?;
                out.extend_from_slice(self.codes);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{
        Packet,
        tests::{check_malformed, check_valid},
    };

    #[test]
    fn valid_encodings() {
        let unsuback = Unsuback { packet_id: 0x0102, properties: PropertyBlock::EMPTY, codes: &[] };
        for version in [Version::V31, Version::V311] {
            check_valid(version, Sender::Server, &[0xb0, 2, 1, 2], &Packet::Unsuback(unsuback));
        }
        let unsuback = Unsuback { codes: &[0, 0x11, 0x8f], ..unsuback };
        let bytes = [0xb0, 6, 1, 2, 0, 0, 0x11, 0x8f];
        check_valid(Version::V5, Sender::Server, &bytes, &Packet::Unsuback(unsuback));
    }

    #[test]
    fn malformed_ones() {
        check_malformed(Version::V311, Sender::Server, &[0xb0, 3, 0, 1, 0], PacketError::TrailingBytes);
        check_malformed(Version::V311, Sender::Server, &[0xb0, 2, 0, 0], PacketError::PacketIdZero);
        let v5 = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Server, bytes, error);
        v5(&[0xb0, 3, 0, 1, 0], PacketError::Truncated);
        v5(&[0xb0, 4, 0, 1, 0, 0x01], PacketError::ReasonCode(1));
        v5(&[0xb0, 6, 0, 1, 2, 0x01, 1, 0], PacketError::PropertyMisplaced(1));
    }
}
