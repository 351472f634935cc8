//! Keys that somebody else publishes (RFC 7517), fetched and fetched again.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use serde_json::{Map, Value};
use thingway_connectors::{Failure, HttpService, Question, Values};
use tokio::{sync::Mutex, task::AbortHandle};

use super::keys::{Algorithm, PublicKey};

/// Most keys that are taken; those beyond are left out, which is logged.
const KEYS_MAX: usize = 100;
/// Keys that a token is tried with that does not name one.
const TRIED_MAX: usize = 8;
/// No token can have keys fetched more often.
const PAUSE: Duration = Duration::from_secs(10);
/// Nor are they fetched more often than this, whatever was configured.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// Keys from a web server.
pub struct Jwks {
    name: Box<str>,
    service: HttpService,
    question: Question,
    keys: ArcSwapOption<KeySet>,
    /// When they were asked for last. Whoever holds it is asking.
    asked: Mutex<Option<Instant>>,
    /// What keeps them fresh.
    task: OnceLock<AbortHandle>,
}

impl Drop for Jwks {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

#[derive(Debug, Default)]
struct KeySet(Vec<Named>);

#[derive(Debug)]
struct Named {
    kid: Option<Box<str>>,
    algorithm: Option<Algorithm>,
    key: PublicKey,
}

/// Whether keys verify a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    Yes,
    No,
    /// No key has the name that the token gives.
    UnknownKey,
    /// There are no keys: they were never fetched.
    NoKeys,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
}

/// There is nothing to fill in.
struct Nothing;

impl Values for Nothing {
    fn value(&self, _: &str) -> Option<std::borrow::Cow<'_, str>> {
        None
    }
}

impl Jwks {
    /// Keys that this question is answered with.
    pub fn new(name: &str, service: HttpService, question: Question) -> Arc<Self> {
        let (keys, asked, task) = (ArcSwapOption::empty(), Mutex::new(None), OnceLock::new());
        Arc::new(Self { name: name.into(), service, question, keys, asked, task })
    }

    /// Fetches keys now and after each `refresh`, as long as anybody has use for them. Does nothing outside of tokio's runtime.
    pub fn keep_fresh(self: &Arc<Self>, refresh: Duration) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let weak = Arc::downgrade(self);
        let task = runtime.spawn(async move {
            while let Some(jwks) = weak.upgrade() {
                let mut asked = jwks.asked.lock().await;
                *asked = Some(Instant::now());
                jwks.fetch().await;
                drop(asked);
                drop(jwks);
                tokio::time::sleep(refresh.max(REFRESH_MIN)).await;
            }
        });
        // It is asked for once.
        let _ = self.task.set(task.abort_handle());
    }

    /// What keeps them fresh.
    #[cfg(test)]
    pub(super) fn task(&self) -> Option<AbortHandle> {
        self.task.get().cloned()
    }

    /// Whether a token is signed with one of the keys. When it names one that is not there they are fetched again, unless that was just done.
    pub(super) async fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Verified {
        let with_present = || match &*self.keys.load() {
            Some(keys) => keys.verify(kid, algorithm, signed, signature),
            None => Verified::NoKeys,
        };
        let before = Instant::now();
        let verified = with_present();
        if matches!(verified, Verified::Yes | Verified::No) {
            return verified;
        }
        let mut asked = self.asked.lock().await;
        // Somebody else has asked meanwhile, or a short time ago.
        if asked.is_some_and(|at| at >= before || before.duration_since(at) < PAUSE) {
            return with_present();
        }
        *asked = Some(Instant::now());
        self.fetch().await;
        drop(asked);
        with_present()
    }

    /// Fetches keys. The present ones stay when that fails.
    async fn fetch(&self) {
        let name = &*self.name;
        match self.fetched().await {
            Ok((keys, left_out)) => {
                if left_out > 0 {
                    tracing::warn!(authenticator = name, "{left_out} keys cannot be used, or are more than {KEYS_MAX}");
                }
                tracing::debug!(authenticator = name, "{} keys were fetched", keys.0.len());
                self.keys.store(Some(Arc::new(keys)));
            }
            Err(failure) => {
                let present = self.keys.load().as_ref().map_or(0, |keys| keys.0.len());
                tracing::warn!(authenticator = name, "keys could not be fetched, {present} stay: {failure}");
            }
        }
    }

    async fn fetched(&self) -> Result<(KeySet, usize), Failure> {
        let request = self.question.fill(&Nothing).map_err(|unfit| Failure::Refused(unfit.to_string()))?;
        let answer = self.service.ask(request).await?;
        if answer.status != 200 {
            return Err(Failure::Refused(format!("it answers {}", answer.status)));
        }
        KeySet::read(&answer.body)
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").field("name", &self.name).field("question", &self.question).finish_non_exhaustive()
    }
}

impl KeySet {
    /// The keys of a document, and how many were left out. Those of other kinds and for other uses are none.
    fn read(text: &[u8]) -> Result<(Self, usize), Failure> {
        let document: Document =
            serde_json::from_slice(text).map_err(|_| Failure::Malformed("no JSON Web Key Set".into()))?;
        let (mut keys, mut left_out) = (Vec::new(), 0);
        for entry in &document.keys {
            let member = |name: &str| entry.get(name).and_then(Value::as_str);
            if member("use").is_some_and(|usage| usage != "sig") {
                continue;
            }
            let algorithm = member("alg").map(Algorithm::named);
            let key = PublicKey::from_jwk(member("kty").unwrap_or_default(), member("crv"), |name| {
                member(name).map(ToOwned::to_owned)
            });
            match (key, algorithm) {
                // A key for an algorithm that is not known is for no token that is.
                (Ok(key), None | Some(Some(_))) if keys.len() < KEYS_MAX => {
                    keys.push(Named { kid: member("kid").map(Into::into), algorithm: algorithm.flatten(), key });
                }
                _ => left_out += 1,
            }
        }
        if keys.is_empty() {
            return Err(Failure::Malformed("no key that can be used".into()));
        }
        Ok((Self(keys), left_out))
    }

    fn verify(&self, kid: Option<&str>, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Verified {
        let is_for =
            |named: &&Named| named.key.is_for(algorithm) && named.algorithm.is_none_or(|only| only == algorithm);
        let verifies = |named: &Named| named.key.verifies(algorithm, signed, signature);
        let verified = match kid {
            Some(kid) => {
                let mut named = self.0.iter().filter(|named| named.kid.as_deref() == Some(kid)).peekable();
                if named.peek().is_none() {
                    return Verified::UnknownKey;
                }
                named.filter(is_for).take(TRIED_MAX).any(verifies)
            }
            None => self.0.iter().filter(is_for).take(TRIED_MAX).any(verifies),
        };
        if verified { Verified::Yes } else { Verified::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Jwks {
        /// As if it had not been asked lately.
        pub(in super::super) async fn forget_when_asked(&self) {
            *self.asked.lock().await = None;
        }
    }

    fn read(text: &str) -> Result<(usize, usize), Failure> {
        KeySet::read(text.as_bytes()).map(|(keys, left_out)| (keys.0.len(), left_out))
    }

    /// RFC 8037, appendix A.2.
    const ED25519: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        assert_eq!(read(&format!(r#"{{"keys":[{{{ED25519},"kid":"a"}},{{{ED25519},"use":"enc"}}]}}"#)), Ok((1, 0)));
        let others = [
            r#"{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0"}"#.to_owned(),
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}"#.to_owned(),
            r#"{"kty":"EC","crv":"secp256k1","x":"AQAB","y":"AQAB"}"#.to_owned(),
            r#"{"kty":"OKP","crv":"Ed25519","x":7}"#.to_owned(),
            format!(r#"{{{ED25519},"alg":"none"}}"#),
            "{}".to_owned(),
        ];
        let text = format!(r#"{{"keys":[{{{ED25519}}},{}]}}"#, others.join(","));
        assert_eq!(read(&text), Ok((1, others.len())));
        let many = vec![format!("{{{ED25519}}}"); KEYS_MAX + 3].join(",");
        assert_eq!(read(&format!(r#"{{"keys":[{many}]}}"#)), Ok((KEYS_MAX, 3)));
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[7]}"#, r#"{"keys":[{}]}"#] {
            assert!(matches!(read(bad), Err(Failure::Malformed(_))), "{bad}");
        }
    }

    /// RFC 8037, appendix A.4.
    #[test]
    fn the_rfcs_own_signature() {
        let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = crate::access::backends::jwt::token::decode(
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        )
        .expect("base64url");
        let (keys, _) = KeySet::read(format!(r#"{{"keys":[{{{ED25519},"kid":"a"}}]}}"#).as_bytes()).expect("a key");
        for (kid, algorithm, expected) in [
            (Some("a"), Algorithm::EdDsa, Verified::Yes),
            (None, Algorithm::EdDsa, Verified::Yes),
            (Some("b"), Algorithm::EdDsa, Verified::UnknownKey),
            (Some("a"), Algorithm::Es256, Verified::No),
            (Some("a"), Algorithm::Hs256, Verified::No),
        ] {
            assert_eq!(keys.verify(kid, algorithm, signed, &signature), expected, "{kid:?} {algorithm:?}");
        }
        assert_eq!(keys.verify(None, Algorithm::EdDsa, &signed[1..], &signature), Verified::No);
    }
}
