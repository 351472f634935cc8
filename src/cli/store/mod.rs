//! `thingway store`: looking at the store, and taking it elsewhere, while the gateway is stopped.

mod check;
mod export;
mod import;

use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Subcommand;
use thingway_store::{BackendError, Durability, Epoch, FlushLimits, Keeper, Reader, WallMs, check_format};

use super::{ConfigurationArguments, print, report};
use crate::{
    config::{Config, StoreDurability},
    store::{self, Embedded, Settings},
};

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read everything in the store and tell what there is and what is wrong; exit status 0 sound, 1 problems, 2 cannot be opened
    Check,
    /// Write everything in the store as lines of JSON
    Export {
        /// Where to [default: standard output]
        file: Option<PathBuf>,
    },
    /// Make the store of an export; what there is must be empty
    Import {
        /// An export, or a backup that a running gateway wrote
        file: PathBuf,
    },
}

/// Why a command did nothing.
const COULD_NOT: u8 = 2;
/// Bytes of messages that are held in memory. They are read in order.
const CACHE_BYTES: usize = 1 << 20;

/// Does it with the store of the configuration.
pub fn run(configuration: &ConfigurationArguments, command: &StoreCommand) -> ExitCode {
    finish(configuration, |config| match command {
        StoreCommand::Check => check::check(config),
        StoreCommand::Export { file } => export::export(config, file.as_deref()),
        StoreCommand::Import { file } => import::import(config, file),
    })
}

/// Reads the configuration, does something with it, and tells what went wrong.
pub(super) fn finish(
    configuration: &ConfigurationArguments,
    command: impl FnOnce(&Config) -> Result<ExitCode, Failure>,
) -> ExitCode {
    let loaded = match configuration.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            report(&problems);
            return ExitCode::from(COULD_NOT);
        }
    };
    match command(&loaded.config) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Why a command was given up.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is nothing.
    Missing(PathBuf),
    /// The gateway is running, or another command.
    InUse(PathBuf),
    /// It cannot be opened or read.
    Store(PathBuf, BackendError),
    /// Something else, in words.
    Other(String),
    /// The file that was given is not good.
    File(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::File(_) | Self::Store(_, BackendError::Corrupt(_)) => 1,
            _ => COULD_NOT,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(folder) => write!(f, "{}: there is no store", folder.display()),
            Self::InUse(folder) => write!(
                f,
                "{}: a process has this store open: stop the gateway first, or send it SIGUSR1 to have a backup written while it runs",
                folder.display()
            ),
            Self::Store(folder, error @ BackendError::Newer { .. }) => {
                write!(f, "{}: {error}: use that gateway or a later one", folder.display())
            }
            Self::Store(folder, error) => write!(f, "{}: {error}", folder.display()),
            Self::Other(why) | Self::File(why) => f.write_str(why),
        }
    }
}

/// Opens the configuration's store, if there is one. Only a half-written end is changed: it is cut, as the gateway would do.
fn open(config: &Config) -> Result<Embedded, Failure> {
    let folder = config.store_folder();
    if !store::exists(&folder) {
        return Err(Failure::Missing(folder));
    }
    open_at(&folder)
}

/// Opens the configuration's store to look at it; `None` when there is none.
pub(super) fn open_to_look(config: &Config) -> Result<Option<Reader<Embedded>>, Failure> {
    match open(config) {
        Ok(backend) => Ok(Some(Reader(backend))),
        Err(Failure::Missing(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Opens the configuration's store to change what operators have set, and makes it if there is none.
pub(super) fn open_to_change(config: &Config) -> Result<Embedded, Failure> {
    if config.store.durability == StoreDurability::Memory {
        return Err(Failure::Other("store.durability is \"memory\": what is set here would not be read".into()));
    }
    let folder = config.store_folder();
    let mut backend = open_at(&folder)?;
    check_format(&mut backend).map_err(|error| Failure::Store(folder, error))?;
    Ok(backend)
}

fn open_at(folder: &Path) -> Result<Embedded, Failure> {
    if is_in_use(folder) {
        return Err(Failure::InUse(folder.into()));
    }
    Embedded::open(&Settings::new(folder, Durability::Fsync)).map_err(|error| Failure::Store(folder.into(), error))
}

fn is_in_use(folder: &Path) -> bool {
    store::lock(folder).is_ok_and(|lock| lock.is_none())
}

/// Reads what is kept, as the gateway would find it now.
fn read(config: &Config, backend: Embedded) -> Result<Keeper<(), Reader<Embedded>>, Failure> {
    let (backend, settings, limits) = (Reader(backend), config.store_settings(), FlushLimits::default());
    let opened = Keeper::open(backend, settings, limits, CACHE_BYTES, Epoch::default(), now());
    opened.map(|(keeper, _)| keeper).map_err(|error| Failure::Store(config.store_folder(), error))
}

fn now() -> WallMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
