use crate::{
    EncodeError, PacketError, PropertyBlock, Reason, Version,
    codec::{Reader, put_frame},
    packet::{PacketType, Sender},
    property::Owner,
};

/// CONNACK: the answer to CONNECT (MQTT 5.0, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Earlier state is used. Not sent in 3.1; false with a refusal [MQTT-3.2.2-6].
    pub session_present: bool,
    /// A [`Reason`] in 5.0, a [`ReturnCode`] before.
    pub code: u8,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
}

/// The return codes before 5.0 (MQTT 3.1.1, section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReturnCode {
    /// Let in.
    Accepted = 0,
    /// This version is not spoken.
    UnacceptableProtocolVersion = 1,
    /// The client identifier is not acceptable.
    IdentifierRejected = 2,
    /// Not served now.
    ServerUnavailable = 3,
    /// User name or password wrong.
    BadUserNameOrPassword = 4,
    /// Not allowed.
    NotAuthorized = 5,
}

impl<'a> Connack<'a> {
    /// True when the client was let in.
    pub const fn is_accepted(&self) -> bool {
        self.code == 0
    }

    pub(crate) fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let known = if version.has_properties() {
            Reason::from_u8(code).is_some_and(|reason| reason.is_valid_in(PacketType::Connack, Sender::Server))
        } else {
            code <= ReturnCode::NotAuthorized as u8
        };
        if !known {
            return Err(PacketError::ReasonCode(code));
        }
        // In 3.1 the byte has no meaning yet.
        let flags = if version == Version::V31 { 0 } else { flags };
        if flags > 1 || (flags == 1 && code != 0) {
            return Err(PacketError::ConnackFlags);
        }
        let properties = if version.has_properties() {
            PropertyBlock::read(Owner::Connack, &mut reader)?
        } else {
            PropertyBlock::EMPTY
        };
        reader.finish()?;
        Ok(Self { session_present: flags == 1, code, properties })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, PacketType::Connack.first_byte(), |out| {
            out.push(u8::from(self.session_present && version > Version::V31));
            out.push(self.code);
            if version.has_properties() { self.properties.write(out) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PropertyId, PropertyWriter, Value,
        packet::{
            Packet,
            tests::{check_malformed, check_valid},
        },
    };

    fn bare(session_present: bool, code: u8) -> Packet<'static> {
        Packet::Connack(Connack { session_present, code, properties: PropertyBlock::EMPTY })
    }

    #[test]
    fn valid_encodings() {
        for code in 0..=5 {
            for version in [Version::V31, Version::V311] {
                check_valid(version, Sender::Server, &[0x20, 2, 0, code], &bare(false, code));
            }
        }
        check_valid(Version::V311, Sender::Server, &[0x20, 2, 1, 0], &bare(true, 0));
        check_valid(Version::V5, Sender::Server, &[0x20, 3, 1, 0, 0], &bare(true, 0));
        check_valid(Version::V5, Sender::Server, &[0x20, 3, 0, 0x86, 0], &bare(false, 0x86));
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::AssignedClientIdentifier, Value::Text("id")).expect("short");
        properties.push(PropertyId::RetainAvailable, Value::Byte(0)).expect("fits");
        let connack = Connack { session_present: false, code: 0, properties: properties.as_block() };
        let bytes = [0x20, 10, 0, 0, 7, 0x12, 0, 2, b'i', b'd', 0x25, 0];
        check_valid(Version::V5, Sender::Server, &bytes, &Packet::Connack(connack));
    }

    /// [MQTT-3.2.2-1], [MQTT-3.2.2-6], [MQTT-3.2.2-8]
    #[test]
    fn malformed_ones() {
        let v311 = |bytes: &[u8], error| check_malformed(Version::V311, Sender::Server, bytes, error);
        v311(&[0x20, 2, 2, 0], PacketError::ConnackFlags);
        v311(&[0x20, 2, 1, 5], PacketError::ConnackFlags);
        v311(&[0x20, 2, 0, 6], PacketError::ReasonCode(6));
        v311(&[0x20, 1, 0], PacketError::Truncated);
        v311(&[0x20, 3, 0, 0, 0], PacketError::TrailingBytes);
        let v5 = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Server, bytes, error);
        v5(&[0x20, 2, 0, 0], PacketError::Truncated);
        v5(&[0x20, 3, 0x80, 0, 0], PacketError::ConnackFlags);
        v5(&[0x20, 3, 0, 1, 0], PacketError::ReasonCode(1));
        v5(&[0x20, 3, 0, 0x8b, 0], PacketError::ReasonCode(0x8b));
        v5(&[0x20, 5, 0, 0, 2, 0x17, 1], PacketError::PropertyMisplaced(0x17));
        let direction = PacketError::Direction(PacketType::Connack);
        check_malformed(Version::V5, Sender::Client, &[0x20, 3, 0, 0, 0], direction);
    }
}
