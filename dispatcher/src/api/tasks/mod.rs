//! `/v1/tasks`: what is scheduled, and changes of it.
//!
//! A change is made on the task as it was looked at: if it is another by then, because it was sent or somebody else changed it, it is looked at
//! and changed again. While an occurrence is being sent, the change stands at once, and whoever sends it goes on from there.

mod change;
mod edit;
mod list;
mod view;

use axum::{
    extract::{Path, rejection::PathRejection},
    http::{Method, StatusCode},
    routing::{delete, get, patch, post},
};
use pushgate_protocol::{
    apps::Scope,
    ids::{AppId, MessageId},
    limits::MESSAGE_BYTES_MAX,
};
use serde_json::{Map, Value, json};

pub(super) use self::change::cancel_scheduled;
use self::{
    list::TaskList,
    view::{TaskDetail, TaskState},
};
use super::{
    Api,
    accept::in_time,
    openapi::{EXAMPLE_ID, FORM, Operation, STORE},
    problem::Problem,
};
use crate::seams::{Found, Seen, TaskQuery, Unreadable};

const TAG: &str = "tasks";

/// How they are served and described.
pub(super) fn operations() -> Vec<Operation> {
    let shown = || view::example();
    let list = Operation::new((Method::GET, "/v1/tasks"), get(list::tasks), "listTasks", "What is scheduled")
        .detail(
            "In the order of ids. With filters a page may be short, or empty, and still have a `next`. A task that cannot be read is told \
             beside the others.",
        )
        .query::<list::ListQuery>()
        .answers::<TaskList>(200, "A page of tasks.", json!({ "tasks": [view::example_summary()], "next": null }));
    let show = Operation::new((Method::GET, PATH), get(view::task), "showTask", "A task with its latest occurrences")
        .answers::<TaskDetail>(200, "The task.", shown());
    let edit = Operation::new((Method::PATCH, PATH), patch(edit::task), "editTask", "Change a task")
        .detail(
            "The body is merged into the message (RFC 7396): `null` removes a field, `to`, `content` and `schedule` are merged field by \
             field. If the schedule changes, its times are counted anew from now.",
        )
        .body::<Map<String, Value>>(MESSAGE_BYTES_MAX, json!({ "content": { "title": "Good morning" } }))
        .answers::<TaskDetail>(200, "The task as it is now.", shown())
        .refuses(FORM)
        .refuses(&["newer_version", "not_supported", "task_ended"]);
    let cancel = Operation::new((Method::DELETE, PATH), delete(change::cancel), "cancelTask", "Cancel a task")
        .detail(
            "Nothing more of it is sent. May be repeated. What was sent is taken back by `DELETE /v1/messages/{id}`.",
        )
        .answers::<TaskDetail>(202, "It is cancelled.", shown())
        .refuses(&["task_ended"]);
    let act = |path, handler, id, summary, detail: &'static str| {
        Operation::new((Method::POST, path), handler, id, summary).detail(detail).answers::<TaskDetail>(
            202,
            "The task as it is now.",
            shown(),
        )
    };
    let pause = act(PAUSE, post(change::pause), "pauseTask", "Pause a task", "Its times pass without being sent.");
    let resume = act(
        RESUME,
        post(change::resume),
        "resumeTask",
        "Let a paused task go on",
        "With the first of its times to come; one that does not repeat is sent at once if its time has passed.",
    );
    let run = act(
        RUN,
        post(change::run),
        "runTask",
        "Send an occurrence of a task now",
        "Besides its schedule, which does not change. Also of one that is paused or has ended: that sends it again.",
    );
    // Each with an example of its own, so that trying one leaves the others' tasks alone.
    let with_id = [
        (show, EXAMPLE_ID),
        (edit, "weekly-report"),
        (cancel, "old-reminder"),
        (pause.refuses(&["task_ended"]), "newsletter"),
        (resume.refuses(&["task_ended"]), "happy-hour"),
        (run.refuses(&["task_content_gone"]), "stand-up"),
    ];
    let with_id = with_id
        .into_iter()
        .map(|(o, id)| o.path_id("The task: the id of the scheduled message.", id).refuses(&["task_unreadable"]));
    std::iter::once(list).chain(with_id).map(|o| o.tag(TAG).needs(Scope::Send).refuses(STORE)).collect()
}

const PATH: &str = "/v1/tasks/{id}";
const PAUSE: &str = "/v1/tasks/{id}/pause";
const RESUME: &str = "/v1/tasks/{id}/resume";
const RUN: &str = "/v1/tasks/{id}/run";

type IdPath = Result<Path<String>, PathRejection>;

fn id_of(path: IdPath) -> Result<MessageId, Problem> {
    path.ok().and_then(|Path(id)| MessageId::parse(&id).ok()).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::not_found("there is no task with this id, or no longer")
}

/// What is found under this id.
async fn find(api: &Api, app: &AppId, id: &MessageId) -> Result<Option<Found>, Problem> {
    let query = TaskQuery { app: app.clone(), after: None, id: Some(id.clone()), limit: 1 };
    let found = in_time(api, api.given.schedule.tasks(query)).await.map_err(|e| Problem::store(&e))?;
    Ok(found.into_iter().next())
}

/// The task of this id, which is there and can be read.
async fn look(api: &Api, app: &AppId, id: &MessageId) -> Result<Seen, Problem> {
    match find(api, app, id).await?.ok_or_else(unknown)? {
        Found::Task(seen) => Ok(seen),
        Found::Unreadable(Unreadable { later, .. }) => {
            let why = if later { "a later version wrote the task" } else { "what is stored of the task is damaged" };
            Err(Problem::new(409, "task_unreadable", why))
        }
    }
}

type Shown = (StatusCode, axum::Json<TaskDetail>);

fn detail(api: &Api, status: StatusCode, seen: &Seen) -> Shown {
    (status, axum::Json(TaskDetail::new(seen, (api.given.wall)(), &api.given.classes)))
}
