//! The way in of one client, by what counted when it began.

use std::{sync::Arc, task::Waker};

use thingway_contract::{Connect, Instant, Refusal};

use super::{
    Access, Admission, Admit, Asking, Waits,
    attempt::{Attempt, Grant},
    chain::Decision,
    entrance::Entrance,
    guard::{Guard, Identity, May},
    is_system,
    pending::{Pending, Place},
    rules::{Action, Permission},
    target, unix_ms,
};

/// Somebody is on the way in.
pub(super) struct Entering<'a> {
    pub access: &'a Access,
    pub entrance: &'a Arc<Entrance>,
    pub connect: &'a Connect,
    pub now: Instant,
    pub waker: &'a Waker,
}

impl Entering<'_> {
    /// Somebody has to be asked: whoever asks does so where waiting stops nobody.
    pub fn ask(
        &self,
        attempt: Arc<Attempt>,
        spoofable: bool,
        future: impl Future<Output = Decision> + Send + 'static,
    ) -> Admit {
        let Some(runtime) = &self.access.runtime else { return Admit::Done(Err(Refusal::Unavailable)) };
        let settings = &self.entrance.settings;
        let Some(place) = Place::take(&self.access.pending, settings.pending_max) else {
            return Admit::Done(Err(Refusal::Busy));
        };
        let (pending, courier) = Pending::new(self.waker, place);
        let limit = settings.timeout;
        let task = runtime.spawn(async move {
            let decision = tokio::time::timeout(limit, future).await;
            courier.tell(decision.unwrap_or(Decision { by: None, outcome: Err(Refusal::Unavailable) }));
        });
        let pending = pending.made_by(task.abort_handle());
        self.later(Waits::Decision { attempt, spoofable, pending })
    }

    fn later(&self, waits: Waits) -> Admit {
        Admit::Later(Asking { entrance: self.entrance.clone(), waits })
    }

    /// Authenticators have decided.
    pub fn finish(&self, attempt: &Attempt, spoofable: bool, decision: Decision) -> Admit {
        let Entrance { backoff, flapping, .. } = &**self.entrance;
        let grant = match decision.outcome {
            Ok(grant) => grant,
            Err(refusal) => {
                if let (Some(backoff), Refusal::BadCredentials) = (backoff, &refusal) {
                    backoff.failed(attempt, spoofable, self.now.as_millis());
                }
                return Admit::Done(Err(refusal));
            }
        };
        if let (Some(backoff), Some(_)) = (backoff, decision.by) {
            backoff.succeeded(attempt, spoofable);
        }
        let client_id = attempt.client_id.as_ref().map_or("", |id| id.as_str());
        if let Some(flapping) = flapping.as_ref().filter(|_| !client_id.is_empty())
            && let Some(ban) = flapping.note(client_id, self.now.as_millis())
        {
            self.access.ban_for(client_id, ban);
            return Admit::Done(Err(Refusal::Banned));
        }
        let grant = Grant { attributes: grant.attributes.over(&attempt.attributes), ..grant };
        let identity = Arc::new(Identity::new(attempt, grant));
        // Guests of datagrams come back with nothing but what they know of their session.
        if spoofable && !self.connect.must_exist && !client_id.is_empty() {
            let is_told_apart = attempt.username.is_some() || self.entrance.asks_about(&attempt.listener);
            let mut resumable = self.access.resumable.lock();
            // Of whoever had this client id before nothing is remembered.
            resumable.remove(client_id);
            if is_told_apart {
                resumable.entry(client_id.into(), || identity.clone());
            }
        }
        self.admit(identity)
    }

    /// Goes on with a session of which the peer knows something that only who was let in before was told: as who that was. `None` for one of whom nothing is
    /// remembered, where nobody has to be asked.
    pub fn resume(&self, attempt: &mut Attempt, is_asked_about: bool) -> Option<Admit> {
        let known = attempt.client_id.as_ref().filter(|_| self.connect.resume_key.is_some());
        let known = known.and_then(|id| self.access.resumable.lock().get(id.as_str()).cloned());
        let known = known.filter(|known| known.grant.expires_unix_ms.is_none_or(|at| at > unix_ms()));
        let Some(known) = known else {
            // It is told to connect anew.
            return is_asked_about.then_some(Admit::Done(Err(Refusal::NoSession)));
        };
        // It does not say its name again, which may have been banned since.
        attempt.username = known.username().map(Into::into);
        if self.access.bans.find(attempt, unix_ms()).is_some() {
            return Some(Admit::Done(Err(Refusal::Banned)));
        }
        Some(self.admit(known))
    }

    fn admit(&self, identity: Arc<Identity>) -> Admit {
        match self.entrance.mount(&identity.who(self.client_id())) {
            Ok(mount) => self.admit_guarded(Box::new(Guard::new(identity, mount, None))),
            Err(refusal) => Admit::Done(Err(refusal)),
        }
    }

    fn client_id(&self) -> &str {
        self.connect.client_id.as_ref().map_or("", |id| id.as_str())
    }

    /// Whoever this guard is for may come in, unless there is a will that may not be published, or there are too many already.
    pub fn admit_guarded(&self, mut guard: Box<Guard>) -> Admit {
        let client_id = self.client_id();
        let names = &self.entrance.settings.names;
        if let Some(will) = &self.connect.will {
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
            match guard.may(self.access, client_id, action, target(asked), self.now) {
                May::Decided(Permission::Allow) => {}
                May::Decided(Permission::Deny) => return Admit::Done(Err(Refusal::NotAuthorized)),
                May::Ask(question) => {
                    return match self.access.inquire(&guard, client_id, vec![question], self.waker) {
                        Some(inquiring) => self.later(Waits::Will { guard, inquiring }),
                        None => Admit::Done(Err(Refusal::Busy)),
                    };
                }
            }
        }
        guard.has_decided();
        match self.entrance.quotas.take(guard.identity(), client_id, self.now) {
            Ok(held) => guard.hold(held),
            Err(refusal) => return Admit::Done(Err(refusal)),
        }
        let username = guard.identity().username().map(Into::into);
        let needed = !self.access.is_open() || !guard.is_plain();
        Admit::Done(Ok(Admission { username, guard: Some(guard).filter(|_| needed), names: names.clone() }))
    }
}
