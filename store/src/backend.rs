use std::{fmt, io, ops::ControlFlow};

/// A place in the log: the number of a record, counted from 1 in the order of the log.
pub type Position = u64;

/// Rows of state, by kind. The discriminants are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What is known of the store itself.
    Meta = 0,
    /// Messages that are still wanted although the log before them was trimmed, by position.
    Messages = 1,
    /// Sessions, by number.
    Sessions = 2,
    /// What waits in a session's queue, by session number and part.
    Queues = 3,
    /// Subscriptions, by session number and filter.
    Subscriptions = 4,
    /// Retained messages, by topic.
    Retained = 5,
    /// Delayed messages, by what names them.
    Delayed = 6,
    /// What operators have set, as users and bans: texts, by what names them. Not a part of the machine, which takes no notice of them.
    Settings = 7,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Meta,
        Self::Messages,
        Self::Sessions,
        Self::Queues,
        Self::Subscriptions,
        Self::Retained,
        Self::Delayed,
        Self::Settings,
    ];
}

/// One change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which table.
    pub table: Table,
    /// The row's key. Rows are ordered by their keys' bytes.
    pub key: Vec<u8>,
    /// The new value; `None` removes the row, if it is there.
    pub value: Option<Vec<u8>>,
}

/// Why the place where things are kept failed.
#[derive(Debug)]
pub enum BackendError {
    /// There is no room, or a quota is used up. What was asked did not happen; it can be asked again.
    Full(Box<str>),
    /// Reading or writing failed. What was asked did not happen, or was at most half done in a way that opening mends.
    Io(Box<str>),
    /// What was read is not what was written.
    Corrupt(Box<str>),
    /// The format is of a later version than this gateway knows.
    Newer {
        /// The version found.
        found: u32,
        /// The latest that this gateway knows.
        known: u32,
    },
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(why) => write!(f, "no room is left: {why}"),
            Self::Io(why) => write!(f, "input or output failed: {why}"),
            Self::Corrupt(why) => write!(f, "the store is damaged: {why}"),
            Self::Newer { found, known } => {
                write!(f, "the store's format is version {found}, written by a later gateway; this one knows {known}")
            }
        }
    }
}

impl std::error::Error for BackendError {}

impl From<io::Error> for BackendError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.to_string().into()),
            _ => Self::Io(error.to_string().into()),
        }
    }
}

/// Where the log and the rows of state are kept. One thread uses it.
///
/// The log is a sequence of blocks, each named by the position of its first record and never changed once written. Blocks and rows are opaque here.
///
/// What a crash may take depends on how the backend is set; but always, what survives is a prefix of what was asked in order: if the effect of a call
/// is there after a crash, so are the effects of all calls before it.
pub trait Backend: Send {
    /// Appends a block, and returns when it is as safe as the setting promises. Its first record comes right after the last one of the block before.
    ///
    /// # Errors
    /// Nothing was appended then: neither now nor after a crash may the block be found, or it is found whole.
    fn append(&mut self, first: Position, block: &[u8]) -> Result<(), BackendError>;

    /// The block that holds `at`, which is the one with the greatest first position up to `at`, with that position.
    ///
    /// # Errors
    /// When reading fails.
    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError>;

    /// Visits the blocks in order, from the one that holds `from`.
    ///
    /// # Errors
    /// When reading fails.
    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError>;

    /// Changes rows, all or none of them. They are safe when the next block that is appended is, or after [`Backend::sync`].
    ///
    /// # Errors
    /// Nothing was changed then.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), BackendError>;

    /// Makes everything before as safe as the setting promises.
    ///
    /// # Errors
    /// When that failed; it may be asked again.
    fn sync(&mut self) -> Result<(), BackendError>;

    /// Drops the blocks whose records are all before `before`. The room may be given back later.
    ///
    /// # Errors
    /// When writing fails; it may be asked again.
    fn trim(&mut self, before: Position) -> Result<(), BackendError>;

    /// A row.
    ///
    /// # Errors
    /// When reading fails.
    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError>;

    /// Visits the rows of a table whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// When reading fails.
    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError>;

    /// Bytes that it takes where it is kept, as far as known.
    fn bytes(&self) -> u64;

    /// Bytes of a half-written end that were cut when it was opened.
    fn cut_bytes(&self) -> u64 {
        0
    }

    /// What is there now, for another thread to read while this goes on. Writing to it changes nothing here, and may fail; reading it may fail from some
    /// moment on, as when this is closed.
    ///
    /// # Errors
    /// When that cannot be had.
    fn freeze(&mut self) -> Result<Box<dyn Backend>, BackendError> {
        Err(BackendError::Io("it can only be read where it is".into()))
    }
}

/// Called with a block's first position, and the block.
pub type VisitBlock<'a> = dyn FnMut(Position, &[u8]) -> ControlFlow<()> + 'a;

/// Called with a row's key and value.
pub type VisitRow<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

impl<B: Backend + ?Sized> Backend for Box<B> {
    fn append(&mut self, first: Position, block: &[u8]) -> Result<(), BackendError> {
        (**self).append(first, block)
    }

    fn block(&mut self, at: Position) -> Result<Option<(Position, Vec<u8>)>, BackendError> {
        (**self).block(at)
    }

    fn blocks(&mut self, from: Position, visit: &mut VisitBlock<'_>) -> Result<(), BackendError> {
        (**self).blocks(from, visit)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), BackendError> {
        (**self).write(changes)
    }

    fn sync(&mut self) -> Result<(), BackendError> {
        (**self).sync()
    }

    fn trim(&mut self, before: Position) -> Result<(), BackendError> {
        (**self).trim(before)
    }

    fn row(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        (**self).row(table, key)
    }

    fn rows(&mut self, table: Table, prefix: &[u8], visit: &mut VisitRow<'_>) -> Result<(), BackendError> {
        (**self).rows(table, prefix, visit)
    }

    fn bytes(&self) -> u64 {
        (**self).bytes()
    }

    fn cut_bytes(&self) -> u64 {
        (**self).cut_bytes()
    }

    fn freeze(&mut self) -> Result<Box<dyn Backend>, BackendError> {
        (**self).freeze()
    }
}
