//! What a rule says of topics, compiled: matching allocates nothing.

use thingway_contract::levels;

use super::{CertificateField, Who};

/// Which topics a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicPattern {
    /// This very text: `#` is the subscription to `#`, and nothing else.
    Exactly(Box<str>),
    /// What a filter matches.
    Filter(Box<[Level]>),
}

/// One level of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// This text.
    Text(Box<str>),
    /// `+`
    Any,
    /// `#`, which is the last one.
    Rest,
    /// Text with placeholders.
    Template(Box<[Part]>),
}

/// A part of a level with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// This text.
    Text(Box<str>),
    /// What is known of the client under a name.
    Placeholder(Placeholder),
}

/// What stands for something that is known of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// Its client id.
    ClientId,
    /// Its user name.
    Username,
    /// A name in its certificate.
    Certificate(CertificateField),
    /// Its address.
    Address,
    /// The listener's name.
    Listener,
    /// An attribute.
    Attribute(Box<str>),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is empty, or holds U+0000.
    #[error("a topic is not empty and without NUL")]
    Empty,
    /// A wildcard is not alone on its level, or `#` is not the last.
    #[error("+ stands alone on its level, and # alone on the last")]
    Wildcard,
    /// There is no such placeholder.
    #[error("there is no placeholder {0}")]
    Placeholder(String),
}

/// How placeholders are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `${clientid}`, `${username}`, `${client_attrs.x}`, anywhere in a level.
    Braces,
    /// Mosquitto's `%c` and `%u`, each alone on its level.
    Percent,
    /// There are none.
    None,
}

impl TopicPattern {
    /// The pattern that a filter with placeholders is.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn filter(text: &str, syntax: Syntax) -> Result<Self, PatternError> {
        check(text)?;
        let texts: Vec<_> = levels(text).collect();
        let last = texts.len() - 1;
        let level = |(index, text): (usize, &&str)| match (*text, syntax) {
            ("+", _) => Ok(Level::Any),
            ("#", _) if index == last => Ok(Level::Rest),
            ("%c", Syntax::Percent) => Ok(Level::Template([Part::Placeholder(Placeholder::ClientId)].into())),
            ("%u", Syntax::Percent) => Ok(Level::Template([Part::Placeholder(Placeholder::Username)].into())),
            (text, _) if text.contains(['+', '#']) => Err(PatternError::Wildcard),
            (text, Syntax::Braces) if text.contains("${") => Ok(Level::Template(parts_of(text)?.into())),
            (text, _) => Ok(Level::Text(text.into())),
        };
        texts.iter().enumerate().map(level).collect::<Result<_, _>>().map(Self::Filter)
    }

    /// The pattern that only this text matches.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn exactly(text: &str) -> Result<Self, PatternError> {
        check(text)?;
        Ok(Self::Exactly(text.into()))
    }

    /// Whether a topic matches, or all that a subscription's filter matches.
    pub fn covers(&self, topic: &str, who: &Who<'_>) -> bool {
        let pattern = match self {
            Self::Exactly(text) => return **text == *topic,
            Self::Filter(pattern) => pattern,
        };
        // Topics that begin with $ are for those who say so (MQTT 5.0, section 4.7.2).
        if topic.starts_with('$') && matches!(pattern.first(), Some(Level::Any | Level::Rest)) {
            return false;
        }
        let mut topic = levels(topic);
        for level in pattern {
            let found = topic.next();
            match (level, found) {
                (Level::Rest, _) => return true,
                (_, None | Some("#")) => return false,
                (Level::Any, Some(_)) => {}
                (level, Some(found)) => {
                    if found == "+" || !level.is(found, who) {
                        return false;
                    }
                }
            }
        }
        topic.next().is_none()
    }

    /// Whether any topic that a subscription's filter matches may match.
    pub fn overlaps(&self, filter: &str, who: &Who<'_>) -> bool {
        let pattern = match self {
            Self::Exactly(text) => return **text == *filter,
            Self::Filter(pattern) => pattern,
        };
        let is_wild = |text: &str| text.starts_with(['+', '#']);
        let begins_reserved = match pattern.first() {
            Some(Level::Text(text)) => text.starts_with('$'),
            _ => false,
        };
        let pattern_is_wild = matches!(pattern.first(), Some(Level::Any | Level::Rest));
        if begins_reserved && is_wild(filter) || pattern_is_wild && filter.starts_with('$') {
            return false;
        }
        let mut filter = levels(filter);
        for level in pattern {
            match (level, filter.next()) {
                (Level::Rest, _) | (_, Some("#")) => return true,
                (_, None) => return false,
                (Level::Any, Some(_)) => {}
                (level, Some("+")) => {
                    if !level.can_be(who) {
                        return false;
                    }
                }
                (level, Some(found)) => {
                    if !level.is(found, who) {
                        return false;
                    }
                }
            }
        }
        matches!(filter.next(), None | Some("#"))
    }
}

impl Level {
    fn is(&self, text: &str, who: &Who<'_>) -> bool {
        match self {
            Self::Text(own) => **own == *text,
            Self::Any | Self::Rest => true,
            Self::Template(parts) => {
                let mut rest = text;
                for part in parts {
                    let Some(value) = part.value(who) else { return false };
                    let Some(after) = rest.strip_prefix(value) else { return false };
                    rest = after;
                }
                rest.is_empty()
            }
        }
    }

    /// All its placeholders stand for something.
    fn can_be(&self, who: &Who<'_>) -> bool {
        match self {
            Self::Template(parts) => parts.iter().all(|part| part.value(who).is_some()),
            _ => true,
        }
    }
}

impl Part {
    /// What it stands for; `None` for what has no value, or one that would be more than a part of a level.
    pub fn value<'a>(&'a self, who: &'a Who<'_>) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            // What would make another pattern of this one stands for nothing.
            Self::Placeholder(placeholder) => {
                who.value(placeholder).filter(|value| !value.is_empty() && !value.contains(['/', '+', '#', '\0']))
            }
        }
    }
}

impl Placeholder {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "clientid" | "client_id" => Self::ClientId,
            "username" => Self::Username,
            "peerhost" | "address" => Self::Address,
            "listener" => Self::Listener,
            other => match CertificateField::parse(other) {
                Some(field) => Self::Certificate(field),
                None => Self::Attribute(other.strip_prefix("client_attrs.").filter(|name| !name.is_empty())?.into()),
            },
        })
    }
}

fn check(text: &str) -> Result<(), PatternError> {
    if text.is_empty() || text.contains('\0') { Err(PatternError::Empty) } else { Ok(()) }
}

/// The parts of a text with placeholders.
///
/// # Errors
/// When there is no such placeholder.
pub fn parts_of(text: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let bad = || PatternError::Placeholder(format!("${{{after}"));
        let (name, after) = after.split_once('}').ok_or_else(bad)?;
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        let known = Placeholder::parse(name).ok_or_else(|| PatternError::Placeholder(format!("${{{name}}}")))?;
        parts.push(Part::Placeholder(known));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use thingway_contract::{Certificate, NameKind, Topic, TopicFilter, TopicLimits};

    use super::*;
    use crate::access::attempt::Attributes;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::filter(text, Syntax::Braces).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn covers(text: &str, topic: &str) -> bool {
        pattern(text).covers(topic, &Who { client_id: "c1", username: Some("bob"), ..Who::nobody() })
    }

    #[test]
    fn topics_match_as_subscriptions_do() {
        let limits = TopicLimits::default();
        let filters =
            ["a", "a/b", "a/+", "+/b", "#", "a/#", "+", "+/+", "/", "a/+/c", "a//", "$SYS/#", "+/#", "$SYS/+"];
        let topics = ["a", "a/b", "a/b/c", "/", "a/", "a//", "b/b", "$SYS", "$SYS/x", "$SYS/x/y", "A"];
        for filter in filters {
            let subscription = TopicFilter::parse(filter, limits).expect("a filter");
            for topic in topics {
                let expected = subscription.matches(Topic::parse(topic, limits).expect("a topic"));
                assert_eq!(covers(filter, topic), expected, "{filter} {topic}");
                assert_eq!(pattern(filter).overlaps(topic, &Who::nobody()), expected, "{filter} {topic}");
            }
        }
    }

    #[test]
    fn a_subscription_is_covered_when_all_that_it_matches_is() {
        for (rule, filter, expected) in [
            ("a/#", "a/#", true),
            ("a/#", "a/+", true),
            ("a/#", "a/+/c", true),
            ("a/#", "a", true),
            ("a/#", "#", false),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("+/b", "a/b", true),
            ("+", "#", false),
            ("#", "#", true),
            ("#", "+/b", true),
            ("#", "$SYS/#", false),
            ("+/b", "#", false),
            ("a/b/#", "a/#", false),
        ] {
            assert_eq!(covers(rule, filter), expected, "{rule} covers {filter}");
        }
    }

    #[test]
    fn subscriptions_that_may_match_the_same_overlap() {
        for (rule, filter, expected) in [
            ("secret/#", "#", true),
            ("secret/#", "+/x", true),
            ("secret/#", "secret", true),
            ("secret/#", "+", true),
            ("secret/x", "+/y", false),
            ("secret/+/z", "secret/a/#", true),
            ("secret/+/z", "secret/a/b", false),
            ("a", "a/#", true),
            ("a/b", "a", false),
            ("$SYS/#", "#", false),
            ("$SYS/#", "$SYS/x", true),
            ("#", "$SYS/x", false),
            ("${username}/#", "+/x", true),
        ] {
            let who = Who { username: Some("bob"), ..Who::nobody() };
            assert_eq!(pattern(rule).overlaps(filter, &who), expected, "{rule} overlaps {filter}");
        }
        assert!(!pattern("${username}/#").overlaps("+/x", &Who::nobody()), "there is no such topic");
    }

    #[test]
    fn placeholders_stand_for_one_level_and_nothing_else() {
        assert!(covers("d/${clientid}/#", "d/c1/x"));
        assert!(covers("${username}-${clientid}", "bob-c1") && covers("d/x${clientid}y", "d/xc1y"));
        assert!(!covers("d/${clientid}", "d/c2") && !covers("d/${clientid}", "d/+"));
        let who = |username| Who { username, ..Who::nobody() };
        for value in [None, Some(""), Some("+"), Some("#"), Some("a/b")] {
            for topic in ["", "+", "#", "a/b", "x"] {
                assert!(!pattern("${username}").covers(topic, &who(value)), "{value:?} {topic}");
                assert!(!pattern("t/${username}").covers(&format!("t/{topic}"), &who(value)), "{value:?} {topic}");
            }
        }
        let attributes: Attributes = [("site", "north")].into_iter().collect();
        let who = Who { attributes: Some(&attributes), ..Who::nobody() };
        assert!(pattern("${client_attrs.site}/#").covers("north/x", &who));
        assert!(!pattern("${client_attrs.none}/#").covers("/x", &who));
        let certificate = Certificate {
            common_name: Some("device".into()),
            subject: Some("CN=device/O=x".into()),
            alternative_names: [(NameKind::Uri, "urn:d".into())].into(),
            ..Certificate::default()
        };
        let who = Who { certificate: Some(&certificate), ..who };
        assert!(pattern("${cert_common_name}/${cert_san}").covers("device/urn:d", &who));
        assert!(!pattern("${cert_subject}").covers("CN=device/O=x", &who), "it would be two levels");
    }

    #[test]
    fn mosquitto_writes_them_its_own_way() {
        let pattern = TopicPattern::filter("s/%c/%u", Syntax::Percent).expect("good");
        assert!(pattern.covers("s/c/u", &Who { client_id: "c", username: Some("u"), ..Who::nobody() }));
        assert!(!pattern.covers("s/c/u", &Who { client_id: "c", ..Who::nobody() }));
    }

    #[test]
    fn exactly_is_literal() {
        let pattern = TopicPattern::exactly("#").expect("good");
        assert!(pattern.covers("#", &Who::nobody()) && !pattern.covers("a", &Who::nobody()));
        assert!(!TopicPattern::exactly("${clientid}").expect("good").covers("c", &Who::nobody()));
    }

    #[test]
    fn bad_ones_say_why() {
        for (text, error) in [
            ("", PatternError::Empty),
            ("a\0", PatternError::Empty),
            ("a+", PatternError::Wildcard),
            ("#/a", PatternError::Wildcard),
            ("${x}", PatternError::Placeholder("${x}".into())),
            ("${client_attrs.}", PatternError::Placeholder("${client_attrs.}".into())),
            ("${clientid", PatternError::Placeholder("${clientid".into())),
        ] {
            assert_eq!(TopicPattern::filter(text, Syntax::Braces), Err(error), "{text}");
        }
    }
}
