//! Who is calling: tokens of clients on `/v1/ws`, secrets and tokens of callers on REST.
//!
//! Pure: the time comes in as an argument. A token is checked by the key of its app, and by the algorithm of that key;
//! what the token's header says of the algorithm is compared, never followed.

mod error;
mod files;
mod mint;
mod serving;
mod token;

use base64::{Engine, engine::general_purpose::STANDARD};

use self::token::{Claims, Token};
pub use self::{
    error::AuthError,
    files::{AppsFiles, Look, ReadFile},
    mint::{ClientIdentity, MintError},
    serving::{AppsReader, SharedApps, StaleKeys},
};
use crate::{
    apps::{App, AppsError, Rate, Scope, Webhook},
    ids::{AppId, DeviceId, IdError, UserId},
    platform::Platform,
};

/// `aud` of a caller's token.
pub const CALLER_AUDIENCE: &str = "pushgate-api";
/// `aud` of a client's token, if it has one.
pub const CLIENT_AUDIENCE: &str = "pushgate";

/// All apps, ready to check tokens and secrets. Replaced as a whole when keys change, see [`SharedApps`].
#[derive(Debug, Clone, Default)]
pub struct Apps {
    /// Ordered by id.
    apps: Vec<App>,
}

/// What a client's token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientClaims {
    /// Its app.
    pub app: AppId,
    /// `sub`.
    pub user: UserId,
    /// `dev`.
    pub device: Option<DeviceId>,
    /// `plat`.
    pub platform: Option<Platform>,
    /// `exp`, Unix milliseconds. May lie up to [`crate::limits::TOKEN_LEEWAY_S`] in the past.
    pub expires_ms: u64,
    /// `iat`, Unix seconds; 0 if it does not say.
    pub issued_s: u64,
    /// `jti`.
    pub token_id: Option<String>,
}

/// A caller of REST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose messages it sends and sees.
    pub app: AppId,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Caller {
    /// Fails unless the caller may do this. `admin` may do everything.
    pub fn require(&self, scope: Scope) -> Result<(), AuthError> {
        let covers =
            |held: Scope| held == scope || held == Scope::Admin || (held == Scope::Send && scope == Scope::Report);
        match self.scopes.iter().any(|held| covers(*held)) {
            true => Ok(()),
            false => Err(AuthError::Scope { needed: scope }),
        }
    }
}

impl Apps {
    /// The registry of these apps. No two may have one id.
    pub fn new(mut apps: Vec<App>) -> Result<Self, AppsError> {
        apps.sort_by(|a, b| a.id.cmp(&b.id));
        match apps.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(AppsError::Twice { app: pair[0].id.clone() }),
            None => Ok(Self { apps }),
        }
    }

    /// Puts an app in the place of the one with its id.
    fn put(&mut self, app: App) {
        if let Ok(at) = self.apps.binary_search_by(|known| known.id.cmp(&app.id)) {
            self.apps[at] = app;
        }
    }

    /// Ids of all apps, in order.
    pub fn ids(&self) -> impl Iterator<Item = &AppId> {
        self.apps.iter().map(|app| &app.id)
    }

    /// How fast the app may call.
    pub fn rate(&self, app: &AppId) -> Option<Rate> {
        self.find(app.as_str())?.rate
    }

    /// Where the results of the app are posted.
    pub fn webhook(&self, app: &AppId) -> Option<&Webhook> {
        self.find(app.as_str())?.webhook.as_ref()
    }

    /// Whether this app is configured.
    pub fn contains(&self, app: &AppId) -> bool {
        self.find(app.as_str()).is_some()
    }

    /// The only app, if there is just one.
    pub fn only(&self) -> Option<&AppId> {
        self.only_app().map(|app| &app.id)
    }

    /// Checks a client's token, as presented on `/v1/ws`, at `now_s` (Unix seconds).
    pub fn client(&self, token: &str, now_s: u64) -> Result<ClientClaims, AuthError> {
        let mut decoded = Vec::new();
        let (app, claims) = self.verified(token, &mut decoded, now_s)?;
        if claims.aud.contains(CALLER_AUDIENCE) {
            return Err(AuthError::CallerToken);
        }
        if !claims.aud.is_empty() && !claims.aud.contains(CLIENT_AUDIENCE) {
            return Err(AuthError::Claim { claim: "aud", problem: "is for another service".into() });
        }
        let user = claims.sub.as_deref().ok_or(AuthError::Claim { claim: "sub", problem: "is missing".into() })?;
        let platform =
            match claims.plat.as_deref() {
                None => None,
                Some(text) => Some(Platform::parse(text).ok_or_else(|| AuthError::Claim {
                    claim: "plat",
                    problem: "is none of ios, android, web".into(),
                })?),
            };
        Ok(ClientClaims {
            app: app.id.clone(),
            user: user_of(user)?,
            device: claims.dev.as_deref().map(DeviceId::parse).transpose().map_err(|e| AuthError::claim("dev", &e))?,
            platform,
            expires_ms: claims.expires_ms(),
            issued_s: claims.issued_s(),
            token_id: claims.jti.as_deref().map(str::to_owned),
        })
    }

    /// Checks the `Authorization` header of a REST call, at `now_s` (Unix seconds).
    pub fn caller(&self, authorization: Option<&str>, now_s: u64) -> Result<Caller, AuthError> {
        let header = authorization.ok_or(AuthError::Missing)?;
        let (scheme, value) = header.split_once(' ').ok_or(AuthError::Scheme)?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            return self.caller_by_secret(value, now_s);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Scheme);
        }
        let mut decoded = Vec::new();
        let (app, claims) = self.verified(value, &mut decoded, now_s)?;
        if !claims.aud.contains(CALLER_AUDIENCE) {
            return Err(AuthError::ClientToken);
        }
        let scopes = claims.scope.words().filter_map(Scope::parse).collect();
        Ok(Caller { app: app.id.clone(), scopes })
    }

    /// RFC 7617: base64 of `appId:secret`.
    fn caller_by_secret(&self, value: &str, now_s: u64) -> Result<Caller, AuthError> {
        let bytes = STANDARD.decode(value).map_err(|_| AuthError::Basic)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| AuthError::Basic)?;
        let (app, presented) = text.split_once(':').ok_or(AuthError::Basic)?;
        let app = self.find(app).ok_or(AuthError::Secret)?;
        // Every secret is compared, so that the time tells nothing of which one came close.
        let mut found = None;
        for secret in &app.secrets {
            if secret.matches(presented) {
                found = Some(secret);
            }
        }
        let secret = found.ok_or(AuthError::Secret)?;
        if secret.expires_ms.is_some_and(|end| now_s.saturating_mul(1_000) >= end) {
            return Err(AuthError::SecretExpired);
        }
        Ok(Caller { app: app.id.clone(), scopes: secret.scopes.clone() })
    }

    /// The app whose key signed the token, and the token's claims, their times checked; they lie in `decoded`.
    fn verified<'b>(&self, text: &str, decoded: &'b mut Vec<u8>, now_s: u64) -> Result<(&App, Claims<'b>), AuthError> {
        let token = Token::parse(text, decoded)?;
        let app = match &token.claims.app {
            Some(id) => self.find(id).ok_or(AuthError::UnknownApp)?,
            None => self.only_app().ok_or(AuthError::Claim { claim: "app", problem: "is missing".into() })?,
        };
        token.verify(&app.keys, now_s)?;
        token.claims.check_times(now_s)?;
        Ok((app, token.claims))
    }

    fn find(&self, id: &str) -> Option<&App> {
        self.apps.binary_search_by(|app| app.id.as_str().cmp(id)).ok().map(|at| &self.apps[at])
    }

    fn only_app(&self) -> Option<&App> {
        match self.apps.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// A client's user: not the name that stands for everyone.
fn user_of(sub: &str) -> Result<UserId, AuthError> {
    match UserId::parse(sub) {
        Ok(user) if user.is_everyone() => {
            let form = "a user's own name: * stands for everyone";
            Err(AuthError::claim("sub", &IdError::Form { kind: "user", form }))
        }
        Ok(user) => Ok(user),
        Err(error) => Err(AuthError::claim("sub", &error)),
    }
}

#[cfg(test)]
mod tests;
