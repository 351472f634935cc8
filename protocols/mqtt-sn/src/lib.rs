//! MQTT-SN 1.2: the codec.
#![forbid(unsafe_code)]

pub mod codec;
mod error;
pub mod packet;

pub use error::{EncodeError, PacketError};
pub use packet::{Packet, PacketType, ReturnCode};
