//! A task as it is shown.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use pushgate_protocol::{
    apps::Scope,
    ids::MessageId,
    link::Lane,
    message::{self, Message, Occurrence, Schedule},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{super::caller, Api, IdPath, detail, id_of, look};
use crate::{
    api::{openapi::EXAMPLE_ID, problem::Problem},
    classes::Classes,
    seams::{Phase, Seen},
};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TaskState {
    /// Its time has come, and nobody sends it yet.
    Waiting,
    /// Its time is to come.
    Delayed,
    /// It is being sent.
    Active,
    /// It had all its times.
    Completed,
    /// It cannot be sent.
    Failed,
    /// Somebody paused it.
    Paused,
    /// Somebody cancelled it.
    Cancelled,
}

impl TaskState {
    pub(super) fn of(seen: &Seen, now_ms: u64) -> Self {
        let head = &seen.task.head;
        match head.phase {
            Phase::Completed => Self::Completed,
            Phase::Failed => Self::Failed,
            Phase::Cancelled => Self::Cancelled,
            _ if seen.claimed => Self::Active,
            Phase::Paused => Self::Paused,
            Phase::Live if head.due_ms.min(head.run_ms.unwrap_or(u64::MAX)) <= now_ms => Self::Waiting,
            Phase::Live => Self::Delayed,
        }
    }
}

/// A task in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TaskSummary {
    /// The id of the scheduled message.
    pub(super) id: MessageId,
    /// Where it stands.
    pub(super) state: TaskState,
    /// The lane it is sent to.
    lane: Lane,
    /// Its schedule; null once its content is gone.
    schedule: Option<Schedule>,
    /// Its next time, Unix milliseconds; null if there is none.
    next_ms: Option<u64>,
    /// When it was accepted, Unix milliseconds.
    created_ms: u64,
    /// Occurrences sent.
    fired: u64,
    /// Why it failed.
    reason: Option<String>,
}

/// A task.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TaskDetail {
    #[serde(flatten)]
    summary: TaskSummary,
    /// The latest occurrences that were sent, at most 10, the oldest first.
    occurrences: Vec<OccurrenceView>,
    /// The message; null once it is gone, and of classes whose content is not shown.
    message: Option<Map<String, Value>>,
}

/// An occurrence that was sent.
#[derive(Debug, Serialize, JsonSchema)]
struct OccurrenceView {
    /// Its id: `task@due_ms`.
    id: String,
    /// What `GET /v1/messages/{id}` knows it by: the same, or the task's id where that does not repeat.
    message: MessageId,
    /// When it was due, Unix milliseconds.
    due_ms: u64,
    /// When it was sent to its lane, Unix milliseconds.
    fired_ms: u64,
}

impl TaskSummary {
    pub(super) fn new(seen: &Seen, message: Option<&Message>, now_ms: u64) -> Self {
        let head = &seen.task.head;
        let next_ms = match head.phase {
            Phase::Live => Some(head.run_ms.map_or(head.due_ms, |run_ms| run_ms.min(head.due_ms))),
            _ => head.run_ms,
        };
        Self {
            id: seen.task.key.id.clone(),
            state: TaskState::of(seen, now_ms),
            lane: head.lane,
            schedule: message.and_then(|m| m.schedule.clone()),
            next_ms,
            created_ms: head.created_ms,
            fired: head.fired,
            reason: head.reason.as_deref().map(str::to_owned),
        }
    }
}

impl TaskDetail {
    pub(super) fn new(seen: &Seen, now_ms: u64, classes: &Classes) -> Self {
        let message = message::decode(&seen.task.body).ok();
        let summary = TaskSummary::new(seen, message.as_ref(), now_ms);
        let repeats = summary.schedule.as_ref().is_some_and(|s| s.every.is_some() || s.cron.is_some());
        let task = &seen.task.key.id;
        let occurrence = |at: usize| {
            let fired = seen.task.head.recent[at];
            let occurrence = Occurrence { task: task.clone(), due_ms: fired.due_ms };
            // The first time of what does not repeat is the message itself; what `run` sent is not.
            let itself = !repeats && summary.schedule.is_some() && fired.due_ms == seen.task.head.due_ms;
            let message = if itself { task.clone() } else { occurrence.id() };
            OccurrenceView { id: occurrence.to_string(), message, due_ms: fired.due_ms, fired_ms: fired.fired_ms }
        };
        let occurrences = (0..seen.task.head.recent.len()).map(occurrence).collect();
        let shown = message.filter(|message| !classes.redacts(message.class));
        let message = shown.and_then(|message| match serde_json::to_value(message) {
            Ok(Value::Object(message)) => Some(message),
            _ => None,
        });
        Self { summary, occurrences, message }
    }
}

pub(super) fn example_summary() -> Value {
    json!({
        "id": EXAMPLE_ID, "state": "delayed", "lane": "normal", "schedule": { "cron": "0 9 * * MON", "zone": "Asia/Shanghai" },
        "next_ms": 1_796_605_200_000_u64, "created_ms": 1_796_000_400_000_u64, "fired": 1, "reason": null
    })
}

pub(super) fn example() -> Value {
    let mut example = example_summary();
    let due_ms = 1_796_000_400_000_u64;
    let id = format!("{EXAMPLE_ID}@{due_ms}");
    example["occurrences"] = json!([{ "id": id, "message": id, "due_ms": due_ms, "fired_ms": due_ms + 3 }]);
    example["message"] = json!({
        "v": 1, "id": EXAMPLE_ID, "app": "shop", "class": "transactional", "to": { "users": ["alice"] }, "channels": ["websocket"],
        "content": { "title": "Good morning" }, "schedule": { "cron": "0 9 * * MON", "zone": "Asia/Shanghai" }, "ttl": "2h",
        "ack": true
    });
    example
}

/// `GET /v1/tasks/{id}`
pub(super) async fn task(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let seen = look(&api, &caller.app, &id_of(path)?).await?;
        Ok::<_, Problem>(detail(&api, StatusCode::OK, &seen))
    };
    answer.await.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}
