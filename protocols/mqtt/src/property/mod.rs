//! Properties (MQTT 5.0, section 2.2.2).

mod id;
mod owner;
mod value;

use std::fmt;

pub use id::PropertyId;
pub(crate) use owner::Owner;
pub use value::Value;

use crate::{
    EncodeError, PacketError,
    codec::{Reader, varint},
};

/// Properties of one packet: checked, borrowed bytes without the length in front.
///
/// Checked means: known identifiers that this packet may carry, none repeated that may not be, values of the right form
/// and in range.
#[derive(Clone, Copy, Default)]
pub struct PropertyBlock<'a> {
    bytes: &'a [u8],
    present: u64,
}

impl<'a> PropertyBlock<'a> {
    /// No properties.
    pub const EMPTY: Self = Self { bytes: &[], present: 0 };

    /// Reads a length and the block behind it.
    pub(crate) fn read(owner: Owner, reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let length = reader.varint()?;
        if length == 0 {
            return Ok(Self::EMPTY);
        }
        Self::parse(owner, reader.take(length as usize)?)
    }

    fn parse(owner: Owner, bytes: &'a [u8]) -> Result<Self, PacketError> {
        let allowed = owner.allowed();
        let mut reader = Reader::new(bytes);
        let mut present = 0;
        while !reader.is_empty() {
            let raw = reader.varint()?;
            let id = PropertyId::from_u32(raw).ok_or(PacketError::PropertyUnknown(raw))?;
            if allowed & id.bit() == 0 {
                return Err(PacketError::PropertyMisplaced(id as u8));
            }
            if present & id.bit() != 0 && !owner.may_repeat(id) {
                return Err(PacketError::PropertyRepeated(id as u8));
            }
            present |= id.bit();
            let value = id.read(&mut reader)?;
            if !id.accepts(value) {
                return Err(PacketError::PropertyValue(id as u8));
            }
        }
        Ok(Self { bytes, present })
    }

    /// The encoded block.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// True when there is no property.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True when there is such a property.
    pub const fn has(&self, id: PropertyId) -> bool {
        self.present & id.bit() != 0
    }

    /// The properties in order.
    pub fn iter(&self) -> impl Iterator<Item = (PropertyId, Value<'a>)> + use<'a> {
        self.iter_encoded().map(|(id, value, _)| (id, value))
    }

    /// The properties in order, each with its encoded form.
    pub(crate) fn iter_encoded(&self) -> impl Iterator<Item = (PropertyId, Value<'a>, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            let from = reader.rest();
            let id = PropertyId::from_u32(reader.varint().ok()?)?;
            let value = id.read(&mut reader).ok()?;
            Some((id, value, &from[..from.len() - reader.rest().len()]))
        })
    }

    /// The first value of a property.
    pub fn find(&self, id: PropertyId) -> Option<Value<'a>> {
        if !self.has(id) {
            return None;
        }
        self.iter().find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// The value of a numeric property.
    pub fn number(&self, id: PropertyId) -> Option<u32> {
        match self.find(id)? {
            Value::Byte(value) => Some(u32::from(value)),
            Value::Two(value) => Some(u32::from(value)),
            Value::Four(value) | Value::Variable(value) => Some(value),
            Value::Text(_) | Value::Bytes(_) | Value::Pair(..) => None,
        }
    }

    /// The value of a numeric property of at most two bytes.
    pub fn short(&self, id: PropertyId) -> Option<u16> {
        self.number(id).and_then(|value| u16::try_from(value).ok())
    }

    /// The value of a property that is 0 or 1.
    pub fn flag(&self, id: PropertyId) -> Option<bool> {
        self.number(id).map(|value| value != 0)
    }

    /// The value of a textual property.
    pub fn text(&self, id: PropertyId) -> Option<&'a str> {
        match self.find(id)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a binary property.
    pub fn bytes(&self, id: PropertyId) -> Option<&'a [u8]> {
        match self.find(id)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The user properties in order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Writes the length and the block.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let length = u32::try_from(self.bytes.len()).ok().filter(|&l| l <= varint::MAX);
        varint::put(out, length.ok_or(EncodeError::PacketTooLarge)?);
        out.extend_from_slice(self.bytes);
        Ok(())
    }
}

impl PartialEq for PropertyBlock<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PropertyBlock<'_> {}

impl fmt::Debug for PropertyBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Builds a [`PropertyBlock`].
#[derive(Clone, Debug, Default)]
pub struct PropertyWriter {
    bytes: Vec<u8>,
    present: u64,
}

impl PropertyWriter {
    /// An empty block.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), present: 0 }
    }

    /// Appends a property. What packet it will be part of is not known here: the decoder on the other side checks it.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`] for a text or bytes of more than 65,535 bytes; the block is then as before.
    pub fn push(&mut self, id: PropertyId, value: Value<'_>) -> Result<&mut Self, EncodeError> {
        debug_assert!(id.accepts(value), "{id:?} cannot be {value:?}");
        let start = self.bytes.len();
        self.bytes.push(id as u8);
        if let Err(error) = value.write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        self.present |= id.bit();
        Ok(self)
    }

    /// The block.
    pub fn as_block(&self) -> PropertyBlock<'_> {
        PropertyBlock { bytes: &self.bytes, present: self.present }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS: [Owner; 11] = [
        Owner::Connect,
        Owner::Will,
        Owner::Connack,
        Owner::PublishByClient,
        Owner::PublishByServer,
        Owner::Acknowledgement,
        Owner::Subscribe,
        Owner::Unsubscribe,
        Owner::DisconnectByClient,
        Owner::DisconnectByServer,
        Owner::Auth,
    ];

    fn valid_value(id: PropertyId) -> Vec<u8> {
        use PropertyId as P;
        match id {
            P::PayloadFormatIndicator
            | P::RequestProblemInformation
            | P::RequestResponseInformation
            | P::MaximumQos
            | P::RetainAvailable
            | P::WildcardSubscriptionAvailable
            | P::SubscriptionIdentifierAvailable
            | P::SharedSubscriptionAvailable => vec![1],
            P::ServerKeepAlive | P::ReceiveMaximum | P::TopicAliasMaximum | P::TopicAlias => vec![1, 2],
            P::MessageExpiryInterval | P::SessionExpiryInterval | P::WillDelayInterval | P::MaximumPacketSize => {
                vec![0, 0, 1, 2]
            }
            P::SubscriptionIdentifier => vec![0x80, 0x01],
            P::UserProperty => vec![0, 1, b'k', 0, 1, b'v'],
            _ => vec![0, 2, b'a', b'b'],
        }
    }

    /// Table 2-4, column by column: what each packet may carry.
    #[test]
    fn each_packet_has_its_properties() {
        use Owner as O;
        for id in PropertyId::ALL {
            let owners: &[Owner] = match id as u8 {
                0x01..=0x03 | 0x08 | 0x09 => &[O::Will, O::PublishByClient, O::PublishByServer],
                0x0b => &[O::PublishByServer, O::Subscribe],
                0x11 => &[O::Connect, O::Connack, O::DisconnectByClient],
                0x12 | 0x13 | 0x1a | 0x24 | 0x25 | 0x28..=0x2a => &[O::Connack],
                0x15 | 0x16 => &[O::Connect, O::Connack, O::Auth],
                0x17 | 0x19 => &[O::Connect],
                0x18 => &[O::Will],
                0x1c => &[O::Connack, O::DisconnectByServer],
                0x1f => &[O::Connack, O::Acknowledgement, O::DisconnectByClient, O::DisconnectByServer, O::Auth],
                0x21 | 0x22 | 0x27 => &[O::Connect, O::Connack],
                0x23 => &[O::PublishByClient, O::PublishByServer],
                0x26 => &OWNERS,
                other => panic!("no property {other}"),
            };
            let mut bytes = vec![id as u8];
            bytes.extend(valid_value(id));
            for owner in OWNERS {
                let parsed = PropertyBlock::parse(owner, &bytes);
                if owners.contains(&owner) {
                    assert!(parsed.is_ok_and(|block| block.has(id)), "{id:?} in {owner:?}");
                } else {
                    assert_eq!(parsed, Err(PacketError::PropertyMisplaced(id as u8)), "{owner:?}");
                }
            }
        }
    }

    #[test]
    fn only_user_properties_and_delivered_subscription_identifiers_repeat() {
        for id in PropertyId::ALL {
            let mut bytes = vec![id as u8];
            bytes.extend(valid_value(id));
            let twice = bytes.repeat(2);
            for owner in OWNERS.into_iter().filter(|owner| owner.allowed() & id.bit() != 0) {
                let may = id == PropertyId::UserProperty
                    || (id == PropertyId::SubscriptionIdentifier && owner == Owner::PublishByServer);
                match PropertyBlock::parse(owner, &twice) {
                    Ok(block) => assert!(may && block.iter().count() == 2),
                    Err(error) => assert!(!may && error == PacketError::PropertyRepeated(id as u8)),
                }
            }
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        use PropertyId as P;
        for (owner, bytes, id) in [
            (Owner::PublishByClient, &[0x01, 2][..], P::PayloadFormatIndicator),
            (Owner::Connect, &[0x17, 2], P::RequestProblemInformation),
            (Owner::Connect, &[0x19, 2], P::RequestResponseInformation),
            (Owner::Connack, &[0x24, 2], P::MaximumQos),
            (Owner::Connack, &[0x25, 2], P::RetainAvailable),
            (Owner::Connack, &[0x28, 2], P::WildcardSubscriptionAvailable),
            (Owner::Connack, &[0x29, 2], P::SubscriptionIdentifierAvailable),
            (Owner::Connack, &[0x2a, 2], P::SharedSubscriptionAvailable),
            (Owner::Connect, &[0x21, 0, 0], P::ReceiveMaximum),
            (Owner::Connect, &[0x27, 0, 0, 0, 0], P::MaximumPacketSize),
            (Owner::PublishByClient, &[0x23, 0, 0], P::TopicAlias),
            (Owner::Subscribe, &[0x0b, 0], P::SubscriptionIdentifier),
            (Owner::PublishByClient, &[0x08, 0, 1, b'#'], P::ResponseTopic),
            (Owner::PublishByClient, &[0x08, 0, 3, b'a', b'/', b'+'], P::ResponseTopic),
            (Owner::Will, &[0x08, 0, 0], P::ResponseTopic),
        ] {
            assert_eq!(PropertyBlock::parse(owner, bytes), Err(PacketError::PropertyValue(id as u8)));
        }
    }

    #[test]
    fn unknown_identifiers_are_malformed() {
        for raw in (0..=0x7fu8).filter(|&raw| PropertyId::from_u32(u32::from(raw)).is_none()) {
            assert_eq!(
                PropertyBlock::parse(Owner::Connect, &[raw, 0, 0]),
                Err(PacketError::PropertyUnknown(u32::from(raw)))
            );
        }
        assert_eq!(PropertyBlock::parse(Owner::Connect, &[0x80, 0x01]), Err(PacketError::PropertyUnknown(128)));
        assert_eq!(PropertyBlock::parse(Owner::Connect, &[0xa6, 0x00]), Err(PacketError::IntegerNotMinimal));
    }

    #[test]
    fn blocks_that_end_early_are_malformed() {
        for id in PropertyId::ALL {
            let mut bytes = vec![id as u8];
            bytes.extend(valid_value(id));
            let owner = OWNERS.into_iter().find(|owner| owner.allowed() & id.bit() != 0).expect("some packet has it");
            for cut in 1..bytes.len() {
                assert_eq!(PropertyBlock::parse(owner, &bytes[..cut]), Err(PacketError::Truncated));
            }
            let mut reader = Reader::new(&[5, 0x26]);
            assert_eq!(PropertyBlock::read(owner, &mut reader), Err(PacketError::Truncated));
        }
    }

    #[test]
    fn written_properties_are_found_again() {
        let mut writer = PropertyWriter::new();
        let add = |writer: &mut PropertyWriter| -> Result<(), EncodeError> {
            writer.push(PropertyId::UserProperty, Value::Pair("a", "1"))?;
            writer.push(PropertyId::SessionExpiryInterval, Value::Four(7))?;
            writer.push(PropertyId::ReceiveMaximum, Value::Two(9))?;
            writer.push(PropertyId::UserProperty, Value::Pair("a", "2"))?;
            writer.push(PropertyId::AuthenticationMethod, Value::Text("m"))?;
            writer.push(PropertyId::AuthenticationData, Value::Bytes(b"d"))?;
            writer.push(PropertyId::RequestProblemInformation, Value::Byte(0))?;
            Ok(())
        };
        add(&mut writer).expect("short");
        let block = PropertyBlock::parse(Owner::Connect, writer.as_block().as_bytes()).expect("valid");
        assert_eq!(block, writer.as_block());
        assert_eq!(block.number(PropertyId::SessionExpiryInterval), Some(7));
        assert_eq!(block.short(PropertyId::ReceiveMaximum), Some(9));
        assert_eq!(block.text(PropertyId::AuthenticationMethod), Some("m"));
        assert_eq!(block.bytes(PropertyId::AuthenticationData), Some(&b"d"[..]));
        assert_eq!(block.flag(PropertyId::RequestProblemInformation), Some(false));
        assert_eq!(block.flag(PropertyId::RequestResponseInformation), None);
        assert_eq!(block.user_properties().collect::<Vec<_>>(), [("a", "1"), ("a", "2")]);
        let long = "x".repeat(65_536);
        let before = writer.as_block().as_bytes().len();
        assert!(writer.push(PropertyId::UserProperty, Value::Pair("a", &long)).is_err());
        assert_eq!(writer.as_block().as_bytes().len(), before);
    }
}
