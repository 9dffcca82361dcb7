//! How fast a message centre wants it: no pace until it says that we are too fast, then half of what went last, and slowly more.

use crate::limits::{SMPP_PACE_GROWTH, SMPP_PACE_MIN, SMPP_THROTTLED_MS};

/// The pace of one connection.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Submits a second; `None` is as fast as can be.
    per_s: Option<f64>,
    /// When the next may go, milliseconds.
    next_ms: f64,
    /// What went in this second, and in the one before.
    second: u64,
    went: [u32; 2],
    cut_ms: Option<u64>,
    grown_ms: u64,
}

impl Pace {
    /// Takes a turn: how long to wait for it, milliseconds.
    pub fn turn(&mut self, now_ms: u64) -> u64 {
        self.roll(now_ms);
        self.went[0] = self.went[0].saturating_add(1);
        self.grow(now_ms);
        let Some(per_s) = self.per_s else { return 0 };
        let at = self.next_ms.max(now_ms as f64);
        self.next_ms = at + 1_000.0 / per_s;
        (at - now_ms as f64).ceil() as u64
    }

    /// When one taken now would go, from now on, milliseconds.
    pub fn ahead_ms(&self, now_ms: u64) -> u64 {
        match self.per_s {
            Some(_) => (self.next_ms - now_ms as f64).max(0.0) as u64,
            None => 0,
        }
    }

    /// The message centre said that it is too fast. Those that were under way say the same: they count once.
    pub fn throttled(&mut self, now_ms: u64) {
        if self.cut_ms.is_some_and(|cut| now_ms < cut + SMPP_THROTTLED_MS) {
            return;
        }
        self.roll(now_ms);
        let went = f64::from(self.went[0].max(self.went[1]));
        let now = self.per_s.map_or(went, |per_s| per_s.min(went.max(SMPP_PACE_MIN)));
        self.per_s = Some((now / 2.0).max(SMPP_PACE_MIN));
        self.next_ms = (now_ms + SMPP_THROTTLED_MS) as f64;
        (self.cut_ms, self.grown_ms) = (Some(now_ms), now_ms + SMPP_THROTTLED_MS);
    }

    fn roll(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        match second.saturating_sub(self.second) {
            0 => {}
            1 => self.went = [0, self.went[0]],
            _ => self.went = [0, 0],
        }
        self.second = self.second.max(second);
    }

    fn grow(&mut self, now_ms: u64) {
        let Some(per_s) = &mut self.per_s else { return };
        while self.grown_ms + 1_000 <= now_ms {
            self.grown_ms += 1_000;
            *per_s *= SMPP_PACE_GROWTH;
            // No message centre takes more over one connection: there is no pace any more.
            if *per_s > 100_000.0 {
                self.per_s = None;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many go in a second when all that may go do.
    fn went(pace: &mut Pace, from_ms: u64) -> usize {
        let mut sent = 0;
        while pace.ahead_ms(from_ms) < 1_000 && sent < 10_000 {
            pace.turn(from_ms);
            sent += 1;
        }
        sent
    }

    #[test]
    fn there_is_no_pace_until_it_is_too_fast_then_half_and_slowly_more() {
        let mut pace = Pace::default();
        assert!((0..500).all(|_| pace.turn(10_100) == 0));
        for _ in 0..50 {
            pace.throttled(10_500);
        }
        assert_eq!(pace.ahead_ms(10_500), 1_000, "first a pause");
        let slow = went(&mut pace.clone(), 11_500);
        assert!((240..=260).contains(&slow), "{slow}");
        let later = went(&mut pace.clone(), 16_500);
        assert!((380..=420).contains(&later), "five seconds on: {later}");
        assert_eq!(pace.turn(10_500 + 200_000), 0, "in the end as fast as can be");
        assert_eq!(pace.ahead_ms(10_500 + 200_000), 0);
    }

    #[test]
    fn it_stays_at_least_at_its_slowest() {
        let mut pace = Pace::default();
        for second in 0..20 {
            pace.throttled(second * 2_000);
        }
        assert!(pace.ahead_ms(40_000) <= 1_000);
        pace.turn(40_000);
        assert!(pace.ahead_ms(40_000) <= 1_000);
    }
}
