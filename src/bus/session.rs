use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::Waker,
};

use parking_lot::{Mutex, MutexGuard};
use thingway_contract::{
    ClientId, CloseReason, Delivery, Instant, Message, Parked, PublisherKey, SubscriptionOptions, TopicFilter,
    Transport, Will,
};

use super::{
    Errand, Errands, Sent,
    budget::Budget,
    inbox::{Attached, Inbox},
    kept::{Link, Open},
    life::Life,
    retained::RetainedCursor,
    subscriptions::Subscriptions,
    timers::TimerKey,
};
use crate::watch::Who;

/// What connections of one listener have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Protocol name.
    pub protocol: &'static str,
    /// What carries the bytes.
    pub transport: Transport,
    /// The listener's name.
    pub listener: Arc<str>,
}

/// What is told of a connection in listings and events.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// By what it came.
    pub origin: Arc<Origin>,
    /// Protocol version as the protocol numbers it.
    pub version: u8,
    /// The peer's address.
    pub remote: Option<SocketAddr>,
    /// User name.
    pub username: Option<Box<str>>,
    /// Keep-alive in seconds, 0 is off.
    pub keep_alive_secs: u16,
    /// When the session was granted to this connection.
    pub connected_at: Instant,
    /// The peer asked for a clean start.
    pub clean_start: bool,
}

/// What is told of a session in listings.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its client id.
    pub id: ClientId,
    /// Its connection, while there is one.
    pub connection: Option<ConnectionInfo>,
    /// When it began, in seconds since 1970; `None` when that was in an earlier run of the gateway.
    pub began_secs: Option<u32>,
    /// When its last connection went, in seconds since 1970, while there is none.
    pub left_secs: Option<u32>,
    /// How long it outlives its connection.
    pub session_expiry_secs: u32,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Deliveries that wait for its connection here; of one that is kept, [`super::Bus::queued`] tells what the store holds.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// It is kept in the store.
    pub kept: bool,
}

/// A session, as [`Session::look`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Its connection, while there is one.
    pub connection: Option<&'a ConnectionInfo>,
    /// Its subscriptions.
    pub subscriptions: &'a [(TopicFilter, SubscriptionOptions)],
    /// When it began, in seconds since 1970; `None` when that was in an earlier run of the gateway.
    pub began_secs: Option<u32>,
}

/// The state that outlives a connection (MQTT 5.0, section 4.1): subscriptions, queue, what is unacknowledged, the will.
///
/// Keyed by client id, never by address. One lock guards the queue, which publishers touch; another guards the rest.
pub struct Session {
    id: ClientId,
    key: PublisherKey,
    /// When its last connection went, in seconds since 1970; 0 before that.
    left_secs: AtomicU32,
    replaying: AtomicBool,
    /// Whoever asks for this very session may have it from its connection.
    may_move: AtomicBool,
    /// Its connection falls behind the queue that the store keeps for it.
    behind: AtomicBool,
    /// What its connection remembers of what the client may do is to be forgotten.
    doubted: AtomicBool,
    /// Its number in the store, 0 when it is not kept.
    kept: AtomicU64,
    /// Messages and bytes in its queue, for those who look at it without its lock.
    shown: AtomicU64,
    inbox: Mutex<Inbox>,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub subscriptions: Subscriptions,
    pub will: Option<Box<Will>>,
    pub connection: Option<Box<ConnectionInfo>>,
    /// What a session whose connection is idle has none of.
    rare: Option<Box<Rare>>,
    pub session_expiry_secs: u32,
    pub life: Life,
}

#[derive(Default)]
pub(super) struct Rare {
    /// What the last conversation left; only while there is no connection.
    pub parked: Option<Box<Parked>>,
    /// Only while there is no connection.
    pub offline: Offline,
    /// Connections that wait for the present one to let go.
    pub waiting: Vec<Waker>,
    /// Only while a kept session has a connection.
    pub link: Option<Link>,
    /// QoS 2 exchanges of a kept session's peer that are not released, by packet identifier.
    pub exchanges: BTreeMap<u16, Open>,
    /// Retained messages that new subscriptions still wait for.
    pub replays: VecDeque<Replay>,
}

/// Deadlines of a session without a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offline {
    pub expiry: Option<TimerKey>,
    pub will: Option<TimerKey>,
}

impl State {
    /// What is rare, if there is any of it.
    pub fn known_rare(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }

    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// All of its subscriptions, and its will if that counts, are on topics that begin with this.
    pub fn is_below(&self, prefix: &str, with_will: bool) -> bool {
        let is_below = |will: &Will| will.message.topic().starts_with(prefix);
        self.subscriptions.are_below(prefix) && self.will.as_deref().is_none_or(|will| !with_will || is_below(will))
    }

    pub fn take_parked(&mut self) -> Option<Box<Parked>> {
        let parked = self.rare.as_mut()?.parked.take();
        self.tidy();
        parked
    }

    pub fn link(&mut self) -> Option<&mut Link> {
        self.rare.as_mut()?.link.as_mut()
    }

    pub fn take_link(&mut self) -> Option<Link> {
        let link = self.rare.as_mut()?.link.take();
        self.tidy();
        link
    }

    pub fn take_waiting(&mut self) -> Vec<Waker> {
        let waiting = self.rare.as_mut().map(|rare| std::mem::take(&mut rare.waiting));
        self.tidy();
        waiting.unwrap_or_default()
    }

    /// Lets go of what is not needed any more.
    pub fn tidy(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.parked.is_none()
            && self.offline.is_empty()
            && self.waiting.is_empty()
            && self.replays.is_empty()
            && self.link.is_none()
            && self.exchanges.is_empty()
    }
}

impl Offline {
    pub const fn is_empty(&self) -> bool {
        self.expiry.is_none() && self.will.is_none()
    }
}

/// Retained messages on their way to a new subscription, a page at a time.
#[derive(Debug)]
pub(super) struct Replay {
    pub filter: TopicFilter,
    pub options: SubscriptionOptions,
    pub cursor: RetainedCursor,
}

impl Session {
    pub(super) fn new(id: ClientId, key: PublisherKey) -> Self {
        Self {
            id,
            key,
            left_secs: AtomicU32::new(0),
            replaying: AtomicBool::new(false),
            may_move: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            kept: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            inbox: Mutex::new(Inbox::default()),
            state: Mutex::new(State::default()),
        }
    }

    /// The session's identity.
    pub fn id(&self) -> &ClientId {
        &self.id
    }

    /// The mark on its publications.
    pub fn key(&self) -> PublisherKey {
        self.key
    }

    /// Its number in the store, 0 when it ends with the gateway.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept() != 0
    }

    pub(super) fn set_kept(&self, number: u64) {
        self.kept.store(number, Ordering::Relaxed);
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    pub(super) fn set_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    /// Has its connection forget what it remembers of what the client may do.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
    }

    /// True once after [`Session::doubt`].
    #[inline]
    pub fn takes_doubt(&self) -> bool {
        self.doubted.load(Ordering::Relaxed) && self.doubted.swap(false, Ordering::Acquire)
    }

    /// Number of its subscriptions.
    pub fn subscriptions_len(&self) -> usize {
        self.state.lock().subscriptions.len()
    }

    /// Its connection has gone.
    pub(super) fn set_left(&self, unix_secs: u32) {
        self.left_secs.store(unix_secs, Ordering::Relaxed);
    }

    /// Its subscriptions, as they are now.
    pub fn subscriptions(&self) -> Vec<(TopicFilter, SubscriptionOptions)> {
        self.state.lock().subscriptions.iter().cloned().collect()
    }

    /// Shows it without copying anything. Whoever looks must be quick: its lock is held, though not that of its queue.
    pub fn look<R>(&self, look: impl FnOnce(Look<'_>) -> R) -> R {
        let state = self.state.lock();
        look(Look {
            connection: state.connection.as_deref(),
            subscriptions: state.subscriptions.as_slice(),
            began_secs: state.life.began_secs(),
        })
    }

    /// What is told of it in listings. The lock of its queue is not taken: whoever publishes to it waits for nobody who looks.
    pub fn info(&self) -> SessionInfo {
        let (queued, queued_bytes) = self.shown();
        let left_secs = self.left_secs.load(Ordering::Relaxed);
        let state = self.state.lock();
        SessionInfo {
            id: self.id.clone(),
            connection: state.connection.as_deref().cloned(),
            began_secs: state.life.began_secs(),
            left_secs: (state.connection.is_none() && left_secs != 0).then_some(left_secs),
            session_expiry_secs: state.session_expiry_secs,
            subscriptions: state.subscriptions.len(),
            queued,
            queued_bytes,
            kept: self.is_kept(),
        }
    }

    /// True when one of its subscriptions is about a message.
    pub fn is_subscribed_to(&self, message: &Message) -> bool {
        self.state.lock().subscriptions.iter().any(|(filter, _)| filter.matches_message(message))
    }

    /// What is known of its connection; `None` while there is none.
    pub fn connection(&self) -> Option<ConnectionInfo> {
        self.state.lock().connection.as_deref().cloned()
    }

    /// Whose it is, for those who look at messages.
    pub fn who(&self) -> Who {
        let state = self.state.lock();
        let connection = state.connection.as_deref();
        Who {
            client_id: self.id.clone(),
            key: self.key.0,
            remote: connection.and_then(|info| info.remote),
            since: connection.map_or(Instant::NEVER, |info| info.connected_at),
        }
    }

    /// True while a connection serves it.
    pub fn is_connected(&self) -> bool {
        self.inbox.lock().attached.is_some()
    }

    /// Deliveries and bytes that wait in its queue here; what the store holds for it is not counted, which [`super::Bus::queued`] does.
    pub(super) fn queued(&self) -> (usize, usize) {
        if self.is_kept() { self.inbox.lock().own() } else { self.shown() }
    }

    /// Deliveries and bytes in its queue when its lock was let go last.
    fn shown(&self) -> (usize, usize) {
        let shown = self.shown.load(Ordering::Relaxed);
        ((shown & SHOWN_LEN_MAX) as usize, (shown >> SHOWN_LEN_BITS) as usize)
    }

    /// A part of what waits in its queue, for one that is not kept. Publishers wait meanwhile, so it should be small.
    pub fn waiting(&self, skip: usize, count: usize) -> Vec<Delivery> {
        self.inbox.lock().part(skip, count)
    }

    /// True while retained messages for new subscriptions are still to come: the connection that empties the queue calls
    /// [`super::Bus::replay_retained`].
    pub fn is_replaying(&self) -> bool {
        self.replaying.load(Ordering::Relaxed)
    }

    pub(super) fn set_replaying(&self, replaying: bool) {
        self.replaying.store(replaying, Ordering::Relaxed);
    }

    /// For its connection: whether a request with [`super::SessionRequest::must_exist`] may take it over. Until this is said it may not.
    pub fn set_may_move(&self, may_move: bool) {
        self.may_move.store(may_move, Ordering::Relaxed);
    }

    pub(super) fn may_move(&self) -> bool {
        self.may_move.load(Ordering::Relaxed)
    }

    pub(super) fn inbox<'a>(&'a self, budget: &'a Budget) -> InboxGuard<'a> {
        let inbox = self.inbox.lock();
        InboxGuard { bytes: inbox.bytes(), budget, shown: &self.shown, inbox }
    }

    pub(super) fn attach(&self, waker: Waker, core: u16) -> u32 {
        self.set_may_move(false);
        let mut inbox = self.inbox.lock();
        inbox.epoch = inbox.epoch.wrapping_add(1);
        inbox.attached = Some(Attached::new(waker, core));
        let _ = inbox.take_asked();
        inbox.epoch
    }

    /// For the connection with this epoch, which is on another core now and looks into the queue by itself once.
    pub fn move_to(&self, epoch: u32, waker: Waker, core: u16) {
        let mut inbox = self.inbox.lock();
        if inbox.epoch == epoch && inbox.attached.is_some() {
            inbox.attached = Some(Attached::new(waker, core));
        }
    }

    pub(super) fn take(
        &self,
        epoch: u32,
        count: usize,
        now: Instant,
        budget: &Budget,
        into: &mut Vec<Delivery>,
    ) -> Taken {
        let mut inbox = self.inbox(budget);
        if inbox.epoch != epoch {
            return Taken { signal: Some(CloseReason::TakenOver), more: false, pull: None, errands: None };
        }
        for _ in 0..count {
            match inbox.pop() {
                Some(delivery) => into.push(delivery),
                None => break,
            }
        }
        let mut pull = None;
        if let Some(attached) = inbox.attached.as_mut().filter(|_| !into.is_empty()) {
            attached.takes(now);
            pull = attached.take_pull();
        }
        let more = !inbox.is_empty();
        inbox.set_scheduled(more);
        let (signal, errands) = inbox.take_asked();
        Taken { signal, more, pull, errands }
    }

    pub(super) fn give_back(&self, deliveries: impl DoubleEndedIterator<Item = Delivery>, budget: &Budget) {
        let mut inbox = self.inbox(budget);
        for delivery in deliveries.rev() {
            inbox.push_front(delivery);
        }
        inbox.set_scheduled(true);
    }

    /// Ends the connection that serves the session, if there is one.
    pub fn signal(&self, reason: CloseReason) -> bool {
        self.signal_if(reason, |_| true)
    }

    /// Ends the connection with this epoch, if it still serves the session.
    pub fn signal_connection(&self, epoch: u32, reason: CloseReason) -> bool {
        self.signal_if(reason, |present| present == epoch)
    }

    /// Has the connection that serves the session do something, in its next turn.
    pub fn send_errand(&self, errand: Errand) -> Sent {
        self.give(self.inbox.lock(), errand)
    }

    /// The same for who waits for nobody: while others are at its queue it is as if too many errands waited.
    pub fn offer_errand(&self, errand: Errand) -> Sent {
        self.inbox.try_lock().map_or(Sent::TooMany, |inbox| self.give(inbox, errand))
    }

    fn give(&self, mut inbox: MutexGuard<'_, Inbox>, errand: Errand) -> Sent {
        let Some(waker) = inbox.attached.as_ref().map(|attached| attached.waker.clone()) else {
            return Sent::NoConnection;
        };
        if !inbox.add_errand(errand) {
            return Sent::TooMany;
        }
        drop(inbox);
        waker.wake();
        Sent::Given
    }

    /// Deliveries that its queue had no room for. Those of a session that is kept wait elsewhere, and are not counted.
    pub fn queue_dropped(&self) -> u64 {
        self.inbox.lock().dropped()
    }

    /// The same for who waits for nobody: `None` while others are at its queue.
    pub fn queue_dropped_now(&self) -> Option<u64> {
        Some(self.inbox.try_lock()?.dropped())
    }

    fn signal_if(&self, reason: CloseReason, is_meant: impl FnOnce(u32) -> bool) -> bool {
        let mut inbox = self.inbox.lock();
        let Some(attached) = inbox.attached.as_ref().filter(|_| is_meant(inbox.epoch)) else { return false };
        let waker = attached.waker.clone();
        inbox.signal(reason);
        drop(inbox);
        waker.wake();
        true
    }
}

/// A locked inbox that keeps the account of all queues, and shows its own, when it is let go.
pub(super) struct InboxGuard<'a> {
    inbox: MutexGuard<'a, Inbox>,
    budget: &'a Budget,
    shown: &'a AtomicU64,
    bytes: usize,
}

/// Bits of what is shown that are the number of deliveries. The others are bytes: a terabyte of them.
const SHOWN_LEN_BITS: u32 = 24;
/// More than `queue.messages_max` may be.
const SHOWN_LEN_MAX: u64 = (1 << SHOWN_LEN_BITS) - 1;

impl Deref for InboxGuard<'_> {
    type Target = Inbox;

    fn deref(&self) -> &Inbox {
        &self.inbox
    }
}

impl DerefMut for InboxGuard<'_> {
    fn deref_mut(&mut self) -> &mut Inbox {
        &mut self.inbox
    }
}

impl Drop for InboxGuard<'_> {
    fn drop(&mut self) {
        let (len, bytes) = (self.inbox.len() as u64, self.inbox.bytes());
        self.budget.add(bytes as isize - self.bytes as isize);
        self.shown.store(len.min(SHOWN_LEN_MAX) | (bytes as u64) << SHOWN_LEN_BITS, Ordering::Relaxed);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What [`Session::take`] found beside deliveries.
#[derive(Debug)]
pub struct Taken {
    /// The connection shall end.
    pub signal: Option<CloseReason>,
    /// The queue holds more.
    pub more: bool,
    /// Nearly all deliveries come from this core, which is not the connection's.
    pub pull: Option<u16>,
    /// What somebody wants done.
    pub errands: Option<Box<Errands>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<ConnectionInfo>() <= 72, "{}", size_of::<ConnectionInfo>());
        // With the counts in front of it, one of the allocator's sizes.
        assert!(size_of::<Session>() <= 208, "{}", size_of::<Session>());
    }
}
