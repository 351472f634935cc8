use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::ControlFlow,
};

use smallvec::SmallVec;
use thingway_contract::Message;

use crate::{
    Backend, BackendError, Cause, Change, Counts, Epoch, Item, Machine, Number, Position, Publish,
    SETTING_NAME_BYTES_MAX, Settings, Table, Target,
    codec::{put_message, put_options, put_publish},
    keeper::{format_row, state_row},
    machine::key,
    wire::Put,
};

/// Changes and their bytes after which they are written.
const CHANGES_PER_WRITE: usize = 1000;
const BYTES_PER_WRITE: usize = 1 << 20;
/// Numbers go up from the highest one that is taken over.
const NUMBER_MAX: u64 = 1 << 62;

/// Puts items into an empty store. It is one when [`Import::finish`] has returned; what there is before must not be opened.
///
/// In memory is what the machine that reads the store will have there.
#[derive(Debug)]
pub struct Import<B> {
    backend: B,
    machine: Machine<()>,
    changes: Vec<Change>,
    changes_bytes: usize,
    highest: Number,
    subscriptions: HashSet<(Number, Box<str>)>,
    retained: HashSet<Box<str>>,
    delayed: HashSet<u64>,
    settings: HashSet<Box<str>>,
    rare: HashMap<Position, SmallVec<[Target; 1]>>,
}

/// Why an item was not taken.
#[derive(Debug)]
pub enum ImportError {
    /// It does not go with those before, or is none that was ever kept.
    Item(Box<str>),
    /// It could not be written.
    Backend(BackendError),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(why) => f.write_str(why),
            Self::Backend(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}

impl From<BackendError> for ImportError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl From<&'static str> for ImportError {
    fn from(why: &'static str) -> Self {
        Self::Item(why.into())
    }
}

impl<B: Backend> Import<B> {
    /// An import into a backend with nothing in it.
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            machine: Machine::new(Settings::default()),
            changes: Vec::new(),
            changes_bytes: 0,
            highest: 0,
            subscriptions: HashSet::new(),
            retained: HashSet::new(),
            delayed: HashSet::new(),
            settings: HashSet::new(),
            rare: HashMap::new(),
        }
    }

    /// Adds the next item. What it refers to comes before it, but for messages, which come after the places in queues that they are in.
    ///
    /// # Errors
    /// The import is to be given up then.
    pub fn add(&mut self, item: Item) -> Result<(), ImportError> {
        let epoch = Epoch::default();
        match item {
            Item::Session(session) => {
                self.number(session.number)?;
                if session.expiry_secs == 0 {
                    return Err("a session that ends with its connection is not kept".into());
                }
                if session.next_packet_id == 0 || session.inbound.contains(&0) {
                    return Err("no packet identifier is 0".into());
                }
                self.machine.put_session(*session)?;
            }
            Item::Group { number, name, turn } => {
                self.number(number)?;
                self.number(turn.max(1))?;
                self.machine.put_group(number, name, turn)?;
            }
            Item::Subscription { session, filter, options } => {
                let text = filter.to_string();
                self.machine.put_subscription(session, filter.share_name().as_ref(), options)?;
                if !self.subscriptions.insert((session, text.as_str().into())) {
                    return Err("the session has this subscription already".into());
                }
                let mut row = Vec::new();
                put_options(options, &mut row);
                self.put(Table::Subscriptions, [&key(session), text.as_bytes()].concat(), row)?;
            }
            Item::Queued(queued) => {
                self.number(queued.message.unwrap_or(1))?;
                self.number(queued.drawn.map_or(1, |drawn| drawn.group))?;
                let target = self.machine.put_queued(&queued)?;
                if let (Some(target), Some(at)) = (target, queued.message) {
                    self.rare.entry(at).or_default().push(target);
                }
            }
            Item::Message { number, message } => {
                self.number(number)?;
                self.machine.put_message(number, &message)?;
                let targets = self.rare.remove(&number).unwrap_or_default();
                let publish = Publish { message, retains: false, exchange: None, targets, cause: Cause::None };
                let mut row = Vec::new();
                put_publish(&publish, epoch, &mut row);
                self.put(Table::Messages, key(number), row)?;
            }
            Item::Retained(message) => {
                let topic: Box<str> = message.topic().into();
                if message.payload().is_empty() {
                    return Err("a retained message has a payload".into());
                }
                if !self.retained.insert(topic.clone()) {
                    return Err("another retained message has this topic".into());
                }
                let row = encoded(&message);
                self.put(Table::Retained, topic.as_bytes().to_vec(), row)?;
            }
            Item::Delayed { id, due, message } => {
                self.number(id.max(1))?;
                if !self.delayed.insert(id) {
                    return Err("another delayed message has this number".into());
                }
                let mut row = Vec::new();
                row.number(due);
                row.extend(encoded(&message));
                self.put(Table::Delayed, key(id), row)?;
            }
            Item::Setting { name, value } => {
                if name.is_empty() || name.len() > SETTING_NAME_BYTES_MAX {
                    return Err(ImportError::Item(
                        format!("a setting has a name of at most {SETTING_NAME_BYTES_MAX} bytes").into(),
                    ));
                }
                if !self.settings.insert(name.clone()) {
                    return Err("another setting has this name".into());
                }
                self.put(Table::Settings, name.as_bytes().to_vec(), value.as_bytes().to_vec())?;
            }
        }
        Ok(())
    }

    /// Ends it: all is safe, and how much it is.
    ///
    /// # Errors
    /// When items are missing, or writing failed. There is no store then.
    pub fn finish(mut self) -> Result<(Counts, B), ImportError> {
        self.machine.put_all().map_err(|why| ImportError::Item(why.into()))?;
        let machine = std::mem::replace(&mut self.machine, Machine::new(Settings::default()));
        let mut failure = None;
        let _ = machine.tell_rows(Epoch::default(), &mut |change| match self.change(change) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        });
        failure.map_or(Ok(()), Err)?;
        self.write()?;
        self.backend.write(vec![format_row(), state_row(self.highest, self.highest)])?;
        self.backend.sync()?;
        let delayed = self.delayed.len();
        Ok((Counts { delayed, ..machine.counts() }, self.backend))
    }

    /// How many retained messages there are until now.
    pub fn retained(&self) -> usize {
        self.retained.len()
    }

    /// How many settings there are until now.
    pub fn settings(&self) -> usize {
        self.settings.len()
    }

    fn number(&mut self, number: Number) -> Result<(), ImportError> {
        if !(1..=NUMBER_MAX).contains(&number) {
            return Err(ImportError::Item(format!("numbers are 1 to {NUMBER_MAX}").into()));
        }
        self.highest = self.highest.max(number);
        Ok(())
    }

    fn put(&mut self, table: Table, key: Vec<u8>, row: Vec<u8>) -> Result<(), BackendError> {
        self.change(Change { table, key, value: Some(row) })
    }

    fn change(&mut self, change: Change) -> Result<(), BackendError> {
        self.changes_bytes += change.key.len() + change.value.as_ref().map_or(0, Vec::len);
        self.changes.push(change);
        if self.changes.len() >= CHANGES_PER_WRITE || self.changes_bytes >= BYTES_PER_WRITE {
            return self.write();
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BackendError> {
        self.changes_bytes = 0;
        self.backend.write(std::mem::take(&mut self.changes))
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut row = Vec::new();
    put_message(message, Epoch::default(), &mut row);
    row
}
