use std::borrow::Cow;

use zeroize::Zeroizing;

/// Longest text that a template is read from, in bytes.
const TEXT_MAX: usize = 64 * 1024;

/// What is known when something is asked, by the names of placeholders.
pub trait Values {
    /// The value of a name; `None` when it is not known.
    fn value(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// A text with placeholders as `${name}`. What stands between them is the operator's and is taken as it is; what comes in their place is a stranger's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Name(Box<str>),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${` without its end.
    #[error("\"${{\" without \"}}\"")]
    Unclosed,
    /// A placeholder that nothing is known by.
    #[error("\"${{{0}}}\" is no placeholder")]
    Unknown(String),
    /// It is too long.
    #[error("longer than 65536 bytes")]
    TooLong,
}

impl Template {
    /// Reads a text whose placeholders are all among those that `is_known`.
    ///
    /// # Errors
    /// When one is not, or the text is damaged.
    pub fn parse(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, TemplateError> {
        if text.len() > TEXT_MAX {
            return Err(TemplateError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if at > 0 {
                parts.push(Part::Text(rest[..at].into()));
            }
            let end = rest[at..].find('}').ok_or(TemplateError::Unclosed)? + at;
            let name = &rest[at + 2..end];
            if !is_known(name) {
                return Err(TemplateError::Unknown(name.into()));
            }
            parts.push(Part::Name(name.into()));
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self(parts.into()))
    }

    /// The names of its placeholders, in their order; one that comes twice is there twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(&**name),
            Part::Text(_) => None,
        })
    }

    /// The text with something in the place of each placeholder: `put` is given its number (from 0) and its name.
    pub fn write(&self, out: &mut String, mut put: impl FnMut(usize, &str, &mut String)) {
        let mut number = 0;
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => {
                    put(number, name, out);
                    number += 1;
                }
            }
        }
    }

    /// The text with values in the places of placeholders, each through `escape`. `None` when a value is not known.
    pub fn fill(&self, values: &dyn Values, mut escape: impl FnMut(&str, &mut String)) -> Option<Zeroizing<String>> {
        let mut out = Zeroizing::new(String::new());
        let mut known = true;
        self.write(&mut out, |_, name, out| match values.value(name) {
            Some(value) => escape(&value, out),
            None => known = false,
        });
        known.then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Values for One {
        fn value(&self, name: &str) -> Option<Cow<'_, str>> {
            (name == "a").then_some(Cow::Borrowed("'x"))
        }
    }

    fn parse(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text, |name| ["a", "b"].contains(&name))
    }

    #[test]
    fn values_go_through_the_escape_and_texts_do_not() {
        let template = parse("'${a}' or '${a}'").expect("good");
        assert_eq!(template.names().collect::<Vec<_>>(), ["a", "a"]);
        let filled = template.fill(&One, |value, out| out.push_str(&value.replace('\'', "''")));
        assert_eq!(filled.as_deref().map(String::as_str), Some("'''x' or '''x'"));
        let mut numbered = String::new();
        template.write(&mut numbered, |number, name, out| *out += &format!("${}{name}", number + 1));
        assert_eq!(numbered, "'$1a' or '$2a'");
        assert!(parse("${b}").expect("good").fill(&One, |_, _| {}).is_none(), "it is not known");
        assert_eq!(parse("").expect("good").names().count(), 0);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(parse("${c}"), Err(TemplateError::Unknown("c".into())));
        assert_eq!(parse("x ${a"), Err(TemplateError::Unclosed));
        assert_eq!(parse(&"x".repeat(TEXT_MAX + 1)), Err(TemplateError::TooLong));
        assert!(parse("$ { } $a").is_ok(), "only ${{ begins one");
    }
}
