/// Milliseconds from the beginning of 1970 to a date and time (RFC 3339, with the capital letters that RFC 8949, section 3.4.1, wants). `None` for what is no
/// such text, as one with a day that the month does not have.
pub(crate) fn unix_ms(text: &str) -> Option<i64> {
    let mut rest = text.as_bytes();
    let year = number(&mut rest, 4, 0..=9999)?;
    sign(&mut rest, b'-')?;
    let month = number(&mut rest, 2, 1..=12)?;
    sign(&mut rest, b'-')?;
    let day = number(&mut rest, 2, 1..=days_in(year, month))?;
    sign(&mut rest, b'T')?;
    let hours = number(&mut rest, 2, 0..=23)?;
    sign(&mut rest, b':')?;
    let minutes = number(&mut rest, 2, 0..=59)?;
    sign(&mut rest, b':')?;
    // 60 is a leap second.
    let secs = number(&mut rest, 2, 0..=60)?;
    let ms = match rest {
        [b'.', ..] => fraction(&mut rest)?,
        _ => 0,
    };
    let offset_minutes = match rest {
        b"Z" => 0,
        [direction @ (b'+' | b'-'), behind @ ..] => {
            rest = behind;
            let hours = number(&mut rest, 2, 0..=23)?;
            sign(&mut rest, b':')?;
            let minutes = hours * 60 + number(&mut rest, 2, 0..=59)?;
            if !rest.is_empty() {
                return None;
            }
            if *direction == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let minutes = (days_before(year, month) + day - 1) * 24 * 60 + hours * 60 + minutes - offset_minutes;
    Some((minutes * 60 + secs) * 1000 + ms)
}

fn number(rest: &mut &[u8], digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let (head, tail) = rest.split_at_checked(digits)?;
    *rest = tail;
    let value = head.iter().try_fold(0, |value, byte| Some(value * 10 + i64::from((*byte as char).to_digit(10)?)))?;
    range.contains(&value).then_some(value)
}

fn sign(rest: &mut &[u8], wanted: u8) -> Option<()> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    (*first == wanted).then_some(())
}

/// A point and one digit at least; what is less than a millisecond does not count.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    sign(rest, b'.')?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (head, tail) = rest.split_at(digits);
    *rest = tail;
    let ms = head.iter().chain(b"00").take(3).fold(0, |value, byte| value * 10 + i64::from(*byte - b'0'));
    (digits > 0).then_some(ms)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the beginning of 1970 to that of a month.
fn days_before(year: i64, month: i64) -> i64 {
    // Leap years before this one since the year 0, which is one.
    let leaps = |year: i64| if year == 0 { 0 } else { (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 };
    let years = (year - 1970) * 365 + leaps(year) - leaps(1970);
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_dates_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", -1000),
            ("2000-03-01T00:00:00Z", 951_868_800_000),
            ("2023-03-31T23:59:59Z", 1_680_307_199_000),
            ("2024-02-29T12:00:00.25+01:30", 1_709_202_600_250),
            ("2024-02-29T12:00:00.9999-00:30", 1_709_209_800_999),
            ("1985-04-12T23:20:50.52Z", 482_196_050_520),
            ("1990-12-31T23:59:60Z", 662_688_000_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(unix_ms(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "2023-04-00T23:59:59Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:00",
            "2023-01-01t00:00:00z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00+01",
            "2023-01-01T00:00:00+01:00x",
            "2023-01-01",
            "+023-01-01T00:00:00Z",
        ] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
    }
}
