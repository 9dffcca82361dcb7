//! What ends a server: Ctrl-C, SIGTERM, or a part of it that failed. SIGHUP lets it read files again.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::{failure::Failure, limits};

/// Waits for SIGINT or SIGTERM, and calls `reload` at each SIGHUP; fails as soon as `failed` says that a part ended by itself.
pub async fn wait(failed: impl Fn() -> bool, reload: impl Fn()) -> Result<(), Failure> {
    let unheard = |error: std::io::Error| Failure::new(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(unheard)?;
    let mut look = tokio::time::interval(Duration::from_millis(limits::HEALTH_LOOK_MS));
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => reload(),
            _ = look.tick() => if failed() {
                return Err(Failure::new("a part of the server ended by itself; its log line says why")
                    .hint("start it again: nothing accepted is lost"));
            },
        }
    }
}
