//! An open-loop plan: message `n` is to be sent at its time, whatever became of those before it. Latency counts from the
//! planned time, so a stall delays what was planned during it instead of hiding it (no coordinated omission).

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How often a plan that waits looks whether it is to stop.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// Messages at a constant rate, or those of them that are one process's: each has its turn, so together they are as even as one.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// When message 0 of all is to be sent.
    pub start: Instant,
    /// Messages a second of all, at least 1.
    pub rate_per_s: u64,
    /// How many of all.
    pub count: u64,
    /// Which of them are sent here.
    pub stripe: Stripe,
}

/// Every so many-th message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stripe {
    /// The first of them, below `of`.
    pub index: u32,
    /// From one to the next, at least 1.
    pub of: u32,
}

impl Stripe {
    /// All messages.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// How many of so many are among them.
    pub fn part(self, count: u64) -> u64 {
        count.saturating_sub(self.index.into()).div_ceil(self.of.into())
    }
}

impl Plan {
    /// How many are sent here.
    pub fn messages(&self) -> u64 {
        self.stripe.part(self.count)
    }

    /// When message `n` of those here is to be sent.
    pub fn at(&self, n: u64) -> Instant {
        let n = n * u64::from(self.stripe.of) + u64::from(self.stripe.index);
        self.start + Duration::from_nanos((u128::from(n) * 1_000_000_000 / u128::from(self.rate_per_s)) as u64)
    }

    /// Messages of those here whose time has come at `now`.
    pub fn due(&self, now: Instant) -> u64 {
        let Some(elapsed) = now.checked_duration_since(self.start) else { return 0 };
        let due = elapsed.as_nanos() * u128::from(self.rate_per_s) / 1_000_000_000 + 1;
        self.stripe.part(due.min(u128::from(self.count)) as u64)
    }

    /// Sleeps through the plan on this thread and hands over what is due, in order, each message once. Between two calls
    /// lies at least `pause`, which bounds what waking up costs; it counts as delay of those it kept waiting.
    pub fn run(&self, pause: Duration, hand_over: impl FnMut(Range<u64>)) {
        self.run_until(pause, &AtomicBool::new(false), hand_over);
    }

    /// The same; ends early once `stop` is set.
    pub fn run_until(&self, pause: Duration, stop: &AtomicBool, mut hand_over: impl FnMut(Range<u64>)) {
        let (mut next, end) = (0, self.messages());
        while next < end && !stop.load(Ordering::Relaxed) {
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
        let plan = Plan { start, rate_per_s: 3_000, count: 10_000, stripe: Stripe::WHOLE };
        assert_eq!(plan.due(start - Duration::from_nanos(1)), 0);
        for n in [0, 1, 2, 3_000, 7_777, 9_999] {
            assert_eq!(plan.due(plan.at(n) + Duration::from_nanos(1)), n + 1);
        }
        assert_eq!(plan.at(3_000), start + Duration::from_secs(1));
        assert_eq!(plan.due(start + Duration::from_secs(100)), 10_000, "no more than there are");
    }

    #[test]
    fn stripes_of_a_plan_are_the_whole_and_each_message_keeps_its_time() {
        let whole = Plan { start: Instant::now(), rate_per_s: 7, count: 100, stripe: Stripe::WHOLE };
        for of in [1, 2, 3, 7, 101] {
            let parts = || (0..of).map(|index| Plan { stripe: Stripe { index, of }, ..whole });
            assert_eq!(parts().map(|part| part.messages()).sum::<u64>(), 100);
            let mut times: Vec<_> = parts().flat_map(|part| (0..part.messages()).map(move |n| part.at(n))).collect();
            times.sort();
            assert_eq!(times, (0..100).map(|n| whole.at(n)).collect::<Vec<_>>());
            for ms in [0, 1, 142, 143, 5_000, 20_000] {
                let now = whole.start + Duration::from_millis(ms);
                assert_eq!(parts().map(|part| part.due(now)).sum::<u64>(), whole.due(now), "{of} at {ms} ms");
            }
        }
    }

    #[test]
    fn a_plan_hands_over_each_message_once_even_when_all_are_late() {
        let start = Instant::now() - Duration::from_secs(1);
        let plan = Plan { start, rate_per_s: 1_000, count: 500, stripe: Stripe::WHOLE };
        let mut seen = Vec::new();
        plan.run(Duration::ZERO, |range| seen.extend(range));
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
    }
}
