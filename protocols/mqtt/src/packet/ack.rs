use crate::{
    EncodeError, PacketError, PropertyBlock, Reason, Version,
    codec::{Reader, put_frame, put_u16},
    packet::{PacketType, Sender},
    property::Owner,
};

/// PUBACK, PUBREC, PUBREL or PUBCOMP, which share one layout (MQTT 5.0, sections 3.4 to 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Of the message that is acknowledged; not 0.
    pub packet_id: u16,
    /// How it went; always success before 5.0.
    pub reason: Reason,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
}

impl<'a> Ack<'a> {
    /// Success without properties.
    pub const fn success(packet_id: u16) -> Self {
        Self::new(packet_id, Reason::Success)
    }

    /// A reason without properties.
    pub const fn new(packet_id: u16, reason: Reason) -> Self {
        Self { packet_id, reason, properties: PropertyBlock::EMPTY }
    }

    pub(crate) fn decode(version: Version, kind: PacketType, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let mut ack = Self::success(reader.packet_id()?);
        if version.has_properties() && !reader.is_empty() {
            let code = reader.u8()?;
            ack.reason = Reason::from_u8(code)
                .filter(|reason| reason.is_valid_in(kind, Sender::Client))
                .ok_or(PacketError::ReasonCode(code))?;
            if !reader.is_empty() {
                ack.properties = PropertyBlock::read(Owner::Acknowledgement, &mut reader)?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    pub(crate) fn encode(&self, version: Version, kind: PacketType, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // The common case without the detour over a length that is patched in.
        if !version.has_properties() || (self.reason == Reason::Success && self.properties.is_empty()) {
            let [high, low] = self.packet_id.to_be_bytes();
            out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
            return Ok(());
        }
        put_frame(out, kind.first_byte(), |out| {
            put_u16(out, self.packet_id);
            out.push(self.reason.code());
            if self.properties.is_empty() { Ok(()) } else { self.properties.write(out) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PropertyId, PropertyWriter, Value,
        packet::tests::{check_malformed, check_valid, wrap_ack},
    };

    const KINDS: [PacketType; 4] = [PacketType::Puback, PacketType::Pubrec, PacketType::Pubrel, PacketType::Pubcomp];

    #[test]
    fn valid_encodings() {
        for kind in KINDS {
            let first = kind.first_byte();
            for version in Version::ALL {
                check_valid(version, Sender::Client, &[first, 2, 1, 2], &wrap_ack(kind, Ack::success(0x0102)));
                check_valid(version, Sender::Server, &[first, 2, 0xff, 0xff], &wrap_ack(kind, Ack::success(0xffff)));
            }
            let failure = if first >= 0x60 { Reason::PacketIdentifierNotFound } else { Reason::QuotaExceeded };
            let bytes = [first, 3, 0, 9, failure.code()];
            check_valid(Version::V5, Sender::Server, &bytes, &wrap_ack(kind, Ack::new(9, failure)));
            let mut properties = PropertyWriter::new();
            properties.push(PropertyId::ReasonString, Value::Text("no")).expect("short");
            let bytes = [first, 9, 0, 9, failure.code(), 5, 0x1f, 0, 2, b'n', b'o'];
            let ack = Ack { packet_id: 9, reason: failure, properties: properties.as_block() };
            check_valid(Version::V5, Sender::Client, &bytes, &wrap_ack(kind, ack));
        }
    }

    #[test]
    fn long_forms_of_success_are_read_too() {
        for kind in KINDS {
            let first = kind.first_byte();
            for bytes in [&[first, 3, 0, 9, 0][..], &[first, 4, 0, 9, 0, 0]] {
                let read = crate::packet::tests::decode_whole(Version::V5, Sender::Client, bytes);
                assert_eq!(read, Ok(wrap_ack(kind, Ack::success(9))));
            }
        }
    }

    #[test]
    fn malformed_ones() {
        for kind in KINDS {
            let first = kind.first_byte();
            for version in Version::ALL {
                check_malformed(version, Sender::Client, &[first, 2, 0, 0], PacketError::PacketIdZero);
                check_malformed(version, Sender::Client, &[first, 1, 1], PacketError::Truncated);
                check_malformed(version, Sender::Client, &[first, 0], PacketError::Truncated);
            }
            for version in [Version::V31, Version::V311] {
                check_malformed(version, Sender::Client, &[first, 3, 0, 1, 0], PacketError::TrailingBytes);
            }
            let v5 = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Client, bytes, error);
            v5(&[first, 3, 0, 1, 0x8e], PacketError::ReasonCode(0x8e));
            v5(&[first, 3, 0, 1, 0x01], PacketError::ReasonCode(0x01));
            v5(&[first, 5, 0, 1, 0, 0, 0], PacketError::TrailingBytes);
            v5(&[first, 5, 0, 1, 0, 2, 0x1f], PacketError::Truncated);
            v5(&[first, 7, 0, 1, 0, 3, 0x21, 0, 1], PacketError::PropertyMisplaced(0x21));
            v5(&[first, 12, 0, 1, 0, 8, 0x1f, 0, 1, b'a', 0x1f, 0, 1, b'b'], PacketError::PropertyRepeated(0x1f));
        }
    }
}
