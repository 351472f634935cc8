use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A limit, or the word `infinity` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrInfinity<T> {
    /// Up to here.
    Finite(T),
    /// Without limit.
    Infinity,
}

const WORD: &str = "infinity";

impl<T> OrInfinity<T> {
    /// The limit, if there is one.
    pub fn finite(self) -> Option<T> {
        match self {
            Self::Finite(limit) => Some(limit),
            Self::Infinity => None,
        }
    }

    /// The limit, or `most` for none.
    pub fn or(self, most: T) -> T {
        self.finite().unwrap_or(most)
    }
}

impl<T: fmt::Display> fmt::Display for OrInfinity<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite(limit) => limit.fmt(f),
            Self::Infinity => f.write_str(WORD),
        }
    }
}

impl<T: Serialize> Serialize for OrInfinity<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Finite(limit) => limit.serialize(serializer),
            Self::Infinity => serializer.serialize_str(WORD),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrInfinity<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        enum Word {
            #[serde(rename = "infinity")]
            Infinity,
        }

        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Infinity(Word),
            Finite(T),
        }

        Ok(match Either::deserialize(deserializer)? {
            Either::Infinity(Word::Infinity) => Self::Infinity,
            Either::Finite(limit) => Self::Finite(limit),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Period;

    #[test]
    fn reads_both() {
        assert_eq!(serde_json::from_str::<OrInfinity<u32>>("\"infinity\"").expect("a limit"), OrInfinity::Infinity);
        assert_eq!(serde_json::from_str::<OrInfinity<u32>>("7").expect("a limit").finite(), Some(7));
        let period: OrInfinity<Period> = serde_json::from_str("\"2h\"").expect("a limit");
        assert_eq!(serde_json::to_string(&period).expect("text"), "\"2h\"");
        assert!(serde_json::from_str::<OrInfinity<u32>>("\"none\"").is_err());
    }
}
