use std::sync::Arc;

use super::{Entry, Group, Kept, Machine, queue::Queue};
use crate::{
    BackendError, Change, Epoch, Extras, Number, Position, Publish, Table,
    codec::{put_extras, put_message, put_options, put_share, put_will},
    wire::Put,
};

/// What a row of [`Table::Sessions`] is of.
pub(super) const SESSION: u8 = 0;
pub(super) const GROUP: u8 = 1;

impl<S> Machine<S> {
    /// How much is not as it is stored: sessions, groups, subscriptions, topics and messages.
    pub fn dirty(&self) -> usize {
        let Self { dirty, .. } = self;
        dirty.numbers.len()
            + dirty.ended.len()
            + dirty.subscriptions.len()
            + dirty.retained.len()
            + dirty.delayed.len()
            + self.messages.gone.len()
    }

    /// The next messages up to `upto` that need a row of their own before the log behind them can be dropped, at most `count`.
    pub fn uncopied(&self, upto: Position, count: usize) -> Vec<Position> {
        let from = self.messages.copied + 1;
        if from > upto {
            return Vec::new();
        }
        self.messages.waiting.range(from..=upto).take(count).map(|(&at, _)| at).collect()
    }

    /// All messages up to `upto` that somebody waits for have rows now.
    pub fn copied(&mut self, upto: Position) {
        self.messages.copied = self.messages.copied.max(upto);
    }

    /// Up to where messages have rows.
    pub fn copied_upto(&self) -> Position {
        self.messages.copied
    }

    /// Sessions and groups that are over and have rows of queues and subscriptions left.
    pub fn ended(&self) -> &[Number] {
        &self.dirty.ended
    }

    /// What must be written so that the rows tell the present state. All of it together, for one part tells of the others.
    ///
    /// # Errors
    /// When a message cannot be read.
    pub(crate) fn changes(
        &self,
        epoch: Epoch,
        mut read: impl FnMut(Position) -> Result<Arc<Publish>, BackendError>,
    ) -> Result<Vec<Change>, BackendError> {
        let mut changes = Vec::new();
        let mut put = |table, key: Vec<u8>, value| changes.push(Change { table, key, value });
        for &number in &self.dirty.ended {
            put(Table::Sessions, key(number), None);
        }
        for &number in &self.dirty.numbers {
            let (row, queue) = match (self.sessions.get(&number), self.groups.get(&number)) {
                (Some(kept), _) => (encode_session(kept, epoch), kept.queue()),
                (None, Some(group)) => (encode_group(group), Some(&group.queue)),
                (None, None) => continue,
            };
            put(Table::Sessions, key(number), Some(row));
            for &part in queue.map(Queue::dirty).into_iter().flatten() {
                let row = queue.and_then(|queue| queue.encode_part(part, |at| self.messages.bytes_of(at)));
                put(Table::Queues, part_key(number, part), row);
            }
        }
        for ((number, filter), options) in &self.dirty.subscriptions {
            let row = options.map(|options| {
                let mut row = Vec::new();
                put_options(options, &mut row);
                row
            });
            put(Table::Subscriptions, [&key(*number), filter.as_bytes()].concat(), row);
        }
        for (topic, at) in &self.dirty.retained {
            let mut value = None;
            if let Some(at) = *at {
                put_message(&read(at)?.message, epoch, value.insert(Vec::new()));
            }
            put(Table::Retained, topic.as_bytes().to_vec(), value);
        }
        for &id in &self.dirty.delayed {
            let mut value = None;
            if let Some(&(due, at)) = self.delayed.get(&id) {
                let row: &mut Vec<u8> = value.insert(Vec::new());
                row.number(due);
                put_message(&read(at)?.message, epoch, row);
            }
            put(Table::Delayed, key(id), value);
        }
        for &at in &self.messages.gone {
            // When a record is applied again, its first target may have given the message up while the next one still wants it.
            if !self.messages.waiting.contains_key(&at) {
                put(Table::Messages, key(at), None);
            }
        }
        Ok(changes)
    }

    /// What [`Machine::changes`] told was written.
    pub fn flushed(&mut self) {
        for number in std::mem::take(&mut self.dirty.numbers) {
            if let Some(kept) = self.sessions.get_mut(&number) {
                (kept.dirty, kept.stored) = (false, true);
                if kept.queue().is_some() {
                    kept.queue_mut().clean();
                }
                kept.tidy();
            } else if let Some(group) = self.groups.get_mut(&number) {
                (group.dirty, group.stored) = (false, true);
                group.queue.clean();
            }
        }
        self.dirty = super::Dirty::default();
        self.messages.gone.clear();
    }
}

pub(crate) fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

pub(super) fn part_key(number: Number, part: u64) -> Vec<u8> {
    [number.to_be_bytes(), part.to_be_bytes()].concat()
}

pub(super) fn encode_session<S>(kept: &Kept<S>, epoch: Epoch) -> Vec<u8> {
    let mut row = vec![SESSION];
    row.bytes(kept.client_id.as_str().as_bytes());
    row.number(kept.expiry_secs.into());
    row.number(kept.attach);
    row.push(kept.will_rests.into());
    row.number(kept.detached_at);
    row.number(kept.next_packet_id().into());
    row.number(kept.inbound.len() as u64);
    for id in kept.inbound.iter() {
        row.number(id.into());
    }
    put_will(kept.will.as_deref(), epoch, &mut row);
    put_extras(kept.extras.as_deref().unwrap_or(&Extras::default()), epoch, &mut row);
    let drawn = kept.shares.as_ref().map(|shares| &shares.drawn);
    row.number(drawn.map_or(0, |drawn| drawn.len() as u64));
    for (&id, &group) in drawn.into_iter().flatten() {
        row.number(id.into());
        row.number(group);
    }
    row
}

pub(super) fn encode_group(group: &Group) -> Vec<u8> {
    let mut row = vec![GROUP];
    put_share(&group.name, &mut row);
    row.number(group.turn);
    row
}

// Kept beside the encoding of queues, which it bounds.
const _: () = assert!(size_of::<Entry>() == 16);
