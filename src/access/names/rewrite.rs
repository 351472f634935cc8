use regex::{Captures, Regex, RegexBuilder};
use thingway_contract::{TopicFilter, TopicLimits, filter_matches};

use super::split_delay;

/// Bytes that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Rules by which topics become others, compiled. The last whose source matches counts.
#[derive(Clone, Debug)]
pub struct Rewrites(Box<[Rewrite]>);

/// One such rule.
#[derive(Clone, Debug)]
pub struct Rewrite {
    publish: bool,
    subscribe: bool,
    source: Box<str>,
    pattern: Regex,
    destination: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Group(usize),
    ClientId,
    Username,
}

/// Why it is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The source is no filter.
    #[error("{0:?} is no topic filter")]
    Source(String),
    /// The pattern is no regular expression, or uses what is not offered here.
    #[error("{0:?} is no regular expression that is offered here")]
    Pattern(String),
    /// The destination is empty, has an unknown placeholder, or a group that the pattern does not have.
    #[error("{0:?} is no destination: a text with $1 to $9 for groups of the pattern, ${{clientid}} and ${{username}}")]
    Destination(String),
}

impl Rewrite {
    /// Compiles a rule.
    ///
    /// # Errors
    /// See [`RewriteError`].
    pub fn new(
        publish: bool,
        subscribe: bool,
        source: &str,
        pattern: &str,
        destination: &str,
    ) -> Result<Self, RewriteError> {
        let filter = TopicFilter::parse(source, TopicLimits::default());
        let is_plain = filter.is_ok_and(|filter| filter.filter() == source);
        if !is_plain {
            return Err(RewriteError::Source(source.into()));
        }
        let regex = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        let regex = regex.map_err(|_| RewriteError::Pattern(pattern.into()))?;
        let pieces = pieces(destination, regex.captures_len());
        let pieces = pieces.ok_or_else(|| RewriteError::Destination(destination.into()))?;
        Ok(Self { publish, subscribe, source: source.into(), pattern: regex, destination: pieces.into() })
    }

    fn apply(&self, topic: &str, client_id: &str, username: &dyn Fn() -> Option<Box<str>>) -> Option<String> {
        let found = self.pattern.captures(topic)?;
        let mut result = String::new();
        for piece in &self.destination {
            piece.put(&found, client_id, username, &mut result)?;
        }
        Some(result)
    }
}

impl Piece {
    fn put(
        &self,
        found: &Captures<'_>,
        client_id: &str,
        username: &dyn Fn() -> Option<Box<str>>,
        out: &mut String,
    ) -> Option<()> {
        // What would make another topic of it stands for nothing.
        let mut put_name = |name: &str| {
            let is_good = !name.is_empty() && !name.contains(['/', '+', '#', '\0']);
            is_good.then(|| out.push_str(name))
        };
        match self {
            Self::ClientId => put_name(client_id),
            Self::Username => put_name(&username()?),
            Self::Text(text) => {
                out.push_str(text);
                Some(())
            }
            Self::Group(number) => {
                out.push_str(found.get(*number).map_or("", |group| group.as_str()));
                Some(())
            }
        }
    }
}

fn pieces(text: &str, groups: usize) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let digit = after.chars().next().and_then(|c| c.to_digit(10)).map(|digit| digit as usize);
        let piece;
        (rest, piece) = match digit {
            Some(number @ 1..) if number < groups => (&after[1..], Piece::Group(number)),
            Some(_) => return None,
            None => {
                if let Some(after) = after.strip_prefix("{clientid}") {
                    (after, Piece::ClientId)
                } else if let Some(after) = after.strip_prefix("{username}") {
                    (after, Piece::Username)
                } else if after.starts_with('{') {
                    return None;
                } else {
                    // A topic such as $SYS.
                    (after, Piece::Text("$".into()))
                }
            }
        };
        pieces.push(piece);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    (!pieces.is_empty()).then_some(pieces)
}

impl Rewrites {
    /// Rules in their order; `None` when there are none.
    pub fn new(rules: Vec<Rewrite>) -> Option<Self> {
        (!rules.is_empty()).then(|| Self(rules.into()))
    }

    /// What the topic of a publication becomes; `None` for itself. The delay of a delayed publication stays in front.
    pub fn publication(&self, topic: &str, client_id: &str, username: &dyn Fn() -> Option<Box<str>>) -> Option<String> {
        let (delay, topic) = split_delay(topic);
        let rule = self.0.iter().rev().find(|rule| rule.publish && filter_matches(&rule.source, topic))?;
        let rewritten = rule.apply(topic, client_id, username)?;
        Some(if delay.is_empty() { rewritten } else { [delay, &rewritten].concat() })
    }

    /// What the filter of a subscription becomes, without what makes it shared or exclusive; `None` for itself.
    pub fn subscription(
        &self,
        filter: &str,
        client_id: &str,
        username: &dyn Fn() -> Option<Box<str>>,
    ) -> Option<String> {
        let rule = self.0.iter().rev().find(|rule| rule.subscribe && filter_matches(&rule.source, filter))?;
        rule.apply(filter, client_id, username)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrites(rules: &[(bool, bool, &str, &str, &str)]) -> Rewrites {
        let rule = |&(publish, subscribe, source, pattern, destination): &(bool, bool, &str, &str, &str)| {
            Rewrite::new(publish, subscribe, source, pattern, destination).expect("a rule")
        };
        Rewrites::new(rules.iter().map(rule).collect()).expect("some")
    }

    /// The example of EMQX's documentation.
    #[test]
    fn the_last_whose_source_matches_counts() {
        let rules = rewrites(&[
            (true, true, "y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2"),
            (true, true, "x/#", "^x/y/(.+)$", "z/y/$1"),
            (true, true, "x/y/+", "^x/y/(\\d+)$", "z/y/x$1"),
        ]);
        let nobody = || None;
        for (topic, expected) in [
            ("y/a/z/b", Some("y/z/b")),
            ("y/def", None),
            ("x/1/2", None),
            ("x/y/2", Some("z/y/x2")),
            ("x/y/z", None),
            ("$delayed/3/y/a/z/b", Some("$delayed/3/y/z/b")),
        ] {
            assert_eq!(rules.publication(topic, "c", &nobody).as_deref(), expected, "{topic}");
        }
        assert_eq!(rules.subscription("y/a/z/#", "c", &nobody).as_deref(), Some("y/z/#"));
    }

    #[test]
    fn names_and_actions() {
        let rules = rewrites(&[
            (true, false, "up/#", "^up/(.*)$", "devices/${clientid}/${username}/$1"),
            (false, true, "down", ".*", "$SYS/${clientid}"),
        ]);
        let bob = || Some(Box::from("bob"));
        assert_eq!(rules.publication("up/x", "c", &bob).as_deref(), Some("devices/c/bob/x"));
        assert_eq!(rules.publication("up/x", "c", &|| None), None, "it has no name");
        assert_eq!(rules.publication("up/x", "a/b", &bob), None, "it would be another topic");
        assert_eq!(rules.subscription("up/x", "c", &bob), None);
        assert_eq!(rules.publication("down", "c", &bob), None);
        assert_eq!(rules.subscription("down", "c", &bob).as_deref(), Some("$SYS/c"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let rule = |source, pattern, destination| Rewrite::new(true, true, source, pattern, destination).map(drop);
        assert_eq!(rule("a/#/b", ".", "x"), Err(RewriteError::Source("a/#/b".into())));
        assert_eq!(rule("$share/g/a", ".", "x"), Err(RewriteError::Source("$share/g/a".into())));
        assert_eq!(rule("a", "(", "x"), Err(RewriteError::Pattern("(".into())));
        for destination in ["", "$1", "${peerhost}", "$0"] {
            assert_eq!(rule("a", ".", destination), Err(RewriteError::Destination(destination.into())));
        }
    }
}
