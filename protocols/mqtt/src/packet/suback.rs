use crate::{
    EncodeError, PacketError, PropertyBlock, Reason, Version,
    codec::{Reader, put_frame, put_u16},
    packet::{PacketType, Sender},
    property::Owner,
};

/// SUBACK: the answer to SUBSCRIBE (MQTT 5.0, section 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// Of the SUBSCRIBE.
    pub packet_id: u16,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
    /// For each filter in order: a [`Reason`]; before 5.0 the granted QoS or 0x80.
    pub codes: &'a [u8],
}

impl<'a> Suback<'a> {
    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = if version.has_properties() {
            PropertyBlock::read(Owner::Acknowledgement, &mut reader)?
        } else {
            PropertyBlock::EMPTY
        };
        let codes = reader.rest();
        if codes.is_empty() {
            return Err(PacketError::Truncated);
        }
        let known = |&&code: &&u8| match version {
            Version::V31 | Version::V311 => matches!(code, 0..=2 | 0x80),
            Version::V5 => {
                Reason::from_u8(code).is_some_and(|reason| reason.is_valid_in(PacketType::Suback, Sender::Server))
            }
        };
        match codes.iter().find(|code| !known(code)) {
            Some(&code) => Err(PacketError::ReasonCode(code)),
            None => Ok(Self { packet_id, properties, codes }),
        }
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, PacketType::Suback.first_byte(), |out| {
            put_u16(out, self.packet_id);
            if version.has_properties() {
                self.properties.write(out)?;
            }
            out.extend_from_slice(self.codes);
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
        let suback = Suback { packet_id: 0x0102, properties: PropertyBlock::EMPTY, codes: &[0, 1, 2, 0x80] };
        for version in [Version::V31, Version::V311] {
            let bytes = [0x90, 6, 1, 2, 0, 1, 2, 0x80];
            check_valid(version, Sender::Server, &bytes, &Packet::Suback(suback));
        }
        let suback = Suback { codes: &[2, 0x87, 0x9e, 0xa1, 0xa2], ..suback };
        let bytes = [0x90, 8, 1, 2, 0, 2, 0x87, 0x9e, 0xa1, 0xa2];
        check_valid(Version::V5, Sender::Server, &bytes, &Packet::Suback(suback));
    }

    /// [MQTT-3.9.3-2] of 3.1.1
    #[test]
    fn malformed_ones() {
        let v311 = |bytes: &[u8], error| check_malformed(Version::V311, Sender::Server, bytes, error);
        v311(&[0x90, 3, 0, 1, 3], PacketError::ReasonCode(3));
        v311(&[0x90, 3, 0, 1, 0x87], PacketError::ReasonCode(0x87));
        v311(&[0x90, 3, 0, 0, 0], PacketError::PacketIdZero);
        v311(&[0x90, 2, 0, 1], PacketError::Truncated);
        let v5 = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Server, bytes, error);
        v5(&[0x90, 4, 0, 1, 0, 0x10], PacketError::ReasonCode(0x10));
        v5(&[0x90, 3, 0, 1, 0], PacketError::Truncated);
        v5(&[0x90, 6, 0, 1, 2, 0x0b, 1, 0], PacketError::PropertyMisplaced(0x0b));
        let direction = PacketError::Direction(PacketType::Suback);
        check_malformed(Version::V5, Sender::Client, &[0x90, 4, 0, 1, 0, 0], direction);
    }
}
