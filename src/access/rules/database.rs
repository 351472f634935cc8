//! Rules in the store: for a user, for a client id, or for all, in the form of EMQX's built-in database.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::{
    Action, ActionCondition, Condition, Permission, Place, Reach, Rule, RuleCause, Syntax, TextCondition, TopicPattern,
    Who,
};

/// What the keys of rules begin with.
pub const RULE_PREFIX: &str = "rule/";
/// Most rules of one holder.
pub const RULES_MAX: usize = 100;

/// Whom rules of the database are about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// The client with this client id.
    ClientId(Box<str>),
    /// Those with this user name.
    Username(Box<str>),
    /// Everybody.
    All,
}

impl Holder {
    /// The key of its row.
    pub fn key(&self) -> String {
        match self {
            Self::ClientId(id) => format!("{RULE_PREFIX}client_id/{id}"),
            Self::Username(name) => format!("{RULE_PREFIX}username/{name}"),
            Self::All => format!("{RULE_PREFIX}all"),
        }
    }

    /// Whose row it is.
    pub fn of_key(key: &str) -> Option<Self> {
        let rest = key.strip_prefix(RULE_PREFIX)?;
        match rest.split_once('/') {
            Some(("client_id", id)) if !id.is_empty() => Some(Self::ClientId(id.into())),
            Some(("username", name)) if !name.is_empty() => Some(Self::Username(name.into())),
            None if rest == "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// A rule as EMQX writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRule {
    /// `allow` or `deny`.
    pub permission: WrittenPermission,
    /// `publish`, `subscribe` or `all`.
    pub action: WrittenAction,
    /// A filter with placeholders, or `eq ` and a literal one.
    pub topic: String,
    /// Qualities of service; all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<Vec<u8>>,
    /// Of publications, those with or without the retain flag; `all` for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<WrittenRetain>,
    /// A range of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipaddr: Option<String>,
    /// A regular expression that is found in the client id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clientid_re: Option<String>,
    /// A regular expression that is found in the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_re: Option<String>,
    /// A regular expression that is found in the listener's name, as `tcp.default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_re: Option<String>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WrittenPermission {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WrittenAction {
    /// Publishing.
    Publish,
    /// Subscribing.
    Subscribe,
    /// Both.
    All,
}

/// Which publications a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WrittenRetain {
    /// With the flag, or without.
    Flag(bool),
    /// `all`, `true` or `false`.
    Word(RetainWord),
}

/// The same in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetainWord {
    /// All.
    All,
    /// With the flag.
    True,
    /// Without.
    False,
}

/// Why a row has no rules that could be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowRuleError {
    /// The key names nobody.
    #[error("the key names no client id, no user name and not all")]
    Key,
    /// It is not the JSON that is written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// There are too many.
    #[error("more than {RULES_MAX} rules")]
    TooMany,
    /// One of them is wrong.
    #[error("rule {number}: {cause}")]
    Rule {
        /// Its number, from 1.
        number: usize,
        /// What is wrong.
        cause: RuleCause,
    },
}

/// Reads a row.
///
/// # Errors
/// See [`RowRuleError`].
pub fn written_rules(row: &str) -> Result<Vec<WrittenRule>, RowRuleError> {
    let rules: Vec<WrittenRule> = serde_json::from_str(row)?;
    if rules.len() > RULES_MAX { Err(RowRuleError::TooMany) } else { Ok(rules) }
}

/// Rules as a row.
pub fn row_of_rules(rules: &[WrittenRule]) -> String {
    serde_json::to_string(rules).expect("texts and numbers can be written as JSON")
}

/// Compiles the rules of one holder.
///
/// # Errors
/// The first that is wrong.
pub fn compile_rules(holder: &Holder, rules: &[WrittenRule]) -> Result<Box<[Rule]>, RowRuleError> {
    if rules.len() > RULES_MAX {
        return Err(RowRuleError::TooMany);
    }
    let source: Arc<str> = match holder {
        Holder::ClientId(id) => format!("database, client id {id:?}").into(),
        Holder::Username(name) => format!("database, user {name:?}").into(),
        Holder::All => "database, all".into(),
    };
    let one = |(number, rule): (usize, &WrittenRule)| {
        let place = Place { source: source.clone(), line: u32::try_from(number).unwrap_or(u32::MAX) };
        rule.compile(place).map_err(|cause| RowRuleError::Rule { number, cause })
    };
    (1..).zip(rules).map(one).collect()
}

impl WrittenRule {
    fn compile(&self, place: Place) -> Result<Rule, RuleCause> {
        let mut all = Vec::new();
        if let Some(network) = &self.ipaddr {
            all.push(Condition::address([network.as_str()])?);
        }
        for (pattern, make) in [
            (&self.clientid_re, Condition::ClientId as fn(TextCondition) -> Condition),
            (&self.username_re, Condition::Username),
            (&self.listener_re, Condition::Listener),
        ] {
            if let Some(pattern) = pattern {
                all.push(make(TextCondition::regex(pattern)?));
            }
        }
        let pattern = match self.topic.strip_prefix("eq ") {
            Some(text) => TopicPattern::exactly(text),
            None => TopicPattern::filter(&self.topic, Syntax::Braces),
        };
        let pattern = pattern.map_err(|error| RuleCause::Topic { topic: self.topic.clone(), error })?;
        let qos = match self.qos.as_deref() {
            None | Some([]) => ActionCondition::ALL.qos,
            Some(some) => {
                if let Some(wrong) = some.iter().find(|&&qos| qos > 2) {
                    return Err(RuleCause::Syntax { found: wrong.to_string(), expected: "a qos from 0 to 2" });
                }
                some.iter().fold(0, |bits, qos| bits | 1 << qos)
            }
        };
        Ok(Rule {
            permission: match self.permission {
                WrittenPermission::Allow => Permission::Allow,
                WrittenPermission::Deny => Permission::Deny,
            },
            who: if all.is_empty() { Condition::All } else { Condition::And(all.into()) },
            action: ActionCondition {
                publish: self.action != WrittenAction::Subscribe,
                subscribe: self.action != WrittenAction::Publish,
                qos,
                retain: match self.retain {
                    None | Some(WrittenRetain::Word(RetainWord::All)) => None,
                    Some(WrittenRetain::Flag(flag)) => Some(flag),
                    Some(WrittenRetain::Word(word)) => Some(word == RetainWord::True),
                },
            },
            topics: Some([pattern].into()),
            // As in EMQX, whose rules these are.
            reach: Reach::Covered,
            place,
        })
    }
}

/// The rules of one holder, as they were written and as they are asked.
#[derive(Debug, Default)]
pub struct HeldRules {
    written: Box<[WrittenRule]>,
    compiled: Box<[Rule]>,
}

impl HeldRules {
    /// Compiles them.
    ///
    /// # Errors
    /// See [`RowRuleError`].
    pub fn new(holder: &Holder, written: Vec<WrittenRule>) -> Result<Self, RowRuleError> {
        Ok(Self { compiled: compile_rules(holder, &written)?, written: written.into() })
    }

    /// As they were written.
    pub fn written(&self) -> &[WrittenRule] {
        &self.written
    }
}

/// Rules by a name. It is copied when something changes while others look at it: then only the part is copied that changes.
#[derive(Clone, Debug)]
struct ByName {
    hasher: RandomState,
    parts: Box<[Arc<Part>]>,
}

/// A part of them.
type Part = HashMap<Box<str>, Arc<HeldRules>>;

/// Parts that are copied by themselves.
const PARTS: usize = 256;

impl Default for ByName {
    fn default() -> Self {
        let empty = Arc::default();
        Self { hasher: RandomState::default(), parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect() }
    }
}

impl ByName {
    fn part(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize % PARTS
    }

    fn get(&self, name: &str) -> Option<&Arc<HeldRules>> {
        self.parts[self.part(name)].get(name)
    }

    /// Puts rules in the place of those before, and says how many these were.
    fn set(&mut self, name: &str, rules: Option<Arc<HeldRules>>) -> usize {
        let part = Arc::make_mut(&mut self.parts[self.part(name)]);
        let before = match rules {
            Some(rules) => part.insert(name.into(), rules),
            None => part.remove(name),
        };
        before.map_or(0, |before| before.compiled.len())
    }

    fn all(&self) -> Vec<(&str, &HeldRules)> {
        let mut all: Vec<_> =
            self.parts.iter().flat_map(|part| part.iter()).map(|(name, rules)| (&**name, &**rules)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }
}

/// All rules of the database. Those of the client id are asked first, then those of the user name, then those for all.
#[derive(Clone, Debug, Default)]
pub struct RuleDatabase {
    client_ids: ByName,
    usernames: ByName,
    all: Arc<HeldRules>,
    len: usize,
}

/// A kind of holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderKind {
    /// Client ids.
    ClientId,
    /// User names.
    Username,
}

impl RuleDatabase {
    /// Adds a row.
    ///
    /// # Errors
    /// See [`RowRuleError`].
    pub fn add(&mut self, key: &str, row: &str) -> Result<(), RowRuleError> {
        let holder = Holder::of_key(key).ok_or(RowRuleError::Key)?;
        let rules = HeldRules::new(&holder, written_rules(row)?)?;
        self.set(&holder, Some(Arc::new(rules)));
        Ok(())
    }

    /// Puts rules in the place of those that somebody has.
    pub fn set(&mut self, holder: &Holder, rules: Option<Arc<HeldRules>>) {
        let after = rules.as_ref().map_or(0, |rules| rules.compiled.len());
        let before = match holder {
            Holder::ClientId(id) => self.client_ids.set(id, rules),
            Holder::Username(name) => self.usernames.set(name, rules),
            Holder::All => std::mem::replace(&mut self.all, rules.unwrap_or_default()).compiled.len(),
        };
        self.len = self.len - before + after;
    }

    /// What somebody has; `None` without any.
    pub fn held(&self, holder: &Holder) -> Option<&HeldRules> {
        match holder {
            Holder::ClientId(id) => self.client_ids.get(id).map(|rules| &**rules),
            Holder::Username(name) => self.usernames.get(name).map(|rules| &**rules),
            Holder::All => Some(&*self.all).filter(|rules| !rules.written.is_empty()),
        }
    }

    /// All who have rules, by their names.
    pub fn holders(&self, kind: HolderKind) -> Vec<(&str, &HeldRules)> {
        match kind {
            HolderKind::ClientId => self.client_ids.all(),
            HolderKind::Username => self.usernames.all(),
        }
    }

    pub(super) fn find(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<&Rule> {
        if self.len == 0 {
            return None;
        }
        let of_client = self.client_ids.get(who.client_id);
        let of_user = who.username.and_then(|name| self.usernames.get(name));
        let all = of_client.into_iter().chain(of_user).chain([&self.all]);
        all.flat_map(|rules| rules.compiled.iter()).find(|rule| rule.holds(who, action, topic))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::Qos;

    use super::*;

    fn database(rows: &[(&str, &str)]) -> RuleDatabase {
        let mut database = RuleDatabase::default();
        for (key, row) in rows {
            database.add(key, row).unwrap_or_else(|error| panic!("{key}: {error}"));
        }
        database
    }

    #[test]
    fn the_client_id_is_asked_before_the_user_and_all() {
        let database = database(&[
            ("rule/client_id/c", r#"[{"permission":"allow","action":"publish","topic":"a"}]"#),
            (
                "rule/username/bob",
                r#"[{"permission":"deny","action":"all","topic":"a"},{"permission":"allow","action":"subscribe","topic":"b/${clientid}"}]"#,
            ),
            ("rule/all", r#"[{"permission":"deny","action":"all","topic":"eq #"}]"#),
        ]);
        assert_eq!(database.len(), 4);
        let publish = Action::Publish { qos: Qos::AtMostOnce, retain: false };
        let read = Action::Subscribe { qos: Qos::AtMostOnce };
        let bob = |client_id| Who { client_id, username: Some("bob"), ..Who::nobody() };
        let find = |who: &Who<'_>, action, topic| database.find(who, action, topic).map(|rule| rule.permission);
        assert_eq!(find(&bob("c"), publish, "a"), Some(Permission::Allow));
        assert_eq!(find(&bob("d"), publish, "a"), Some(Permission::Deny));
        assert_eq!(find(&bob("c"), read, "a"), Some(Permission::Deny));
        assert_eq!(find(&bob("d"), read, "b/d"), Some(Permission::Allow));
        assert_eq!(find(&Who::nobody(), read, "#"), Some(Permission::Deny));
        assert_eq!(find(&Who::nobody(), publish, "a"), None);
        let place = database.find(&bob("d"), read, "b/d").expect("a rule").place.to_string();
        assert_eq!(place, "database, user \"bob\":2");
    }

    #[test]
    fn what_changes_leaves_what_others_look_at() {
        let mut database = database(&[("rule/username/bob", r#"[{"permission":"deny","action":"all","topic":"a"}]"#)]);
        let before = database.clone();
        let held = |holder: &Holder, row| {
            Some(Arc::new(HeldRules::new(holder, written_rules(row).expect("rules")).expect("good")))
        };
        let (bob, eve) = (Holder::Username("bob".into()), Holder::ClientId("eve".into()));
        let two =
            r#"[{"permission":"allow","action":"all","topic":"a"},{"permission":"deny","action":"all","topic":"b"}]"#;
        database.set(&bob, held(&bob, two));
        database.set(&eve, held(&eve, "[]"));
        database.set(&Holder::All, held(&Holder::All, two));
        assert_eq!((database.len(), before.len()), (4, 1));
        let publish = Action::Publish { qos: Qos::AtMostOnce, retain: false };
        let who = Who { username: Some("bob"), ..Who::nobody() };
        let find = |database: &RuleDatabase| database.find(&who, publish, "a").map(|rule| rule.permission);
        assert_eq!((find(&database), find(&before)), (Some(Permission::Allow), Some(Permission::Deny)));
        assert_eq!(database.holders(HolderKind::Username).len(), 1);
        assert!(database.held(&eve).is_some() && before.held(&eve).is_none() && before.held(&Holder::All).is_none());
        for holder in [&bob, &eve, &Holder::All] {
            database.set(holder, None);
        }
        assert!(database.is_empty() && find(&database).is_none() && database.holders(HolderKind::ClientId).is_empty());
    }

    #[test]
    fn emqx_forms() {
        let database = database(&[(
            "rule/all",
            r#"[{"permission":"allow","action":"publish","topic":"q","qos":[1],"retain":"false"},
                {"permission":"allow","action":"publish","topic":"r","retain":true},
                {"permission":"allow","action":"all","topic":"n","retain":"all","ipaddr":"10.0.0.0/8","clientid_re":"^s","listener_re":"^tcp"}]"#,
        )]);
        let sensor =
            Who { client_id: "s1", listener: "tcp.default", address: "10.1.1.1".parse().ok(), ..Who::nobody() };
        let may =
            |who: &Who<'_>, qos, retain, topic| database.find(who, Action::Publish { qos, retain }, topic).is_some();
        assert!(may(&sensor, Qos::AtLeastOnce, false, "q") && !may(&sensor, Qos::AtLeastOnce, true, "q"));
        assert!(!may(&sensor, Qos::AtMostOnce, false, "q"));
        assert!(may(&sensor, Qos::AtMostOnce, true, "r") && !may(&sensor, Qos::AtMostOnce, false, "r"));
        assert!(may(&sensor, Qos::AtMostOnce, true, "n"));
        assert!(!may(&Who { client_id: "x", ..sensor }, Qos::AtMostOnce, true, "n"));
        assert!(!may(&Who { address: None, ..sensor }, Qos::AtMostOnce, true, "n"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let add = |key: &str, row: &str| RuleDatabase::default().add(key, row).map_err(|error| error.to_string());
        for key in ["rule/", "rule/username/", "rule/some/x", "user/bob"] {
            assert!(add(key, "[]").is_err(), "{key}");
        }
        for (row, expected) in [
            ("{", "expected a sequence"),
            ("[{", "EOF"),
            (r#"[{"permission":"maybe","action":"all","topic":"a"}]"#, "unknown variant"),
            (r#"[{"permission":"allow","action":"all","topic":"a","who":1}]"#, "unknown field"),
            (r#"[{"permission":"allow","action":"all","topic":"a/#/b"}]"#, "rule 1: \"a/#/b\""),
            (r#"[{"permission":"allow","action":"all","topic":"a","qos":[3]}]"#, "rule 1: found 3"),
            (r#"[{"permission":"allow","action":"all","topic":"a","ipaddr":"x"}]"#, "rule 1: \"x\""),
            (r#"[{"permission":"allow","action":"all","topic":"a","username_re":"("}]"#, "rule 1: \"(\""),
        ] {
            let told = add("rule/all", row).expect_err(row);
            assert!(told.contains(expected), "{told}");
        }
        let rule = r#"{"permission":"allow","action":"all","topic":"a"}"#;
        let many = |count| format!("[{}]", vec![rule; count].join(","));
        assert!(add("rule/all", &many(RULES_MAX)).is_ok() && add("rule/all", &many(RULES_MAX + 1)).is_err());
        for holder in [Holder::All, Holder::ClientId("a/b".into()), Holder::Username("x".into())] {
            assert_eq!(Holder::of_key(&holder.key()), Some(holder));
        }
    }
}
