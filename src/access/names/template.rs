use crate::access::rules::{Part, PatternError, Who, parts_of};

/// A text with placeholders for what is known of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Part]>);

impl Template {
    /// Reads `a/${clientid}`.
    ///
    /// # Errors
    /// When there is no such placeholder, or U+0000 in the text.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.contains('\0') {
            return Err(PatternError::Empty);
        }
        Ok(Self(parts_of(text)?.into()))
    }

    /// The text for a client; `None` when a value is missing, empty, or has `/`, `+` or `#` in it.
    pub fn fill(&self, who: &Who<'_>) -> Option<String> {
        self.0.iter().map(|part| part.value(who)).collect()
    }

    /// The text with `x` for each value.
    pub fn shown(&self) -> String {
        let shown = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::Placeholder(_) => "x".to_owned(),
        };
        self.0.iter().map(shown).collect()
    }

    /// Its text has one of these characters.
    pub fn contains(&self, characters: &[char]) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Text(text) if text.contains(characters)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_gives_nothing() {
        let template = Template::parse("a/${clientid}-${username}/").expect("a template");
        let who = Who { client_id: "c", username: Some("u"), ..Who::nobody() };
        assert_eq!(template.fill(&who).as_deref(), Some("a/c-u/"));
        for username in [None, Some(""), Some("a/b"), Some("+"), Some("x#")] {
            assert_eq!(template.fill(&Who { username, ..who }), None, "{username:?}");
        }
        assert_eq!(Template::parse("${x}"), Err(PatternError::Placeholder("${x}".into())));
        assert_eq!(Template::parse("").expect("a template").fill(&who).as_deref(), Some(""));
    }
}
