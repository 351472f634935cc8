//! Authorization by the rules that a database has for somebody.

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;
use thingway_connectors::{Field, Query, Row, Rows};

use super::complaint::Complaint;
use crate::access::{
    authority::{Authority, Inquiry, Ruled, Ruling},
    line::LineState,
    rules::{ActionCondition, Condition, Permission, Place, Reach, Rule, RuleCause, Rules, Syntax, TopicPattern},
};

/// How rules are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleForm {
    /// A rule a row, with the columns permission, action, topic (or topics), qos, retain and ipaddress.
    Columns,
    /// A topic a field, with what is allowed with it as its value.
    TopicToAction,
    /// Topics that are allowed, in attributes of these names: for publishing, for subscribing, and for both.
    Attributes([Box<str>; 3]),
}

/// A database with rules as an authority.
pub struct RowRules(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    query: Arc<dyn Query>,
    form: RuleForm,
    time: Duration,
    ignore_when_down: bool,
    complaint: Complaint,
}

/// What is wrong with a rule. Says what was found: it is the operator's, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum BadRule {
    #[error("{0} is not there")]
    Missing(&'static str),
    #[error("{column}: found {found:?}, expected {expected}")]
    Value { column: &'static str, found: String, expected: &'static str },
    #[error(transparent)]
    Cause(#[from] RuleCause),
}

impl RowRules {
    /// One that asks this database; its rules hold for a time.
    pub fn new(name: &str, query: Arc<dyn Query>, form: RuleForm, time: Duration, ignore_when_down: bool) -> Self {
        let complaint = Complaint::default();
        Self(Arc::new(Inner { name: name.into(), query, form, time, ignore_when_down, complaint }))
    }
}

impl Authority for RowRules {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn line(&self) -> Option<LineState> {
        let query = &self.0.query;
        Some(LineState::of_authorization(self.name(), query.is_resting(), query.counts()))
    }

    fn ask(&self, inquiry: Inquiry) -> Ruled {
        let inner = self.0.clone();
        let asking = inner.query.ask(&inquiry);
        Box::pin(async move {
            // Nothing is kept of what the client does not have.
            let Some(asking) = asking else {
                return Ok(Ruling::Rules(Arc::new(Rules::InOrder([].into())), inner.time));
            };
            match asking.await {
                Ok(rows) => Ok(Ruling::Rules(Arc::new(inner.rules(&rows)), inner.time)),
                Err(failure) => {
                    inner.complaint.failed(&inner.name, &failure);
                    Err(failure)
                }
            }
        })
    }

    fn when_down(&self) -> Option<Permission> {
        (!self.0.ignore_when_down).then_some(Permission::Deny)
    }
}

impl Inner {
    /// The rules of a client. If one cannot be understood nothing is allowed: what it denied would else be allowed by the next one.
    fn rules(&self, rows: &Rows) -> Rules {
        match read(rows, &self.form, &self.name) {
            Ok(rules) => Rules::InOrder(rules.into()),
            Err((line, bad)) => {
                let what = format!("rule {line} of a client cannot be understood, and nothing is allowed to it: {bad}");
                self.complaint.say(&self.name, &what);
                let place = Place { source: self.name.clone(), line };
                Rules::InOrder([rule(Permission::Deny, ActionCondition::ALL, None, place)].into())
            }
        }
    }
}

type Read = Result<Vec<Rule>, (u32, BadRule)>;

fn read(rows: &Rows, form: &RuleForm, source: &Arc<str>) -> Read {
    let place = |line| Place { source: source.clone(), line };
    let mut rules = Vec::new();
    match form {
        RuleForm::Columns => {
            for (line, row) in (1..).zip(rows) {
                rules.push(of_columns(row, place(line)).map_err(|bad| (line, bad))?);
            }
        }
        RuleForm::TopicToAction => {
            for (line, (topic, value)) in (1..).zip(rows.iter().flat_map(Row::iter)) {
                rules.push(of_pair(topic, value, place(line)).map_err(|bad| (line, bad))?);
            }
        }
        RuleForm::Attributes(names) => {
            let actions = [ActionCondition::PUBLISH, ActionCondition::SUBSCRIBE, ActionCondition::ALL];
            for row in rows {
                for (name, action) in names.iter().zip(actions) {
                    let Some(field) = row.find(name) else { continue };
                    let line = rules.len() as u32 + 1;
                    let topics = topics(field).map_err(|bad| (line, bad))?;
                    rules.push(rule(Permission::Allow, action, Some(topics), place(line)));
                }
            }
        }
    }
    Ok(rules)
}

fn rule(permission: Permission, action: ActionCondition, topics: Option<Box<[TopicPattern]>>, place: Place) -> Rule {
    // As with EMQX's files: what denies a topic does not deny the subscription to more than that.
    Rule { permission, who: Condition::All, action, topics, reach: Reach::Covered, place }
}

fn of_columns(row: &Row, place: Place) -> Result<Rule, BadRule> {
    let permission = row.find("permission").ok_or(BadRule::Missing("permission"))?;
    let permission = match word(permission).as_deref() {
        Some("allow") => Permission::Allow,
        Some("deny") => Permission::Deny,
        _ => return Err(bad("permission", permission, "\"allow\" or \"deny\"")),
    };
    let action = row.find("action").ok_or(BadRule::Missing("action"))?;
    let mut action = action_of(action).ok_or_else(|| bad("action", action, ACTIONS))?;
    if let Some(field) = row.find("qos") {
        action.qos = qos(field).ok_or_else(|| bad("qos", field, QOS))?;
    }
    if let Some(field) = row.find("retain") {
        action.retain = retain(field).ok_or_else(|| bad("retain", field, "true, false or \"all\""))?;
    }
    let topics = topics(row.find("topic").or_else(|| row.find("topics")).ok_or(BadRule::Missing("topic"))?)?;
    let who = ["ipaddress", "ipaddr"].into_iter().find_map(|name| row.find(name));
    let who = match who.map(|field| (field, field.text())) {
        None => Condition::All,
        Some((_, Some(text))) if text.trim().is_empty() => Condition::All,
        Some((_, Some(text))) => Condition::address(text.split(',').map(str::trim))?,
        Some((field, None)) => return Err(bad("ipaddress", field, "text")),
    };
    Ok(Rule { who, ..rule(permission, action, Some(topics), place) })
}

const ACTIONS: &str = "\"publish\", \"subscribe\" or \"all\"";
const QOS: &str = "qualities of service from 0 to 2, as 1, \"0,1\" or [0, 1]";

/// What is allowed with a topic, as an object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    action: String,
    #[serde(default)]
    qos: Option<Qos>,
    #[serde(default)]
    retain: Option<Retain>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Qos {
    One(i64),
    Several(Vec<i64>),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Retain {
    Truth(bool),
    Number(i64),
    Text(String),
}

fn of_pair(topic: &str, value: &Field, place: Place) -> Result<Rule, BadRule> {
    const EXPECTED: &str = "\"publish\", \"subscribe\", \"all\", or an object in JSON with action, qos and retain";
    let wrong = || bad("action", value, EXPECTED);
    let action = match action_of(value) {
        Some(action) => action,
        None => {
            let allowed: Allowed = serde_json::from_str(&value.text().ok_or_else(wrong)?).map_err(|_| wrong())?;
            let text = |text: String| Field::Text(zeroize::Zeroizing::new(text));
            let mut action = action_of(&text(allowed.action)).ok_or_else(wrong)?;
            if let Some(found) = allowed.qos {
                let field = match found {
                    Qos::One(one) => Field::Integer(one),
                    Qos::Several(all) => Field::List(all.into_iter().map(Field::Integer).collect()),
                    Qos::Text(all) => text(all),
                };
                action.qos = qos(&field).ok_or_else(wrong)?;
            }
            if let Some(found) = allowed.retain {
                let field = match found {
                    Retain::Truth(truth) => Field::Boolean(truth),
                    Retain::Number(number) => Field::Integer(number),
                    Retain::Text(all) => text(all),
                };
                action.retain = retain(&field).ok_or_else(wrong)?;
            }
            action
        }
    };
    Ok(rule(Permission::Allow, action, Some([pattern(topic)?].into()), place))
}

fn bad(column: &'static str, field: &Field, expected: &'static str) -> BadRule {
    let found = field.text().map_or_else(|| "no text".into(), |text| text.chars().take(100).collect());
    BadRule::Value { column, found, expected }
}

fn word(field: &Field) -> Option<String> {
    Some(field.text()?.trim().to_ascii_lowercase())
}

fn action_of(field: &Field) -> Option<ActionCondition> {
    Some(match word(field)?.as_str() {
        "all" => ActionCondition::ALL,
        "publish" => ActionCondition::PUBLISH,
        "subscribe" => ActionCondition::SUBSCRIBE,
        _ => return None,
    })
}

/// A bit for each.
fn qos(field: &Field) -> Option<u8> {
    let bit = |number: i64| (0..=2).contains(&number).then(|| 1 << number);
    match field {
        Field::Integer(number) => bit(*number),
        Field::List(all) => {
            all.iter().try_fold(0, |bits, one| Some(bits | bit(one.integer()?)?)).filter(|&bits| bits != 0)
        }
        _ => {
            let text = field.text()?;
            let text = text.trim();
            if text.is_empty() || text == "all" {
                return Some(0b111);
            }
            let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
            list.split(',').try_fold(0, |bits, one| Some(bits | bit(one.trim().parse().ok()?)?))
        }
    }
}

/// The outer `None`: it is neither.
fn retain(field: &Field) -> Option<Option<bool>> {
    match field.text().as_deref().map(str::trim) {
        Some("all" | "") => Some(None),
        _ => field.truth().map(Some),
    }
}

fn topics(field: &Field) -> Result<Box<[TopicPattern]>, BadRule> {
    let one = |field: &Field| match field.text() {
        Some(text) => pattern(&text),
        None => Err(bad("topic", field, "text")),
    };
    match field {
        Field::List(all) if all.is_empty() => Err(BadRule::Missing("topic")),
        Field::List(all) => all.iter().map(one).collect(),
        field => Ok([one(field)?].into()),
    }
}

fn pattern(text: &str) -> Result<TopicPattern, BadRule> {
    let pattern = match text.strip_prefix("eq ") {
        Some(text) => TopicPattern::exactly(text),
        None => TopicPattern::filter(text, Syntax::Braces),
    };
    pattern.map_err(|error| RuleCause::Topic { topic: text.into(), error }.into())
}

impl fmt::Debug for RowRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowRules").field("name", &self.0.name).field("form", &self.0.form).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use thingway_connectors::{Asking, Failure, LineCounts, Values};
    use thingway_contract::Qos as Quality;

    use super::*;
    use crate::access::{
        Attempt, Grant, Identity,
        rules::{Action, RuleSet, Who},
    };

    #[derive(Debug)]
    struct Fake(Result<Rows, Failure>);

    impl Query for Fake {
        fn ask(&self, values: &dyn Values) -> Option<Asking> {
            values.value("username")?;
            Some(Box::pin(std::future::ready(self.0.clone())))
        }

        fn names(&self) -> Vec<&str> {
            vec!["username"]
        }

        fn counts(&self) -> LineCounts {
            LineCounts::default()
        }
    }

    fn text(text: &str) -> Field {
        Field::Text(zeroize::Zeroizing::new(text.into()))
    }

    fn row(pairs: &[(&str, Field)]) -> Row {
        pairs.iter().map(|(name, field)| (*name, field.clone())).collect()
    }

    fn simple(permission: &str, action: &str, topic: &str) -> Vec<(&'static str, Field)> {
        vec![("permission", text(permission)), ("action", text(action)), ("topic", text(topic))]
    }

    async fn ask(form: RuleForm, answer: Result<Rows, Failure>, username: Option<&str>) -> Result<Rules, Failure> {
        let rules = RowRules::new("fake.main", Arc::new(Fake(answer)), form, Duration::from_secs(1), false);
        let attempt = Attempt {
            username: username.map(Into::into),
            listener: "test".into(),
            protocol: "mqtt",
            ..Attempt::default()
        };
        let identity = Arc::new(Identity::new(&attempt, Grant::default()));
        let action = Action::Subscribe { qos: Quality::AtMostOnce };
        let inquiry = Inquiry { identity, client_id: "c".into(), action, topic: "a".into() };
        match rules.ask(inquiry).await? {
            Ruling::Rules(rules, time) if time == Duration::from_secs(1) => Ok((*rules).clone()),
            other => panic!("{other:?}"),
        }
    }

    fn publish(qos: u8, retain: bool) -> Action {
        let qos = [Quality::AtMostOnce, Quality::AtLeastOnce, Quality::ExactlyOnce][usize::from(qos)];
        Action::Publish { qos, retain }
    }

    /// `Some(true)` is allowed, `None` undecided.
    fn may(rules: &Rules, action: Action, topic: &str) -> Option<bool> {
        let who = Who { client_id: "c1", username: Some("bob"), address: "10.0.0.7".parse().ok(), ..Who::nobody() };
        let rules = RuleSet([rules.clone()].into());
        rules.find(&who, action, topic).map(|rule| rule.permission == Permission::Allow)
    }

    #[tokio::test]
    async fn a_rule_a_row() {
        let mut own = simple("Allow", "publish", "d/${clientid}/+");
        own.extend([("qos", text("0,1")), ("retain", Field::Integer(0)), ("username", text("unused"))]);
        let mut near = simple("allow", "ALL", "near/#");
        near.push(("ipaddress", text("10.0.0.0/8")));
        let mut far = simple("allow", "all", "far/#");
        far.push(("ipaddr", text("192.168.0.0/16")));
        let several = vec![
            ("permission", text("deny")),
            ("action", text("all")),
            ("topics", Field::List(vec![text("x"), text("eq #")])),
        ];
        let rows = [own, near, far, several].iter().map(|pairs| row(pairs)).collect();
        let rules = ask(RuleForm::Columns, Ok(rows), Some("bob")).await.expect("rules");
        assert_eq!(rules.len(), 4);
        let subscribe = Action::Subscribe { qos: Quality::AtMostOnce };
        assert_eq!(may(&rules, publish(1, false), "d/c1/x"), Some(true));
        assert_eq!(may(&rules, publish(2, false), "d/c1/x"), None);
        assert_eq!(may(&rules, publish(1, true), "d/c1/x"), None);
        assert_eq!(may(&rules, publish(1, false), "d/c2/x"), None);
        assert_eq!(may(&rules, subscribe, "d/c1/x"), None);
        assert_eq!((may(&rules, subscribe, "near/x"), may(&rules, subscribe, "far/x")), (Some(true), None));
        assert_eq!((may(&rules, subscribe, "#"), may(&rules, publish(0, false), "x")), (Some(false), Some(false)));
        let none = ask(RuleForm::Columns, Ok(Rows::new()), None).await.expect("no rules");
        assert!(none.is_empty(), "who has no name has no rules under it");
    }

    #[tokio::test]
    async fn a_rule_that_is_not_understood_allows_nothing() {
        let good = row(&simple("allow", "all", "#"));
        let with = |name, field| {
            let mut pairs = simple("allow", "all", "a");
            pairs.push((name, field));
            row(&pairs)
        };
        for bad in [
            row(&simple("maybe", "all", "a")),
            row(&simple("allow", "read", "a")),
            row(&simple("allow", "all", "a/#/b")),
            row(&simple("allow", "all", "${nothing}")),
            row(&[("permission", text("allow"))]),
            with("qos", Field::Integer(3)),
            with("qos", text("0,x")),
            with("qos", Field::List(Vec::new())),
            with("retain", text("perhaps")),
            with("ipaddress", text("10.0.0.0/99")),
            with("ipaddress", Field::Bytes(vec![0xff].into())),
        ] {
            let rules = ask(RuleForm::Columns, Ok(vec![good.clone(), bad.clone()]), Some("bob")).await.expect("rules");
            assert_eq!(may(&rules, publish(0, false), "a"), Some(false), "{bad:?}");
            assert_eq!(may(&rules, publish(0, false), "$SYS/x"), Some(false), "{bad:?}");
        }
        let failure = ask(RuleForm::Columns, Err(Failure::TooLarge), Some("bob")).await.expect_err("no rules");
        assert_eq!(failure, Failure::TooLarge);
    }

    #[tokio::test]
    async fn redis_names_topics_and_directories_have_lists() {
        let pairs = row(&[
            ("a/${username}", text("publish")),
            ("b", text("all")),
            ("c", text(r#"{"action":"subscribe"}"#)),
            ("d", text(r#"{"action":"publish","qos":[1,2],"retain":true}"#)),
            ("e", text(r#"{"action":"publish","qos":0,"retain":"all"}"#)),
        ]);
        let rules = ask(RuleForm::TopicToAction, Ok(vec![pairs]), Some("bob")).await.expect("rules");
        let allowed = |action, topic| may(&rules, action, topic) == Some(true);
        assert!(allowed(publish(0, false), "a/bob") && !allowed(publish(0, false), "a/eve"));
        assert!(allowed(publish(0, false), "b") && !allowed(publish(0, false), "c"));
        assert!(allowed(publish(1, true), "d") && !allowed(publish(0, true), "d") && !allowed(publish(1, false), "d"));
        assert!(allowed(publish(0, true), "e") && !allowed(publish(1, true), "e"));
        for bad in ["1", "{}", r#"{"action":"publish","qos":7}"#, r#"{"action":"publish","ip":"x"}"#, ""] {
            let rules =
                ask(RuleForm::TopicToAction, Ok(vec![row(&[("b", text("all")), ("x", text(bad))])]), Some("bob"));
            assert_eq!(may(&rules.await.expect("rules"), publish(0, false), "b"), Some(false), "{bad}");
        }
        let names = ["pub".into(), "sub".into(), "both".into()];
        let attributes = row(&[("pub", Field::List(vec![text("p/1"), text("p/2")])), ("both", text("x/#"))]);
        let rules = ask(RuleForm::Attributes(names), Ok(vec![attributes]), Some("bob")).await.expect("rules");
        let allowed = |topic| may(&rules, publish(0, false), topic) == Some(true);
        assert!(allowed("p/1") && allowed("p/2") && allowed("x/y") && !allowed("p/3"));
    }
}
