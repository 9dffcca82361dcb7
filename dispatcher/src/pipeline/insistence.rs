//! Writing to stores until it works.
//!
//! Invariant: nothing holds it for ever. What a store refuses for good is found, told and given up, alone; the rest of its batch is written.

use std::{sync::Arc, time::Duration};

use tracing::error;

use crate::{
    clock,
    health::Health,
    limits,
    metrics::Metrics,
    seams::{BoxFuture, StoreError},
};

/// Whoever writes until it works.
pub(super) struct Insistence {
    /// Whose it is, in words.
    name: String,
    health: Arc<Health>,
    metrics: Metrics,
}

impl Insistence {
    pub(super) fn new(name: String, health: Arc<Health>, metrics: Metrics) -> Self {
        Self { name, health, metrics }
    }

    /// Writes all items. Of a batch that is refused for good the halves are written, down to the one that is to blame.
    pub(super) async fn write<'a, T: Clone, R>(
        &self,
        operation: &'static str,
        items: &[T],
        name: impl Fn(&T) -> String,
        attempt: impl Fn(Vec<T>) -> BoxFuture<'a, Result<R, StoreError>>,
    ) -> Vec<R> {
        let (mut parts, mut answers) = (vec![items], Vec::new());
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let refused = match self.until_answered(operation, || attempt(part.to_vec())).await {
                Ok(answer) => {
                    answers.push(answer);
                    continue;
                }
                Err(refused) => refused,
            };
            if let [item] = part {
                let what = name(item);
                error!(error = %refused, what, "cannot {operation}: given up, for trying again does not help");
                self.metrics.refused(operation);
            } else {
                let (first, second) = part.split_at(part.len() / 2);
                // The first half is taken next, so that the order stays.
                parts.extend([second, first]);
            }
        }
        answers
    }

    /// Repeats an attempt with backoff until it works or is refused for good; says so once per outage.
    pub(super) async fn until_answered<'a, R>(
        &self,
        operation: &'static str,
        attempt: impl Fn() -> BoxFuture<'a, Result<R, StoreError>>,
    ) -> Result<R, StoreError> {
        let mut wait_ms = limits::STORE_RETRY_FIRST_MS;
        let mut failing = None;
        loop {
            let answer = attempt().await;
            match &answer {
                Err(error) if error.retryable() => {
                    let what = failing.get_or_insert_with(|| format!("{operation} ({})", self.name));
                    self.health.failed(what, &error.to_string(), clock::unix_ms());
                    self.metrics.retried(operation);
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    wait_ms = (wait_ms * 2).min(limits::STORE_RETRY_MAX_MS);
                }
                Ok(_) | Err(_) => {
                    if let Some(what) = failing {
                        self.health.recovered(&what, clock::unix_ms());
                    }
                    return answer;
                }
            }
        }
    }
}
