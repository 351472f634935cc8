//! Who may come in and what they may do. Never sees a packet.
//!
//! A connection passes bans, then authenticators in their order ([`Chain`]), which may take their time without anybody waiting for them; then it has a
//! [`Guard`] that says what it may do, and remembers. With no authenticator configured everyone may connect, and without rules all may publish and
//! subscribe to everything but the gateway's own `$SYS` topics, which only the gateway publishes to.

mod attempt;
mod authority;
pub mod backends;
mod backoff;
mod bans;
mod cache;
mod certificate;
mod chain;
mod enhanced;
mod entering;
mod entrance;
mod expiry;
mod explain;
mod expression;
mod flapping;
mod guard;
mod inquiry;
mod known;
mod line;
pub mod names;
pub mod passwords;
mod pending;
mod policy;
pub mod psk;
pub mod quota;
mod recent;
pub mod rules;
pub mod scram;
pub mod users;
mod values;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thingway_contract::{CloseReason, Connect, Instant, Peer, Refusal, Transport};
use tokio::runtime::Handle;

use self::{
    bans::Bans,
    entering::Entering,
    entrance::Entrance,
    expiry::Expiries,
    inquiry::Asker,
    names::{Names, split_delay},
    pending::{Pending, Place},
    psk::PreSharedKeys,
    recent::Recent,
    rules::{HeldRules, Holder, RuleDatabase},
};
use crate::bus::Bus;

pub use self::{
    attempt::{Attempt, Attributes, Grant, Said},
    authority::{Authority, Inquiry, Ruled, Ruling},
    backoff::BackoffSettings,
    bans::{BAN_PREFIX, Ban, BanError, BanKind, ban_key},
    certificate::CertificateHolders,
    chain::{Answer, Asked, Authenticator, Begun, Chain, Decision},
    enhanced::{Exchange, Exchanged, ExchangedAgain},
    entrance::Settings,
    explain::{Explained, Step, Verdict, Wanted},
    expression::{Expression, ExpressionError},
    flapping::FlappingSettings,
    guard::{Guard, Identity, May},
    inquiry::{Inquiring, Question},
    known::Known,
    line::LineState,
    policy::{DenyAction, Look, Policy, Reason, Source},
    values::{is_of_attempts, is_of_inquiries},
};

/// Sessions that can be gone on with by who shows only that it knows them; their identities are remembered.
const RESUMABLE_MAX: usize = 100_000;

/// The access rules of a gateway.
#[derive(Debug)]
pub struct Access {
    /// What counts for whoever connects now.
    entrance: ArcSwap<Entrance>,
    /// Where decisions are made that take their time. Without it there are none.
    runtime: Option<Handle>,
    pending: Arc<AtomicUsize>,
    inquiries: Arc<AtomicUsize>,
    keys: PreSharedKeys,
    policy: ArcSwap<Policy>,
    /// The rules of the store, whether they are among the policy's sources or not. One change at a time.
    database: Mutex<Arc<RuleDatabase>>,
    open: AtomicBool,
    /// Somebody may have to be asked what a client may do.
    asks: AtomicBool,
    /// Goes up when the policy changes.
    epoch: AtomicU32,
    bans: Bans,
    expiries: Arc<Expiries>,
    resumable: Mutex<Recent<Box<str>, Arc<Identity>>>,
}

/// Who was let in.
#[derive(Debug)]
pub struct Admission {
    /// The user name that the session runs under.
    pub username: Option<Box<str>>,
    /// Says what they may do; `None` while that is everything.
    pub guard: Option<Box<Guard>>,
    /// What happens to topics as long as they are connected.
    pub names: Arc<Names>,
}

/// The answer to somebody who wants to connect.
#[derive(Debug)]
pub enum Admit {
    /// Yes or no.
    Done(Result<Admission, Refusal>),
    /// Somebody has to be asked: see [`Access::take`].
    Later(Asking),
}

/// Somebody is being asked about a connection. Nobody asks any more when this is dropped.
#[derive(Debug)]
pub struct Asking {
    /// What counted when that began.
    entrance: Arc<Entrance>,
    waits: Waits,
}

#[derive(Debug)]
enum Waits {
    /// For authenticators.
    Decision { attempt: Arc<Attempt>, spoofable: bool, pending: Pending<Decision> },
    /// For authorities, about the will of somebody who was let in.
    Will { guard: Box<Guard>, inquiring: Inquiring },
}

impl Default for Access {
    /// Everybody may do everything.
    fn default() -> Self {
        Self::new(Settings::default(), Policy::default(), None)
    }
}

impl Access {
    /// Access by these rules.
    pub fn new(settings: Settings, policy: Policy, runtime: Option<Handle>) -> Self {
        Self {
            bans: Bans::new(settings.bans_max),
            entrance: ArcSwap::from_pointee(Entrance::new(settings)),
            keys: PreSharedKeys::default(),
            runtime,
            pending: Arc::default(),
            inquiries: Arc::default(),
            open: AtomicBool::new(policy.is_open()),
            asks: AtomicBool::new(policy.has_authorities()),
            database: Mutex::new(policy.database().cloned().unwrap_or_default()),
            policy: ArcSwap::from_pointee(policy),
            epoch: AtomicU32::new(1),
            expiries: Arc::default(),
            resumable: Mutex::new(Recent::new(RESUMABLE_MAX)),
        }
    }

    /// Decides on a connection, or begins to. The waker is woken when [`Access::take`] has an answer.
    pub fn begin(&self, connect: &Connect, peer: &Peer, protocol: &'static str, now: Instant, waker: &Waker) -> Admit {
        if connect.credentials.method.is_some() {
            // See [`Access::begin_exchange`].
            return Admit::Done(Err(Refusal::BadAuthenticationMethod));
        }
        let entrance = &self.entrance.load_full();
        let entering = Entering { access: self, entrance, connect, now, waker };
        let mut attempt = Attempt::new(connect, peer, protocol);
        entrance.find_attributes(&mut attempt);
        if self.bans.find(&attempt, unix_ms()).is_some() {
            return Admit::Done(Err(Refusal::Banned));
        }
        // Anybody can put any address on a datagram.
        let spoofable = peer.transport == Transport::Udp;
        let is_asked_about = entrance.asks_about(&peer.listener);
        if connect.must_exist
            && let Some(admit) = entering.resume(&mut attempt, is_asked_about)
        {
            return admit;
        }
        let settings = &entrance.settings;
        let decided = if !is_asked_about || attempt.is_anonymous() && settings.allow_anonymous {
            Decision { by: None, outcome: Ok(Grant::default()) }
        } else if settings.chain.is_empty() {
            Decision { by: None, outcome: Err(Refusal::NotAuthorized) }
        } else {
            if entrance.backoff.as_ref().is_some_and(|backoff| backoff.holds(&attempt, spoofable, now.as_millis())) {
                return Admit::Done(Err(Refusal::ConnectionRateExceeded));
            }
            let attempt = Arc::new(attempt);
            let decision = match settings.chain.begin(&attempt) {
                Begun::Made(decision) => decision,
                Begun::Later(future) => return entering.ask(attempt, spoofable, future),
            };
            return entering.finish(&attempt, spoofable, decision);
        };
        entering.finish(&attempt, spoofable, decided)
    }

    /// Pre-shared keys, for transports that ask for them.
    pub fn keys(&self) -> &PreSharedKeys {
        &self.keys
    }

    /// What happens to topics of whoever connects now.
    pub fn names(&self) -> Arc<Names> {
        self.entrance.load().settings.names.clone()
    }

    /// The answer to what [`Access::begin`] has begun, once there is one.
    pub fn take(
        &self,
        asking: &mut Asking,
        connect: &Connect,
        now: Instant,
        waker: &Waker,
    ) -> Option<Result<Admission, Refusal>> {
        let Asking { entrance, waits } = asking;
        let entering = Entering { access: self, entrance, connect, now, waker };
        let admit = match waits {
            Waits::Decision { attempt, spoofable, pending } => {
                let lost = Decision { by: None, outcome: Err(Refusal::Unavailable) };
                let decision = pending.take(waker)?.unwrap_or(lost);
                entering.finish(attempt, *spoofable, decision)
            }
            Waits::Will { guard, inquiring } => {
                if !guard.learn(inquiring, now, waker) {
                    return None;
                }
                let identity = guard.identity().clone();
                entering.admit_guarded(std::mem::replace(guard, Box::new(Guard::new(identity, None, None))))
            }
        };
        match admit {
            Admit::Done(admitted) => Some(admitted),
            Admit::Later(further) => {
                *asking = further;
                None
            }
        }
    }

    /// Asks authorities; the guard is to be told of their answers ([`Guard::learn`]). `None` when there are too many questions.
    pub fn inquire(
        &self,
        guard: &Guard,
        client_id: &str,
        questions: Vec<Question>,
        waker: &Waker,
    ) -> Option<Inquiring> {
        let runtime = self.runtime.as_ref()?;
        let settings = self.settings();
        let place = Place::take(&self.inquiries, settings.pending_max)?;
        let asker = Asker {
            policy: self.policy.load_full(),
            epoch: guard.epoch(),
            identity: guard.identity().clone(),
            client_id: client_id.into(),
            timeout: settings.timeout,
        };
        Some(asker.begin(questions, place, runtime, waker))
    }

    fn ban_for(&self, client_id: &str, time: Duration) {
        let now = unix_ms();
        let until_unix_secs = Some((now + time.as_millis() as u64).div_ceil(1000));
        let ban = Ban { kind: BanKind::ClientId, value: client_id.into(), reason: "flapping".into(), until_unix_secs };
        match self.bans.add(ban, now) {
            Ok(true) => tracing::warn!(client_id, "connected again and again: banned for {time:?}"),
            _ => tracing::warn!(client_id, "connected again and again, but there are too many bans for another"),
        }
    }

    /// Nothing is ever denied to whom nothing else was granted, but `$SYS`.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Somebody may have to be asked what a client may do.
    #[inline]
    pub fn asks(&self) -> bool {
        self.asks.load(Ordering::Relaxed)
    }

    /// Goes up when rules change.
    #[inline]
    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    fn with_policy<T>(&self, look: impl FnOnce(&Policy) -> T) -> T {
        look(&self.policy.load())
    }

    /// What becomes of who tries what is denied.
    pub fn deny_action(&self) -> DenyAction {
        self.policy.load().deny_action
    }

    /// Puts other rules in the place of the present ones. Connections ask them from now on. The store's rules stay what they are, whether they are among the
    /// sources before and after or not.
    pub fn set_policy(&self, policy: Policy) {
        let database = self.database.lock();
        self.swap_policy(policy.with_database(&database));
    }

    /// The rules of the store, where nobody asks them at the start.
    pub fn keep_rules(&self, rules: Arc<RuleDatabase>) {
        *self.database.lock() = rules;
    }

    fn swap_policy(&self, policy: Policy) {
        let open = policy.is_open();
        self.asks.store(policy.has_authorities(), Ordering::Release);
        self.policy.store(Arc::new(policy));
        self.epoch.fetch_add(1, Ordering::Release);
        self.open.store(open, Ordering::Release);
    }

    /// The rules of the store as they are now; `None` when they are not among the sources, and nobody asks them.
    pub fn stored_rules(&self) -> Option<Arc<RuleDatabase>> {
        let database = self.database.lock();
        self.policy.load().database().map(|_| database.clone())
    }

    /// Puts rules of the store in the place of those that these have; `None` takes them away. All of them count at once, and subscriptions that are there are
    /// looked at again before anything more is delivered by them. False when nobody asks the store's rules, which know of it when somebody does.
    pub fn set_stored_rules(&self, changes: impl IntoIterator<Item = (Holder, Option<Arc<HeldRules>>)>) -> bool {
        let mut database = self.database.lock();
        let mut changed = RuleDatabase::clone(&database);
        for (holder, rules) in changes {
            changed.set(&holder, rules);
        }
        let changed = Arc::new(changed);
        *database = changed.clone();
        let policy = self.policy.load_full();
        if policy.database().is_none() {
            return false;
        }
        self.swap_policy(Policy::clone(&policy).with_database(&changed));
        true
    }

    /// Whatever connections remember of what was decided is forgotten, and subscriptions are looked at again.
    pub fn forget_decisions(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Who is asked, what happens to topics, and the rest that counts for whoever connects now.
    pub fn settings(&self) -> Arc<Settings> {
        self.entrance.load().settings.clone()
    }

    /// Puts others in the place of the present settings, for whoever connects from now on. Who is being decided on is decided on by those that it began with,
    /// and who is connected stays. What is remembered of clients stays as well, but for what has other settings of its own: waits for those with wrong
    /// credentials, those who came again and again, rates of namespaces.
    ///
    /// To be called by one at a time.
    pub fn set_settings(&self, settings: Settings) {
        self.bans.set_max(settings.bans_max);
        let changed = self.entrance.load().changed(settings);
        self.entrance.store(Arc::new(changed));
    }

    /// What rules say now.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Keeps somebody out from now on. False when there are as many bans as there may be.
    ///
    /// # Errors
    /// When it is no ban.
    pub fn ban(&self, ban: Ban) -> Result<bool, BanError> {
        self.bans.add(ban, unix_ms())
    }

    /// Keeps somebody out no longer. False when there is no such ban.
    pub fn unban(&self, kind: BanKind, value: &str) -> bool {
        self.bans.remove(kind, value)
    }

    /// Ends the connections of those who are banned, and says how many they were. To be called when bans were added: who connects is looked at anyway.
    pub fn end_banned(&self, bus: &Bus) -> usize {
        let mut ended = 0;
        if self.bans.len() > 0 {
            let now = unix_ms();
            bus.for_each_session(|session| {
                let Some(info) = session.connection() else { return };
                let attempt = Attempt::of_connection(session.id(), &info);
                let banned = self.bans.find(&attempt, now).is_some();
                ended += usize::from(banned && session.signal(CloseReason::Administrative));
            });
        }
        ended
    }

    /// Ends connections whose credentials have expired.
    pub fn tick(&self) {
        let ended = self.expiries.end_due(unix_ms());
        if ended > 0 {
            tracing::info!(ended, "credentials expired: connections were ended");
        }
    }

    /// Decisions that are being made.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// All bans that are not over, in no order.
    pub fn bans(&self) -> Vec<Ban> {
        self.bans.list(unix_ms())
    }

    /// How the services are that are asked about clients.
    pub fn lines(&self) -> Vec<LineState> {
        self.settings().chain.lines().chain(self.policy.load().lines()).collect()
    }

    /// How many bans there are.
    pub fn bans_len(&self) -> usize {
        self.bans.len()
    }
}

/// The topic that rules are asked about: for a delayed publication the one that it will be on.
pub fn target(topic: &str) -> &str {
    split_delay(topic).1
}

/// It is one of the gateway's own topics.
#[inline]
pub fn is_system(topic: &str) -> bool {
    topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
