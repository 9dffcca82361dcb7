//! Times as people write them: `250ms`, `10s`, `5m`.

use std::time::Duration;

/// Units, the longest name first where one ends another.
const UNITS: [(&str, f64); 5] = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
/// The longest time that is read, seconds: 30 days.
const SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a number and one of us, ms, s, m, h, of at most 30 days, like 250ms or 10s")]
pub struct SpanError;

/// Reads a time.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(SpanError)?;
    let (number, unit) = text.split_at(digits);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SpanError)?;
    let number: f64 = number.parse().map_err(|_| SpanError)?;
    let seconds = number * seconds;
    if seconds > SECONDS_MAX {
        return Err(SpanError);
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Writes a time of so many microseconds, short enough to be read at a glance: `850 us`, `1.25 ms`, `12.5 s`.
pub fn of_micros(micros: f64) -> String {
    let (value, unit) = match micros {
        m if m < 1e3 => (m, "us"),
        m if m < 1e6 => (m / 1e3, "ms"),
        m => (m / 1e6, "s"),
    };
    let digits = match value {
        v if v < 10.0 && unit != "us" => 2,
        v if v < 100.0 && unit != "us" => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit_and_nothing_else_is() {
        for (text, ms) in
            [("250ms", 250), ("10s", 10_000), ("1.5s", 1_500), ("5m", 300_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse("30us"), Ok(Duration::from_micros(30)));
        for text in ["", "10", "s", "10 s", "-1s", "1.2.3s", "10d", "1e3s", "721h", "9999999999999h"] {
            assert_eq!(parse(text), Err(SpanError), "{text}");
        }
    }

    #[test]
    fn a_time_is_written_with_three_digits_or_so() {
        let texts = [
            (0.0, "0 us"),
            (850.4, "850 us"),
            (1_250.0, "1.25 ms"),
            (12_500.0, "12.5 ms"),
            (999_000.0, "999 ms"),
            (12.5e6, "12.5 s"),
        ];
        for (micros, text) in texts {
            assert_eq!(of_micros(micros), text);
        }
    }
}
