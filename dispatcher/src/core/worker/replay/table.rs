//! The replays a worker holds, and when each goes on.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;
use pushgate_protocol::{ids::SessionId, limits::REPLAY_WINDOW, link::Lane};

use crate::{
    core::worker::links::LinkId,
    limits::{REPLAY_PAUSE_FIRST_MS, REPLAY_PAUSE_MAX_MS, REPLAY_WINDOW_BYTES},
    seams::{DeliveryKey, UserKey},
};

/// What a replay does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core::worker) enum Step {
    /// Waits in the queue of reads.
    Queued,
    /// Waits for the answer of its read.
    Reading,
    /// Waits for answers to its pushes.
    Full,
    /// The same, or for the deadline of those that are for some of the user's devices only.
    FullUntil(u64),
    /// Waits until this time, then reads.
    Pausing(u64),
    /// Said `Replayed`; forgotten at this time unless the shard wants more.
    Done(u64),
}

#[derive(Debug)]
pub(in crate::core::worker) struct Replay {
    pub(super) user: UserKey,
    pub(super) link: LinkId,
    pub(super) episode: u64,
    pub(super) round: u32,
    pub(super) resume: Option<(SessionId, u64)>,
    /// The stream was sent up to here.
    pub(super) after: u64,
    /// The user's stream is done: the messages to everyone follow.
    pub(super) everyone: bool,
    /// They were sent up to here.
    pub(super) all_after: u64,
    /// How many deferred pushes the stream had taken at its end.
    pub(super) k: u64,
    pub(super) step: Step,
    /// What was sent and not answered.
    pub(super) unanswered: Vec<Unanswered>,
    /// Keys that settled while a read was under way: its page may still hold them.
    pub(super) settled: Vec<DeliveryKey>,
    /// The lowest lane a push was sent in: `Replayed` must not overtake it.
    pub(super) lane: Lane,
    /// The shard's count of deferred pushes, and until when the stream may take them.
    pub(super) more: Option<(u64, u64)>,
    pub(super) pause_ms: u64,
    /// The outbox had no room for some entries; how often the replay started over for that.
    pub(super) dropped: bool,
    pub(super) restarts: u32,
}

/// A push that was sent and not answered.
#[derive(Debug)]
pub(in crate::core::worker) struct Unanswered {
    pub(super) key: DeliveryKey,
    pub(super) bytes: usize,
    /// Of one that is for some of the user's devices only: until when it holds up what follows, which may be for others.
    pub(super) until_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub(in crate::core::worker) struct Replays {
    pub(super) by_id: HashMap<u64, Replay>,
    pub(super) next: u64,
    /// Replays that want to read, each with the ticket of the stream changes it must see.
    pub(super) queue: VecDeque<(u64, u64)>,
    pub(super) reading: usize,
    pub(super) timers: BTreeSet<(u64, u64)>,
}

impl Replays {
    pub(in crate::core::worker) fn wake_ms(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Puts a replay into a step; timers follow.
    pub(super) fn step(&mut self, id: u64, step: Step) {
        let Some(replay) = self.by_id.get_mut(&id) else { return };
        if let Step::Pausing(at) | Step::Done(at) | Step::FullUntil(at) = replay.step {
            self.timers.remove(&(at, id));
        }
        if let Step::Pausing(at) | Step::Done(at) | Step::FullUntil(at) = step {
            self.timers.insert((at, id));
        }
        replay.step = step;
    }
}

impl Replay {
    pub(super) fn has_room(&self) -> bool {
        let bytes: usize = self.unanswered.iter().map(|sent| sent.bytes).sum();
        self.unanswered.len() < REPLAY_WINDOW && (bytes < REPLAY_WINDOW_BYTES || self.unanswered.is_empty())
    }

    pub(super) fn has_sent(&self, key: DeliveryKey) -> bool {
        self.unanswered.iter().any(|sent| sent.key == key)
    }

    /// When the first of what is for some devices only stops holding up the rest.
    pub(super) fn full_until(&self) -> Option<u64> {
        self.unanswered.iter().filter_map(|sent| sent.until_ms).min()
    }

    pub(super) fn next_pause(&mut self) -> u64 {
        self.pause_ms = (self.pause_ms * 2).clamp(REPLAY_PAUSE_FIRST_MS, REPLAY_PAUSE_MAX_MS);
        self.pause_ms
    }
}
