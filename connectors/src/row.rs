use std::borrow::Cow;

use zeroize::Zeroizing;

/// What a database said of one thing: columns or fields by name. Credentials may be among them: it is overwritten when dropped, and not shown.
#[derive(Clone, Default)]
pub struct Row(Vec<(Box<str>, Field)>);

/// All that a database said. There are few rows, as a [`crate::LineSettings`] bounds them.
pub type Rows = Vec<Row>;

/// One value.
#[derive(Clone, PartialEq)]
pub enum Field {
    /// There is none.
    Null,
    /// Text.
    Text(Zeroizing<String>),
    /// Bytes that are no text.
    Bytes(Zeroizing<Vec<u8>>),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// Several of them.
    List(Vec<Field>),
}

impl Row {
    /// Adds a value. A name that comes again counts the first time.
    pub fn push(&mut self, name: impl Into<Box<str>>, field: Field) {
        self.0.push((name.into(), field));
    }

    /// The value of a name.
    pub fn find(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, field)| field).filter(|field| **field != Field::Null)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.0.iter().map(|(name, field)| (&**name, field))
    }

    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Box<str>>> FromIterator<(N, Field)> for Row {
    fn from_iter<I: IntoIterator<Item = (N, Field)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, field)| (name.into(), field)).collect())
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Field {
    /// As text; numbers are written out. `None` for what is no text.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Integer(number) => Some(Cow::Owned(number.to_string())),
            Self::Boolean(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
            Self::Null | Self::List(_) => None,
        }
    }

    /// As true or false, as databases without such a type have it: 0 and 1, "true", "t", "yes", "on" and their opposites. `None` for anything else.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Boolean(truth) => Some(*truth),
            Self::Integer(0) => Some(false),
            Self::Integer(1) => Some(true),
            Self::Bytes(bytes) if **bytes == [0] => Some(false),
            Self::Bytes(bytes) if **bytes == [1] => Some(true),
            _ => match self.text()?.trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "t" | "yes" | "on" => Some(true),
                "0" | "false" | "f" | "no" | "off" | "" => Some(false),
                _ => None,
            },
        }
    }

    /// As a whole number.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => self.text()?.trim().parse().ok(),
        }
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Field")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Field {
        Field::Text(Zeroizing::new(text.into()))
    }

    #[test]
    fn databases_tell_truth_in_many_ways() {
        for yes in
            [Field::Boolean(true), Field::Integer(1), text("1"), text("T"), text("true"), Field::Bytes(vec![1].into())]
        {
            assert_eq!(yes.truth(), Some(true));
        }
        for no in
            [Field::Boolean(false), Field::Integer(0), text("0"), text("no"), text(""), Field::Bytes(vec![0].into())]
        {
            assert_eq!(no.truth(), Some(false));
        }
        for neither in [Field::Null, Field::Integer(2), text("perhaps"), Field::List(Vec::new())] {
            assert_eq!(neither.truth(), None);
        }
        assert_eq!(
            (text("12").integer(), Field::Integer(-1).integer(), text("x").integer()),
            (Some(12), Some(-1), None)
        );
    }

    #[test]
    fn nothing_of_it_is_shown_by_debug() {
        let row: Row = [("password", text("secret")), ("none", Field::Null)].into_iter().collect();
        assert_eq!(format!("{row:?}"), r#"["password", "none"]"#);
        assert!(row.find("password").is_some() && row.find("none").is_none() && row.find("other").is_none());
    }
}
