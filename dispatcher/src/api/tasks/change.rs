//! Pause, resume, run, cancel; and how every change is made.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use pushgate_protocol::{
    apps::Scope,
    ids::{AppId, MessageId},
    message, result,
};

use super::{
    super::{accept::in_time, caller},
    Api, IdPath, detail, find, id_of, look, unknown,
};
use crate::{
    api::problem::Problem,
    limits::{ENDED_BODY_BYTES_MAX, TASK_CHANGE_ATTEMPTS},
    schedule::{
        announce,
        changes::{self, ChangeError},
        firing::standing,
    },
    seams::{Change, Changed, Found, Seen, Standing, Task, TaskHead},
};

/// What a task is to become: its head, and its body if that changes.
pub(super) type New = (TaskHead, Option<Bytes>);

/// `POST /v1/tasks/{id}/pause`
pub(super) async fn pause(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Response {
    act(&api, path, &headers, |task, _| changes::pause(task)).await
}

/// `POST /v1/tasks/{id}/resume`
pub(super) async fn resume(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Response {
    act(&api, path, &headers, changes::resume).await
}

/// `POST /v1/tasks/{id}/run`
pub(super) async fn run(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Response {
    act(&api, path, &headers, changes::run).await
}

/// `DELETE /v1/tasks/{id}`
pub(super) async fn cancel(State(api): State<Api>, path: IdPath, headers: HeaderMap) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let seen = cancel_task(&api, &caller.app, &id_of(path)?).await?;
        Ok::<_, Problem>(detail(&api, StatusCode::ACCEPTED, &seen))
    };
    answer.await.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}

/// Cancels the task of a message that is taken back, if there is one that goes on. One that is damaged is sent by nobody.
pub(in crate::api) async fn cancel_scheduled(api: &Api, app: &AppId, id: &MessageId) -> Result<(), Problem> {
    match find(api, app, id).await? {
        Some(Found::Task(seen)) if !seen.task.head.phase.is_end() => cancel_task(api, app, id).await.map(drop),
        Some(Found::Unreadable(unreadable)) if unreadable.later => look(api, app, id).await.map(drop),
        _ => Ok(()),
    }
}

async fn cancel_task(api: &Api, app: &AppId, id: &MessageId) -> Result<Seen, Problem> {
    let seen = change(api, app, id, |task, _| Ok(changes::cancel(task)?.map(|head| (head, None)))).await?;
    // Also if it was cancelled before: whoever asked then may not have come to this.
    if let Ok(message) = message::decode(&seen.task.body) {
        let now_ms = (api.given.clock)();
        let results = announce::results(&seen.task, &message, result::State::Recalled, None, now_ms);
        in_time(api, api.given.announcer.tell(results)).await.map_err(|e| Problem::store(&e))?;
    }
    Ok(seen)
}

async fn act(
    api: &Api,
    path: IdPath,
    headers: &HeaderMap,
    new: impl Fn(&Task, u64) -> Result<Option<TaskHead>, ChangeError>,
) -> Response {
    let answer = async {
        let caller = caller::check(api, headers, Scope::Send)?;
        let new = |task: &Task, now_ms| Ok(new(task, now_ms)?.map(|head| (head, None)));
        let seen = change(api, &caller.app, &id_of(path)?, new).await?;
        Ok::<_, Problem>(detail(api, StatusCode::ACCEPTED, &seen))
    };
    answer.await.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}

/// Makes a change on the task as it is: what `new` makes of it, if anything.
pub(super) async fn change(
    api: &Api,
    app: &AppId,
    id: &MessageId,
    new: impl Fn(&Task, u64) -> Result<Option<New>, Problem>,
) -> Result<Seen, Problem> {
    for _ in 0..TASK_CHANGE_ATTEMPTS {
        let mut seen = look(api, app, id).await?;
        let Some((mut head, body)) = new(&seen.task, (api.given.wall)())? else { return Ok(seen) };
        head.revision = seen.task.head.revision + 1;
        let standing = standing(&head, keeps_body(api, body.as_ref().unwrap_or(&seen.task.body)));
        let key = seen.task.key.clone();
        let change = Change { key, head: head.clone(), body: body.clone(), standing };
        let changed = in_time(api, api.given.schedule.change(change)).await.map_err(|e| Problem::store(&e))?;
        match changed {
            Changed::Unknown => return Err(unknown()),
            Changed::Conflict => {}
            Changed::Done => {
                if let Standing::Due(due_ms) = standing {
                    api.given.wakers.added(seen.task.key.shard(), due_ms);
                }
                seen.task.head = head;
                seen.task.body = body.unwrap_or(seen.task.body);
                return Ok(seen);
            }
        }
    }
    Err(Problem::overloaded("the task changes all the time, try again"))
}

fn keeps_body(api: &Api, body: &Bytes) -> bool {
    let redacted = || message::decode(body).is_ok_and(|message| api.given.classes.redacts(message.class));
    body.len() <= ENDED_BODY_BYTES_MAX && !redacted()
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Ended => Self::new(409, "task_ended", error.to_string()),
            ChangeError::Gone => Self::new(409, "task_content_gone", error.to_string()),
            ChangeError::Message(error) => error.into(),
        }
    }
}
