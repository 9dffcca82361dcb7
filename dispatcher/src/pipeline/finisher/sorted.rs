//! A batch of what ended, by what is to be written of it.

use pushgate_protocol::result::ResultRecord;

use super::{Finished, change};
use crate::{
    core::{
        account::{Later, Over, Sending},
        worker::Token,
    },
    decode::Scheduled,
    seams::{Count, DeadRecord, StateChange, StreamOp},
};

#[derive(Default)]
pub(super) struct Sorted {
    pub(super) changes: Vec<StateChange>,
    pub(super) records: Vec<ResultRecord>,
    pub(super) counts: Vec<Count>,
    pub(super) scheduled: Vec<Scheduled>,
    pub(super) laters: Vec<Later>,
    pub(super) marks: Vec<StreamOp>,
    pub(super) dead: Vec<DeadRecord>,
    pub(super) tokens: Vec<Token>,
    /// Let go at the end: from there on copies of these deliveries are looked up.
    pub(super) held: Vec<Sending>,
    /// Parcels whose records are others' by now.
    pub(super) withdrawn: usize,
}

impl Sorted {
    /// The batch, which is empty afterwards.
    pub(super) fn of(batch: &mut Vec<Finished>) -> Self {
        let items = batch.iter().map(Finished::items).sum();
        let mut new = Self {
            changes: Vec::with_capacity(items),
            records: Vec::with_capacity(items),
            tokens: Vec::with_capacity(items),
            ..Self::default()
        };
        batch.drain(..).for_each(|finished| new.add(finished));
        new
    }

    fn add(&mut self, finished: Finished) {
        match finished {
            Finished::States(states) => {
                for state in states {
                    self.changes.push(change(&state));
                    self.records.push(state.record);
                    self.tokens.extend(state.token);
                }
            }
            Finished::Counts(more) => self.counts.extend(more),
            Finished::Withdrawn(token) => {
                self.withdrawn += 1;
                self.tokens.push(token);
            }
            Finished::Dead { record, token } => {
                self.dead.push(record);
                self.tokens.push(token);
            }
            Finished::Scheduled { scheduled: more, token } => {
                self.scheduled.push(*more);
                self.tokens.push(token);
            }
            Finished::Over(over) => {
                let Over { mark, held, state, dead, .. } = *over;
                self.held.push(held);
                self.marks.extend(mark);
                self.changes.push(change(&state));
                self.records.push(state.record);
                self.tokens.extend(state.token);
                self.dead.extend(dead);
            }
            Finished::Later(later) => {
                self.tokens.push(later.token);
                self.laters.push(*later);
            }
        }
    }

    /// Deliveries that ended: what the backlog counts.
    pub(super) fn ended(&self) -> usize {
        self.records.len() + self.laters.len() + self.withdrawn
    }

    /// Bytes of tasks and dead letters among them.
    pub(super) fn aside_bytes(&self) -> usize {
        let dead = self.dead.iter().map(|dead| dead.value.len());
        let scheduled = self.scheduled.iter().map(Scheduled::bytes);
        dead.chain(scheduled).chain(self.laters.iter().map(|later| later.task.body.len())).sum()
    }
}
