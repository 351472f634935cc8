use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use crate::{
    Backend, BackendError, Cause, Epoch, Library, Position, Publish, Record, Table, TryAgain, codec::take_publish,
    machine::key, wire::Take,
};

/// Where messages are found again: the latest in memory, as many as a budget allows, the rest where it was written.
#[derive(Debug)]
pub(crate) struct Shelf<B> {
    pub backend: B,
    pub epoch: Epoch,
    /// Messages up to here have rows.
    pub copied: Position,
    /// What went wrong since it was last asked.
    failure: Option<BackendError>,
    cache: HashMap<Position, Arc<Publish>, FixedState>,
    order: VecDeque<(Position, usize)>,
    bytes: usize,
    bytes_max: usize,
    /// The block that was read last, for who reads in order.
    block: Vec<(Position, Arc<Publish>)>,
}

impl<B: Backend> Shelf<B> {
    pub fn new(backend: B, epoch: Epoch, bytes_max: usize) -> Self {
        Self {
            backend,
            epoch,
            copied: 0,
            failure: None,
            cache: HashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
            block: Vec::new(),
        }
    }

    /// Keeps a message in memory for a while.
    pub fn remember(&mut self, at: Position, publish: Arc<Publish>) {
        let weight = publish.message.weight();
        self.bytes += weight;
        self.order.push_back((at, weight));
        self.cache.insert(at, publish);
        while self.bytes > self.bytes_max {
            let Some((oldest, weight)) = self.order.pop_front() else { return };
            self.cache.remove(&oldest);
            self.bytes -= weight;
        }
    }

    /// The error of the last load that failed since this was asked.
    pub fn take_failure(&mut self) -> Option<BackendError> {
        self.failure.take()
    }

    /// Reads with another epoch for a while. What is in memory was read with the present one, and is left out.
    pub fn reading_as<T>(&mut self, epoch: Epoch, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = (
            std::mem::replace(&mut self.epoch, epoch),
            std::mem::take(&mut self.cache),
            std::mem::take(&mut self.block),
        );
        let result = read(self);
        (self.epoch, self.cache, self.block) = before;
        result
    }

    fn row(&mut self, at: Position) -> Result<Option<Arc<Publish>>, BackendError> {
        if at > self.copied {
            return Ok(None);
        }
        let Some(row) = self.backend.row(Table::Messages, &key(at))? else { return Ok(None) };
        match take_publish(&mut Take(&row), self.epoch) {
            Some(publish) => Ok(Some(Arc::new(publish))),
            None => Err(BackendError::Corrupt(format!("message {at}").into())),
        }
    }

    fn logged(&mut self, at: Position) -> Result<Option<Arc<Publish>>, BackendError> {
        let Some((first, bytes)) = self.backend.block(at)? else { return Ok(None) };
        self.block = records(first, &bytes, self.epoch)?
            .into_iter()
            .enumerate()
            .filter_map(|(index, record)| Some((first + index as u64, message_of(record)?)))
            .collect();
        Ok(self.find_in_block(at))
    }

    fn find_in_block(&self, at: Position) -> Option<Arc<Publish>> {
        let index = self.block.binary_search_by_key(&at, |(position, _)| *position).ok()?;
        Some(self.block[index].1.clone())
    }
}

impl<B: Backend> Shelf<B> {
    /// A message, from wherever it is.
    pub fn read(&mut self, at: Position) -> Result<Arc<Publish>, BackendError> {
        if let Some(publish) = self.cache.get(&at) {
            return Ok(publish.clone());
        }
        if let Some(publish) = self.find_in_block(at) {
            return Ok(publish);
        }
        let found = match self.row(at)? {
            Some(publish) => Some(publish),
            None => self.logged(at)?,
        };
        found.ok_or_else(|| BackendError::Corrupt(format!("message {at} is not there").into()))
    }
}

impl<B: Backend> Library for Shelf<B> {
    fn load(&mut self, at: Position) -> Result<Option<Arc<Publish>>, TryAgain> {
        self.read(at).map(Some).or_else(|error| {
            let lost = matches!(error, BackendError::Corrupt(_));
            self.failure = Some(error);
            if lost { Ok(None) } else { Err(TryAgain) }
        })
    }
}

/// The records of a block.
pub(crate) fn records(first: Position, block: &[u8], epoch: Epoch) -> Result<Vec<Record>, BackendError> {
    let mut take = Take(block);
    let mut records = Vec::new();
    while !take.is_empty() {
        let record = Record::decode(&mut take, epoch);
        let damaged = || BackendError::Corrupt(format!("record {}", first + records.len() as u64).into());
        records.push(record.ok_or_else(damaged)?);
    }
    Ok(records)
}

fn message_of(record: Record) -> Option<Arc<Publish>> {
    match record {
        Record::Publish(publish) => Some(publish),
        Record::Delay { message, .. } => {
            let (exchange, targets, cause) = (None, SmallVec::new(), Cause::None);
            Some(Arc::new(Publish { message, retains: false, exchange, targets, cause }))
        }
        _ => None,
    }
}
