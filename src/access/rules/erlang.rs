//! Erlang terms, as far as `acl.conf` needs them: atoms, strings, binaries, integers, tuples and lists, each term ending with a dot.

use super::RuleCause;

/// Tuples and lists within each other.
const DEPTH_MAX: usize = 32;
/// Bytes of a file.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;

/// A term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Atom(String),
    Text(String),
    Integer(i64),
    Tuple(Vec<Term>),
    List(Vec<Term>),
}

impl Term {
    /// As an atom.
    pub fn atom(&self) -> Option<&str> {
        match self {
            Self::Atom(name) => Some(name),
            _ => None,
        }
    }

    /// As a string or binary.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            // The empty string is the empty list.
            Self::List(items) if items.is_empty() => Some(""),
            _ => None,
        }
    }

    /// As a list.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Text(text) if text.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// As it would be written, for messages.
    pub fn written(&self) -> String {
        let all = |items: &[Self]| items.iter().map(Self::written).collect::<Vec<_>>().join(",");
        match self {
            Self::Atom(name) => name.clone(),
            Self::Text(text) => format!("{text:?}"),
            Self::Integer(number) => number.to_string(),
            Self::Tuple(items) => format!("{{{}}}", all(items)),
            Self::List(items) => format!("[{}]", all(items)),
        }
    }
}

/// Reads terms, each with the line that it begins on. What is wrong is told with its line.
pub(super) fn terms(text: &str) -> Result<Vec<(u32, Term)>, (u32, RuleCause)> {
    if text.len() > FILE_BYTES_MAX {
        return Err((1, RuleCause::TooLarge("a file has at most 16 MiB")));
    }
    let mut reader = Reader { rest: text, line: 1 };
    let mut terms = Vec::new();
    loop {
        reader.skip_space();
        if reader.rest.is_empty() {
            return Ok(terms);
        }
        let line = reader.line;
        let term = reader.term(0)?;
        reader.skip_space();
        reader.expect('.', "a dot at the end of the rule")?;
        terms.push((line, term));
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: u32,
}

type Read<T> = Result<T, (u32, RuleCause)>;

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += u32::from(next == '\n');
        Some(next)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.line += taken.bytes().filter(|&byte| byte == b'\n').count() as u32;
        self.rest = rest;
        taken
    }

    fn skip_space(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with('%') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn wrong<T>(&self, expected: &'static str) -> Read<T> {
        let found = match self.peek() {
            None => "the end of the file".into(),
            Some(c) => format!("{c:?}"),
        };
        Err((self.line, RuleCause::Syntax { found, expected }))
    }

    fn expect(&mut self, wanted: char, expected: &'static str) -> Read<()> {
        if self.peek() != Some(wanted) {
            return self.wrong(expected);
        }
        self.next();
        Ok(())
    }

    fn term(&mut self, depth: usize) -> Read<Term> {
        if depth > DEPTH_MAX {
            return Err((self.line, RuleCause::TooLarge("tuples and lists are nested at most 32 times")));
        }
        self.skip_space();
        match self.peek() {
            Some('{') => self.sequence('}', "a comma or }", depth).map(Term::Tuple),
            Some('[') => self.sequence(']', "a comma or ]", depth).map(Term::List),
            Some('"') => self.texts(),
            Some('<') => self.binary(),
            Some('\'') => self.quoted('\'').map(Term::Atom),
            Some(c) if c.is_ascii_digit() || c == '-' => self.integer(),
            Some(c) if c.is_lowercase() => {
                Ok(Term::Atom(self.take_while(|c| c.is_alphanumeric() || c == '_' || c == '@').to_owned()))
            }
            _ => self.wrong("a term: an atom, a text, a number, { or ["),
        }
    }

    fn sequence(&mut self, end: char, expected: &'static str, depth: usize) -> Read<Vec<Term>> {
        self.next();
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(end) {
            self.next();
            return Ok(items);
        }
        loop {
            items.push(self.term(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(',') => {
                    self.next();
                }
                Some(c) if c == end => {
                    self.next();
                    return Ok(items);
                }
                _ => return self.wrong(expected),
            }
        }
    }

    /// Strings beside each other are one.
    fn texts(&mut self) -> Read<Term> {
        let mut text = self.quoted('"')?;
        loop {
            self.skip_space();
            if self.peek() != Some('"') {
                return Ok(Term::Text(text));
            }
            text += &self.quoted('"')?;
        }
    }

    fn binary(&mut self) -> Read<Term> {
        const EXPECTED: &str = "a binary such as <<\"text\">>";
        self.next();
        self.expect('<', EXPECTED)?;
        self.skip_space();
        let text = if self.peek() == Some('"') { self.quoted('"')? } else { String::new() };
        self.skip_space();
        if self.rest.starts_with("/utf8") {
            self.rest = &self.rest["/utf8".len()..];
            self.skip_space();
        }
        self.expect('>', EXPECTED)?;
        self.expect('>', EXPECTED)?;
        Ok(Term::Text(text))
    }

    fn quoted(&mut self, quote: char) -> Read<String> {
        let begin = self.line;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => {
                    let found = "the end of the file".into();
                    return Err((
                        begin,
                        RuleCause::Syntax { found, expected: "the quotation mark that ends the text" },
                    ));
                }
                Some('\\') => text.push(self.escaped()?),
                Some(c) if c == quote => return Ok(text),
                Some(c) => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Read<char> {
        Ok(match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('s') => ' ',
            Some('x') => {
                let code = if self.peek() == Some('{') {
                    self.next();
                    let code = u32::from_str_radix(self.take_while(|c| c.is_ascii_hexdigit()), 16);
                    self.expect('}', "} at the end of \\x{")?;
                    code.ok()
                } else {
                    let (code, rest) = self.rest.split_at_checked(2).unwrap_or(("", self.rest));
                    self.rest = rest;
                    u32::from_str_radix(code, 16).ok()
                };
                match code.and_then(char::from_u32) {
                    Some(c) => c,
                    None => return self.wrong("a character's number behind \\x"),
                }
            }
            // All others stand for themselves. Those that Erlang has beside these mean nothing in a rule.
            Some(c) if !c.is_ascii_alphanumeric() => c,
            _ => return self.wrong("one of \\n \\t \\r \\s \\x \\\\ and a quotation mark behind \\"),
        })
    }

    fn integer(&mut self) -> Read<Term> {
        let sign = if self.peek() == Some('-') { self.next() } else { None };
        let digits = self.take_while(|c| c.is_ascii_digit()).to_owned();
        match format!("{}{digits}", sign.map_or("", |_| "-")).parse() {
            Ok(number) => Ok(Term::Integer(number)),
            Err(_) => self.wrong("a number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is in a file, it is read or refused.
        #[test]
        fn fuzz_terms(text in "[{}<>\\[\\]\"'%,.\\\\x/ \n0-9a-z\u{fc}-]{0,60}") {
            let lines = text.matches('\n').count() as u32 + 1;
            let places: Vec<_> = match terms(&text) {
                Ok(terms) => terms.into_iter().map(|(line, _)| line).collect(),
                Err((line, _)) => vec![line],
            };
            prop_assert!(places.is_sorted() && places.iter().all(|line| (1..=lines).contains(line)), "{places:?}");
        }
    }

    fn one(text: &str) -> Term {
        let terms = terms(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(terms.len(), 1);
        terms.into_iter().next().expect("one").1
    }

    #[test]
    fn terms_are_read() {
        let atom = |name: &str| Term::Atom(name.into());
        let text = |text: &str| Term::Text(text.into());
        assert_eq!(one("{allow, all}."), Term::Tuple(vec![atom("allow"), atom("all")]));
        assert_eq!(one("{'and', []}."), Term::Tuple(vec![atom("and"), Term::List(vec![])]));
        assert_eq!(one("[\"a\" \"b\", <<\"c\">>, <<>>, -7]."), {
            Term::List(vec![text("ab"), text("c"), text(""), Term::Integer(-7)])
        });
        assert_eq!(one(r#""a\"b\\c\x41\x{20ac}"."#), text("a\"b\\cA\u{20ac}"));
        assert_eq!(one(r#""^x\\d$"."#), text("^x\\d$"));
        assert_eq!(one("<<\"\u{fc}\"/utf8>>."), text("\u{fc}"));
        assert_eq!(one("% a comment\n{a,%another\n b }\n."), Term::Tuple(vec![atom("a"), atom("b")]));
        assert_eq!(terms(" % nothing\n"), Ok(vec![]));
        let lines: Vec<_> = terms("a.\n\nb. c.\n").expect("good").into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3, 3]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let deep = "[".repeat(100);
        for (text, line, part) in [
            ("{allow, all}", 1, "the end of the file, expected a dot"),
            ("{allow, all}.\n{deny all}.", 2, "'a', expected a comma or }"),
            ("\n{allow, \"x}.", 2, "the quotation mark that ends"),
            ("{allow, Var}.", 1, "'V', expected a term"),
            ("{\"\\q\"}.", 1, "behind \\"),
            ("<<1>>.", 1, "expected a binary"),
            ("{99999999999999999999}.", 1, "expected a number"),
            (&deep, 1, "nested"),
            ("{allow,}.", 1, "expected a term"),
            ("\"\\xg1\".", 1, "behind \\x"),
            ("\"\\x\u{fc}\".", 1, "behind \\x"),
        ] {
            let (found, cause) = terms(text).expect_err(text);
            assert_eq!(found, line, "{text}");
            assert!(cause.to_string().contains(part), "{text}: {cause}");
        }
    }
}
