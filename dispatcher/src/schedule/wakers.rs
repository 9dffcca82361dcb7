//! Who is told of a task that is earlier than what it sleeps for: the loops of this process. Those of others look once a second.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use crate::limits::SCHEDULE_LOOPS;

/// Wakes the loops. Clones wake the same ones.
#[derive(Debug, Clone, Default)]
pub struct Wakers(Arc<[Waker; SCHEDULE_LOOPS]>);

/// One loop's bell.
#[derive(Debug, Default)]
struct Waker {
    bell: Notify,
    /// Until when the loop sleeps, Unix milliseconds; the end of time while it is awake, so that nothing is missed.
    until_ms: AtomicU64,
}

impl Wakers {
    /// Loops that all listen to everything.
    pub fn new() -> Self {
        let new = Self::default();
        new.0.iter().for_each(|waker| waker.until_ms.store(u64::MAX, Ordering::SeqCst));
        new
    }

    /// The loop that serves a shard.
    pub fn loop_of(shard: u16) -> usize {
        usize::from(shard) % SCHEDULE_LOOPS
    }

    /// A task of this shard is due at this time.
    pub fn added(&self, shard: u16, due_ms: u64) {
        let waker = &self.0[Self::loop_of(shard)];
        if due_ms < waker.until_ms.load(Ordering::SeqCst) {
            waker.bell.notify_one();
        }
    }

    /// From now on the loop hears of everything.
    pub(super) fn awake(&self, number: usize) {
        self.0[number].until_ms.store(u64::MAX, Ordering::SeqCst);
    }

    /// From now on the loop hears of what is due before `until_ms`.
    pub(super) fn asleep(&self, number: usize, until_ms: u64) {
        self.0[number].until_ms.store(until_ms, Ordering::SeqCst);
    }

    /// Resolves when something earlier was added since the last time.
    pub(super) async fn rung(&self, number: usize) {
        self.0[number].bell.notified().await;
    }
}
