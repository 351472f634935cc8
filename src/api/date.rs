//! Times as they are told, without a detour over anything that allocates: a long listing has tens of thousands of them.

use serde::{Serialize, Serializer};

/// The last millisecond that can be told.
const MS_MAX: u64 = 253_402_300_799_999;
const MS_PER_DAY: u64 = 86_400_000;

/// A time as EMQX writes it: `2026-11-28T19:05:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date([u8; 24]);

impl Date {
    /// Of milliseconds since 1970.
    pub fn of_ms(unix_ms: u64) -> Self {
        let unix_ms = unix_ms.min(MS_MAX);
        let (year, month, day) = civil(unix_ms / MS_PER_DAY);
        let ms = unix_ms % MS_PER_DAY;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |from: usize, upto: usize, mut number: u64| {
            for at in (from..upto).rev() {
                text[at] = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year);
        put(5, 7, month);
        put(8, 10, day);
        put(11, 13, ms / 3_600_000);
        put(14, 16, ms / 60_000 % 60);
        put(17, 19, ms / 1000 % 60);
        put(20, 23, ms % 1000);
        Self(text)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Year, month and day of a day since 1970, counted in eras of 400 years that begin with a March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let known =
            |ms| humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string();
        // Every day of 400 years and a while, at a time that wanders through the day, and the ends of what can be told.
        let days = (0..150_000_u64).map(|day| day * MS_PER_DAY + day * 7_919_333 % MS_PER_DAY);
        for ms in days.chain([0, MS_PER_DAY - 1, MS_MAX]) {
            assert_eq!(Date::of_ms(ms).as_str(), known(ms), "{ms}");
        }
        assert_eq!(Date::of_ms(u64::MAX), Date::of_ms(MS_MAX));
    }
}
