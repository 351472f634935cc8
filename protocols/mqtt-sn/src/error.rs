use std::fmt;

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// Shorter than the length that it tells, or than its fields need.
    Truncated,
    /// Longer than the length that it tells: a datagram holds one message.
    TrailingBytes,
    /// A length that is less than what is there already (section 5.2.1).
    Length,
    /// A message type that does not exist (table 3).
    UnknownType(u8),
    /// The topic id type 0b11, or one that this message does not have (section 5.3.4).
    TopicIdType,
    /// A quality of service that this message does not have.
    Qos,
    /// A text is not UTF-8.
    NotUtf8,
    /// A protocol id other than 1 (section 5.3.8).
    ProtocolId(u8),
    /// A forwarded message without a wireless node id (section 5.5).
    NoNode,
    /// A forwarded message in a forwarded message.
    NestedForwarding,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("message ends inside a field"),
            Self::TrailingBytes => f.write_str("bytes behind the message"),
            Self::Length => f.write_str("impossible length"),
            Self::UnknownType(kind) => write!(f, "unknown message type {kind:#04x}"),
            Self::TopicIdType => f.write_str("wrong topic id type"),
            Self::Qos => f.write_str("wrong quality of service"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
            Self::ProtocolId(id) => write!(f, "unknown protocol id {id:#04x}"),
            Self::NoNode => f.write_str("forwarded without a node id"),
            Self::NestedForwarding => f.write_str("forwarded twice"),
        }
    }
}

impl std::error::Error for PacketError {}

/// Why a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A message of more than 65,535 bytes.
    TooLong,
    /// A method of authentication of more than 255 bytes.
    FieldTooLong,
    /// A wireless node id of no bytes, or of more than 252.
    NodeLength,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "message of more than 65,535 bytes",
            Self::FieldTooLong => "field of more than 255 bytes",
            Self::NodeLength => "node id of no or more than 252 bytes",
        })
    }
}

impl std::error::Error for EncodeError {}
