//! Whether a provider is worth an attempt: one that has not answered several in a row is left alone for a while, then asked by one. So
//! recipients do not spend their attempts on a provider that is down, nor wait for it where others could go on.
//!
//! One that is not heard of soon may be slow, for servers are that let a caller wait before they greet it: others are asked rather for a while,
//! and it counts as down only once it was not heard of for as long as opening a connection may take.

use super::parcel::shortened;
use crate::limits::{BREAKER_FAILURES, BREAKER_MS_MAX, BREAKER_MS_MIN};

#[derive(Debug)]
pub(super) struct Breaker {
    /// Attempts that were not answered since the last that was.
    failures: u32,
    open: bool,
    /// Set while others are asked rather: while it is open, or the provider slow.
    pause_ms: u64,
    until_ms: u64,
    /// When an attempt began to wait for the provider, and it was not heard of since.
    unheard_ms: Option<u64>,
    /// Since when it is open, or closed.
    since_ms: u64,
    /// What happened to the last attempt that was not answered.
    reason: Option<Box<str>>,
}

impl Breaker {
    /// One that is closed.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { failures: 0, open: false, pause_ms: 0, until_ms: 0, unheard_ms: None, since_ms: now_ms, reason: None }
    }

    /// Whether an attempt may begin while so many are under way.
    pub(super) fn lets(&self, now_ms: u64, under_way: usize) -> bool {
        !self.is_open() || (under_way == 0 && now_ms >= self.until_ms)
    }

    /// Whether the provider is taken to be down.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether others are asked rather.
    pub(super) fn is_avoided(&self) -> bool {
        self.pause_ms > 0
    }

    /// Whether others are asked rather, and the pause after which one asks it again is over.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.is_avoided() && now_ms >= self.until_ms
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
        (self.failures, self.open, self.pause_ms, self.until_ms, self.unheard_ms) = (0, false, 0, 0, None);
    }

    /// The provider was not heard of in an attempt that has called it at `called_ms`, which is not long enough to say that it is down; that is
    /// said once it was not heard of for `open_ms`.
    pub(super) fn unheard(&mut self, now_ms: u64, called_ms: u64, open_ms: u64, detail: &str) {
        let since_ms = *self.unheard_ms.get_or_insert(called_ms);
        if now_ms.saturating_sub(since_ms) >= open_ms {
            self.failures = self.failures.max(BREAKER_FAILURES - 1);
        }
        if self.open || self.failures + 1 >= BREAKER_FAILURES {
            return self.failed(now_ms, detail);
        }
        self.happened(detail);
        if now_ms >= self.until_ms {
            self.pause(now_ms);
        }
    }

    /// The provider was heard of when no attempt waited for it any more: it is there, and slow. What was opened with that is used if it is asked soon.
    pub(super) fn heard(&mut self, now_ms: u64) {
        if self.open {
            (self.open, self.since_ms) = (false, now_ms);
        }
        (self.failures, self.unheard_ms) = (0, None);
        if self.is_avoided() {
            self.pause_ms = BREAKER_MS_MIN;
            self.until_ms = self.until_ms.min(now_ms + BREAKER_MS_MIN);
        }
    }

    /// The provider did not answer an attempt, or could not be reached.
    pub(super) fn failed(&mut self, now_ms: u64, detail: &str) {
        self.happened(detail);
        self.failures = self.failures.saturating_add(1);
        // Attempts that were under way when it opened say nothing new.
        if self.failures >= BREAKER_FAILURES && (!self.open || now_ms >= self.until_ms) {
            if !self.open {
                (self.open, self.since_ms) = (true, now_ms);
            }
            self.pause(now_ms);
        }
    }

    fn happened(&mut self, detail: &str) {
        if self.reason.as_deref() != Some(detail) {
            self.reason = Some(shortened(detail).into());
        }
    }

    fn pause(&mut self, now_ms: u64) {
        self.pause_ms = (self.pause_ms * 2).clamp(BREAKER_MS_MIN, BREAKER_MS_MAX);
        self.until_ms = now_ms + self.pause_ms;
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
    fn one_that_is_not_heard_of_is_avoided_at_once_and_down_only_after_the_time_to_open_a_connection() {
        let (mut breaker, open_ms) = (Breaker::new(0), 5_000);
        (0..1_000).for_each(|_| breaker.unheard(1_500, 1_000, open_ms, "x"));
        assert!(breaker.is_avoided() && !breaker.is_open() && breaker.lets(1_500, 15));
        assert!(!breaker.is_due(2_499) && breaker.is_due(2_500));
        breaker.unheard(3_000, 2_500, open_ms, "x");
        assert!(!breaker.is_due(4_999) && breaker.is_due(5_000), "the pause doubles");
        breaker.unheard(5_999, 5_499, open_ms, "x");
        assert!(!breaker.is_open());
        breaker.unheard(6_000, 5_500, open_ms, "x");
        assert!(breaker.is_open() && !breaker.lets(6_000, 0));
        breaker.reached(7_000);
        assert!(!breaker.is_avoided());
        breaker.unheard(60_000, 59_500, open_ms, "x");
        assert!(!breaker.is_open(), "it was heard of meanwhile");
    }

    #[test]
    fn one_that_is_heard_of_late_is_not_down_and_asked_again_soon() {
        let (mut breaker, mut now_ms) = (open(0), 0);
        for _ in 0..10 {
            now_ms = breaker.until_ms;
            breaker.unheard(now_ms, now_ms, 5_000, "x");
        }
        assert!(breaker.is_open() && breaker.until_ms == now_ms + BREAKER_MS_MAX);
        breaker.heard(now_ms + 300);
        assert!(!breaker.is_open() && breaker.is_avoided() && breaker.since_ms() == now_ms + 300);
        assert!(!breaker.is_due(now_ms + 299 + BREAKER_MS_MIN) && breaker.is_due(now_ms + 300 + BREAKER_MS_MIN));
        breaker.unheard(now_ms + 60_000, now_ms + 59_500, 5_000, "x");
        assert!(!breaker.is_open(), "it was heard of meanwhile");
    }

    #[test]
    fn attempts_that_were_under_way_when_it_opened_prolong_nothing() {
        let mut breaker = open(5);
        (0..100).for_each(|_| breaker.failed(6, "x"));
        assert!(breaker.lets(5 + BREAKER_MS_MIN, 0));
    }
}
