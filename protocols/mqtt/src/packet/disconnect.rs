use crate::{
    EncodeError, PacketError, PropertyBlock, Reason, Version,
    codec::{Reader, put_frame},
    packet::{PacketType, Sender},
    property::Owner,
};

/// DISCONNECT: the last packet (MQTT 5.0, section 3.14). Before 5.0 only clients send it, without anything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; normal disconnection before 5.0.
    pub reason: Reason,
    /// Properties; none before 5.0.
    pub properties: PropertyBlock<'a>,
}

impl<'a> Disconnect<'a> {
    /// A reason without properties.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, properties: PropertyBlock::EMPTY }
    }

    pub(crate) fn decode(version: Version, sender: Sender, body: &'a [u8]) -> Result<Self, PacketError> {
        if !version.has_properties() {
            if sender == Sender::Server {
                return Err(PacketError::Direction(PacketType::Disconnect));
            }
            return if body.is_empty() { Ok(Self::new(Reason::Success)) } else { Err(PacketError::TrailingBytes) };
        }
        let mut reader = Reader::new(body);
        let mut disconnect = Self::new(Reason::Success);
        if reader.is_empty() {
            return Ok(disconnect);
        }
        let code = reader.u8()?;
        disconnect.reason = Reason::from_u8(code)
            .filter(|reason| reason.is_valid_in(PacketType::Disconnect, sender))
            .ok_or(PacketError::ReasonCode(code))?;
        if !reader.is_empty() {
            let owner = match sender {
                Sender::Client => Owner::DisconnectByClient,
                Sender::Server => Owner::DisconnectByServer,
            };
            disconnect.properties = PropertyBlock::read(owner, &mut reader)?;
        }
        reader.finish()?;
        Ok(disconnect)
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_frame(out, PacketType::Disconnect.first_byte(), |out| {
            if !version.has_properties() || (self.reason == Reason::Success && self.properties.is_empty()) {
                return Ok(());
            }
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
        packet::{
            Packet,
            tests::{check_malformed, check_valid},
        },
    };

    #[test]
    fn valid_encodings() {
        for version in Version::ALL {
            let normal = Packet::Disconnect(Disconnect::new(Reason::Success));
            check_valid(version, Sender::Client, &[0xe0, 0], &normal);
        }
        let with_will = Packet::Disconnect(Disconnect::new(Reason::DisconnectWithWill));
        check_valid(Version::V5, Sender::Client, &[0xe0, 1, 0x04], &with_will);
        let taken_over = Packet::Disconnect(Disconnect::new(Reason::SessionTakenOver));
        check_valid(Version::V5, Sender::Server, &[0xe0, 1, 0x8e], &taken_over);
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::SessionExpiryInterval, Value::Four(7)).expect("fits");
        let expiry = Disconnect { reason: Reason::Success, properties: properties.as_block() };
        let bytes = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 7];
        check_valid(Version::V5, Sender::Client, &bytes, &Packet::Disconnect(expiry));
        let mut properties = PropertyWriter::new();
        properties.push(PropertyId::ServerReference, Value::Text("b:1")).expect("short");
        let moved = Disconnect { reason: Reason::UseAnotherServer, properties: properties.as_block() };
        let bytes = [0xe0, 8, 0x9c, 6, 0x1c, 0, 3, b'b', b':', b'1'];
        check_valid(Version::V5, Sender::Server, &bytes, &Packet::Disconnect(moved));
    }

    #[test]
    fn malformed_ones() {
        for version in [Version::V31, Version::V311] {
            check_malformed(version, Sender::Client, &[0xe0, 1, 0], PacketError::TrailingBytes);
            let error = PacketError::Direction(PacketType::Disconnect);
            check_malformed(version, Sender::Server, &[0xe0, 0], error);
        }
        let client = |bytes: &[u8], error| check_malformed(Version::V5, Sender::Client, bytes, error);
        client(&[0xe0, 1, 0x8e], PacketError::ReasonCode(0x8e));
        client(&[0xe0, 1, 0x03], PacketError::ReasonCode(0x03));
        client(&[0xe0, 2, 0, 1], PacketError::Truncated);
        client(&[0xe0, 3, 0, 0, 0], PacketError::TrailingBytes);
        client(&[0xe0, 8, 0x80, 6, 0x1c, 0, 3, b'b', b':', b'1'], PacketError::PropertyMisplaced(0x1c));
        // [MQTT-3.14.2-2]
        let by_server = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 7];
        check_malformed(Version::V5, Sender::Server, &by_server, PacketError::PropertyMisplaced(0x11));
        check_malformed(Version::V5, Sender::Server, &[0xe0, 1, 0x04], PacketError::ReasonCode(4));
    }
}
