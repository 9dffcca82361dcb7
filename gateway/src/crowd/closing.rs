//! When closing connections are given up: a queue, because all get the same time.

use std::collections::VecDeque;

use super::{ConnId, queue::KEPT_AT_REST};

/// Connections that are closing, in order of their deadline.
#[derive(Debug)]
pub(super) struct Closing {
    drain_ms: u64,
    /// Began since the clock was last looked at.
    fresh: Vec<ConnId>,
    deadlines: VecDeque<(u64, ConnId)>,
}

impl Closing {
    pub(super) fn new(drain_ms: u64) -> Self {
        Self { drain_ms, fresh: Vec::new(), deadlines: VecDeque::new() }
    }

    /// `conn` begins to close; its time starts with the next [`Self::stamp`].
    pub(super) fn begin(&mut self, conn: ConnId) {
        self.fresh.push(conn);
    }

    /// Gives those that began their deadline.
    pub(super) fn stamp(&mut self, now_ms: u64) {
        let deadline = now_ms.saturating_add(self.drain_ms);
        self.deadlines.extend(self.fresh.drain(..).map(|conn| (deadline, conn)));
    }

    /// Gives back the memory that a wave of closings needed.
    pub(super) fn shrink(&mut self) {
        if self.fresh.is_empty() && self.fresh.capacity() > KEPT_AT_REST {
            self.fresh = Vec::new();
        }
        if self.deadlines.capacity() > KEPT_AT_REST && self.deadlines.len() < self.deadlines.capacity() / 4 {
            self.deadlines.shrink_to(2 * self.deadlines.len());
        }
    }

    /// Forgets those that are gone before their time, as far as they stand first: mostly all do, for they go in the order they came.
    pub(super) fn forget_gone(&mut self, is_gone: impl Fn(ConnId) -> bool) {
        while self.deadlines.front().is_some_and(|(_, conn)| is_gone(*conn)) {
            self.deadlines.pop_front();
        }
    }

    /// The next one whose time is over. It may long be gone.
    pub(super) fn pop_expired(&mut self, now_ms: u64) -> Option<ConnId> {
        let (deadline, conn) = *self.deadlines.front()?;
        (deadline <= now_ms).then(|| {
            self.deadlines.pop_front();
            conn
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_from_the_stamp_after_the_begin() {
        let conn = |slot| ConnId { slot, generation: 0 };
        let mut closing = Closing::new(100);
        closing.begin(conn(1));
        assert_eq!(closing.pop_expired(u64::MAX), None, "no time runs before the stamp");
        closing.stamp(1_000);
        closing.begin(conn(2));
        closing.stamp(1_050);
        assert_eq!(closing.pop_expired(1_099), None);
        assert_eq!(closing.pop_expired(1_100), Some(conn(1)));
        assert_eq!(closing.pop_expired(1_100), None);
        assert_eq!(closing.pop_expired(1_150), Some(conn(2)));
    }

    #[test]
    fn whoever_goes_before_its_time_leaves_nothing_behind() {
        let mut closing = Closing::new(100);
        (0..10_000).for_each(|slot| closing.begin(ConnId { slot, generation: 0 }));
        closing.stamp(1_000);
        closing.forget_gone(|conn| conn.slot != 9_000);
        closing.shrink();
        assert_eq!((closing.deadlines.len(), closing.fresh.capacity()), (1_000, 0), "who stays keeps those behind it");
        assert!(closing.deadlines.capacity() < 5_000);
        closing.forget_gone(|_| true);
        closing.shrink();
        assert!(closing.deadlines.is_empty() && closing.deadlines.capacity() <= 2 * KEPT_AT_REST);
    }
}
