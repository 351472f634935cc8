//! What the settings say about themselves: names, documentation, expected values.
//!
//! `settings!` makes a section's struct, its defaults and its description from one text, so that they cannot disagree.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    check::spell,
    layers::{self, Value},
    value::{Bind, ByteRate, OrInfinity, Period, Rate, SHOWN, SecretText, Size, Texts},
};
use crate::network::Network;

/// A type that can stand in the configuration.
pub trait Setting {
    /// How it looks from outside.
    fn shape() -> Shape;
}

/// What stands behind a key.
#[derive(Clone, Debug)]
pub enum Shape {
    /// One value.
    Leaf {
        /// What operators may write, as the end of "expected ...".
        expected: String,
        /// True when a value can be read as this type.
        fits: fn(&Value) -> bool,
        /// Values are not to be shown.
        is_secret: bool,
    },
    /// A table of fixed keys.
    Section(Vec<Key>),
    /// A table of tables that operators name, and the defaults of one.
    Named(Vec<Key>, fn() -> layers::Dict),
    /// A table like the section of this name, whose values count where this one is silent.
    Overrides(&'static str, Vec<Key>),
}

/// One key of a section.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its last part.
    pub name: &'static str,
    /// Its documentation, a line each.
    pub doc: &'static [&'static str],
    /// What stands behind it.
    pub shape: Shape,
    /// Bounds of a number.
    pub range: Option<RangeInclusive<f64>>,
}

impl Key {
    /// A value of this key, as it may be shown.
    pub fn show(&self, value: &Value) -> String {
        let is_empty = match value {
            Value::String(_, text) => text.is_empty(),
            Value::Dict(_, values) => values.is_empty(),
            _ => false,
        };
        if self.is_secret() && !is_empty { SHOWN.into() } else { spell(value) }
    }

    /// Its values are not to be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self.shape, Shape::Leaf { is_secret: true, .. })
    }

    /// What operators may write, bounds included.
    pub fn expected(&self) -> String {
        let Shape::Leaf { expected, .. } = &self.shape else { return "a table".into() };
        match &self.range {
            Some(range) => {
                let kind = expected.split(" from ").next().unwrap_or(expected);
                format!("{kind} from {} to {}", range.start(), range.end())
            }
            None => expected.clone(),
        }
    }
}

/// Finds the key at a dotted path, such as `listeners.tcp.default.bind`.
pub fn find<'a>(keys: &'a [Key], path: &str) -> Option<&'a Key> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let key = keys.iter().find(|key| key.name == name)?;
    match (rest, &key.shape) {
        (None, _) => Some(key),
        (Some(rest), Shape::Section(keys) | Shape::Overrides(_, keys)) => find(keys, rest),
        (Some(rest), Shape::Named(keys, _)) => match rest.split_once('.') {
            Some((_, rest)) => find(keys, rest),
            None => Some(key),
        },
        (Some(_), Shape::Leaf { .. }) => None,
    }
}

/// Defines a section: its struct, defaults and description.
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(, within $range:expr)?;)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::config::schema::Setting for $name {
            fn shape() -> $crate::config::schema::Shape {
                $crate::config::schema::Shape::Section(Self::keys())
            }
        }

        impl $name {
            /// The keys of this section.
            pub fn keys() -> Vec<$crate::config::schema::Key> {
                vec![$($crate::config::schema::Key {
                    name: stringify!($field),
                    doc: &[$($doc),+],
                    shape: <$type as $crate::config::schema::Setting>::shape(),
                    range: $crate::config::schema::range!($($range)?),
                }),*]
            }
        }
    };
}

macro_rules! range {
    () => {
        None
    };
    ($range:expr) => {{
        let (start, end) = $range.into_inner();
        Some(f64::from(start)..=f64::from(end))
    }};
}

/// Defines a setting that is one of a few words.
macro_rules! words {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)* }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that operators write.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::schema::Setting for $name {
            fn shape() -> $crate::config::schema::Shape {
                $crate::config::schema::leaf::<Self>($crate::config::schema::one_of(&[$($word),*]))
            }
        }
    };
}

pub(crate) use {range, settings, words};

/// The shape of a type that serde can read.
pub fn leaf<T: DeserializeOwned>(expected: impl Into<String>) -> Shape {
    Shape::Leaf { expected: expected.into(), fits: layers::fits::<T>, is_secret: false }
}

/// A shape whose values are not to be shown.
fn secret(shape: Shape) -> Shape {
    match shape {
        Shape::Leaf { expected, fits, .. } => Shape::Leaf { expected, fits, is_secret: true },
        other => other,
    }
}

impl Setting for SecretText {
    fn shape() -> Shape {
        secret(leaf::<Self>("a text in quotation marks"))
    }
}

impl Setting for Texts {
    fn shape() -> Shape {
        secret(leaf::<Self>("a table of texts such as { name = \"value\" }"))
    }
}

/// "one of a, b, c" with quotation marks.
pub fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        [first, second] => format!("{first} or {second}"),
        all => format!("one of {}", all.join(", ")),
    }
}

macro_rules! leaves {
    ($($type:ty: $expected:expr;)*) => {
        $(impl Setting for $type {
            fn shape() -> Shape {
                leaf::<Self>($expected)
            }
        })*
    };
}

leaves! {
    bool: "true or false";
    u8: "a whole number from 0 to 255";
    u16: "a whole number from 0 to 65535";
    u32: "a whole number from 0 to 4294967295";
    u64: "a whole number";
    f64: "a number";
    String: "a text in quotation marks";
    PathBuf: "a path in quotation marks";
    Period: "a time such as \"500ms\", \"15s\", \"1m\" or \"2h\"";
    Size: "a number of bytes such as \"64KiB\" or \"1MiB\"";
    Rate: "a rate such as \"100/s\" or \"6000/m\"";
    ByteRate: "a rate such as \"64KiB/s\"";
    Network: "a range of addresses such as \"10.0.0.0/8\"";
    Bind: "where to listen, such as \":1883\", \"0.0.0.0:1883\", \"[::]:1883\" or \"/run/thingway.sock\"";
}

impl<T: Setting + DeserializeOwned> Setting for OrInfinity<T> {
    fn shape() -> Shape {
        match T::shape() {
            Shape::Leaf { expected, .. } => leaf::<Self>(format!("{expected}, or \"infinity\"")),
            other => other,
        }
    }
}

impl<T: Setting + DeserializeOwned> Setting for Vec<T> {
    fn shape() -> Shape {
        match T::shape() {
            Shape::Leaf { expected, .. } => leaf::<Self>(format!("a list, each {expected}")),
            Shape::Section(keys) | Shape::Named(keys, _) | Shape::Overrides(_, keys) => {
                let names: Vec<_> = keys.iter().map(|key| key.name).collect();
                leaf::<Self>(format!("a list of tables, each with {}", names.join(" and ")))
            }
        }
    }
}

impl<T: Setting + Default + Serialize + DeserializeOwned> Setting for BTreeMap<String, T> {
    fn shape() -> Shape {
        match T::shape() {
            Shape::Section(keys) => Shape::Named(keys, || layers::tree(&T::default())),
            other => other,
        }
    }
}
