//! Packets as bytes. `coap-lite` does the packing; the strictness that RFC 7252 wants is here, in front of it.

mod check;
mod code;
mod format;
pub mod option;
mod packet;

pub use check::{FormatError, Header, check};
pub use code::{Code, Kind};
pub use format::{content_format, is_text, media_type};
pub use packet::Packet;

/// A token: at most 8 bytes (RFC 7252, section 5.3.1), kept in place.
pub type TokenBytes = smallvec::SmallVec<[u8; 8]>;
