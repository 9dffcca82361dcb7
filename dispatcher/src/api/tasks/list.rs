//! `GET /v1/tasks`

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use pushgate_protocol::{apps::Scope, ids::MessageId, link::Lane, message};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{accept::in_time, caller},
    Api, TaskState,
    view::TaskSummary,
};
use crate::{
    api::problem::Problem,
    limits::{MESSAGE_PAGE_DEFAULT, TASK_PAGE_MAX, TASKS_LOOKED_AT_MAX},
    seams::{Found, TaskQuery, Unreadable},
};

/// Which tasks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those that stand so.
    state: Option<TaskState>,
    /// Only those of this lane.
    lane: Option<Lane>,
    /// `next` of the page before: those behind this id.
    after: Option<MessageId>,
    /// Tasks in the page.
    #[serde(default = "page_default")]
    #[schemars(range(min = 1, max = TASK_PAGE_MAX))]
    limit: usize,
}

fn page_default() -> usize {
    MESSAGE_PAGE_DEFAULT
}

/// Tasks.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TaskList {
    /// In the order of their ids.
    tasks: Vec<TaskSummary>,
    /// Those among them that cannot be read, whatever the query asks for; they count for `limit`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableTask>,
    /// What to ask for as `after` for the next page; null at the end.
    next: Option<MessageId>,
}

/// A task that cannot be read: it is not sent, and can only be looked at in the store.
#[derive(Debug, Serialize, JsonSchema)]
struct UnreadableTask {
    /// The id of the scheduled message.
    id: MessageId,
    /// Why.
    problem: UnreadableWhy,
}

/// Why a task cannot be read.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UnreadableWhy {
    /// What is stored of it is damaged: it will not be sent.
    Damaged,
    /// A later version of the dispatcher wrote it, and sends it.
    NewerVersion,
}

/// A page of the caller's tasks.
pub(super) async fn tasks(
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let Query(ListQuery { state, lane, mut after, limit }) = query.map_err(|_| {
            Problem::query("the query may hold state, lane, after and limit, each once, with a value that it can have")
        })?;
        if !(1..=TASK_PAGE_MAX).contains(&limit) {
            return Err(Problem::query(format!("limit is {limit}, must be from 1 to {TASK_PAGE_MAX}")));
        }
        let (mut tasks, mut unreadable, mut looked_at) = (Vec::new(), Vec::new(), 0);
        while tasks.len() + unreadable.len() < limit && looked_at < TASKS_LOOKED_AT_MAX {
            let query = TaskQuery { app: caller.app.clone(), after: after.clone(), id: None, limit };
            let page = in_time(&api, api.given.schedule.tasks(query)).await.map_err(|e| Problem::store(&e))?;
            let (now_ms, whole) = ((api.given.wall)(), page.len() >= limit);
            looked_at += page.len();
            for found in page {
                if tasks.len() + unreadable.len() == limit {
                    return Ok(TaskList { tasks, unreadable, next: after });
                }
                after = Some(found.key().id.clone());
                let seen = match found {
                    Found::Task(seen) => seen,
                    Found::Unreadable(Unreadable { key, later }) => {
                        let problem = if later { UnreadableWhy::NewerVersion } else { UnreadableWhy::Damaged };
                        unreadable.push(UnreadableTask { id: key.id, problem });
                        continue;
                    }
                };
                let wanted = lane.is_none_or(|lane| lane == seen.task.head.lane)
                    && state.is_none_or(|state| state == TaskState::of(&seen, now_ms));
                if wanted {
                    let message = message::decode(&seen.task.body).ok();
                    tasks.push(TaskSummary::new(&seen, message.as_ref(), now_ms));
                }
            }
            if !whole {
                return Ok(TaskList { tasks, unreadable, next: None });
            }
        }
        Ok(TaskList { tasks, unreadable, next: after })
    };
    match answer.await {
        Ok(list) => Json(list).into_response(),
        Err(problem) => problem.into_response(),
    }
}
