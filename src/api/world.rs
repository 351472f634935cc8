use std::{fmt, sync::Arc, time::SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use thingway_contract::{Instant, Message, PublishOutcome};
use thingway_store::BackendError;

use super::{
    accounts::Accounts, audit::Audit, data::Data, date::Date, directories::Directories, keys::Keys, observe::Observe,
    rates::Rates, throttle::Throttle, tokens::Tokens,
};
use crate::{
    access::{Access, passwords::Hashers, users::UserDatabase},
    bus::{Bus, Handle, Lane, NO_CORE, system::PacketNames},
    config::{ChangeError, Config, RunTime},
    store::{Journal, Settled, Ticket},
};

/// What does at once what settings say, and tells why it cannot.
pub type Apply = Box<dyn Fn(&Config, &[String]) -> Result<(), ChangeError> + Send + Sync>;

/// Tells what became of what was pushed to others.
pub type Exports = Box<dyn Fn() -> Vec<ExportCount> + Send + Sync>;

/// So much of what was pushed to others came to this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportCount {
    /// What it is, as `traces`.
    pub signal: &'static str,
    /// What became of it, as `dropped`.
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}

/// The listeners, which the gateway starts and stops. Names are kind and name, as `tcp.default`.
pub trait Listeners: Send + Sync {
    /// All of them, whether they run or not.
    fn views(&self) -> Vec<ListenerView>;
    /// Starts one that does not run, or tells why it cannot.
    fn start<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), String>>;
    /// Stops one, and ends its connections.
    fn stop<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()>;
}

/// A listener, as it is shown.
pub struct ListenerView {
    /// What carries its connections, as `tcp`.
    pub kind: &'static str,
    /// Its name among those of its kind.
    pub name: String,
    /// What its peers speak.
    pub protocol: &'static str,
    /// Where it listens, or would.
    pub address: String,
    /// It starts with the gateway.
    pub enabled: bool,
    /// Most connections; `None` for any number.
    pub connections_max: Option<u64>,
    /// The path of a listener for WebSocket.
    pub websocket_path: Option<String>,
    /// Why it does not run, if it should.
    pub failure: Option<String>,
    /// What there is and was; `None` while it does not run.
    pub counts: Option<ListenerCounts>,
    /// What it shows to clients.
    pub certificate: Option<CertificateView>,
}

/// A certificate, as it is shown.
pub struct CertificateView {
    /// Its subject.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// When it ends, in seconds since 1970.
    pub not_after_unix_secs: u64,
    /// Names and addresses that it is good for.
    pub names: Vec<String>,
}

/// What there is of a listener's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounts {
    /// Connections now.
    pub connections: usize,
    /// All that came.
    pub accepted: u64,
    /// Those refused because there were as many as there may be.
    pub refused: u64,
}

/// Everything that the interface shows and changes.
pub struct World {
    /// The node's name.
    pub node: String,
    /// The bus.
    pub bus: Arc<Bus>,
    /// The access layer.
    pub access: Arc<Access>,
    /// The built-in user database, whether anybody is asked who needs it or not.
    pub users: Arc<UserDatabase>,
    /// Where changes are kept.
    pub journal: Journal<Handle>,
    /// The listeners.
    pub listeners: Box<dyn Listeners>,
    /// The settings.
    pub run_time: Arc<RunTime>,
    /// Does what settings say that count at once: the settings, and the keys that have changed.
    pub apply: Apply,
    /// Tells what became of what was pushed to others.
    pub exports: Exports,
    /// Names of packets that are counted.
    pub packets: PacketNames,
    /// `gateway.security` is "hardened".
    pub hardened: bool,
    /// Tells the bus's time.
    pub clock: Box<dyn Fn() -> Instant + Send + Sync>,
    /// Sends wake-ups on their way.
    pub forward_wakes: Box<dyn Fn(&mut Lane) + Send + Sync>,
    pub(super) lane: Mutex<Lane>,
    pub(super) accounts: Accounts,
    pub(super) keys: Keys,
    pub(super) tokens: Tokens,
    pub(super) throttle: Throttle,
    pub(super) audit: Audit,
    pub(super) hashers: Arc<Hashers>,
    pub(super) rates: Rates,
    pub(super) directories: Directories,
    pub(super) observe: Observe,
    pub(super) data: Data,
    pub(super) started: std::time::Instant,
    /// One change of what is kept at a time.
    pub(super) changes: tokio::sync::Mutex<()>,
}

impl World {
    /// A time of the bus as text.
    pub(super) fn date(&self, at: Instant) -> String {
        date_of_ms(self.unix_ms(at))
    }

    /// A time of the bus in milliseconds since 1970.
    pub(super) fn unix_ms(&self, at: Instant) -> u64 {
        self.bus.config().events.clock_zero_unix_ms.saturating_add(at.as_millis())
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// Has the bus do something, with the wake-ups that follow from it.
    pub(super) fn with_lane<T>(&self, work: impl FnOnce(&mut Lane, Instant) -> T) -> T {
        let mut lane = self.lane.lock();
        let done = work(&mut lane, self.now());
        (self.forward_wakes)(&mut lane);
        done
    }

    /// Publishes, and waits until what must be kept is safe.
    pub(super) async fn publish(&self, message: Message) -> PublishOutcome {
        let (outcome, ticket) = self.with_lane(|lane, now| self.publish_one(message, now, lane));
        match ticket {
            Some(ticket) if !self.is_kept(ticket).await => PublishOutcome::QuotaExceeded,
            _ => outcome,
        }
    }

    /// Publishes some, whose commits go together, with one look at the lane. False when some could not be kept.
    pub(super) async fn publish_all(&self, messages: impl IntoIterator<Item = Message>) -> bool {
        let one = |lane: &mut Lane, now, message| self.publish_one(message, now, lane).1;
        let tickets: Vec<_> =
            self.with_lane(|lane, now| messages.into_iter().filter_map(|message| one(lane, now, message)).collect());
        let mut all = true;
        for ticket in tickets {
            all &= self.is_kept(ticket).await;
        }
        all
    }

    fn publish_one(&self, message: Message, now: Instant, lane: &mut Lane) -> (PublishOutcome, Option<Ticket>) {
        let _ = lane.take_ticket();
        let outcome = self.bus.publish(message, None, now, lane);
        (outcome, lane.take_ticket())
    }

    /// Waits until a record is safe, or refused: false then.
    pub(super) async fn is_kept(&self, ticket: Ticket) -> bool {
        let settled = std::future::poll_fn(|cx| {
            // Asked once more after waking was arranged for; that it was refused is told once.
            match self.journal.settled(ticket) {
                Settled::Not => self.journal.wake_when_settled(ticket, NO_CORE, cx.waker()),
                settled => return std::task::Poll::Ready(settled),
            }
            match self.journal.settled(ticket) {
                Settled::Not => std::task::Poll::Pending,
                settled => std::task::Poll::Ready(settled),
            }
        });
        settled.await != Settled::Refused
    }

    /// Keeps changes of settings, all of them or none.
    pub(super) async fn keep(&self, changes: Vec<(String, Option<String>)>) -> Result<(), BackendError> {
        let journal = self.journal.clone();
        let kept = tokio::task::spawn_blocking(move || journal.change_settings(changes)).await;
        kept.unwrap_or_else(|_| Err(BackendError::Io("the thread that keeps it has failed".into())))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A time as EMQX writes it.
pub(super) fn date_of_ms(unix_ms: u64) -> String {
    Date::of_ms(unix_ms).as_str().to_owned()
}

pub(super) fn unix_secs() -> u64 {
    unix_ms() / 1000
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
