//! The publish/subscribe core: sessions, routes, queues, retained and delayed messages, wills. Synchronous, without
//! sockets and without a clock.
//!
//! Any thread may call the bus with a [`Lane`] of its own. Publishing is a plain call: routes are read without a lock,
//! then each subscriber's queue is locked for one push.

mod alarms;
mod budget;
mod changes;
mod connect;
mod counters;
mod errand;
mod events;
mod import;
mod inbox;
mod kept;
mod lane;
mod life;
mod presence;
mod publish;
mod registry;
pub mod retained;
pub mod routes;
mod session;
pub mod shared;
mod subscribe;
mod subscriptions;
pub mod system;
mod timers;
mod tuning;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use thingway_contract::{ClientId, CloseReason, Delivery, Instant, PublisherKey};

use self::{
    budget::Budget,
    kept::Keeping,
    presence::Presence,
    registry::Registry,
    retained::Retained,
    routes::Routes,
    timers::{Due, Timers},
};
pub use self::{
    changes::Feed,
    connect::{ConnectOutcome, Granted, SessionRequest},
    counters::{Counter, CounterSet, Counters},
    errand::{Errand, Errands, Line, Sent, Traffic},
    events::{DepartCause, EventConfig},
    import::Imported,
    inbox::{DropOrder, QueueLimits},
    kept::{Desk, Handle, Reserved},
    lane::{Lane, NO_CORE},
    session::{ConnectionInfo, Look, Origin, Session, SessionInfo, Taken},
    tuning::Tuning,
};
use crate::{
    store::{Journal, Queued},
    watch::Watch,
};

/// Settings of the bus.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// Bounds of each session's queue.
    pub queue: QueueLimits,
    /// Most bytes that wait in all queues together; while there are more, each queue's bounds shrink to an eighth.
    pub queue_bytes_total_max: usize,
    /// What may change while it works.
    pub tuning: Tuning,
    /// Deliver with the subscription's quality of service even where the publication's is lower.
    pub upgrade_qos: bool,
    /// Most sessions, connected or not. At the limit new ones are refused with "quota exceeded".
    pub sessions_max: usize,
    /// Which events about clients are published under `$SYS`.
    pub events: EventConfig,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            queue: QueueLimits::default(),
            queue_bytes_total_max: 1024 * 1024 * 1024,
            tuning: Tuning::default(),
            upgrade_qos: false,
            sessions_max: usize::MAX,
            events: EventConfig::default(),
        }
    }
}

/// The publish/subscribe core.
#[derive(Debug)]
pub struct Bus {
    config: BusConfig,
    tuning: ArcSwap<Tuning>,
    registry: Registry,
    routes: Routes<Session>,
    retained: Retained,
    timers: Timers,
    budget: Budget,
    queue_shrunk: QueueLimits,
    counters: CounterSet,
    connected: AtomicUsize,
    connected_max: AtomicUsize,
    presence: Presence,
    watch: Arc<Watch>,
    next_key: AtomicU64,
    /// Names the next delayed message.
    next_delayed: AtomicU64,
    keeping: Option<Keeping>,
    changed_clients: Feed<ClientId>,
    changed_filters: Feed<Arc<str>>,
    assigned_prefix: Box<str>,
}

impl Bus {
    /// A bus with nothing on it. `assigned_prefix` begins the client ids that the gateway assigns and should be unique
    /// to this run.
    pub fn new(config: BusConfig, assigned_prefix: &str) -> Self {
        Self {
            registry: Registry::default(),
            routes: Routes::default(),
            retained: Retained::new(config.tuning.retained),
            tuning: ArcSwap::from_pointee(config.tuning.clone()),
            timers: Timers::default(),
            budget: Budget::new(config.queue_bytes_total_max),
            queue_shrunk: config.queue.shrunk(),
            counters: CounterSet::default(),
            connected: AtomicUsize::new(0),
            connected_max: AtomicUsize::new(0),
            presence: Presence::default(),
            watch: Arc::default(),
            next_key: AtomicU64::new(1),
            next_delayed: AtomicU64::new(1),
            keeping: None,
            changed_clients: Feed::default(),
            changed_filters: Feed::default(),
            assigned_prefix: assigned_prefix.into(),
            config,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &BusConfig {
        &self.config
    }

    /// A lane for a thread.
    pub fn lane(&self, core: u16) -> Lane {
        Lane::new(core, self.counters.add_lane())
    }

    /// All lanes' counters.
    pub fn counters(&self) -> &CounterSet {
        &self.counters
    }

    /// The routes, for listings.
    pub fn routes(&self) -> &Routes<Session> {
        &self.routes
    }

    /// The retained messages, for listings.
    pub fn retained(&self) -> &Retained {
        &self.retained
    }

    /// What is looked at of what passes by.
    #[inline]
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Sessions with a connection, by protocol: those that there ever were.
    pub fn connected_by_protocol(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.presence.all()
    }

    /// A session by client id.
    pub fn session(&self, id: &str) -> Option<Arc<Session>> {
        self.registry.find(id)
    }

    /// Visits all sessions without holding a lock during the visits.
    pub fn for_each_session(&self, visit: impl FnMut(&Arc<Session>)) {
        self.registry.for_each(visit);
    }

    /// Clients that came, went, subscribed or unsubscribed.
    pub fn changed_clients(&self) -> &Feed<ClientId> {
        &self.changed_clients
    }

    /// Filters that somebody subscribed to, or unsubscribed from.
    pub fn changed_filters(&self) -> &Feed<Arc<str>> {
        &self.changed_filters
    }

    /// Ends the connection of this client; false when there is none.
    pub fn kick(&self, id: &str, reason: CloseReason) -> bool {
        self.registry.find(id).is_some_and(|session| session.signal(reason))
    }

    /// For the connection with this epoch: the next deliveries, at most `count` of them, and a pending signal.
    ///
    /// Finding the queue empty makes the next push wake the connection.
    pub fn take(&self, session: &Session, epoch: u32, count: usize, now: Instant, into: &mut Vec<Delivery>) -> Taken {
        session.take(epoch, count, now, &self.budget, into)
    }

    /// Gives back deliveries that could not be sent, in their order; they stay at the head of the queue and nothing is
    /// scheduled until the connection looks again.
    pub fn give_back(&self, session: &Session, deliveries: impl DoubleEndedIterator<Item = Delivery>) {
        session.give_back(deliveries, &self.budget);
    }

    /// What there is now.
    pub fn gauges(&self) -> Gauges {
        let counts = self.routes.counts();
        Gauges {
            connected: self.connected.load(Ordering::Relaxed),
            connected_max: self.connected_max.load(Ordering::Relaxed),
            sessions: self.registry.len(),
            subscriptions: counts.subscriptions,
            shared_subscriptions: counts.shared_subscriptions,
            filters: counts.filters,
            retained: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            delayed: self.timers.delayed_len(),
            queued_bytes: self.budget.bytes(),
            stored: self.journal().map_or_else(Queued::default, Journal::queued_in_all),
        }
    }

    /// Does what is due: delayed messages, wills, session expiry, retained expiry. At most about `budget` things; true
    /// when more is due.
    pub fn tick(&self, now: Instant, budget: usize, lane: &mut Lane) -> bool {
        if self.budget.check() {
            let (bytes, max) = (self.budget.bytes(), self.config.queue_bytes_total_max);
            if self.budget.is_over() {
                tracing::warn!(bytes, max, "queues hold more than they may together: each one's bounds shrink");
            } else {
                tracing::info!(bytes, max, "queues hold no more than they may: their bounds are as configured");
            }
        }
        for _ in 0..budget {
            match self.timers.pop(now) {
                Due::Timer(timer) => self.fire(timer, now, lane),
                Due::Working => {}
                Due::Nothing => {
                    self.expire_retained(now, budget);
                    return false;
                }
            }
        }
        true
    }

    /// A time of the bus in milliseconds since 1970.
    fn unix_ms(&self, at: Instant) -> u64 {
        self.config.events.clock_zero_unix_ms.saturating_add(at.as_millis())
    }

    fn queue_limits(&self) -> &QueueLimits {
        if self.budget.is_over() { &self.queue_shrunk } else { &self.config.queue }
    }

    fn next_publisher(&self) -> PublisherKey {
        PublisherKey(self.next_key.fetch_add(1, Ordering::Relaxed))
    }

    fn assign_client_id(&self) -> ClientId {
        let number = self.next_key.fetch_add(1, Ordering::Relaxed);
        let text = format!("{}{number}", self.assigned_prefix);
        ClientId::new(&text, usize::MAX).expect("a short text without NUL")
    }
}

/// What there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions with a connection.
    pub connected: usize,
    /// Most there have been.
    pub connected_max: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Members of shared subscriptions.
    pub shared_subscriptions: usize,
    /// Distinct filters.
    pub filters: usize,
    /// Retained messages.
    pub retained: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
    /// Delayed messages.
    pub delayed: usize,
    /// Bytes that wait in the queues of connections, and of sessions that are not kept.
    pub queued_bytes: usize,
    /// What the store holds for sessions and groups, each message counted once.
    pub stored: Queued,
}
