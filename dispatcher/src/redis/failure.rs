//! Why commands were not run, and how callers are told.

use super::connection::ConnectionError;
use crate::seams::StoreError;

pub(super) const WHAT: &str = "redis";

/// Why commands were not run.
pub(super) enum Failure {
    Connection(ConnectionError),
    /// The server's words: a code, and mostly a text.
    Server(String),
    AuthenticationFailed,
    /// The password cannot be read.
    Password(String),
    /// Nobody says where the primary is; who was asked is in the text.
    NoPrimary(String),
}

impl Failure {
    /// What callers are told of a server.
    pub(super) fn told(&self, address: &str) -> StoreError {
        let detail = self.text(address);
        match self {
            Self::Server(text) if code_of(text) == "WRONGTYPE" => damaged(detail),
            _ => unavailable(detail),
        }
    }

    /// The same as a text.
    pub(super) fn text(&self, address: &str) -> String {
        match self {
            Self::Server(text) => match code_of(text) {
                "MOVED" | "ASK" | "CROSSSLOT" => {
                    format!("{address}: it is a cluster of several nodes: name some of them in redis.nodes ({text})")
                }
                "NOAUTH" | "WRONGPASS" => format!("{address}: authentication failed"),
                "NOPERM" => format!("{address}: the user lacks a permission ({text})"),
                _ if text.starts_with("ERR unknown command 'SCRIPT'") => {
                    format!("{address}: it is no server of data; a Sentinel is named in redis.sentinels ({text})")
                }
                _ => format!("{address}: {text}"),
            },
            Self::Connection(error) => format!("{address}: {error}"),
            Self::AuthenticationFailed => format!("{address}: authentication failed"),
            Self::Password(problem) | Self::NoPrimary(problem) => problem.clone(),
        }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

/// The code at the beginning of an error.
pub(super) fn code_of(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

pub(super) fn unavailable(detail: String) -> StoreError {
    StoreError::Unavailable { what: WHAT, detail }
}

pub(super) fn damaged(detail: String) -> StoreError {
    StoreError::Damaged { what: WHAT, detail }
}
