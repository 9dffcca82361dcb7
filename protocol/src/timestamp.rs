//! Instants in text: RFC 3339, to Unix milliseconds and back. The years 1970 to 9999.

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time with a zone, like 2026-12-01T09:00:00+08:00")]
pub struct TimestampError;

/// Parses an RFC 3339 `date-time` (section 5.6) into Unix milliseconds; digits below a millisecond are cut off. A leap
/// second counts as the second after it.
pub fn parse_ms(text: &str) -> Result<u64, TimestampError> {
    let bytes = text.as_bytes();
    let separators = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    if bytes.len() < 20 || !matches!(bytes[10], b'T' | b't' | b' ') {
        return Err(TimestampError);
    }
    if separators.iter().any(|(at, sep)| bytes[*at] != sep[0]) {
        return Err(TimestampError);
    }
    let year = number(&bytes[0..4])?;
    let month = number(&bytes[5..7])?;
    let day = number(&bytes[8..10])?;
    let (hour, minute, second) = (number(&bytes[11..13])?, number(&bytes[14..16])?, number(&bytes[17..19])?);
    let valid = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return Err(TimestampError);
    }
    let (millis, zone) = fraction(&bytes[19..])?;
    let seconds = days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s(zone)?;
    u64::try_from(seconds * 1_000 + millis).map_err(|_| TimestampError)
}

/// The RFC 3339 form in UTC, to the millisecond.
pub fn format_ms(time_ms: u64) -> String {
    let (days, rest) = ((time_ms / 86_400_000) as i64, time_ms % 86_400_000);
    // Howard Hinnant's civil_from_days: eras of 400 years, years that start in March.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (rest / 1_000, rest % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

fn number(digits: &[u8]) -> Result<i64, TimestampError> {
    digits.iter().try_fold(0, |n, b| {
        if !b.is_ascii_digit() {
            return Err(TimestampError);
        }
        Ok(n * 10 + i64::from(b - b'0'))
    })
}

/// Milliseconds of an optional fraction, and what follows it.
fn fraction(rest: &[u8]) -> Result<(i64, &[u8]), TimestampError> {
    let Some(digits) = rest.strip_prefix(b".") else {
        return Ok((0, rest));
    };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return Err(TimestampError);
    }
    let millis = (0..3).fold(0, |n, at| n * 10 + if at < count { i64::from(digits[at] - b'0') } else { 0 });
    Ok((millis, &digits[count..]))
}

fn offset_s(zone: &[u8]) -> Result<i64, TimestampError> {
    match zone {
        b"Z" | b"z" => Ok(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return Err(TimestampError);
            }
            let seconds = hours * 3_600 + minutes * 60;
            Ok(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => Err(TimestampError),
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`).
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_of_the_rfc_parse() {
        assert_eq!(parse_ms("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(parse_ms("2026-12-01T09:00:00+08:00"), Ok(1_796_086_800_000));
        assert_eq!(parse_ms("2024-02-29T23:59:60.1234-01:30"), Ok(1_709_256_600_123));
        assert_eq!(parse_ms("2000-03-01 00:00:00.5z"), Ok(951_868_800_500));
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T09:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T09:00:00.Z",
            "2026-12-01T09:00:00+0800",
            "1969-12-31T23:59:59Z",
            "2026-12-01T09:00:00Zx",
            "２０26-12-01T09:00:00Z",
        ] {
            assert_eq!(parse_ms(text), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn formatting_is_the_inverse_of_parsing() {
        for time_ms in [0, 951_868_799_999, 951_868_800_000, 1_796_086_800_001, 253_402_300_799_999] {
            assert_eq!(parse_ms(&format_ms(time_ms)), Ok(time_ms), "{}", format_ms(time_ms));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse_ms(&text);
        }
    }
}
