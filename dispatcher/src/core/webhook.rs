//! The results of one app that wait to be posted: a bounded queue, one batch under way, tried again with backoff.
//!
//! Invariants: the queue is bounded, and what leaves it unposted is counted; results leave in the order they came; a batch that
//! is never taken is given up after a bounded number of attempts, so that it does not hold up what follows for ever.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    core::random::Random,
    limits::{
        WEBHOOK_ATTEMPTS_MAX, WEBHOOK_BACKOFF_BASE_MS, WEBHOOK_BACKOFF_CAP_MS, WEBHOOK_BATCH_BYTES,
        WEBHOOK_BATCH_RESULTS, WEBHOOK_QUEUE_BYTES, WEBHOOK_QUEUE_RESULTS, WEBHOOK_RETRY_AFTER_MS_MAX,
    },
};

/// What an app's webhook has not taken.
#[derive(Debug)]
pub struct HookQueue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// Results of the batch that is posted, or is to be posted again: the first of those waiting.
    batch: usize,
    under_way: bool,
    attempts: u32,
    due_ms: u64,
    random: Random,
}

/// What a receiver did with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It took it.
    Taken,
    /// It did not, or did not answer.
    Failed {
        /// When it may be asked again, if it said so, milliseconds from now.
        after_ms: Option<u64>,
    },
}

/// What followed a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// So many results are posted.
    Done(usize),
    /// It is tried again.
    Again,
    /// It was tried often enough: so many results are given up.
    GivenUp(usize),
}

impl HookQueue {
    /// An empty queue whose randomness comes of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            batch: 0,
            under_way: false,
            attempts: 0,
            due_ms: 0,
            random: Random::new(seed),
        }
    }

    /// Puts a result at the end. Answers how many of the oldest left to make room: none of those that are being posted.
    pub fn push(&mut self, result: Bytes) -> usize {
        self.bytes += result.len();
        self.waiting.push_back(result);
        let mut left = 0;
        let over = |queue: &Self| queue.waiting.len() > WEBHOOK_QUEUE_RESULTS || queue.bytes > WEBHOOK_QUEUE_BYTES;
        while over(self) && self.waiting.len() > self.batch + 1 {
            if let Some(oldest) = self.waiting.remove(self.batch) {
                self.bytes -= oldest.len();
                left += 1;
            }
        }
        left
    }

    /// The batch to post now, if there is one and none is under way.
    pub fn take(&mut self, now_ms: u64) -> Option<Vec<Bytes>> {
        if self.under_way || self.waiting.is_empty() || now_ms < self.due_ms {
            return None;
        }
        if self.batch == 0 {
            let mut bytes = 0;
            let fits = |result: &&Bytes| {
                bytes += result.len();
                bytes <= WEBHOOK_BATCH_BYTES
            };
            self.batch = self.waiting.iter().take(WEBHOOK_BATCH_RESULTS).take_while(fits).count().max(1);
        }
        self.under_way = true;
        Some(self.waiting.iter().take(self.batch).cloned().collect())
    }

    /// What became of the batch that was taken.
    pub fn posted(&mut self, now_ms: u64, posted: Posted) -> Followed {
        self.under_way = false;
        let asked_ms = match posted {
            Posted::Taken => return Followed::Done(self.forget_batch()),
            Posted::Failed { after_ms } => after_ms.unwrap_or(0).min(WEBHOOK_RETRY_AFTER_MS_MAX),
        };
        self.attempts += 1;
        if self.attempts >= WEBHOOK_ATTEMPTS_MAX {
            return Followed::GivenUp(self.forget_batch());
        }
        let bound_ms = (WEBHOOK_BACKOFF_BASE_MS << self.attempts.min(20)).min(WEBHOOK_BACKOFF_CAP_MS);
        self.due_ms = now_ms + asked_ms + self.random.between(bound_ms / 2, bound_ms);
        Followed::Again
    }

    fn forget_batch(&mut self) -> usize {
        let batch = std::mem::take(&mut self.batch);
        self.bytes -= self.waiting.drain(..batch).map(|result| result.len()).sum::<usize>();
        (self.attempts, self.due_ms) = (0, 0);
        batch
    }

    /// Nobody takes results any more: answers how many are dropped.
    pub fn clear(&mut self) -> usize {
        let count = self.waiting.len();
        if self.under_way {
            return 0;
        }
        *self = Self::new(self.random.next());
        count
    }

    /// When there is something to post; `None` while there is not, or a batch is under way.
    pub fn due_ms(&self) -> Option<u64> {
        (!self.under_way && !self.waiting.is_empty()).then_some(self.due_ms)
    }

    /// Results waiting or under way.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(n: usize) -> Bytes {
        Bytes::from(n.to_string())
    }

    #[test]
    fn batches_are_bounded_and_in_order_and_one_is_under_way() {
        let mut queue = HookQueue::new(1);
        (0..WEBHOOK_BATCH_RESULTS + 3).for_each(|n| assert_eq!(queue.push(result(n)), 0));
        let first = queue.take(0).unwrap();
        assert_eq!((first.len(), &first[0]), (WEBHOOK_BATCH_RESULTS, &result(0)));
        assert_eq!((queue.take(0), queue.due_ms()), (None, None));
        assert_eq!(queue.posted(1, Posted::Taken), Followed::Done(WEBHOOK_BATCH_RESULTS));
        assert_eq!(queue.take(1).unwrap(), [0, 1, 2].map(|n| result(WEBHOOK_BATCH_RESULTS + n)));
    }

    #[test]
    fn a_batch_that_fails_comes_again_as_it_was_later_and_later_and_is_given_up_at_last() {
        let mut queue = HookQueue::new(1);
        queue.push(result(0));
        let (mut now_ms, mut pauses) = (0, Vec::new());
        for attempt in 1..=WEBHOOK_ATTEMPTS_MAX {
            assert_eq!(queue.take(now_ms), Some(vec![result(0)]), "{attempt}");
            queue.push(result(attempt as usize));
            let followed = queue.posted(now_ms, Posted::Failed { after_ms: None });
            if attempt == WEBHOOK_ATTEMPTS_MAX {
                assert_eq!(followed, Followed::GivenUp(1));
                break;
            }
            let due_ms = queue.due_ms().unwrap();
            assert_eq!((followed, queue.take(due_ms - 1)), (Followed::Again, None));
            pauses.push(due_ms - now_ms);
            now_ms = due_ms;
        }
        assert!(pauses[1] > pauses[0] && pauses.iter().all(|pause| *pause <= WEBHOOK_BACKOFF_CAP_MS), "{pauses:?}");
        assert_eq!(queue.take(now_ms).unwrap()[0], result(1), "what follows goes on at once");
    }

    #[test]
    fn what_the_receiver_asks_for_is_waited_for_within_bounds() {
        let mut queue = HookQueue::new(1);
        queue.push(result(0));
        for (asked_ms, least_ms) in [(30_000, 30_000), (u64::MAX, WEBHOOK_RETRY_AFTER_MS_MAX)] {
            let now_ms = queue.due_ms().unwrap();
            queue.take(now_ms).unwrap();
            queue.posted(now_ms, Posted::Failed { after_ms: Some(asked_ms) });
            let pause_ms = queue.due_ms().unwrap() - now_ms;
            assert!((least_ms..=least_ms + WEBHOOK_BACKOFF_CAP_MS).contains(&pause_ms), "{pause_ms}");
        }
    }

    #[test]
    fn at_the_bound_the_oldest_leave_but_not_those_being_posted() {
        let mut queue = HookQueue::new(1);
        (0..WEBHOOK_QUEUE_RESULTS).for_each(|n| assert_eq!(queue.push(result(n)), 0));
        let batch = queue.take(0).unwrap();
        assert_eq!(queue.push(result(WEBHOOK_QUEUE_RESULTS)), 1);
        assert_eq!(queue.len(), WEBHOOK_QUEUE_RESULTS);
        queue.posted(0, Posted::Taken);
        assert_eq!(queue.take(0).unwrap()[0], result(batch.len() + 1), "the oldest behind them left");
        let mut large = HookQueue::new(1);
        let left: usize = (0..40).map(|_| large.push(Bytes::from(vec![b'x'; WEBHOOK_QUEUE_BYTES / 32]))).sum();
        assert_eq!((left, large.len()), (8, 32));
        assert_eq!(large.take(0).unwrap().len(), 1, "one that is larger than a batch goes alone");
    }
}
