//! Whether a provider is worth an attempt: one that has not answered several in a row is left alone for a while, then asked by one. So
//! recipients do not spend their attempts on a provider that is down, nor wait for it where others could go on.

use super::parcel::shortened;
use crate::limits::{BREAKER_FAILURES, BREAKER_MS_MAX, BREAKER_MS_MIN};

#[derive(Debug)]
pub(super) struct Breaker {
    /// Attempts that were not answered since the last that was.
    failures: u32,
    /// Set while it is open.
    pause_ms: u64,
    until_ms: u64,
    /// Since when it is open, or closed.
    since_ms: u64,
    /// What happened to the last attempt that was not answered.
    reason: Option<Box<str>>,
}

impl Breaker {
    /// One that is closed.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { failures: 0, pause_ms: 0, until_ms: 0, since_ms: now_ms, reason: None }
    }

    /// Whether an attempt may begin while so many are under way.
    pub(super) fn lets(&self, now_ms: u64, under_way: usize) -> bool {
        !self.is_open() || (under_way == 0 && now_ms >= self.until_ms)
    }

    /// Whether the provider is taken to be down.
    pub(super) fn is_open(&self) -> bool {
        self.pause_ms > 0
    }

    /// Whether it is open and its pause is over.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.is_open() && now_ms >= self.until_ms
    }

    /// Since when it is open, or closed.
    pub(super) fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// What happened to the last attempt that was not answered.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The provider answered, whatever it said.
    pub(super) fn reached(&mut self, now_ms: u64) {
        if self.is_open() {
            self.since_ms = now_ms;
        }
        (self.failures, self.pause_ms, self.until_ms) = (0, 0, 0);
    }

    /// The provider did not answer an attempt, or could not be reached.
    pub(super) fn failed(&mut self, now_ms: u64, detail: &str) {
        if self.reason.as_deref() != Some(detail) {
            self.reason = Some(shortened(detail).into());
        }
        self.failures = self.failures.saturating_add(1);
        // Attempts that were under way when it opened say nothing new.
        if self.failures >= BREAKER_FAILURES && now_ms >= self.until_ms {
            if !self.is_open() {
                self.since_ms = now_ms;
            }
            self.pause_ms = (self.pause_ms * 2).clamp(BREAKER_MS_MIN, BREAKER_MS_MAX);
            self.until_ms = now_ms + self.pause_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(now_ms: u64) -> Breaker {
        let mut breaker = Breaker::new(0);
        (0..BREAKER_FAILURES).for_each(|_| breaker.failed(now_ms, "x"));
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_alone() {
        let mut breaker = Breaker::new(0);
        for _ in 0..100 {
            (1..BREAKER_FAILURES).for_each(|_| breaker.failed(5, "x"));
            assert!(breaker.lets(5, 15));
            breaker.reached(5);
        }
        assert!(!open(5).lets(5, 0));
    }

    #[test]
    fn one_attempt_follows_each_pause_and_pauses_double_up_to_their_bound() {
        let (mut breaker, mut now_ms, mut pause_ms) = (open(5), 5, BREAKER_MS_MIN);
        for _ in 0..10 {
            assert!(!breaker.lets(now_ms + pause_ms - 1, 0));
            now_ms += pause_ms;
            assert!(breaker.lets(now_ms, 0) && !breaker.lets(now_ms, 1));
            breaker.failed(now_ms, "x");
            pause_ms = (pause_ms * 2).min(BREAKER_MS_MAX);
        }
        breaker.reached(5);
        assert!(breaker.lets(now_ms, 15));
    }

    #[test]
    fn attempts_that_were_under_way_when_it_opened_prolong_nothing() {
        let mut breaker = open(5);
        (0..100).for_each(|_| breaker.failed(6, "x"));
        assert!(breaker.lets(5 + BREAKER_MS_MIN, 0));
    }
}
