//! CoAP publish/subscribe: RFC 7252 with Observe (RFC 7641) and block-wise transfers (RFC 7959), as a pure state machine.
//!
//! * [`codec`]: packets, options, codes and formats, the same for both directions.
//! * [`message`], [`blockwise`], [`observe`]: the layers that know nothing of resources, for both sides of a conversation.
//! * [`Conversation`]: the server's side, an implementation of [`thingway_contract::DatagramProtocol`], with two faces over the same topics: EMQX's (`ps`,
//!   `mqtt/connection`) and that of the IETF's publish/subscribe draft.
//! * [`Config`]: its settings.
//!
//! What publications lose: response topics, correlation data and user properties have no place in CoAP. A content type without a number in IANA's
//! registry is not told to observers.
#![forbid(unsafe_code)]

pub mod blockwise;
pub mod codec;
mod config;
mod conversation;
mod fault;
mod fuzz;
mod hash;
pub mod message;
pub mod observe;
mod resources;

pub use config::{Amplification, Config, NotifyType, QosRule};
pub use conversation::Conversation;
pub use fault::CoapFault;
#[doc(hidden)]
pub use fuzz::fuzz_bytes;
