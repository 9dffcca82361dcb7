//! Ending all sessions at a pace: so that the gateways that take them are not overrun. A session is told where to go, if
//! there is somewhere, and closed a while later; else it is closed with 1012 at once. Until then it is served.

use std::collections::VecDeque;

use pushgate_protocol::{close::CloseCode, wire::ServerFrame};

use super::{Now, Shard, slots::Entry};
use crate::{
    crowd::{ConnId, Outgoing},
    limits::{MOVED_AFTER_MS_MAX, MOVED_CLOSE_MS},
};

/// How sessions are to end.
#[derive(Debug, Clone)]
pub struct DrainOrder {
    /// Sessions per second; 0: all at once.
    pub per_s: u32,
    /// By when the last is told, monotonic milliseconds; the pace quickens if need be.
    pub until_ms: u64,
    /// Where clients are sent, if anywhere.
    pub url: Option<String>,
}

/// How many sessions are due at a time, so that so many a second end and all by a time.
#[derive(Debug, Clone)]
pub struct DrainPace {
    per_s: u32,
    until_ms: u64,
    last_ms: u64,
    /// Thousandths of a session that the pace is owed.
    owed: u64,
}

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    order: DrainOrder,
    pace: DrainPace,
    cursor: u32,
    /// Sessions that were told to go, and when they are closed.
    told: VecDeque<(u64, ConnId)>,
    /// How many of them still stand.
    staying: u64,
}

impl Drain {
    /// The session in a slot is gone. One before the cursor was told, but for one that came since: a shard that drains lets nobody in.
    pub(super) fn left(&mut self, slot: u32) {
        self.staying = self.staying.saturating_sub(u64::from(slot < self.cursor));
    }
}

impl Shard {
    /// Begins to end all sessions; echoes end at once.
    pub fn begin_drain(&mut self, now: Now, order: DrainOrder, out: &mut dyn Outgoing) {
        for slot in 0..self.slots.len() {
            if matches!(self.slots.entry(slot), Entry::Echo(_)) {
                self.end(now, slot, Some(RESTART), out);
            }
        }
        let pace = DrainPace::new(now.mono_ms, order.per_s, order.until_ms);
        self.drain = Some(Box::new(Drain { order, pace, cursor: 0, told: VecDeque::new(), staying: 0 }));
        self.go_on_draining(now, out);
    }

    pub(super) fn go_on_draining(&mut self, now: Now, out: &mut dyn Outgoing) {
        let Some(mut drain) = self.drain.take() else {
            return;
        };
        let untold = self.metrics.sessions.saturating_sub(drain.staying);
        for _ in 0..drain.pace.due(now.mono_ms, untold) {
            let Some(slot) = (drain.cursor..self.slots.len()).find(|&s| self.slots.session(s).is_some()) else {
                break;
            };
            drain.cursor = slot + 1;
            self.metrics.drained += 1;
            let (Some(conn), Some(session)) = (self.slots.conn(slot), self.slots.session(slot)) else {
                continue;
            };
            match &drain.order.url {
                Some(url) if self.wire_of(session).has_moved() => {
                    // Spread, so that they do not come together.
                    let after_ms = u64::from(slot).wrapping_mul(389) % MOVED_AFTER_MS_MAX;
                    self.say(slot, &ServerFrame::Moved { url, after_ms }, out);
                    let close_ms = (now.mono_ms + MOVED_CLOSE_MS).min(drain.order.until_ms.max(now.mono_ms));
                    drain.told.push_back((close_ms, conn));
                    drain.staying += 1;
                }
                _ => self.end(now, slot, Some(RESTART), out),
            }
        }
        while let Some(&(close_ms, conn)) = drain.told.front() {
            if close_ms > now.mono_ms {
                break;
            }
            drain.told.pop_front();
            if self.slots.holds(conn) {
                drain.staying = drain.staying.saturating_sub(1);
                self.end(now, conn.slot, Some(RESTART), out);
            }
        }
        self.drain = Some(drain);
    }
}

const RESTART: (CloseCode, &str) = (CloseCode::RESTART, "the server restarts");

impl DrainPace {
    /// The pace of a drain that begins at `now_ms`: `per_s` sessions a second (0: all at once), quicker if the last would not be due by
    /// `until_ms`.
    pub fn new(now_ms: u64, per_s: u32, until_ms: u64) -> Self {
        Self { per_s, until_ms, last_ms: now_ms, owed: 0 }
    }

    /// How many of `untold` sessions are due now.
    pub fn due(&mut self, now_ms: u64, untold: u64) -> u64 {
        let passed_ms = now_ms.saturating_sub(self.last_ms);
        self.last_ms = now_ms;
        if self.per_s == 0 || now_ms >= self.until_ms {
            return untold;
        }
        // Those whom the pace would not reach in time are spread over what is left of it.
        let needed_per_s = (untold * 1_000).div_ceil(self.until_ms - now_ms + passed_ms);
        self.owed += passed_ms * needed_per_s.max(self.per_s.into());
        let share = (self.owed / 1_000).min(untold);
        self.owed -= share * 1_000;
        share
    }
}
