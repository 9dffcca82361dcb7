//! Deliveries that wait for their marks: asked a batch at a time, answered in order.

use std::collections::VecDeque;

use super::{Delivery, backoff::Backoff};
use crate::{limits::MARKS_BATCH_MAX, seams::MarkQuery};

#[derive(Debug, Default)]
pub(super) struct Marks {
    waiting: VecDeque<Delivery>,
    /// How many of the first are being asked for.
    asked: usize,
    backoff: Backoff,
}

impl Marks {
    pub(super) fn push(&mut self, deliveries: Vec<Delivery>) {
        self.waiting.extend(deliveries);
    }

    pub(super) fn take(&mut self, now_ms: u64) -> Option<Vec<MarkQuery>> {
        if self.asked > 0 || self.waiting.is_empty() || !self.backoff.ready(now_ms) {
            return None;
        }
        self.asked = self.waiting.len().min(MARKS_BATCH_MAX);
        let query = |d: &Delivery| MarkQuery { user: d.user.clone(), key: d.key };
        Some(self.waiting.iter().take(self.asked).map(query).collect())
    }

    /// The answer came: hands out the deliveries it is for. `None` if it is not for what was asked.
    pub(super) fn answered(&mut self, answers: usize) -> Option<Vec<Delivery>> {
        if answers != self.asked {
            return None;
        }
        self.asked = 0;
        self.backoff.reset();
        Some(self.waiting.drain(..answers).collect())
    }

    pub(super) fn failed(&mut self, now_ms: u64) {
        self.asked = 0;
        self.backoff.fail(now_ms);
    }

    /// When to try again, if deliveries wait for that.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.backoff.until().filter(|_| self.asked == 0 && !self.waiting.is_empty())
    }
}
