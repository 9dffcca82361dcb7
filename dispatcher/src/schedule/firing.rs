//! What a claim leads to: records for the task's lane, and then where the task stands.
//!
//! An occurrence of a task that repeats, or that `run` asked for, is a message of its own, with the occurrence as its id. The one time of
//! a task that does not repeat keeps the message's id.

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId},
    message::{self, Message, Misfire, Occurrence, Schedule},
};

use super::{entry, rule::Rule};
use crate::{
    limits::{ENDED_BODY_BYTES_MAX, RECENT_OCCURRENCES},
    seams::{Fired, NewRecord, Phase, Standing, Task, TaskHead},
};

/// What is to be done about a claimed task.
#[derive(Debug, Clone)]
pub struct Firing {
    /// What to append to the task's lane.
    pub records: Vec<NewRecord>,
    /// The occurrences that these are.
    times: Vec<u64>,
    /// The time that is dealt with.
    due_ms: u64,
    /// The extra time that is dealt with.
    run_ms: Option<u64>,
    /// The time after that.
    next_ms: Option<u64>,
    /// Times were passed over.
    pub missed: bool,
    /// Nothing was ever sent of it, for its only time was missed.
    pub skipped: bool,
    /// It cannot be sent, and why.
    failed: Option<String>,
    /// Its body may be kept at the end.
    keeps_body: bool,
    /// Nothing of it is kept.
    again: bool,
    /// What was claimed, and its times.
    body: Bytes,
    schedule: Schedule,
}

/// Decides what is due of a task. `redacts` tells whether a message's content must not be kept after its end.
pub fn decide(task: &Task, now_ms: u64, redacts: impl Fn(&Message) -> bool) -> Firing {
    let head = &task.head;
    let run_ms = head.run_ms.filter(|run_ms| *run_ms <= now_ms);
    let mut firing = Firing {
        records: Vec::new(),
        times: Vec::new(),
        due_ms: head.due_ms,
        run_ms,
        next_ms: Some(head.due_ms),
        missed: false,
        skipped: false,
        failed: None,
        keeps_body: false,
        again: task.key.app.as_str() == AppId::RESERVED,
        body: task.body.clone(),
        schedule: Schedule::default(),
    };
    let message = match message::decode(&task.body) {
        Ok(message) => message,
        Err(_) if head.phase != Phase::Live && run_ms.is_none() => return firing,
        Err(error) => return Firing { failed: Some(error.to_string()), ..firing },
    };
    firing.keeps_body = task.body.len() <= ENDED_BODY_BYTES_MAX && !redacts(&message);
    let schedule = message.schedule.clone().unwrap_or_default();
    firing.schedule = schedule.clone();
    let rule = match Rule::new(&schedule, head.anchor_ms) {
        Ok(rule) => rule,
        Err(error) => return Firing { failed: Some(error.to_string()), ..firing },
    };
    if head.phase == Phase::Live {
        let due = rule.due(schedule.misfire.unwrap_or_default(), head.due_ms, now_ms);
        firing.skipped = !rule.repeats() && due.missed && schedule.misfire == Some(Misfire::Skip);
        (firing.times, firing.missed, firing.next_ms) = (due.times, due.missed, due.next_ms);
    }
    let times = firing.times.iter().map(|due_ms| (*due_ms, rule.repeats()));
    let run = run_ms.map(|run_ms| (run_ms, true));
    firing.records = times.chain(run).map(|(due_ms, own)| record(task, &message, due_ms, own)).collect();
    firing.times.extend(run_ms);
    firing
}

impl Firing {
    /// It cannot be sent for this reason.
    pub fn fail(&mut self, reason: String) {
        self.failed = Some(reason);
        self.records.clear();
        self.times.clear();
    }

    /// Why it cannot be sent.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The head of the task and where it stands after what was due has been sent. The task may have been changed by somebody meanwhile.
    pub fn apply(&self, task: &Task, now_ms: u64) -> (TaskHead, Standing) {
        let mut head = task.head.clone();
        head.fired += self.times.len() as u64;
        head.recent.extend(self.times.iter().map(|due_ms| Fired { due_ms: *due_ms, fired_ms: now_ms }));
        let surplus = head.recent.len().saturating_sub(RECENT_OCCURRENCES);
        head.recent.drain(..surplus);
        if head.run_ms == self.run_ms {
            head.run_ms = None;
        }
        if let Some(reason) = &self.failed {
            head.reason = Some(reason.as_str().into());
            head.run_ms = None;
            if !head.phase.is_end() {
                head.phase = Phase::Failed;
            }
        } else if head.due_ms == self.due_ms && !head.phase.is_end() {
            // Also of a task that was paused meanwhile: what was sent is not sent again when it goes on.
            match self.next_of(task) {
                Some(next_ms) => head.due_ms = next_ms,
                None => head.phase = Phase::Completed,
            }
        }
        let standing = match standing(&head, self.keeps_body) {
            Standing::Ended { .. } if self.again => Standing::Gone,
            standing => standing,
        };
        (head, standing)
    }
}

impl Firing {
    /// The time after what was dealt with. Of a task that got another schedule meanwhile, which begins at the very time that was dealt with,
    /// it is the first of that schedule that was not sent: the one that was claimed is nobody's any more.
    fn next_of(&self, task: &Task) -> Option<u64> {
        let nothing_was_due = self.next_ms == Some(self.due_ms);
        if nothing_was_due || task.body == self.body {
            return self.next_ms;
        }
        let schedule = message::decode(&task.body).ok()?.schedule.unwrap_or_default();
        if schedule == self.schedule {
            return self.next_ms;
        }
        let rule = Rule::new(&schedule, task.head.anchor_ms).ok()?;
        let mut next_ms = Some(task.head.due_ms);
        while let Some(sent_ms) = next_ms.filter(|ms| self.times.contains(ms)) {
            next_ms = rule.next_after(sent_ms);
        }
        next_ms
    }
}

/// Where a task with this head stands while nobody holds it.
pub fn standing(head: &TaskHead, keeps_body: bool) -> Standing {
    match (head.phase, head.run_ms) {
        (Phase::Live, run_ms) => Standing::Due(run_ms.map_or(head.due_ms, |run_ms| run_ms.min(head.due_ms))),
        (_, Some(run_ms)) => Standing::Due(run_ms),
        (Phase::Paused, None) => Standing::Idle,
        (Phase::Completed | Phase::Failed | Phase::Cancelled, None) => Standing::Ended { body: keeps_body },
    }
}

fn record(task: &Task, message: &Message, due_ms: u64, own_id: bool) -> NewRecord {
    if let (Some(id), Some(_)) = (&message.id, &message.retry) {
        // The same message goes on.
        return NewRecord { key: entry::ordering_key(message, id), value: task.body.clone() };
    }
    let occurrence = Occurrence { task: task.key.id.clone(), due_ms };
    let id: MessageId = if own_id { occurrence.id() } else { task.key.id.clone() };
    let key = entry::ordering_key(message, &id);
    let message = Message {
        id: Some(id),
        app: Some(task.key.app.clone()),
        schedule: None,
        occurrence: Some(occurrence),
        ..message.clone()
    };
    NewRecord { key, value: message.encode().into() }
}

#[cfg(test)]
mod tests;
