use std::fmt;

use thingway_contract::TopicError;

use crate::packet::PacketType;

/// Why bytes are no packet, or a packet that may not be sent so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// Packet type 0, or type 15 before 5.0.
    ReservedType,
    /// Flags of the fixed header that this type does not have [MQTT-2.1.3-1].
    FixedHeaderFlags,
    /// A variable byte integer of more than four bytes (section 1.5.5).
    IntegerTooLong,
    /// A variable byte integer longer than its value needs [MQTT-1.5.5-1].
    IntegerNotMinimal,
    /// More bytes than the limit that was set.
    TooLarge,
    /// A field runs past the end of the packet.
    Truncated,
    /// Bytes behind the last field.
    TrailingBytes,
    /// A text is not UTF-8 [MQTT-1.5.4-1].
    NotUtf8,
    /// A text holds U+0000 [MQTT-1.5.4-2].
    Nul,
    /// Packet identifier 0 [MQTT-2.2.1-3].
    PacketIdZero,
    /// Quality of service 3 [MQTT-3.3.1-4].
    QosInvalid,
    /// DUP on a QoS 0 message [MQTT-3.3.1-2].
    DuplicateAtQos0,
    /// A topic name that is none.
    Topic(TopicError),
    /// No topic name, and no topic alias instead (section 3.3.2.1).
    NoTopic,
    /// Not the protocol name of MQTT [MQTT-3.1.2-1].
    ProtocolName,
    /// A protocol level that is not spoken [MQTT-3.1.2-2].
    ProtocolLevel(u8),
    /// The reserved connect flag is set [MQTT-3.1.2-3].
    ConnectFlags,
    /// Will QoS 3, or will flags without a will [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.1.2-13].
    WillFlags,
    /// A password without a user name before 5.0 [MQTT-3.1.2-22].
    PasswordWithoutUsername,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter [MQTT-3.8.3-2], [MQTT-3.10.3-2].
    NoFilters,
    /// Reserved bits in subscription options [MQTT-3.8.3-5].
    SubscriptionOptions,
    /// Quality of service 3 in subscription options (section 3.8.3.1).
    SubscriptionQos,
    /// Retain handling 3 in subscription options (section 3.8.3.1).
    RetainHandling,
    /// No Local on a shared subscription [MQTT-3.8.3-4].
    NoLocalOnShared,
    /// A property identifier that does not exist (section 2.2.2.2).
    PropertyUnknown(u32),
    /// A property that this packet does not have.
    PropertyMisplaced(u8),
    /// A property that may appear once appears again.
    PropertyRepeated(u8),
    /// A value that this property may not have.
    PropertyValue(u8),
    /// Authentication data without a method (section 3.1.2.11.10), or AUTH without one (section 3.15.2.2.2).
    NoAuthenticationMethod,
    /// A reason code that this packet does not have.
    ReasonCode(u8),
    /// Reserved bits in the acknowledge flags of CONNACK [MQTT-3.2.2-1], or session present with a refusal.
    ConnackFlags,
    /// A type that this side never sends.
    Direction(PacketType),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedType => f.write_str("reserved packet type"),
            Self::FixedHeaderFlags => f.write_str("wrong flags in the fixed header"),
            Self::IntegerTooLong => f.write_str("length of more than four bytes"),
            Self::IntegerNotMinimal => f.write_str("length encoded with too many bytes"),
            Self::TooLarge => f.write_str("packet too large"),
            Self::Truncated => f.write_str("packet ends inside a field"),
            Self::TrailingBytes => f.write_str("bytes behind the last field"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
            Self::Nul => f.write_str("text holds U+0000"),
            Self::PacketIdZero => f.write_str("packet identifier 0"),
            Self::QosInvalid => f.write_str("quality of service 3"),
            Self::DuplicateAtQos0 => f.write_str("DUP at quality of service 0"),
            Self::Topic(error) => write!(f, "bad topic name: {error:?}"),
            Self::NoTopic => f.write_str("neither topic name nor topic alias"),
            Self::ProtocolName => f.write_str("unknown protocol name"),
            Self::ProtocolLevel(level) => write!(f, "unknown protocol level {level}"),
            Self::ConnectFlags => f.write_str("reserved connect flag set"),
            Self::WillFlags => f.write_str("bad will flags"),
            Self::PasswordWithoutUsername => f.write_str("password without user name"),
            Self::NoFilters => f.write_str("no topic filters"),
            Self::SubscriptionOptions => f.write_str("bad subscription options"),
            Self::SubscriptionQos => f.write_str("subscription to quality of service 3"),
            Self::RetainHandling => f.write_str("retain handling 3"),
            Self::NoLocalOnShared => f.write_str("no local on a shared subscription"),
            Self::PropertyUnknown(id) => write!(f, "unknown property {id:#04x}"),
            Self::PropertyMisplaced(id) => write!(f, "misplaced property {id:#04x}"),
            Self::PropertyRepeated(id) => write!(f, "repeated property {id:#04x}"),
            Self::PropertyValue(id) => write!(f, "bad value of property {id:#04x}"),
            Self::NoAuthenticationMethod => f.write_str("authentication without a method"),
            Self::ReasonCode(code) => write!(f, "wrong reason code {code:#04x}"),
            Self::ConnackFlags => f.write_str("bad acknowledge flags"),
            Self::Direction(kind) => write!(f, "{} from the wrong side", kind.name()),
        }
    }
}

impl std::error::Error for PacketError {}

/// Why a packet cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A text or binary field of more than 65,535 bytes.
    FieldTooLong,
    /// A packet of more than 268,435,455 bytes behind its fixed header.
    PacketTooLarge,
    /// The version has no such packet or field.
    NotInVersion,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FieldTooLong => "field of more than 65,535 bytes",
            Self::PacketTooLarge => "packet of more than 268,435,455 bytes",
            Self::NotInVersion => "not part of this version of the protocol",
        })
    }
}

impl std::error::Error for EncodeError {}
