//! The finisher: what ended is written to the MessageStore, then published, then settled; in batches, in order, again and
//! again until it works.
//!
//! Invariant: nothing holds it for ever ([`Insistence`]).

mod laters;
mod sorted;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use pushgate_protocol::result::{ResultRecord, State};
use tokio::sync::mpsc;
use tracing::error;

use self::sorted::Sorted;
use super::{insistence::Insistence, shares::Settlements};
use crate::{
    clock,
    core::{
        account::{Later, Over},
        worker::{self, Token},
    },
    decode::Scheduled,
    health::Health,
    limits,
    metrics::Metrics,
    recall::{self, End, Known},
    schedule::{announce, wakers::Wakers},
    seams::{
        Added, Count, DeadRecord, MessageKey, MessageStore, Recalls, ResultSink, ScheduleStore, StateChange, StreamOp,
        StreamOutcome, Streams, Task,
    },
    states::is_end,
};

/// Something that ended, and the share it settles.
#[derive(Debug)]
pub enum Finished {
    /// Recipients entered states.
    States(Vec<worker::Finished>),
    /// Unnamed recipients entered states.
    Counts(Vec<Count>),
    /// A message that is to be sent later.
    Scheduled {
        /// Its task.
        scheduled: Box<Scheduled>,
        /// Its only share.
        token: Token,
    },
    /// A parcel that is over.
    Over(Box<Over>),
    /// A parcel that is to come again.
    Later(Box<Later>),
    /// A parcel whose record is another consumer's by now.
    Withdrawn(Token),
    /// A record that cannot be processed.
    Dead {
        /// The dead letter.
        record: DeadRecord,
        /// Its only share.
        token: Token,
    },
}

impl Finished {
    /// How much of a batch it is.
    fn items(&self) -> usize {
        if let Self::States(states) = self { states.len() } else { 1 }
    }
}

/// What a finisher works with.
pub struct FinisherParts {
    /// Whose it is, in words.
    pub name: String,
    /// Where it learns what ended.
    pub finished: mpsc::UnboundedReceiver<Finished>,
    /// Where states are kept.
    pub messages: Arc<dyn MessageStore>,
    /// What is stored: it goes if its message was taken back meanwhile.
    pub streams: Arc<dyn Streams>,
    /// Tells what is under way of that.
    pub recalls: Arc<dyn Recalls>,
    /// Where results go.
    pub results: Arc<dyn ResultSink>,
    /// Ended deliveries on their way here; lowered once they are settled.
    pub backlog: Arc<AtomicUsize>,
    /// Where scheduled messages go.
    pub schedule: Arc<dyn ScheduleStore>,
    /// Told of what is due soon.
    pub wakers: Wakers,
    /// Bytes of dead letters and scheduled messages on their way here; lowered once they are written.
    pub aside_bytes: Arc<AtomicUsize>,
    /// Where settlements go.
    pub settled: Settlements,
    /// Told when a store fails.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: Metrics,
}

/// Runs until every sender of `finished` is gone and all is settled.
pub struct Finisher {
    parts: FinisherParts,
    stores: Insistence,
}

impl Finisher {
    /// A finisher.
    pub fn new(parts: FinisherParts) -> Self {
        let FinisherParts { name, health, metrics, .. } = &parts;
        let stores = Insistence::new(name.clone(), Arc::clone(health), metrics.clone());
        Self { parts, stores }
    }

    /// Runs it.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(first) = self.parts.finished.recv().await {
            let mut items = first.items();
            batch.push(first);
            while items < limits::FINISH_BATCH
                && let Ok(next) = self.parts.finished.try_recv()
            {
                items += next.items();
                batch.push(next);
            }
            self.finish(&mut batch).await;
        }
    }

    async fn finish(&self, batch: &mut Vec<Finished>) {
        let mut sorted = Sorted::of(batch);
        let (ended, aside_bytes, withdrawn) = (sorted.ended(), sorted.aside_bytes(), sorted.withdrawn);
        self.put_aside(&mut sorted).await;
        self.tell(&sorted, ended - withdrawn).await;
        self.bury_and_mark(&sorted).await;
        self.parts.aside_bytes.fetch_sub(aside_bytes, Ordering::Relaxed);
        self.parts.settled.send(sorted.tokens);
        self.parts.backlog.fetch_sub(ended, Ordering::Relaxed);
        // From here on copies of these deliveries are looked up.
        drop(sorted.held);
    }

    /// What comes later is in the schedule before anything is told of it; what the schedule refuses is a dead letter.
    async fn put_aside(&self, sorted: &mut Sorted) {
        let (laters, scheduled) = (std::mem::take(&mut sorted.laters), std::mem::take(&mut sorted.scheduled));
        for state in self.again(laters, &mut sorted.dead).await {
            sorted.changes.push(change(&state));
            sorted.records.push(state.record);
        }
        for kept in self.schedule(scheduled, &mut sorted.dead).await {
            let told = announce::results(&kept.task, &kept.message, State::Scheduled, None, clock::unix_ms());
            sorted.changes.extend(told.iter().map(announce::change));
            sorted.records.extend(told);
        }
    }

    /// States are recorded before results are published; what was taken back meanwhile goes.
    async fn tell(&self, Sorted { changes, counts, records, .. }: &Sorted, results_count: usize) {
        let FinisherParts { messages, results, metrics, .. } = &self.parts;
        let of_message = |c: &StateChange| format!("message {} to {}", c.message, c.recipient.user);
        let recalled =
            self.stores.write("record message states", changes, of_message, |all| messages.record(all)).await;
        let of_count = |c: &Count| format!("message {}", c.message);
        self.stores.write("count recipients", counts, of_count, |all| messages.count(all)).await;
        let of_result = |r: &ResultRecord| format!("a result of message {}", r.message);
        self.stores.write("publish results", records, of_result, |all| results.publish(all)).await;
        metrics.results.inc_by(results_count as u64);
        let recalled: HashSet<MessageKey> = recalled.into_iter().flatten().collect();
        if !recalled.is_empty() {
            self.take_back(changes, &recalled).await;
        }
    }

    /// What was sent is marked before it comes here. Any other end is last, so that it is not repeated as less than it is.
    async fn bury_and_mark(&self, Sorted { dead, marks, .. }: &Sorted) {
        let of_dead = |d: &DeadRecord| format!("the dead letter of {}", d.origin);
        self.stores.write("write dead letters", dead, of_dead, |all| self.parts.results.bury(all)).await;
        let of_mark = |op: &StreamOp| format!("the mark of a delivery to {}", op.user().user);
        let apply = |all| self.parts.streams.apply(all, clock::unix_ms());
        self.stores.write("mark deliveries", marks, of_mark, apply).await;
    }

    /// Some of these states are of messages that were taken back when nobody knew of them: what is stored goes, and they end, before
    /// their records settle. Who acknowledged meanwhile is told as well.
    async fn take_back(&self, changes: &[StateChange], recalled: &HashSet<MessageKey>) {
        let FinisherParts { messages, streams, recalls, results, .. } = &self.parts;
        let open = |c: &&StateChange| !is_end(c.state) || c.state == State::Delivered;
        // What goes to addresses is in no stream; what is to come again is found when it comes.
        for change in changes.iter().filter(open).filter(|c| c.channel == worker::CHANNEL) {
            let message = MessageKey { app: change.app.clone(), id: change.message.clone() };
            if !recalled.contains(&message) {
                continue;
            }
            if is_end(change.state) {
                recalls.recall(message, vec![change.recipient.clone()], false).await;
                continue;
            }
            let known = Known { recipient: change.recipient.clone(), ended: false };
            let settle = || streams.apply(vec![recall::settle(&message, &known.recipient)], change.time_ms);
            let settled = self.stores.until_answered("take back", settle).await;
            if let Err(error) = &settled {
                error!(%error, message = %message.id, "cannot take back what is stored: given up, for trying again does not help");
                self.parts.metrics.refused("take back");
            }
            recalls.recall(message.clone(), vec![known.recipient.clone()], false).await;
            let outcome = settled.ok().and_then(|mut all| all.pop()).unwrap_or(StreamOutcome::Tagged);
            let End { change, result } = End::of(&message, &known, &outcome, change.time_ms);
            let name = |_: &StateChange| format!("message {}", message.id);
            self.stores.write("record message states", &[change], name, |all| messages.record(all)).await;
            let name = |_: &ResultRecord| format!("a result of message {}", message.id);
            self.stores.write("publish results", result.as_slice(), name, |all| results.publish(all)).await;
        }
    }

    /// Adds tasks, and answers those that are in the schedule now; the others are dead letters.
    async fn schedule(&self, scheduled: Vec<Scheduled>, dead: &mut Vec<DeadRecord>) -> Vec<Scheduled> {
        if scheduled.is_empty() {
            return Vec::new();
        }
        let add =
            |tasks: Vec<Task>| self.stores.until_answered("add tasks", move || self.parts.schedule.add(tasks.clone()));
        let answers = match add(scheduled.iter().map(|s| s.task.clone()).collect()).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            // One of them is to blame: each alone.
            Err(_) => {
                let mut answers = Vec::with_capacity(scheduled.len());
                for s in &scheduled {
                    answers
                        .push(add(vec![s.task.clone()]).await.map(|one| one.first().copied().unwrap_or(Added::Known)));
                }
                answers
            }
        };
        let mut kept = Vec::with_capacity(scheduled.len());
        for (s, answer) in scheduled.into_iter().zip(answers) {
            let reason = match answer {
                Ok(Added::New | Added::Known) => {
                    self.parts.wakers.added(s.task.key.shard(), s.task.head.due_ms);
                    kept.push(s);
                    continue;
                }
                Ok(Added::Conflict) => "/id: the id was used for another scheduled message".to_owned(),
                Err(error) => error.to_string(),
            };
            dead.push(DeadRecord { reason, ..s.dead });
        }
        kept
    }
}

fn change(state: &worker::Finished) -> StateChange {
    let record = &state.record;
    StateChange {
        app: record.app.clone(),
        message: record.message.clone(),
        recipient: state.recipient.clone(),
        channel: record.channel,
        state: record.state,
        reason: record.reason.clone(),
        time_ms: record.time_ms,
    }
}

#[cfg(test)]
mod tests;
