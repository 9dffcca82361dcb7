//! When a schedule's times are, seen from the moment at which it was accepted.

use pushgate_protocol::{
    calendar::{self, CalendarError, CronTimes},
    message::{Misfire, Schedule, Span, SpanUnit},
};

use crate::limits::{CATCH_UP_MAX, FIRINGS_PER_CLAIM, MISFIRE_GRACE_MS};

const DAY_MS: u64 = 86_400_000;

/// The times of a task.
#[derive(Debug, Clone)]
pub enum Rule {
    /// One.
    Once(u64),
    /// `from` and as many spans after it: those with the numbers from `first` to `last`, none after `until`.
    Every {
        /// Number 0.
        from_ms: u64,
        /// The distance.
        span: Span,
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
        /// The end.
        until_ms: u64,
    },
    /// Those of an expression between two moments, both included.
    Cron {
        /// The expression.
        times: Box<CronTimes>,
        /// The beginning.
        from_ms: u64,
        /// The end.
        until_ms: u64,
    },
}

/// What is to be sent of a task now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// The occurrences to send, the earliest first.
    pub times: Vec<u64>,
    /// Whether times were passed over.
    pub missed: bool,
    /// The next time, which may have come too; `None` after the last.
    pub next_ms: Option<u64>,
}

impl Rule {
    /// The times of a schedule that was accepted (or last edited) at `anchor_ms`.
    pub fn new(schedule: &Schedule, anchor_ms: u64) -> Result<Self, CalendarError> {
        let until_ms = schedule.until.map_or(u64::MAX, |until| until.ms);
        if let Some(cron) = &schedule.cron {
            let from_ms = schedule.start.map_or(anchor_ms, |start| start.ms.max(anchor_ms));
            let times = Box::new(CronTimes::parse(cron, schedule.zone.as_deref())?);
            return Ok(Self::Cron { times, from_ms, until_ms });
        }
        if let Some(span) = schedule.every {
            let from_ms = schedule.start.map_or(anchor_ms, |start| start.ms);
            // A start that has passed says from where to count; what passed before the acceptance was never asked for.
            let first = if from_ms >= anchor_ms { 0 } else { number_after(from_ms, span, anchor_ms - 1) };
            let last = schedule.times.map_or(u64::MAX, |times| first.saturating_add(u64::from(times) - 1));
            return Ok(Self::Every { from_ms, span, first, last, until_ms });
        }
        let delayed = || schedule.delay.and_then(|delay| calendar::after(anchor_ms, delay, 1));
        Ok(Self::Once(schedule.at.map(|at| at.ms).or_else(delayed).unwrap_or(anchor_ms)))
    }

    /// Whether there may be more than one time.
    pub fn repeats(&self) -> bool {
        !matches!(self, Self::Once(_))
    }

    /// The first time; `None` if there is none.
    pub fn first(&self) -> Option<u64> {
        match self {
            Self::Once(at_ms) => Some(*at_ms),
            Self::Every { first, .. } => self.number(*first),
            Self::Cron { times, from_ms, until_ms } => {
                times.next_after(from_ms.saturating_sub(1)).filter(|ms| ms <= until_ms)
            }
        }
    }

    /// The first time after this moment.
    pub fn next_after(&self, after_ms: u64) -> Option<u64> {
        match self {
            Self::Once(at_ms) => Some(*at_ms).filter(|ms| *ms > after_ms),
            Self::Every { from_ms, span, first, .. } => {
                self.number(number_after(*from_ms, *span, after_ms).max(*first))
            }
            Self::Cron { times, from_ms, until_ms } => {
                times.next_after(after_ms.max(from_ms.saturating_sub(1))).filter(|ms| ms <= until_ms)
            }
        }
    }

    /// What is to be sent now, `due_ms` being the first of the times that nothing was done about.
    pub fn due(&self, misfire: Misfire, due_ms: u64, now_ms: u64) -> Due {
        if due_ms > now_ms {
            return Due { next_ms: Some(due_ms), ..Due::default() };
        }
        let late = |ms: u64| now_ms - ms > MISFIRE_GRACE_MS;
        if !self.repeats() {
            let missed = misfire == Misfire::Skip && late(due_ms);
            return Due { times: if missed { Vec::new() } else { vec![due_ms] }, missed, next_ms: None };
        }
        if misfire == Misfire::CatchUp {
            return self.catch_up(due_ms, now_ms);
        }
        let latest = self.last_until(now_ms).unwrap_or(due_ms).max(due_ms);
        let skipped = misfire == Misfire::Skip && late(latest);
        Due {
            times: if skipped { Vec::new() } else { vec![latest] },
            missed: skipped || latest > due_ms,
            next_ms: self.next_after(latest),
        }
    }

    /// The missed times in order, a few at once; of very many the latest.
    fn catch_up(&self, due_ms: u64, now_ms: u64) -> Due {
        let from_ms = self.earliest_caught_up(due_ms, now_ms).map_or(due_ms, |earliest| earliest.max(due_ms));
        let mut times = vec![from_ms];
        let mut next_ms = self.next_after(from_ms);
        while let Some(next) = next_ms.filter(|ms| *ms <= now_ms && times.len() < FIRINGS_PER_CLAIM) {
            times.push(next);
            next_ms = self.next_after(next);
        }
        Due { times, missed: from_ms > due_ms, next_ms }
    }

    /// The earliest of the latest [`CATCH_UP_MAX`] times; `None` if there are surely not more than that since `due_ms`.
    fn earliest_caught_up(&self, due_ms: u64, now_ms: u64) -> Option<u64> {
        let back = CATCH_UP_MAX - 1;
        match self {
            Self::Once(_) => None,
            Self::Every { from_ms, span, .. } => {
                self.number(number_after(*from_ms, *span, now_ms).checked_sub(back + 1)?)
            }
            Self::Cron { times, .. } if now_ms - due_ms < times.period_ms_min() * back => None,
            Self::Cron { times, .. } => {
                let mut earliest = times.last_until(now_ms)?;
                for _ in 0..back {
                    earliest = times.last_until(earliest.checked_sub(1)?)?;
                }
                Some(earliest)
            }
        }
    }

    /// The last time up to this moment.
    fn last_until(&self, until: u64) -> Option<u64> {
        match self {
            Self::Once(at_ms) => Some(*at_ms).filter(|ms| *ms <= until),
            Self::Every { from_ms, span, first, last, until_ms } => {
                let next = number_after(*from_ms, *span, until.min(*until_ms));
                next.checked_sub(1).map(|n| n.min(*last)).filter(|n| n >= first).and_then(|n| self.number(n))
            }
            Self::Cron { times, from_ms, until_ms } => {
                times.last_until(until.min(*until_ms)).filter(|ms| ms >= from_ms)
            }
        }
    }

    fn number(&self, n: u64) -> Option<u64> {
        let Self::Every { from_ms, span, last, until_ms, .. } = self else { return None };
        if n > *last {
            return None;
        }
        calendar::after(*from_ms, *span, n).filter(|ms| ms <= until_ms)
    }
}

/// The number of the first time after a moment.
fn number_after(from_ms: u64, span: Span, after_ms: u64) -> u64 {
    let Some(passed) = after_ms.checked_sub(from_ms) else { return 0 };
    // Not longer than any of the spans, so that the count begins at or before the number looked for.
    let longest_ms = match span.unit {
        SpanUnit::Month => u64::from(span.count) * 31 * DAY_MS,
        SpanUnit::Year => u64::from(span.count) * 366 * DAY_MS,
        _ => return passed / span.as_ms().max(1) + 1,
    };
    let mut n = passed / longest_ms.max(1);
    while calendar::after(from_ms, span, n).is_some_and(|ms| ms <= after_ms) {
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests;
