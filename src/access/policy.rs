use std::sync::Arc;

use super::{
    attempt::Grant,
    authority::Authority,
    known::Known,
    line::LineState,
    rules::{Action, Permission, Rule, RuleDatabase, RuleSet, Rules, Who},
};

/// What rules say, and what happens when they say nothing.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Who decides, in their order.
    pub sources: Box<[Source]>,
    /// When there are sources, and none decides.
    pub no_match: Permission,
    /// What becomes of who tries what is denied.
    pub deny_action: DenyAction,
    /// Without any rules nothing is allowed.
    pub deny_without_rules: bool,
    /// Decisions that each connection remembers.
    pub cache_max: usize,
}

/// Where a decision comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Rules that are here.
    Rules(Rules),
    /// Somebody who has to be asked.
    Authority(Arc<dyn Authority>),
}

/// What becomes of who tries what is denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DenyAction {
    /// It is refused in the protocol's words.
    #[default]
    Ignore,
    /// The connection ends.
    Disconnect,
}

impl Default for Policy {
    /// There are no rules.
    fn default() -> Self {
        Self {
            sources: Box::default(),
            no_match: Permission::Deny,
            deny_action: DenyAction::Ignore,
            deny_without_rules: false,
            cache_max: 32,
        }
    }
}

/// Why something is allowed or denied.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'a> {
    /// No rule counts for a superuser.
    Superuser,
    /// A rule that came with the credentials.
    Own(&'a Rule),
    /// A rule of a source, or one that an authority has told of.
    Rule(&'a Rule),
    /// An authority has decided it: its name.
    Authority(&'a str),
    /// There are rules, and none is about it.
    NoMatch,
    /// There are no rules.
    NoRules,
}

/// What comes of asking all sources.
#[derive(Clone, Copy, Debug)]
pub enum Look<'a> {
    /// It is decided.
    Decided(Permission, Reason<'a>),
    /// The authority at this place has to be asked first.
    Ask(u16),
}

impl Policy {
    /// Nothing is ever denied to whom nothing else was granted.
    pub fn is_open(&self) -> bool {
        self.has_no_sources() && !self.deny_without_rules
    }

    /// There are no sources. A file without rules is one; the database is none as long as it has no rules.
    fn has_no_sources(&self) -> bool {
        self.sources.iter().all(|source| matches!(source, Source::Rules(Rules::Database(rules)) if rules.is_empty()))
    }

    /// The database among the sources.
    pub fn database(&self) -> Option<&Arc<RuleDatabase>> {
        self.sources.iter().find_map(|source| match source {
            Source::Rules(Rules::Database(rules)) => Some(rules),
            _ => None,
        })
    }

    /// The same, with another database in the place of the one among the sources.
    pub(super) fn with_database(mut self, database: &Arc<RuleDatabase>) -> Self {
        for source in &mut self.sources {
            if let Source::Rules(Rules::Database(rules)) = source {
                *rules = database.clone();
            }
        }
        self
    }

    /// Somebody may have to be asked.
    pub fn has_authorities(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Authority(_)))
    }

    /// How many rules are here.
    pub fn rules_len(&self) -> usize {
        let len = |source: &Source| if let Source::Rules(rules) = source { rules.len() } else { 0 };
        self.sources.iter().map(len).sum()
    }

    /// The names of those who have to be asked.
    pub fn authorities(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().filter_map(|source| match source {
            Source::Authority(authority) => Some(authority.name()),
            Source::Rules(_) => None,
        })
    }

    /// How the services are that are asked.
    pub fn lines(&self) -> Vec<LineState> {
        let of = |source: &Source| match source {
            Source::Authority(authority) => authority.line(),
            Source::Rules(_) => None,
        };
        self.sources.iter().filter_map(of).collect()
    }

    /// The authority at a place.
    pub(super) fn authority(&self, place: u16) -> Option<&Arc<dyn Authority>> {
        match self.sources.get(usize::from(place))? {
            Source::Authority(authority) => Some(authority),
            Source::Rules(_) => None,
        }
    }

    /// Whether somebody may do something, and why, by the rules that are here and what authorities have said by now.
    pub fn look<'a>(
        &'a self,
        who: &Who<'_>,
        grant: &'a Grant,
        action: Action,
        topic: &str,
        known: &'a Known,
    ) -> Look<'a> {
        if grant.superuser {
            return Look::Decided(Permission::Allow, Reason::Superuser);
        }
        if let Some(rule) = grant.rules.as_ref().and_then(|rules| rules.find(who, action, topic)) {
            return Look::Decided(rule.permission, Reason::Own(rule));
        }
        for (place, source) in (0..).zip(&self.sources) {
            let rule = match source {
                Source::Rules(rules) => rules.find(who, action, topic),
                Source::Authority(authority) => {
                    if let Some(answer) = known.answer(place, action, topic) {
                        match answer {
                            Some(permission) => return Look::Decided(permission, Reason::Authority(authority.name())),
                            None => continue,
                        }
                    }
                    match known.rules(place) {
                        Some(rules) => rules.find(who, action, topic),
                        None => return Look::Ask(place),
                    }
                }
            };
            if let Some(rule) = rule {
                return Look::Decided(rule.permission, Reason::Rule(rule));
            }
        }
        match (grant.rules.is_none() && self.has_no_sources(), self.deny_without_rules) {
            (true, false) => Look::Decided(Permission::Allow, Reason::NoRules),
            (true, true) => Look::Decided(Permission::Deny, Reason::NoRules),
            (false, _) => Look::Decided(self.no_match, Reason::NoMatch),
        }
    }

    /// Names the sources that say nothing of it before one decides.
    pub(super) fn tell_passed(
        &self,
        who: &Who<'_>,
        grant: &Grant,
        action: Action,
        topic: &str,
        known: &Known,
        name: &mut dyn FnMut(&str),
    ) {
        if grant.superuser {
            return;
        }
        if let Some(rules) = &grant.rules {
            if rules.find(who, action, topic).is_some() {
                return;
            }
            name("credentials");
        }
        for (place, source) in (0..).zip(&self.sources) {
            let (decides, told) = match source {
                Source::Rules(rules) if rules.is_empty() => continue,
                Source::Rules(rules) => (rules.find(who, action, topic).is_some(), rules.source().unwrap_or("rules")),
                Source::Authority(authority) => {
                    let answered = known.answer(place, action, topic).flatten().is_some();
                    let ruled = known.rules(place).is_some_and(|rules| rules.find(who, action, topic).is_some());
                    (answered || ruled, authority.name())
                }
            };
            if decides {
                return;
            }
            name(told);
        }
    }
}

impl From<RuleSet> for Box<[Source]> {
    fn from(rules: RuleSet) -> Self {
        rules.0.into_iter().map(Source::Rules).collect()
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::Qos;

    use super::*;
    use crate::access::rules::parse_emqx;

    const PUBLISH: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };

    fn rules(text: &str) -> RuleSet {
        RuleSet([parse_emqx(text, &"acl".into(), false).expect("good")].into())
    }

    fn may(policy: &Policy, grant: &Grant, topic: &str) -> bool {
        let known = Known::default();
        let Look::Decided(permission, _) = policy.look(&Who::nobody(), grant, PUBLISH, topic, &known) else {
            panic!("there is nobody to ask");
        };
        permission == Permission::Allow
    }

    #[test]
    fn the_order_of_what_decides() {
        let plain = Grant::default();
        let open = Policy::default();
        assert!(open.is_open() && may(&open, &plain, "a"));
        let policy = Policy {
            sources: rules("{allow, all, all, [\"a\"]}.\n{deny, all, all, [\"b\"]}.").into(),
            ..Policy::default()
        };
        assert!(!policy.is_open() && may(&policy, &plain, "a"));
        assert!(!may(&policy, &plain, "b") && !may(&policy, &plain, "c"));
        let lenient = Policy { no_match: Permission::Allow, ..policy.clone() };
        assert!(!may(&lenient, &plain, "b") && may(&lenient, &plain, "c"));
        let superuser = Grant { superuser: true, ..Grant::default() };
        assert!(may(&policy, &superuser, "b"));
        let own = Grant { rules: Some(Arc::new(rules("{allow, all, all, [\"b\"]}."))), ..Grant::default() };
        assert!(may(&policy, &own, "b") && may(&policy, &own, "a") && !may(&policy, &own, "c"));
        assert!(may(&open, &own, "b") && !may(&open, &own, "c"), "who brings rules is bound by them");
        let hardened = Policy { deny_without_rules: true, ..Policy::default() };
        assert!(!hardened.is_open() && !may(&hardened, &plain, "a"));
    }
}
