//! Calendars: when a cron expression comes in its time zone, and where a number of spans leads from a moment.
//!
//! Time zones are those of the IANA database that is built in, so that every node of an installation has the same ones.
//!
//! When clocks are set, as `cron` of Vixie does it: an expression that names minutes and hours (`30 2 * * *`) comes once a day, also on
//! the days when its hour is doubled (the first of the two) or skipped (at the first moment after the gap); one
//! with `*` or a step in its seconds, minutes or hours (`*/15 * * * *`) goes on as time does: in both of the doubled hours, in none of the skipped.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::{
    limits::{CRON_BYTES_MAX, SCHEDULED_MS_MAX},
    message::{Span, SpanUnit},
};

/// Names of the fields of an expression with seconds.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];
/// From here on an expression must come at least once: a leap day is not far.
const REFERENCE_MS: i64 = 1_704_067_200_000;

/// Why a text is not a cron expression or a time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// It is too long, or has too few or too many fields.
    #[error("must have five fields (minute, hour, day of month, month, day of week), or six with seconds first")]
    Fields,
    /// A field cannot be read.
    #[error("its field {0} cannot be read")]
    Field(&'static str),
    /// It names a day that does not exist, such as the 30th of February.
    #[error("it never comes")]
    Never,
    /// There is no such zone.
    #[error("is no time zone of the IANA database, such as Europe/Berlin")]
    Zone,
}

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct CronTimes {
    cron: Cron,
    zone: TimeZone,
    with_seconds: bool,
}

impl CronTimes {
    /// Reads an expression; without a zone its times are in UTC.
    pub fn parse(expression: &str, zone: Option<&str>) -> Result<Self, CalendarError> {
        let zone = zone.map_or(Ok(TimeZone::UTC), self::zone)?;
        let cron = parse(expression)?;
        let with_seconds = expression.split_ascii_whitespace().count() == FIELDS.len();
        let times = Self { cron, zone, with_seconds };
        let reference = times.zoned(REFERENCE_MS).ok_or(CalendarError::Never)?;
        match times.cron.find_next_occurrence(&reference, true) {
            Ok(_) => Ok(times),
            Err(_) => Err(CalendarError::Never),
        }
    }

    /// Its first time after `after_ms`; `None` past the year 9999.
    pub fn next_after(&self, after_ms: u64) -> Option<u64> {
        // Times are whole seconds, so the search may start at the second that holds `after_ms`.
        let from = self.zoned(i64::try_from(after_ms).ok()?)?;
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok().filter(|ms| *ms > after_ms && *ms < SCHEDULED_MS_MAX)
    }

    /// Its last time at or before `until_ms`.
    pub fn last_until(&self, until_ms: u64) -> Option<u64> {
        let from = self.zoned(i64::try_from(until_ms - until_ms % 1_000).ok()?)?;
        let last = self.cron.find_previous_occurrence(&from, true).ok()?;
        u64::try_from(last.timestamp().as_millisecond()).ok().filter(|ms| *ms <= until_ms)
    }

    /// The shortest time that can lie between two of its times, milliseconds.
    pub fn period_ms_min(&self) -> u64 {
        if self.with_seconds { 1_000 } else { 60_000 }
    }

    fn zoned(&self, ms: i64) -> Option<Zoned> {
        Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(self.zone.clone()))
    }
}

/// The zone of this name.
pub fn zone(name: &str) -> Result<TimeZone, CalendarError> {
    TimeZone::get(name).map_err(|_| CalendarError::Zone)
}

/// The moment `count` spans after `from_ms`: months and years as the calendar (UTC) has them, the last of the month where a
/// month is too short; `None` past the year 9999.
pub fn after(from_ms: u64, span: Span, count: u64) -> Option<u64> {
    let units = u64::from(span.count).checked_mul(count)?;
    let ms = match span.unit {
        SpanUnit::Month | SpanUnit::Year => {
            let from = Timestamp::from_millisecond(i64::try_from(from_ms).ok()?).ok()?.to_zoned(TimeZone::UTC);
            let months = if span.unit == SpanUnit::Year { units.checked_mul(12)? } else { units };
            let months = jiff::Span::new().try_months(i64::try_from(months).ok()?).ok()?;
            u64::try_from(from.checked_add(months).ok()?.timestamp().as_millisecond()).ok()?
        }
        _ => from_ms.checked_add(Span::new(1, span.unit).as_ms().checked_mul(units)?)?,
    };
    (ms < SCHEDULED_MS_MAX).then_some(ms)
}

fn parse(expression: &str) -> Result<Cron, CalendarError> {
    let fields: Vec<&str> = expression.split_ascii_whitespace().collect();
    if expression.len() > CRON_BYTES_MAX || !(5..=6).contains(&fields.len()) {
        return Err(CalendarError::Fields);
    }
    let parser = || CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser().parse(expression).map_err(|_| {
        let names = &FIELDS[FIELDS.len() - fields.len()..];
        let alone = |at: usize| {
            let with = |n| if n == at { fields[at] } else { "*" };
            (0..fields.len()).map(with).collect::<Vec<_>>().join(" ")
        };
        let wrong = (0..fields.len()).find(|at| parser().parse(&alone(*at)).is_err());
        wrong.map_or(CalendarError::Fields, |at| CalendarError::Field(names[at]))
    })
}

#[cfg(test)]
mod tests;
