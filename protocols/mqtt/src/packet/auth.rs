use crate::{
    EncodeError, PacketError, PropertyBlock, PropertyId, Reason, Version,
    codec::{Reader, put_frame},
    packet::{PacketType, Sender},
    property::Owner,
};

/// AUTH: a step of enhanced authentication (MQTT 5.0, section 3.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate [MQTT-3.15.2-1].
    pub reason: Reason,
    /// Holds the authentication method, unless everything was left out.
    pub properties: PropertyBlock<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn decode(sender: Sender, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        // Reason and properties may be left out together for success (section 3.15.2.1).
        let code = if reader.is_empty() { 0 } else { reader.u8()? };
        let reason = Reason::from_u8(code)
            .filter(|reason| reason.is_valid_in(PacketType::Auth, sender))
            .ok_or(PacketError::ReasonCode(code))?;
        if body.is_empty() {
            return Ok(Self { reason, properties: PropertyBlock::EMPTY });
        }
        let properties = PropertyBlock::read(Owner::Auth, &mut reader)?;
        reader.finish()?;
        if !properties.has(PropertyId::AuthenticationMethod) {
            return Err(PacketError::NoAuthenticationMethod);
        }
        Ok(Self { reason, properties })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !version.has_properties() {
            return Err(EncodeError::NotInVersion);
        }
        put_frame(out, PacketType::Auth.first_byte(), |out| {
            if self.reason == Reason::Success && self.properties.is_empty() {
                return Ok(());
            }
            out.push(self.reason.code());
            self.properties.write(out)
        })
    }

    /// The authentication method.
    pub fn method(&self) -> Option<&'a str> {
        self.properties.text(PropertyId::AuthenticationMethod)
    }

    /// The authentication data.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.properties.bytes(PropertyId::AuthenticationData)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PropertyWriter, Value,
        packet::{
            Packet,
            tests::{check_malformed, check_valid},
        },
    };

    #[test]
    fn valid_encodings() {
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::AuthenticationMethod, Value::Text("SC")).expect("short");
        let mut auth = Auth { reason: Reason::ContinueAuthentication, properties: properties.as_block() };
        let mut bytes = vec![0xf0, 7, 0x18, 5, 0x15, 0, 2, b'S', b'C'];
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Auth(auth));
        check_valid(Version::V5, Sender::Server, &bytes, &Packet::Auth(auth));
        auth.reason = Reason::Reauthenticate;
        bytes[2] = 0x19;
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Auth(auth));
        properties.push(PropertyId::AuthenticationData, Value::Bytes(&[0, 9])).expect("short");
        let auth = Auth { reason: Reason::Success, properties: properties.as_block() };
        assert_eq!((auth.method(), auth.data()), (Some("SC"), Some(&[0, 9][..])));
        let bytes = [0xf0, 12, 0, 10, 0x15, 0, 2, b'S', b'C', 0x16, 0, 2, 0, 9];
        check_valid(Version::V5, Sender::Server, &bytes, &Packet::Auth(auth));
        let bare = Auth { reason: Reason::Success, properties: PropertyBlock::EMPTY };
        check_valid(Version::V5, Sender::Server, &[0xf0, 0], &Packet::Auth(bare));
        assert_eq!(bare.encode(Version::V311, &mut Vec::new()), Err(EncodeError::NotInVersion));
    }

    /// [MQTT-3.15.2-1]
    #[test]
    fn malformed_ones() {
        let client = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Client, bytes, error);
        client(&[0xf0, 0], PacketError::ReasonCode(0));
        client(&[0xf0, 1, 0x18], PacketError::Truncated);
        client(&[0xf0, 2, 0x18, 0], PacketError::NoAuthenticationMethod);
        client(&[0xf0, 2, 0x87, 0], PacketError::ReasonCode(0x87));
        client(&[0xf0, 7, 0x18, 5, 0x16, 0, 2, 1, 2], PacketError::NoAuthenticationMethod);
        client(&[0xf0, 7, 0x00, 5, 0x15, 0, 2, b'S', b'C'], PacketError::ReasonCode(0));
        client(&[0xf0, 8, 0x18, 5, 0x15, 0, 2, b'S', b'C', 0], PacketError::TrailingBytes);
        client(&[0xf1, 7, 0x18, 5, 0x15, 0, 2, b'S', b'C'], PacketError::FixedHeaderFlags);
        let server = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Server, bytes, error);
        server(&[0xf0, 7, 0x19, 5, 0x15, 0, 2, b'S', b'C'], PacketError::ReasonCode(0x19));
        server(&[0xf0, 7, 0x18, 5, 0x11, 0, 0, 0, 1], PacketError::PropertyMisplaced(0x11));
    }
}
