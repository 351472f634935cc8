//! Properties (MQTT 5.0, section 2.2.2).

use std::fmt;

use crate::{
    EncodeError, PacketError,
    codec::{Reader, put_bytes, put_text, put_u16, varint},
};

/// Names a property (table 2-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PropertyId {
    /// The payload is UTF-8 text: a byte, 0 or 1.
    PayloadFormatIndicator = 0x01,
    /// Seconds that a message may wait for its subscriber.
    MessageExpiryInterval = 0x02,
    /// MIME type of the payload.
    ContentType = 0x03,
    /// Where a responder shall answer.
    ResponseTopic = 0x08,
    /// Opaque bytes that a responder repeats.
    CorrelationData = 0x09,
    /// Chosen by the subscriber, 1 to 268,435,455.
    SubscriptionIdentifier = 0x0b,
    /// Seconds that the session outlives its connection.
    SessionExpiryInterval = 0x11,
    /// The client identifier that the server chose.
    AssignedClientIdentifier = 0x12,
    /// Seconds of keep-alive that the server demands.
    ServerKeepAlive = 0x13,
    /// Method of enhanced authentication.
    AuthenticationMethod = 0x15,
    /// Data of enhanced authentication.
    AuthenticationData = 0x16,
    /// Whether reason strings and user properties may be sent on any packet: a byte, 0 or 1.
    RequestProblemInformation = 0x17,
    /// Seconds between the end of the connection and the will.
    WillDelayInterval = 0x18,
    /// Whether response information is wanted: a byte, 0 or 1.
    RequestResponseInformation = 0x19,
    /// Basis for response topics.
    ResponseInformation = 0x1a,
    /// Another server to use.
    ServerReference = 0x1c,
    /// A reason for people to read.
    ReasonString = 0x1f,
    /// Most unacknowledged QoS 1 and 2 messages, 1 to 65,535.
    ReceiveMaximum = 0x21,
    /// Highest topic alias accepted.
    TopicAliasMaximum = 0x22,
    /// Stands for a topic name, 1 to 65,535.
    TopicAlias = 0x23,
    /// Highest quality of service accepted: a byte, 0 or 1.
    MaximumQos = 0x24,
    /// Whether retained messages are served: a byte, 0 or 1.
    RetainAvailable = 0x25,
    /// A name and a value.
    UserProperty = 0x26,
    /// Most bytes of a packet, at least 1.
    MaximumPacketSize = 0x27,
    /// Whether wildcards are served: a byte, 0 or 1.
    WildcardSubscriptionAvailable = 0x28,
    /// Whether subscription identifiers are served: a byte, 0 or 1.
    SubscriptionIdentifierAvailable = 0x29,
    /// Whether shared subscriptions are served: a byte, 0 or 1.
    SharedSubscriptionAvailable = 0x2a,
}

/// A property's value in its own data type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A byte.
    Byte(u8),
    /// A two byte integer.
    Two(u16),
    /// A four byte integer.
    Four(u32),
    /// A variable byte integer.
    Variable(u32),
    /// A UTF-8 encoded string.
    Text(&'a str),
    /// Binary data.
    Bytes(&'a [u8]),
    /// A UTF-8 string pair.
    Pair(&'a str, &'a str),
}

/// The packet that a block of properties is part of, as far as it matters for what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Owner {
    Connect,
    Will,
    Connack,
    PublishByClient,
    PublishByServer,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    DisconnectByClient,
    DisconnectByServer,
    Auth,
}

/// Properties of one packet: checked, borrowed bytes without the length in front.
///
/// Checked means: known identifiers that this packet may carry, none repeated that may not be, values of the right form and in range.
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

impl Value<'_> {
    fn write(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Byte(value) => out.push(value),
            Self::Two(value) => put_u16(out, value),
            Self::Four(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Variable(value) => varint::put(out, value),
            Self::Text(text) => put_text(out, text)?,
            Self::Bytes(bytes) => put_bytes(out, bytes)?,
            Self::Pair(name, value) => {
                put_text(out, name)?;
                put_text(out, value)?;
            }
        }
        Ok(())
    }
}

impl PropertyId {
    /// All properties, by number.
    pub const ALL: [Self; 27] = [
        Self::PayloadFormatIndicator,
        Self::MessageExpiryInterval,
        Self::ContentType,
        Self::ResponseTopic,
        Self::CorrelationData,
        Self::SubscriptionIdentifier,
        Self::SessionExpiryInterval,
        Self::AssignedClientIdentifier,
        Self::ServerKeepAlive,
        Self::AuthenticationMethod,
        Self::AuthenticationData,
        Self::RequestProblemInformation,
        Self::WillDelayInterval,
        Self::RequestResponseInformation,
        Self::ResponseInformation,
        Self::ServerReference,
        Self::ReasonString,
        Self::ReceiveMaximum,
        Self::TopicAliasMaximum,
        Self::TopicAlias,
        Self::MaximumQos,
        Self::RetainAvailable,
        Self::UserProperty,
        Self::MaximumPacketSize,
        Self::WildcardSubscriptionAvailable,
        Self::SubscriptionIdentifierAvailable,
        Self::SharedSubscriptionAvailable,
    ];

    /// The property with this number.
    pub const fn from_u32(raw: u32) -> Option<Self> {
        Some(match raw {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0b => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1a => Self::ResponseInformation,
            0x1c => Self::ServerReference,
            0x1f => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQos,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifierAvailable,
            0x2a => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }

    fn read<'a>(self, reader: &mut Reader<'a>) -> Result<Value<'a>, PacketError> {
        Ok(match self {
            Self::PayloadFormatIndicator
            | Self::RequestProblemInformation
            | Self::RequestResponseInformation
            | Self::MaximumQos
            | Self::RetainAvailable
            | Self::WildcardSubscriptionAvailable
            | Self::SubscriptionIdentifierAvailable
            | Self::SharedSubscriptionAvailable => Value::Byte(reader.u8()?),
            Self::ServerKeepAlive | Self::ReceiveMaximum | Self::TopicAliasMaximum | Self::TopicAlias => {
                Value::Two(reader.u16()?)
            }
            Self::MessageExpiryInterval
            | Self::SessionExpiryInterval
            | Self::WillDelayInterval
            | Self::MaximumPacketSize => Value::Four(reader.u32()?),
            Self::SubscriptionIdentifier => Value::Variable(reader.varint()?),
            Self::ContentType
            | Self::ResponseTopic
            | Self::AssignedClientIdentifier
            | Self::AuthenticationMethod
            | Self::ResponseInformation
            | Self::ServerReference
            | Self::ReasonString => Value::Text(reader.text()?),
            Self::CorrelationData | Self::AuthenticationData => Value::Bytes(reader.bytes()?),
            Self::UserProperty => {
                let name = reader.text()?;
                Value::Pair(name, reader.text()?)
            }
        })
    }

    /// True when the value has this property's type and is in its range.
    fn accepts(self, value: Value<'_>) -> bool {
        match (self, value) {
            (
                Self::PayloadFormatIndicator
                | Self::RequestProblemInformation
                | Self::RequestResponseInformation
                | Self::MaximumQos
                | Self::RetainAvailable
                | Self::WildcardSubscriptionAvailable
                | Self::SubscriptionIdentifierAvailable
                | Self::SharedSubscriptionAvailable,
                Value::Byte(value),
            ) => value <= 1,
            (Self::ReceiveMaximum | Self::TopicAlias, Value::Two(value)) => value != 0,
            (Self::ServerKeepAlive | Self::TopicAliasMaximum, Value::Two(_)) => true,
            (Self::MaximumPacketSize, Value::Four(value)) => value != 0,
            (Self::MessageExpiryInterval | Self::SessionExpiryInterval | Self::WillDelayInterval, Value::Four(_)) => {
                true
            }
            (Self::SubscriptionIdentifier, Value::Variable(value)) => value != 0,
            // A response topic is a topic name: no wildcards [MQTT-3.3.2-14], and not empty [MQTT-4.7.3-1].
            (Self::ResponseTopic, Value::Text(text)) => !text.is_empty() && !text.contains(['+', '#']),
            (
                Self::ContentType
                | Self::AssignedClientIdentifier
                | Self::AuthenticationMethod
                | Self::ResponseInformation
                | Self::ServerReference
                | Self::ReasonString,
                Value::Text(_),
            ) => true,
            (Self::CorrelationData | Self::AuthenticationData, Value::Bytes(_)) => true,
            (Self::UserProperty, Value::Pair(..)) => true,
            _ => false,
        }
    }
}

impl Owner {
    /// Table 2-4, as a set of bits.
    const fn allowed(self) -> u64 {
        use PropertyId as P;
        let own = match self {
            Self::Connect => {
                P::SessionExpiryInterval.bit()
                    | P::AuthenticationMethod.bit()
                    | P::AuthenticationData.bit()
                    | P::RequestProblemInformation.bit()
                    | P::RequestResponseInformation.bit()
                    | P::ReceiveMaximum.bit()
                    | P::TopicAliasMaximum.bit()
                    | P::MaximumPacketSize.bit()
            }
            Self::Will => Self::of_message() | P::WillDelayInterval.bit(),
            Self::Connack => {
                P::SessionExpiryInterval.bit()
                    | P::AssignedClientIdentifier.bit()
                    | P::ServerKeepAlive.bit()
                    | P::AuthenticationMethod.bit()
                    | P::AuthenticationData.bit()
                    | P::ResponseInformation.bit()
                    | P::ServerReference.bit()
                    | P::ReasonString.bit()
                    | P::ReceiveMaximum.bit()
                    | P::TopicAliasMaximum.bit()
                    | P::MaximumQos.bit()
                    | P::RetainAvailable.bit()
                    | P::MaximumPacketSize.bit()
                    | P::WildcardSubscriptionAvailable.bit()
                    | P::SubscriptionIdentifierAvailable.bit()
                    | P::SharedSubscriptionAvailable.bit()
            }
            // A client sends no subscription identifier [MQTT-3.3.4-6].
            Self::PublishByClient => Self::of_message() | P::TopicAlias.bit(),
            Self::PublishByServer => Self::of_message() | P::TopicAlias.bit() | P::SubscriptionIdentifier.bit(),
            Self::Acknowledgement => P::ReasonString.bit(),
            Self::Subscribe => P::SubscriptionIdentifier.bit(),
            Self::Unsubscribe => 0,
            Self::DisconnectByClient => P::SessionExpiryInterval.bit() | P::ReasonString.bit(),
            // The server sends no session expiry here [MQTT-3.14.2-2].
            Self::DisconnectByServer => P::ServerReference.bit() | P::ReasonString.bit(),
            Self::Auth => P::AuthenticationMethod.bit() | P::AuthenticationData.bit() | P::ReasonString.bit(),
        };
        own | P::UserProperty.bit()
    }

    const fn of_message() -> u64 {
        PropertyId::PayloadFormatIndicator.bit()
            | PropertyId::MessageExpiryInterval.bit()
            | PropertyId::ContentType.bit()
            | PropertyId::ResponseTopic.bit()
            | PropertyId::CorrelationData.bit()
    }

    const fn may_repeat(self, id: PropertyId) -> bool {
        match id {
            PropertyId::UserProperty => true,
            PropertyId::SubscriptionIdentifier => matches!(self, Self::PublishByServer),
            _ => false,
        }
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
