use std::fmt;

use crate::{PacketError, codec::Reader};

/// What became of a request (table 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReturnCode {
    /// Done.
    Accepted = 0,
    /// Not now: try again later.
    Congestion = 1,
    /// The topic id is not known here: register the name again.
    InvalidTopicId = 2,
    /// Not possible here, or not allowed.
    NotSupported = 3,
}

impl ReturnCode {
    /// The code with this number.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Accepted,
            1 => Self::Congestion,
            2 => Self::InvalidTopicId,
            3 => Self::NotSupported,
            _ => return None,
        })
    }

    /// True for a refusal.
    pub const fn is_refusal(self) -> bool {
        !matches!(self, Self::Accepted)
    }

    /// Reserved codes are read as a refusal: some gateways and clients use them for reasons of their own.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        Ok(Self::of(reader.u8()?).unwrap_or(Self::NotSupported))
    }
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Congestion => "rejected: congestion",
            Self::InvalidTopicId => "rejected: invalid topic ID",
            Self::NotSupported => "rejected: not supported",
        })
    }
}
