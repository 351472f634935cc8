use coap_lite::{CoapOption, MessageClass, MessageType};

use super::{Code, FormatError, Kind, check, option};

/// One CoAP message (RFC 7252, section 3).
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    inner: coap_lite::Packet,
}

impl Packet {
    /// A message without token, options and payload, with message id 0.
    pub fn new(kind: Kind, code: Code) -> Self {
        let mut packet = Self { inner: coap_lite::Packet::new() };
        packet.set_kind(kind);
        packet.inner.header.code = MessageClass::from(code.0);
        packet
    }

    /// Decodes a whole datagram.
    ///
    /// # Errors
    /// Whatever RFC 7252 calls a message format error.
    pub fn decode(datagram: &[u8]) -> Result<Self, FormatError> {
        check(datagram)?;
        // What passed the check is well formed for the decoder, which is laxer; its own refusal of options over 64 KiB cannot be reached.
        let inner = coap_lite::Packet::from_bytes(datagram).map_err(|_| FormatError::OptionTruncated)?;
        Ok(Self { inner })
    }

    /// Appends the encoded message.
    pub fn encode(&self, wire: &mut Vec<u8>) {
        // The length limit is the one thing that can fail, and there is none here.
        wire.extend_from_slice(&self.inner.to_bytes_unlimited().unwrap_or_default());
    }

    /// The encoded message.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.inner.to_bytes_unlimited().unwrap_or_default()
    }

    /// The type.
    pub fn kind(&self) -> Kind {
        match self.inner.header.get_type() {
            MessageType::Confirmable => Kind::Confirmable,
            MessageType::NonConfirmable => Kind::NonConfirmable,
            MessageType::Acknowledgement => Kind::Acknowledgement,
            MessageType::Reset => Kind::Reset,
        }
    }

    /// Sets the type.
    pub fn set_kind(&mut self, kind: Kind) {
        self.inner.header.set_type(match kind {
            Kind::Confirmable => MessageType::Confirmable,
            Kind::NonConfirmable => MessageType::NonConfirmable,
            Kind::Acknowledgement => MessageType::Acknowledgement,
            Kind::Reset => MessageType::Reset,
        });
    }

    /// The code.
    pub fn code(&self) -> Code {
        Code(self.inner.header.code.into())
    }

    /// The message id.
    pub fn id(&self) -> u16 {
        self.inner.header.message_id
    }

    /// Sets the message id.
    pub fn set_id(&mut self, id: u16) {
        self.inner.header.message_id = id;
    }

    /// The token.
    pub fn token(&self) -> &[u8] {
        self.inner.get_token()
    }

    /// Sets the token, of which the first eight bytes count.
    pub fn set_token(&mut self, token: &[u8]) {
        self.inner.set_token(token[..token.len().min(8)].to_vec());
    }

    /// The payload; empty for none.
    pub fn payload(&self) -> &[u8] {
        &self.inner.payload
    }

    /// Takes the payload out.
    pub fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inner.payload)
    }

    /// Sets the payload.
    pub fn set_payload(&mut self, payload: Vec<u8>) {
        self.inner.payload = payload;
    }

    /// All values of an option, in order.
    pub fn options(&self, number: u16) -> impl Iterator<Item = &[u8]> {
        self.inner.get_option(CoapOption::Unknown(number)).into_iter().flatten().map(Vec::as_slice)
    }

    /// The numbers of all options with their values, in order.
    pub fn all_options(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.inner.options().flat_map(|(&number, values)| values.iter().map(move |value| (number, value.as_slice())))
    }

    /// True when the option is there.
    pub fn has(&self, number: u16) -> bool {
        self.options(number).next().is_some()
    }

    /// The first value of an option. A value of a length that the option cannot have counts as absent (RFC 7252, section 5.4.3).
    pub fn first(&self, number: u16) -> Option<&[u8]> {
        self.options(number).next().filter(|value| option::is_length_valid(number, value.len()))
    }

    /// The first value of an option as a number.
    pub fn uint(&self, number: u16) -> Option<u32> {
        self.first(number).and_then(option::decode_uint)
    }

    /// Adds an option.
    pub fn push(&mut self, number: u16, value: &[u8]) {
        self.inner.add_option(CoapOption::Unknown(number), value.to_vec());
    }

    /// Adds an option whose value is a number, in as few bytes as can be.
    pub fn push_uint(&mut self, number: u16, value: u32) {
        let bytes = value.to_be_bytes();
        self.push(number, &bytes[value.leading_zeros() as usize / 8..]);
    }

    /// Removes all values of an option.
    pub fn remove(&mut self, number: u16) {
        self.inner.clear_option(CoapOption::Unknown(number));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc7252_figure_16_and_a_rich_message_round_trip() {
        let mut packet = Packet::new(Kind::Confirmable, Code::GET);
        packet.set_id(0x7d34);
        packet.push(option::URI_PATH, b"temperature");
        assert_eq!(packet.to_bytes(), b"\x40\x01\x7d\x34\xbbtemperature");
        packet.set_token(b"token");
        packet.push(option::URI_PATH, &[b'x'; 300]);
        packet.push_uint(option::OBSERVE, 0);
        packet.push_uint(option::ECHO, 0x1_0000);
        packet.push(2049, b"far");
        packet.set_payload(b"p".to_vec());
        let again = Packet::decode(&packet.to_bytes()).expect("valid");
        assert_eq!(again, packet);
        assert_eq!(again.options(option::URI_PATH).map(<[u8]>::len).collect::<Vec<_>>(), [11, 300]);
        assert_eq!(again.uint(option::OBSERVE), Some(0));
        assert_eq!(again.first(option::ECHO), Some(&[1, 0, 0][..]));
    }

    #[test]
    fn rfc7252_section_5_4_3_values_of_impossible_length_count_as_absent() {
        let mut packet = Packet::new(Kind::Confirmable, Code::GET);
        packet.push(option::CONTENT_FORMAT, &[0, 0, 1]);
        packet.push(option::OBSERVE, &[1, 2, 3, 4]);
        assert_eq!((packet.uint(option::CONTENT_FORMAT), packet.uint(option::OBSERVE)), (None, None));
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_what_decodes_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::decode(&bytes) {
                prop_assert_eq!(Packet::decode(&packet.to_bytes()), Ok(packet));
            }
        }
    }
}
