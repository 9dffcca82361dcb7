//! How a message becomes a task.

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message::{Message, MessageError, Problem},
};
use xxhash_rust::xxh3::xxh3_128;

use super::rule::Rule;
use crate::seams::{Phase, Task, TaskHead, TaskKey};

/// The task of a message that has an app, an id and a schedule and was accepted at `accepted_ms`. Refused if none of its times is to come.
pub fn task(app: AppId, id: MessageId, message: &Message, lane: Lane, accepted_ms: u64) -> Result<Task, MessageError> {
    let body = message.encode();
    // What is repeated may belong to another trace.
    let hash = match &message.traceparent {
        None => xxh3_128(&body),
        Some(_) => xxh3_128(&Message { traceparent: None, ..message.clone() }.encode()),
    };
    let head = TaskHead {
        revision: 1,
        phase: Phase::Live,
        lane,
        hash: hash.to_le_bytes(),
        created_ms: accepted_ms,
        anchor_ms: accepted_ms,
        due_ms: first(message, accepted_ms)?,
        run_ms: None,
        fired: 0,
        recent: Vec::new(),
        reason: None,
    };
    Ok(Task { key: TaskKey { app, id }, head, body: Bytes::from(body) })
}

/// The first time of a message's schedule from `anchor_ms` on.
pub fn first(message: &Message, anchor_ms: u64) -> Result<u64, MessageError> {
    let schedule = message.schedule.clone().unwrap_or_default();
    let rule = Rule::new(&schedule, anchor_ms).map_err(|error| invalid(error.to_string()))?;
    rule.first().ok_or_else(|| invalid("none of its times is to come".into()))
}

/// The key under which the messages of one user stay in order.
pub fn ordering_key(message: &Message, id: &MessageId) -> Bytes {
    let to = &message.to;
    let key = match (to.users.as_slice(), to.devices.as_slice(), to.count()) {
        ([user], _, 1) => user.as_str(),
        (_, [device], 1) => device.user.as_str(),
        _ => id.as_str(),
    };
    Bytes::copy_from_slice(key.as_bytes())
}

fn invalid(detail: String) -> MessageError {
    MessageError { problem: Problem::Invalid, pointer: "/schedule".into(), detail }
}
