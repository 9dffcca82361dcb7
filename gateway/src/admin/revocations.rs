//! Tokens that an operator revokes, and those that were.

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use pushgate_protocol::ids::{AppId, DeviceId, UserId};
use serde::{Deserialize, Serialize};

use super::{Admin, problem};
use crate::{
    limits::{REVOCATION_TTL_S, REVOCATION_TTL_S_MAX, TOKEN_ID_BYTES_MAX},
    revocation::Revocation,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    app: AppId,
    user: Option<UserId>,
    device: Option<DeviceId>,
    jti: Option<String>,
    /// Unix milliseconds; now, if it is left out.
    before_ms: Option<u64>,
    /// Seconds.
    ttl: Option<u64>,
}

#[derive(Serialize)]
struct Revoked {
    revocations: Vec<Revocation>,
}

/// `GET /v1/revocations`
pub(super) async fn list(State(admin): State<Admin>) -> Response {
    let now_ms = admin.site.clock.now().unix_ms;
    Json(Revoked { revocations: admin.site.revocations.list(now_ms) }).into_response()
}

/// `POST /v1/revocations`: in force when it is answered; sessions that stand end within seconds.
pub(super) async fn add(State(admin): State<Admin>, order: Result<Json<Order>, JsonRejection>) -> Response {
    let now_ms = admin.site.clock.now().unix_ms;
    let revocation = match order.map_err(|e| e.body_text()).and_then(|Json(order)| order.check(now_ms)) {
        Ok(revocation) => revocation,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, &detail),
    };
    if !admin.site.apps.current().contains(&revocation.app) {
        return problem(StatusCode::NOT_FOUND, "there is no such app");
    }
    match admin.site.revocations.add(revocation, now_ms) {
        Ok(in_force) => {
            let (app, user) = (in_force.app.as_str(), in_force.user.as_ref().map(|u| u.as_str()));
            let device = in_force.device.as_ref().map(|d| d.as_str());
            tracing::info!(
                app,
                user,
                device,
                before_ms = in_force.before_ms,
                until_ms = in_force.until_ms,
                "tokens revoked"
            );
            (StatusCode::CREATED, Json(in_force)).into_response()
        }
        Err(full) => problem(StatusCode::INSUFFICIENT_STORAGE, &full.to_string()),
    }
}

impl Order {
    fn check(self, now_ms: u64) -> Result<Revocation, String> {
        let ttl_s = self.ttl.unwrap_or(REVOCATION_TTL_S);
        if !(1..=REVOCATION_TTL_S_MAX).contains(&ttl_s) {
            return Err(format!("ttl is {ttl_s}, must be 1 to {REVOCATION_TTL_S_MAX} seconds"));
        }
        if self.device.is_some() && (self.user.is_none() || self.jti.is_some()) {
            return Err("device is one of a user's: it goes with user, and without jti".to_owned());
        }
        if let Some(jti) = &self.jti {
            if self.before_ms.is_some() {
                return Err("before_ms has no meaning with jti, which names one token".to_owned());
            }
            if jti.is_empty() || jti.len() > TOKEN_ID_BYTES_MAX {
                return Err(format!("jti has {} bytes, must have 1 to {TOKEN_ID_BYTES_MAX}", jti.len()));
            }
        }
        // What is in the future would refuse tokens that are not issued yet, those for coming back included.
        if let Some(before_ms) = self.before_ms.filter(|&before_ms| before_ms > now_ms) {
            return Err(format!("before_ms is {before_ms}, must not be in the future"));
        }
        let before_ms = if self.jti.is_some() { None } else { Some(self.before_ms.unwrap_or(now_ms)) };
        let until_ms = now_ms.saturating_add(ttl_s * 1_000);
        Ok(Revocation { app: self.app, user: self.user, device: self.device, jti: self.jti, before_ms, until_ms })
    }
}
