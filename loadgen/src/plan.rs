//! An open-loop plan: message `n` is to be sent at its time, whatever became of those before it. Latency counts from the
//! planned time, so a stall delays what was planned during it instead of hiding it (no coordinated omission).

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How often a plan that waits looks whether it is to stop.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// Messages at a constant rate.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// When message 0 is to be sent.
    pub start: Instant,
    /// Messages a second, at least 1.
    pub rate_per_s: u64,
    /// How many.
    pub count: u64,
}

impl Plan {
    /// When message `n` is to be sent.
    pub fn at(&self, n: u64) -> Instant {
        self.start + Duration::from_nanos((u128::from(n) * 1_000_000_000 / u128::from(self.rate_per_s)) as u64)
    }

    /// Messages whose time has come at `now`.
    pub fn due(&self, now: Instant) -> u64 {
        let Some(elapsed) = now.checked_duration_since(self.start) else { return 0 };
        let due = elapsed.as_nanos() * u128::from(self.rate_per_s) / 1_000_000_000 + 1;
        due.min(u128::from(self.count)) as u64
    }

    /// Sleeps through the plan on this thread and hands over what is due, in order, each message once. Between two calls
    /// lies at least `pause`, which bounds what waking up costs; it counts as delay of those it kept waiting.
    pub fn run(&self, pause: Duration, hand_over: impl FnMut(Range<u64>)) {
        self.run_until(pause, &AtomicBool::new(false), hand_over);
    }

    /// The same; ends early once `stop` is set.
    pub fn run_until(&self, pause: Duration, stop: &AtomicBool, mut hand_over: impl FnMut(Range<u64>)) {
        let mut next = 0;
        while next < self.count && !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = self.due(now);
            if due > next {
                hand_over(next..due);
                next = due;
                thread::sleep(pause);
            } else {
                thread::sleep(self.at(next).saturating_duration_since(now).min(STOP_LOOK));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_due_at_its_time_and_not_before() {
        let start = Instant::now();
        let plan = Plan { start, rate_per_s: 3_000, count: 10_000 };
        assert_eq!(plan.due(start - Duration::from_nanos(1)), 0);
        for n in [0, 1, 2, 3_000, 7_777, 9_999] {
            assert_eq!(plan.due(plan.at(n) + Duration::from_nanos(1)), n + 1);
        }
        assert_eq!(plan.at(3_000), start + Duration::from_secs(1));
        assert_eq!(plan.due(start + Duration::from_secs(100)), 10_000, "no more than there are");
    }

    #[test]
    fn a_plan_hands_over_each_message_once_even_when_all_are_late() {
        let plan = Plan { start: Instant::now() - Duration::from_secs(1), rate_per_s: 1_000, count: 500 };
        let mut seen = Vec::new();
        plan.run(Duration::ZERO, |range| seen.extend(range));
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
    }
}
