use super::Flags;
use crate::{PacketError, codec::Reader};

/// What stands for a topic name in PUBLISH (sections 5.3.11 and 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// An id that was registered in this conversation.
    Normal(u16),
    /// An id that both sides know beforehand.
    Predefined(u16),
    /// The topic name itself, which has two bytes.
    Short([u8; 2]),
}

impl TopicRef {
    pub(super) fn of(kind: u8, id: u16) -> Result<Self, PacketError> {
        Ok(match kind {
            Flags::TOPIC_NORMAL => Self::Normal(id),
            Flags::TOPIC_PREDEFINED => Self::Predefined(id),
            Flags::TOPIC_SHORT => Self::Short(id.to_be_bytes()),
            _ => return Err(PacketError::TopicIdType),
        })
    }

    /// The topic id type.
    pub const fn kind(self) -> u8 {
        match self {
            Self::Normal(_) => Flags::TOPIC_NORMAL,
            Self::Predefined(_) => Flags::TOPIC_PREDEFINED,
            Self::Short(_) => Flags::TOPIC_SHORT,
        }
    }

    /// The two bytes that are sent.
    pub const fn id(self) -> u16 {
        match self {
            Self::Normal(id) | Self::Predefined(id) => id,
            Self::Short(name) => u16::from_be_bytes(name),
        }
    }
}

/// What is subscribed to or no longer subscribed to (sections 5.4.15 and 5.4.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicName<'a> {
    /// A topic name, which may have wildcards.
    Name(&'a str),
    /// An id that both sides know beforehand.
    Predefined(u16),
    /// A topic name of two bytes.
    Short([u8; 2]),
}

impl<'a> TopicName<'a> {
    pub(super) fn read(kind: u8, reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        Ok(match kind {
            Flags::TOPIC_NORMAL => Self::Name(reader.text()?),
            Flags::TOPIC_PREDEFINED => Self::Predefined(reader.u16()?),
            Flags::TOPIC_SHORT => Self::Short(reader.array()?),
            _ => return Err(PacketError::TopicIdType),
        })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Name(name) => out.extend_from_slice(name.as_bytes()),
            Self::Predefined(id) => out.extend_from_slice(&id.to_be_bytes()),
            Self::Short(name) => out.extend_from_slice(&name),
        }
    }

    /// The topic id type.
    pub const fn kind(self) -> u8 {
        match self {
            Self::Name(_) => Flags::TOPIC_NORMAL,
            Self::Predefined(_) => Flags::TOPIC_PREDEFINED,
            Self::Short(_) => Flags::TOPIC_SHORT,
        }
    }
}
