//! The marker: before anything else is done with what providers took, its deliveries are marked, many at a time; then it goes on to the finisher.
//!
//! It waits for no state and no result, so that whoever takes over from a process that was killed knows soon what that one sent. What was taken,
//! or may have been, and is not yet marked stands in the [`Journal`]: of what an earlier process left there the marks are written first. Other
//! processes that share the folder may be killed later: it looks for what they left now and then, so that it is marked before their partitions
//! are another's.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
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
        self.take_over().await;
        self.parts.journal.recover();
        let (look_every, mut batch) = (Duration::from_millis(limits::JOURNAL_LOOK_MS), Vec::new());
        let (mut looks, mut rested) = (Instant::now() + look_every, Instant::now());
        loop {
            tokio::select! {
                ended = self.parts.ended.recv_many(&mut batch, limits::FINISH_BATCH) => if ended == 0 { return },
                () = sleep_until(looks) => {
                    self.take_over().await;
                    looks = Instant::now() + look_every;
                }
            }
            if !batch.is_empty() {
                sleep_until(rested).await;
                while batch.len() < limits::FINISH_BATCH
                    && let Ok(next) = self.parts.ended.try_recv()
                {
                    batch.push(next);
                }
                rested = Instant::now() + Duration::from_millis(limits::MARK_EVERY_MS);
            }
            let (mut marks, mut noted) = (Vec::new(), Vec::new());
            for ended in &mut batch {
                if let Finished::Over(over) = ended {
                    marks.extend(over.mark.take_if(|mark| may_be_sent(mark)));
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

    /// Marks what processes left that were killed.
    async fn take_over(&self) {
        for mut left in self.parts.journal.left() {
            let noted = left.read();
            for some in noted.chunks(limits::FINISH_BATCH) {
                let marks: Vec<_> = some.iter().cloned().map(settle).collect();
                self.mark(&marks).await;
            }
            if !noted.is_empty() {
                let unknown = noted.iter().filter(|(_, mark)| *mark == Mark::Unknown).count();
                info!(
                    taken = noted.len() - unknown,
                    unknown, "what providers took, or may have, before a process was killed is marked"
                );
            }
            self.parts.journal.done_with(left);
        }
    }

    async fn mark(&self, marks: &[StreamOp]) {
        let name = |op: &StreamOp| format!("the mark of a delivery to {}", op.user().user);
        let apply = |all| self.parts.streams.apply(all, clock::unix_ms());
        self.store.write("mark deliveries", marks, name, apply).await;
    }
}

fn settle((MarkQuery { user, key }, mark): (MarkQuery, Mark)) -> StreamOp {
    StreamOp::Mark { user, key, mark }
}

fn may_be_sent(mark: &StreamOp) -> bool {
    matches!(mark, StreamOp::Mark { mark: Mark::Delivered | Mark::Unknown, .. })
}

#[cfg(test)]
mod tests;
