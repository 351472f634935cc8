//! The general message format (sections 5.1 and 5.2) and forwarder encapsulation (section 5.5).

mod forward;
mod frame;
mod reader;

pub use forward::{Forwarded, NODE_BYTES_MAX, node, unwrap, wrap};
pub(crate) use frame::put_frame;
pub use frame::{Frame, MESSAGE_BYTES_MAX, frame_bytes, split};
pub(crate) use reader::Reader;
