//! What outlives a connection: sessions, their queues and unfinished exchanges, retained and delayed messages, as a deterministic state machine fed by
//! an ordered log of records.
//!
//! Whoever changes something appends records; when they are safe, they are applied in order. The machine has no clock and no threads, so the same log
//! gives the same state wherever it is read.
#![forbid(unsafe_code)]

mod backend;
#[doc(hidden)]
pub mod conformance;
mod durability;
mod faulty;
mod memory;

pub use backend::{Backend, BackendError, Change, Position, Table, VisitBlock, VisitRow};
pub use durability::Durability;
pub use faulty::{Failure, Faulty};
pub use memory::Memory;
