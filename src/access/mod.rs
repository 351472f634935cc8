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
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thingway_connectors::Values as _;
use thingway_contract::{CloseReason, Connect, Instant, Peer, Refusal, Transport};
use tokio::runtime::Handle;

use self::{
    backoff::Backoff,
    bans::Bans,
    expiry::Expiries,
    flapping::Flapping,
    inquiry::Asker,
    names::{MOUNT_ATTRIBUTE, Mount, Names, split_delay},
    pending::{Pending, Place},
    psk::PreSharedKeys,
    quota::{QuotaSettings, Quotas},
    recent::Recent,
    rules::{Action, HeldRules, Holder, Permission, RuleDatabase, Who},
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

/// Who may come in.
#[derive(Debug)]
pub struct Settings {
    /// Who is asked.
    pub chain: Chain,
    /// Users who prove their password by an exchange of messages; `None` for no such exchange.
    pub scram: Option<Arc<scram::Scram>>,
    /// Listeners whose clients nobody is asked about.
    pub trusting_listeners: HashSet<Box<str>>,
    /// Who shows no name and no password is let in without anybody being asked.
    pub allow_anonymous: bool,
    /// With nobody to ask nobody is let in.
    pub refuse_without_chain: bool,
    /// Decisions that are being made at a time.
    pub pending_max: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// Those with wrong credentials have to wait; `None` for never.
    pub backoff: Option<BackoffSettings>,
    /// Those who come again and again are kept out; `None` for never.
    pub flapping: Option<FlappingSettings>,
    /// Most bans.
    pub bans_max: usize,
    /// Attributes of clients, which are made in this order of what a client shows.
    pub attributes: Vec<(Box<str>, Expression)>,
    /// What happens to topics.
    pub names: Names,
    /// What many clients may have together.
    pub quotas: QuotaSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chain: Chain::default(),
            scram: None,
            trusting_listeners: HashSet::new(),
            allow_anonymous: false,
            refuse_without_chain: false,
            pending_max: 10_000,
            timeout: Duration::from_secs(10),
            backoff: None,
            flapping: None,
            bans_max: 100_000,
            attributes: Vec::new(),
            names: Names::default(),
            quotas: QuotaSettings::default(),
        }
    }
}

/// The access rules of a gateway.
#[derive(Debug)]
pub struct Access {
    settings: Settings,
    /// Where decisions are made that take their time. Without it there are none.
    runtime: Option<Handle>,
    pending: Arc<AtomicUsize>,
    inquiries: Arc<AtomicUsize>,
    keys: PreSharedKeys,
    quotas: Quotas,
    policy: ArcSwap<Policy>,
    /// The database among the policy's sources, if it is there. One change at a time.
    database: Mutex<Option<Arc<RuleDatabase>>>,
    open: AtomicBool,
    /// Somebody may have to be asked what a client may do.
    asks: AtomicBool,
    /// Goes up when the policy changes.
    epoch: AtomicU32,
    bans: Bans,
    backoff: Option<Backoff>,
    flapping: Option<Flapping>,
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
pub struct Asking(Waits);

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
            backoff: settings.backoff.map(Backoff::new),
            flapping: settings.flapping.map(Flapping::new),
            quotas: Quotas::new(settings.quotas.clone()),
            settings,
            keys: PreSharedKeys::default(),
            runtime,
            pending: Arc::default(),
            inquiries: Arc::default(),
            open: AtomicBool::new(policy.is_open()),
            asks: AtomicBool::new(policy.has_authorities()),
            database: Mutex::new(policy.database().cloned()),
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
        let mut attempt = Attempt::new(connect, peer, protocol);
        find_attributes(&self.settings.attributes, &mut attempt);
        if self.bans.find(&attempt, unix_ms()).is_some() {
            return Admit::Done(Err(Refusal::Banned));
        }
        // Anybody can put any address on a datagram.
        let spoofable = peer.transport == Transport::Udp;
        let is_asked_about = self.asks_about(&peer.listener);
        if connect.must_exist
            && let Some(admit) = self.resume(connect, &mut attempt, is_asked_about, now, waker)
        {
            return admit;
        }
        let decided = if !is_asked_about || attempt.is_anonymous() && self.settings.allow_anonymous {
            Decision { by: None, outcome: Ok(Grant::default()) }
        } else if self.settings.chain.is_empty() {
            Decision { by: None, outcome: Err(Refusal::NotAuthorized) }
        } else {
            if self.backoff.as_ref().is_some_and(|backoff| backoff.holds(&attempt, spoofable, now.as_millis())) {
                return Admit::Done(Err(Refusal::ConnectionRateExceeded));
            }
            let attempt = Arc::new(attempt);
            let decision = match self.settings.chain.begin(&attempt) {
                Begun::Made(decision) => decision,
                Begun::Later(future) => return self.ask(attempt, spoofable, future, waker),
            };
            return self.finish(&attempt, spoofable, decision, connect, now, waker);
        };
        self.finish(&attempt, spoofable, decided, connect, now, waker)
    }

    /// Pre-shared keys, for transports that ask for them.
    pub fn keys(&self) -> &PreSharedKeys {
        &self.keys
    }

    /// What happens to topics.
    pub fn names(&self) -> &Names {
        &self.settings.names
    }

    /// Authenticators have to be asked about those who come by this listener.
    fn asks_about(&self, listener: &str) -> bool {
        let nobody_to_ask = self.settings.chain.is_empty() && !self.settings.refuse_without_chain;
        !nobody_to_ask && !self.settings.trusting_listeners.contains(listener)
    }

    fn ask(
        &self,
        attempt: Arc<Attempt>,
        spoofable: bool,
        future: impl Future<Output = Decision> + Send + 'static,
        waker: &Waker,
    ) -> Admit {
        let Some(runtime) = &self.runtime else { return Admit::Done(Err(Refusal::Unavailable)) };
        let Some(place) = Place::take(&self.pending, self.settings.pending_max) else {
            return Admit::Done(Err(Refusal::Busy));
        };
        let (pending, courier) = Pending::new(waker, place);
        let limit = self.settings.timeout;
        let task = runtime.spawn(async move {
            let decision = tokio::time::timeout(limit, future).await;
            courier.tell(decision.unwrap_or(Decision { by: None, outcome: Err(Refusal::Unavailable) }));
        });
        Admit::Later(Asking(Waits::Decision { attempt, spoofable, pending: pending.made_by(task.abort_handle()) }))
    }

    /// The answer to what [`Access::begin`] has begun, once there is one.
    pub fn take(
        &self,
        asking: &mut Asking,
        connect: &Connect,
        now: Instant,
        waker: &Waker,
    ) -> Option<Result<Admission, Refusal>> {
        let admit = match &mut asking.0 {
            Waits::Decision { attempt, spoofable, pending } => {
                let lost = Decision { by: None, outcome: Err(Refusal::Unavailable) };
                let decision = pending.take(waker)?.unwrap_or(lost);
                self.finish(attempt, *spoofable, decision, connect, now, waker)
            }
            Waits::Will { guard, inquiring } => {
                if !guard.learn(inquiring, now, waker) {
                    return None;
                }
                let identity = guard.identity().clone();
                self.admit_guarded(
                    connect,
                    std::mem::replace(guard, Box::new(Guard::new(identity, None, None))),
                    now,
                    waker,
                )
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

    fn finish(
        &self,
        attempt: &Attempt,
        spoofable: bool,
        decision: Decision,
        connect: &Connect,
        now: Instant,
        waker: &Waker,
    ) -> Admit {
        let grant = match decision.outcome {
            Ok(grant) => grant,
            Err(refusal) => {
                if let (Some(backoff), Refusal::BadCredentials) = (&self.backoff, &refusal) {
                    backoff.failed(attempt, spoofable, now.as_millis());
                }
                return Admit::Done(Err(refusal));
            }
        };
        if let (Some(backoff), Some(_)) = (&self.backoff, decision.by) {
            backoff.succeeded(attempt, spoofable);
        }
        let client_id = attempt.client_id.as_ref().map_or("", |id| id.as_str());
        if let Some(flapping) = self.flapping.as_ref().filter(|_| !client_id.is_empty())
            && let Some(ban) = flapping.note(client_id, now.as_millis())
        {
            self.ban_for(client_id, ban);
            return Admit::Done(Err(Refusal::Banned));
        }
        let grant = Grant { attributes: grant.attributes.over(&attempt.attributes), ..grant };
        let identity = Arc::new(Identity::new(attempt, grant));
        // Guests of datagrams come back with nothing but what they know of their session.
        if spoofable && !connect.must_exist && !client_id.is_empty() {
            let is_told_apart = attempt.username.is_some() || self.asks_about(&attempt.listener);
            let mut resumable = self.resumable.lock();
            // Of whoever had this client id before nothing is remembered.
            resumable.remove(client_id);
            if is_told_apart {
                resumable.entry(client_id.into(), || identity.clone());
            }
        }
        self.admit(connect, identity, now, waker)
    }

    /// Goes on with a session of which the peer knows something that only who was let in before was told: as who that was. `None` for one of whom nothing is
    /// remembered, where nobody has to be asked.
    fn resume(
        &self,
        connect: &Connect,
        attempt: &mut Attempt,
        is_asked_about: bool,
        now: Instant,
        waker: &Waker,
    ) -> Option<Admit> {
        let known = attempt.client_id.as_ref().filter(|_| connect.resume_key.is_some());
        let known = known.and_then(|id| self.resumable.lock().get(id.as_str()).cloned());
        let known = known.filter(|known| known.grant.expires_unix_ms.is_none_or(|at| at > unix_ms()));
        let Some(known) = known else {
            // It is told to connect anew.
            return is_asked_about.then_some(Admit::Done(Err(Refusal::NoSession)));
        };
        // It does not say its name again, which may have been banned since.
        attempt.username = known.username().map(Into::into);
        if self.bans.find(attempt, unix_ms()).is_some() {
            return Some(Admit::Done(Err(Refusal::Banned)));
        }
        Some(self.admit(connect, known, now, waker))
    }

    fn admit(&self, connect: &Connect, identity: Arc<Identity>, now: Instant, waker: &Waker) -> Admit {
        let client_id = connect.client_id.as_ref().map_or("", |id| id.as_str());
        match self.mount(&identity.who(client_id)) {
            Ok(mount) => self.admit_guarded(connect, Box::new(Guard::new(identity, mount, None)), now, waker),
            Err(refusal) => Admit::Done(Err(refusal)),
        }
    }

    /// Whoever this guard is for may come in, unless there is a will that may not be published, or there are too many already.
    fn admit_guarded(&self, connect: &Connect, mut guard: Box<Guard>, now: Instant, waker: &Waker) -> Admit {
        let client_id = connect.client_id.as_ref().map_or("", |id| id.as_str());
        if let Some(will) = &connect.will {
            let names = &self.settings.names;
            let head = will.message.head();
            let action = Action::Publish { qos: head.qos, retain: head.retain };
            let topic = will.message.topic();
            let username = || guard.identity().username().map(Into::into);
            let rewritten = names.rewrites.as_ref().and_then(|all| all.publication(topic, client_id, &username));
            let topic = rewritten.as_deref().unwrap_or(topic);
            let mounted = guard.mount().filter(|_| names.rules_see_mounts).map(|mount| mount.topic(topic));
            let asked = mounted.as_deref().unwrap_or(topic);
            if is_system(topic) {
                return Admit::Done(Err(Refusal::NotAuthorized));
            }
            match guard.may(self, client_id, action, target(asked), now) {
                May::Decided(Permission::Allow) => {}
                May::Decided(Permission::Deny) => return Admit::Done(Err(Refusal::NotAuthorized)),
                May::Ask(question) => {
                    return match self.inquire(&guard, client_id, vec![question], waker) {
                        Some(inquiring) => Admit::Later(Asking(Waits::Will { guard, inquiring })),
                        None => Admit::Done(Err(Refusal::Busy)),
                    };
                }
            }
        }
        guard.has_decided();
        match self.quotas.take(guard.identity(), client_id, now) {
            Ok(held) => guard.hold(held),
            Err(refusal) => return Admit::Done(Err(refusal)),
        }
        let username = guard.identity().username().map(Into::into);
        let needed = !self.is_open() || !guard.is_plain();
        Admit::Done(Ok(Admission { username, guard: Some(guard).filter(|_| needed) }))
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
        let place = Place::take(&self.inquiries, self.settings.pending_max)?;
        let asker = Asker {
            policy: self.policy.load_full(),
            epoch: guard.epoch(),
            identity: guard.identity().clone(),
            client_id: client_id.into(),
            timeout: self.settings.timeout,
        };
        Some(asker.begin(questions, place, runtime, waker))
    }

    /// Where a client is mounted.
    fn mount(&self, who: &Who<'_>) -> Result<Option<Arc<Mount>>, Refusal> {
        let own = who.attributes.and_then(|attributes| attributes.find(MOUNT_ATTRIBUTE));
        let prefix = match (own, self.settings.names.mounts.get(who.listener)) {
            (Some(own), _) => own.to_owned(),
            (None, None) => return Ok(None),
            (None, Some(template)) => template.fill(who).ok_or_else(|| {
                tracing::debug!(client_id = who.client_id, listener = who.listener, "nothing to mount it by");
                Refusal::NotAuthorized
            })?,
        };
        if prefix.is_empty() {
            return Ok(None);
        }
        Mount::new(&prefix).map(|mount| Some(Arc::new(mount))).ok_or(Refusal::NotAuthorized)
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

    /// Puts other rules in the place of the present ones. Connections ask them from now on. What the database has stays, if it is among the sources before and
    /// after.
    pub fn set_policy(&self, policy: Policy) {
        let mut database = self.database.lock();
        let policy = match (&*database, policy.database()) {
            (Some(present), Some(_)) => policy.with_database(present),
            _ => policy,
        };
        *database = policy.database().cloned();
        self.swap_policy(policy);
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
        self.database.lock().clone()
    }

    /// Puts rules of the store in the place of those that these have; `None` takes them away. All of them count at once, and subscriptions that are there are
    /// looked at again before anything more is delivered by them. False when nobody asks the store's rules.
    pub fn set_stored_rules(&self, changes: impl IntoIterator<Item = (Holder, Option<Arc<HeldRules>>)>) -> bool {
        let mut database = self.database.lock();
        let Some(present) = &*database else { return false };
        let mut changed = RuleDatabase::clone(present);
        for (holder, rules) in changes {
            changed.set(&holder, rules);
        }
        let changed = Arc::new(changed);
        let policy = Policy::clone(&self.policy.load()).with_database(&changed);
        *database = Some(changed);
        self.swap_policy(policy);
        true
    }

    /// Whatever connections remember of what was decided is forgotten, and subscriptions are looked at again.
    pub fn forget_decisions(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Who is asked, what happens to topics, and the rest that does not change.
    pub fn settings(&self) -> &Settings {
        &self.settings
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
        self.settings.chain.lines().chain(self.policy.load().lines()).collect()
    }

    /// How many bans there are.
    pub fn bans_len(&self) -> usize {
        self.bans.len()
    }
}

/// Makes attributes of what a client shows. What comes later may use what came before.
fn find_attributes(made: &[(Box<str>, Expression)], attempt: &mut Attempt) {
    for (name, expression) in made {
        let value = {
            let known = |name: &str| attempt.value(name);
            expression.value(&known).map(|value| Box::<str>::from(&*value))
        };
        if let Some(value) = value {
            let one: Attributes = [(name.clone(), value)].into_iter().collect();
            attempt.attributes = one.over(&attempt.attributes);
        }
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
