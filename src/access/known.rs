use std::sync::Arc;

use super::rules::{Action, Permission, Rules};

/// What authorities have said about one client.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// All their rules about the client, by the authority's place among the sources.
    rules: Vec<(u16, Arc<Rules>)>,
    /// What they have said of single things: kept until what was asked for is done.
    answers: Vec<Answer>,
}

#[derive(Clone, Debug)]
struct Answer {
    place: u16,
    action: Action,
    topic: Box<str>,
    permission: Option<Permission>,
}

impl Known {
    /// Nothing.
    pub const fn new() -> Self {
        Self { rules: Vec::new(), answers: Vec::new() }
    }

    /// What an authority has said of this: `None` when nothing is known, and `Some(None)` when others shall decide.
    pub(super) fn answer(&self, place: u16, action: Action, topic: &str) -> Option<Option<Permission>> {
        let is_it = |answer: &&Answer| answer.place == place && answer.action == action && *answer.topic == *topic;
        self.answers.iter().find(is_it).map(|answer| answer.permission)
    }

    /// All rules that an authority has about the client.
    pub(super) fn rules(&self, place: u16) -> Option<&Rules> {
        self.rules.iter().find(|(known, _)| *known == place).map(|(_, rules)| &**rules)
    }

    pub(super) fn keep_rules(&mut self, place: u16, rules: Arc<Rules>) {
        self.rules.retain(|(known, _)| *known != place);
        self.rules.push((place, rules));
    }

    pub(super) fn keep_answer(&mut self, place: u16, action: Action, topic: Box<str>, permission: Option<Permission>) {
        self.answers.push(Answer { place, action, topic, permission });
    }

    /// What was asked for is done.
    pub(super) fn forget_answers(&mut self) {
        self.answers = Vec::new();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.answers.is_empty()
    }
}
