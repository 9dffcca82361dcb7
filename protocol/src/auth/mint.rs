//! Minting tokens with an app's own HS256 key: for `pushgate token`, for `dev`, for tests.

use serde::Serialize;

use super::{Apps, CALLER_AUDIENCE};
use crate::{
    apps::Scope,
    ids::{AppId, DeviceId, UserId},
    platform::Platform,
};

/// Why no token was minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The app is not configured.
    #[error("there is no app {app}")]
    UnknownApp {
        /// The app asked for.
        app: AppId,
    },
    /// It verifies tokens of others only.
    #[error("app {app} has no HS256 key in use; its tokens are made by whoever holds the private key")]
    NoSigningKey {
        /// The app.
        app: AppId,
    },
}

/// For whom a client's token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// `sub`.
    pub user: UserId,
    /// `dev`.
    pub device: Option<DeviceId>,
    /// `plat`.
    pub platform: Option<Platform>,
}

impl Apps {
    /// A client's token, valid for `ttl_s` seconds from `now_s` (Unix seconds).
    pub fn mint_client(
        &self,
        app: &AppId,
        identity: &ClientIdentity,
        ttl_s: u64,
        now_s: u64,
    ) -> Result<String, MintError> {
        #[derive(Serialize)]
        struct Claims<'a> {
            app: &'a AppId,
            sub: &'a UserId,
            #[serde(skip_serializing_if = "Option::is_none")]
            dev: Option<&'a DeviceId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            plat: Option<Platform>,
            iat: u64,
            exp: u64,
        }
        let claims = Claims {
            app,
            sub: &identity.user,
            dev: identity.device.as_ref(),
            plat: identity.platform,
            iat: now_s,
            exp: now_s.saturating_add(ttl_s),
        };
        self.sign(app, &claims, now_s)
    }

    /// A caller's token, valid for `ttl_s` seconds from `now_s` (Unix seconds).
    pub fn mint_caller(&self, app: &AppId, scopes: &[Scope], ttl_s: u64, now_s: u64) -> Result<String, MintError> {
        #[derive(Serialize)]
        struct Claims<'a> {
            app: &'a AppId,
            aud: &'static str,
            scope: String,
            iat: u64,
            exp: u64,
        }
        let claims = Claims {
            app,
            aud: CALLER_AUDIENCE,
            scope: scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" "),
            iat: now_s,
            exp: now_s.saturating_add(ttl_s),
        };
        self.sign(app, &claims, now_s)
    }

    fn sign<T: Serialize>(&self, app: &AppId, claims: &T, now_s: u64) -> Result<String, MintError> {
        let found = self.find(app.as_str()).ok_or_else(|| MintError::UnknownApp { app: app.clone() })?;
        found
            .keys
            .iter()
            .filter(|key| key.valid_at(now_s.saturating_mul(1_000)))
            .find_map(|key| key.sign(claims))
            .ok_or_else(|| MintError::NoSigningKey { app: app.clone() })
    }
}
