//! Rules that come with credentials, in a token's claim or an authenticator's reply, in both forms that EMQX has.
//!
//! A list of objects, `[{"permission": "allow", "action": "publish", "topic": "t/${clientid}", "qos": [0, 1], "retain": false}]`; or an object with
//! lists of topics that are allowed, `{"pub": [], "sub": [], "all": []}`, after which nothing else is.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    ActionCondition, Condition, Permission, Place, Reach, Rule, RuleCause, RuleError, Rules, Syntax, TopicPattern,
};

/// Most rules that come with credentials.
const RULES_MAX: usize = 1024;

/// Reads rules. `source` names them in messages; `None` when there are none to read.
///
/// # Errors
/// The first thing that is wrong: whoever brought it must not be let in with what is left.
pub fn parse(claim: &Value, source: &Arc<str>) -> Result<Option<Rules>, RuleError> {
    let mut rules = Vec::new();
    match claim {
        Value::Null => return Ok(None),
        Value::Array(entries) => {
            for entry in entries {
                let place = next_place(source, &rules)?;
                let rule = rule(entry, place.clone()).map_err(|cause| RuleError { place, cause })?;
                rules.push(rule);
            }
        }
        Value::Object(lists) => allowed(lists, source, &mut rules)?,
        other => {
            return Err(RuleError { place: next_place(source, &rules)?, cause: syntax(other, "a list or an object") });
        }
    }
    Ok(Some(Rules::InOrder(rules.into())))
}

fn next_place(source: &Arc<str>, rules: &[Rule]) -> Result<Place, RuleError> {
    let place = Place { source: source.clone(), line: rules.len() as u32 + 1 };
    if rules.len() >= RULES_MAX {
        return Err(RuleError { place, cause: RuleCause::TooLarge("more than 1024 rules") });
    }
    Ok(place)
}

/// The older form: what is in no list is denied.
fn allowed(lists: &Map<String, Value>, source: &Arc<str>, rules: &mut Vec<Rule>) -> Result<(), RuleError> {
    for (name, topics) in lists {
        let action = match name.as_str() {
            "pub" => ActionCondition::PUBLISH,
            "sub" => ActionCondition::SUBSCRIBE,
            "all" => ActionCondition::ALL,
            _ => {
                let cause = RuleCause::Syntax { found: name.clone(), expected: "\"pub\", \"sub\" or \"all\"" };
                return Err(RuleError { place: next_place(source, rules)?, cause });
            }
        };
        let topics = match topics {
            Value::Null => &[][..],
            Value::Array(topics) => topics.as_slice(),
            one => std::slice::from_ref(one),
        };
        for topic in topics {
            let place = next_place(source, rules)?;
            let topics = pattern(topic).map_err(|cause| RuleError { place: place.clone(), cause })?;
            rules.push(with_action(Permission::Allow, action, Some([topics].into()), place));
        }
    }
    let place = Place { source: source.clone(), line: rules.len() as u32 + 1 };
    rules.push(with_action(Permission::Deny, ActionCondition::ALL, None, place));
    Ok(())
}

fn with_action(
    permission: Permission,
    action: ActionCondition,
    topics: Option<Box<[TopicPattern]>>,
    place: Place,
) -> Rule {
    Rule { permission, who: Condition::All, action, topics, reach: Reach::Covered, place }
}

fn rule(entry: &Value, place: Place) -> Result<Rule, RuleCause> {
    let Value::Object(entry) = entry else { return Err(syntax(entry, "an object")) };
    let mut permission = None;
    let mut action = None;
    let mut topics: Option<Box<[TopicPattern]>> = None;
    let (mut qos, mut retain) = (ActionCondition::ALL.qos, None);
    for (name, value) in entry {
        match name.as_str() {
            "permission" => permission = Some(read_permission(value)?),
            "action" => action = Some(read_action(value)?),
            "topic" => topics = Some([pattern(value)?].into()),
            "topics" => {
                let Value::Array(list) = value else { return Err(syntax(value, "a list of topics")) };
                topics = Some(list.iter().map(pattern).collect::<Result<_, _>>()?);
            }
            "qos" => qos = read_qos(value)?,
            "retain" => retain = read_retain(value)?,
            // A condition that is not understood would be one that does not count.
            _ => {
                let expected = "permission, action, topic, topics, qos or retain";
                return Err(RuleCause::Syntax { found: name.clone(), expected });
            }
        }
    }
    let missing = |expected| RuleCause::Syntax { found: "nothing".into(), expected };
    let action: ActionCondition = action.ok_or(missing("an action"))?;
    let permission = permission.ok_or(missing("a permission"))?;
    let topics = topics.ok_or(missing("a topic"))?;
    Ok(with_action(permission, ActionCondition { qos, retain, ..action }, Some(topics), place))
}

fn read_permission(value: &Value) -> Result<Permission, RuleCause> {
    match word(value).as_deref() {
        Some("allow") => Ok(Permission::Allow),
        Some("deny") => Ok(Permission::Deny),
        _ => Err(syntax(value, "\"allow\" or \"deny\"")),
    }
}

fn read_action(value: &Value) -> Result<ActionCondition, RuleCause> {
    match word(value).as_deref() {
        Some("publish" | "pub") => Ok(ActionCondition::PUBLISH),
        Some("subscribe" | "sub") => Ok(ActionCondition::SUBSCRIBE),
        Some("all" | "pubsub") => Ok(ActionCondition::ALL),
        _ => Err(syntax(value, "\"publish\", \"subscribe\" or \"all\"")),
    }
}

/// A number, a list of numbers, or either as text with commas.
fn read_qos(value: &Value) -> Result<u8, RuleCause> {
    const EXPECTED: &str = "qualities of service from 0 to 2";
    let one = |value: &Value| match value {
        Value::Number(number) => number.as_u64().filter(|qos| *qos <= 2).map(|qos| 1 << qos),
        Value::String(text) => text.split(',').try_fold(0, |bits, part| match part.trim() {
            "0" => Some(bits | 1),
            "1" => Some(bits | 1 << 1),
            "2" => Some(bits | 1 << 2),
            _ => None,
        }),
        _ => None,
    };
    let bits = match value {
        Value::Array(list) if !list.is_empty() => list.iter().try_fold(0u8, |bits, value| Some(bits | one(value)?)),
        Value::Array(_) => None,
        value => one(value),
    };
    bits.ok_or_else(|| syntax(value, EXPECTED))
}

fn read_retain(value: &Value) -> Result<Option<bool>, RuleCause> {
    match value {
        Value::Bool(retain) => Ok(Some(*retain)),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(Some(false)),
        Value::Number(number) if number.as_u64() == Some(1) => Ok(Some(true)),
        _ => match word(value).as_deref() {
            Some("all") => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            _ => Err(syntax(value, "true, false or \"all\"")),
        },
    }
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_ascii_lowercase)
}

fn pattern(value: &Value) -> Result<TopicPattern, RuleCause> {
    let Some(topic) = value.as_str() else { return Err(syntax(value, "a topic")) };
    let pattern = match topic.strip_prefix("eq ") {
        Some(text) => TopicPattern::exactly(text),
        None => TopicPattern::filter(topic, Syntax::Braces),
    };
    pattern.map_err(|error| RuleCause::Topic { topic: topic.into(), error })
}

fn syntax(found: &Value, expected: &'static str) -> RuleCause {
    let mut found = found.to_string();
    if let Some((at, _)) = found.char_indices().nth(40) {
        found.truncate(at);
    }
    RuleCause::Syntax { found, expected }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thingway_contract::Qos;

    use super::*;
    use crate::access::rules::{Action, RuleSet, Who};

    fn publish(qos: Qos, retain: bool) -> Action {
        Action::Publish { qos, retain }
    }

    const READ: Action = Action::Subscribe { qos: Qos::AtMostOnce };
    const WRITE: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };

    fn rules(claim: &Value) -> RuleSet {
        let rules = parse(claim, &"acl".into()).unwrap_or_else(|error| panic!("{error}")).expect("there are some");
        RuleSet([rules].into())
    }

    fn decide(rules: &RuleSet, action: Action, topic: &str) -> Option<bool> {
        let who = Who { client_id: "c", username: Some("u"), ..Who::nobody() };
        rules.find(&who, action, topic).map(|rule| rule.permission == Permission::Allow)
    }

    /// EMQX's documentation, "Authorization with JWT", both formats.
    #[test]
    fn the_forms_that_emqx_has() {
        let new = rules(&json!([
            { "permission": "allow", "action": "publish", "topic": "eq ${clientid}/#", "qos": [0, 1], "retain": true },
            { "permission": "deny", "action": "subscribe", "topic": "secret/#" },
            { "permission": "allow", "action": "all", "topics": ["${username}/+", "open"], "qos": "0,2" },
        ]));
        assert_eq!(decide(&new, publish(Qos::AtLeastOnce, true), "${clientid}/#"), Some(true));
        assert_eq!(decide(&new, publish(Qos::AtLeastOnce, false), "${clientid}/#"), None);
        assert_eq!(decide(&new, READ, "secret/x"), Some(false));
        assert_eq!(decide(&new, WRITE, "u/x"), Some(true));
        assert_eq!(decide(&new, publish(Qos::AtLeastOnce, false), "u/x"), None);
        assert_eq!(decide(&new, READ, "open"), Some(true));
        assert_eq!(decide(&new, WRITE, "other"), None);

        let old = rules(&json!({ "pub": ["p/${username}"], "sub": ["s/#"], "all": ["a"] }));
        for (action, topic, expected) in [
            (WRITE, "p/u", true),
            (READ, "p/u", false),
            (READ, "s/x", true),
            (WRITE, "s/x", false),
            (READ, "a", true),
            (WRITE, "a", true),
            (WRITE, "$SYS/x", false),
            (READ, "#", false),
        ] {
            assert_eq!(decide(&old, action, topic), Some(expected), "{action:?} {topic}");
        }
        assert_eq!(decide(&rules(&json!({})), READ, "a"), Some(false), "nothing is allowed");
        assert!(parse(&Value::Null, &"acl".into()).expect("good").is_none());
    }

    #[test]
    fn what_is_malformed_is_no_rule() {
        let entry = |name: &str, value: Value| {
            let mut entry = json!({ "permission": "allow", "action": "all", "topic": "t" });
            entry[name] = value;
            json!([entry])
        };
        for bad in [
            json!("all"),
            json!(7),
            json!([7]),
            json!([{}]),
            json!([{ "permission": "allow", "action": "all" }]),
            json!([{ "permission": "allow", "topic": "t" }]),
            json!([{ "action": "all", "topic": "t" }]),
            entry("permission", json!("perhaps")),
            entry("permission", json!(true)),
            entry("action", json!("fetch")),
            entry("topic", json!(["t"])),
            entry("topic", json!("a/#/b")),
            entry("topic", json!("${nobody}")),
            entry("topics", json!("t")),
            entry("qos", json!(3)),
            entry("qos", json!([])),
            entry("qos", json!("0;1")),
            entry("retain", json!("perhaps")),
            entry("ipaddr", json!("10.0.0.0/8")),
            json!({ "pub": [7] }),
            json!({ "publish": ["t"] }),
            json!(vec![json!({ "permission": "allow", "action": "all", "topic": "t" }); RULES_MAX + 1]),
        ] {
            assert!(parse(&bad, &"acl".into()).is_err(), "{bad}");
        }
    }
}
