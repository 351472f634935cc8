use std::{collections::HashSet, ops::ControlFlow};

use super::{FlushLimits, Keeper, check_format, read_state, split};
use crate::{
    Backend, BackendError, Counts, Epoch, Machine, Position, Reader, Record, Settings, Table, WallMs,
    codec::{parse_filter, take_message, take_options, take_publish},
    shelf::records,
    wire::Take,
};

/// Problems that are told one by one; beyond, they are counted.
const PROBLEMS_MAX: usize = 100;

/// What a store holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Sessions, and what waits for them.
    pub counts: Counts,
    /// Groups of shared subscriptions.
    pub groups: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Retained messages, and their bytes.
    pub retained: (usize, u64),
    /// Bytes of delayed messages.
    pub delayed_bytes: u64,
    /// What operators have set.
    pub settings: usize,
    /// Blocks of the log.
    pub blocks: usize,
    /// Their bytes.
    pub block_bytes: u64,
    /// Records of the log that the rows do not tell yet.
    pub records: u64,
    /// The first problems, in words.
    pub problems: Vec<String>,
    /// How many there are.
    pub problems_len: usize,
}

impl Checked {
    fn problem(&mut self, what: String) {
        self.problems_len += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(what);
        }
    }

    /// Damage is a problem of the store; what else goes wrong keeps it from being checked.
    fn damage(&mut self, error: BackendError) -> Result<(), BackendError> {
        match error {
            BackendError::Corrupt(what) => {
                self.problem(what.into());
                Ok(())
            }
            other => Err(other),
        }
    }
}

/// Reads everything that a backend holds, and changes nothing. `settings` are those that the store is used with.
///
/// # Errors
/// When the backend fails, or its format is of a later version. What is damaged is no error, but a problem.
pub fn check<B: Backend>(backend: B, settings: Settings, now: WallMs) -> Result<Checked, BackendError> {
    let mut checked = Checked::default();
    let mut backend = Reader(backend);
    let state = check_format(&mut backend).and_then(|()| read_state(&mut backend));
    let (position, copied) = match state {
        Ok(state) => state,
        Err(error) => return checked.damage(error).map(|()| checked),
    };
    let mut rows = Rows { machine: Machine::new(settings), messages: HashSet::new() };
    rows.machine.restore_position(position, copied);
    check_log(&mut backend, position, &mut rows.messages, &mut checked)?;
    rows.check(&mut backend, &mut checked)?;
    checked.counts = rows.machine.counts();
    checked.groups = rows.machine.groups_len();
    if checked.problems_len > 0 {
        // It cannot be opened, or not be trusted.
        return Ok(checked);
    }
    check_opened(backend, settings, now, &mut checked)?;
    Ok(checked)
}

/// Whether the log goes on without gaps from where the rows end. Positions of messages are put into `messages`.
fn check_log(
    backend: &mut impl Backend,
    position: Position,
    messages: &mut HashSet<Position>,
    checked: &mut Checked,
) -> Result<(), BackendError> {
    // The position after the block before; `None` when that cannot be known.
    let mut next = None;
    backend.blocks(0, &mut |first, block| {
        checked.blocks += 1;
        checked.block_bytes += block.len() as u64;
        let is_first = checked.blocks == 1;
        let from = if is_first { Some(first.min(position + 1)) } else { next };
        if let Some(from) = from.filter(|&from| from != first) {
            checked.problem(format!("log: records {from} to {} are not there", first.saturating_sub(1)));
        }
        next = match records(first, block, Epoch::default()) {
            Ok(records) => {
                for (at, record) in (first..).zip(&records) {
                    if matches!(record, Record::Publish(_) | Record::Delay { .. }) {
                        messages.insert(at);
                    }
                }
                Some(first + records.len() as u64)
            }
            Err(error) => {
                checked.problem(format!("log, block {first}: {error}"));
                None
            }
        };
        checked.records = next.unwrap_or_default().saturating_sub(position + 1);
        ControlFlow::Continue(())
    })
}

/// What the rows alone tell.
struct Rows {
    machine: Machine<()>,
    /// Positions of messages that can be found.
    messages: HashSet<Position>,
}

impl Rows {
    fn check(&mut self, backend: &mut impl Backend, checked: &mut Checked) -> Result<(), BackendError> {
        let epoch = Epoch::default();
        let tables = [
            Table::Sessions,
            Table::Queues,
            Table::Subscriptions,
            Table::Retained,
            Table::Delayed,
            Table::Messages,
            Table::Settings,
        ];
        for table in tables {
            backend.rows(table, &[], &mut |key, row| {
                let done = match table {
                    Table::Retained => take_message(&mut Take(row), epoch).is_some_and(|message| {
                        checked.retained.0 += 1;
                        checked.retained.1 += message.payload().len() as u64;
                        message.topic_bytes() == key
                    }),
                    Table::Settings => {
                        checked.settings += 1;
                        std::str::from_utf8(key).is_ok() && std::str::from_utf8(row).is_ok()
                    }
                    _ => split(key).is_some_and(|(number, rest)| self.row(table, number, rest, row, checked)),
                };
                if !done {
                    checked.problem(format!("{table:?}, row {}: cannot be read", key.escape_ascii()));
                }
                ControlFlow::Continue(())
            })?;
        }
        for at in self.machine.waiting() {
            if !self.messages.contains(&at) {
                checked.problem(format!("message {at} is in a queue, but is not there"));
            }
        }
        Ok(())
    }

    fn row(&mut self, table: Table, number: u64, rest: &[u8], row: &[u8], checked: &mut Checked) -> bool {
        let epoch = Epoch::default();
        match table {
            Table::Sessions => self.machine.restore_row(number, row, epoch).is_some(),
            Table::Queues => self.machine.restore_part(number, row).is_some(),
            Table::Subscriptions => {
                checked.subscriptions += 1;
                let Some((filter, options)) = parse_filter(rest).zip(take_options(&mut Take(row))) else {
                    return false;
                };
                if !self.machine.has_session(number) {
                    checked.problem(format!("subscription {filter} is of session {number}, which is not there"));
                }
                if filter.share_name().is_some_and(|name| !self.machine.has_group(&name)) {
                    checked.problem(format!("subscription {filter} of session {number}: its group is not there"));
                }
                self.machine.restore_subscription(number, &filter, options);
                true
            }
            Table::Delayed => {
                let mut take = Take(row);
                let message = take.number().and_then(|_| take_message(&mut take, epoch));
                checked.delayed_bytes += message.as_ref().map_or(0, |message| message.payload().len() as u64);
                message.is_some() && self.machine.restore_delayed(number, row).is_some()
            }
            Table::Messages => {
                self.messages.insert(number);
                take_publish(&mut Take(row), epoch).is_some()
            }
            Table::Meta | Table::Retained | Table::Settings => false,
        }
    }
}

/// What rows and log tell together, as the gateway would find it.
fn check_opened<B: Backend>(
    backend: Reader<B>,
    settings: Settings,
    now: WallMs,
    checked: &mut Checked,
) -> Result<(), BackendError> {
    let opened = Keeper::<(), _>::open(backend, settings, FlushLimits::default(), 0, Epoch::default(), now);
    let mut keeper = match opened {
        Ok((keeper, _)) => keeper,
        Err(error) => return checked.damage(error),
    };
    checked.counts = keeper.counts();
    checked.groups = keeper.machine.groups_len();
    for at in keeper.machine.waiting() {
        if let Err(error) = keeper.shelf.read(at) {
            checked.damage(error)?;
        }
    }
    let (mut subscriptions, mut retained, mut delayed_bytes) = (0, (0, 0), 0);
    let told = keeper.for_each_subscription(|_, _, _| subscriptions += 1);
    told.or_else(|error| checked.damage(error))?;
    let told = keeper.for_each_retained(|message, _| {
        retained = (retained.0 + 1, retained.1 + message.payload().len() as u64);
    });
    told.or_else(|error| checked.damage(error))?;
    let told = keeper.for_each_delayed(|_, _, message| delayed_bytes += message.payload().len() as u64);
    told.or_else(|error| checked.damage(error))?;
    (checked.subscriptions, checked.retained, checked.delayed_bytes) = (subscriptions, retained, delayed_bytes);
    let gone: HashSet<_> = keeper.machine.gone().iter().copied().collect();
    let (machine, mut lost) = (&keeper.machine, Vec::new());
    keeper.shelf.backend.rows(Table::Messages, &[], &mut |key, _| {
        lost.extend(split(key).map(|(at, _)| at).filter(|at| !machine.is_wanted(*at) && !gone.contains(at)));
        ControlFlow::Continue(())
    })?;
    for at in lost {
        checked.problem(format!("message {at} is kept, but in no queue"));
    }
    Ok(())
}
