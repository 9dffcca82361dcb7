//! What an account is told: checked once, before anything is sent.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::url::Url;
use crate::{
    channels::{
        config::AccountConfig,
        email::{mail::Sender, signing::Signing},
        password::Password,
        trust,
    },
    core::smtp::opening::{Credentials, Mechanism, Security},
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

impl Settings {
    /// Those of an account, or what is wrong with them.
    pub(super) fn of(account: &AccountConfig) -> Result<Self, String> {
        let url = Url::parse(&account.url)?;
        let from = account.from.as_deref().ok_or("from is missing: who sends, like Shop <no-reply@example.org>")?;
        let sender =
            Sender::parse(from).ok_or_else(|| format!("from is {from:?}, must be like Shop <no-reply@example.org>"))?;
        let password = Password::of(account)?;
        match (&url.user, password.is_none()) {
            (Some(_), true) => return Err("url names a user: give password or password_file, too".into()),
            (None, false) => {
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
                let name = ServerName::try_from(url.host.clone())
                    .map_err(|_| "url names no host that a certificate may be of".to_owned())?;
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
        let password = self.password.now().await?;
        Ok(password.map(|password| Credentials { user, password, mechanism: self.mechanism }))
    }
}
