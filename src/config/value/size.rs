use std::{fmt, str::FromStr};

use super::{BadValue, serde_as_text_or_number};

/// A number of bytes, written `64KiB`, `1MiB`, `2GiB` (powers of 1,024), `64KB`, `1MB`, `2GB` (powers of 1,000), `512B`, or as a bare number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl Size {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many times 1,048,576 bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory, at most `usize::MAX`.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub(super) fn from_number(bytes: u64) -> Result<Self, BadValue> {
        Ok(Self(bytes))
    }
}

impl FromStr for Size {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| BadValue)?;
        let unit = text[digits..].trim();
        let factor = if unit.is_empty() {
            1
        } else {
            UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(BadValue)?.1
        };
        number.checked_mul(factor).map(Self).ok_or(BadValue)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (name, factor) = unit.unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

serde_as_text_or_number!(Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, bytes, canonical) in [
            ("1MiB", 1 << 20, "1MiB"),
            ("64 kib", 65_536, "64KiB"),
            ("1MB", 1_000_000, "1MB"),
            ("1536", 1536, "1536B"),
            ("2048", 2048, "2KiB"),
            ("0", 0, "0B"),
            ("7B", 7, "7B"),
        ] {
            let size: Size = text.parse().expect(text);
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, canonical), "{text}");
            assert_eq!(canonical.parse(), Ok(size));
        }
    }

    #[test]
    fn refuses() {
        for text in ["", "MiB", "-1", "1.5MiB", "1XB", "99999999999TiB"] {
            assert_eq!(text.parse::<Size>(), Err(BadValue), "{text}");
        }
    }
}
