//! The pipeline worker: everything that concerns a user happens on one worker, in order.
//!
//! A state machine without I/O. A driver feeds it deliveries, links, frames, answers of stores and the time; after each it
//! takes what the worker wants done: [`Worker::take_past`], [`Worker::take_ops`], [`Worker::take_reads`],
//! [`Worker::take_frames`], [`Worker::take_finished`], [`Worker::take_untracked`]. Of marks and ops at most one request is under way.
//!
//! Invariants:
//! - each delivery given comes back in exactly one [`Finished`] with its token, and only after the stream or its mark
//!   says what became of it; or, if it is untracked, with its token in [`Untracked`];
//! - pushes of one user and lane leave in the order their deliveries came; while a change to the user's stream is under way,
//!   or the owner shard was not told of one, further deliveries go to the stream too;
//! - nothing is sent at or after its `expires_ms`.
//!
//! The sequences are in `docs/src/architecture/delivery.md`. The worker does not know lanes' sources, credits or retries of
//! connections.

mod answers;
mod backoff;
mod delivery;
mod everyone;
mod inflight;
mod links;
mod marks;
mod ops;
mod push;
mod recalls;
mod receipts;
mod replay;
mod settle;
mod told;
mod users;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use pushgate_protocol::{link::Lane, result::State, ring::Routing};

use self::{
    delivery::Outcome, inflight::InFlight, links::Links, marks::Marks, ops::Ops, replay::Replays, told::Told,
    users::Users,
};
pub use self::{
    delivery::{CHANNEL, Delivery, DeliveryTarget, Finished, Token, Untracked},
    links::{Frames, LinkId, LinkInfo},
    marks::{Past, PastQuery},
    replay::{ReadId, ReadRequest},
};
use crate::seams::{StoreError, StreamOp, UserKey};

/// What a worker is told at start.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// Its number in the process: the top 8 bits of its references, so that an answer finds its worker.
    pub index: u8,
    /// A push not acknowledged for this long is put into its user's stream, milliseconds.
    pub ack_deadline_ms: u64,
    /// Unanswered pushes at which the oldest goes into its stream early.
    pub in_flight_max: usize,
    /// The same in bytes of push tails.
    pub in_flight_bytes_max: usize,
}

/// The worker of a user among `workers`, the same on every link and lane of the process.
pub fn worker_of(app: &str, user: &str, workers: usize) -> usize {
    /// Apart from the seeds of ring and shards, so that one gateway's users spread over all workers.
    const SEED: u64 = 0x776f_726b_6572;
    (pushgate_protocol::placement::user_hash(SEED, app, user) % workers.max(1) as u64) as usize
}

/// The worker that a reference belongs to.
pub fn worker_of_reference(reference: u64) -> u8 {
    (reference >> 56) as u8
}

/// The pipeline worker of some of the users.
#[derive(Debug)]
pub struct Worker {
    settings: WorkerSettings,
    now_ms: u64,
    routing: Arc<Routing>,
    links: Links,
    marks: Marks,
    in_flight: InFlight,
    ops: Ops,
    users: Users,
    told: Told,
    replays: Replays,
    finished: Vec<Finished>,
    untracked: Untracked,
    counts: everyone::Counts,
    recalls: recalls::Retold,
    /// Deliveries taken and not finished, and the bytes of their tails.
    open: usize,
    open_bytes: usize,
}

impl Worker {
    /// A worker without links or members.
    pub fn new(settings: WorkerSettings) -> Self {
        Self {
            settings,
            now_ms: 0,
            routing: Arc::new(Routing::empty()),
            links: Links::default(),
            marks: Marks::default(),
            in_flight: InFlight::new(settings.index),
            ops: Ops::default(),
            users: Users::new(settings.index),
            told: Told::default(),
            replays: Replays::default(),
            finished: Vec::new(),
            untracked: Untracked::default(),
            counts: everyone::Counts::default(),
            recalls: recalls::Retold::default(),
            open: 0,
            open_bytes: 0,
        }
    }

    /// Takes deliveries of users of this worker, in the order they are to arrive.
    pub fn deliver(&mut self, now_ms: u64, deliveries: Vec<Box<Delivery>>) {
        self.at(now_ms);
        self.open += deliveries.len();
        self.open_bytes += deliveries.iter().map(|delivery| delivery.bytes()).sum::<usize>();
        for delivery in deliveries {
            if let Some(delivery) = self.marks.push(delivery) {
                self.push(delivery, 0);
            }
        }
    }

    /// The members changed.
    pub fn routing(&mut self, routing: Arc<Routing>) {
        let before = std::mem::replace(&mut self.routing, routing);
        self.store_misplaced();
        let told = self.tell_after_routing();
        self.tell_new_owners(&before, &told);
    }

    /// A link finished its handshake.
    pub fn link_up(&mut self, now_ms: u64, link: LinkId, info: LinkInfo) {
        self.at(now_ms);
        if self.links.up(link, info.clone()) {
            self.store_misplaced();
        }
        self.tell_link(link, &info);
        self.retell_recalls(link);
    }

    /// A link is gone: no frame taken for it that was not yet written will be, none of its frames will come any more.
    pub fn link_down(&mut self, now_ms: u64, link: LinkId) {
        self.at(now_ms);
        if self.links.down(self.now_ms, link).is_some() {
            self.link_lost(link);
        }
    }

    /// What to read of the past of deliveries, if a request is due.
    pub fn take_past(&mut self) -> Option<PastQuery> {
        self.marks.take(self.now_ms)
    }

    /// The answer to [`Self::take_past`]. After an error the same is asked again later; after one that stays, delivery by
    /// delivery.
    pub fn past(&mut self, now_ms: u64, answer: Result<Past, StoreError>) {
        self.at(now_ms);
        let past = match answer {
            // A mark that cannot be read is as good as none: at worst a push is repeated.
            Err(error) if !error.retryable() => {
                for delivery in self.marks.refused().unwrap_or_default() {
                    self.push(delivery, 0);
                }
                return;
            }
            answer => answer.unwrap_or_default(),
        };
        let Some(deliveries) = self.marks.answered(past) else {
            self.marks.failed(self.now_ms);
            return;
        };
        for (delivery, mark, recalled) in deliveries {
            match mark {
                _ if recalled => self.end(delivery, Outcome::of(State::Recalled)),
                Some(_) if delivery.user.user.is_everyone() => self.finish_sent(delivery),
                Some(mark) => self.finish_marked(delivery, mark),
                None => self.push(delivery, 0),
            }
        }
    }

    /// The changes to apply, if a request is due. The same batch comes again after an error, in parts after one that stays.
    pub fn take_ops(&mut self) -> Option<Vec<StreamOp>> {
        self.ops.take(self.now_ms)
    }

    /// Frames to send since the last call; the order within a link and lane is to be kept.
    pub fn take_frames(&mut self) -> Vec<Frames> {
        self.links.take_frames()
    }

    /// States to publish, in order.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Deliveries that ended since the last call and of which nothing is kept.
    pub fn take_untracked(&mut self) -> Untracked {
        std::mem::take(&mut self.untracked)
    }

    /// Time passed. Returns when to call again at the latest, if anything waits for time alone.
    pub fn tick(&mut self, now_ms: u64) -> Option<u64> {
        self.at(now_ms);
        self.store_overdue();
        self.wake_replays();
        let deadline = self.in_flight.oldest().map(|(_, sent_ms)| sent_ms + self.settings.ack_deadline_ms);
        [deadline, self.marks.retry_ms(), self.ops.retry_ms(), self.replays.wake_ms()].into_iter().flatten().min()
    }

    /// Deliveries taken and not finished.
    pub fn in_flight(&self) -> usize {
        self.open
    }

    /// Deliveries of a lane that wait for their marks.
    pub fn unknown(&self, lane: Lane) -> usize {
        self.marks.waiting(lane)
    }

    /// Bytes of their push tails.
    pub fn in_flight_bytes(&self) -> usize {
        self.open_bytes
    }

    /// The clock never goes back for the worker, whatever the driver's does.
    fn at(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn finish(&mut self, finished: Finished, bytes: usize) {
        if finished.token.is_some() {
            self.open -= 1;
            self.open_bytes -= bytes;
        }
        self.finished.push(finished);
    }

    fn user_key(app: &str, user: &str) -> Option<UserKey> {
        use pushgate_protocol::ids::{AppId, UserId};
        Some(UserKey { app: AppId::parse(app).ok()?, user: UserId::parse(user).ok()? })
    }
}
