//! Changes to streams: queued in order, applied a batch at a time, repeated whole after an error.

use std::collections::VecDeque;

use pushgate_protocol::ids::MessageId;

use super::{
    backoff::Backoff,
    delivery::{Outcome, Subject, Token},
};
use crate::{limits::STREAM_BATCH_MAX, seams::StreamOp};

/// Why an operation was asked, and what follows it.
#[derive(Debug)]
pub(super) enum Purpose {
    /// `Append`: a delivery settles into the stream; `tell` the owner shard of it, also if it is done later than `awaited_ms`.
    Store { token: Token, attempt: u32, tell: bool, awaited_ms: Option<u64> },
    /// `Settle`: the delivery enters this state; `held` is its token and bytes if the worker holds it.
    Finish { subject: Subject, held: Option<(Token, usize)>, outcome: Outcome },
    /// `Settle` of a push of which nothing but its key is known here: its entry, if there is one, enters this state.
    FinishEntry(Outcome),
    /// `Publish`: the delivery settles into the stream of messages to everyone, and every shard is sent it.
    Publish { token: Token, attempt: u32 },
    /// `Seen`: a user has had this message.
    Seen { id: MessageId },
    /// `Tag`; the owner shard is told of these lanes (bit per lane).
    Tag { tell: u8 },
}

#[derive(Debug, Default)]
pub(super) struct Ops {
    queue: VecDeque<(StreamOp, Purpose)>,
    /// The batch being applied, or to be repeated.
    batch: Vec<(StreamOp, Purpose)>,
    asked: bool,
    /// How many are to be applied one by one, because they were refused together.
    alone: usize,
    backoff: Backoff,
    /// Operations ever queued, and how many of them are applied: a read that must see an operation waits for it.
    queued: u64,
    applied: u64,
}

impl Ops {
    pub(super) fn push(&mut self, op: StreamOp, purpose: Purpose) {
        self.queued += 1;
        self.queue.push_back((op, purpose));
    }

    pub(super) fn take(&mut self, now_ms: u64) -> Option<Vec<StreamOp>> {
        if self.asked || !self.backoff.ready(now_ms) {
            return None;
        }
        if self.batch.is_empty() {
            let n = self.queue.len().min(if self.alone > 0 { 1 } else { STREAM_BATCH_MAX });
            self.batch.extend(self.queue.drain(..n));
        }
        if self.batch.is_empty() {
            return None;
        }
        self.asked = true;
        Some(self.batch.iter().map(|(op, _)| op.clone()).collect())
    }

    /// The batch is applied: hands it out.
    pub(super) fn applied(&mut self) -> Vec<(StreamOp, Purpose)> {
        self.asked = false;
        self.backoff.reset();
        self.alone = self.alone.saturating_sub(self.batch.len());
        self.applied += self.batch.len() as u64;
        std::mem::take(&mut self.batch)
    }

    /// The batch failed: it will be repeated.
    pub(super) fn failed(&mut self, now_ms: u64) {
        self.asked = false;
        self.backoff.fail(now_ms);
    }

    /// The batch will never be applied as it is: its operations are applied one by one. A single one is handed out.
    pub(super) fn refused(&mut self) -> Option<(StreamOp, Purpose)> {
        if self.batch.len() == 1 {
            return self.applied().pop();
        }
        self.asked = false;
        self.alone = self.alone.max(self.batch.len());
        while let Some(op) = self.batch.pop() {
            self.queue.push_front(op);
        }
        None
    }

    /// How many operations the batch under way holds.
    pub(super) fn batch_len(&self) -> usize {
        self.batch.len()
    }

    /// A ticket that [`Self::passed`] answers when all queued until now is applied.
    pub(super) fn ticket(&self) -> u64 {
        self.queued
    }

    pub(super) fn passed(&self, ticket: u64) -> bool {
        self.applied >= ticket
    }

    /// When to try again, if a batch waits for that.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.backoff.until().filter(|_| !self.asked && !self.batch.is_empty())
    }
}
