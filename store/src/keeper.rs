mod check;
mod export;

use std::{collections::VecDeque, ops::ControlFlow};

use thingway_contract::{Delivery, Message, MessageHead, SubscriptionOptions, TopicFilter};

use crate::{
    Attached, Backend, BackendError, Change, Counts, DropCause, Epoch, Exchange, Host, Machine, Number, Position,
    Record, SessionView, Settings, Table, TryAgain, Waiting, WallMs,
    codec::{parse_filter, put_publish, take_message, take_options},
    machine::key,
    setting::{change_settings, for_each_setting},
    shelf::{Shelf, records},
    wire::{Put, Take},
};

pub use self::{
    check::{Checked, check},
    export::VisitItem,
};

/// Version of the format that this code writes, and the latest that it reads.
pub const FORMAT: u32 = 1;

/// Bytes of records after which a block is full; a larger record makes a larger block. Tests are small.
const BLOCK_BYTES: usize = if cfg!(test) { 300 } else { 256 * 1024 };
/// Messages that get rows of their own in one step.
const COPIES_PER_STEP: usize = if cfg!(test) { 3 } else { 1000 };

/// With this, instants are the wall's time itself.
const WALL: Epoch = Epoch(0);

const FORMAT_KEY: &[u8] = b"format";
const STATE_KEY: &[u8] = b"state";

/// A record to be appended.
#[derive(Debug)]
pub struct Appended<S> {
    /// The record.
    pub record: Record,
    /// What the host calls the session of an [`Record::Attach`].
    pub handle: Option<S>,
}

/// How much may change before rows are brought up to date, which bounds both the log and the time it takes to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// Bytes of log.
    pub log_bytes: u64,
    /// Records of log: most have but a few bytes, and each takes its time to be applied again.
    pub log_records: u64,
    /// Sessions, groups, subscriptions, topics and messages that are not as they are stored.
    pub dirty: usize,
}

impl Default for FlushLimits {
    fn default() -> Self {
        Self { log_bytes: 64 << 20, log_records: 200_000, dirty: 20_000 }
    }
}

/// What was found when the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How much there is.
    pub counts: Counts,
    /// Records of the log that were applied to the rows.
    pub replayed: u64,
    /// Bytes of a half-written end that were cut.
    pub cut_bytes: u64,
}

/// The machine and where its log and rows are kept.
#[derive(Debug)]
pub struct Keeper<S, B> {
    machine: Machine<S>,
    shelf: Shelf<B>,
    limits: FlushLimits,
    block: Vec<u8>,
    log_bytes: u64,
    /// The log before and at this position is not needed any more.
    flushed: Position,
    flush: Option<Flush>,
    /// What was applied although there was no room for it in the log. It comes before anything else that is appended.
    owed: Option<Record>,
}

/// The log up to `upto`, of so many bytes, is being made unnecessary.
#[derive(Clone, Copy, Debug)]
struct Flush {
    upto: Position,
    log_bytes: u64,
    /// The rows are up to date; they are to be made safe, and the log to be trimmed.
    written: bool,
}

impl<S, B: Backend> Keeper<S, B> {
    /// Reads what is kept. `cache_bytes` of messages stay in memory.
    ///
    /// Without room to write, what is kept can be read all the same, and [`Keeper::is_waiting`] until there is room.
    ///
    /// # Errors
    /// When the backend fails other than for want of room, or what it holds is damaged or of a later version.
    pub fn open(
        mut backend: B,
        settings: Settings,
        limits: FlushLimits,
        cache_bytes: usize,
        epoch: Epoch,
        now: WallMs,
    ) -> Result<(Self, Found), BackendError> {
        check_format(&mut backend)?;
        let mut machine = Machine::new(settings);
        let replay_from = restore(&mut machine, &mut backend, epoch)?;
        let mut shelf = Shelf::new(backend, epoch, cache_bytes);
        shelf.copied = machine.copied_upto();
        let mut log_bytes = 0;
        let mut at = replay_from;
        while let Some((first, block)) = shelf.backend.block(at)? {
            let records = records(first, &block, epoch)?;
            let end = first + records.len() as u64;
            if end <= at {
                break;
            }
            log_bytes += block.len() as u64;
            for (position, record) in (first..).zip(records).skip_while(|(position, _)| *position < at) {
                machine.apply(position, record, None, &mut shelf, &mut Nobody::<S>::default());
            }
            at = end;
        }
        let (flushed, block) = (replay_from - 1, Vec::new());
        let mut keeper = Self { machine, shelf, limits, block, log_bytes, flushed, flush: None, owed: None };
        let restarted = Record::Restarted { at: now };
        let appended = Appended { record: restarted.clone(), handle: None };
        match keeper.commit(&mut VecDeque::from([appended]), &mut Nobody::default()) {
            Ok(_) => {}
            // Whoever reads the log next begins anew as well: until something else is appended it makes no difference whether this is there.
            Err((_, BackendError::Full(_))) => {
                let at = keeper.machine.position() + 1;
                keeper.machine.apply(at, restarted.clone(), None, &mut keeper.shelf, &mut Nobody::<S>::default());
                keeper.owed = Some(restarted);
            }
            Err((_, error)) => return Err(error),
        }
        let cut_bytes = keeper.shelf.backend.cut_bytes();
        let found = Found { counts: keeper.machine.counts(), replayed: at - replay_from, cut_bytes };
        Ok((keeper, found))
    }

    /// Appends records from the front as one block, and applies them when they are safe. How many they were.
    ///
    /// # Errors
    /// Nothing happened then; the records are still where they were. How many would have been appended.
    pub fn commit<H: Host<Session = S>>(
        &mut self,
        pending: &mut VecDeque<Appended<S>>,
        host: &mut H,
    ) -> Result<usize, (usize, BackendError)> {
        // What fails here is tried again the next time; it is no reason to refuse anything.
        let _ = self.retry(host);
        self.append(pending, host)
    }

    /// True while something could not be read or written that a [`Keeper::commit`] would try again, be it with nothing to commit.
    pub fn is_waiting(&self) -> bool {
        self.owed.is_some() || self.machine.is_waiting()
    }

    /// True when there was no room to record that the store was opened, and still is none.
    pub fn has_no_room(&self) -> bool {
        self.owed.is_some()
    }

    /// Gives connections what could not be read when it was their turn, and has the log say what is nowhere to be found any more. Every
    /// [`Keeper::commit`] begins with it.
    ///
    /// # Errors
    /// When the log could not be written. It may be asked again.
    pub fn retry<H: Host<Session = S>>(&mut self, host: &mut H) -> Result<(), BackendError> {
        self.machine.retry(&mut self.shelf, host);
        let over = |exchange: Exchange| Appended { record: Record::Acknowledged(exchange), handle: None };
        let mut lost: VecDeque<_> = self.machine.lost().into_iter().map(over).collect();
        while !lost.is_empty() {
            self.append(&mut lost, host).map_err(|(_, error)| error)?;
        }
        Ok(())
    }

    fn append<H: Host<Session = S>>(
        &mut self,
        pending: &mut VecDeque<Appended<S>>,
        host: &mut H,
    ) -> Result<usize, (usize, BackendError)> {
        self.block.clear();
        let mut first = self.machine.position() + 1;
        if let Some(owed) = &self.owed {
            owed.encode(self.shelf.epoch, &mut self.block);
            first -= 1;
        }
        let mut count = 0;
        for appended in pending.iter() {
            appended.record.encode(self.shelf.epoch, &mut self.block);
            count += 1;
            if self.block.len() >= BLOCK_BYTES {
                break;
            }
        }
        if self.block.is_empty() {
            return Ok(0);
        }
        self.shelf.backend.append(first, &self.block).map_err(|error| (count, error))?;
        let first = first + u64::from(self.owed.take().is_some());
        self.log_bytes += self.block.len() as u64;
        if self.block.capacity() > 4 * BLOCK_BYTES {
            self.block = Vec::new();
        }
        for (at, Appended { record, handle }) in (first..).zip(pending.drain(..count)) {
            let publish = match &record {
                Record::Publish(publish) => Some(publish.clone()),
                _ => None,
            };
            self.machine.apply(at, record, handle, &mut self.shelf, host);
            if let Some(publish) = publish.filter(|_| self.machine.is_wanted(at)) {
                self.shelf.remember(at, publish);
            }
        }
        Ok(count)
    }

    /// Brings rows up to date and drops what the log holds before, a step at a time, when there is enough to do or, with `now`, in any case. True when
    /// there is more to do at once.
    ///
    /// # Errors
    /// When the backend fails. Nothing is lost; it may be asked again.
    pub fn tend(&mut self, now: bool) -> Result<bool, BackendError> {
        let more = self.step(now)?;
        // Whoever it was for waits until it can be read; this is where it is told.
        self.shelf.take_failure().map_or(Ok(more), Err)
    }

    fn step(&mut self, now: bool) -> Result<bool, BackendError> {
        if self.owed.is_some() {
            // Rows may not tell more than the log does.
            return Ok(false);
        }
        let due = self.log_bytes >= self.limits.log_bytes
            || self.machine.position() - self.flushed >= self.limits.log_records
            || self.machine.dirty() >= self.limits.dirty;
        let Flush { upto, log_bytes, written } = match self.flush {
            Some(flush) => flush,
            None if due || now => {
                let flush = Flush { upto: self.machine.position(), log_bytes: self.log_bytes, written: false };
                *self.flush.insert(flush)
            }
            None => return Ok(false),
        };
        if !written {
            let copies = self.machine.uncopied(upto, COPIES_PER_STEP);
            if let Some(&last) = copies.last() {
                self.copy(&copies, last)?;
                return Ok(true);
            }
            self.write(upto)?;
            // From here on the rows are there, whatever becomes of the rest.
            self.flush = Some(Flush { upto, log_bytes, written: true });
        }
        self.shelf.backend.sync()?;
        self.shelf.backend.trim(upto + 1)?;
        self.log_bytes -= log_bytes;
        self.flushed = upto;
        self.flush = None;
        Ok(false)
    }

    /// Gives messages rows of their own.
    fn copy(&mut self, messages: &[Position], last: Position) -> Result<(), BackendError> {
        let mut changes = Vec::with_capacity(messages.len() + 1);
        for &at in messages {
            let publish = self.shelf.read(at)?;
            let mut row = Vec::new();
            put_publish(&publish, self.shelf.epoch, &mut row);
            changes.push(Change { table: Table::Messages, key: key(at), value: Some(row) });
        }
        changes.push(self.state_row(None, last)?);
        self.shelf.backend.write(changes)?;
        self.set_copied(last);
        Ok(())
    }

    /// Brings all other rows up to date.
    fn write(&mut self, upto: Position) -> Result<(), BackendError> {
        let epoch = self.shelf.epoch;
        let mut changes = self.machine.changes(epoch, |at| self.shelf.read(at))?;
        for number in self.machine.ended() {
            for table in [Table::Queues, Table::Subscriptions] {
                self.shelf.backend.rows(table, &key(*number), &mut |key, _| {
                    changes.push(Change { table, key: key.to_vec(), value: None });
                    ControlFlow::Continue(())
                })?;
            }
        }
        changes.push(self.state_row(Some(self.machine.position()), upto)?);
        self.shelf.backend.write(changes)?;
        self.machine.flushed();
        self.set_copied(upto);
        Ok(())
    }

    fn set_copied(&mut self, upto: Position) {
        self.machine.copied(upto);
        self.shelf.copied = self.machine.copied_upto();
    }

    /// The row that says which state the other rows tell; with `None` the one that they told before.
    fn state_row(&mut self, position: Option<Position>, copied: Position) -> Result<Change, BackendError> {
        let position = match position {
            Some(position) => position,
            None => read_state(&mut self.shelf.backend)?.0,
        };
        Ok(state_row(position, copied.max(self.machine.copied_upto())))
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        self.machine.counts()
    }

    /// Bytes that it takes where it is kept.
    pub fn bytes(&self) -> u64 {
        self.shelf.backend.bytes()
    }

    /// All sessions, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.machine.sessions()
    }

    /// Messages that wait for a session, and their bytes.
    pub fn queued(&self, session: Number) -> (usize, u64) {
        self.machine.queued(session)
    }

    /// The messages of a session behind a number, see [`Machine::waiting_of`].
    ///
    /// # Errors
    /// When one cannot be read at the moment.
    pub fn waiting_of(
        &mut self,
        session: Number,
        is_under_way: bool,
        after: u64,
        count: usize,
    ) -> Result<(Vec<Waiting>, Option<u64>), TryAgain> {
        self.machine.waiting_of(session, is_under_way, after, count, &mut self.shelf)
    }

    /// Visits all subscriptions.
    ///
    /// # Errors
    /// When the backend fails, or a row is damaged.
    pub fn for_each_subscription(
        &mut self,
        mut visit: impl FnMut(Number, TopicFilter, SubscriptionOptions),
    ) -> Result<(), BackendError> {
        let machine = &self.machine;
        let mut damaged = None;
        self.shelf.backend.rows(Table::Subscriptions, &[], &mut |key, row| {
            let Some((number, filter)) = split(key) else { return damage(&mut damaged, "subscription") };
            let fresh =
                std::str::from_utf8(filter).ok().is_some_and(|text| machine.is_subscription_dirty(number, text));
            if !fresh && machine.has_session(number) {
                let Some(parsed) = parse_filter(filter).zip(take_options(&mut Take(row))) else {
                    return damage(&mut damaged, "subscription");
                };
                visit(number, parsed.0, parsed.1);
            }
            ControlFlow::Continue(())
        })?;
        for (number, filter, options) in machine.dirty_subscriptions() {
            if let (Some(options), Some(filter)) = (options, parse_filter(filter.as_bytes())) {
                visit(number, filter, options);
            }
        }
        damaged.map_or(Ok(()), Err)
    }

    /// Visits all retained messages. Each is told with the time at which it came, which the gateway's clock does not reach back to when that was before
    /// it began.
    ///
    /// # Errors
    /// When the backend fails, or a row is damaged.
    pub fn for_each_retained(&mut self, mut visit: impl FnMut(Message, WallMs)) -> Result<(), BackendError> {
        let (machine, epoch) = (&self.machine, self.shelf.epoch);
        let mut visit = |message: &Message| {
            let head = *message.head();
            let received_at = WALL.wall(head.received_at);
            let on_clock = |at| epoch.instant(WALL.wall(at));
            let (received, expires_at) = (on_clock(head.received_at), on_clock(head.expires_at));
            visit(message.with_head(MessageHead { received_at: received, expires_at, ..head }), received_at);
        };
        let mut damaged = None;
        self.shelf.backend.rows(Table::Retained, &[], &mut |topic, row| {
            if !std::str::from_utf8(topic).is_ok_and(|topic| machine.is_retained_dirty(topic)) {
                let Some(message) = take_message(&mut Take(row), WALL) else {
                    return damage(&mut damaged, "retained message");
                };
                visit(&message);
            }
            ControlFlow::Continue(())
        })?;
        let mut dirty: Vec<_> = machine.dirty_retained().collect();
        // In the order of the log, for it is read in blocks.
        dirty.sort_unstable();
        self.shelf.reading_as(WALL, |shelf| {
            dirty.into_iter().try_for_each(|at| shelf.read(at).map(|publish| visit(&publish.message)))
        })?;
        damaged.map_or(Ok(()), Err)
    }

    /// Visits all delayed messages: what names each, when it is due, and the message.
    ///
    /// # Errors
    /// When the backend fails, or a row is damaged.
    pub fn for_each_delayed(&mut self, mut visit: impl FnMut(u64, WallMs, Message)) -> Result<(), BackendError> {
        for (id, due, at) in self.machine.delayed().collect::<Vec<_>>() {
            // The row of an earlier message of this name may be there still.
            let row = match self.machine.is_delayed_dirty(id) {
                true => None,
                false => self.shelf.backend.row(Table::Delayed, &key(id))?,
            };
            let message = match row {
                Some(row) => {
                    let mut take = Take(&row);
                    let message = take.number().and_then(|_| take_message(&mut take, self.shelf.epoch));
                    message.ok_or_else(|| BackendError::Corrupt(format!("delayed message {id}").into()))?
                }
                None => self.shelf.read(at)?.message.clone(),
            };
            visit(id, due, message);
        }
        Ok(())
    }

    /// Visits the settings whose names begin with `prefix`.
    ///
    /// # Errors
    /// See [`for_each_setting`].
    pub fn for_each_setting(
        &mut self,
        prefix: &str,
        visit: impl FnMut(&str, &str) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        for_each_setting(&mut self.shelf.backend, prefix, visit)
    }

    /// Changes settings; they are as safe as what was committed when it returns.
    ///
    /// # Errors
    /// See [`change_settings`].
    pub fn change_settings(&mut self, changes: Vec<(String, Option<String>)>) -> Result<(), BackendError> {
        change_settings(&mut self.shelf.backend, changes)
    }

    /// Tells a session with a connection what its host calls it.
    pub fn bind(&mut self, session: Number, handle: S) {
        self.machine.bind(session, handle);
    }

    #[cfg(test)]
    pub(crate) fn machine(&self) -> &Machine<S> {
        &self.machine
    }

    /// A message as it is kept.
    #[cfg(test)]
    pub(crate) fn read(&mut self, at: Position) -> Result<std::sync::Arc<crate::Publish>, BackendError> {
        self.shelf.read(at)
    }

    /// The backend, when nothing is to be kept any more.
    pub fn into_backend(self) -> B {
        self.shelf.backend
    }
}

fn damage(damaged: &mut Option<BackendError>, what: &str) -> ControlFlow<()> {
    *damaged = Some(BackendError::Corrupt(what.into()));
    ControlFlow::Break(())
}

fn split(key: &[u8]) -> Option<(Number, &[u8])> {
    let (number, rest) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// The row that says which format the others have.
pub(crate) fn format_row() -> Change {
    Change { table: Table::Meta, key: FORMAT_KEY.to_vec(), value: Some(FORMAT.to_be_bytes().to_vec()) }
}

/// The row that says which position's state the others tell, and up to which position messages have rows.
pub(crate) fn state_row(position: Position, copied: Position) -> Change {
    let mut row = Vec::new();
    row.number(position);
    row.number(copied);
    Change { table: Table::Meta, key: STATE_KEY.to_vec(), value: Some(row) }
}

/// Checks that a backend has the format that this code knows, and gives one that is new its format.
///
/// # Errors
/// When the format is of a later version, or the backend fails.
pub fn check_format(backend: &mut impl Backend) -> Result<(), BackendError> {
    match backend.row(Table::Meta, FORMAT_KEY)? {
        None => backend.write(vec![format_row()]),
        Some(version) => match version.try_into().map(u32::from_be_bytes) {
            Ok(found) if found <= FORMAT => Ok(()),
            Ok(found) => Err(BackendError::Newer { found, known: FORMAT }),
            Err(_) => Err(BackendError::Corrupt("format version".into())),
        },
    }
}

/// The position whose state the rows tell, and up to which messages have rows.
fn read_state(backend: &mut impl Backend) -> Result<(Position, Position), BackendError> {
    let Some(row) = backend.row(Table::Meta, STATE_KEY)? else { return Ok((0, 0)) };
    let mut take = Take(&row);
    take.number().zip(take.number()).ok_or_else(|| BackendError::Corrupt("state".into()))
}

/// Puts the rows back; the position to replay the log from.
fn restore<S>(machine: &mut Machine<S>, backend: &mut impl Backend, epoch: Epoch) -> Result<Position, BackendError> {
    let (position, copied) = read_state(backend)?;
    machine.restore_position(position, copied);
    let mut damaged = None;
    let mut check = |what: &str, number: Option<u64>, done: Option<()>| match done {
        Some(()) => ControlFlow::Continue(()),
        None => {
            damaged = Some(BackendError::Corrupt(format!("{what} {}", number.unwrap_or_default()).into()));
            ControlFlow::Break(())
        }
    };
    backend.rows(Table::Sessions, &[], &mut |key, row| {
        let number = split(key).map(|(number, _)| number);
        check("session", number, number.and_then(|number| machine.restore_row(number, row, epoch)))
    })?;
    backend.rows(Table::Queues, &[], &mut |key, row| {
        let number = split(key).map(|(number, _)| number);
        check("queue", number, number.and_then(|number| machine.restore_part(number, row)))
    })?;
    backend.rows(Table::Subscriptions, &[], &mut |key, row| {
        let parts = split(key);
        let done = parts.and_then(|(number, filter)| {
            if filter.starts_with(b"$") {
                machine.restore_subscription(number, &parse_filter(filter)?, take_options(&mut Take(row))?);
            }
            Some(())
        });
        check("subscription", parts.map(|(number, _)| number), done)
    })?;
    backend.rows(Table::Delayed, &[], &mut |key, row| {
        let number = split(key).map(|(number, _)| number);
        check("delayed message", number, number.and_then(|at| machine.restore_delayed(at, row)))
    })?;
    damaged.map_or(Ok(position + 1), Err)
}

/// The host while the log is replayed: nobody has a connection.
struct Nobody<S>(std::marker::PhantomData<S>);

impl<S> Default for Nobody<S> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<S> Host for Nobody<S> {
    type Session = S;

    fn attached(&mut self, _: &S, _: Attached) {}

    fn deliver(&mut self, _: &S, _: Delivery) {}

    fn behind(&mut self, _: &S, _: bool) {}

    fn dropped(&mut self, _: DropCause, _: u64) {}
}

#[cfg(test)]
mod tests;
