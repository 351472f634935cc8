//! The packets (MQTT 5.0, chapter 3), one type a file, each with its decoder and encoder for both directions.
//!
//! Decoding borrows from the input and allocates nothing.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod ping;
mod publish;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::{Connack, ReturnCode};
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub(crate) use ping::decode as check_ping;
pub use ping::{PINGREQ, PINGRESP};
pub use publish::Publish;
pub(crate) use publish::PublishLayout;
pub use suback::Suback;
pub use subscribe::{Subscribe, SubscribeFilters};
pub use unsuback::Unsuback;
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters};

use crate::{EncodeError, Frame, PacketError, Version};

/// The type of a packet, as in the upper half of its first byte (table 2-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PacketType {
    /// A client asks for a connection.
    Connect = 1,
    /// The answer to it.
    Connack = 2,
    /// A message.
    Publish = 3,
    /// QoS 1: received.
    Puback = 4,
    /// QoS 2, first step: received.
    Pubrec = 5,
    /// QoS 2, second step: release.
    Pubrel = 6,
    /// QoS 2, third step: complete.
    Pubcomp = 7,
    /// A client subscribes.
    Subscribe = 8,
    /// The answer to it.
    Suback = 9,
    /// A client unsubscribes.
    Unsubscribe = 10,
    /// The answer to it.
    Unsuback = 11,
    /// A client shows that it is alive.
    Pingreq = 12,
    /// The answer to it.
    Pingresp = 13,
    /// Goodbye.
    Disconnect = 14,
    /// Enhanced authentication, since 5.0.
    Auth = 15,
}

/// Which side sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// A packet of any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT.
    Connect(Connect<'a>),
    /// CONNACK.
    Connack(Connack<'a>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    Puback(Ack<'a>),
    /// PUBREC.
    Pubrec(Ack<'a>),
    /// PUBREL.
    Pubrel(Ack<'a>),
    /// PUBCOMP.
    Pubcomp(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBACK.
    Suback(Suback<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK.
    Unsuback(Unsuback<'a>),
    /// PINGREQ.
    Pingreq,
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes a packet that `sender` sent. CONNECT brings its own version; the others are read as `version` has them.
    ///
    /// # Errors
    /// Whatever is wrong with the packet by itself; what it means in a conversation is not looked at.
    pub fn decode(version: Version, sender: Sender, frame: Frame<'a>) -> Result<Self, PacketError> {
        let Frame { first, body, .. } = frame;
        if PacketType::of(first) == Some(PacketType::Connect) && sender == Sender::Client {
            let connect = Connect::decode(body)?;
            frame.packet_type(connect.version)?;
            return Ok(Self::Connect(connect));
        }
        let kind = frame.packet_type(version)?;
        if !kind.may_come_from(sender) {
            return Err(PacketError::Direction(kind));
        }
        Ok(match kind {
            PacketType::Connect => Self::Connect(Connect::decode(body)?),
            PacketType::Connack => Self::Connack(Connack::decode(version, body)?),
            PacketType::Publish => Self::Publish(Publish::decode(version, sender, first, body)?),
            PacketType::Puback => Self::Puback(Ack::decode(version, kind, body)?),
            PacketType::Pubrec => Self::Pubrec(Ack::decode(version, kind, body)?),
            PacketType::Pubrel => Self::Pubrel(Ack::decode(version, kind, body)?),
            PacketType::Pubcomp => Self::Pubcomp(Ack::decode(version, kind, body)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(version, body)?),
            PacketType::Suback => Self::Suback(Suback::decode(version, body)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(version, body)?),
            PacketType::Unsuback => Self::Unsuback(Unsuback::decode(version, body)?),
            PacketType::Pingreq => ping::decode(body).map(|()| Self::Pingreq)?,
            PacketType::Pingresp => ping::decode(body).map(|()| Self::Pingresp)?,
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(version, sender, body)?),
            PacketType::Auth => Self::Auth(Auth::decode(sender, body)?),
        })
    }

    /// Appends the packet to `out`. CONNECT is written in its own version.
    ///
    /// # Errors
    /// Says what does not fit; `out` is then as before.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::Connack(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::Puback(packet) => packet.encode(version, PacketType::Puback, out),
            Self::Pubrec(packet) => packet.encode(version, PacketType::Pubrec, out),
            Self::Pubrel(packet) => packet.encode(version, PacketType::Pubrel, out),
            Self::Pubcomp(packet) => packet.encode(version, PacketType::Pubcomp, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::Suback(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::Unsuback(packet) => packet.encode(version, out),
            Self::Pingreq => {
                out.extend_from_slice(&PINGREQ);
                Ok(())
            }
            Self::Pingresp => {
                out.extend_from_slice(&PINGRESP);
                Ok(())
            }
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }

    /// The packet's type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

impl PacketType {
    /// All types, by number.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// Names by number, for metrics. Number 0 is no type.
    pub const NAMES: [&'static str; 16] = [
        "reserved",
        "connect",
        "connack",
        "publish",
        "puback",
        "pubrec",
        "pubrel",
        "pubcomp",
        "subscribe",
        "suback",
        "unsubscribe",
        "unsuback",
        "pingreq",
        "pingresp",
        "disconnect",
        "auth",
    ];

    /// The type in a packet's first byte; `None` for 0.
    pub const fn of(first: u8) -> Option<Self> {
        match first >> 4 {
            0 => None,
            nibble => Some(Self::ALL[nibble as usize - 1]),
        }
    }

    /// The first byte with the flags that this type prescribes.
    pub const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// The type's name in lower case.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// True when this side may send the type.
    pub const fn may_come_from(self, sender: Sender) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq => matches!(sender, Sender::Client),
            Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp => matches!(sender, Sender::Server),
            Self::Publish | Self::Puback | Self::Pubrec | Self::Pubrel | Self::Pubcomp => true,
            // Before 5.0 only a client says goodbye; what a server of that time sends is refused by its version
            // elsewhere.
            Self::Disconnect | Self::Auth => true,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
