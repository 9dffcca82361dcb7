//! What an account is told: checked once, before anything is sent.

use std::{fs::File, io::Read, sync::Arc, time::Duration};

use pushgate_protocol::apps::Secret;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::url::Url;
use crate::{
    channels::{
        config::AccountConfig,
        email::{mail::Sender, signing::Signing},
        trust,
    },
    core::smtp::opening::{Credentials, Mechanism, Security},
    limits,
};

/// A checked account.
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    /// `None` if it never encrypts, or trusts nobody.
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) sender: Sender,
    pub(super) signing: Signing,
    user: Option<String>,
    mechanism: Option<Mechanism>,
    password: Password,
    pub(super) open_for: Duration,
    pub(super) idle_for: Duration,
    pub(super) age: Duration,
    pub(super) messages_max: u32,
}

/// Where the password is.
#[derive(Debug, Clone)]
enum Password {
    None,
    Given(Secret),
    File(Arc<str>),
}

impl Settings {
    /// Those of an account, or what is wrong with them.
    pub(super) fn of(account: &AccountConfig) -> Result<Self, String> {
        let url = Url::parse(&account.url)?;
        let from = account.from.as_deref().ok_or("from is missing: who sends, like Shop <no-reply@example.org>")?;
        let sender = Sender::parse(from)
            .ok_or_else(|| format!("from is {from:?}, must be like Shop <no-reply@example.org>"))?;
        let password = match (&account.password, &account.password_file) {
            (Some(_), Some(_)) => return Err("password and password_file are both set: keep one".into()),
            (Some(password), None) => Password::Given(password.clone()),
            (None, Some(path)) => {
                read(path).map_err(|problem| format!("password_file: {problem}"))?;
                Password::File(path.as_str().into())
            }
            (None, None) => Password::None,
        };
        match (&url.user, &password) {
            (Some(_), Password::None) => return Err("url names a user: give password or password_file, too".into()),
            (None, Password::Given(_) | Password::File(_)) => {
                return Err("url names no user that the password is of: write it like smtp://user@host".into());
            }
            (Some(_), _) if url.security == Security::Never && !url.is_loopback() => {
                return Err("url has tls=never: a password would be seen by everyone on the way".into());
            }
            _ => {}
        }
        let tls = match url.security {
            Security::Never if account.ca_file.is_some() => {
                return Err("ca_file is set, and url has tls=never: leave one out".into());
            }
            Security::Never => None,
            _ => {
                let name = ServerName::try_from(url.host.clone()).map_err(|_| "url names no host that a certificate may be of".to_owned())?;
                trust::connector(account.ca_file.as_deref())?.map(|connector| (connector, name))
            }
        };
        let connection = account.connection;
        Ok(Self {
            host: url.host,
            port: url.port,
            security: url.security,
            tls,
            signing: Signing::of(account, &sender)?,
            sender,
            user: url.user,
            mechanism: url.mechanism,
            password,
            open_for: Duration::from_millis(connection.open_ms),
            idle_for: Duration::from_millis(connection.idle_ms),
            age: Duration::from_millis(connection.age_ms),
            messages_max: connection.messages_max,
        })
    }

    /// As whom it signs in.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// As whom to sign in, and how. A file is read anew: a token in it may have been replaced.
    pub(super) async fn credentials(&self) -> Result<Option<Credentials>, String> {
        let Some(user) = self.user.clone() else { return Ok(None) };
        let password = match &self.password {
            Password::None => return Ok(None),
            Password::Given(password) => password.clone(),
            Password::File(path) => {
                let path = Arc::clone(path);
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                read.map_err(|_| "it was not read".to_owned()).and_then(|read| read).map_err(|e| format!("password_file: {e}"))?
            }
        };
        Ok(Some(Credentials { user, password, mechanism: self.mechanism }))
    }
}

/// The password in a file, without the end of its line.
fn read(path: &str) -> Result<Secret, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let mut file = file.take(limits::PASSWORD_BYTES_MAX as u64 + 1);
    file.read_to_string(&mut text).map_err(|error| format!("cannot read {path}: {error}"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    match password.len() {
        0 => Err(format!("{path} is empty")),
        bytes if bytes > limits::PASSWORD_BYTES_MAX => {
            Err(format!("{path} holds more than {} bytes", limits::PASSWORD_BYTES_MAX))
        }
        _ => Ok(Secret::new(password)),
    }
}
