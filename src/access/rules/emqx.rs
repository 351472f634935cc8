//! EMQX's `acl.conf`, read as it is.

use std::sync::Arc;

use super::{
    ActionCondition, Condition, Permission, Place, Reach, Rule, RuleCause, RuleError, Rules, Syntax, TextCondition,
    TopicPattern,
    erlang::{Term, terms},
};

/// Reads the text of an `acl.conf`. `source` names it in messages; `hardened` answers rules that ask for EMQX's security profile.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, source: &Arc<str>, hardened: bool) -> Result<Rules, RuleError> {
    let at = |line| Place { source: source.clone(), line };
    let terms = terms(text).map_err(|(line, cause)| RuleError { place: at(line), cause })?;
    let rule = |(line, term): (u32, Term)| {
        rule(&term, at(line), hardened).map_err(|cause| RuleError { place: at(line), cause })
    };
    terms.into_iter().map(rule).collect::<Result<_, _>>().map(Rules::InOrder)
}

fn wrong<T>(found: &Term, expected: &'static str) -> Result<T, RuleCause> {
    Err(RuleCause::Syntax { found: found.written(), expected })
}

fn rule(term: &Term, place: Place, hardened: bool) -> Result<Rule, RuleCause> {
    const EXPECTED: &str = "{allow|deny, Who, Action, [Topics]} or {allow|deny, all}";
    let Term::Tuple(parts) = term else { return wrong(term, EXPECTED) };
    let permission = match parts.first().and_then(Term::atom) {
        Some("allow") => Permission::Allow,
        Some("deny") => Permission::Deny,
        _ => return wrong(parts.first().unwrap_or(term), "allow or deny"),
    };
    let (who, action, topics) = match &parts[1..] {
        [who] => (condition(who, hardened)?, ActionCondition::ALL, None),
        [who, what, topics] => {
            let Some(topics) = topics.list() else { return wrong(topics, "a list of topics") };
            let topics = topics.iter().map(topic).collect::<Result<_, _>>()?;
            (condition(who, hardened)?, action(what)?, Some(topics))
        }
        _ => return wrong(term, EXPECTED),
    };
    Ok(Rule { permission, who, action, topics, reach: Reach::Covered, place })
}

fn condition(term: &Term, hardened: bool) -> Result<Condition, RuleCause> {
    const EXPECTED: &str =
        "all, username, clientid, ipaddr, ipaddrs, client_attr, listener, zone, security_profile, 'and' or 'or'";
    if term.atom() == Some("all") {
        return Ok(Condition::All);
    }
    let Term::Tuple(parts) = term else { return wrong(term, EXPECTED) };
    let all = |list: &Term| match list.list() {
        Some(list) => list.iter().map(|term| condition(term, hardened)).collect::<Result<_, _>>(),
        None => wrong(list, "a list of conditions"),
    };
    Ok(match (parts.first().and_then(Term::atom), &parts[1..]) {
        (Some("username" | "user"), [text]) => Condition::Username(text_condition(text)?),
        (Some("clientid" | "client"), [text]) => Condition::ClientId(text_condition(text)?),
        (Some("ipaddr"), [address]) => match address.text() {
            Some(address) => Condition::address([address])?,
            None => return wrong(address, "an address in quotation marks"),
        },
        (Some("ipaddrs"), [list]) => {
            let addresses: Option<Vec<_>> = list.list().and_then(|list| list.iter().map(Term::text).collect());
            match addresses {
                Some(addresses) => Condition::address(addresses)?,
                None => return wrong(list, "a list of addresses in quotation marks"),
            }
        }
        (Some("client_attr"), [name, text]) => {
            let Some(name) = name.text().or(name.atom()) else { return wrong(name, "the name of an attribute") };
            Condition::Attribute(name.into(), text_condition(text)?)
        }
        (Some("listener"), [text]) => Condition::Listener(listener(text)?),
        // There are no zones here, and EMQX's clients are in this one unless told otherwise.
        (Some("zone"), [text]) => match text_or_atom(text)?.holds("default") {
            true => Condition::All,
            false => Condition::Nobody,
        },
        (Some("security_profile"), [profile]) => match profile.atom() {
            Some("hardened") if hardened => Condition::All,
            Some("legacy") if !hardened => Condition::All,
            Some("hardened" | "legacy") => Condition::Nobody,
            _ => return wrong(profile, "legacy or hardened"),
        },
        (Some("and"), [list]) => Condition::And(all(list)?),
        (Some("or"), [list]) => Condition::Or(all(list)?),
        _ => return wrong(term, EXPECTED),
    })
}

fn text_condition(term: &Term) -> Result<TextCondition, RuleCause> {
    const EXPECTED: &str = "a text, or {re, \"regular expression\"}";
    if let Some(text) = term.text() {
        return Ok(TextCondition::Is(text.into()));
    }
    let Term::Tuple(parts) = term else { return wrong(term, EXPECTED) };
    match parts.as_slice() {
        [Term::Atom(re), pattern] if re == "re" => match pattern.text() {
            Some(pattern) => TextCondition::regex(pattern),
            None => wrong(pattern, "a regular expression in quotation marks"),
        },
        _ => wrong(term, EXPECTED),
    }
}

fn text_or_atom(term: &Term) -> Result<TextCondition, RuleCause> {
    term.atom().map_or_else(|| text_condition(term), |name| Ok(TextCondition::Is(name.into())))
}

/// EMQX writes `tcp:default` where it is `tcp.default` here.
fn listener(term: &Term) -> Result<TextCondition, RuleCause> {
    Ok(match text_or_atom(term)? {
        TextCondition::Is(name) => TextCondition::Is(name.replacen(':', ".", 1).into()),
        regex => regex,
    })
}

fn action(term: &Term) -> Result<ActionCondition, RuleCause> {
    const EXPECTED: &str = "publish, subscribe or all, or one of these with [{qos, 0..2}, {retain, true|false|all}]";
    let plain = |term: &Term| match term.atom() {
        Some("publish") => Ok(ActionCondition::PUBLISH),
        Some("subscribe") => Ok(ActionCondition::SUBSCRIBE),
        Some("all") => Ok(ActionCondition::ALL),
        _ => wrong(term, EXPECTED),
    };
    let Term::Tuple(parts) = term else { return plain(term) };
    let [kind, options] = parts.as_slice() else { return wrong(term, EXPECTED) };
    let mut action = plain(kind)?;
    let Some(options) = options.list() else { return wrong(options, "a list of {qos, ...} and {retain, ...}") };
    let mut qos = None;
    for option in options {
        let Term::Tuple(pair) = option else { return wrong(option, "{qos, ...} or {retain, ...}") };
        match pair.as_slice() {
            [Term::Atom(name), value] if name == "qos" => {
                let levels = value.list().unwrap_or(std::slice::from_ref(value));
                for level in levels {
                    let Term::Integer(level @ 0..=2) = level else { return wrong(level, "0, 1 or 2") };
                    *qos.get_or_insert(0) |= 1 << level;
                }
            }
            [Term::Atom(name), value] if name == "retain" => {
                action.retain = match value.atom() {
                    Some("true") => Some(true),
                    Some("false") => Some(false),
                    Some("all") => None,
                    _ => return wrong(value, "true, false or all"),
                };
            }
            _ => return wrong(option, "{qos, ...} or {retain, ...}"),
        }
    }
    action.qos = qos.unwrap_or(action.qos);
    Ok(action)
}

fn topic(term: &Term) -> Result<TopicPattern, RuleCause> {
    const EXPECTED: &str = "a topic in quotation marks, or {eq, \"topic\"}";
    let bad = |topic: &str, error| RuleCause::Topic { topic: topic.into(), error };
    let exactly = |text: &str| TopicPattern::exactly(text).map_err(|error| bad(text, error));
    if let Some(text) = term.text() {
        return match text.strip_prefix("eq ") {
            Some(text) => exactly(text),
            None => TopicPattern::filter(text, Syntax::Braces).map_err(|error| bad(text, error)),
        };
    }
    match term {
        Term::Tuple(parts) => match parts.as_slice() {
            [Term::Atom(eq), text] if eq == "eq" => match text.text() {
                Some(text) => exactly(text),
                None => wrong(text, EXPECTED),
            },
            _ => wrong(term, EXPECTED),
        },
        _ => wrong(term, EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use thingway_contract::Qos;

    use super::*;
    use crate::access::rules::{Action, RuleSet, Who};

    const PUBLISH: Action = Action::Publish { qos: Qos::AtMostOnce, retain: false };
    const SUBSCRIBE: Action = Action::Subscribe { qos: Qos::AtMostOnce };

    fn rules(text: &str) -> RuleSet {
        let rules = parse(text, &"acl.conf".into(), false).unwrap_or_else(|error| panic!("{error}"));
        RuleSet([rules].into())
    }

    fn decide(rules: &RuleSet, who: &Who<'_>, action: Action, topic: &str) -> Option<Permission> {
        rules.find(who, action, topic).map(|rule| rule.permission)
    }

    use Permission::{Allow, Deny};

    /// The file that EMQX 5.8 ships, and what its comments say of it.
    #[test]
    fn the_file_that_emqx_ships() {
        let rules = rules(
            "%% comment\n\
             {allow, {username, {re, \"^dashboard$\"}}, subscribe, [\"$SYS/#\"]}.\n\
             {allow, {ipaddr, \"127.0.0.1\"}, all, [\"$SYS/#\", \"#\"]}.\n\
             {deny, all, subscribe, [\"$SYS/#\", {eq, \"#\"}]}.\n\
             {allow, all}.\n",
        );
        let far = Who { address: "192.0.2.1".parse().ok(), ..Who::nobody() };
        let near = Who { address: "127.0.0.1".parse().ok(), ..Who::nobody() };
        let dashboard = Who { username: Some("dashboard"), ..far };
        let other = Who { username: Some("dashboards"), ..far };
        for (who, action, topic, expected) in [
            (&dashboard, SUBSCRIBE, "$SYS/brokers", Allow),
            (&other, SUBSCRIBE, "$SYS/brokers", Deny),
            (&near, SUBSCRIBE, "#", Allow),
            (&near, SUBSCRIBE, "$SYS/#", Allow),
            (&far, SUBSCRIBE, "#", Deny),
            (&far, SUBSCRIBE, "$SYS/#", Deny),
            (&far, SUBSCRIBE, "a/#", Allow),
            (&far, PUBLISH, "a/b", Allow),
        ] {
            assert_eq!(decide(&rules, who, action, topic), Some(expected), "{who:?} {action:?} {topic}");
        }
    }

    /// The cases that the comments in EMQX's file tell one by one.
    #[test]
    fn the_cases_of_its_documentation() {
        let jon = Who { username: Some("Jon"), client_id: "jons", ..Who::nobody() };
        let jan = Who { username: Some("Jan"), client_id: "jans", ..Who::nobody() };
        let any = rules("{allow, {username, \"Jon\"}, subscribe, [\"#\"]}.");
        assert_eq!(decide(&any, &jon, SUBSCRIBE, "any/topic/#"), Some(Allow));
        assert_eq!(decide(&any, &jan, SUBSCRIBE, "any"), None);
        assert_eq!(decide(&any, &jon, PUBLISH, "any"), None);
        let own = rules("{allow, {username, \"Jan\"}, publish, [\"jan/#\"]}.");
        assert_eq!(decide(&own, &jan, PUBLISH, "jan/x/y"), Some(Allow));
        assert_eq!(decide(&own, &jan, PUBLISH, "jon/x"), None);
        let qos = rules("{allow, all, {publish, [{qos,0},{retain,false}]}, [\"#\"]}.");
        assert_eq!(decide(&qos, &jan, PUBLISH, "a"), Some(Allow));
        assert_eq!(decide(&qos, &jan, Action::Publish { qos: Qos::AtMostOnce, retain: true }, "a"), None);
        assert_eq!(decide(&qos, &jan, Action::Publish { qos: Qos::AtLeastOnce, retain: false }, "a"), None);
        let id = rules("{allow, all, publish, [\"${clientid}/#\"]}.");
        assert_eq!(decide(&id, &jan, PUBLISH, "jans/x"), Some(Allow));
        assert_eq!(decide(&id, &jan, PUBLISH, "jons/x"), None);
        let attribute = rules("{allow, all, all, [\"${client_attrs.group}/#\"]}.");
        assert_eq!(decide(&attribute, &jan, PUBLISH, "/x"), None, "not rendered as nothing");
        let equal = rules("{deny, all, subscribe, [{eq, \"t/#\"}, \"eq +/x\"]}.");
        assert_eq!(decide(&equal, &jan, SUBSCRIBE, "t/#"), Some(Deny));
        assert_eq!(decide(&equal, &jan, SUBSCRIBE, "t/1"), None);
        assert_eq!(decide(&equal, &jan, SUBSCRIBE, "+/x"), Some(Deny));
    }

    #[test]
    fn all_conditions_are_read() {
        let rules = rules(
            "{allow, {'and', [{user, \"a\"}, {client, {re, \"^c\"}}, {ipaddrs, [\"10.0.0.0/8\", \"::1\"]}]}, all, [\"1\"]}.\n\
             {allow, {'or', [{username, <<\"b\">>}, {clientid, \"x\"}]}, all, [\"2\"]}.\n\
             {allow, {client_attr, \"site\", {re, \"n\"}}, {all, [{qos, [0, 1]}]}, [\"3\"]}.\n\
             {allow, {listener, 'tcp:default'}, all, [\"4\"]}.\n\
             {allow, {zone, default}, all, [\"5\"]}.\n\
             {allow, {zone, other}, all, [\"6\"]}.\n\
             {allow, {security_profile, legacy}}.\n",
        );
        let attributes = [("site", "north")].into_iter().collect();
        let who = Who {
            username: Some("a"),
            client_id: "c",
            address: "10.9.9.9".parse().ok(),
            attributes: Some(&attributes),
            listener: "tcp.default",
            ..Who::nobody()
        };
        let line = |who: &Who<'_>, topic| rules.find(who, PUBLISH, topic).map(|rule| rule.place.line);
        assert_eq!(line(&who, "1"), Some(1));
        assert_eq!(line(&Who { client_id: "d", ..who }, "1"), Some(7));
        assert_eq!(line(&Who { username: Some("b"), ..who }, "2"), Some(2));
        assert_eq!(line(&who, "3"), Some(3));
        assert_eq!(line(&who, "4"), Some(4));
        assert_eq!(line(&who, "5"), Some(5));
        assert_eq!(line(&who, "6"), Some(7), "the last one is about everything");
        assert!(
            parse("{allow, {security_profile, legacy}}.", &"x".into(), true)
                .is_ok_and(|rules| { RuleSet([rules].into()).find(&who, PUBLISH, "a").is_none() })
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        for (text, expected) in [
            ("{permit, all}.", "acl.conf:1: found permit, expected allow or deny"),
            ("{allow, all}.\n\n{deny, everyone, all, []}.", "acl.conf:3: found everyone, expected all, username"),
            ("{allow, all, read, []}.", "acl.conf:1: found read, expected publish, subscribe or all"),
            ("{allow, all, publish, \"t\"}.", "acl.conf:1: found \"t\", expected a list of topics"),
            ("{allow, all, {publish, [{qos, 3}]}, []}.", "acl.conf:1: found 3, expected 0, 1 or 2"),
            ("{allow, all, {publish, [{retain, maybe}]}, []}.", "expected true, false or all"),
            ("{allow, {ipaddr, \"10.0.0.0/33\"}, all, []}.", "\"10.0.0.0/33\" is no address"),
            ("{allow, {username, {re, \"(\"}}, all, []}.", "acl.conf:1: \"(\": unclosed group"),
            ("{allow, all, all, [\"a/#/b\"]}.", "\"a/#/b\": + stands alone"),
            ("{allow, all, all, [\"${nothing}\"]}.", "there is no placeholder ${nothing}"),
            ("{allow, all, all}.", "expected {allow|deny, Who, Action, [Topics]}"),
            ("allow.", "expected {allow|deny"),
            ("{allow, all", "expected a comma or }"),
        ] {
            let error = parse(text, &"acl.conf".into(), false).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}\n{error}\n{expected}");
        }
    }
}
