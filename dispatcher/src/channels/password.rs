//! The password of an account: given in the configuration, or in a file, which is read anew each time, for it may be replaced.

use std::{fs::File, io::Read, sync::Arc};

use pushgate_protocol::apps::Secret;

use super::config::AccountConfig;
use crate::limits::PASSWORD_BYTES_MAX;

/// Where the password is.
#[derive(Debug, Clone)]
pub(super) enum Password {
    None,
    Given(Secret),
    File(Arc<str>),
}

impl Password {
    /// That of an account, or what is wrong with it: a file must be there and hold one.
    pub(super) fn of(account: &AccountConfig) -> Result<Self, String> {
        match (&account.password, &account.password_file) {
            (Some(_), Some(_)) => Err("password and password_file are both set: keep one".into()),
            (Some(password), None) => Ok(Self::Given(password.clone())),
            (None, Some(path)) => {
                read(path).map_err(|problem| format!("password_file: {problem}"))?;
                Ok(Self::File(path.as_str().into()))
            }
            (None, None) => Ok(Self::None),
        }
    }

    /// The same where there must be one; `what` says which.
    pub(super) fn needed(account: &AccountConfig, what: &str) -> Result<Self, String> {
        match Self::of(account)? {
            Self::None => Err(format!("password or password_file is missing: {what}")),
            password => Ok(password),
        }
    }

    /// Whether there is none.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// What it is now; `None` if there is none.
    pub(super) async fn now(&self) -> Result<Option<Secret>, String> {
        match self {
            Self::None => Ok(None),
            Self::Given(password) => Ok(Some(password.clone())),
            Self::File(path) => {
                let path = Arc::clone(path);
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                let read = read.map_err(|_| "it was not read".to_owned()).and_then(|read| read);
                read.map(Some).map_err(|problem| format!("password_file: {problem}"))
            }
        }
    }
}

/// The password in a file, without the end of its line.
pub(crate) fn read(path: &str) -> Result<Secret, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let mut file = file.take(PASSWORD_BYTES_MAX as u64 + 1);
    file.read_to_string(&mut text).map_err(|error| format!("cannot read {path}: {error}"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    match password.len() {
        0 => Err(format!("{path} is empty")),
        bytes if bytes > PASSWORD_BYTES_MAX => Err(format!("{path} holds more than {PASSWORD_BYTES_MAX} bytes")),
        _ => Ok(Secret::new(password)),
    }
}
