//! What follows when changes to streams are durable.

use std::collections::BTreeMap;

use pushgate_protocol::result::State;

use super::{
    Worker,
    delivery::{COLLAPSED, Outcome, Subject, Token},
    ops::Purpose,
    users::bit,
};
use crate::seams::{Mark, StoreError, StoredPush, StreamOp, StreamOutcome, UserKey};

impl Worker {
    /// The answer to [`Worker::take_ops`], outcomes in the order of the batch. After an error, or an answer of another length,
    /// the same batch is asked again later; after an error that stays, its changes are, one by one.
    pub fn applied(&mut self, now_ms: u64, answer: Result<Vec<StreamOutcome>, StoreError>) {
        self.at(now_ms);
        let outcomes = match answer {
            Ok(outcomes) if outcomes.len() == self.ops.batch_len() => outcomes,
            Err(error) if !error.retryable() => {
                if let Some((op, purpose)) = self.ops.refused() {
                    self.give_up(op, purpose);
                }
                return;
            }
            Ok(_) | Err(_) => return self.ops.failed(self.now_ms),
        };
        self.finished.reserve(outcomes.len());
        let mut tell: BTreeMap<UserKey, u8> = BTreeMap::new();
        for ((op, purpose), outcome) in self.ops.applied().into_iter().zip(outcomes) {
            if let Some((user, lanes)) = self.follow(op, purpose, outcome) {
                *tell.entry(user).or_default() |= lanes;
            }
        }
        for (user, lanes) in tell {
            self.tell_appended(&user, lanes);
        }
    }

    /// Publishes what one change led to; returns whom to tell of it.
    fn follow(&mut self, op: StreamOp, purpose: Purpose, outcome: StreamOutcome) -> Option<(UserKey, u8)> {
        match (op, purpose) {
            (StreamOp::Append { user, push, .. }, Purpose::Store { token, attempt, tell, awaited_ms }) => {
                let repeat = self.users.change(&user, |state| {
                    state.appends -= 1;
                    state.unknown -= u32::from(tell);
                    state.repeat
                });
                let in_stream = self.stored(&user, &push, (token, attempt), outcome);
                // The replay may have ended without it.
                let late = awaited_ms.is_some_and(|until_ms| self.now_ms >= until_ms);
                let lanes = repeat | if (tell || late) && in_stream { bit(push.lane) } else { 0 };
                (lanes != 0).then_some((user, lanes))
            }
            (StreamOp::Settle { .. }, Purpose::Finish { subject, held, outcome: ended }) => {
                // What was acknowledged before does not end otherwise; but a token always comes back.
                let stale = matches!(outcome, StreamOutcome::Settled { was: Some(Mark::Delivered), .. });
                let ended = if stale { Outcome { state: State::Delivered, reason: None, ..ended } } else { ended };
                let (token, bytes) = held.unzip();
                self.finish(subject.finish(token, ended, self.now_ms), bytes.unwrap_or(0));
                None
            }
            (StreamOp::Settle { user, .. }, Purpose::FinishEntry(ended)) => {
                if let StreamOutcome::Settled { entry: Some(entry), .. } = outcome {
                    self.finish(Subject::of_stored(&entry, &user, 1).finish(None, ended, self.now_ms), 0);
                }
                None
            }
            (StreamOp::Publish { user, push }, Purpose::Publish { token, attempt }) => {
                self.published(&user, &push, (token, attempt), outcome);
                None
            }
            (StreamOp::Seen { user, .. }, Purpose::Seen { id }) => {
                if let StreamOutcome::Seen(noted) = outcome {
                    self.count_had(&user, id, noted);
                }
                None
            }
            (StreamOp::Tag { user, .. }, Purpose::Tag { tell }) => (tell != 0).then_some((user, tell)),
            (op, purpose) => {
                debug_assert!(false, "{op:?} was queued for {purpose:?}");
                None
            }
        }
    }

    /// A change that the store will never make, because the user's stream is damaged: what hangs on it ends here, so that
    /// one damaged stream holds up nobody else.
    fn give_up(&mut self, op: StreamOp, purpose: Purpose) {
        match (op, purpose) {
            (StreamOp::Append { user, push, .. }, Purpose::Store { token, attempt, tell, .. }) => {
                let repeat = self.users.change(&user, |state| {
                    state.appends -= 1;
                    state.unknown -= u32::from(tell);
                    state.repeat
                });
                let outcome = Outcome::because(State::Failed, "stream damaged");
                let finished = Subject::of_stored(&push, &user, attempt).finish(Some(token), outcome, self.now_ms);
                self.finish(finished, push.tail.len());
                if repeat != 0 {
                    self.tell_appended(&user, repeat);
                }
            }
            (StreamOp::Publish { user, push }, Purpose::Publish { token, attempt }) => {
                let outcome = Outcome::because(State::Failed, "stream damaged");
                let finished = Subject::of_stored(&push, &user, attempt).finish(Some(token), outcome, self.now_ms);
                self.finish(finished, push.tail.len());
            }
            (_, Purpose::Finish { subject, held, outcome }) => {
                let (token, bytes) = held.unzip();
                self.finish(subject.finish(token, outcome, self.now_ms), bytes.unwrap_or(0));
            }
            (StreamOp::Tag { user, .. }, Purpose::Tag { tell }) if tell != 0 => self.tell_appended(&user, tell),
            // Nothing hangs on it.
            _ => {}
        }
    }

    /// Returns whether the push is in the stream.
    fn stored(&mut self, user: &UserKey, push: &StoredPush, held: (Token, u32), outcome: StreamOutcome) -> bool {
        let (in_stream, state) = match outcome {
            // The stream dropped it as expired, and the reply that said so was lost.
            StreamOutcome::AlreadyEnded(Mark::Ended) if self.now_ms >= push.expires_ms => {
                (false, Outcome::of(State::Expired))
            }
            StreamOutcome::AlreadyEnded(mark) => (false, Self::marked(mark)),
            StreamOutcome::Appended { evicted } => {
                for gone in evicted {
                    let outcome = self.evicted(&gone, push);
                    self.finish(Subject::of_stored(&gone, user, 1).finish(None, outcome, self.now_ms), 0);
                }
                (true, Outcome::of(State::Stored))
            }
            StreamOutcome::Settled { .. }
            | StreamOutcome::Tagged
            | StreamOutcome::Published { .. }
            | StreamOutcome::Seen(_)
            | StreamOutcome::Marked => (true, Outcome::of(State::Stored)),
        };
        let (token, attempt) = held;
        let finished = Subject::of_stored(push, user, attempt).finish(Some(token), state, self.now_ms);
        self.finish(finished, push.tail.len());
        in_stream
    }

    pub(super) fn evicted(&self, gone: &StoredPush, by: &StoredPush) -> Outcome {
        if self.now_ms >= gone.expires_ms {
            Outcome::of(State::Expired)
        } else if gone.collapse.is_some() && gone.collapse == by.collapse {
            Outcome::because(State::Skipped, COLLAPSED)
        } else {
            Outcome::because(State::Failed, "stream full")
        }
    }
}
