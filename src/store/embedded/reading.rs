//! Reading blocks and rows, as they are or as they were at a moment.

use std::{
    ops::{ControlFlow, RangeInclusive},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fjall::{Guard, Iter, Keyspace, Readable, Snapshot};
use parking_lot::Mutex;
use thingway_store::{Backend, BackendError, Change, Position, Table, VisitBlock, VisitRow};

use super::{from_fjall, position};
use crate::store::keys::{self, Place, SharedRows};

/// What the database holds.
pub(super) struct Reading {
    pub log: Keyspace,
    pub rows: Keyspace,
    /// The first block's position; there may be older ones, which are not shown and go with the table that they are in.
    pub start: Position,
    /// At which moment; otherwise now.
    pub moment: Option<Snapshot>,
}

impl Reading {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        let row = match &self.moment {
            Some(moment) => moment.get(&self.rows, key),
            None => self.rows.get(key),
        };
        row.map(|row| row.map(|row| row.to_vec())).map_err(|error| from_fjall(&error))
    }

    fn range(&self, positions: RangeInclusive<Position>) -> Iter {
        let (from, to) = (positions.start().to_be_bytes(), positions.end().to_be_bytes());
        match &self.moment {
            Some(moment) => moment.range(&self.log, from..=to),
            None => self.log.range(from..=to),
        }
    }

    fn prefix(&self, prefix: &[u8]) -> Iter {
        match &self.moment {
            Some(moment) => moment.prefix(&self.rows, prefix),
            None => self.rows.prefix(prefix),
        }
    }

    /// The first position of the block that holds `at`.
    pub fn first_of(&self, at: Position) -> Result<Option<Position>, BackendError> {
        if at < self.start {
            return Ok(None);
        }
        let found = self.range(self.start..=at).next_back();
        found.map(|found| position(&found.key().map_err(|error| from_fjall(&error))?)).transpose()
    }

    pub fn block(&self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        if at < self.start {
            return Ok(None);
        }
        let found = self.range(self.start..=at).next_back();
        let found = found.map(Guard::into_inner).transpose().map_err(|error| from_fjall(&error))?;
        found.map(|(first, block)| Ok((position(&first)?, block.to_vec()))).transpose()
    }

    pub fn blocks(&self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        let begin = self.first_of(from)?.unwrap_or(self.start.max(from));
        for found in self.range(begin..=Position::MAX) {
            let (first, block) = found.into_inner().map_err(|error| from_fjall(&error))?;
            if visit(position(&first)?, &block).is_break() {
                break;
            }
        }
        Ok(())
    }

    pub fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        match keys::place(table, key) {
            Place::Own(key) => self.get(&key),
            Place::Shared(key, rest) => Ok(self.shared(&key)?.0.remove(rest)),
        }
    }

    pub fn rows(&self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        for found in self.prefix(&keys::prefix(table, prefix)) {
            let (composed, value) = found.into_inner().map_err(|error| from_fjall(&error))?;
            let (begin, is_shared) = keys::take_apart(&composed);
            let mut visit = |key: &[u8], value: &[u8]| {
                if key.starts_with(prefix) { visit(key, value) } else { ControlFlow::Continue(()) }
            };
            let flow = if is_shared {
                self.shared(&composed)?.0.iter().try_for_each(|(rest, value)| visit(&[begin, rest].concat(), value))
            } else {
                visit(begin, &value)
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Bytes of tables.
    pub fn disk_bytes(&self) -> u64 {
        self.log.disk_space() + self.rows.disk_space()
    }

    /// The rows that share this one.
    pub fn shared(&self, key: &[u8]) -> Result<SharedRows, BackendError> {
        let Some(rows) = self.get(key)? else { return Ok(SharedRows::default()) };
        SharedRows::decode(&rows).ok_or_else(|| BackendError::Corrupt("rows with long keys cannot be read".into()))
    }
}

/// What others read as it was at a moment. They are stopped before the database is closed, which could not be opened again otherwise.
#[derive(Default)]
pub(super) struct Readers(Vec<Arc<Lent>>);

struct Lent {
    reading: Mutex<Option<Reading>>,
    stopped: AtomicBool,
}

impl Readers {
    pub fn lend(&mut self, reading: Reading) -> Box<dyn Backend> {
        self.0.retain(|lent| Arc::strong_count(lent) > 1);
        let lent = Arc::new(Lent { reading: Mutex::new(Some(reading)), stopped: AtomicBool::new(false) });
        self.0.push(lent.clone());
        Box::new(Frozen(lent))
    }

    /// Takes back what was lent. That waits for no more than a row or a block to be visited.
    pub fn stop(&mut self) {
        for lent in self.0.drain(..) {
            lent.stopped.store(true, Ordering::Relaxed);
            lent.reading.lock().take();
        }
    }
}

#[cfg(test)]
impl Readers {
    /// For each reader, what tells whether it was stopped.
    pub fn stopped(&self) -> Vec<impl Fn() -> bool + use<>> {
        let stopped = |lent: &Arc<Lent>| {
            let lent = lent.clone();
            move || lent.stopped.load(Ordering::Relaxed)
        };
        self.0.iter().map(stopped).collect()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The backend as it was at a moment.
struct Frozen(Arc<Lent>);

impl Frozen {
    fn with<T>(&self, read: impl FnOnce(&Reading) -> Result<T, BackendError>) -> Result<T, BackendError> {
        let reading = self.0.reading.lock();
        let found = reading.as_ref().map(read);
        match found {
            Some(found) if !self.0.stopped.load(Ordering::Relaxed) => found,
            _ => Err(BackendError::Io("the store was closed meanwhile".into())),
        }
    }

    fn flow(&self, flow: ControlFlow<()>) -> ControlFlow<()> {
        if self.0.stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { flow }
    }
}

impl Backend for Frozen {
    fn append(&mut self, _: Position, _: &[u8]) -> Result<(), BackendError> {
        Err(read_only())
    }

    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        self.with(|reading| reading.block(at))
    }

    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        self.with(|reading| reading.blocks(from, &mut |first, block| self.flow(visit(first, block))))
    }

    fn write(&mut self, _: Vec<Change>) -> Result<(), BackendError> {
        Err(read_only())
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn trim(&mut self, _: Position) -> Result<(), BackendError> {
        Err(read_only())
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.with(|reading| reading.row(table, key))
    }

    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        self.with(|reading| reading.rows(table, prefix, &mut |key, row| self.flow(visit(key, row))))
    }

    /// Not known of a moment.
    fn bytes(&self) -> u64 {
        0
    }
}

fn read_only() -> BackendError {
    BackendError::Io("this can only be read".into())
}
