//! The store on the disk, in a database of its own.

mod reading;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use fjall::{
    AbstractTree, CompressionType, Database, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    compaction::Leveled,
    config::{BlockSizePolicy, CompressionPolicy, FilterPolicy},
};
use nix::{fcntl::posix_fallocate, libc};
use thingway_store::{Backend, BackendError, Change, Durability, Position, Table, VisitBlock, VisitRow};

use self::reading::{Readers, Reading};
use super::{
    Settings,
    folder::Folder,
    journal::{self, Mend},
    keys::{self, LOG_START, Place},
};

/// Bytes of blocks that are kept in memory before a table is written of them, and the same for rows.
const LOG_BUFFER_BYTES: u64 = 8 << 20;
const ROWS_BUFFER_BYTES: u64 = 4 << 20;
/// So many full buffers may wait to be written, of each; then who writes waits.
const BUFFERS_WAITING_MAX: usize = 1;
/// How often it is looked whether they were written. The database tells nobody.
const BUFFERS_POLL: Duration = Duration::from_millis(1);
/// Journals are kept until what is in them is in tables. When those that wait for this are larger, tables are written although buffers are not full.
/// The database has no less.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Tables of rows are merged in pieces of this size, so that none takes long.
const ROWS_TABLE_BYTES: u64 = 8 << 20;
/// Records of sensors take less than half the room, and less processor time than writing them whole. In the journal only what has 4 KiB is compressed.
const COMPRESSION: CompressionType = CompressionType::Lz4;
/// Room that must be there before it is tried again after a failure: for the buffers as tables, and what is around them.
const ROOM_BYTES: u64 = LOG_BUFFER_BYTES + ROWS_BUFFER_BYTES + (4 << 20);

/// Keeps the log and the rows in a fjall database: one keyspace for blocks, by position, and one for rows.
///
/// Both go through one journal, so that what a crash leaves is a prefix of what was asked. A half-written end of the journal is cut when it is opened.
///
/// Memory: 8 MiB of blocks and 4 MiB of rows, up to three times that while tables are written, and the cache. Disk: up to 200 MiB for journals beside
/// the tables, whatever is in them; blocks and rows are written twice, to the journal and to a table, and rows again when tables are merged.
///
/// After a failure to write the database refuses to write, and so does this until it has opened it again, which the next call that writes does as
/// soon as there is room; meanwhile everything can be read.
pub struct Embedded {
    /// Stopped before the database below is closed.
    readers: Readers,
    /// `None` when it could not be opened again after a failure.
    opened: Option<Opened>,
    settings: Settings,
    folder: Folder,
    /// The first sequence number that was not accepted, if a call failed since the database was opened.
    failed: Option<Failed>,
    /// The first position of the last block.
    last: Option<Position>,
    cut_bytes: u64,
}

struct Opened {
    database: Database,
    reading: Reading,
    /// Tables with nothing from this position on were dropped.
    dropped: Position,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    /// Sequence numbers from this one on were not accepted.
    below: u64,
    full: bool,
}

impl Embedded {
    /// Opens the store in the settings' folder, or makes it.
    ///
    /// # Errors
    /// `Io` when another process has it open, `Newer` when a later gateway wrote it, `Corrupt` when it is damaged other than by a crash; `Full` and `Io`
    /// as everywhere.
    pub fn open(settings: &Settings) -> Result<Self, BackendError> {
        let folder = Folder::open(&settings.folder)?;
        let cut_bytes = journal::mend(&folder.database(), Mend::default())?;
        if cut_bytes > 0 {
            tracing::warn!(folder = %settings.folder.display(), cut_bytes, "the store's end was half written and is cut");
        }
        let opened = Opened::new(settings, &folder)?;
        folder.finish()?;
        let last = opened.last()?;
        let (settings, readers) = (settings.clone(), Readers::default());
        Ok(Self { readers, settings, folder, opened: Some(opened), failed: None, last, cut_bytes })
    }

    /// Bytes of a half-written end that were cut when it was opened.
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    fn opened(&mut self) -> Result<&Opened, BackendError> {
        if self.opened.is_none() {
            self.mend()?;
        }
        self.opened.as_ref().ok_or_else(|| BackendError::Io("it is not open".into()))
    }

    /// Opens the database again if a call failed since it was opened.
    fn mend(&mut self) -> Result<(), BackendError> {
        let Some(failed) = &mut self.failed else { return Ok(()) };
        if let Err(error) = has_room(&self.settings.folder, ROOM_BYTES) {
            // The database does not tell why a table could not be written. It was this, then.
            failed.full |= matches!(error, BackendError::Full(_));
            return Err(error);
        }
        let mend = Mend { below: Some(failed.below), rewrite: !failed.full };
        if mend.rewrite {
            has_room(&self.settings.folder, ROOM_BYTES + journal::last_bytes(&self.folder.database())?)?;
        }
        // Closing it writes what is left of the batch that failed.
        self.readers.stop();
        self.opened = None;
        let cut_bytes = journal::mend(&self.folder.database(), mend)?;
        self.opened = Some(Opened::new(&self.settings, &self.folder)?);
        self.failed = None;
        tracing::info!(folder = %self.settings.folder.display(), cut_bytes, "the store is open again after a failure to write");
        Ok(())
    }

    /// Writes a batch that `fill` composes. What was accepted before is in it or before it.
    fn commit(
        &mut self,
        mode: PersistMode,
        fill: &dyn Fn(&Opened, &mut OwnedWriteBatch) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        self.change(|opened| {
            let mut batch = opened.database.batch().durability(Some(mode));
            fill(opened, &mut batch).map_err(Failure::Told)?;
            Ok(batch.commit()?)
        })
    }

    /// Writes. If the database was found to refuse because writing a table failed, it is opened again, once.
    fn change(&mut self, write: impl Fn(&Opened) -> Result<(), Failure>) -> Result<(), BackendError> {
        for attempt in 1..=2 {
            self.mend()?;
            let opened = self.opened()?;
            let below = opened.database.seqno();
            let failure = match opened.wait_for_buffers().map_err(Failure::from).and_then(|()| write(opened)) {
                Ok(()) => return Ok(()),
                Err(Failure::Told(error)) => return Err(error),
                Err(Failure::Database(error)) => error,
            };
            let poisoned = matches!(failure, fjall::Error::Poisoned);
            let error = from_fjall(&failure);
            self.failed = Some(Failed { below, full: matches!(error, BackendError::Full(_)) });
            if !poisoned || attempt == 2 {
                return Err(error);
            }
        }
        Ok(())
    }

    fn persist(&mut self, mode: PersistMode) -> Result<(), BackendError> {
        self.change(|opened| Ok(opened.database.persist(mode)?))
    }

    /// The mode that keeps the promise.
    fn mode(&self) -> PersistMode {
        match self.settings.durability {
            Durability::Fsync => PersistMode::SyncData,
            Durability::Os | Durability::Memory => PersistMode::Buffer,
        }
    }
}

enum Failure {
    Database(fjall::Error),
    Told(BackendError),
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Self {
        Self::Database(error)
    }
}

impl Opened {
    fn new(settings: &Settings, folder: &Folder) -> Result<Self, BackendError> {
        // One thread, so that tables are written in the order of the journal: no table has what the journal before it may lose.
        let database = Database::builder(folder.database())
            .cache_size(settings.cache_bytes)
            .journal_compression(COMPRESSION)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(1)
            .open()
            .map_err(|error| from_fjall(&error))?;
        let keyspace = |name, options: fn() -> KeyspaceCreateOptions| {
            database.keyspace(name, options).map_err(|error| from_fjall(&error))
        };
        let (log, rows) = (keyspace("log", log_options)?, keyspace("rows", rows_options)?);
        let start = rows.get(LOG_START).map_err(|error| from_fjall(&error))?;
        let start = match start {
            Some(start) => position(&start)?,
            None => 0,
        };
        Ok(Self { database, reading: Reading { log, rows, start, moment: None }, dropped: 0 })
    }

    /// The database would wait itself, but for ever if what should write the buffers has ended.
    fn wait_for_buffers(&self) -> fjall::Result<()> {
        while [&self.reading.log, &self.reading.rows]
            .iter()
            .any(|keyspace| keyspace.sealed_memtable_count() > BUFFERS_WAITING_MAX)
        {
            self.database.persist(PersistMode::Buffer)?;
            thread::park_timeout(BUFFERS_POLL);
        }
        Ok(())
    }

    fn at_this_moment(&self) -> Reading {
        let Reading { log, rows, start, .. } = &self.reading;
        Reading { log: log.clone(), rows: rows.clone(), start: *start, moment: Some(self.database.snapshot()) }
    }

    fn last(&self) -> Result<Option<Position>, BackendError> {
        self.reading.first_of(Position::MAX)
    }

    fn fill(&self, changes: &[Change], batch: &mut OwnedWriteBatch) -> Result<(), BackendError> {
        // A batch gives all its changes one number: it must have each key once, the last change of it.
        let (mut own, mut shared) = (BTreeMap::new(), BTreeMap::new());
        for Change { table, key, value } in changes {
            match keys::place(*table, key) {
                Place::Own(key) => {
                    own.insert(key, value);
                }
                Place::Shared(key, rest) => {
                    let rows = match shared.entry(key) {
                        Entry::Occupied(entry) => entry.into_mut(),
                        Entry::Vacant(entry) => {
                            let rows = self.reading.shared(entry.key())?;
                            entry.insert(rows)
                        }
                    };
                    match value {
                        Some(value) => rows.0.insert(rest.to_vec(), value.clone()),
                        None => rows.0.remove(rest),
                    };
                }
            }
        }
        let shared: Vec<_> = shared.into_iter().map(|(key, rows)| (key, rows.encode())).collect();
        let shared = shared.iter().map(|(key, value)| (key, value));
        for (key, value) in own.iter().map(|(key, &value)| (key, value)).chain(shared) {
            match value {
                Some(value) => batch.insert(&self.reading.rows, key.as_slice(), value.as_slice()),
                None => batch.remove(&self.reading.rows, key.as_slice()),
            }
        }
        Ok(())
    }
}

impl Backend for Embedded {
    fn append(&mut self, first: Position, block: &[u8]) -> Result<(), BackendError> {
        debug_assert!(self.last.is_none_or(|last| first > last), "block {first} after block {:?}", self.last);
        self.commit(self.mode(), &|opened, batch| {
            batch.insert(&opened.reading.log, first.to_be_bytes(), block);
            Ok(())
        })?;
        self.last = Some(first);
        Ok(())
    }

    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        self.opened()?.reading.block(at)
    }

    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        self.opened()?.reading.blocks(from, visit)
    }

    /// The rows are with the kernel when it returns.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), BackendError> {
        self.commit(PersistMode::Buffer, &|opened, batch| opened.fill(&changes, batch))
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        self.persist(self.mode())
    }

    fn trim(&mut self, before: Position) -> Result<(), BackendError> {
        let opened = self.opened()?;
        let Some(start) = opened.reading.first_of(before)? else { return Ok(()) };
        if start == opened.dropped {
            return Ok(());
        }
        if start > opened.reading.start {
            // On the disk whatever the setting: dropped tables cannot come back with what was written before they were dropped.
            self.commit(PersistMode::SyncData, &|opened, batch| {
                batch.insert(&opened.reading.rows, LOG_START, start.to_be_bytes());
                Ok(())
            })?;
        }
        self.change(|opened| {
            opened.reading.log.tree.drop_range(..start.to_be_bytes()).map_err(fjall::Error::from)?;
            Ok(())
        })?;
        if let Some(opened) = &mut self.opened {
            (opened.reading.start, opened.dropped) = (start, start);
        }
        Ok(())
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.opened()?.reading.row(table, key)
    }

    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        self.opened()?.reading.rows(table, prefix, visit)
    }

    fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// Tables, and what journals take; what is not in a table yet is counted in a journal.
    fn bytes(&self) -> u64 {
        let journals = journal::paths(&self.folder.database()).unwrap_or_default();
        let journal_bytes: u64 = journals.iter().flat_map(fs::metadata).map(|data| data.blocks() * 512).sum();
        let table_bytes = self.opened.as_ref().map_or(0, |opened| opened.reading.disk_bytes());
        journal_bytes + table_bytes
    }

    /// The tables that hold it are kept as long as it is.
    fn freeze(&mut self) -> Result<Box<dyn Backend>, BackendError> {
        self.mend()?;
        let reading = self.opened()?.at_this_moment();
        Ok(self.readers.lend(reading))
    }
}

/// Blocks are written once, in order, and read in order: tables never overlap, so they are never merged, only dropped.
fn log_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(LOG_BUFFER_BYTES)
        .filter_policy(FilterPolicy::disabled())
        .data_block_size_policy(BlockSizePolicy::all(16 << 10))
        .data_block_compression_policy(CompressionPolicy::all(COMPRESSION))
}

fn rows_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(ROWS_BUFFER_BYTES)
        .data_block_compression_policy(CompressionPolicy::all(COMPRESSION))
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(ROWS_TABLE_BYTES)))
}

fn position(key: &[u8]) -> Result<Position, BackendError> {
    let bytes = key.try_into().map_err(|_| BackendError::Corrupt("a position has not 8 bytes".into()))?;
    Ok(Position::from_be_bytes(bytes))
}

fn from_fjall(error: &fjall::Error) -> BackendError {
    use fjall::{Error, LsmError};
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => from_io(error),
        Error::Poisoned => BackendError::Io("a table could not be written".into()),
        Error::Locked => BackendError::Io("another process has the database open".into()),
        Error::Storage(_)
        | Error::JournalRecovery(_)
        | Error::InvalidVersion(_)
        | Error::Decompress(_)
        | Error::InvalidTrailer
        | Error::InvalidTag(_)
        | Error::Unrecoverable => BackendError::Corrupt(error.to_string().into()),
        _ => BackendError::Io(error.to_string().into()),
    }
}

/// Whether so many bytes can be had in the folder.
fn has_room(folder: &Path, bytes: u64) -> Result<(), BackendError> {
    let path = folder.join("room");
    let file = File::create(&path).map_err(|error| from_io(&error))?;
    let found = posix_fallocate(&file, 0, i64::try_from(bytes).unwrap_or(i64::MAX)).map_err(io::Error::from);
    drop(file);
    fs::remove_file(path)?;
    match found {
        // Not every file system can tell.
        Err(error) if ![Some(libc::EINVAL), Some(libc::EOPNOTSUPP)].contains(&error.raw_os_error()) => {
            Err(from_io(&error))
        }
        _ => Ok(()),
    }
}

/// A limit on the size of files is a quota as well.
fn from_io(error: &io::Error) -> BackendError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            BackendError::Full(error.to_string().into())
        }
        _ => BackendError::Io(error.to_string().into()),
    }
}

#[cfg(test)]
mod tests;
