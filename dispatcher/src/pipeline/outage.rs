//! Something of a lane's source that works or fails; said once when it changes, and to `/readyz`.

use crate::{clock, health::Health, seams::SourceError};

/// What was seen of it last.
pub(super) struct Outage {
    what: String,
    failing: bool,
}

impl Outage {
    /// It works, for all that is known.
    pub(super) fn of(what: String) -> Self {
        Self { what, failing: false }
    }

    /// It was tried.
    pub(super) fn seen(&mut self, health: &Health, error: Option<&SourceError>) {
        match error {
            Some(error) => health.failed(&self.what, &error.to_string(), clock::unix_ms()),
            None if self.failing => health.recovered(&self.what, clock::unix_ms()),
            None => {}
        }
        self.failing = error.is_some();
    }
}
