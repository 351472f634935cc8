//! The kinds of value that a setting can have, each with the spelling that operators write.

mod bind;
mod infinity;
mod period;
mod rate;
mod secret;
mod size;

pub(in crate::config) use secret::SHOWN;

pub use bind::Bind;
pub use infinity::OrInfinity;
pub use period::Period;
pub use rate::{ByteRate, Rate};
pub use secret::{SecretText, Texts};
pub use size::Size;

/// A text has not the form of the value that it should be. What was expected is told by the setting's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the expected form")]
pub struct BadValue;

/// Gives a type that is written as text its serde traits, by way of `FromStr` and `Display`.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// As `serde_as_text`, but a bare whole number is taken too, by way of `From<u64>`-like `from_number`.
macro_rules! serde_as_text_or_number {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a text or a number")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        <$name>::from_number(number).map_err(E::custom)
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        u64::try_from(number)
                            .map_err(E::custom)
                            .and_then(|number| <$name>::from_number(number).map_err(E::custom))
                    }
                }

                deserializer.deserialize_any(Visitor)
            }
        }
    };
}

use {serde_as_text, serde_as_text_or_number};
