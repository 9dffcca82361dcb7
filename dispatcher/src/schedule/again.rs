//! What is tried again: tasks of one time, under names of their own, which leave nothing behind once they were sent.

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
};

use crate::seams::{Phase, Task, TaskHead, TaskKey};

/// The task that sends `body` to its lane at `due_ms`. The same name, the same task: what is added twice is there once.
pub fn task(name: u128, lane: Lane, body: Bytes, due_ms: u64, now_ms: u64) -> Task {
    let id = MessageId::parse(&format!("{name:032x}")).expect("digits are an id");
    let head = TaskHead {
        revision: 1,
        phase: Phase::Live,
        lane,
        hash: [0; 16],
        created_ms: now_ms,
        anchor_ms: due_ms,
        due_ms,
        run_ms: None,
        fired: 0,
        recent: Vec::new(),
        reason: None,
    };
    // Of no app that callers can ask for: nobody lists it, edits it or pauses it.
    Task { key: TaskKey { app: AppId::reserved(), id }, head, body }
}
