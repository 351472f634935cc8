//! What outlives a connection: sessions, their queues and unfinished exchanges, retained and delayed messages, as a deterministic state machine fed by
//! an ordered log of records.
//!
//! Whoever changes something appends records; when they are safe, they are applied in order. The machine has no clock and no threads, so the same log
//! gives the same state wherever it is read.
#![forbid(unsafe_code)]

mod backend;
mod codec;
#[doc(hidden)]
pub mod conformance;
mod durability;
mod extras;
mod faulty;
mod fuzz;
mod import;
mod keeper;
mod machine;
mod memory;
mod portable;
mod reader;
mod record;
mod setting;
mod shelf;
#[cfg(test)]
mod simulation;
mod wire;

#[doc(hidden)]
pub use self::fuzz::fuzz_bytes;
pub use thingway_contract::SubscriptionOptions;

pub use self::{
    backend::{Backend, BackendError, Change, Position, Table, VisitBlock, VisitRow},
    codec::Epoch,
    durability::Durability,
    extras::Extras,
    faulty::{Failure, Faulty},
    import::{Import, ImportError},
    keeper::{Appended, Checked, FORMAT, FlushLimits, Found, Keeper, VisitItem, check, check_format},
    machine::{Attached, Bounds, Counts, DropCause, Host, Library, Machine, SessionView, Settings, TryAgain, Waiting},
    memory::Memory,
    portable::{Drawn, Item, QueuedItem, SessionItem},
    reader::Reader,
    record::{Attach, Cause, Exchange, Number, Publish, Record, Target, WallMs},
    setting::{SETTING_NAME_BYTES_MAX, change_settings, for_each_setting, setting},
};
