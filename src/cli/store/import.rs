use std::{
    fs::{self, File},
    io::{self, BufReader, ErrorKind},
    ops::ControlFlow,
    path::Path,
    process::ExitCode,
};

use thingway_store::{BackendError, Counts};

use super::{Failure, is_in_use, now, open_at, print, read};
use crate::{
    config::{Config, StoreDurability},
    store::{
        self, Embedded,
        portable::{self, Imported, LinesError},
    },
};

/// `thingway store import`: a new store is made beside the present one, which is empty or not there, and takes its place when it is complete.
pub(super) fn import(config: &Config, file: &Path) -> Result<ExitCode, Failure> {
    if config.store.durability == StoreDurability::Memory {
        return Err(Failure::Other("store.durability is \"memory\": what is imported would not be read".into()));
    }
    let of_file = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut input =
        BufReader::with_capacity(1 << 16, File::open(file).map_err(|error| Failure::File(of_file(&error)))?);
    let folder = config.store_folder();
    check_empty(config)?;
    let unfinished = folder.with_file_name("store.import");
    remove(&unfinished)?;
    let imported = match portable::import(&mut input, open_at(&unfinished)?) {
        Ok((imported, backend)) => verify(config, backend, &unfinished).map(|()| imported),
        Err(LinesError::Line { line, why }) => Err(Failure::File(format!("{}:{line}: {why}", file.display()))),
        Err(LinesError::Read(error)) => Err(Failure::File(of_file(&error))),
        Err(LinesError::Store(error)) => Err(Failure::Store(unfinished.clone(), error)),
    };
    let placed = imported.and_then(|imported| place(config, &unfinished, &folder).map(|()| imported));
    if placed.is_err() {
        remove(&unfinished)?;
    }
    let Imported { counts: Counts { sessions, messages, delayed, .. }, retained, settings } = placed?;
    Ok(print(&format!(
        "{}: {sessions} sessions, {messages} messages in queues, {retained} retained, {delayed} delayed, {settings} settings\n",
        folder.display()
    )))
}

fn check_empty(config: &Config) -> Result<(), Failure> {
    let folder = config.store_folder();
    if !store::exists(&folder) {
        return Ok(());
    }
    let mut keeper = read(config, open_at(&folder)?)?;
    let mut is_empty = true;
    let told = keeper.export(&mut |_| {
        is_empty = false;
        ControlFlow::Break(())
    });
    match told {
        Ok(()) if is_empty => Ok(()),
        Ok(()) => Err(Failure::Other(format!("{}: it is not empty: move the folder away first", folder.display()))),
        Err(error) => Err(Failure::Store(folder, error)),
    }
}

/// Reads what was written.
fn verify(config: &Config, backend: Embedded, folder: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::Store(folder.into(), error);
    let checked = thingway_store::check(backend, config.store_settings(), now()).map_err(failed)?;
    match checked.problems.first() {
        Some(problem) => Err(failed(BackendError::Corrupt(problem.as_str().into()))),
        None => Ok(()),
    }
}

/// Puts the new folder in the place of the present one. A gateway that was started meanwhile is found: it has the store open, or has made one.
fn place(config: &Config, unfinished: &Path, folder: &Path) -> Result<(), Failure> {
    // It may have run since this was asked first.
    check_empty(config)?;
    let replaced = folder.with_file_name("store.empty");
    let of_folder = |error: io::Error| Failure::Other(format!("{}: {error}", folder.display()));
    let _lock = match store::lock(folder) {
        Ok(None) => return Err(Failure::InUse(folder.into())),
        Ok(lock) => {
            remove(&replaced)?;
            fs::rename(folder, &replaced).map_err(of_folder)?;
            lock
        }
        Err(_) => None,
    };
    fs::rename(unfinished, folder).map_err(of_folder)?;
    File::open(folder.parent().unwrap_or(Path::new("/"))).and_then(|parent| parent.sync_all()).map_err(of_folder)?;
    remove_all(&replaced)
}

fn remove(folder: &Path) -> Result<(), Failure> {
    if is_in_use(folder) {
        return Err(Failure::InUse(folder.into()));
    }
    remove_all(folder)
}

fn remove_all(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::Other(format!("{}: {error}", folder.display())))
        }
        _ => Ok(()),
    }
}
