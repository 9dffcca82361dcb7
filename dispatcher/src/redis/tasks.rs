//! What tasks are in Redis, and how scripts are told of them and answer.
//!
//! A task is named `app 0 id`. Its first head and its body are written once; what its head becomes is written beside them. Of a task that was
//! sent at its one time, and that nobody changed, nothing is written but the time at which it was sent: the rest follows from that.

use bytes::Bytes;
use pushgate_protocol::ids::{AppId, MessageId};
use redis::{Cmd, Value};

use super::{link::damaged, streams::strange};
use crate::{
    schedule::head,
    seams::{Claim, Claimed, Fired, Phase, Settled, Settlement, Standing, StoreError, Task, TaskHead, TaskKey},
};

/// The name of a task.
pub(super) fn name_of(key: &TaskKey) -> Vec<u8> {
    [key.app.as_str().as_bytes(), &[0], key.id.as_str().as_bytes()].concat()
}

/// The task that has this name.
pub(super) fn key_of(name: &[u8]) -> Option<TaskKey> {
    let (app, id) = std::str::from_utf8(name).ok()?.split_once('\0')?;
    Some(TaskKey { app: AppId::parse(app).ok()?, id: MessageId::parse(id).ok()? })
}

/// What is written once, until somebody edits it: the head without what happened since, and the body.
pub(super) fn content(head: &TaskHead, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(72 + body.len());
    head::write_first(head, &mut content);
    content.extend_from_slice(body);
    content
}

/// A task of its head as it has become, if it has, and its first head with its body, if that is kept.
pub(super) fn task_of(key: Option<TaskKey>, head: Option<Value>, content: Option<Value>) -> Result<Task, StoreError> {
    let unreadable = || damaged("a task cannot be read".into());
    let (first, body) = match content {
        Some(Value::BulkString(content)) => {
            let (first, len) = head::split_first(&content).ok_or_else(unreadable)?;
            (Some(first), Bytes::from(content).slice(len..))
        }
        _ => (None, Bytes::new()),
    };
    let head = match head {
        Some(Value::BulkString(head)) => head::decode(&head),
        _ => first,
    };
    Ok(Task { key: key.ok_or_else(unreadable)?, head: head.ok_or_else(unreadable)?, body })
}

/// Whether a later version wrote a task with this head and this first head with its body.
pub(super) fn is_later(head: &Value, content: &Value) -> bool {
    let bytes = [head, content].into_iter().find_map(|part| match part {
        Value::BulkString(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    bytes.is_some_and(head::is_later)
}

/// How scripts are told where a task stands.
pub(super) fn standing_of(standing: Standing) -> Vec<u8> {
    match standing {
        Standing::Due(at_ms) => format!("d{at_ms}").into_bytes(),
        Standing::Idle => b"i".to_vec(),
        Standing::Ended { body: true } => b"k".to_vec(),
        Standing::Ended { body: false } => b"e".to_vec(),
        Standing::Gone => b"g".to_vec(),
    }
}

/// The head of a task that nobody changed and that was sent at its one time.
pub(super) fn once_sent(first: TaskHead, fired_ms: u64) -> TaskHead {
    let recent = vec![Fired { due_ms: first.due_ms, fired_ms }];
    TaskHead { phase: Phase::Completed, fired: 1, recent, ..first }
}

/// When it was sent, if that is all there is to tell of it.
fn sent_once(settlement: &Settlement) -> Option<u64> {
    let head = &settlement.head;
    let [Fired { due_ms, fired_ms }] = head.recent.as_slice() else { return None };
    let plain = settlement.standing == Standing::Ended { body: true }
        && head.phase == Phase::Completed
        && (head.revision, head.fired, *due_ms) == (1, 1, head.due_ms)
        && head.run_ms.is_none()
        && head.reason.is_none();
    plain.then_some(*fired_ms)
}

/// Settlements of one shard and lease, those that were sent once first.
pub(super) struct Ending<'a> {
    pub(super) shard: u16,
    pub(super) lease_ms: u64,
    fired_ms: u64,
    once: usize,
    places: Vec<usize>,
    settlements: &'a [Settlement],
}

impl<'a> Ending<'a> {
    /// Those in these places.
    pub(super) fn of((shard, lease_ms): (u16, u64), mut places: Vec<usize>, settlements: &'a [Settlement]) -> Self {
        let fired_ms = places.iter().find_map(|place| sent_once(&settlements[*place])).unwrap_or(0);
        let once = |place: &usize| sent_once(&settlements[*place]) == Some(fired_ms);
        places.sort_by_key(|place| !once(place));
        let once = places.iter().take_while(|place| once(place)).count();
        Self { shard, lease_ms, fired_ms, once, places, settlements }
    }

    /// Adds them to the script's arguments.
    pub(super) fn write(&self, call: &mut Cmd) {
        let settlements = || self.places.iter().map(|place| &self.settlements[*place]);
        call.arg(self.fired_ms).arg(self.once);
        for s in settlements().take(self.once) {
            call.arg(name_of(&s.key));
        }
        for s in settlements().skip(self.once) {
            call.arg(name_of(&s.key)).arg(standing_of(s.standing)).arg(head::encode(&s.head));
        }
    }

    /// Reads the script's answer.
    pub(super) fn read(&self, answer: Value, settled: &mut [Settled]) -> Result<(), StoreError> {
        let answers = match answer {
            Value::Int(1) => {
                self.places.iter().for_each(|place| settled[*place] = Settled::Done);
                return Ok(());
            }
            answer => array(answer)?,
        };
        for (place, answer) in self.places.iter().zip(answers) {
            settled[*place] = match answer {
                Value::Int(1) => Settled::Done,
                Value::Int(0) => Settled::Lost,
                Value::Array(parts) => {
                    let (mut parts, key) = (parts.into_iter(), self.settlements[*place].key.clone());
                    // Damaged since it was claimed: nobody's to settle.
                    let task = task_of(Some(key), parts.next(), parts.next());
                    task.map_or(Settled::Lost, |task| Settled::Changed(Box::new(task)))
                }
                other => return Err(strange(&Some(other))),
            };
        }
        Ok(())
    }
}

/// Reads the answer of a claim's script. Names of tasks that are damaged are put into `damage`.
pub(super) fn read_claim(
    shard: u16,
    answer: Value,
    claimed: &mut Claimed,
    damage: &mut Vec<(u16, Vec<u8>)>,
) -> Result<(), StoreError> {
    let mut parts = array(answer)?.into_iter();
    let head = (parts.next(), parts.next(), parts.next());
    let (Some(Value::Int(now)), Some(Value::Int(lease)), Some(Value::Int(next))) = head else {
        return Err(damaged("a claim's script answered strangely".into()));
    };
    claimed.now_ms = claimed.now_ms.max(now as u64);
    let next = u64::try_from(next).ok();
    claimed.next_ms = [claimed.next_ms, next].into_iter().flatten().min();
    claimed.claims.reserve(parts.len() / 3);
    while let Some(Value::BulkString(name)) = parts.next() {
        let (head, body) = (parts.next().unwrap_or(Value::Nil), parts.next().unwrap_or(Value::Nil));
        // It is for those of that version, when its lease is over.
        let later = is_later(&head, &body);
        match task_of(key_of(&name), Some(head), Some(body)) {
            Ok(task) => claimed.claims.push(Claim { task, lease_ms: lease as u64 }),
            Err(_) => {
                claimed.unreadable += 1;
                damage.extend((!later).then_some((shard, name)));
            }
        }
    }
    Ok(())
}

/// The values of an array.
pub(super) fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(strange(&Some(other))),
    }
}
