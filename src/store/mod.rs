//! The session store's way into its log, and where log and rows are kept: on the disk, or in memory only.

mod commit;
mod embedded;
mod folder;
mod journal;
mod keys;
pub mod portable;

use std::{
    io,
    path::{Path, PathBuf},
};

use thingway_store::{Backend, BackendError, Durability, Memory};

pub use self::{
    commit::{Frozen, Journal, Page, Queued, Settled, Ticket, Wake},
    embedded::Embedded,
    folder::Lock,
};

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

impl Settings {
    /// With a cache of 8 MiB, which is enough where reading is rare.
    pub fn new(folder: impl Into<PathBuf>, durability: Durability) -> Self {
        Self { folder: folder.into(), durability, cache_bytes: 8 << 20 }
    }
}

/// Opens the store, or makes it.
///
/// # Errors
/// See [`Embedded::open`]; memory does not fail.
pub fn open(settings: &Settings) -> Result<Box<dyn Backend>, BackendError> {
    Ok(match settings.durability {
        Durability::Memory => Box::new(Memory::new()),
        Durability::Fsync | Durability::Os => Box::new(Embedded::open(settings)?),
    })
}

/// Whether there is a store in this folder.
pub fn exists(folder: &Path) -> bool {
    folder::Folder::exists(folder)
}

/// Locks the store in this folder without opening it, until the lock is dropped. `None` when a process has it open.
///
/// # Errors
/// When there is none, or its lock cannot be opened.
pub fn lock(folder: &Path) -> io::Result<Option<Lock>> {
    folder::Folder::lock(folder)
}
