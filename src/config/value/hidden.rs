use std::fmt;

use zeroize::Zeroizing;

/// A text that is nobody else's business, such as a password: whatever shows settings shows `***` in its place. It is overwritten when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

/// What is shown of it.
pub(in crate::config) const SHOWN: &str = "***";

impl Hidden {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "" } else { SHOWN })
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Hidden {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_shown() {
        let hidden = Hidden::from("hunter2");
        assert_eq!(hidden.reveal(), "hunter2");
        let shown = format!("{hidden} {hidden:?} {}", serde_json::to_string(&hidden).expect("text"));
        assert_eq!(shown, "*** *** \"***\"");
        assert_eq!(serde_json::to_string(&Hidden::default()).expect("text"), "\"\"");
        assert_eq!(serde_json::from_str::<Hidden>("\"x\"").expect("text").reveal(), "x");
    }
}
