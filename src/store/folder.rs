//! The store's folder: who has it open, and which format it is in.
//!
//! ```text
//! lock      locked while a process has the store open
//! format    "thingway store 1"; there when the database below was made completely
//! database  fjall's
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use thingway_store::BackendError;

use super::journal;

/// The latest version of the format. It covers what keyspaces there are, how keys are composed, and the database's own format.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
const FORMAT_PREFIX: &str = "thingway store ";

/// A folder that this process has locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: Lock,
}

/// The lock of a folder, until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Unlocks it: closing the file would not, while a child that was started meanwhile has not yet closed its copy.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Folder {
    /// Makes the folder if it is not there, locks it and checks the format.
    ///
    /// # Errors
    /// `Io` when another has it open, `Newer` when a later gateway wrote it, `Corrupt` when it is not a store.
    pub(super) fn open(path: &Path) -> Result<Self, BackendError> {
        let of = |file: &Path| {
            let file = file.to_owned();
            move |error: io::Error| describe(&error, &file)
        };
        fs::create_dir_all(path).map_err(of(path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(of(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                BackendError::Io(format!("{}: another process has this store open", path.display()).into())
            }
            TryLockError::Error(error) => of(&lock_path)(error),
        })?;
        let folder = Self { path: path.to_owned(), _lock: Lock(lock) };
        let format = folder.format();
        match fs::read_to_string(&format) {
            Ok(text) => folder.check(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => folder.clear_unfinished()?,
            Err(error) => return Err(of(&format)(error)),
        }
        Ok(folder)
    }

    /// Whether a store was made here completely.
    pub(super) fn exists(path: &Path) -> bool {
        path.join(FORMAT_FILE).exists()
    }

    /// Locks an existing one without opening it, until what it gives is dropped; `None` when a process has it locked.
    pub(super) fn lock(path: &Path) -> io::Result<Option<Lock>> {
        let lock = File::options().write(true).open(path.join(LOCK_FILE))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Lock(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("database")
    }

    /// The database was made completely: from now on it is never cleared.
    pub(super) fn finish(&self) -> io::Result<()> {
        if self.format().try_exists()? {
            return Ok(());
        }
        let unfinished = self.path.join("format.new");
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{FORMAT_PREFIX}{FORMAT}")?;
        file.sync_all()?;
        fs::rename(unfinished, self.format())?;
        File::open(&self.path)?.sync_all()
    }

    fn format(&self) -> PathBuf {
        self.path.join(FORMAT_FILE)
    }

    fn check(&self, text: &str) -> Result<(), BackendError> {
        match text.strip_prefix(FORMAT_PREFIX).and_then(|number| number.trim_end().parse().ok()) {
            Some(FORMAT) => Ok(()),
            Some(found) if found > FORMAT => Err(BackendError::Newer { found, known: FORMAT }),
            _ => Err(BackendError::Corrupt(
                format!("{}: not a format that was ever written", self.format().display()).into(),
            )),
        }
    }

    /// A crash while the database was made leaves parts of it that it cannot be made over.
    fn clear_unfinished(&self) -> Result<(), BackendError> {
        let database = self.database();
        let exists = database.try_exists()?;
        if exists && !journal::are_empty(&database)? {
            let missing = format!("{}: missing, although there is a database", self.format().display());
            return Err(BackendError::Corrupt(missing.into()));
        }
        if exists {
            fs::remove_dir_all(database)?;
        }
        Ok(())
    }
}

fn describe(error: &io::Error, file: &Path) -> BackendError {
    let text = format!("{}: {error}", file.display()).into();
    match BackendError::from(io::Error::from(error.kind())) {
        BackendError::Full(_) => BackendError::Full(text),
        _ => BackendError::Io(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Folder::lock(folder.path()).is_err(), "there is nothing");
        let first = Folder::open(folder.path()).expect("opened");
        assert!(Folder::lock(folder.path()).expect("a file").is_none());
        let error = Folder::open(folder.path()).expect_err("it is open").to_string();
        assert!(error.ends_with("another process has this store open") && error.contains('/'), "{error}");
        // As a child has that was started just now.
        let inherited = first._lock.0.try_clone().expect("a copy");
        drop(first);
        let second = Folder::lock(folder.path()).expect("a file").expect("locked");
        Folder::open(folder.path()).expect_err("it is locked");
        drop(second);
        Folder::open(folder.path()).expect("opened");
        drop(inherited);
    }

    #[test]
    fn formats() {
        let folder = tempfile::tempdir().expect("a folder");
        let unfinished = Folder::open(folder.path()).expect("opened");
        assert!(!Folder::exists(folder.path()));
        unfinished.finish().expect("written");
        assert!(Folder::exists(folder.path()));
        drop(unfinished);
        Folder::open(folder.path()).expect("its own format").finish().expect("nothing to do");
        let format = folder.path().join("format");
        assert_eq!(fs::read_to_string(&format).expect("text"), "thingway store 1\n");
        fs::write(&format, "thingway store 2\nwhatever a later one adds").expect("written");
        assert!(matches!(Folder::open(folder.path()), Err(BackendError::Corrupt(_))));
        fs::write(&format, "thingway store 2\n").expect("written");
        assert!(matches!(Folder::open(folder.path()), Err(BackendError::Newer { found: 2, known: 1 })));
        fs::write(&format, "").expect("written");
        assert!(matches!(Folder::open(folder.path()), Err(BackendError::Corrupt(_))));
    }

    #[test]
    fn an_unfinished_database_is_cleared_and_others_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("database");
        fs::create_dir_all(database.join("keyspaces")).expect("made");
        fs::write(database.join("0.jnl"), [0; 1_000]).expect("written");
        Folder::open(folder.path()).expect("cleared");
        assert!(!database.exists());
        fs::create_dir_all(&database).expect("made");
        fs::write(database.join("3.jnl"), b"\x01something").expect("written");
        assert!(matches!(Folder::open(folder.path()), Err(BackendError::Corrupt(_))));
        assert!(database.exists());
    }
}
