//! Asking authorities about what a client wants to do, and what is made of their answers.

use std::{sync::Arc, task::Waker, time::Duration};

use futures_util::future::join_all;
use thingway_connectors::Failure;

use super::{
    authority::{Authority, Inquiry, Ruling},
    guard::Identity,
    known::Known,
    pending::{Lost, Pending, Place},
    policy::Policy,
    rules::{Action, Permission},
};

/// Questions that one client has answered at a time.
const AT_ONCE: usize = 16;

/// Something that an authority has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The authority's place among the sources.
    pub(super) place: u16,
    pub(super) action: Action,
    pub(super) topic: Box<str>,
}

/// An authority was asked, and has answered, or has not.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub question: Question,
    pub ruling: Ruling,
}

/// Authorities are being asked. Nobody asks any more when this is dropped.
#[derive(Debug)]
pub struct Inquiring {
    pending: Pending<Vec<Answered>>,
    /// For when no answer comes.
    questions: Vec<Question>,
    epoch: u32,
}

impl Inquiring {
    /// The answers, once all are there.
    pub(super) fn take(&mut self, waker: &Waker) -> Option<(Vec<Answered>, u32)> {
        let answers = self.pending.take(waker)?.unwrap_or_else(|Lost| {
            // The task has ended without a word, as it does when the gateway ends.
            let deny = |question| Answered { question, ruling: Ruling::Decided(Permission::Deny, Duration::ZERO) };
            std::mem::take(&mut self.questions).into_iter().map(deny).collect()
        });
        Some((answers, self.epoch))
    }
}

/// Who is asked, and about whom.
pub(super) struct Asker {
    pub policy: Arc<Policy>,
    pub epoch: u32,
    pub identity: Arc<Identity>,
    pub client_id: Box<str>,
    pub timeout: Duration,
}

impl Asker {
    /// Begins to ask.
    pub fn begin(
        self,
        questions: Vec<Question>,
        place: Place,
        runtime: &tokio::runtime::Handle,
        waker: &Waker,
    ) -> Inquiring {
        let (pending, courier) = Pending::new(waker, place);
        let (epoch, asked) = (self.epoch, questions.clone());
        let task = runtime.spawn(async move { courier.tell(self.ask_all(asked).await) });
        Inquiring { pending: pending.made_by(task.abort_handle()), questions, epoch }
    }

    async fn ask_all(&self, questions: Vec<Question>) -> Vec<Answered> {
        let mut answered: Vec<Answered> = Vec::with_capacity(questions.len());
        let mut rest = questions.into_iter().peekable();
        while let Some(first) = rest.next() {
            // Who has told all rules about the client need not be asked again.
            let has_told = |answered: &[Answered], place| {
                let is_it = |it: &Answered| it.question.place == place && matches!(it.ruling, Ruling::Rules(..));
                answered.iter().any(is_it)
            };
            if has_told(&answered, first.place) {
                continue;
            }
            let alone = answered.iter().all(|it| it.question.place != first.place);
            let mut batch = vec![first];
            while !alone && batch.len() < AT_ONCE {
                let Some(next) = rest.next() else { break };
                if !has_told(&answered, next.place) {
                    batch.push(next);
                }
            }
            answered.extend(join_all(batch.into_iter().map(|question| self.ask(question))).await);
        }
        answered
    }

    async fn ask(&self, question: Question) -> Answered {
        let Some(authority) = self.policy.authority(question.place) else {
            return Answered { question, ruling: Ruling::Ignore(Duration::ZERO) };
        };
        let inquiry = Inquiry {
            identity: self.identity.clone(),
            client_id: self.client_id.clone(),
            action: question.action,
            topic: question.topic.clone(),
        };
        let ruling = ask(&**authority, inquiry, self.timeout).await;
        Answered { question, ruling }
    }
}

/// Asks one authority; what its failure means is its own setting, and is asked anew the next time.
async fn ask(authority: &dyn Authority, inquiry: Inquiry, timeout: Duration) -> Ruling {
    let client_id = inquiry.client_id.clone();
    let asked = tokio::time::timeout(timeout, authority.ask(inquiry));
    let failure = match asked.await {
        Ok(Ok(ruling)) => return ruling,
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Timeout,
    };
    tracing::debug!(source = authority.name(), %client_id, "gives no ruling: {failure}");
    authority
        .when_down()
        .map_or(Ruling::Ignore(Duration::ZERO), |permission| Ruling::Decided(permission, Duration::ZERO))
}

/// Asks one authority and keeps what it says: for those who want to know why something is decided.
pub(super) async fn ask_once(
    policy: &Arc<Policy>,
    identity: &Arc<Identity>,
    client_id: &str,
    (place, action, topic): (u16, Action, &str),
    timeout: Duration,
    known: &mut Known,
) {
    let asker =
        Asker { policy: policy.clone(), epoch: 0, identity: identity.clone(), client_id: client_id.into(), timeout };
    known.learn(asker.ask(Question { place, action, topic: topic.into() }).await);
}

impl Known {
    /// Keeps an answer, and says for how long it holds.
    pub(super) fn learn(&mut self, Answered { question, ruling }: Answered) -> Duration {
        let Question { place, action, topic } = question;
        let (permission, time) = match ruling {
            Ruling::Rules(rules, time) => {
                self.keep_rules(place, rules);
                return time;
            }
            Ruling::Decided(permission, time) => (Some(permission), time),
            Ruling::Ignore(time) => (None, time),
        };
        self.keep_answer(place, action, topic, permission);
        time
    }
}
