//! What is to come again: into the schedule, before its share is settled.

use tracing::error;

use super::Finisher;
use crate::{
    core::{account::Later, worker},
    seams::{DeadRecord, Task},
};

impl Finisher {
    /// Puts what is to come again into the schedule; what that refuses for good is a dead letter. Answers the states to record.
    pub(super) async fn again(&self, laters: Vec<Later>, dead: &mut Vec<DeadRecord>) -> Vec<worker::Finished> {
        if laters.is_empty() {
            return Vec::new();
        }
        let add =
            |tasks: Vec<Task>| self.stores.until_answered("add tasks", move || self.parts.schedule.add(tasks.clone()));
        let together = add(laters.iter().map(|later| later.task.clone()).collect()).await.is_ok();
        let mut states = Vec::new();
        for later in laters {
            // One of a batch that was refused is to blame: each alone.
            let refused = if together { None } else { add(vec![later.task.clone()]).await.err() };
            match refused {
                None => {
                    self.parts.wakers.added(later.task.key.shard(), later.task.head.due_ms);
                    states.extend(later.state);
                }
                Some(refused) => {
                    error!(error = %refused, origin = %later.dead.origin, "cannot keep what is to be tried again: a dead letter");
                    self.parts.metrics.refused("add tasks");
                    dead.push(DeadRecord { reason: refused.to_string(), ..later.dead });
                }
            }
        }
        states
    }
}
