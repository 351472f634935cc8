//! A small language that makes a client's attributes of what it shows: `nth(1, tokens(clientid, '-'))`.
//!
//! Each expression is a name, a text in quotes, a whole number, or a function of expressions; what functions take is looked at when it is compiled. There
//! are no loops, texts are bounded, and regular expressions take linear time, so that none takes for ever. A name that has no value, and a function that finds
//! nothing, have no value, which goes on to whatever is made of it except by `coalesce`.

use std::{borrow::Cow, fmt};

use regex::{Regex, RegexBuilder};

/// Longest expression, in bytes.
const SOURCE_BYTES_MAX: usize = 1024;
/// Functions within functions.
const DEPTH_MAX: usize = 16;
/// Longest text that comes of a function, in bytes; a longer one is no value.
const VALUE_BYTES_MAX: usize = 1024;
/// Parts that a text is taken apart in; the last has the rest.
const PARTS_MAX: usize = 256;
/// Bytes that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 18;

/// A compiled expression, whose value is a text.
#[derive(Clone)]
pub struct Expression(Node);

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// It is longer than it may be, or nested deeper.
    #[error("longer than {SOURCE_BYTES_MAX} bytes, or more than {DEPTH_MAX} functions within each other")]
    TooLarge,
    /// Something else should be there.
    #[error("byte {at}: expected {expected}")]
    Syntax {
        /// Where, from 0.
        at: usize,
        /// What.
        expected: &'static str,
    },
    /// There is nothing of this name.
    #[error("there is no {0}")]
    Unknown(String),
    /// A function takes something else.
    #[error("{function} takes {takes}")]
    Arguments {
        /// Which.
        function: &'static str,
        /// What it takes.
        takes: &'static str,
    },
    /// A regular expression that is none.
    #[error("{0:?} is no regular expression that is offered here")]
    Regex(String),
}

#[derive(Clone)]
enum Node {
    Text(Box<str>),
    Name(Box<str>),
    Concat(Box<[Node]>),
    Coalesce(Box<[Node]>),
    Lower(Box<Node>),
    Upper(Box<Node>),
    Trim(Box<Node>),
    /// From where, and how many characters.
    Substr(Box<Node>, usize, usize),
    /// From 1.
    Nth(usize, Box<List>),
    Extract(Box<Node>, Box<Regex>),
}

#[derive(Clone)]
enum List {
    /// At each of these characters; empty parts are none.
    Tokens(Node, Box<str>),
    /// At this text.
    Split(Node, Box<str>),
    /// The groups of a regular expression.
    Groups(Node, Regex),
}

impl Expression {
    /// Compiles a text. `is_known` says which names there are.
    ///
    /// # Errors
    /// See [`ExpressionError`].
    pub fn parse(source: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, ExpressionError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(ExpressionError::TooLarge);
        }
        let mut parser = Parser { source, at: 0, is_known: &is_known };
        let value = parser.value(0)?;
        parser.skip_spaces();
        if parser.at < source.len() {
            return Err(ExpressionError::Syntax { at: parser.at, expected: "the end" });
        }
        match value {
            Value::Node(node) => Ok(Self(node)),
            _ => Err(ExpressionError::Syntax { at: 0, expected: "something whose value is a text" }),
        }
    }

    /// What comes of it; `None` for nothing. Never empty.
    pub fn value<'a>(&'a self, of: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
        self.0.value(of).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expression")
    }
}

impl Node {
    fn value<'a>(&'a self, of: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
        let value = match self {
            Self::Text(text) => Cow::Borrowed(&**text),
            Self::Name(name) => of(name)?,
            Self::Concat(nodes) => {
                let mut all = String::new();
                for node in nodes {
                    all.push_str(&node.value(of)?);
                    if all.len() > VALUE_BYTES_MAX {
                        return None;
                    }
                }
                Cow::Owned(all)
            }
            Self::Coalesce(nodes) => nodes.iter().find_map(|node| node.value(of).filter(|value| !value.is_empty()))?,
            Self::Lower(node) => Cow::Owned(node.value(of)?.to_lowercase()),
            Self::Upper(node) => Cow::Owned(node.value(of)?.to_uppercase()),
            Self::Trim(node) => part(node.value(of)?, str::trim),
            Self::Substr(node, from, count) => Cow::Owned(node.value(of)?.chars().skip(*from).take(*count).collect()),
            Self::Nth(number, list) => list.nth(number - 1, of)?,
            Self::Extract(node, regex) => {
                let text = node.value(of)?;
                let found = regex.captures(&text)?;
                Cow::Owned(found.get(1).or_else(|| found.get(0))?.as_str().to_owned())
            }
        };
        (value.len() <= VALUE_BYTES_MAX).then_some(value)
    }
}

/// Takes a part of a text, which stays borrowed if it is.
fn part<'a>(text: Cow<'a, str>, take: impl FnOnce(&str) -> &str) -> Cow<'a, str> {
    let taken = take(&text);
    if taken.len() == text.len() { text } else { Cow::Owned(taken.to_owned()) }
}

impl List {
    fn nth<'a>(&'a self, index: usize, of: &dyn Fn(&str) -> Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
        let owned = |part: &str| Cow::Owned(part.to_owned());
        match self {
            Self::Tokens(node, separators) => {
                let text = node.value(of)?;
                text.split(|c| separators.contains(c)).filter(|part| !part.is_empty()).nth(index).map(owned)
            }
            Self::Split(node, separator) => node.value(of)?.splitn(PARTS_MAX, &**separator).nth(index).map(owned),
            Self::Groups(node, regex) => Some(owned(regex.captures(&node.value(of)?)?.get(index + 1)?.as_str())),
        }
    }
}

enum Value {
    Node(Node),
    List(List),
    Number(usize),
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    is_known: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at = self.source.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, symbol: char) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len_utf8() } else { 0 };
        found
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn value(&mut self, depth: usize) -> Result<Value, ExpressionError> {
        if depth > DEPTH_MAX {
            return Err(ExpressionError::TooLarge);
        }
        self.skip_spaces();
        let at = self.at;
        let first = self.rest().chars().next();
        match first {
            Some(quote @ ('\'' | '"')) => {
                self.at += 1;
                let text = self.word(|c| c != quote);
                if !self.take_here(quote) {
                    return Err(ExpressionError::Syntax { at: self.at, expected: "the closing quote" });
                }
                Ok(Value::Node(Node::Text(text.into())))
            }
            Some('0'..='9') => {
                let digits = self.word(|c| c.is_ascii_digit());
                let number = digits.parse().ok().filter(|number| *number <= VALUE_BYTES_MAX);
                number.map(Value::Number).ok_or(ExpressionError::Syntax { at, expected: "a number of up to 1024" })
            }
            Some(c) if c.is_ascii_alphabetic() => {
                let name = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
                if self.take('(') { self.function(name, depth) } else { self.name(name) }
            }
            _ => Err(ExpressionError::Syntax { at, expected: "a name, a text, a number or a function" }),
        }
    }

    fn take_here(&mut self, symbol: char) -> bool {
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len_utf8() } else { 0 };
        found
    }

    fn name(&self, name: &str) -> Result<Value, ExpressionError> {
        if (self.is_known)(name) {
            return Ok(Value::Node(Node::Name(name.into())));
        }
        Err(ExpressionError::Unknown(name.into()))
    }

    fn function(&mut self, name: &str, depth: usize) -> Result<Value, ExpressionError> {
        let mut arguments = Vec::new();
        if !self.take(')') {
            loop {
                arguments.push(self.value(depth + 1)?);
                if self.take(')') {
                    break;
                }
                if !self.take(',') {
                    return Err(ExpressionError::Syntax { at: self.at, expected: "a comma or a closing parenthesis" });
                }
            }
        }
        call(name, arguments)
    }
}

fn call(name: &str, arguments: Vec<Value>) -> Result<Value, ExpressionError> {
    let wrong = |function, takes| Err(ExpressionError::Arguments { function, takes });
    let mut arguments = arguments.into_iter();
    let mut next = || arguments.next();
    let node = match name {
        "concat" | "coalesce" => {
            let nodes: Option<Box<[Node]>> = std::iter::from_fn(next)
                .map(|argument| match argument {
                    Value::Node(node) => Some(node),
                    _ => None,
                })
                .collect();
            return match (name, nodes.filter(|nodes| !nodes.is_empty())) {
                ("concat", Some(nodes)) => Ok(Value::Node(Node::Concat(nodes))),
                (_, Some(nodes)) => Ok(Value::Node(Node::Coalesce(nodes))),
                ("concat", None) => wrong("concat", "texts"),
                (_, None) => wrong("coalesce", "texts"),
            };
        }
        "lower" => match (next(), next()) {
            (Some(Value::Node(node)), None) => Node::Lower(Box::new(node)),
            _ => return wrong("lower", "a text"),
        },
        "upper" => match (next(), next()) {
            (Some(Value::Node(node)), None) => Node::Upper(Box::new(node)),
            _ => return wrong("upper", "a text"),
        },
        "trim" => match (next(), next()) {
            (Some(Value::Node(node)), None) => Node::Trim(Box::new(node)),
            _ => return wrong("trim", "a text"),
        },
        "substr" => match (next(), next(), next(), next()) {
            (Some(Value::Node(node)), Some(Value::Number(from)), None, None) => {
                Node::Substr(Box::new(node), from, VALUE_BYTES_MAX)
            }
            (Some(Value::Node(node)), Some(Value::Number(from)), Some(Value::Number(count)), None) => {
                Node::Substr(Box::new(node), from, count)
            }
            _ => return wrong("substr", "a text, where it begins (from 0), and how many characters there are"),
        },
        "nth" => match (next(), next(), next()) {
            (Some(Value::Number(number @ 1..)), Some(Value::List(list)), None) => Node::Nth(number, Box::new(list)),
            _ => return wrong("nth", "a number (from 1) and a list: tokens(), split() or regex_groups()"),
        },
        "regex_extract" => match (next(), next(), next()) {
            (Some(Value::Node(node)), Some(Value::Node(Node::Text(pattern))), None) => {
                Node::Extract(Box::new(node), Box::new(regex(&pattern)?))
            }
            _ => return wrong("regex_extract", "a text, and a regular expression in quotes"),
        },
        "tokens" | "split" | "regex_groups" => {
            let (Some(Value::Node(node)), Some(Value::Node(Node::Text(text))), None) = (next(), next(), next()) else {
                return match name {
                    "tokens" => wrong("tokens", "a text, and the characters between tokens in quotes"),
                    "split" => wrong("split", "a text, and what is between its parts in quotes"),
                    _ => wrong("regex_groups", "a text, and a regular expression in quotes"),
                };
            };
            if text.is_empty() {
                return wrong("split", "a text, and what is between its parts in quotes");
            }
            return Ok(Value::List(match name {
                "tokens" => List::Tokens(node, text),
                "split" => List::Split(node, text),
                _ => List::Groups(node, regex(&text)?),
            }));
        }
        other => return Err(ExpressionError::Unknown(format!("function {other}"))),
    };
    Ok(Value::Node(node))
}

fn regex(pattern: &str) -> Result<Regex, ExpressionError> {
    let regex = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    regex.map_err(|_| ExpressionError::Regex(pattern.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["clientid", "username", "user_property.site-no"];

    fn value(source: &str) -> Option<String> {
        let parsed = Expression::parse(source, |name| NAMES.contains(&name));
        let expression = parsed.unwrap_or_else(|error| panic!("{source}: {error}"));
        let of = |name: &str| match name {
            "clientid" => Some(Cow::Borrowed("north-DEV-0042")),
            "user_property.site-no" => Some(Cow::Borrowed(" 7 ")),
            _ => None,
        };
        expression.value(&of).map(Cow::into_owned)
    }

    #[test]
    fn values() {
        for (source, expected) in [
            ("clientid", Some("north-DEV-0042")),
            ("'a text'", Some("a text")),
            ("\"a text\"", Some("a text")),
            ("''", None),
            ("username", None),
            ("nth(1, tokens(clientid, '-'))", Some("north")),
            ("nth( 3 ,tokens( clientid ,'-') )", Some("0042")),
            ("nth(4, tokens(clientid, '-'))", None),
            ("nth(2, tokens('a--b', '-'))", Some("b")),
            ("nth(2, split('a--b', '-'))", None),
            ("nth(3, split('a--b', '-'))", Some("b")),
            ("nth(2, tokens('a/b.c', './'))", Some("b")),
            ("lower(nth(2, tokens(clientid, '-')))", Some("dev")),
            ("upper(substr(clientid, 0, 5))", Some("NORTH")),
            ("substr(clientid, 10)", Some("0042")),
            ("substr('äöü', 1, 1)", Some("ö")),
            ("substr(clientid, 99)", None),
            ("trim(user_property.site-no)", Some("7")),
            ("concat(nth(1, tokens(clientid, '-')), '/', trim(user_property.site-no))", Some("north/7")),
            ("concat('a', username)", None),
            ("coalesce(username, '', clientid)", Some("north-DEV-0042")),
            ("coalesce(username)", None),
            ("regex_extract(clientid, '^[a-z]+')", Some("north")),
            ("regex_extract(clientid, '-0*([0-9]+)$')", Some("42")),
            ("regex_extract(clientid, '^x')", None),
            ("nth(2, regex_groups(clientid, '^(\\w+)-(\\w+)'))", Some("DEV")),
            ("nth(3, regex_groups(clientid, '^(\\w+)-(\\w+)'))", None),
        ] {
            assert_eq!(value(source).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let parse = |source: &str| Expression::parse(source, |name| NAMES.contains(&name)).map(drop);
        let syntax = |at, expected| Err(ExpressionError::Syntax { at, expected });
        assert_eq!(parse(""), syntax(0, "a name, a text, a number or a function"));
        assert_eq!(parse("'a"), syntax(2, "the closing quote"));
        assert_eq!(parse("clientid x"), syntax(9, "the end"));
        assert_eq!(parse("concat('a' 'b')"), syntax(11, "a comma or a closing parenthesis"));
        assert_eq!(parse("lower(clientid"), syntax(14, "a comma or a closing parenthesis"));
        assert_eq!(parse("tokens(clientid, '-')"), syntax(0, "something whose value is a text"));
        assert_eq!(parse("7"), syntax(0, "something whose value is a text"));
        assert_eq!(parse("password"), Err(ExpressionError::Unknown("password".into())));
        assert_eq!(parse("eval('x')"), Err(ExpressionError::Unknown("function eval".into())));
        assert_eq!(parse("regex_extract(clientid, '(')"), Err(ExpressionError::Regex("(".into())));
        assert_eq!(parse(&"x".repeat(2000)), Err(ExpressionError::TooLarge));
        let deep = format!("{}clientid{}", "lower(".repeat(20), ")".repeat(20));
        assert_eq!(parse(&deep), Err(ExpressionError::TooLarge));
        for source in [
            "lower()",
            "lower(1)",
            "lower('a', 'b')",
            "nth(0, tokens('a', '-'))",
            "nth(1, 'a')",
            "substr('a', 'b')",
            "concat()",
            "coalesce(1)",
            "tokens('a', '')",
            "regex_extract(clientid, clientid)",
            "nth(clientid, tokens('a', '-'))",
        ] {
            assert!(matches!(parse(source), Err(ExpressionError::Arguments { .. })), "{source}");
        }
        assert!(matches!(parse("99999999999999999999"), Err(ExpressionError::Syntax { at: 0, .. })));
    }

    #[test]
    fn what_grows_is_bounded() {
        let large = |name: &str| (name == "clientid").then(|| Cow::Owned("x".repeat(900)));
        let parse = |source: &str| Expression::parse(source, |_| true).expect("an expression");
        let (one, two) = (parse("clientid"), parse("concat(clientid, clientid)"));
        assert!(one.value(&large).is_some() && two.value(&large).is_none());
    }
}
