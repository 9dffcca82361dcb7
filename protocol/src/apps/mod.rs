//! Apps: the tenants, as they are configured and as they are checked.
//!
//! An [`AppConfig`] is what a configuration file says. [`AppConfig::resolve`] turns it, with the contents of the files
//! that it names (read by the caller), into an [`App`]: every key parsed, every text checked. What exists as an `App`
//! is valid. The registry of all apps is [`crate::auth::Apps`].

mod config;
mod key;
mod rate;
mod secret;
mod webhook;

use ring::hmac;

pub use self::{
    config::{Algorithm, AppConfig, AppKeyConfig, AppSecretConfig, KeyKind, Scope},
    key::Key,
    rate::{Rate, RateConfig},
    secret::Secret,
    webhook::{Webhook, WebhookConfig},
};
use crate::ids::AppId;

/// A tenant whose keys and secrets are ready for use.
#[derive(Debug, Clone)]
pub struct App {
    pub(crate) id: AppId,
    pub(crate) secrets: Vec<CallerSecret>,
    pub(crate) keys: Vec<Key>,
    pub(crate) rate: Option<Rate>,
    pub(crate) webhook: Option<Webhook>,
}

impl App {
    /// Its id.
    pub fn id(&self) -> &AppId {
        &self.id
    }
}

/// A caller's secret. Only its digest is kept.
#[derive(Debug, Clone)]
pub(crate) struct CallerSecret {
    digest: SecretDigest,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) expires_ms: Option<u64>,
}

impl CallerSecret {
    pub(crate) fn matches(&self, presented: &str) -> bool {
        self.digest.matches(presented)
    }
}

/// HMAC-SHA-256 of a secret under a fixed label. `ring::hmac::verify` is the constant-time comparison of digests that
/// `ring` offers to others; the key adds nothing and need not be secret.
#[derive(Clone)]
pub(crate) struct SecretDigest(hmac::Tag);

impl SecretDigest {
    pub(crate) fn of(secret: &str) -> Self {
        Self(hmac::sign(&label(), secret.as_bytes()))
    }

    pub(crate) fn matches(&self, presented: &str) -> bool {
        hmac::verify(&label(), presented.as_bytes(), self.0.as_ref()).is_ok()
    }
}

impl std::fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

fn label() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, b"pushgate caller secret")
}

/// Why apps cannot be used as configured. Each names the app and the key, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppsError {
    /// Two apps have one id.
    #[error("app {app} is configured twice")]
    Twice {
        /// The app.
        app: AppId,
    },
    /// A colon in the id would end it in `appId:secret`.
    #[error("app {app} has secrets, so its id must not contain a colon")]
    Colon {
        /// The app.
        app: AppId,
    },
    /// The name stands for what is no app's.
    #[error("app {app}: this name is reserved")]
    Reserved {
        /// The app.
        app: AppId,
    },
    /// More keys or secrets than are tried.
    #[error("app {app} has {count} {what}, at most {max} are allowed")]
    TooMany {
        /// The app.
        app: AppId,
        /// `keys` or `secrets`.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// An entry is wrong.
    #[error("app {app}, {entry}: {problem}")]
    Entry {
        /// The app.
        app: AppId,
        /// `keys[0]` or `secrets[1]`.
        entry: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}
