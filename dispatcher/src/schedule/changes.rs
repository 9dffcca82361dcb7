//! What somebody may ask of a task, and the head it has then. `None`: nothing changes.

use pushgate_protocol::message::{self, Message, MessageError, Problem};

use super::{entry, rule::Rule};
use crate::seams::{Phase, Task, TaskHead};

/// Why a task is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It has ended.
    #[error("the task has ended")]
    Ended,
    /// Its content was not kept.
    #[error("the task has ended and its content was not kept")]
    Gone,
    /// Its message cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Its times pass without being sent.
pub fn pause(task: &Task) -> Result<Option<TaskHead>, ChangeError> {
    match task.head.phase {
        Phase::Paused => Ok(None),
        Phase::Live => Ok(Some(TaskHead { phase: Phase::Paused, ..task.head.clone() })),
        _ => Err(ChangeError::Ended),
    }
}

/// It goes on, with the next of its times: those that passed while it was paused were not missed. One that does not repeat is due even
/// if its time has passed.
pub fn resume(task: &Task, now_ms: u64) -> Result<Option<TaskHead>, ChangeError> {
    match task.head.phase {
        Phase::Live => return Ok(None),
        Phase::Paused => {}
        _ => return Err(ChangeError::Ended),
    }
    let mut head = TaskHead { phase: Phase::Live, ..task.head.clone() };
    let schedule = message::decode(&task.body)?.schedule.unwrap_or_default();
    let rule = Rule::new(&schedule, head.anchor_ms).map_err(|error| MessageError {
        problem: Problem::Invalid,
        pointer: "/schedule".into(),
        detail: error.to_string(),
    })?;
    if rule.repeats() && head.due_ms <= now_ms {
        match rule.next_after(now_ms) {
            Some(next_ms) => head.due_ms = next_ms,
            None => head.phase = Phase::Completed,
        }
    }
    Ok(Some(head))
}

/// It is this message from now on; another schedule counts from now. Of other content alone its times stay.
pub fn edit(task: &Task, after: &Message, now_ms: u64) -> Result<TaskHead, ChangeError> {
    if task.head.phase.is_end() {
        return Err(ChangeError::Ended);
    }
    let head = task.head.clone();
    if after.schedule == message::decode(&task.body)?.schedule {
        return Ok(head);
    }
    Ok(TaskHead { anchor_ms: now_ms, due_ms: entry::first(after, now_ms)?, ..head })
}

/// An occurrence is sent now, besides the schedule and whatever the phase.
pub fn run(task: &Task, now_ms: u64) -> Result<Option<TaskHead>, ChangeError> {
    if task.body.is_empty() {
        return Err(ChangeError::Gone);
    }
    let head = &task.head;
    if head.run_ms.is_some() {
        return Ok(None);
    }
    // Occurrences have different times: this one takes none that was, or is to be, another's.
    let taken = |ms: u64| head.due_ms == ms || head.recent.iter().any(|fired| fired.due_ms == ms);
    let run_ms = (now_ms..).find(|ms| !taken(*ms));
    Ok(Some(TaskHead { run_ms, ..head.clone() }))
}

/// Nothing more of it is sent.
pub fn cancel(task: &Task) -> Result<Option<TaskHead>, ChangeError> {
    match task.head.phase {
        Phase::Cancelled => Ok(None),
        Phase::Live | Phase::Paused => {
            Ok(Some(TaskHead { phase: Phase::Cancelled, run_ms: None, ..task.head.clone() }))
        }
        Phase::Completed | Phase::Failed => Err(ChangeError::Ended),
    }
}
