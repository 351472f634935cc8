//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677): a client proves that it knows a password, without showing it, and is shown that the gateway knows
//! it, too.
//!
//! Somebody who is not known is challenged like somebody who is, always with the same salt, and fails at the end.

mod keys;
mod message;

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use ring::{hmac, rand::SecureRandom};
use thingway_contract::Refusal;

use self::{
    keys::SALT_BYTES,
    message::{ClientFinal, ClientFirst},
};
use super::{
    attempt::{Attempt, Grant, Said},
    chain::{Asked, Authenticator},
    users::UserDatabase,
};

pub use self::keys::{ITERATIONS_MAX, ITERATIONS_MIN, NoScramKeys, ScramHash, ScramKeys};

/// Bytes of randomness that the gateway adds to a nonce.
const NONCE_BYTES: usize = 18;

/// Users who prove their password.
pub struct Scram {
    database: Arc<UserDatabase>,
    /// What salts of users are made with who are not there. It must be the same after a restart: a salt that changes is nobody's.
    pepper: hmac::Key,
}

/// An exchange that goes on.
#[derive(Debug)]
pub struct ScramExchange {
    hash: ScramHash,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The client's first message is due.
    First,
    /// Its last one.
    Final(Box<Challenged>),
}

struct Challenged {
    username: Box<str>,
    keys: Arc<ScramKeys>,
    /// `None` for who is not known.
    grant: Option<Grant>,
    gs2_header: Box<str>,
    nonce: String,
    /// What both sides sign, as far as it was said.
    so_far: String,
}

impl ScramExchange {
    /// Who it is about, once that was said.
    pub fn username(&self) -> Option<&str> {
        match &self.stage {
            Stage::First => None,
            Stage::Final(challenged) => Some(&challenged.username),
        }
    }
}

/// What an exchange comes to.
#[derive(Debug)]
pub enum ScramStep {
    /// The client is told this, and answers.
    Challenge(Option<Bytes>, ScramExchange),
    /// It is who it says, is told this, and gets that.
    Proven(Box<str>, Bytes, Grant),
    /// It is not. The name that it gave.
    Refused(Option<Box<str>>, Refusal),
}

impl Scram {
    /// Users of this database. `secret` is the gateway's own.
    pub fn new(database: Arc<UserDatabase>, secret: &[u8]) -> Self {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"salts of users who are not there");
        Self { database, pepper: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()) }
    }

    /// Begins an exchange of this method; `None` when it is another's.
    pub fn begin(method: &str) -> Option<ScramExchange> {
        ScramHash::of_method(method).map(|hash| ScramExchange { hash, stage: Stage::First })
    }

    /// Takes the client's next message.
    pub fn step(&self, exchange: ScramExchange, data: Option<&[u8]>, attempt: &Attempt, now_unix_ms: u64) -> ScramStep {
        match (exchange.stage, data) {
            (Stage::Final(challenged), Some(data)) => challenged.finish(data, now_unix_ms),
            (Stage::Final(challenged), None) => ScramStep::Refused(Some(challenged.username), Refusal::BadCredentials),
            (Stage::First, Some(data)) => self.challenge(exchange.hash, data, attempt),
            // Its first message may come after an empty challenge (RFC 4422, section 5.1).
            (Stage::First, None) => {
                ScramStep::Challenge(None, ScramExchange { hash: exchange.hash, stage: Stage::First })
            }
        }
    }

    fn challenge(&self, hash: ScramHash, data: &[u8], attempt: &Attempt) -> ScramStep {
        let Some(first) = ClientFirst::read(data) else { return ScramStep::Refused(None, Refusal::BadCredentials) };
        let username: Box<str> = match stringprep::saslprep(&first.username) {
            Ok(prepared) => prepared.as_ref().into(),
            Err(_) => return ScramStep::Refused(None, Refusal::BadCredentials),
        };
        // Nobody acts for somebody else, or is called otherwise in CONNECT.
        let is_other = |name: &str| *name != *username && *name != *first.username;
        if first.authorize_as.as_deref().is_some_and(is_other) || attempt.username.as_deref().is_some_and(is_other) {
            return ScramStep::Refused(Some(username), Refusal::BadCredentials);
        }
        let Some(random) = random() else { return ScramStep::Refused(Some(username), Refusal::Unavailable) };
        self.answer(hash, &first, username, &random, attempt)
    }

    fn answer(
        &self,
        hash: ScramHash,
        first: &ClientFirst<'_>,
        username: Box<str>,
        random: &str,
        attempt: &Attempt,
    ) -> ScramStep {
        let found = self.database.scram(&username, attempt, hash);
        let (keys, grant) = match found {
            Some((keys, grant)) => (keys, Some(grant)),
            None => (Arc::new(self.decoy(hash, &username)), None),
        };
        let nonce = format!("{}{random}", first.nonce);
        let said = format!("r={nonce},s={},i={}", BASE64_STANDARD.encode(&keys.salt), keys.iterations);
        let so_far = format!("{},{said}", first.bare);
        let challenged = Challenged { username, keys, grant, gs2_header: first.gs2_header.into(), nonce, so_far };
        ScramStep::Challenge(Some(said.into()), ScramExchange { hash, stage: Stage::Final(Box::new(challenged)) })
    }

    /// Keys that no proof fits, but the salt of which looks like any other, and stays the same.
    fn decoy(&self, hash: ScramHash, username: &str) -> ScramKeys {
        let tag = hmac::sign(&self.pepper, format!("{} {username}", hash.method()).as_bytes());
        ScramKeys {
            hash,
            iterations: ITERATIONS_MIN,
            salt: tag.as_ref()[..SALT_BYTES].into(),
            stored_key: vec![0; hash.bytes()].into(),
            server_key: vec![0; hash.bytes()].into(),
        }
    }
}

impl Challenged {
    fn finish(self, data: &[u8], now_unix_ms: u64) -> ScramStep {
        let refused = |username, refusal| ScramStep::Refused(Some(username), refusal);
        let Some(last) = ClientFinal::read(data) else { return refused(self.username, Refusal::BadCredentials) };
        let auth_message = format!("{},{}", self.so_far, last.without_proof);
        let proves = self.keys.proves(&last.proof, auth_message.as_bytes());
        let is_same = last.nonce == self.nonce && last.channel_binding == self.gs2_header.as_bytes();
        let grant = match self.grant {
            Some(grant) if proves && is_same => grant,
            _ => return refused(self.username, Refusal::BadCredentials),
        };
        if grant.expires_unix_ms.is_some_and(|at| at <= now_unix_ms) {
            return refused(self.username, Refusal::NotAuthorized);
        }
        let signature = self.keys.hash.sign(&self.keys.server_key, auth_message.as_bytes());
        let said = format!("v={}", BASE64_STANDARD.encode(signature));
        ScramStep::Proven(self.username, said.into(), grant)
    }
}

/// Randomness as text.
fn random() -> Option<String> {
    let mut bytes = [0; NONCE_BYTES];
    ring::rand::SystemRandom::new().fill(&mut bytes).ok()?;
    Some(BASE64_STANDARD.encode(bytes))
}

/// Stands for it among authenticators: who shows a password is for others to judge.
#[derive(Clone, Copy, Debug)]
pub struct ScramPlace;

impl Authenticator for ScramPlace {
    fn name(&self) -> &str {
        "scram"
    }

    fn ask(&self, _: &Arc<Attempt>) -> Asked {
        Asked::Said(Said::Ignore)
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("database", &self.database).finish_non_exhaustive()
    }
}

impl fmt::Debug for Challenged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenged").field("username", &self.username).field("keys", &self.keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
