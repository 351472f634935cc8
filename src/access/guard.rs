use std::{net::IpAddr, sync::Arc};

use thingway_contract::Certificate;

use super::{
    Access,
    attempt::{Attempt, Grant},
    cache::Cache,
    expiry::Expiry,
    names::Mount,
    policy::{Policy, Reason},
    quota::{Held, Rates},
    rules::{Action, Permission, Who},
};
use crate::bus::{ConnectionInfo, Session};

/// Who was let in, as rules see them; the client id is the session's.
#[derive(Debug)]
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

    /// The user name.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// What rules say about what it wants to do, and why.
    pub fn explain<'a>(
        &'a self,
        policy: &'a Policy,
        client_id: &str,
        action: Action,
        topic: &str,
    ) -> (Permission, Reason<'a>) {
        policy.decide(&self.who(client_id), &self.grant, action, topic)
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
    epoch: u32,
    expiry: Option<Expiry>,
    mount: Option<Arc<Mount>>,
    held: Option<Box<Held>>,
}

impl Guard {
    pub(super) fn new(identity: Arc<Identity>, mount: Option<Arc<Mount>>, held: Option<Box<Held>>) -> Self {
        Self { identity, cache: Cache::new(), epoch: 0, expiry: None, mount, held }
    }

    /// For a connection that was let in when there was nothing to guard.
    pub fn of_connection(info: &ConnectionInfo) -> Self {
        Self::new(Arc::new(Identity::of_connection(info)), None, None)
    }

    /// For a connection that is gone while it still asks.
    pub fn of_nobody() -> Self {
        Self::new(Arc::new(Identity::of(None, None, None, "".into(), "", Grant::default())), None, None)
    }

    /// Who it is about.
    pub fn identity(&self) -> &Identity {
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
    pub fn may(&mut self, access: &Access, client_id: &str, action: Action, topic: &str) -> Permission {
        let epoch = access.epoch();
        if self.epoch != epoch {
            self.cache.clear();
            self.epoch = epoch;
        }
        if let Some(permission) = self.cache.find(action, topic) {
            return permission;
        }
        access.with_policy(|policy: &Policy| {
            let (permission, _) = policy.decide(&self.identity.who(client_id), &self.identity.grant, action, topic);
            self.cache.keep(action, topic, permission, policy.cache_max);
            permission
        })
    }
}
