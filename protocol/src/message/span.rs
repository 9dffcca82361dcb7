//! Spans of time in text: a whole number and one of `s m h d w mo y`.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// A span of time. A month counts 30 days and a year 365 where a fixed length is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// How many.
    pub count: u32,
    /// Of what.
    pub unit: SpanUnit,
}

/// A unit of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanUnit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
    /// `w`
    Week,
    /// `mo`
    Month,
    /// `y`
    Year,
}

/// Why a text is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a whole number and one of s, m, h, d, w, mo, y, like 10m")]
pub struct SpanError;

const UNITS: [(SpanUnit, &str, u64); 7] = [
    (SpanUnit::Second, "s", 1),
    (SpanUnit::Minute, "m", 60),
    (SpanUnit::Hour, "h", 3_600),
    (SpanUnit::Day, "d", 86_400),
    (SpanUnit::Week, "w", 7 * 86_400),
    (SpanUnit::Month, "mo", 30 * 86_400),
    (SpanUnit::Year, "y", 365 * 86_400),
];

impl Span {
    /// A span of `count` units.
    pub const fn new(count: u32, unit: SpanUnit) -> Self {
        Self { count, unit }
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, name) = text.split_at(digits);
        let unit = UNITS.iter().find(|(_, n, _)| *n == name).ok_or(SpanError)?.0;
        Ok(Self { count: number.parse().map_err(|_| SpanError)?, unit })
    }

    /// Its length in milliseconds.
    pub fn as_ms(self) -> u64 {
        u64::from(self.count) * UNITS[self.unit as usize].2 * 1_000
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, UNITS[self.unit as usize].1)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time like 10m")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }
        }

        d.deserialize_str(Text)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(s|m|h|d|w|mo|y)$",
            "description": "A span of time: seconds, minutes, hours, days, weeks, months (30 d) or years (365 d)."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_one_number_and_one_unit() {
        for (text, ms) in
            [("0s", 0), ("5m", 300_000), ("24h", 86_400_000), ("2w", 1_209_600_000), ("1mo", 2_592_000_000)]
        {
            assert_eq!(Span::parse(text).map(Span::as_ms), Ok(ms), "{text}");
            assert_eq!(Span::parse(text).map(|s| s.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "5", "s", "-5s", "+5s", "1.5h", "5 m", "5M", "1h30m", "5ms", "4294967296s", "٥s"] {
            assert_eq!(Span::parse(text), Err(SpanError), "{text}");
        }
    }

    #[test]
    fn the_units_table_is_in_the_order_of_the_enumeration() {
        assert!(UNITS.iter().enumerate().all(|(at, (unit, ..))| *unit as usize == at));
    }
}
