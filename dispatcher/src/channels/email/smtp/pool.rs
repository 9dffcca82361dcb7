//! Open connections that wait for the next mail.
//!
//! Invariants: one is given to one mail at a time; there are never more than attempts go on at once and openings may go on for nobody;
//! one that waits too long is closed, whether anything is sent or not.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{connection::Connection, settings::Settings};

/// The connections of an account that send nothing.
#[derive(Default)]
pub(super) struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    /// The one that was given back last stands last.
    waiting: Vec<(Instant, Connection)>,
    /// Whether somebody closes what waits too long.
    watched: bool,
}

impl Pool {
    /// The one that was used last, and so is the least likely to have been closed meanwhile.
    pub(super) fn take(&self, settings: &Settings) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some((since, connection)) = idle.waiting.pop() {
            if since.elapsed() < settings.idle_for && connection.is_fit(settings) {
                return Some(connection);
            }
            leave(connection);
        }
        None
    }

    /// Keeps one for the next mail, or closes it.
    pub(super) fn give_back(self: &Arc<Self>, connection: Connection, settings: &Arc<Settings>) {
        if !connection.is_fit(settings) || settings.idle_for.is_zero() {
            return leave(connection);
        }
        let mut idle = self.idle();
        idle.waiting.push((Instant::now(), connection));
        if !idle.watched {
            idle.watched = true;
            tokio::spawn(watch(Arc::downgrade(self), Arc::clone(settings)));
        }
    }

    /// Takes out what waited too long; for how long the next may still wait, if there is one.
    fn expired(&self, settings: &Settings) -> (Vec<Connection>, Option<Duration>) {
        let mut idle = self.idle();
        let late = idle.waiting.iter().take_while(|(since, _)| since.elapsed() >= settings.idle_for).count();
        let expired = idle.waiting.drain(..late).map(|(_, connection)| connection).collect();
        let next = idle.waiting.first().map(|(since, _)| settings.idle_for.saturating_sub(since.elapsed()));
        idle.watched = next.is_some();
        (expired, next)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that wait too long, until none is left or the pool is gone.
async fn watch(pool: Weak<Pool>, settings: Arc<Settings>) {
    let mut pause = settings.idle_for;
    loop {
        tokio::time::sleep(pause).await;
        let Some((expired, next)) = pool.upgrade().map(|pool| pool.expired(&settings)) else { return };
        expired.into_iter().for_each(leave);
        match next {
            Some(next) => pause = next.max(Duration::from_millis(1)),
            None => return,
        }
    }
}

/// Says goodbye without anybody waiting for it.
fn leave(connection: Connection) {
    tokio::spawn(connection.quit());
}
