use std::{fmt, ops::Deref, sync::Arc};

use crate::{Message, ShareName};

/// Bounds on topic names and topic filters, set by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Most bytes in a topic name or filter; at most 65,535.
    pub bytes_max: usize,
    /// Most levels (one more than the number of `/`).
    pub levels_max: usize,
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self { bytes_max: 65_535, levels_max: 128 }
    }
}

/// Why a text is no topic name or no topic filter (MQTT 5.0, section 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// No characters [MQTT-4.7.3-1].
    Empty,
    /// Holds U+0000 [MQTT-4.7.3-2].
    Nul,
    /// Not UTF-8 [MQTT-1.5.4-1].
    NotUtf8,
    /// More bytes than allowed [MQTT-4.7.3-3].
    TooLong,
    /// More levels than the operator allows.
    TooManyLevels,
    /// A wildcard in a topic name [MQTT-3.3.2-2].
    WildcardInName,
    /// `#` not last, or `+` or `#` sharing a level with other characters [MQTT-4.7.1-1], [MQTT-4.7.1-2].
    MisplacedWildcard,
    /// `$share` without a group name, or with a group name holding `/`, `+` or `#` [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    BadShare,
    /// `$exclusive/` with nothing behind it.
    BadExclusive,
}

/// The levels of a topic name or filter.
pub fn levels(text: &str) -> impl Iterator<Item = &str> {
    text.split('/')
}

fn check_common(text: &str, limits: TopicLimits) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > limits.bytes_max.min(usize::from(u16::MAX)) {
        return Err(TopicError::TooLong);
    }
    Ok(())
}

/// A topic name to publish to: checked, borrowed text.
///
/// Not empty, no NUL, no wildcard, within the limits (MQTT 5.0, section 4.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// Checks a topic name in one pass over its bytes.
    pub fn parse(text: &'a str, limits: TopicLimits) -> Result<Self, TopicError> {
        check_common(text, limits)?;
        let mut separators = 0;
        for byte in text.bytes() {
            match byte {
                b'/' => separators += 1,
                b'+' | b'#' => return Err(TopicError::WildcardInName),
                0 => return Err(TopicError::Nul),
                _ => {}
            }
        }
        if separators >= limits.levels_max {
            return Err(TopicError::TooManyLevels);
        }
        Ok(Self(text))
    }

    /// A name that was checked before.
    pub(crate) const fn trusted(text: &'a str) -> Self {
        Self(text)
    }

    /// The name's text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// True for names that begin with `$`, which no filter beginning with a wildcard matches [MQTT-4.7.2-1].
    pub fn is_reserved(self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a subscription asks for beside the filter itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FilterKind {
    /// An ordinary subscription.
    Plain,
    /// `$share/{group}/{filter}` (MQTT 5.0, section 4.8.2), or the older `$queue/{filter}` whose group is `$queue`.
    Shared(Arc<str>),
    /// `$exclusive/{filter}`: at most one subscriber in the gateway.
    Exclusive,
}

/// A checked topic filter: the part that is matched, and what kind of subscription it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter {
    filter: Arc<str>,
    kind: FilterKind,
}

impl TopicFilter {
    /// Parses a filter as a client wrote it, `$share/…`, `$queue/…` and `$exclusive/…` included.
    pub fn parse(text: &str, limits: TopicLimits) -> Result<Self, TopicError> {
        check_common(text, limits)?;
        let (kind, filter) = split_kind(text)?;
        check_filter(filter, limits)?;
        Ok(Self { filter: Arc::from(filter), kind })
    }

    /// The same kind of subscription below a prefix, such as `tenant/a/`.
    ///
    /// # Errors
    /// When it is too long, or the prefix has a wildcard in it.
    pub fn below(&self, prefix: &str) -> Result<Self, TopicError> {
        self.with_filter(&[prefix, &self.filter].concat())
    }

    /// The same kind of subscription to something else.
    ///
    /// # Errors
    /// When that is no filter.
    pub fn with_filter(&self, filter: &str) -> Result<Self, TopicError> {
        let limits = TopicLimits { levels_max: usize::MAX, ..TopicLimits::default() };
        check_common(filter, limits)?;
        check_filter(filter, limits)?;
        Ok(Self { filter: Arc::from(filter), kind: self.kind.clone() })
    }

    /// The part that topics are matched against, without `$share/{group}/` and the like.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The matched part as shared text.
    pub fn shared_filter(&self) -> &Arc<str> {
        &self.filter
    }

    /// What kind of subscription it is.
    pub const fn kind(&self) -> &FilterKind {
        &self.kind
    }

    /// True when the matched part holds `+` or `#`.
    pub fn has_wildcard(&self) -> bool {
        self.filter.bytes().any(|b| b == b'+' || b == b'#')
    }

    /// The group and filter of a shared subscription.
    pub fn share_name(&self) -> Option<ShareName> {
        match &self.kind {
            FilterKind::Shared(group) => Some(ShareName { group: group.clone(), filter: self.filter.clone() }),
            _ => None,
        }
    }

    /// True when a message on `topic` matches.
    pub fn matches(&self, topic: Topic<'_>) -> bool {
        filter_matches(&self.filter, topic.as_str())
    }

    /// True when a message matches.
    pub fn matches_message(&self, message: &Message) -> bool {
        filter_matches(&self.filter, message.topic())
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FilterKind::Plain => f.write_str(&self.filter),
            FilterKind::Shared(group) if group.deref() == "$queue" => write!(f, "$queue/{}", self.filter),
            FilterKind::Shared(group) => write!(f, "$share/{group}/{}", self.filter),
            FilterKind::Exclusive => write!(f, "$exclusive/{}", self.filter),
        }
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn split_kind(text: &str) -> Result<(FilterKind, &str), TopicError> {
    if let Some(rest) = text.strip_prefix("$share/") {
        let (group, filter) = rest.split_once('/').ok_or(TopicError::BadShare)?;
        if group.is_empty() || filter.is_empty() || group.contains(['+', '#']) {
            return Err(TopicError::BadShare);
        }
        return Ok((FilterKind::Shared(Arc::from(group)), filter));
    }
    if let Some(filter) = text.strip_prefix("$queue/") {
        if filter.is_empty() {
            return Err(TopicError::BadShare);
        }
        return Ok((FilterKind::Shared(Arc::from("$queue")), filter));
    }
    if let Some(filter) = text.strip_prefix("$exclusive/") {
        if filter.is_empty() {
            return Err(TopicError::BadExclusive);
        }
        return Ok((FilterKind::Exclusive, filter));
    }
    if text == "$share" || text == "$queue" {
        return Err(TopicError::BadShare);
    }
    if text == "$exclusive" {
        return Err(TopicError::BadExclusive);
    }
    Ok((FilterKind::Plain, text))
}

fn check_filter(filter: &str, limits: TopicLimits) -> Result<(), TopicError> {
    let mut count = 0;
    let mut rest = levels(filter).peekable();
    while let Some(level) = rest.next() {
        count += 1;
        if count > limits.levels_max {
            return Err(TopicError::TooManyLevels);
        }
        if level.bytes().any(|b| b == 0) {
            return Err(TopicError::Nul);
        }
        let misplaced = match level {
            "+" => false,
            "#" => rest.peek().is_some(),
            _ => level.contains(['+', '#']),
        };
        if misplaced {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

/// True when `topic` matches `filter`, both already checked (MQTT 5.0, section 4.7).
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = levels(topic);
    let mut filter_levels = levels(filter);
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Result<TopicFilter, TopicError> {
        TopicFilter::parse(text, TopicLimits::default())
    }

    #[test]
    fn the_specifications_examples_match() {
        for (f, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
        ] {
            assert_eq!(filter_matches(f, topic), expected, "{f} against {topic}");
        }
    }

    #[test]
    fn bad_filters_say_why() {
        for (text, error) in [
            ("", TopicError::Empty),
            ("sport/tennis#", TopicError::MisplacedWildcard),
            ("sport/tennis/#/ranking", TopicError::MisplacedWildcard),
            ("sport+", TopicError::MisplacedWildcard),
            ("a\0b", TopicError::Nul),
            ("$share/g", TopicError::BadShare),
            ("$share//t", TopicError::BadShare),
            ("$share/g/", TopicError::BadShare),
            ("$share/g+/t", TopicError::BadShare),
            ("$share", TopicError::BadShare),
            ("$queue/", TopicError::BadShare),
            ("$exclusive/", TopicError::BadExclusive),
        ] {
            assert_eq!(filter(text), Err(error), "{text:?}");
        }
        let limits = TopicLimits { bytes_max: 8, levels_max: 2 };
        assert_eq!(TopicFilter::parse("a/b/c", limits), Err(TopicError::TooManyLevels));
        assert_eq!(TopicFilter::parse("aaaaaaaaa", limits), Err(TopicError::TooLong));
    }

    #[test]
    fn kinds_are_split_and_written_back() {
        for (text, inner) in [("$share/g/a/#", "a/#"), ("$queue/a/+", "a/+"), ("$exclusive/a", "a"), ("a/b", "a/b")] {
            let parsed = filter(text).expect("valid");
            assert_eq!(parsed.filter(), inner);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn filters_below_a_prefix() {
        for (text, expected) in [("a/#", "t/a/#"), ("$share/g/+", "$share/g/t/+"), ("$exclusive/a", "$exclusive/t/a")] {
            assert_eq!(filter(text).expect("valid").below("t/").expect("valid").to_string(), expected);
        }
        let long = "x".repeat(65_535);
        assert_eq!(filter(&long).expect("valid").below("t/"), Err(TopicError::TooLong));
        assert_eq!(filter("a").expect("valid").below("+"), Err(TopicError::MisplacedWildcard));
    }

    #[test]
    fn names_refuse_wildcards() {
        let limits = TopicLimits::default();
        assert_eq!(Topic::parse("a/+", limits), Err(TopicError::WildcardInName));
        assert_eq!(Topic::parse("a#", limits), Err(TopicError::WildcardInName));
        assert_eq!(Topic::parse("", limits), Err(TopicError::Empty));
        assert_eq!(Topic::parse("a\0", limits), Err(TopicError::Nul));
        assert_eq!(Topic::parse("/", limits).map(Topic::as_str), Ok("/"));
        assert_eq!(Topic::parse("a/b/c", TopicLimits { bytes_max: 9, levels_max: 2 }), Err(TopicError::TooManyLevels));
    }
}
