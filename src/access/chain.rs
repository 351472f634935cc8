//! Authenticators, asked in their order until one decides.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use thingway_contract::Refusal;

use super::{
    attempt::{Attempt, Grant, Said},
    line::LineState,
};

/// An answer that comes later.
pub type Answer = Pin<Box<dyn Future<Output = Said> + Send>>;

/// What an authenticator gives when it is asked.
pub enum Asked {
    /// It knows.
    Said(Said),
    /// It has to ask somebody else, or to try a password. The future is run where waiting stops nobody, and dropped when nobody waits for it any more.
    Later(Answer),
}

/// Somebody who can tell who may connect.
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Asks it. Must not wait for anything.
    fn ask(&self, attempt: &Arc<Attempt>) -> Asked;

    /// What somebody would be let in with who proves to be whom it says, as far as that is known here without asking anybody.
    fn presume(&self, _attempt: &Attempt) -> Option<Grant> {
        None
    }

    /// How the service is that it asks; `None` for one that asks none.
    fn line(&self) -> Option<LineState> {
        None
    }

    /// Nobody has said anything of somebody who is to be turned away for it: an authenticator whose answer takes its time for those it knows takes the
    /// same time here, so that nobody learns whom it knows.
    fn pretend(&self, _attempt: &Arc<Attempt>) -> Option<Answer> {
        None
    }
}

/// Authenticators in their order. The first that does not ignore an attempt decides; when none does it is refused.
#[derive(Clone, Debug, Default)]
pub struct Chain(Arc<[Arc<dyn Authenticator>]>);

/// Who decided what.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The authenticator's name; `None` when all have ignored the attempt.
    pub by: Option<Box<str>>,
    /// What it is.
    pub outcome: Result<Grant, Refusal>,
}

/// The begin of a decision.
pub enum Begun {
    /// It is made.
    Made(Decision),
    /// It takes a while.
    Later(Pin<Box<dyn Future<Output = Decision> + Send>>),
}

impl Chain {
    /// A chain of these.
    pub fn new(authenticators: Vec<Arc<dyn Authenticator>>) -> Self {
        Self(authenticators.into())
    }

    /// There is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|authenticator| authenticator.name())
    }

    /// What somebody would be let in with who proves to be whom it says, if that is known without asking anybody.
    pub fn presume(&self, attempt: &Attempt) -> Option<Grant> {
        self.0.iter().find_map(|authenticator| authenticator.presume(attempt))
    }

    /// Asks all until one decides, and gives what each has said.
    pub async fn tell(&self, attempt: &Arc<Attempt>) -> Vec<(&str, Said)> {
        let mut told = Vec::new();
        for authenticator in &*self.0 {
            let said = match authenticator.ask(attempt) {
                Asked::Said(said) => said,
                Asked::Later(answer) => answer.await,
            };
            let decides = !matches!(said, Said::Ignore);
            told.push((authenticator.name(), said));
            if decides {
                break;
            }
        }
        told
    }

    /// How the services are that are asked.
    pub fn lines(&self) -> impl Iterator<Item = LineState> {
        self.0.iter().filter_map(|authenticator| authenticator.line())
    }

    /// Asks, as far as that needs no waiting.
    pub fn begin(&self, attempt: &Arc<Attempt>) -> Begun {
        for (index, authenticator) in self.0.iter().enumerate() {
            match authenticator.ask(attempt) {
                Asked::Said(said) => {
                    if let Some(decision) = decided(&**authenticator, said) {
                        return Begun::Made(decision);
                    }
                }
                Asked::Later(answer) => {
                    return Begun::Later(Box::pin(self.clone().go_on(index, answer, attempt.clone())));
                }
            }
        }
        let pretended = self.pretend(attempt);
        if pretended.is_empty() {
            return Begun::Made(nobody(attempt));
        }
        Begun::Later(Box::pin(turn_away(pretended, attempt.clone())))
    }

    async fn go_on(self, index: usize, answer: Answer, attempt: Arc<Attempt>) -> Decision {
        if let Some(decision) = decided(&*self.0[index], answer.await) {
            return decision;
        }
        for authenticator in &self.0[index + 1..] {
            let said = match authenticator.ask(&attempt) {
                Asked::Said(said) => said,
                Asked::Later(answer) => answer.await,
            };
            if let Some(decision) = decided(&**authenticator, said) {
                return decision;
            }
        }
        turn_away(self.pretend(&attempt), attempt).await
    }

    fn pretend(&self, attempt: &Arc<Attempt>) -> Vec<Answer> {
        self.0.iter().filter_map(|authenticator| authenticator.pretend(attempt)).collect()
    }
}

/// Nobody knows who it is. It takes as long as if somebody did.
async fn turn_away(pretended: Vec<Answer>, attempt: Arc<Attempt>) -> Decision {
    for answer in pretended {
        if let Said::Deny(refusal @ Refusal::Busy) = answer.await {
            return Decision { by: None, outcome: Err(refusal) };
        }
    }
    nobody(&attempt)
}

fn decided(by: &dyn Authenticator, said: Said) -> Option<Decision> {
    let outcome = match said {
        Said::Ignore => return None,
        Said::Allow(grant) => Ok(grant),
        Said::Deny(refusal) => Err(refusal),
    };
    Some(Decision { by: Some(by.name().into()), outcome })
}

/// What is said of whom nobody knows: the same as of a wrong password, for who has shown a name.
fn nobody(attempt: &Attempt) -> Decision {
    let refusal = if attempt.is_anonymous() { Refusal::NotAuthorized } else { Refusal::BadCredentials };
    Decision { by: None, outcome: Err(refusal) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says the same of everybody, at once or later.
    #[derive(Debug)]
    struct Fixed(&'static str, Said, bool);

    impl Authenticator for Fixed {
        fn name(&self) -> &str {
            self.0
        }

        fn ask(&self, _: &Arc<Attempt>) -> Asked {
            let said = self.1.clone();
            if self.2 { Asked::Later(Box::pin(async move { said })) } else { Asked::Said(said) }
        }
    }

    fn attempt(username: Option<&str>) -> Arc<Attempt> {
        Arc::new(Attempt {
            client_id: None,
            username: username.map(Into::into),
            password: None,
            certificate: None,
            remote: None,
            listener: "test".into(),
            protocol: "mqtt",
            ..Attempt::default()
        })
    }

    async fn decide(authenticators: Vec<Fixed>, username: Option<&str>) -> (Option<String>, Result<(), Refusal>) {
        let chain = Chain::new(authenticators.into_iter().map(|it| Arc::new(it) as Arc<dyn Authenticator>).collect());
        let decision = match chain.begin(&attempt(username)) {
            Begun::Made(decision) => decision,
            Begun::Later(later) => later.await,
        };
        (decision.by.map(|by| by.to_string()), decision.outcome.map(drop))
    }

    #[tokio::test]
    async fn the_first_that_does_not_ignore_decides() {
        let allow = || Said::Allow(Grant::default());
        let deny = || Said::Deny(Refusal::BadCredentials);
        for later in [false, true] {
            let a = || Fixed("a", Said::Ignore, later);
            let b = || Fixed("b", allow(), later);
            let c = || Fixed("c", deny(), later);
            assert_eq!(decide(vec![a(), b(), c()], None).await, (Some("b".into()), Ok(())));
            assert_eq!(decide(vec![a(), c(), b()], None).await, (Some("c".into()), Err(Refusal::BadCredentials)));
            assert_eq!(decide(vec![b(), c()], None).await, (Some("b".into()), Ok(())));
            let mixed = vec![Fixed("a", Said::Ignore, !later), Fixed("d", Said::Ignore, later), b()];
            assert_eq!(decide(mixed, None).await, (Some("b".into()), Ok(())));
            assert_eq!(decide(vec![a()], None).await, (None, Err(Refusal::NotAuthorized)));
            assert_eq!(decide(vec![a(), a()], Some("name")).await, (None, Err(Refusal::BadCredentials)));
        }
    }
}
