use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use thingway_contract::{ClientId, Connect, Peer, Refusal};

use super::{passwords::Secret, rules::RuleSet};
use crate::bus::ConnectionInfo;

/// Somebody wants to connect: all that is known of them.
#[derive(Debug, Default)]
pub struct Attempt {
    /// `None` when the gateway is to assign one.
    pub client_id: Option<ClientId>,
    /// The user name, which the certificate's identity is where the listener takes it for that.
    pub username: Option<Box<str>>,
    /// The password.
    pub password: Option<Secret>,
    /// The identity in a certificate that was verified.
    pub certificate: Option<Box<str>>,
    /// From where.
    pub remote: Option<SocketAddr>,
    /// By which listener.
    pub listener: Arc<str>,
    /// In which protocol.
    pub protocol: &'static str,
}

impl Attempt {
    /// What a connection shows.
    pub fn new(connect: &Connect, peer: &Peer, protocol: &'static str) -> Self {
        let credentials = &connect.credentials;
        Self {
            client_id: connect.client_id.clone(),
            username: peer.certificate_identity.clone().or_else(|| credentials.username.clone()),
            password: credentials.password.as_deref().map(Secret::copy_of),
            certificate: peer.certificate_identity.clone(),
            remote: peer.remote,
            listener: peer.listener.clone(),
            protocol,
        }
    }

    /// As somebody would who has this connection.
    pub(super) fn of_connection(client_id: &ClientId, info: &ConnectionInfo) -> Self {
        Self {
            client_id: Some(client_id.clone()),
            username: info.username.clone(),
            password: None,
            certificate: None,
            remote: info.remote,
            listener: info.origin.listener.clone(),
            protocol: info.origin.protocol,
        }
    }

    /// The peer's address, in the form in which all compare alike.
    pub fn address(&self) -> Option<IpAddr> {
        self.remote.map(|remote| remote.ip().to_canonical())
    }

    /// It shows nothing by which anybody could be known but its client id.
    pub fn is_anonymous(&self) -> bool {
        self.username.is_none() && self.password.is_none() && self.certificate.is_none()
    }
}

/// What an authenticator says.
#[derive(Clone, Debug)]
pub enum Said {
    /// The next one shall decide.
    Ignore,
    /// Let them in.
    Allow(Grant),
    /// Turn them away.
    Deny(Refusal),
}

/// With what somebody is let in.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// No rule counts for them.
    pub superuser: bool,
    /// Attributes for rules and placeholders, by name.
    pub attributes: Attributes,
    /// Rules that are asked before all others.
    pub rules: Option<Arc<RuleSet>>,
    /// When the connection ends, in milliseconds since 1970.
    pub expires_unix_ms: Option<u64>,
}

impl Grant {
    /// Nothing but the right to connect.
    pub fn is_plain(&self) -> bool {
        !self.superuser && self.attributes.is_empty() && self.rules.is_none() && self.expires_unix_ms.is_none()
    }
}

/// Names and values. There are few.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(Box<[(Box<str>, Box<str>)]>);

impl Attributes {
    /// The value of a name.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
