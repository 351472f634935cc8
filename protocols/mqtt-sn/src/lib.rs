//! MQTT-SN 1.2.
//!
//! * [`packet`], [`codec`]: the messages, the same for both directions, and what is around them.
//! * [`Conversation`]: the gateway's side of one conversation, an implementation of [`thingway_contract::DatagramProtocol`].
//! * [`Config`]: its settings.
#![forbid(unsafe_code)]

pub mod codec;
mod config;
mod conversation;
mod error;
mod fault;
mod fuzz;
pub mod packet;
mod predefined;
mod registry;

pub use config::Config;
pub use conversation::{Conversation, State};
pub use error::{EncodeError, PacketError};
pub use fault::MqttSnFault;
#[doc(hidden)]
pub use fuzz::fuzz_bytes;
pub use packet::{Packet, PacketType, ReturnCode};
pub use predefined::{Predefined, PredefinedError};
