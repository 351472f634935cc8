use std::collections::HashMap;

use thingway_contract::{Qos, RetainHandling, SubscriptionOptions, TopicFilter, TopicLimits};

use super::AccessError;
use crate::{
    access::{
        Expression, is_of_attempts,
        names::{AutoSubscription, Names, Rewrite, Rewrites, Template},
        quota::{QuotaSettings, RateSettings, SharedRate},
    },
    config::{AutoSubscribe, ClientRate, Config, Period, RuleAction, TopicRewrite},
};

const ATTRIBUTES_MAX: usize = 32;
const REWRITES_MAX: usize = 1000;
const AUTO_SUBSCRIPTIONS_MAX: usize = 100;

/// The attributes that the configuration makes.
///
/// # Errors
/// The first that is wrong.
pub fn attributes(config: &Config) -> Result<Vec<(Box<str>, Expression)>, AccessError> {
    let wrong = |number, why| AccessError::Setting { key: "access.attributes", number, why };
    let all = &config.access.attributes;
    if all.len() > ATTRIBUTES_MAX {
        return Err(wrong(all.len(), format!("more than {ATTRIBUTES_MAX}")));
    }
    let one = |(number, attribute): (usize, &crate::config::AccessAttribute)| {
        if attribute.name.is_empty() || attribute.name.contains(['}', '\0']) {
            return Err(wrong(number, format!("{:?} is no name", attribute.name)));
        }
        // What is secret does not become what rules, topics and listings show.
        let is_known = |name: &str| name != "password" && is_of_attempts(name);
        let value = Expression::parse(&attribute.value, is_known);
        let value = value.map_err(|error| wrong(number, format!("{:?}: {error}", attribute.value)))?;
        Ok((attribute.name.as_str().into(), value))
    };
    (1..).zip(all).map(one).collect()
}

/// What happens to topics.
///
/// # Errors
/// The first thing that is wrong.
pub fn names(config: &Config) -> Result<Names, AccessError> {
    Ok(Names {
        mounts: mounts(config)?,
        rewrites: rewrites(&config.access.rewrite)?,
        auto_subscriptions: auto_subscriptions(&config.access.auto_subscribe)?.into(),
        rules_see_mounts: config.access.include_mountpoint,
    })
}

/// Whether clients of all listeners can be mounted as it is said there.
///
/// # Errors
/// The first listener of which that is wrong.
pub fn check_mounts(config: &Config) -> Result<(), AccessError> {
    mounts(config).map(drop)
}

/// What many clients may have together.
pub fn quotas(config: &Config) -> QuotaSettings {
    let quota = &config.access.quota;
    QuotaSettings {
        connections_per_user_max: quota.connections_per_user.finite(),
        namespace: (!quota.namespace.is_empty()).then(|| quota.namespace.as_str().into()),
        connections_per_namespace_max: quota.connections_per_namespace.finite(),
        rates_per_namespace: rates(&quota.namespace_rate),
        namespaces_max: quota.namespaces_max as usize,
    }
}

fn rates(settings: &ClientRate) -> RateSettings {
    let rate = |count: u64, per: Period, burst: u64| {
        let in_a_second = (u128::from(count) * 1000 / per.duration().as_millis().max(1)).try_into();
        let burst = if burst == 0 { in_a_second.unwrap_or(u64::MAX) } else { burst };
        SharedRate { count, per: per.duration(), burst: burst.max(1) }
    };
    let (messages, bytes) = (settings.messages.finite(), settings.bytes.finite());
    RateSettings {
        messages: messages.map(|messages| rate(messages.count(), messages.per(), settings.messages_burst.into())),
        bytes: bytes.map(|bytes| rate(bytes.bytes(), bytes.per(), settings.bytes_burst.get())),
    }
}

fn mounts(config: &Config) -> Result<HashMap<Box<str>, Template>, AccessError> {
    let mut mounts = HashMap::new();
    for (kind, name, listener) in config.listeners.iter().filter(|(_, _, listener)| !listener.mountpoint.is_empty()) {
        let name = format!("{kind}.{name}");
        let wrong = |why: String| AccessError::Mount { listener: name.clone(), why };
        let template = Template::parse(&listener.mountpoint).map_err(|error| wrong(error.to_string()))?;
        if template.contains(&['+', '#']) || listener.mountpoint.len() > 1024 {
            return Err(wrong(format!("{:?}: at most 1024 bytes without + and #", listener.mountpoint)));
        }
        mounts.insert(name.into(), template);
    }
    Ok(mounts)
}

fn rewrites(rules: &[TopicRewrite]) -> Result<Option<Rewrites>, AccessError> {
    let wrong = |number, why| AccessError::Setting { key: "access.rewrite", number, why };
    if rules.len() > REWRITES_MAX {
        return Err(wrong(rules.len(), format!("more than {REWRITES_MAX}")));
    }
    let one = |(number, rule): (usize, &TopicRewrite)| {
        let (publish, subscribe) = (rule.action != RuleAction::Subscribe, rule.action != RuleAction::Publish);
        Rewrite::new(publish, subscribe, &rule.source, &rule.pattern, &rule.destination)
            .map_err(|error| wrong(number, error.to_string()))
    };
    (1..).zip(rules).map(one).collect::<Result<_, _>>().map(Rewrites::new)
}

fn auto_subscriptions(all: &[AutoSubscribe]) -> Result<Vec<AutoSubscription>, AccessError> {
    let wrong = |number, why| AccessError::Setting { key: "access.auto_subscribe", number, why };
    if all.len() > AUTO_SUBSCRIPTIONS_MAX {
        return Err(wrong(all.len(), format!("more than {AUTO_SUBSCRIPTIONS_MAX}")));
    }
    let one = |(number, auto): (usize, &AutoSubscribe)| {
        let filter = Template::parse(&auto.topic).map_err(|error| wrong(number, error.to_string()))?;
        // A value is a part of a level: what is a filter with one is a filter with any.
        let shown = filter.shown();
        if TopicFilter::parse(&shown, TopicLimits::default()).is_err() {
            return Err(wrong(number, format!("{:?} is no topic filter", auto.topic)));
        }
        let qos = Qos::from_u8(auto.qos).ok_or_else(|| wrong(number, format!("qos {}: from 0 to 2", auto.qos)))?;
        let retain_handling = match auto.retain_handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            other => return Err(wrong(number, format!("retain_handling {other}: from 0 to 2"))),
        };
        let (no_local, retain_as_published) = (auto.no_local, auto.retain_as_published);
        let options = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling, id: 0 };
        Ok(AutoSubscription { filter, options })
    };
    (1..).zip(all).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            (
                "access.attributes = [{ name = \"a\", value = \"clientid\" }, { name = \"b\", value = \"x\" }]",
                "access.attributes:2: \"x\": there is no x",
            ),
            (
                "access.attributes = [{ name = \"a\", value = \"password\" }]",
                "access.attributes:1: \"password\": there is no password",
            ),
            ("access.attributes = [{ value = \"clientid\" }]", "access.attributes:1: \"\" is no name"),
        ] {
            let error = attributes(&config(text)).expect_err(text);
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.key().as_deref(), Some("access.attributes"));
        }
        for (text, expected) in [
            (
                "access.rewrite = [{ source = \"#\", destination = \"$7\" }]",
                "access.rewrite:1: \"$7\" is no destination",
            ),
            (
                "access.rewrite = [{ source = \"a/#/b\", destination = \"x\" }]",
                "access.rewrite:1: \"a/#/b\" is no topic filter",
            ),
            (
                "access.auto_subscribe = [{ topic = \"a/#/b\" }]",
                "access.auto_subscribe:1: \"a/#/b\" is no topic filter",
            ),
            (
                "access.auto_subscribe = [{ topic = \"a/${x}\" }]",
                "access.auto_subscribe:1: there is no placeholder ${x}",
            ),
            ("access.auto_subscribe = [{ topic = \"a\", qos = 3 }]", "access.auto_subscribe:1: qos 3"),
            ("listeners.tcp.default.mountpoint = \"a/#\"", "listeners.tcp.default.mountpoint: \"a/#\""),
            (
                "listeners.tcp.default.mountpoint = \"${topic}/\"",
                "listeners.tcp.default.mountpoint: there is no placeholder",
            ),
        ] {
            let error = names(&config(text)).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_is_good() {
        let config = config(
            r#"
            [access]
            attributes = [{ name = "site", value = "nth(1, tokens(clientid, '-'))" }, { name = "up", value = "upper(client_attrs.site)" }]
            rewrite = [{ action = "publish", source = "a/#", pattern = "^a/(.*)$", destination = "b/$1" }]
            auto_subscribe = [{ topic = "$share/g/c/${clientid}", qos = 1 }]
            [listeners.tcp.default]
            mountpoint = "t/${client_attrs.site}/"
            "#,
        );
        assert_eq!(attributes(&config).expect("good").len(), 2);
        let names = names(&config).expect("good");
        assert!(names.mounts.contains_key("tcp.default") && names.rewrites.is_some());
        assert_eq!(names.auto_subscriptions.len(), 1);
    }
}
