//! What clients may do: rules from several sources, compiled once, asked in their order.

mod claims;
mod conditions;
mod database;
mod emqx;
mod erlang;
mod mosquitto;
mod topic;

use std::{fmt, sync::Arc};

use thingway_contract::Qos;

pub use self::{
    claims::parse as parse_claim,
    conditions::{CertificateField, Condition, TextCondition, Who},
    database::{
        HeldRules, Holder, HolderKind, RULE_PREFIX, RULES_MAX, RetainWord, RowRuleError, RuleDatabase, WrittenAction,
        WrittenPermission, WrittenRetain, WrittenRule, compile_rules, row_of_rules, written_rules,
    },
    emqx::parse as parse_emqx,
    mosquitto::{ByUser, parse as parse_mosquitto},
    topic::{Level, Part, PatternError, Placeholder, Syntax, TopicPattern, parts_of},
};

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// What somebody wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to it; a will, too.
    Publish {
        /// With what quality of service.
        qos: Qos,
        /// With the retain flag.
        retain: bool,
    },
    /// Subscribe to it, or read what is retained.
    Subscribe {
        /// With what quality of service.
        qos: Qos,
    },
}

impl Action {
    /// A number that tells actions apart.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Publish { qos, retain } => qos as u8 | (retain as u8) << 2,
            Self::Subscribe { qos } => qos as u8 | 1 << 3,
        }
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it says.
    pub permission: Permission,
    /// Of whom.
    pub who: Condition,
    /// Of what.
    pub action: ActionCondition,
    /// Of which topics; `None` for all, even those that begin with `$`.
    pub topics: Option<Box<[TopicPattern]>>,
    /// When it is about a subscription.
    pub reach: Reach,
    /// Where it was written.
    pub place: Place,
}

/// Which subscriptions a rule is about that denies; one that allows is always about those of which it allows everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those that ask for nothing else than what it denies, as EMQX has it.
    Covered,
    /// Those that ask for anything that it denies.
    Touched,
}

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or the section of the configuration.
    pub source: Arc<str>,
    /// The line, or the number in a list; from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// Which actions a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionCondition {
    /// Publishing.
    pub publish: bool,
    /// Subscribing.
    pub subscribe: bool,
    /// These qualities of service, a bit each.
    pub qos: u8,
    /// Of publications, only those with or without the retain flag.
    pub retain: Option<bool>,
}

impl ActionCondition {
    /// Everything.
    pub const ALL: Self = Self { publish: true, subscribe: true, qos: 0b111, retain: None };
    /// Every publication.
    pub const PUBLISH: Self = Self { subscribe: false, ..Self::ALL };
    /// Every subscription.
    pub const SUBSCRIBE: Self = Self { publish: false, ..Self::ALL };

    fn holds(&self, action: Action) -> bool {
        match action {
            Action::Publish { qos, retain } => {
                self.publish && self.qos >> qos as u8 & 1 == 1 && self.retain.is_none_or(|wanted| wanted == retain)
            }
            Action::Subscribe { qos } => self.subscribe && self.qos >> qos as u8 & 1 == 1,
        }
    }
}

impl Rule {
    fn holds(&self, who: &Who<'_>, action: Action, topic: &str) -> bool {
        self.action.holds(action) && self.who.holds(who) && self.is_about(who, action, topic)
    }

    fn is_about(&self, who: &Who<'_>, action: Action, topic: &str) -> bool {
        let Some(patterns) = &self.topics else { return true };
        let touched = self.permission == Permission::Deny
            && self.reach == Reach::Touched
            && matches!(action, Action::Subscribe { .. });
        let matches = |pattern: &TopicPattern| {
            if touched { pattern.overlaps(topic, who) } else { pattern.covers(topic, who) }
        };
        patterns.iter().any(matches)
    }
}

/// Rules of one source.
#[derive(Clone, Debug)]
pub enum Rules {
    /// The first that is about it decides.
    InOrder(Arc<[Rule]>),
    /// Found by the user name, and then by Mosquitto's order.
    ByUser(Arc<ByUser>),
    /// Found by client id and user name: those of the store.
    Database(Arc<RuleDatabase>),
}

impl Rules {
    pub(super) fn find(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<&Rule> {
        match self {
            Self::InOrder(rules) => rules.iter().find(|rule| rule.holds(who, action, topic)),
            Self::ByUser(rules) => rules.find(who, action, topic),
            Self::Database(rules) => rules.find(who, action, topic),
        }
    }

    /// Where they were written, if that is known.
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::InOrder(rules) => rules.first().map(|rule| &*rule.place.source),
            Self::ByUser(rules) => rules.source(),
            Self::Database(_) => Some("database"),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::InOrder(rules) => rules.len(),
            Self::ByUser(rules) => rules.len(),
            Self::Database(rules) => rules.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sources of rules, in their order.
#[derive(Clone, Debug, Default)]
pub struct RuleSet(pub Box<[Rules]>);

impl RuleSet {
    /// The rule that decides; `None` when none is about it.
    pub fn find(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<&Rule> {
        self.0.iter().find_map(|rules| rules.find(who, action, topic))
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Rules::len).sum()
    }

    /// There are no sources. A source without rules is one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why rules were not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct RuleError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub cause: RuleCause,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleCause {
    /// Not what the format has.
    #[error("found {found}, expected {expected}")]
    Syntax {
        /// What is there.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A topic that is none.
    #[error("{topic:?}: {error}")]
    Topic {
        /// As it was written.
        topic: String,
        /// Why.
        error: PatternError,
    },
    /// A regular expression that is none, or uses what is not offered here: look-around and back-references.
    #[error("{pattern:?}: {why}")]
    Regex {
        /// As it was written.
        pattern: String,
        /// Why.
        why: String,
    },
    /// Ranges of addresses that are none.
    #[error("{0:?} is no address and no range such as \"10.0.0.0/8\"")]
    Address(String),
    /// Something is nested too deeply, or the file is too long.
    #[error("{0}")]
    TooLarge(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(permission: Permission, action: ActionCondition, topic: &str, reach: Reach) -> Rule {
        let pattern = TopicPattern::filter(topic, Syntax::Braces).expect("a pattern");
        let place = Place { source: "test".into(), line: 1 };
        Rule { permission, who: Condition::All, action, topics: Some([pattern].into()), reach, place }
    }

    #[test]
    fn what_denies_a_subscription_is_a_matter_of_the_source() {
        let find = |reach, filter| {
            let rule = rule(Permission::Deny, ActionCondition::ALL, "secret/#", reach);
            let rules = RuleSet([Rules::InOrder([rule].into())].into());
            rules.find(&Who::nobody(), Action::Subscribe { qos: Qos::AtMostOnce }, filter).is_some()
        };
        assert!(find(Reach::Touched, "#") && !find(Reach::Covered, "#"));
        assert!(find(Reach::Touched, "secret/x") && find(Reach::Covered, "secret/x"));
        assert!(!find(Reach::Touched, "open/#"));
    }

    #[test]
    fn actions_are_told_apart() {
        let publish = |qos, retain| Action::Publish { qos, retain };
        let (qos0, qos1) = (Qos::AtMostOnce, Qos::AtLeastOnce);
        let some = ActionCondition { qos: 0b010, retain: Some(false), ..ActionCondition::ALL };
        assert!(some.holds(publish(qos1, false)) && some.holds(Action::Subscribe { qos: qos1 }));
        assert!(!some.holds(publish(qos0, false)) && !some.holds(publish(qos1, true)));
        assert!(!ActionCondition::PUBLISH.holds(Action::Subscribe { qos: qos0 }));
        assert!(!ActionCondition::SUBSCRIBE.holds(publish(qos0, false)));
        let codes: std::collections::HashSet<_> = [qos0, qos1, Qos::ExactlyOnce]
            .into_iter()
            .flat_map(|qos| [publish(qos, false), publish(qos, true), Action::Subscribe { qos }])
            .map(Action::code)
            .collect();
        assert_eq!(codes.len(), 9);
    }
}
