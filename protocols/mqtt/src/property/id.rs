use super::Value;
use crate::{PacketError, codec::Reader};

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

    pub(super) const fn bit(self) -> u64 {
        1 << self as u8
    }

    pub(super) fn read<'a>(self, reader: &mut Reader<'a>) -> Result<Value<'a>, PacketError> {
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
    pub(super) fn accepts(self, value: Value<'_>) -> bool {
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
