//! Tokens that somebody else has signed (RFC 7519). What a token says of its own algorithm is believed only as far as the configured key is for it.
//!
//! A token is good for whoever shows it until it expires: this cannot be told from a replay.

mod jwks;
mod keys;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use thingway_connectors::Template;
use thingway_contract::Refusal;

pub use self::{
    jwks::Jwks,
    keys::{HmacSecret, KeyError, PublicKey},
};
use self::{
    jwks::Verified,
    token::{BadToken, Token},
};
use super::granted::{Granted, unix_ms};
use crate::access::{
    attempt::{Attempt, Grant, Said},
    chain::{Asked, Authenticator},
};

/// Where a client shows its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// As its password.
    #[default]
    Password,
    /// As its user name.
    Username,
}

/// What tokens are verified with.
#[derive(Debug)]
pub enum Keys {
    /// A secret: HS256, HS384 and HS512.
    Secret(HmacSecret),
    /// A public key: what is for its kind.
    Public(PublicKey),
    /// Public keys of somebody else.
    Published(Arc<Jwks>),
}

/// How tokens are judged.
pub struct JwtSettings {
    /// The authenticator's name in the configuration, as `jwt.main`.
    pub name: Box<str>,
    /// Where a client shows its token.
    pub source: Source,
    /// What they are verified with.
    pub keys: Keys,
    /// Claims that must be there, with these texts.
    pub claims: Vec<(Box<str>, Template)>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// The claim with rules; none when empty.
    pub acl_claim: Box<str>,
    /// The claim that makes a superuser; none when empty.
    pub superuser_claim: Box<str>,
    /// The connection ends when the token does.
    pub disconnect_after_expire: bool,
}

/// Lets in who shows a token.
pub struct JwtAuthenticator {
    judge: Arc<Judge>,
}

struct Judge {
    settings: JwtSettings,
    /// Rules that come with tokens are named by it.
    source: Arc<str>,
    clock: fn() -> u64,
}

/// Why a token does not let anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Token(BadToken),
    /// It was not signed by whom it should have been.
    Signature,
    /// There are no keys to verify it with.
    NoKeys,
    /// It has ended.
    Expired,
    /// It is not yet good.
    Early,
    /// A claim is missing, or another than it must be.
    Claim,
    /// What it grants cannot be granted.
    Grant,
}

impl JwtAuthenticator {
    /// One that judges so.
    pub fn new(settings: JwtSettings) -> Self {
        let source = (&*settings.name).into();
        Self { judge: Arc::new(Judge { settings, source, clock: crate::access::unix_ms }) }
    }
}

impl Authenticator for JwtAuthenticator {
    fn name(&self) -> &str {
        &self.judge.settings.name
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        // What is no token may be a password that others know.
        match self.judge.shown(attempt).map(Token::parse) {
            None | Some(Err(BadToken::NoToken)) => return Asked::Said(Said::Ignore),
            Some(_) => {}
        }
        let (judge, attempt) = (self.judge.clone(), attempt.clone());
        Asked::Later(Box::pin(async move { judge.judge(&attempt).await }))
    }
}

impl Judge {
    fn shown<'a>(&self, attempt: &'a Attempt) -> Option<&'a [u8]> {
        match self.settings.source {
            Source::Password => attempt.password.as_deref(),
            Source::Username => attempt.username.as_deref().map(str::as_bytes),
        }
    }

    async fn judge(&self, attempt: &Attempt) -> Said {
        let fault = match self.decide(attempt).await {
            Ok(grant) => return Said::Allow(grant),
            Err(fault) => fault,
        };
        tracing::debug!(authenticator = &*self.settings.name, "a token is refused: {fault:?}");
        Said::Deny(match fault {
            Fault::NoKeys => Refusal::Unavailable,
            // It was good once, or is for somebody else: nobody guesses such a thing.
            Fault::Expired | Fault::Early | Fault::Grant => Refusal::NotAuthorized,
            Fault::Token(_) | Fault::Signature | Fault::Claim => Refusal::BadCredentials,
        })
    }

    async fn decide(&self, attempt: &Attempt) -> Result<Grant, Fault> {
        let shown = self.shown(attempt).ok_or(Fault::Token(BadToken::NoToken))?;
        let (token, algorithm) = Token::parse(shown).map_err(Fault::Token)?;
        let (signed, signature) = (token.signed, &token.signature);
        let verified = match &self.settings.keys {
            Keys::Secret(secret) => secret.verifies(algorithm, signed, signature),
            Keys::Public(key) => key.verifies(algorithm, signed, signature),
            Keys::Published(keys) => {
                match keys.verify(token.header.kid.as_deref(), algorithm, signed, signature).await {
                    Verified::Yes => true,
                    Verified::No | Verified::UnknownKey => false,
                    Verified::NoKeys => return Err(Fault::NoKeys),
                }
            }
        };
        if !verified {
            return Err(Fault::Signature);
        }
        let claims = token.claims().map_err(Fault::Token)?;
        let expires = self.times(&claims)?;
        self.texts(&claims, attempt)?;
        let claim = |name: &str| claims.get(name).filter(|_| !name.is_empty());
        let granted = Granted {
            superuser: claim(&self.settings.superuser_claim),
            attributes: claim("client_attrs"),
            rules: claim(&self.settings.acl_claim),
            expires_unix_ms: expires.filter(|_| self.settings.disconnect_after_expire),
        };
        granted.read(&self.source).map_err(|error| {
            tracing::warn!(authenticator = &*self.settings.name, "a token is refused: {error}");
            Fault::Grant
        })
    }

    /// Looks at when it is good, and gives back when it ends.
    fn times(&self, claims: &Map<String, Value>) -> Result<Option<u64>, Fault> {
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => unix_ms(value).map(Some).ok_or(Fault::Claim),
        };
        let (now, leeway) = ((self.clock)(), self.settings.leeway.as_millis() as u64);
        let expires = time("exp")?.map(|at| at.saturating_add(leeway));
        if expires.is_some_and(|at| at <= now) {
            return Err(Fault::Expired);
        }
        let early = |at: Option<u64>| at.is_some_and(|at| at > now.saturating_add(leeway));
        if early(time("nbf")?) || early(time("iat")?) {
            return Err(Fault::Early);
        }
        Ok(expires)
    }

    fn texts(&self, claims: &Map<String, Value>, attempt: &Attempt) -> Result<(), Fault> {
        for (name, wanted) in &self.settings.claims {
            let wanted = wanted.fill(attempt, |value, out| out.push_str(value)).ok_or(Fault::Claim)?;
            let is_it = |value: &Value| match value {
                Value::String(text) => *text == *wanted,
                Value::Number(number) => number.to_string() == *wanted,
                Value::Bool(truth) => truth.to_string() == *wanted,
                _ => false,
            };
            // RFC 7519, section 4.1.3: an audience may be several.
            let found = match claims.get(&**name) {
                Some(Value::Array(several)) if **name == *"aud" => several.iter().any(is_it),
                value => value.is_some_and(is_it),
            };
            if !found {
                return Err(Fault::Claim);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for JwtAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.judge.settings;
        f.debug_struct("JwtAuthenticator")
            .field("name", &settings.name)
            .field("keys", &settings.keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
