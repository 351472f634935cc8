use super::{
    attempt::Grant,
    rules::{Action, Permission, Rule, RuleSet, Who},
};

/// What rules say, and what happens when they say nothing.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The rules of all sources.
    pub rules: RuleSet,
    /// When there are rules, and none is about it.
    pub no_match: Permission,
    /// What becomes of who tries what is denied.
    pub deny_action: DenyAction,
    /// Without any rules nothing is allowed.
    pub deny_without_rules: bool,
    /// Decisions that each connection remembers.
    pub cache_max: usize,
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
            rules: RuleSet::default(),
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
    /// A rule of a source.
    Rule(&'a Rule),
    /// There are rules, and none is about it.
    NoMatch,
    /// There are no rules.
    NoRules,
}

impl Policy {
    /// Nothing is ever denied to whom nothing else was granted.
    pub fn is_open(&self) -> bool {
        self.rules.is_empty() && !self.deny_without_rules
    }

    /// Whether somebody may do something, and why.
    pub fn decide<'a>(
        &'a self,
        who: &Who<'_>,
        grant: &'a Grant,
        action: Action,
        topic: &str,
    ) -> (Permission, Reason<'a>) {
        if grant.superuser {
            return (Permission::Allow, Reason::Superuser);
        }
        if let Some(rule) = grant.rules.as_ref().and_then(|rules| rules.find(who, action, topic)) {
            return (rule.permission, Reason::Own(rule));
        }
        if let Some(rule) = self.rules.find(who, action, topic) {
            return (rule.permission, Reason::Rule(rule));
        }
        match self.is_open() && grant.rules.is_none() {
            true => (Permission::Allow, Reason::NoRules),
            false if self.rules.is_empty() && grant.rules.is_none() => (Permission::Deny, Reason::NoRules),
            false => (self.no_match, Reason::NoMatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thingway_contract::Qos;

    use super::*;
    use crate::access::rules::parse_emqx;

    const PUBLISH: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };

    fn rules(text: &str) -> RuleSet {
        RuleSet([parse_emqx(text, &"acl".into(), false).expect("good")].into())
    }

    fn may(policy: &Policy, grant: &Grant, topic: &str) -> bool {
        policy.decide(&Who::nobody(), grant, PUBLISH, topic).0 == Permission::Allow
    }

    #[test]
    fn the_order_of_what_decides() {
        let plain = Grant::default();
        let open = Policy::default();
        assert!(open.is_open() && may(&open, &plain, "a"));
        let policy =
            Policy { rules: rules("{allow, all, all, [\"a\"]}.\n{deny, all, all, [\"b\"]}."), ..Policy::default() };
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
