//! What ends a server: Ctrl-C, SIGTERM, a drain that was asked for elsewhere, or a part of it that failed. SIGHUP lets it
//! read files again.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{failure::Failure, limits};

/// SIGINT, SIGTERM and SIGHUP, heard from now on.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to hear them.
    pub fn listen() -> Result<Self, Failure> {
        let unheard = |error: std::io::Error| Failure::new(format!("cannot listen for signals: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(unheard)?,
            terminate: signal(SignalKind::terminate()).map_err(unheard)?,
            hangup: signal(SignalKind::hangup()).map_err(unheard)?,
        })
    }

    /// Waits for a signal to end, or until `leaving` says that the server leaves anyway, and calls `reload` at each SIGHUP; fails
    /// as soon as `failed` says that a part ended by itself.
    pub async fn wait(
        &mut self,
        failed: impl Fn() -> bool,
        leaving: impl Fn() -> bool,
        reload: impl Fn(),
    ) -> Result<(), Failure> {
        let mut look = tokio::time::interval(Duration::from_millis(limits::HEALTH_LOOK_MS));
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.terminate.recv() => return Ok(()),
                _ = self.hangup.recv() => reload(),
                _ = look.tick() => {
                    if leaving() {
                        return Ok(());
                    }
                    if failed() {
                        return Err(Failure::new("a part of the server ended by itself; its log line says why")
                            .hint("start it again: nothing accepted is lost"));
                    }
                }
            }
        }
    }

    /// Waits until `done`; `false`: there was another signal first, and whoever sent it waits for nothing more.
    pub async fn wait_unless_repeated(&mut self, done: impl Fn() -> bool) -> bool {
        let mut look = tokio::time::interval(Duration::from_millis(limits::DRAIN_LOOK_MS));
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return false,
                _ = self.terminate.recv() => return false,
                _ = look.tick() => if done() {
                    return true;
                },
            }
        }
    }
}
