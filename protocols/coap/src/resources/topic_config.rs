use thingway_contract::{Instant, Topic, TopicLimits};

use super::{
    cbor::{self, Value},
    date::unix_ms,
};
use crate::hash::{PUBLIC_KEY, keyed};

/// The Content-Format of configurations, `application/core-pubsub+cbor`: the number that the draft asks for.
pub(crate) const FORMAT: u16 = 606;

const TOPIC_NAME: u8 = 0;
const TOPIC_DATA: u8 = 1;
const RESOURCE_TYPE: u8 = 2;
const TOPIC_CONTENT_FORMAT: u8 = 3;
const TOPIC_TYPE: u8 = 4;
const EXPIRATION_DATE: u8 = 5;
const MAX_SUBSCRIBERS: u8 = 6;
const OBSERVER_CHECK: u8 = 7;
const TOPIC_HISTORY: u8 = 8;
const INITIALIZE: u8 = 9;
const CONF_FILTER: u8 = 10;

/// Names of the parameters, by their number in CBOR (draft-ietf-core-coap-pubsub, section "CoAP Pubsub Parameters").
const NAMES: [&str; 11] = [
    "topic-name",
    "topic-data",
    "resource-type",
    "topic-content-format",
    "topic-type",
    "expiration-date",
    "max-subscribers",
    "observer-check",
    "topic-history",
    "initialize",
    "conf-filter",
];

/// Why a configuration is not accepted; each is 4.00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigError {
    /// No CBOR map as the draft has it.
    Unreadable,
    /// A parameter that is not known, is there twice, or has a value that it cannot have.
    Parameter,
    /// A parameter that must be there is not.
    Missing,
    /// A parameter that may not change would.
    Immutable,
    /// The expiration date has passed.
    Past,
}

impl ConfigError {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Unreadable => "no configuration",
            Self::Parameter => "bad parameter",
            Self::Missing => "topic-name and resource-type are needed",
            Self::Immutable => "topic-name, topic-data and resource-type cannot change",
            Self::Past => "expiration-date has passed",
        }
    }
}

/// The configuration of a topic, which is also what is stored of it: parameters in the order of their numbers.
///
/// `topic-name` is the topic on the bus, a `/` in it separating levels. `topic-content-format`, `expiration-date`, `observer-check` and `initialize` have an
/// effect here, and `topic-type` is kept for whoever reads it. `max-subscribers` and `topic-history` are not served: they are left out of what is created,
/// so that the answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicConfig(Vec<(u8, Value)>);

impl TopicConfig {
    /// Reads parameters, not necessarily all.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let entries = cbor::decode_map(bytes).ok_or(ConfigError::Unreadable)?;
        let mut parameters = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = number_of(&key).ok_or(ConfigError::Parameter)?;
            let is_valid = match (key, &value) {
                (TOPIC_NAME | TOPIC_DATA | RESOURCE_TYPE | TOPIC_TYPE, Value::Text(_)) => true,
                (EXPIRATION_DATE, Value::Text(date)) => unix_ms(date).is_some(),
                (TOPIC_CONTENT_FORMAT, Value::Uint(number)) => *number <= u64::from(u16::MAX),
                (OBSERVER_CHECK, Value::Uint(secs)) => *secs > 0,
                (MAX_SUBSCRIBERS | TOPIC_HISTORY, Value::Uint(_)) => true,
                (INITIALIZE, Value::Bool(_)) | (CONF_FILTER, Value::List(_)) => true,
                _ => false,
            };
            if !is_valid || parameters.iter().any(|(other, _)| *other == key) {
                return Err(ConfigError::Parameter);
            }
            parameters.push((key, value));
        }
        parameters.sort_by_key(|(key, _)| *key);
        Ok(Self(parameters))
    }

    /// Reads the configuration of a new topic.
    pub(crate) fn create(bytes: &[u8], path: &str, limits: TopicLimits) -> Result<Self, ConfigError> {
        let mut config = Self::parse(bytes)?;
        let name = config.text(TOPIC_NAME).ok_or(ConfigError::Missing)?;
        let resource_type = config.text(RESOURCE_TYPE).ok_or(ConfigError::Missing)?;
        let is_topic = Topic::parse(name, limits).is_ok_and(|topic| !topic.is_reserved());
        if !is_topic || resource_type != "core.ps.data" || config.get(CONF_FILTER).is_some() {
            return Err(ConfigError::Parameter);
        }
        let data = format!("{path}/data/{}", id_of(name));
        if config.text(TOPIC_DATA).is_some_and(|wanted| wanted.trim_start_matches('/') != data) {
            return Err(ConfigError::Parameter);
        }
        config.set(TOPIC_DATA, Value::Text(data));
        config.0.retain(|(key, _)| is_served(*key));
        Ok(config)
    }

    /// The configuration with `changes` made. What is not in them stays if `partial`, and goes back to its default otherwise.
    pub(crate) fn update(&self, changes: Self, partial: bool) -> Result<Self, ConfigError> {
        let fixed = [TOPIC_NAME, TOPIC_DATA, RESOURCE_TYPE];
        let kept = self.0.iter().filter(|(key, _)| partial || fixed.contains(key)).cloned();
        let mut config = Self(kept.collect());
        for (key, value) in changes.0 {
            if key == CONF_FILTER {
                return Err(ConfigError::Parameter);
            }
            if fixed.contains(&key) {
                if self.get(key) != Some(&value) {
                    return Err(ConfigError::Immutable);
                }
                continue;
            }
            if is_served(key) {
                config.set(key, value);
            }
        }
        Ok(config)
    }

    /// True when this has all parameters of a filter, with the same values.
    pub(crate) fn matches(&self, filter: &Self) -> bool {
        filter.0.iter().all(|(key, value)| self.get(*key) == Some(value))
    }

    fn get(&self, key: u8) -> Option<&Value> {
        self.0.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    fn set(&mut self, key: u8, value: Value) {
        self.0.retain(|(other, _)| *other != key);
        self.0.push((key, value));
        self.0.sort_by_key(|(key, _)| *key);
    }

    fn text(&self, key: u8) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The topic on the bus.
    pub(crate) fn topic_name(&self) -> &str {
        self.text(TOPIC_NAME).unwrap_or_default()
    }

    /// The path of the topic-data resource.
    pub(crate) fn topic_data(&self) -> &str {
        self.text(TOPIC_DATA).unwrap_or_default()
    }

    /// The one Content-Format that publications must have.
    pub(crate) fn content_format(&self) -> Option<u16> {
        match self.get(TOPIC_CONTENT_FORMAT) {
            Some(Value::Uint(number)) => u16::try_from(*number).ok(),
            _ => None,
        }
    }

    /// When the topic expires, on a clock whose beginning was so many milliseconds after that of 1970.
    pub(crate) fn ends_at(&self, clock_unix_ms: u64) -> Instant {
        let date = self.text(EXPIRATION_DATE).and_then(unix_ms);
        date.map_or(Instant::NEVER, |date| {
            Instant::from_millis(u64::try_from(date).unwrap_or(0).saturating_sub(clock_unix_ms))
        })
    }

    /// Seconds after which a notification must be acknowledged.
    pub(crate) fn observer_check_secs(&self) -> Option<u32> {
        match self.get(OBSERVER_CHECK) {
            Some(Value::Uint(secs)) => Some(u32::try_from(*secs).unwrap_or(u32::MAX)),
            _ => None,
        }
    }

    /// True when there is an empty representation before the first publication.
    pub(crate) fn is_initialized(&self) -> bool {
        self.get(INITIALIZE) == Some(&Value::Bool(true))
    }

    /// All parameters, or those that a selection names, as a CBOR map.
    pub(crate) fn to_bytes(&self, selection: Option<&Selection>) -> Vec<u8> {
        let wanted = |key: u8| selection.is_none_or(|selection| selection.0.contains(&key));
        let mut bytes = Vec::new();
        cbor::write_map(self.0.iter().filter(|(key, _)| wanted(*key)).count(), &mut bytes);
        for (key, value) in self.0.iter().filter(|(key, _)| wanted(*key)) {
            cbor::write(&Value::Uint((*key).into()), &mut bytes);
            cbor::write(value, &mut bytes);
        }
        bytes
    }
}

/// Parameters that a FETCH wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection(Vec<u8>);

impl Selection {
    /// Reads a map with nothing but `conf-filter`. Names that are not known select nothing.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        match TopicConfig::parse(bytes)?.0.as_slice() {
            [(CONF_FILTER, Value::List(names))] => Ok(Self(names.iter().filter_map(number_of).collect())),
            _ => Err(ConfigError::Parameter),
        }
    }
}

/// Parameters that no gateway can promise: subscribers are counted by no one place, and past representations are kept nowhere.
const fn is_served(key: u8) -> bool {
    !matches!(key, MAX_SUBSCRIBERS | TOPIC_HISTORY)
}

fn number_of(key: &Value) -> Option<u8> {
    match key {
        Value::Uint(number) => u8::try_from(*number).ok().filter(|number| usize::from(*number) < NAMES.len()),
        Value::Text(name) => NAMES.iter().position(|other| other == name).map(|at| at as u8),
        _ => None,
    }
}

/// The identifier of the topic with this name: all gateways come to the same, so a name cannot be taken twice.
pub(crate) fn id_of(topic_name: &str) -> String {
    format!("{:012x}", keyed(&PUBLIC_KEY, &[topic_name.as_bytes()]) >> 16)
}

/// Where the configuration of the topic with an identifier is kept: as a retained message on this topic.
pub(crate) fn record_topic(id: &str) -> String {
    format!("$coap/topics/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: &[u8] = b"\xa3\0\x63a/b\x02\x6ccore.ps.data\x03\x18\x32";

    fn created() -> TopicConfig {
        TopicConfig::create(CREATE, "pubsub", TopicLimits::default()).expect("valid")
    }

    #[test]
    fn what_is_created_is_written_and_read_again() {
        let config = created();
        assert_eq!((config.topic_name(), config.content_format()), ("a/b", Some(50)));
        assert_eq!(config.topic_data(), format!("pubsub/data/{}", id_of("a/b")));
        assert_eq!(TopicConfig::parse(&config.to_bytes(None)), Ok(config.clone()));
        let selection = Selection::parse(b"\xa1\x0a\x82\x6atopic-name\x03").expect("valid");
        assert_eq!(config.to_bytes(Some(&selection)), b"\xa2\0\x63a/b\x03\x18\x32");
        let filter = TopicConfig::parse(b"\xa1\x03\x18\x32").expect("valid");
        assert!(config.matches(&filter));
        assert!(!config.matches(&TopicConfig::parse(b"\xa1\x03\x18\x33").expect("valid")));
    }

    #[test]
    fn bad_configurations_are_refused() {
        let create = |bytes| TopicConfig::create(bytes, "pubsub", TopicLimits::default());
        for (bytes, error) in [
            (&b"no"[..], ConfigError::Unreadable),
            (b"\xa1\0\x61a", ConfigError::Missing),
            (b"\xa1\x0c\x61a", ConfigError::Parameter),
            (b"\xa2\0\x61a\0\x61b", ConfigError::Parameter),
            (b"\xa2\0\x61#\x02\x6ccore.ps.data", ConfigError::Parameter),
            (b"\xa2\0\x62$x\x02\x6ccore.ps.data", ConfigError::Parameter),
            (b"\xa2\0\x61a\x02\x61x", ConfigError::Parameter),
            (b"\xa3\0\x61a\x02\x6ccore.ps.data\x07\0", ConfigError::Parameter),
        ] {
            assert_eq!(create(bytes), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_not_served_is_left_out() {
        let limits = TopicLimits::default();
        let all = b"\xa5\0\x61a\x02\x6ccore.ps.data\x05\x741970-01-01T00:00:10Z\x06\x05\x08\x05";
        let config = TopicConfig::create(all, "pubsub", limits).expect("valid");
        assert_eq!(config.0.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [0, 1, 2, 5]);
        assert_eq!(config.ends_at(4000), Instant::from_millis(6000));
        assert_eq!((config.ends_at(10_001), created().ends_at(0)), (Instant::ZERO, Instant::NEVER));
        let changes = TopicConfig::parse(b"\xa2\x06\x05\x08\x05").expect("valid");
        assert_eq!(config.update(changes, true), Ok(config));
        assert_eq!(TopicConfig::parse(b"\xa1\x05\x64soon"), Err(ConfigError::Parameter));
    }

    #[test]
    fn put_overwrites_and_ipatch_merges() {
        let config = created();
        let changes = TopicConfig::parse(b"\xa1\x07\x05").expect("valid");
        assert_eq!(config.update(changes.clone(), true).expect("valid").content_format(), Some(50));
        let put = config.update(changes, false).expect("valid");
        assert_eq!((put.content_format(), put.topic_name()), (None, "a/b"));
        let other_name = TopicConfig::parse(b"\xa1\0\x61z").expect("valid");
        assert_eq!(config.update(other_name, true), Err(ConfigError::Immutable));
    }
}
