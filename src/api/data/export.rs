//! Writing archives.

use std::{
    fmt,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use thingway_store::{BackendError, Epoch, FlushLimits, Item, Keeper, Reader};

use super::{
    archive::{UNPACKED_MAX, Writer},
    folder::{Folder, FolderError, Kept},
    tables::Table,
};
use crate::{
    api::world::{World, unix_ms},
    config::ChangeError,
    store::portable::{self, ExportError},
};

/// What an archive's first entry says of it.
pub const MANIFEST: &str = "manifest.json";
/// The settings that were changed at run time.
pub const SETTINGS: &str = "settings.toml";
/// What is kept of tables, as `thingway store export` writes it.
pub const STORE: &str = "store.jsonl";

pub const FORMAT: &str = "thingway data";
/// The version of archives that are written, and the latest that is read.
pub const VERSION: u32 = 1;

/// Bytes of messages that are held in memory. Nearly all are read in order.
const CACHE_BYTES: usize = 1 << 20;

/// What an archive is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub version: u32,
    /// The gateway's version.
    #[serde(default)]
    pub made_by: String,
    #[serde(default)]
    pub node: String,
    /// In milliseconds since 1970.
    #[serde(default)]
    pub created_ms: u64,
    /// The tables that it has, which may be empty; others it has not.
    pub table_sets: Vec<String>,
}

/// Why none was written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Settings(#[from] ChangeError),
    #[error("the store cannot be read: {0}")]
    Store(#[from] BackendError),
    #[error("it would unpack to more than {UNPACKED_MAX} bytes: use `thingway store export`")]
    TooLarge,
}

impl From<ExportError> for NotWritten {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => Self::Store(error),
            ExportError::Write(error) => Self::File(error),
        }
    }
}

/// How it was written.
#[derive(Debug)]
pub struct Told {
    pub kept: Kept,
    /// How long nothing was committed for it.
    held: Duration,
    lines: u64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, held) = (&self.kept, self.held.as_secs_f64() * 1000.0);
        write!(f, "{}: {} lines, {} bytes; commits waited {held:.3} ms", kept.name, self.lines, kept.size)
    }
}

/// Writes an archive of these tables as they are at one moment, and of the settings below these keys. Blocks.
///
/// # Errors
/// Why there is no new archive.
pub fn write(world: &World, folder: &Folder, tables: &[Table], roots: Option<&[String]>) -> Result<Told, NotWritten> {
    let created_ms = unix_ms();
    let archive = folder.create(&name_of(created_ms))?;
    let frozen = world.journal.freeze()?;
    let settings = world.run_time.part(roots)?;
    let (backend, limits) = (Reader(frozen.backend), FlushLimits::default());
    let store_settings = world.run_time.current().config.store_settings();
    // A machine of its own is made of what there was, as at a start.
    let opened = Keeper::<(), _>::open(backend, store_settings, limits, CACHE_BYTES, Epoch::default(), created_ms);
    let (mut keeper, _) = opened?;
    let mut lines = BufWriter::with_capacity(1 << 16, folder.scratch()?);
    let written = portable::export_unowned(&mut keeper, &mut lines, |item| {
        let table = match item {
            Item::Retained(_) => Some(Table::Retained),
            Item::Delayed { .. } => Some(Table::Delayed),
            Item::Setting { name, .. } => Table::of_key(name),
            _ => None,
        };
        table.is_some_and(|table| tables.contains(&table))
    })?;
    drop(keeper);
    // Headers and the manifest take less than a mebibyte.
    if written.bytes + settings.len() as u64 > UNPACKED_MAX - (1 << 20) {
        return Err(NotWritten::TooLarge);
    }
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        made_by: env!("CARGO_PKG_VERSION").into(),
        node: world.node.clone(),
        created_ms,
        table_sets: tables.iter().map(|table| table.name().to_owned()).collect(),
    };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from)?;
    let mut lines = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
    lines.seek(SeekFrom::Start(0))?;
    let secs = created_ms / 1000;
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 16, &archive.file));
    writer.add(MANIFEST, secs, manifest.len() as u64, &mut &manifest[..])?;
    writer.add(SETTINGS, secs, settings.len() as u64, &mut settings.as_bytes())?;
    writer.add(STORE, secs, written.bytes, &mut lines)?;
    writer.finish()?.flush()?;
    Ok(Told { kept: archive.finish()?, held: frozen.held, lines: written.lines })
}

fn name_of(unix_ms: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
    let date = humantime::format_rfc3339_millis(time).to_string().replace(['T', ':'], "-");
    format!("thingway-export-{}.tar.gz", date.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_good_names() {
        let name = name_of(1_700_759_599_043);
        assert_eq!(name, "thingway-export-2023-11-23-17-13-19.043.tar.gz");
        assert!(super::super::folder::check_name(&name).is_ok());
    }
}
