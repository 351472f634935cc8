use std::sync::Arc;

use super::{AccessError, Making, making::Made, read};
use crate::{
    access::{
        DenyAction, Policy, Source,
        rules::{
            ActionCondition, CertificateField, Condition, Permission, Place, Reach, Rule, RuleCause, RuleDatabase,
            RuleError, Rules, Syntax, TextCondition, TopicPattern, parse_emqx, parse_mosquitto,
        },
    },
    config::{self, ACL_CONF, AccessRule, Config, RuleFormat, Security, own_rules},
};

/// How rules of the configuration name their place.
pub(super) const RULES: &str = "access.rules";

/// What rules say, here and elsewhere.
///
/// # Errors
/// The first rule that is wrong.
pub fn policy(config: &Config, database: &Arc<RuleDatabase>) -> Result<Policy, AccessError> {
    policy_with(config, database, &mut Making::after(&Made::default()))
}

/// The same, with sources that are elsewhere as they were made before, if their settings are the same.
///
/// # Errors
/// The first rule that is wrong.
pub fn policy_with(
    config: &Config,
    database: &Arc<RuleDatabase>,
    making: &mut Making<'_>,
) -> Result<Policy, AccessError> {
    let access = &config.access;
    let hardened = config.gateway.security == Security::Hardened;
    let mut sources = Vec::new();
    for name in &access.sources {
        match name.as_str() {
            own_rules::ALL => {
                sources.extend(rules_of_settings(config)?);
                sources.push(rules_of_database(database));
                sources.extend(rules_of_files(config)?);
            }
            own_rules::OF_SETTINGS => sources.extend(rules_of_settings(config)?),
            own_rules::OF_DATABASE => sources.push(rules_of_database(database)),
            own_rules::OF_FILES => sources.extend(rules_of_files(config)?),
            other => sources.push(Source::Authority(making.authority(config, other)?)),
        }
    }
    for (part, there) in [
        (own_rules::OF_SETTINGS, !access.rules.is_empty()),
        (own_rules::OF_FILES, !access.rule_files.is_empty() || !access.acl_conf.is_empty()),
    ] {
        if there && !access.sources.iter().any(|name| name == own_rules::ALL || name == part) {
            tracing::warn!(part, "there are rules that are not asked, as access.sources names other parts of them");
        }
    }
    Ok(Policy {
        sources: sources.into(),
        no_match: permission(access.no_match),
        deny_action: match access.deny_action {
            config::DenyAction::Ignore => DenyAction::Ignore,
            config::DenyAction::Disconnect => DenyAction::Disconnect,
        },
        deny_without_rules: hardened,
        cache_max: access.cache_max.into(),
    })
}

/// The rules of the configuration, if there are any.
fn rules_of_settings(config: &Config) -> Result<Option<Source>, AccessError> {
    let rules = &config.access.rules;
    let compiled = (1..).zip(rules).map(|(number, rule)| own_rule(number, rule)).collect::<Result<_, _>>()?;
    Ok((!rules.is_empty()).then_some(Source::Rules(Rules::InOrder(compiled))))
}

/// The rules of the store, even without any: some may come while the gateway runs.
fn rules_of_database(database: &Arc<RuleDatabase>) -> Source {
    Source::Rules(Rules::Database(database.clone()))
}

/// The rules of the files that the configuration names, and those that it has in their form.
fn rules_of_files(config: &Config) -> Result<Vec<Source>, AccessError> {
    let access = &config.access;
    let hardened = config.gateway.security == Security::Hardened;
    let mut sources = Vec::new();
    for file in &access.rule_files {
        let text = read("access.rule_files", &file.path)?;
        let source: Arc<str> = file.path.display().to_string().into();
        sources.push(Source::Rules(match file.format {
            RuleFormat::Emqx => parse_emqx(&text, &source, hardened)?,
            RuleFormat::Mosquitto => parse_mosquitto(&text, &source)?,
        }));
    }
    if !access.acl_conf.is_empty() {
        sources.push(Source::Rules(parse_emqx(&access.acl_conf, &ACL_CONF.into(), hardened)?));
    }
    Ok(sources)
}

const fn permission(permission: config::RulePermission) -> Permission {
    match permission {
        config::RulePermission::Allow => Permission::Allow,
        config::RulePermission::Deny => Permission::Deny,
    }
}

fn own_rule(number: u32, rule: &AccessRule) -> Result<Rule, RuleError> {
    let place = Place { source: RULES.into(), line: number };
    compile(rule, place.clone()).map_err(|cause| RuleError { place, cause })
}

fn compile(rule: &AccessRule, place: Place) -> Result<Rule, RuleCause> {
    let mut all = Vec::new();
    let is = |text: &str| TextCondition::Is(text.into());
    let certificate = |field| move |text| Condition::Certificate(field, text);
    type Make<'a> = &'a dyn Fn(TextCondition) -> Condition;
    let pairs: [(&str, bool, Make<'_>); 8] = [
        (&rule.username, false, &Condition::Username),
        (&rule.username_pattern, true, &Condition::Username),
        (&rule.client_id, false, &Condition::ClientId),
        (&rule.client_id_pattern, true, &Condition::ClientId),
        (&rule.certificate, false, &certificate(CertificateField::CommonName)),
        (&rule.certificate_subject, false, &certificate(CertificateField::Subject)),
        (&rule.certificate_san, false, &certificate(CertificateField::AlternativeName)),
        (&rule.listener, false, &Condition::Listener),
    ];
    for (text, is_pattern, condition) in pairs {
        if !text.is_empty() {
            all.push(condition(if is_pattern { TextCondition::regex(text)? } else { is(text) }));
        }
    }
    if !rule.protocol.is_empty() {
        all.push(Condition::Protocol(rule.protocol.as_str().into()));
    }
    if !rule.attribute.is_empty() {
        let Some((name, value)) = rule.attribute.split_once('=') else {
            return Err(RuleCause::Syntax { found: rule.attribute.clone(), expected: "an attribute as name=value" });
        };
        all.push(Condition::Attribute(name.into(), is(value)));
    }
    if !rule.addresses.is_empty() {
        all.push(Condition::Address(rule.addresses.clone().into()));
    }
    let pattern = |topic: &String| {
        let pattern = match topic.strip_prefix("eq ") {
            Some(text) => TopicPattern::exactly(text),
            None => TopicPattern::filter(topic, Syntax::Braces),
        };
        pattern.map_err(|error| RuleCause::Topic { topic: topic.clone(), error })
    };
    let topics = rule.topics.iter().map(pattern).collect::<Result<Box<[_]>, _>>()?;
    let qos = rule.qos.iter().filter(|&&qos| qos <= 2).fold(0, |bits, qos| bits | 1 << qos);
    let action = match rule.action {
        config::RuleAction::All => ActionCondition::ALL,
        config::RuleAction::Publish => ActionCondition::PUBLISH,
        config::RuleAction::Subscribe => ActionCondition::SUBSCRIBE,
    };
    Ok(Rule {
        permission: permission(rule.permission),
        who: if all.is_empty() { Condition::All } else { Condition::And(all.into()) },
        action: ActionCondition {
            qos: if rule.qos.is_empty() { action.qos } else { qos },
            retain: match rule.retain {
                config::RuleRetain::Any => None,
                config::RuleRetain::Yes => Some(true),
                config::RuleRetain::No => Some(false),
            },
            ..action
        },
        topics: Some(topics).filter(|topics| !topics.is_empty()),
        reach: Reach::Touched,
        place,
    })
}
