use std::{fmt, str::FromStr, time::Duration};

use super::{BadValue, serde_as_text};

/// A length of time, written as a whole number and a unit: `500ms`, `15s`, `1m`, `2h`, `7d`, or several together: `1h30m`.
///
/// At most about 584 million years; sub-millisecond spans cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

const UNITS_MS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Period {
    /// No time.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whole seconds, rounded up, at most `u32::MAX`.
    pub fn as_secs_u32(self) -> u32 {
        u32::try_from(self.0.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// True for no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let mut rest = text.trim();
        let mut total_ms: u64 = 0;
        let mut smallest = u64::MAX;
        if rest.is_empty() {
            return Err(BadValue);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(BadValue)?;
            let number: u64 = rest[..digits].parse().map_err(|_| BadValue)?;
            let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
            let unit = rest[digits..unit_end].trim();
            let (_, unit_ms) = UNITS_MS.into_iter().find(|(name, _)| *name == unit).ok_or(BadValue)?;
            // "30m1h" and "1h1h" are more likely slips than intentions.
            if unit_ms >= smallest {
                return Err(BadValue);
            }
            smallest = unit_ms;
            total_ms = number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or(BadValue)?;
            rest = &rest[unit_end..];
        }
        Ok(Self::from_millis(total_ms))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest_ms == 0 {
            return f.write_str("0s");
        }
        for (unit, unit_ms) in UNITS_MS {
            let count = rest_ms / unit_ms;
            rest_ms %= unit_ms;
            if count != 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

serde_as_text!(Period);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, millis, canonical) in [
            ("500ms", 500, "500ms"),
            ("15s", 15_000, "15s"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "7d"),
            ("0s", 0, "0s"),
            (" 2 h ", 7_200_000, "2h"),
        ] {
            let period: Period = text.parse().expect(text);
            assert_eq!(period.duration(), Duration::from_millis(millis), "{text}");
            assert_eq!(period.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(period));
        }
    }

    #[test]
    fn refuses() {
        for text in ["", "15", "s", "-1s", "1.5h", "1w", "30m1h", "1s1s", "99999999999999999999s", "9999999999999999d"]
        {
            assert_eq!(text.parse::<Period>(), Err(BadValue), "{text}");
        }
    }

    #[test]
    fn seconds_round_up() {
        assert_eq!(Period::from_millis(1).as_secs_u32(), 1);
        assert_eq!(Period::from_secs(u64::from(u32::MAX) + 9).as_secs_u32(), u32::MAX);
    }
}
