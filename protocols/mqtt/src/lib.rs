//! MQTT 3.1, 3.1.1 and 5.0 in one tree: the version is a field.
//!
//! * [`packet`], [`property`], [`split`]: the codec, the same for both directions.
#![forbid(unsafe_code)]

pub mod codec;
mod error;
pub mod packet;
pub mod property;
mod reason;
mod version;

pub use codec::{Frame, Split, split};
pub use error::{EncodeError, PacketError};
pub use property::{PropertyBlock, PropertyId, PropertyWriter, Value};
pub use reason::Reason;
pub use version::Version;
