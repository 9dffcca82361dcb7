//! Deliveries that wait for their marks: asked a batch at a time, answered in order within a lane. Higher lanes go first, but
//! each lower one has a share of every batch.

use std::collections::VecDeque;

use pushgate_protocol::link::Lane;

use super::{Delivery, backoff::Backoff};
use crate::{limits::MARKS_BATCH_MAX, seams::MarkQuery};

/// The part of a batch that each lane below may claim.
const SHARE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Marks {
    /// By lane.
    waiting: [VecDeque<Delivery>; 3],
    /// How many of the first of each lane are being asked for.
    asked: [usize; 3],
    /// How many are to be asked for one by one, because they were refused together.
    alone: usize,
    backoff: Backoff,
}

impl Marks {
    pub(super) fn push(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            self.waiting[delivery.lane as usize].push_back(delivery);
        }
    }

    /// How many of a lane wait.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.waiting[lane as usize].len()
    }

    pub(super) fn take(&mut self, now_ms: u64) -> Option<Vec<MarkQuery>> {
        if self.asked != [0; 3] || self.is_empty() || !self.backoff.ready(now_ms) {
            return None;
        }
        let max = if self.alone > 0 { 1 } else { MARKS_BATCH_MAX };
        let mut room = max;
        for lane in 0..self.waiting.len() {
            let below: usize = self.waiting[lane + 1..].iter().map(|w| w.len().min(max / SHARE)).sum();
            self.asked[lane] = self.waiting[lane].len().min(room - below);
            room -= self.asked[lane];
        }
        let query = |d: &Delivery| MarkQuery { user: d.user.clone(), key: d.key };
        let lanes = self.waiting.iter().zip(self.asked);
        Some(lanes.flat_map(|(waiting, asked)| waiting.iter().take(asked)).map(query).collect())
    }

    /// The answer came: hands out the deliveries it is for. `None` if it is not for what was asked.
    pub(super) fn answered(&mut self, answers: usize) -> Option<Vec<Delivery>> {
        if answers != self.asked.iter().sum::<usize>() {
            return None;
        }
        self.backoff.reset();
        self.alone = self.alone.saturating_sub(answers);
        let asked = std::mem::take(&mut self.asked);
        Some(self.waiting.iter_mut().zip(asked).flat_map(|(waiting, asked)| waiting.drain(..asked)).collect())
    }

    pub(super) fn failed(&mut self, now_ms: u64) {
        self.asked = [0; 3];
        self.backoff.fail(now_ms);
    }

    /// What was asked for will never be answered: it is asked for one by one. A single one is handed out.
    pub(super) fn refused(&mut self) -> Option<Vec<Delivery>> {
        let asked = self.asked.iter().sum();
        if asked == 1 {
            return self.answered(1);
        }
        self.alone = self.alone.max(asked);
        self.asked = [0; 3];
        None
    }

    /// When to try again, if deliveries wait for that.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.backoff.until().filter(|_| self.asked == [0; 3] && !self.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }
}
