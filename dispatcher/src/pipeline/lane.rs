//! A lane's thread: polls its source, decodes, hands deliveries to workers, takes settlements back.

use std::{
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
    core::worker::{Delivery, Token},
    limits,
    seams::{DeadRecord, Position, Record, SourceError, TaskSource},
};

/// What a record becomes.
#[derive(Debug)]
pub enum Decoded {
    /// Deliveries, in recipient order; their tokens are set by the lane. None: nobody is left to deliver to.
    Deliveries(Vec<Delivery>),
    /// A record that can never be processed.
    Dead(DeadRecord),
}

/// Turns a record into deliveries.
pub type Decode = dyn Fn(Lane, &Record) -> Decoded + Send + Sync;

/// Told when a source fails, and when it works again (`None`).
pub type SourceHealth = dyn Fn(Option<&SourceError>) + Send + Sync;

/// What a lane works with.
pub struct LaneParts {
    /// Which lane.
    pub lane: Lane,
    /// Where its records come from.
    pub source: Box<dyn TaskSource>,
    /// How they are read.
    pub decode: Arc<Decode>,
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
    /// Told when the source fails and when it works again.
    pub health: Arc<SourceHealth>,
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

struct LaneLoop {
    parts: LaneParts,
    shares: Shares,
    records: Vec<Record>,
    batches: Vec<Vec<Delivery>>,
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
            if self.parts.source.unsettled() >= self.parts.in_flight_max {
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
            (self.parts.health)(polled.as_ref().err());
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
            match (self.parts.decode)(lane, &record) {
                Decoded::Deliveries(deliveries) if deliveries.is_empty() => self.positions.push(record.position),
                Decoded::Deliveries(deliveries) => {
                    let token = self.shares.open(lane as u8, record.position, deliveries.len() as u32);
                    for mut delivery in deliveries {
                        delivery.token = token;
                        let user = &delivery.user;
                        let worker = self.parts.mailboxes.of_user(user.app.as_str(), user.user.as_str());
                        self.batches[worker].push(delivery);
                    }
                }
                Decoded::Dead(dead) => {
                    let token = self.shares.open(lane as u8, record.position, 1);
                    // Without a finisher the process is going down and the record comes again.
                    let _ = self.parts.finished.send(Finished::Dead { record: dead, token });
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

    /// After `stop`: takes what settles until the finishers are gone, then commits.
    fn drain(&mut self) {
        drop(std::mem::replace(&mut self.parts.finished, mpsc::unbounded_channel().0));
        while let Ok(token) = self.parts.settled.recv() {
            self.positions.extend(self.shares.settle(token));
        }
        self.settle_positions();
        self.commit();
    }
}
