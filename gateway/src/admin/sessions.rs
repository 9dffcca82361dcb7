//! Sessions of a user: listed, ended. The shard that owns the user answers.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use pushgate_protocol::{
    ids::{AppId, SessionId, ShardId, UserId},
    placement,
};
use serde::{Deserialize, Serialize};

use super::{Admin, problem};
use crate::{core::SessionView, limits, shard::Mail};

#[derive(Deserialize)]
pub(super) struct Whose {
    app: AppId,
    user: UserId,
}

#[derive(Serialize)]
struct Session {
    id: String,
    device: Option<String>,
    platform: Option<&'static str>,
    shard: u16,
    expires_ms: u64,
    silent_ms: u64,
    seq: u64,
    unacked: usize,
}

#[derive(Serialize)]
struct Sessions {
    sessions: Vec<Session>,
}

/// `GET /v1/sessions?app=&user=`
pub(super) async fn list(State(admin): State<Admin>, whose: Result<Query<Whose>, QueryRejection>) -> Response {
    let Query(Whose { app, user }) = match whose {
        Ok(whose) => whose,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let host = &admin.site.host;
    let shard = placement::shard_of(placement::user_hash(host.hash_seed, app.as_str(), user.as_str()), host.shards);
    match ask(&admin, shard, |reply| Mail::SessionsOf { app, user, reply }).await {
        Ok(views) => Json(Sessions { sessions: views.into_iter().map(Session::of).collect() }).into_response(),
        Err(answer) => answer,
    }
}

/// `DELETE /v1/sessions/{id}`
pub(super) async fn kick(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let session = match SessionId::parse(&id) {
        Ok(session) => session,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let none = || problem(StatusCode::NOT_FOUND, "this gateway has no such session");
    if session.boot != admin.site.host.boot || session.shard().0 >= admin.site.host.shards {
        return none();
    }
    match ask(&admin, session.shard(), |reply| Mail::Kick { session, reply }).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => none(),
        Err(answer) => answer,
    }
}

/// Asks a shard and waits for its answer.
async fn ask<T>(admin: &Admin, shard: ShardId, mail: impl FnOnce(flume::Sender<T>) -> Mail) -> Result<T, Response> {
    let (reply, replied) = flume::bounded(1);
    let busy = |_| problem(StatusCode::SERVICE_UNAVAILABLE, "the shard does not answer: try again");
    admin.site.mail[usize::from(shard.0)].send(mail(reply)).map_err(|_| busy(()))?;
    answered(&replied).await.ok_or_else(|| busy(()))
}

/// A shard's answer, if it comes in time.
async fn answered<T>(replied: &flume::Receiver<T>) -> Option<T> {
    let wait = tokio::time::timeout(Duration::from_millis(limits::ADMIN_REPLY_MS), replied.recv_async());
    wait.await.ok()?.ok()
}

impl Session {
    fn of(view: SessionView) -> Self {
        Self {
            id: view.id.to_string(),
            device: view.device.map(|d| d.to_string()),
            platform: view.platform.map(|p| p.as_str()),
            shard: view.id.shard().0,
            expires_ms: view.expires_ms,
            silent_ms: view.silent_ms,
            seq: view.seq,
            unacked: view.unacked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_does_not_answer_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (reply, replied) = flume::bounded(1);
        assert_eq!(runtime.block_on(answered(&replied)), None);
        reply.send(7).unwrap();
        assert_eq!(runtime.block_on(answered(&replied)), Some(7));
        drop(reply);
        assert_eq!(runtime.block_on(answered(&replied)), None, "it has ended");
    }
}
