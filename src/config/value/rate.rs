use std::{fmt, str::FromStr};

use super::{BadValue, Period, Size, serde_as_text};

/// So many events in a span of time, written `100/s`, `6000/m`, `10/h` or `100/10s`. Neither part is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u64,
    per: Period,
}

/// So many bytes in a span of time, written `64KiB/s` or `10MB/m`. Neither part is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRate(Rate);

impl Rate {
    /// So many in each second.
    ///
    /// # Panics
    /// When `count` is zero.
    pub const fn per_second(count: u64) -> Self {
        assert!(count != 0, "a rate of zero lets nothing pass");
        Self { count, per: Period::from_secs(1) }
    }

    /// So many in each minute.
    ///
    /// # Panics
    /// When `count` is zero.
    pub const fn per_minute(count: u64) -> Self {
        assert!(count != 0, "a rate of zero lets nothing pass");
        Self { count, per: Period::from_secs(60) }
    }

    /// How many in each span.
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The span.
    pub const fn per(self) -> Period {
        self.per
    }

    /// Events in a second.
    pub fn as_per_second(self) -> f64 {
        self.count as f64 / self.per.duration().as_secs_f64()
    }
}

impl ByteRate {
    /// So many bytes in each second.
    ///
    /// # Panics
    /// When `size` is zero.
    pub const fn per_second(size: Size) -> Self {
        Self(Rate::per_second(size.get()))
    }

    /// Bytes in each span.
    pub const fn bytes(self) -> u64 {
        self.0.count
    }

    /// The span.
    pub const fn per(self) -> Period {
        self.0.per
    }

    /// Bytes in a second.
    pub fn as_per_second(self) -> f64 {
        self.0.as_per_second()
    }
}

impl FromStr for Rate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (count, per) = text.split_once('/').ok_or(BadValue)?;
        new(count.trim().parse().map_err(|_| BadValue)?, per)
    }
}

impl FromStr for ByteRate {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (size, per) = text.split_once('/').ok_or(BadValue)?;
        new(size.parse::<Size>()?.get(), per).map(Self)
    }
}

fn new(count: u64, per: &str) -> Result<Rate, BadValue> {
    let per = per.trim();
    let per: Period =
        if per.starts_with(|c: char| c.is_ascii_digit()) { per.parse()? } else { format!("1{per}").parse()? };
    if count == 0 || per.is_zero() {
        return Err(BadValue);
    }
    Ok(Rate { count, per })
}

fn write_per(per: Period, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = per.to_string();
    match text.strip_prefix('1') {
        Some(unit)
            if unit.starts_with(|c: char| c.is_ascii_alphabetic()) && !unit.contains(|c: char| c.is_ascii_digit()) =>
        {
            write!(f, "/{unit}")
        }
        _ => write!(f, "/{text}"),
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        write_per(self.per, f)
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Size::bytes(self.0.count))?;
        write_per(self.0.per, f)
    }
}

serde_as_text!(Rate);
serde_as_text!(ByteRate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, per_second, canonical) in [
            ("100/s", 100.0, "100/s"),
            ("6000 / m", 100.0, "6000/m"),
            ("5/10s", 0.5, "5/10s"),
            ("9/1m30s", 0.1, "9/1m30s"),
        ] {
            let rate: Rate = text.parse().expect(text);
            assert!((rate.as_per_second() - per_second).abs() < 1e-9, "{text}");
            assert_eq!(rate.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(rate));
        }
        let rate: ByteRate = "64KiB/s".parse().expect("valid");
        assert_eq!((rate.bytes(), rate.to_string().as_str()), (65_536, "64KiB/s"));
    }

    #[test]
    fn refuses() {
        for text in ["", "5", "5/", "/s", "0/s", "5/0s", "5/fortnight", "-5/s"] {
            assert_eq!(text.parse::<Rate>(), Err(BadValue), "{text}");
        }
    }
}
