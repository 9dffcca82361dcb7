//! `PATCH /v1/tasks/{id}`

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use pushgate_protocol::{
    apps::Scope,
    limits::MESSAGE_BYTES_MAX,
    message::{self, Message},
};
use serde_json::{Map, Value};

use super::{
    super::{body, caller},
    Api, IdPath,
    change::{New, change},
    detail, id_of,
};
use crate::{
    api::problem::Problem,
    phones::{self, Region},
    schedule::changes::{self, ChangeError},
    seams::Task,
};

/// Merges the body into the task's message.
pub(super) async fn task(State(api): State<Api>, path: IdPath, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let id = id_of(path)?;
        let body = body::read(&api, &headers, body, MESSAGE_BYTES_MAX).await?;
        let patch: Value =
            serde_json::from_slice(&body.bytes).map_err(|e| Problem::new(400, "not_json", format!("not JSON: {e}")))?;
        let Value::Object(patch) = patch else {
            return Err(Problem::new(422, "wrong_type", "must be an object").at(""));
        };
        let seen =
            change(&api, &caller.app, &id, |task, now_ms| edited(task, &patch, now_ms, api.given.region)).await?;
        Ok::<_, Problem>(detail(&api, StatusCode::OK, &seen))
    };
    answer.await.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}

fn edited(
    task: &Task,
    patch: &Map<String, Value>,
    now_ms: u64,
    region: Option<Region>,
) -> Result<Option<New>, Problem> {
    if task.head.phase.is_end() {
        return Err(ChangeError::Ended.into());
    }
    let before = message::decode(&task.body)?;
    let mut json = serde_json::to_value(&before).unwrap_or_default();
    merge(&mut json, &Value::Object(patch.clone()));
    let mut after = message::decode(json.to_string().as_bytes())?;
    phones::normalize(&mut after, region)?;
    check(&before, &after)?;
    if after == before {
        return Ok(None);
    }
    let head = changes::edit(task, &after, now_ms)?;
    Ok(Some((head, Some(Bytes::from(after.encode())))))
}

/// A task stays the one it is.
fn check(before: &Message, after: &Message) -> Result<(), Problem> {
    let fixed = [("id", before.id == after.id), ("app", before.app == after.app)];
    for (field, same) in fixed {
        if !same {
            let detail = format!("{field} cannot be changed");
            return Err(Problem::new(422, "invalid_value", detail).at(format!("/{field}")));
        }
    }
    match &after.schedule {
        Some(_) => Ok(()),
        None => Err(Problem::new(422, "missing_field", "a task has a schedule: cancel it instead").at("/schedule")),
    }
}

/// RFC 7396. What is nested deeper than a message may be was refused when the body was parsed: the parser's bound is 128.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in fields {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
