//! When a store that failed is asked again.

use crate::limits::{STORE_RETRY_FIRST_MS, STORE_RETRY_MAX_MS};

/// Doubles from [`STORE_RETRY_FIRST_MS`] to [`STORE_RETRY_MAX_MS`]. No jitter: a worker has one request of a kind under way.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Backoff {
    pause_ms: u64,
    until_ms: u64,
}

impl Backoff {
    pub(super) fn fail(&mut self, now_ms: u64) {
        self.pause_ms = (self.pause_ms * 2).clamp(STORE_RETRY_FIRST_MS, STORE_RETRY_MAX_MS);
        self.until_ms = now_ms + self.pause_ms;
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn ready(&self, now_ms: u64) -> bool {
        now_ms >= self.until_ms
    }

    pub(super) fn until(&self) -> Option<u64> {
        (self.pause_ms > 0).then_some(self.until_ms)
    }
}
