//! The marker: before anything else is done with what providers took, its deliveries are marked, many at a time; then it goes on to the finisher.
//!
//! It waits for no state and no result, so that whoever takes over from a process that was killed knows soon what that one sent. What was taken
//! and not yet marked stands in the [`Journal`]: of what an earlier process left there the marks are written first.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::info;

use super::{finisher::Finished, insistence::Insistence};
use crate::{
    channels::journal::Journal,
    clock,
    core::account::Noted,
    health::Health,
    limits,
    metrics::Metrics,
    seams::{Mark, MarkQuery, StreamOp, Streams},
};

/// What a marker works with.
pub struct MarkerParts {
    /// Where it learns what ended.
    pub ended: mpsc::UnboundedReceiver<Finished>,
    /// Where that goes once what was taken is marked.
    pub marked: mpsc::UnboundedSender<Finished>,
    /// Where marks are kept.
    pub streams: Arc<dyn Streams>,
    /// Where it was noted before.
    pub journal: Arc<Journal>,
    /// Told when the store fails.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: Metrics,
}

/// Runs until every sender of `ended` is gone and all is marked.
pub struct Marker {
    parts: MarkerParts,
    store: Insistence,
}

impl Marker {
    /// A marker.
    pub fn new(parts: MarkerParts) -> Self {
        let store = Insistence::new("channels".into(), Arc::clone(&parts.health), parts.metrics.clone());
        Self { parts, store }
    }

    /// Runs it.
    pub async fn run(mut self) {
        self.recover().await;
        let mut batch = Vec::new();
        while self.parts.ended.recv_many(&mut batch, limits::FINISH_BATCH).await > 0 {
            let (mut marks, mut noted) = (Vec::new(), Vec::new());
            for ended in &mut batch {
                if let Finished::Over(over) = ended {
                    marks.extend(over.mark.take_if(|mark| is_taken(mark)));
                    noted.extend(over.noted);
                }
            }
            self.mark(&marks).await;
            noted.into_iter().for_each(|noted: Noted| self.parts.journal.marked(noted));
            for ended in batch.drain(..) {
                // Without a finisher the process is going down and the records come again.
                let _ = self.parts.marked.send(ended);
            }
        }
    }

    /// Marks what an earlier process left.
    async fn recover(&self) {
        for mut left in self.parts.journal.left() {
            let taken = left.read();
            for some in taken.chunks(limits::FINISH_BATCH) {
                let marks: Vec<_> = some.iter().cloned().map(mark).collect();
                self.mark(&marks).await;
            }
            if !taken.is_empty() {
                info!(deliveries = taken.len(), "what providers took before a process was killed is marked");
            }
            left.remove();
        }
        self.parts.journal.recover();
    }

    async fn mark(&self, marks: &[StreamOp]) {
        let name = |op: &StreamOp| format!("the mark of a delivery to {}", op.user().user);
        let apply = |all| self.parts.streams.apply(all, clock::unix_ms());
        self.store.write("mark deliveries", marks, name, apply).await;
    }
}

fn mark(MarkQuery { user, key }: MarkQuery) -> StreamOp {
    StreamOp::Settle { user, key, mark: Mark::Delivered }
}

fn is_taken(mark: &StreamOp) -> bool {
    matches!(mark, StreamOp::Settle { mark: Mark::Delivered, .. })
}

#[cfg(test)]
mod tests;
