//! The finisher: what ended is written to the MessageStore, then published, then settled; in batches, in order, again and
//! again until it works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::shares::lane_of;
use crate::{
    core::worker::{self, Token},
    limits,
    seams::{DeadRecord, MessageStore, ResultSink, StateChange, StoreError},
};

/// Something that ended, and the share it settles.
#[derive(Debug)]
pub enum Finished {
    /// A recipient entered a state.
    State(worker::Finished),
    /// A record that cannot be processed.
    Dead {
        /// The dead letter.
        record: DeadRecord,
        /// Its only share.
        token: Token,
    },
}

/// What a finisher works with.
pub struct FinisherParts {
    /// Where it learns what ended.
    pub finished: mpsc::UnboundedReceiver<Finished>,
    /// Where states are kept.
    pub messages: Arc<dyn MessageStore>,
    /// Where results go.
    pub results: Arc<dyn ResultSink>,
    /// Ended deliveries on their way here; lowered once they are settled.
    pub backlog: Arc<AtomicUsize>,
    /// Where settlements go, per lane.
    pub settled: [std::sync::mpsc::Sender<Token>; 3],
}

/// Runs until every sender of `finished` is gone and all is settled.
pub struct Finisher {
    parts: FinisherParts,
}

impl Finisher {
    /// A finisher.
    pub fn new(parts: FinisherParts) -> Self {
        Self { parts }
    }

    /// Runs it.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(limits::FINISH_BATCH);
        while self.parts.finished.recv_many(&mut batch, limits::FINISH_BATCH).await > 0 {
            self.finish(&mut batch).await;
        }
    }

    async fn finish(&self, batch: &mut Vec<Finished>) {
        let (mut changes, mut records) = (Vec::new(), Vec::new());
        let (mut dead, mut tokens) = (Vec::new(), Vec::new());
        for finished in batch.drain(..) {
            match finished {
                Finished::State(state) => {
                    changes.push(change(&state));
                    records.push(state.record);
                    tokens.extend(state.token);
                }
                Finished::Dead { record, token } => {
                    dead.push(record);
                    tokens.push(token);
                }
            }
        }
        let ended = records.len();
        if !records.is_empty() {
            until_done("record message states", || self.parts.messages.record(changes.clone())).await;
            until_done("publish results", || self.parts.results.publish(records.clone())).await;
        }
        if !dead.is_empty() {
            until_done("write dead letters", || self.parts.results.bury(dead.clone())).await;
        }
        for token in tokens {
            if let Some(lane) = self.parts.settled.get(lane_of(token)) {
                // A lane that is gone commits nothing more: its records come again.
                let _ = lane.send(token);
            }
        }
        self.parts.backlog.fetch_sub(ended, Ordering::Relaxed);
    }
}

fn change(state: &worker::Finished) -> StateChange {
    let record = &state.record;
    StateChange {
        app: record.app.clone(),
        message: record.message.clone(),
        recipient: state.recipient.clone(),
        channel: record.channel,
        state: record.state,
        reason: record.reason.clone(),
        time_ms: record.time_ms,
    }
}

/// Repeats a batch with backoff until it works; says so once per outage.
async fn until_done<'a, F>(what: &str, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<(), StoreError>> + 'a,
{
    let mut wait_ms = limits::STORE_RETRY_FIRST_MS;
    let mut failed = false;
    loop {
        match attempt().await {
            Ok(()) => {
                if failed {
                    info!("{what}: works again");
                }
                return;
            }
            Err(error) => {
                if !failed {
                    warn!(%error, "cannot {what}; trying again until it works");
                    failed = true;
                }
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(limits::STORE_RETRY_MAX_MS);
            }
        }
    }
}
