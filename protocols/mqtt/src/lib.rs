//! MQTT 3.1, 3.1.1 and 5.0 in one tree: the version is a field.
//!
//! * [`packet`], [`property`], [`split`]: the codec, the same for both directions.
//! * [`Connection`]: the server's side of one conversation, an implementation of [`thingway_contract::Protocol`].
//! * [`Config`]: its settings.
#![forbid(unsafe_code)]

mod alias;
pub mod codec;
mod config;
mod connection;
mod error;
mod fault;
mod fuzz;
mod inflight;
pub mod packet;
pub mod property;
mod reason;
mod version;

pub use codec::{Frame, Split, split};
pub use config::Config;
pub use connection::Connection;
pub use error::{EncodeError, PacketError};
pub use fault::MqttFault;
#[doc(hidden)]
pub use fuzz::fuzz_bytes;
pub use property::{PropertyBlock, PropertyId, PropertyWriter, Value};
pub use reason::Reason;
pub use version::Version;
