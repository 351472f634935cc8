//! The state machine: what is kept, and how each record changes it.

mod apply;
#[cfg(test)]
mod dump;
mod flush;
mod group;
mod link;
mod portable;
mod queue;
mod restore;
mod session;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use foldhash::fast::FixedState;
use thingway_contract::{ClientId, Delivery, Message, Rare, ShareName, Unacknowledged, Will};

pub(crate) use self::flush::key;
use self::{group::Group, link::Link, queue::Entry, session::Kept};
pub use self::{session::SessionView, waiting::Waiting};
use crate::{Exchange, Extras, Number, Position, Publish, SubscriptionOptions, Target, WallMs};

type Map<K, V> = HashMap<K, V, FixedState>;

/// Bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most messages.
    pub messages: usize,
    /// Most bytes of messages; one message is let in whatever its size.
    pub bytes: u64,
}

/// Settings of the machine. All who read the same log need the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of the queue of a session with a connection.
    pub attached: Bounds,
    /// Of the queue of a session without, and of a group that nobody takes from.
    pub detached: Bounds,
    /// Most messages and bytes that are given to a connection before it acknowledges.
    pub window: Bounds,
    /// Most bytes of messages that wait in all queues together, each message counted once; while there are more, the bounds of queues shrink to an
    /// eighth.
    pub bytes_total: u64,
    /// What a full queue gives up when no message of QoS 0 is left in it: the newest instead of the oldest.
    pub newest_goes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attached: Bounds { messages: 20_000, bytes: 16 << 20 },
            detached: Bounds { messages: 10_000, bytes: 8 << 20 },
            window: Bounds { messages: 4096, bytes: 4 << 20 },
            bytes_total: 1 << 30,
            newest_goes: false,
        }
    }
}

/// Reads messages back.
pub trait Library {
    /// The publication or delayed message that was recorded at this position; `None` when it is nowhere to be found.
    ///
    /// # Errors
    /// When it cannot be read at the moment.
    fn load(&mut self, at: Position) -> Result<Option<Arc<Publish>>, TryAgain>;
}

/// A message could not be read, but it may be later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryAgain;

/// Those whom a record concerns, who are alive beside the machine.
pub trait Host {
    /// Names a session to the host.
    type Session;

    /// A connection has its session. Before this it hears of nothing, which may be a while when what the session holds cannot be read.
    fn attached(&mut self, session: &Self::Session, attached: Attached);

    /// A message for a session's connection.
    fn deliver(&mut self, session: &Self::Session, delivery: Delivery);

    /// A session's connection falls behind its queue, or has caught up: its publishers should be slower, or may go on.
    fn behind(&mut self, session: &Self::Session, behind: bool);

    /// Messages were given up.
    fn dropped(&mut self, cause: DropCause, count: u64);
}

/// Why a message was given up that waited for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// QoS 0, and the queue was full.
    Qos0,
    /// The queue was full.
    Full,
    /// The last member of its group has left.
    NoMembers,
    /// It could not be read back.
    Unreadable,
    /// Its session was over.
    Ended,
}

/// What the connection that takes a session finds in it.
#[derive(Debug)]
pub struct Attached {
    /// The session's number.
    pub session: Number,
    /// The position of the record by which the connection took it.
    pub attach: Position,
    /// It was there before.
    pub present: bool,
    /// Exchanges under way, in their order.
    pub outbound: Vec<Unacknowledged>,
    /// Packet identifiers of the peer's own messages that it has not released.
    pub inbound: Vec<u16>,
    /// What else the last conversation left.
    pub extras: Option<Box<Extras>>,
    /// The will that counts now.
    pub will: Option<Box<Will>>,
}

/// Number of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions.
    pub sessions: usize,
    /// Messages that wait for a session or a group, each counted once.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Delayed messages.
    pub delayed: usize,
}

/// What is known of a message that waits.
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    references: u32,
    bytes: u32,
}

/// What is kept.
#[derive(Debug)]
pub struct Machine<S> {
    settings: Settings,
    position: Position,
    sessions: Map<Number, Box<Kept<S>>>,
    names: Map<ClientId, Number>,
    groups: BTreeMap<Number, Group>,
    group_names: Map<ShareName, Number>,
    messages: Messages,
    /// When each is due, and where its record is; 0 when a row tells it.
    delayed: BTreeMap<u64, (WallMs, Position)>,
    dirty: Dirty,
}

#[derive(Debug, Default)]
struct Messages {
    waiting: BTreeMap<Position, Info>,
    bytes: u64,
    /// Messages up to here have rows of their own.
    copied: Position,
    /// Rows of messages that nobody waits for any more.
    gone: Vec<Position>,
    /// Sessions whose connections wait until a message can be read.
    stalled: BTreeSet<Number>,
    /// Exchanges whose messages are nowhere to be found, which is for the log to say.
    lost: Vec<(Exchange, Position)>,
}

impl Messages {
    fn bytes_of(&self, at: Position) -> u32 {
        self.waiting.get(&at).map_or(0, |info| info.bytes)
    }

    fn add(&mut self, at: Position, bytes: u32) {
        let info = self.waiting.entry(at).or_insert_with(|| {
            self.bytes += u64::from(bytes);
            Info { references: 0, bytes }
        });
        info.references += 1;
    }

    fn release(&mut self, at: Position) {
        let Some(info) = self.waiting.get_mut(&at) else { return };
        info.references -= 1;
        if info.references == 0 {
            self.bytes -= u64::from(info.bytes);
            self.waiting.remove(&at);
            if at <= self.copied {
                self.gone.push(at);
            }
        }
    }
}

/// What is not as it is stored.
#[derive(Debug, Default)]
struct Dirty {
    /// Sessions and groups, each once.
    numbers: Vec<Number>,
    /// Those that are over, with rows.
    ended: Vec<Number>,
    /// `None` for one that was given up.
    subscriptions: BTreeMap<(Number, Box<str>), Option<SubscriptionOptions>>,
    /// `None` for a topic whose message was deleted.
    retained: BTreeMap<Box<str>, Option<Position>>,
    delayed: BTreeSet<u64>,
}

impl<S> Machine<S> {
    /// A machine that keeps nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            position: 0,
            sessions: Map::default(),
            names: Map::default(),
            groups: BTreeMap::new(),
            group_names: Map::default(),
            messages: Messages::default(),
            delayed: BTreeMap::new(),
            dirty: Dirty::default(),
        }
    }

    /// The last record that was applied.
    pub fn position(&self) -> Position {
        self.position
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len(),
            messages: self.messages.waiting.len(),
            bytes: self.messages.bytes,
            delayed: self.delayed.len(),
        }
    }

    /// True while somebody waits for the message of this position.
    pub fn is_wanted(&self, at: Position) -> bool {
        self.messages.waiting.contains_key(&at)
    }

    /// Messages that wait for a session, and their bytes.
    pub fn queued(&self, session: Number) -> (usize, u64) {
        self.sessions.get(&session).map_or((0, 0), |kept| kept.queued())
    }

    /// The session of a client.
    pub fn find(&self, client_id: &str) -> Option<Number> {
        self.names.get(client_id).copied()
    }

    /// All sessions, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.sessions.iter().map(|(&number, kept)| kept.view(number))
    }

    /// Tells a session with a connection what its host calls it. What comes from then on goes to it.
    pub fn bind(&mut self, session: Number, handle: S) {
        if let Some(kept) = self.sessions.get_mut(&session).filter(|kept| kept.is_attached()) {
            kept.link = Some(Box::new(Link::new(handle)));
        }
    }

    /// Gives connections what could not be read when it was their turn.
    pub fn retry<H: Host<Session = S>>(&mut self, library: &mut dyn Library, host: &mut H) {
        for session in std::mem::take(&mut self.messages.stalled) {
            if let Some(kept) = self.sessions.get_mut(&session) {
                kept.retry(session, &mut self.messages, library, host);
            }
        }
    }

    /// True while [`Machine::retry`] or [`Machine::lost`] has something to do.
    pub fn is_waiting(&self) -> bool {
        !self.messages.stalled.is_empty() || !self.messages.lost.is_empty()
    }

    /// Exchanges under way whose messages are nowhere to be found. Each takes room until a record says that it is over.
    pub fn lost(&mut self) -> Vec<Exchange> {
        let mut lost = std::mem::take(&mut self.messages.lost);
        lost.retain(|(exchange, message)| {
            let queue = self.sessions.get(&exchange.session).and_then(|kept| kept.queue());
            let entry = queue.and_then(|queue| queue.get(queue.find(exchange.packet_id)?));
            entry.is_some_and(|entry| entry.message == *message)
        });
        self.messages.lost.clone_from(&lost);
        lost.into_iter().map(|(exchange, _)| exchange).collect()
    }

    pub(crate) fn has_session(&self, number: Number) -> bool {
        self.sessions.contains_key(&number)
    }

    pub(crate) fn is_subscription_dirty(&self, number: Number, filter: &str) -> bool {
        self.dirty.subscriptions.contains_key(&(number, filter.into()))
    }

    pub(crate) fn dirty_subscriptions(&self) -> impl Iterator<Item = (Number, &str, Option<SubscriptionOptions>)> {
        self.dirty.subscriptions.iter().map(|((number, filter), options)| (*number, &**filter, *options))
    }

    pub(crate) fn is_retained_dirty(&self, topic: &str) -> bool {
        self.dirty.retained.contains_key(topic)
    }

    pub(crate) fn is_delayed_dirty(&self, id: u64) -> bool {
        self.dirty.delayed.contains(&id)
    }

    pub(crate) fn dirty_retained(&self) -> impl Iterator<Item = Position> {
        self.dirty.retained.values().filter_map(|at| *at)
    }

    pub(crate) fn delayed(&self) -> impl Iterator<Item = (u64, WallMs, Position)> {
        self.delayed.iter().map(|(&id, &(due, at))| (id, due, at))
    }

    fn bounds(&self, attached: bool) -> Bounds {
        let bounds = if attached { self.settings.attached } else { self.settings.detached };
        if self.messages.bytes <= self.settings.bytes_total {
            return bounds;
        }
        Bounds { messages: (bounds.messages / 8).max(1), bytes: bounds.bytes / 8 }
    }
}

/// Bytes that a message counts for. Told by what it says alone: what it keeps alive besides depends on where it was read, and queues overflow alike
/// wherever the log is.
fn weight(message: &Message) -> u32 {
    const BOOKKEEPING: usize = 64;
    let parts = [message.topic_bytes(), message.properties().as_bytes(), message.payload()];
    u32::try_from(BOOKKEEPING + parts.map(<[u8]>::len).iter().sum::<usize>()).unwrap_or(u32::MAX)
}

/// The delivery of an entry.
fn delivery(session: Number, entry: Entry, publish: &Publish) -> Delivery {
    let own = |target: &&Target| target.session == session && target.share().is_none();
    let rare: Option<Arc<Rare>> =
        if entry.has_rare() { publish.targets.iter().find(own).and_then(|target| target.rare.clone()) } else { None };
    Delivery {
        message: publish.message.clone(),
        rare,
        subscription_id: entry.subscription_id,
        qos: entry.qos(),
        retain: entry.retain(),
        packet_id: entry.packet_id,
    }
}
