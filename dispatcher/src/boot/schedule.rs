//! Starting and stopping the loops of the schedule.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tracing::warn;

use crate::{
    limits,
    schedule::driver::{ScheduleLoop, ScheduleParts},
};

/// The loops at work.
pub(super) struct Schedule {
    stop: watch::Sender<bool>,
    loops: Vec<JoinHandle<()>>,
}

impl Schedule {
    /// Starts them on the current runtime.
    pub(super) fn start(parts: ScheduleParts) -> Self {
        let (stop, stopped) = watch::channel(false);
        let loops = ScheduleLoop::all(&parts).into_iter().map(|one| tokio::spawn(one.run(stopped.clone()))).collect();
        Self { stop, loops }
    }

    /// Whether one ended by itself, which only a bug does.
    pub(super) fn failed(&self) -> bool {
        self.loops.iter().any(JoinHandle::is_finished)
    }

    /// Waits a bounded time for what is claimed; what is not settled then comes again when its lease is over.
    pub(super) async fn shut_down(self) {
        self.stop.send_replace(true);
        for mut one in self.loops {
            if timeout(Duration::from_millis(limits::SHUTDOWN_FINISH_MS), &mut one).await.is_err() {
                one.abort();
                warn!("due tasks could not be settled in time: they come again");
            }
        }
    }
}
