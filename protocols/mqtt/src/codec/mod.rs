//! The data types of section 1.5 and the fixed header of section 2.1.

mod frame;
mod reader;
pub mod varint;
mod writer;

pub use frame::{Frame, Split, split};
pub(crate) use reader::Reader;
pub(crate) use writer::{put_bytes, put_frame, put_text, put_u16};
