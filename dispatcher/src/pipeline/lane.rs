//! A lane's thread: polls its source, decodes, hands deliveries to workers, takes settlements back.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use pushgate_protocol::link::Lane;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{finisher::Finished, mailbox::Mailboxes, shares::Shares};
use crate::{
    clock,
    core::worker::{Delivery, Token},
    decode::{Decoder, Undecodable},
    limits,
    seams::{DeadRecord, Position, Record, TaskSource},
};

/// What a lane works with.
pub struct LaneParts {
    /// Which lane.
    pub lane: Lane,
    /// Where its records come from.
    pub source: Box<dyn TaskSource>,
    /// How they are read.
    pub decoder: Arc<Decoder>,
    /// Where deliveries go.
    pub mailboxes: Mailboxes,
    /// Where dead records go.
    pub finished: mpsc::UnboundedSender<Finished>,
    /// Tokens that settled.
    pub settled: Receiver<Token>,
    /// Records that may be polled and not settled.
    pub in_flight_max: usize,
    /// Set when the process shuts down.
    pub stop: Arc<AtomicBool>,
}

/// A lane's running thread.
#[derive(Debug)]
pub struct LaneThread(JoinHandle<()>);

impl LaneThread {
    /// Starts it.
    pub fn start(parts: LaneParts) -> std::io::Result<Self> {
        let name = format!("lane-{}", parts.lane.as_str());
        let run = move || LaneLoop::new(parts).run();
        Ok(Self(std::thread::Builder::new().name(name).spawn(run)?))
    }

    /// Waits for it after `stop` was set.
    pub fn join(self) {
        if self.0.join().is_err() {
            error!("a lane's thread panicked");
        }
    }
}

/// A record that a later build may understand. It stays unsettled so that it comes again to whoever reads the
/// partition next; at its time, or when the lane needs the room, it is dead.
struct Held {
    until_ms: u64,
    record: DeadRecord,
    token: Token,
}

struct LaneLoop {
    parts: LaneParts,
    shares: Shares,
    records: Vec<Record>,
    batches: Vec<Vec<Delivery>>,
    /// Records of a newer version, unsettled until their time, the oldest first.
    held: VecDeque<Held>,
    positions: Vec<Position>,
    failing: bool,
}

impl LaneLoop {
    fn new(parts: LaneParts) -> Self {
        let batches = (0..parts.mailboxes.len()).map(|_| Vec::new()).collect();
        Self {
            parts,
            shares: Shares::default(),
            records: Vec::with_capacity(limits::LANE_POLL_RECORDS),
            batches,
            held: VecDeque::new(),
            positions: Vec::new(),
            failing: false,
        }
    }

    fn run(mut self) {
        let mut committed = Instant::now();
        while !self.parts.stop.load(Ordering::Relaxed) {
            self.take_settled();
            if committed.elapsed() >= Duration::from_millis(limits::LANE_COMMIT_MS) {
                committed = Instant::now();
                self.commit();
            }
            let full = self.parts.source.unsettled() >= self.parts.in_flight_max;
            self.bury_held(full);
            if full {
                self.wait_for_settlement();
                continue;
            }
            self.poll();
            if !self.hand_over() {
                break;
            }
        }
        self.drain();
    }

    /// Takes the settlements that are there.
    fn take_settled(&mut self) {
        while let Ok(token) = self.parts.settled.try_recv() {
            self.positions.extend(self.shares.settle(token));
        }
        self.settle_positions();
    }

    fn settle_positions(&mut self) {
        if !self.positions.is_empty() {
            self.parts.source.settle(&self.positions);
            self.positions.clear();
        }
    }

    fn wait_for_settlement(&mut self) {
        match self.parts.settled.recv_timeout(Duration::from_millis(limits::LANE_POLL_MS)) {
            Ok(token) => self.positions.extend(self.shares.settle(token)),
            // A full lane goes on serving its consumer group; what goes wrong there shows when it is polled again.
            Err(RecvTimeoutError::Timeout) => drop(self.parts.source.poll(0, Duration::ZERO, &mut self.records)),
            // Every finisher is gone: the process is going down, the loop sees `stop` next.
            Err(RecvTimeoutError::Disconnected) => std::thread::yield_now(),
        }
    }

    fn commit(&mut self) {
        if let Err(error) = self.parts.source.commit() {
            // The ledger keeps what is settled: the next commit covers this one.
            warn!(lane = self.parts.lane.as_str(), %error, "settlements not committed");
        }
    }

    fn poll(&mut self) {
        let wait = Duration::from_millis(limits::LANE_POLL_MS);
        let polled = self.parts.source.poll(limits::LANE_POLL_RECORDS, wait, &mut self.records);
        let failing = polled.is_err();
        if failing != self.failing {
            match &polled {
                Err(error) => error!(lane = self.parts.lane.as_str(), %error, "lane stopped; trying again"),
                Ok(()) => info!(lane = self.parts.lane.as_str(), "lane works again"),
            }
            self.failing = failing;
        }
        if failing {
            std::thread::park_timeout(wait);
        }
    }

    /// Decodes what was polled and gives it to the workers; blocks while they are full. `false`: they are gone.
    fn hand_over(&mut self) -> bool {
        let lane = self.parts.lane;
        let mut records = std::mem::take(&mut self.records);
        for record in records.drain(..) {
            match self.parts.decoder.deliveries(lane, &record) {
                Ok(deliveries) if deliveries.is_empty() => self.positions.push(record.position),
                Ok(deliveries) => {
                    let token = self.shares.open(lane as u8, record.position, deliveries.len() as u32);
                    for mut delivery in deliveries {
                        delivery.token = token;
                        let user = &delivery.user;
                        let worker = self.parts.mailboxes.of_user(user.app.as_str(), user.user.as_str());
                        self.batches[worker].push(delivery);
                    }
                }
                Err(undecodable) => {
                    let Undecodable { dead, hold_until_ms } = *undecodable;
                    let token = self.shares.open(lane as u8, record.position, 1);
                    match hold_until_ms {
                        Some(until_ms) => self.held.push_back(Held { until_ms, record: dead, token }),
                        None => self.bury(dead, token),
                    }
                }
            }
        }
        self.records = records;
        self.settle_positions();
        for (batch, mailbox) in self.batches.iter_mut().zip(self.parts.mailboxes.iter()) {
            if !batch.is_empty() && mailbox.deliveries[lane as usize].blocking_send(std::mem::take(batch)).is_err() {
                return false;
            }
        }
        true
    }

    /// Buries held records whose time has come and, if the lane is `full`, the oldest: held records never stop a lane.
    fn bury_held(&mut self, full: bool) {
        let now_ms = clock::unix_ms();
        let mut room = if full { limits::LANE_HELD_YIELD } else { 0 };
        while self.held.front().is_some_and(|held| room > 0 || held.until_ms <= now_ms) {
            if let Some(held) = self.held.pop_front() {
                room = room.saturating_sub(1);
                self.bury(held.record, held.token);
            }
        }
    }

    fn bury(&self, record: DeadRecord, token: Token) {
        warn!(lane = self.parts.lane.as_str(), origin = %record.origin, reason = %record.reason, "dead letter");
        // Without a finisher the process is going down and the record comes again.
        let _ = self.parts.finished.send(Finished::Dead { record, token });
    }

    /// After `stop`: lets go of workers and finishers, takes what settles until they are gone, then commits.
    fn drain(self) {
        let LaneParts { lane, mut source, settled, mailboxes, finished, .. } = self.parts;
        drop((mailboxes, finished));
        let mut shares = self.shares;
        let mut positions = self.positions;
        while let Ok(token) = settled.recv() {
            positions.extend(shares.settle(token));
        }
        source.settle(&positions);
        if let Err(error) = source.commit() {
            warn!(lane = lane.as_str(), %error, "last settlements not committed: their records come again");
        }
    }
}
