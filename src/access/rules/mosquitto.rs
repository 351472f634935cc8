//! Mosquitto's `acl_file`, read as it is.
//!
//! Mosquitto lets everybody subscribe to anything and looks at each message on its way out. Here a subscription is refused that asks for what may not be
//! read, so that nothing has to be looked at then.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use super::{
    Action, ActionCondition, Condition, Permission, Place, Reach, Rule, RuleCause, RuleError, Rules, Syntax,
    TopicPattern, Who, erlang::FILE_BYTES_MAX,
};

/// Rules in Mosquitto's order: of those for the user, or for who has no name, those that deny, then those that allow; then the patterns for all, likewise.
#[derive(Clone, Debug, Default)]
pub struct ByUser {
    anonymous: Vec<Rule>,
    users: HashMap<Box<str>, Vec<Rule>, RandomState>,
    patterns: Vec<Rule>,
}

impl ByUser {
    /// The file that they were read from; `None` when it has none.
    pub(super) fn source(&self) -> Option<&str> {
        let mut all = self.anonymous.iter().chain(&self.patterns).chain(self.users.values().flatten());
        all.next().map(|rule| &*rule.place.source)
    }

    pub(super) fn find(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<&Rule> {
        let own = match who.username {
            Some(username) => self.users.get(username),
            None => Some(&self.anonymous),
        };
        first(own.map_or(&[], Vec::as_slice), who, action, topic).or_else(|| first(&self.patterns, who, action, topic))
    }

    pub(super) fn len(&self) -> usize {
        self.anonymous.len() + self.patterns.len() + self.users.values().map(Vec::len).sum::<usize>()
    }
}

/// "Any deny topics are handled before topics that grant read/write access."
fn first<'a>(rules: &'a [Rule], who: &Who<'_>, action: Action, topic: &str) -> Option<&'a Rule> {
    let mut allowed = None;
    for rule in rules {
        match rule.permission {
            Permission::Deny if rule.holds(who, action, topic) => return Some(rule),
            Permission::Allow if allowed.is_none() && rule.holds(who, action, topic) => allowed = Some(rule),
            _ => {}
        }
    }
    allowed
}

/// Reads the text of an `acl_file`. `source` names it in messages.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, source: &Arc<str>) -> Result<Rules, RuleError> {
    let mut rules = ByUser::default();
    let mut user: Option<Box<str>> = None;
    if text.len() > FILE_BYTES_MAX {
        let place = Place { source: source.clone(), line: 1 };
        return Err(RuleError { place, cause: RuleCause::TooLarge("a file has at most 16 MiB") });
    }
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let place = Place { source: source.clone(), line };
        let fail = |cause| RuleError { place: place.clone(), cause };
        let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let rest = rest.trim();
        let syntax = match word {
            "topic" => Syntax::None,
            "pattern" => Syntax::Percent,
            "user" if rest.is_empty() => {
                return Err(fail(RuleCause::Syntax { found: text.into(), expected: "a user name behind \"user\"" }));
            }
            "user" => {
                rules.users.entry(rest.into()).or_default();
                user = Some(rest.into());
                continue;
            }
            _ => return Err(fail(RuleCause::Syntax { found: word.into(), expected: "user, topic or pattern" })),
        };
        let rule = rule(rest, syntax, place.clone()).map_err(fail)?;
        match (syntax, &user) {
            (Syntax::Percent, _) => rules.patterns.push(rule),
            (_, None) => rules.anonymous.push(rule),
            (_, Some(user)) => rules.users.entry(user.clone()).or_default().push(rule),
        }
    }
    Ok(Rules::ByUser(Arc::new(rules)))
}

fn rule(text: &str, syntax: Syntax, place: Place) -> Result<Rule, RuleCause> {
    // Without an access in front, the first word belongs to the topic.
    let (permission, action, topic) = match text.split_once([' ', '\t']) {
        Some(("read", topic)) => (Permission::Allow, ActionCondition::SUBSCRIBE, topic),
        Some(("write", topic)) => (Permission::Allow, ActionCondition::PUBLISH, topic),
        Some(("readwrite", topic)) => (Permission::Allow, ActionCondition::ALL, topic),
        Some(("deny", topic)) => (Permission::Deny, ActionCondition::ALL, topic),
        Some((access, _)) => {
            return Err(RuleCause::Syntax { found: access.into(), expected: "read, write, readwrite or deny" });
        }
        None => (Permission::Allow, ActionCondition::ALL, text),
    };
    let topic = topic.trim();
    let pattern = TopicPattern::filter(topic, syntax);
    let pattern = pattern.map_err(|error| RuleCause::Topic { topic: topic.into(), error })?;
    Ok(Rule { permission, who: Condition::All, action, topics: Some([pattern].into()), reach: Reach::Touched, place })
}

#[cfg(test)]
mod tests {
    use thingway_contract::Qos;

    use super::*;
    use crate::access::rules::RuleSet;

    const WRITE: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };
    const READ: Action = Action::Subscribe { qos: Qos::AtMostOnce };

    fn rules(text: &str) -> RuleSet {
        let rules = parse(text, &"aclfile".into()).unwrap_or_else(|error| panic!("{error}"));
        RuleSet([rules].into())
    }

    fn may(rules: &RuleSet, who: &Who<'_>, action: Action, topic: &str) -> bool {
        rules.find(who, action, topic).is_some_and(|rule| rule.permission == Permission::Allow)
    }

    /// The file that Mosquitto ships as an example, and what its comments say.
    #[test]
    fn the_example_that_mosquitto_ships() {
        let rules = rules(
            "# This affects access control for clients with no username.\n\
             topic read $SYS/#\n\
             \n\
             # This only affects clients with username \"roger\".\n\
             user roger\n\
             topic foo/bar\n\
             \n\
             # This affects all clients.\n\
             pattern write $SYS/broker/connection/%c/state\n",
        );
        let nobody = Who { client_id: "n", ..Who::nobody() };
        let roger = Who { client_id: "r", username: Some("roger"), ..Who::nobody() };
        let other = Who { client_id: "o", username: Some("other"), ..Who::nobody() };
        for (who, action, topic, expected) in [
            (&nobody, READ, "$SYS/broker/uptime", true),
            (&nobody, WRITE, "$SYS/broker/uptime", false),
            (&nobody, READ, "foo/bar", false),
            (&roger, READ, "foo/bar", true),
            (&roger, WRITE, "foo/bar", true),
            (&roger, READ, "$SYS/broker/uptime", false),
            (&roger, WRITE, "foo/baz", false),
            (&other, READ, "foo/bar", false),
            (&roger, WRITE, "$SYS/broker/connection/r/state", true),
            (&other, WRITE, "$SYS/broker/connection/o/state", true),
            (&nobody, WRITE, "$SYS/broker/connection/n/state", true),
            (&other, WRITE, "$SYS/broker/connection/r/state", false),
            (&other, READ, "$SYS/broker/connection/o/state", false),
        ] {
            assert_eq!(may(&rules, who, action, topic), expected, "{who:?} {action:?} {topic}");
        }
    }

    /// The sentences of mosquitto.conf(5).
    #[test]
    fn the_cases_of_its_manual() {
        let bob = Who { client_id: "c", username: Some("bob"), ..Who::nobody() };
        let access =
            rules("user bob\ntopic a\ntopic readwrite b\ntopic read c\ntopic write d\ntopic read with space\n");
        for (topic, read, write) in
            [("a", true, true), ("b", true, true), ("c", true, false), ("d", false, true), ("with space", true, false)]
        {
            assert_eq!((may(&access, &bob, READ, topic), may(&access, &bob, WRITE, topic)), (read, write), "{topic}");
        }
        let deny = rules("user bob\ntopic read house/#\ntopic deny house/secret\n");
        assert!(may(&deny, &bob, READ, "house/kitchen") && !may(&deny, &bob, READ, "house/secret"));
        assert!(!may(&deny, &bob, READ, "house/#"), "it would bring what may not be read");
        let pattern = rules("pattern write sensor/%u/data\n");
        assert!(may(&pattern, &bob, WRITE, "sensor/bob/data") && !may(&pattern, &bob, WRITE, "sensor/eve/data"));
        assert!(!may(&pattern, &Who { username: None, ..bob }, WRITE, "sensor/bob/data"));
        for username in ["+", "#", "a/b"] {
            let eve = Who { username: Some(username), ..bob };
            assert!(!may(&pattern, &eve, WRITE, &format!("sensor/{username}/data")), "{username}");
        }
        let again = rules("user bob\ntopic a\nuser eve\ntopic b\nuser bob\ntopic c\n");
        assert!(may(&again, &bob, READ, "a") && may(&again, &bob, READ, "c") && !may(&again, &bob, READ, "b"));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        for (text, expected) in [
            ("topic read a\nusr bob\n", "aclfile:2: found usr, expected user, topic or pattern"),
            ("user \n", "aclfile:1: found user"),
            ("\ntopic reed a\n", "aclfile:2: found reed, expected read, write, readwrite or deny"),
            ("topic\n", "aclfile:1: \"\": a topic is not empty"),
            ("topic read a#\n", "aclfile:1: \"a#\": + stands alone"),
        ] {
            let error = parse(text, &"aclfile".into()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}\n{error}");
        }
    }
}
