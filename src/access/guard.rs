use std::{net::IpAddr, sync::Arc, task::Waker};

use thingway_contract::Instant;

use thingway_contract::Certificate;

use super::{
    Access,
    attempt::{Attempt, Grant},
    cache::Cache,
    expiry::Expiry,
    inquiry::{Answered, Inquiring, Question},
    known::Known,
    names::Mount,
    policy::{Look, Policy},
    quota::{Held, Rates},
    rules::{Action, Permission, Who},
};
use crate::bus::{ConnectionInfo, Session};

/// Who was let in, as rules see them; the client id is the session's.
#[derive(Clone, Debug)]
pub struct Identity {
    username: Option<Box<str>>,
    certificate: Option<Arc<Certificate>>,
    address: Option<IpAddr>,
    address_text: Box<str>,
    listener: Arc<str>,
    protocol: &'static str,
    pub(super) grant: Grant,
}

impl Identity {
    /// Somebody who was let in with this.
    pub fn new(attempt: &Attempt, grant: Grant) -> Self {
        Self::of(
            attempt.username.clone(),
            attempt.certificate.clone(),
            attempt.address(),
            attempt.listener.clone(),
            attempt.protocol,
            grant,
        )
    }

    /// Of a connection that was let in when there were no rules, and nothing more than that was granted.
    fn of_connection(info: &ConnectionInfo) -> Self {
        let address = info.remote.map(|remote| remote.ip().to_canonical());
        let origin = &info.origin;
        Self::of(info.username.clone(), None, address, origin.listener.clone(), origin.protocol, Grant::default())
    }

    fn of(
        username: Option<Box<str>>,
        certificate: Option<Arc<Certificate>>,
        address: Option<IpAddr>,
        listener: Arc<str>,
        protocol: &'static str,
        grant: Grant,
    ) -> Self {
        let address_text = address.map_or_else(String::new, |address| address.to_string()).into();
        Self { username, certificate, address, address_text, listener, protocol, grant }
    }

    /// The same, with another grant.
    pub(super) fn with_grant(&self, grant: Grant) -> Self {
        Self { grant, ..self.clone() }
    }

    /// The user name.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Nothing is known of it that would be forgotten without a guard.
    pub(super) fn is_plain(&self) -> bool {
        self.grant.is_plain() && self.certificate.is_none()
    }

    /// The client, as rules see it.
    pub fn who<'a>(&'a self, client_id: &'a str) -> Who<'a> {
        Who {
            client_id,
            username: self.username.as_deref(),
            certificate: self.certificate.as_deref(),
            address: self.address,
            address_text: Some(&*self.address_text).filter(|text| !text.is_empty()),
            listener: &self.listener,
            protocol: self.protocol,
            attributes: Some(&self.grant.attributes),
        }
    }
}

/// Says what one connection may do, and remembers what it has said. It belongs to the connection: there is nothing to lock.
#[derive(Debug)]
pub struct Guard {
    identity: Arc<Identity>,
    cache: Cache,
    /// What authorities have said; `None` when they have said nothing.
    known: Option<Box<Known>>,
    /// Until when what is remembered holds.
    holds_until: Instant,
    /// The rules that what is remembered was made by.
    epoch: u32,
    /// The rules by which subscriptions were looked at last.
    examined: u32,
    /// What was asked about is being done: what was answered holds as long as that takes.
    is_deciding: bool,
    revoked: bool,
    /// When the session was gone on with: what had come by then may have come by subscriptions that are none any more.
    resumed_at: Option<Instant>,
    expiry: Option<Expiry>,
    mount: Option<Arc<Mount>>,
    held: Option<Box<Held>>,
}

/// What a guard says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum May {
    /// It is decided.
    Decided(Permission),
    /// Somebody has to be asked first: see [`Access::inquire`].
    Ask(Question),
}

impl Guard {
    pub(super) fn new(identity: Arc<Identity>, mount: Option<Arc<Mount>>, held: Option<Box<Held>>) -> Self {
        Self {
            identity,
            cache: Cache::new(),
            known: None,
            holds_until: Instant::NEVER,
            epoch: 0,
            examined: 0,
            is_deciding: false,
            revoked: false,
            resumed_at: None,
            expiry: None,
            mount,
            held,
        }
    }

    /// For a connection that was let in when there was nothing to guard.
    pub fn of_connection(info: &ConnectionInfo) -> Self {
        Self::new(Arc::new(Identity::of_connection(info)), None, None)
    }

    /// For a connection that is gone while it still asks.
    pub fn of_nobody() -> Self {
        Self::new(Arc::new(Identity::of(None, None, None, "".into(), "", Grant::default())), None, None)
    }

    /// Nothing would be forgotten without it.
    pub(super) fn is_plain(&self) -> bool {
        self.identity.is_plain() && self.mount.is_none() && self.held.is_none()
    }

    /// Takes what its client has of a quota.
    pub(super) fn hold(&mut self, held: Option<Box<Held>>) {
        self.held = held;
    }

    /// Its client has proven again that it is who it was: where it is mounted and what it holds stays.
    pub fn goes_on_for(&mut self, before: Self) {
        self.mount = before.mount;
        self.held = before.held;
        self.revoked = before.revoked;
        self.resumed_at = before.resumed_at;
    }

    /// Who it is about.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Where its client is mounted.
    pub fn mount(&self) -> Option<&Arc<Mount>> {
        self.mount.as_ref()
    }

    /// What its client and others may send together.
    pub fn rates(&self) -> Option<&Arc<Rates>> {
        self.held.as_ref()?.rates()
    }

    /// The connection has its session: it ends when what it was let in with does.
    pub fn watch(&mut self, access: &Access, session: &Arc<Session>, epoch: u32) {
        let at = self.identity.grant.expires_unix_ms;
        self.expiry = at.map(|at| access.expiries.watch(session, epoch, at));
    }

    /// Whether the client may do this.
    pub fn may(&mut self, access: &Access, client_id: &str, action: Action, topic: &str, now: Instant) -> May {
        let epoch = access.epoch();
        if self.epoch != epoch || self.holds_until <= now && !self.is_deciding {
            self.forget();
            self.epoch = epoch;
        }
        if let Some(permission) = self.cache.find(action, topic) {
            return May::Decided(permission);
        }
        access.with_policy(|policy: &Policy| {
            let nothing = const { &Known::new() };
            let known = self.known.as_deref().unwrap_or(nothing);
            match policy.look(&self.identity.who(client_id), &self.identity.grant, action, topic, known) {
                Look::Decided(permission, _) => {
                    self.cache.keep(action, topic, permission, policy.cache_max);
                    May::Decided(permission)
                }
                Look::Ask(place) => May::Ask(Question { place, action, topic: topic.into() }),
            }
        })
    }

    /// What was asked for may be known now. True when there was an answer, and the guard may be asked again; what was answered holds until
    /// [`Guard::has_decided`].
    pub fn learn(&mut self, inquiring: &mut Inquiring, now: Instant, waker: &Waker) -> bool {
        let Some((answers, epoch)) = inquiring.take(waker) else { return false };
        // Answers to what other rules wanted to know are of no use.
        if epoch == self.epoch {
            self.is_deciding = true;
            answers.into_iter().for_each(|answer| self.keep(answer, now));
        }
        true
    }

    fn keep(&mut self, answer: Answered, now: Instant) {
        let time = self.known.get_or_insert_default().learn(answer);
        self.holds_until = self.holds_until.min(now + time);
    }

    /// What was asked about is done.
    pub fn has_decided(&mut self) {
        self.is_deciding = false;
        if let Some(known) = &mut self.known {
            known.forget_answers();
            if known.is_empty() {
                self.known = None;
            }
        }
    }

    /// The rules that what is remembered was made by.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Nothing that was decided is remembered any more, and subscriptions have to be looked at again.
    pub fn doubt(&mut self) {
        self.forget();
        self.examined = 0;
    }

    fn forget(&mut self) {
        self.cache.clear();
        self.known = None;
        self.holds_until = Instant::NEVER;
    }

    /// The rules have changed since the client's subscriptions were looked at.
    pub fn must_examine(&self, access: &Access) -> bool {
        self.examined != access.epoch()
    }

    /// The client's subscriptions were looked at.
    ///
    /// With `revokes` some were ended.
    pub fn has_examined(&mut self, access: &Access, revokes: bool) {
        self.examined = access.epoch();
        self.revoked |= revokes;
    }

    /// The connection goes on with a session that others have left. A subscription may have been taken away from one of these while what had come by it was in
    /// the store, or lies there still.
    pub fn resumes(&mut self, now: Instant) {
        self.resumed_at = Some(now);
    }

    /// What was received by then is only for the client if it is still subscribed to it.
    pub fn sifts_until(&self) -> Option<Instant> {
        if self.revoked { Some(Instant::NEVER) } else { self.resumed_at }
    }
}
