//! A web server that is asked who may connect, and what clients may do. Requests and replies are EMQX's.

mod replies;

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ring::{digest, rand::SecureRandom};
use thingway_connectors::{Failure, HttpService, Question, Unfit, Values};
use thingway_contract::Refusal;

use self::replies::{Reply, Verdict};
use crate::access::{
    attempt::{Attempt, Said},
    authority::{Authority, Inquiry, Ruled, Ruling},
    chain::{Asked, Authenticator},
    line::LineState,
    passwords::NoRandomness,
    recent::Recent,
    rules::Permission,
};

/// What holds while the server cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// Nobody comes in, and nothing is allowed.
    #[default]
    Deny,
    /// The next one shall decide.
    Ignore,
}

/// A server, and what it is asked.
pub struct HttpBackend {
    /// Its name in the configuration, as `http.main`.
    pub name: Box<str>,
    /// The way to it.
    pub service: HttpService,
    /// What is asked.
    pub question: Question,
    /// What holds while it cannot say.
    pub when_down: WhenDown,
    /// For how long what it says holds. Zero asks each time.
    pub cache_time: Duration,
    /// Answers about clients that are remembered. Beyond, those that came first are forgotten.
    pub cache_max: usize,
}

/// Asks a web server who may connect.
pub struct HttpAuthenticator {
    backend: Arc<Asking>,
}

/// The part that answers are made by.
struct Asking {
    backend: HttpBackend,
    /// Rules that come with replies are named by it.
    source: Arc<str>,
    /// What is remembered is found by a digest that begins with this, so that no password is in memory for it.
    pepper: [u8; 32],
    known: Mutex<Recent<[u8; 32], (Said, u64)>>,
    clock: fn() -> u64,
}

/// Asks a web server what clients may do.
pub struct HttpAuthority {
    backend: Arc<HttpBackend>,
}

impl HttpAuthenticator {
    /// One that asks this server.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(backend: HttpBackend) -> Result<Self, NoRandomness> {
        let mut pepper = [0; 32];
        ring::rand::SystemRandom::new().fill(&mut pepper).map_err(|_| NoRandomness)?;
        let known = Mutex::new(Recent::new(backend.cache_max));
        let source = (&*backend.name).into();
        let asking = Asking { backend, source, pepper, known, clock: crate::access::unix_ms };
        Ok(Self { backend: Arc::new(asking) })
    }
}

impl Authenticator for HttpAuthenticator {
    fn name(&self) -> &str {
        &self.backend.backend.name
    }

    fn line(&self) -> Option<LineState> {
        let service = &self.backend.backend.service;
        Some(LineState::of_authentication(self.name(), service.is_resting(), service.counts()))
    }

    fn ask(&self, attempt: &Arc<Attempt>) -> Asked {
        let asking = &self.backend;
        // What is no text cannot be sent as one, and nothing may stand for it.
        let is_text = attempt.password.as_deref().is_none_or(|password| std::str::from_utf8(password).is_ok());
        if !is_text && asking.backend.question.names().any(|name| name == "password") {
            return Asked::Said(Said::Deny(Refusal::BadCredentials));
        }
        let key = asking.key(attempt);
        if let Some(said) = key.as_ref().and_then(|key| asking.recall(key)) {
            return Asked::Said(said);
        }
        let request = match asking.backend.question.fill(&**attempt) {
            Ok(request) => request,
            Err(unfit) => return Asked::Said(asking.unfit(unfit)),
        };
        let asking = asking.clone();
        Asked::Later(Box::pin(async move {
            let reply = asking.backend.service.ask(request).await.and_then(|answer| Reply::read(&answer));
            asking.judge(reply, key)
        }))
    }
}

impl Asking {
    /// What an answer is remembered by; `None` when none is.
    fn key(&self, attempt: &Attempt) -> Option<[u8; 32]> {
        if self.backend.cache_time.is_zero() || self.backend.cache_max == 0 {
            return None;
        }
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.pepper);
        for name in self.backend.question.names() {
            match attempt.value(name) {
                Some(value) => {
                    context.update(&(value.len() as u64 + 1).to_le_bytes());
                    context.update(value.as_bytes());
                }
                None => context.update(&0u64.to_le_bytes()),
            }
        }
        context.finish().as_ref().try_into().ok()
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Said> {
        let mut known = self.known.lock();
        let (said, until) = known.get(key)?;
        if *until > (self.clock)() {
            return Some(said.clone());
        }
        let _ = known.remove(key);
        None
    }

    fn judge(&self, reply: Result<Reply, Failure>, key: Option<[u8; 32]>) -> Said {
        let name = &*self.backend.name;
        let reply = match reply {
            Ok(reply) => reply,
            // Who cannot be understood has not said that somebody else may decide.
            Err(failure @ (Failure::Malformed(_) | Failure::TooLarge)) => {
                tracing::warn!(authenticator = name, "a client is refused: {failure}");
                return Said::Deny(Refusal::Unavailable);
            }
            Err(failure) => {
                tracing::debug!(authenticator = name, "{failure}");
                return match self.backend.when_down {
                    WhenDown::Deny if failure == Failure::Busy => Said::Deny(Refusal::Busy),
                    WhenDown::Deny => Said::Deny(Refusal::Unavailable),
                    WhenDown::Ignore => Said::Ignore,
                };
            }
        };
        let now = (self.clock)();
        let mut until = now.saturating_add(self.backend.cache_time.as_millis() as u64);
        let said = match reply.verdict {
            Verdict::Ignore => Said::Ignore,
            Verdict::Deny => Said::Deny(Refusal::BadCredentials),
            Verdict::Allow => match reply.grant(&self.source) {
                Ok(grant) if grant.expires_unix_ms.is_some_and(|at| at <= now) => Said::Deny(Refusal::NotAuthorized),
                Ok(grant) => {
                    until = until.min(grant.expires_unix_ms.unwrap_or(u64::MAX));
                    Said::Allow(grant)
                }
                Err(error) => {
                    tracing::warn!(authenticator = name, "a client is refused: {error}");
                    return Said::Deny(Refusal::Unavailable);
                }
            },
        };
        if let Some(key) = key {
            let mut known = self.known.lock();
            let _ = known.remove(&key);
            let _ = known.entry(key, || (said.clone(), until));
        }
        said
    }

    fn unfit(&self, unfit: Unfit) -> Said {
        tracing::debug!(authenticator = &*self.backend.name, "a client is refused: {unfit}");
        Said::Deny(Refusal::BadCredentials)
    }
}

impl HttpAuthority {
    /// One that asks this server.
    pub fn new(backend: HttpBackend) -> Self {
        Self { backend: Arc::new(backend) }
    }
}

impl Authority for HttpAuthority {
    fn name(&self) -> &str {
        &self.backend.name
    }

    fn line(&self) -> Option<LineState> {
        let service = &self.backend.service;
        Some(LineState::of_authorization(self.name(), service.is_resting(), service.counts()))
    }

    fn ask(&self, inquiry: Inquiry) -> Ruled {
        let backend = self.backend.clone();
        Box::pin(async move {
            let request = match backend.question.fill(&inquiry) {
                Ok(request) => request,
                Err(unfit) => {
                    tracing::debug!(source = &*backend.name, "denied: {unfit}");
                    return Ok(Ruling::Decided(Permission::Deny, backend.cache_time));
                }
            };
            let reply = backend.service.ask(request).await.and_then(|answer| Reply::read(&answer));
            Ok(match reply?.verdict {
                Verdict::Allow => Ruling::Decided(Permission::Allow, backend.cache_time),
                Verdict::Deny => Ruling::Decided(Permission::Deny, backend.cache_time),
                Verdict::Ignore => Ruling::Ignore(backend.cache_time),
            })
        })
    }

    fn when_down(&self) -> Option<Permission> {
        match self.backend.when_down {
            WhenDown::Deny => Some(Permission::Deny),
            WhenDown::Ignore => None,
        }
    }
}

impl fmt::Debug for HttpBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBackend")
            .field("name", &self.name)
            .field("question", &self.question)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpAuthenticator").field(&self.backend.backend).finish()
    }
}

impl fmt::Debug for HttpAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpAuthority").field(&self.backend).finish()
    }
}
