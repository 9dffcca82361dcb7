//! A lane's thread: polls its source, decodes, hands deliveries to workers, takes settlements back.
//!
//! It blocks on nothing but its source: while workers are full it goes on taking settlements, committing and serving its
//! consumer group, and it sees `stop`. It reads ahead of what workers take, and apps take turns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use pushgate_protocol::{auth::SharedApps, link::Lane};
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::{
    ahead::{Ahead, Item, Place},
    burials::BurialLog,
    finisher::Finished,
    held::Held,
    mailbox::Mailboxes,
    outage::Outage,
    outgoing::{Outgoing, Sending},
    shares::{Owner, Settled, Shares},
};
use crate::{
    channels::Accounts,
    clock,
    core::{account::Parcel, worker::Token},
    decode::{Decoded, Decoder, Undecodable},
    health::Health,
    limits,
    metrics::LaneMetrics,
    nice::become_nice,
    seams::{DeadRecord, Position, Record, TaskSource},
    urgency::Urgent,
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
    /// Where parcels go.
    pub accounts: Accounts,
    /// Where dead records and scheduled messages go.
    pub finished: mpsc::UnboundedSender<Finished>,
    /// Bytes of those on their way there.
    pub aside_bytes: Arc<AtomicUsize>,
    /// Tokens that settled.
    pub settled: Receiver<Vec<Token>>,
    /// How nice its thread is.
    pub nice: u8,
    /// Records that workers may have taken and not settled.
    pub in_flight_max: usize,
    /// Deliveries of one app that may be under way.
    pub app_in_flight_max: usize,
    /// Tenants: where there is one, it need not leave others their turns.
    pub apps: SharedApps,
    /// Set when the process shuts down.
    pub stop: Arc<AtomicBool>,
    /// Told when the source fails.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: LaneMetrics,
}

/// A lane's running thread.
#[derive(Debug)]
pub struct LaneThread(JoinHandle<()>);

impl LaneThread {
    /// Starts it.
    pub fn start(parts: LaneParts) -> std::io::Result<Self> {
        let name = format!("lane-{}", parts.lane.as_str());
        let run = move || {
            become_nice(parts.nice);
            LaneLoop::new(parts).run();
        };
        Ok(Self(std::thread::Builder::new().name(name).spawn(run)?))
    }

    /// Whether it ended.
    pub fn ended(&self) -> bool {
        self.0.is_finished()
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
    ahead: Ahead,
    records: Vec<Record>,
    outgoing: Outgoing,
    held: Held,
    positions: Vec<Position>,
    /// Records to ask for: fewer when they are large.
    poll_max: usize,
    committed: Instant,
    one_app: bool,
    polling: Outage,
    committing: Outage,
    buried: BurialLog,
    /// Partitions whose age is shown.
    shown: Vec<u32>,
}

impl LaneLoop {
    fn new(parts: LaneParts) -> Self {
        let lane = parts.lane.as_str();
        Self {
            shares: Shares::default(),
            ahead: Ahead::new(parts.app_in_flight_max, parts.in_flight_max, &parts.accounts),
            records: Vec::with_capacity(limits::LANE_POLL_RECORDS),
            outgoing: Outgoing::new(parts.mailboxes.clone(), parts.accounts.clone()),
            held: Held::default(),
            positions: Vec::new(),
            poll_max: limits::LANE_POLL_RECORDS_FIRST,
            committed: Instant::now(),
            one_app: parts.apps.current().only().is_some(),
            polling: Outage::of(format!("lane {lane}")),
            committing: Outage::of(format!("commits of lane {lane}")),
            buried: BurialLog::default(),
            shown: Vec::new(),
            parts,
        }
    }

    fn run(mut self) {
        while !self.stopping() {
            self.serve();
            let full = self.bury_held();
            let polled = self.read_ahead();
            self.tell_crowded();
            let taken = self.take();
            match self.outgoing.send(self.parts.lane) {
                Sending::Ended => break,
                // What waits goes on when something settles, or a worker takes something.
                sending if polled + taken == 0 && (full || sending == Sending::Full || self.stands()) => {
                    self.wait(limits::LANE_HAND_OVER_MS);
                }
                Sending::Done | Sending::Full => {}
            }
        }
        self.drain();
    }

    fn stopping(&self) -> bool {
        self.parts.stop.load(Ordering::Relaxed)
    }

    /// Whether what is read must go on before the lane reads more, or pushes are among it. What waits for channels alone keeps nothing from
    /// being read: the poll waits for the next record then.
    fn stands(&self) -> bool {
        self.ahead.has_of_sessions() || (!self.ahead.is_empty() && self.ahead.room(self.one_app) == 0)
    }

    /// What a lane does whether or not it may take more.
    fn serve(&mut self) {
        while let Ok(tokens) = self.parts.settled.try_recv() {
            self.settle(tokens);
        }
        self.settle_positions();
        if self.committed.elapsed() >= Duration::from_millis(limits::LANE_COMMIT_MS) {
            self.committed = Instant::now();
            self.one_app = self.parts.apps.current().only().is_some();
            // The ledger keeps what is settled: after a failure the next commit covers this one.
            let committed = self.parts.source.commit();
            self.committing.seen(&self.parts.health, committed.as_ref().err());
            self.show();
        }
    }

    fn settle(&mut self, tokens: Vec<Token>) {
        for token in tokens {
            let Some(Settled { owner, position }) = self.shares.settle(token) else { continue };
            if let Some(owner) = owner {
                self.ahead.ended(owner);
            }
            self.positions.extend(position);
        }
    }

    fn settle_positions(&mut self) {
        if !self.positions.is_empty() {
            self.parts.source.settle(&self.positions);
            self.parts.metrics.settled.inc_by(self.positions.len() as u64);
            self.positions.clear();
        }
    }

    fn show(&mut self) {
        let (window, metrics) = (self.parts.source.window(), &self.parts.metrics);
        metrics.unsettled.set(window.unsettled as i64);
        metrics.held.set(self.held.len() as i64);
        metrics.ahead.set(self.ahead.len() as i64);
        metrics.stopped.set(self.ahead.stopped() as i64);
        let age_ms = window.oldest_ms.map_or(0, |oldest| clock::unix_ms().saturating_sub(oldest));
        metrics.oldest.set(age_ms as f64 / 1_000.0);
        let now_ms = clock::unix_ms();
        let oldest = self.parts.source.oldest();
        metrics.partitions.show_all(&mut self.shown, &oldest, now_ms);
    }

    /// Waits a moment for a settlement; serves the consumer group of a lane that may take nothing.
    fn wait(&mut self, ms: u64) {
        // What goes wrong there shows when the lane is polled for records again.
        drop(self.parts.source.poll(0, Duration::ZERO, &mut self.records));
        let wait = Duration::from_millis(ms);
        match self.parts.settled.recv_timeout(wait) {
            Ok(tokens) => self.settle(tokens),
            Err(RecvTimeoutError::Timeout) => {}
            // Every finisher is gone: the process is going down, the loop sees `stop` next.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
        }
    }

    /// Reads on, faster than workers take: what stands behind a flood is found while that waits. Answers how many records came.
    fn read_ahead(&mut self) -> usize {
        let (mut all, mut polls) = (0, 0);
        loop {
            let asked = self.poll_max;
            let count = self.poll();
            (all, polls) = (all + count, polls + 1);
            if count < asked || polls == limits::LANE_AHEAD_POLLS {
                return all;
            }
        }
    }

    /// Where what waits for channels keeps the lane from reading on soon, or from committing, their accounts put it into the schedule.
    fn tell_crowded(&self) {
        let ledger_full = || self.parts.source.window().room < limits::LEDGER_RECORDS_MAX / 2;
        let crowded = self.ahead.has_of_channels() && (self.ahead.is_crowded() || ledger_full());
        self.parts.accounts.crowded().set(self.parts.lane, crowded);
    }

    /// Reads a bounded part, as far as it may. Answers how many records came.
    fn poll(&mut self) -> usize {
        let max = self.poll_max.min(self.ahead.room(self.one_app));
        let nothing_waits = !self.ahead.has_of_sessions() && self.outgoing.len() == 0;
        let wait = match (nothing_waits, self.parts.source.window().unsettled) {
            (false, _) => Duration::ZERO,
            (true, _) if !self.ahead.is_empty() => Duration::from_millis(limits::LANE_HAND_OVER_MS),
            (true, 0) => Duration::from_millis(limits::LANE_IDLE_MS),
            (true, _) => Duration::from_millis(limits::LANE_POLL_MS),
        };
        let polled = self.parts.source.poll(max, wait, &mut self.records);
        self.polling.seen(&self.parts.health, polled.as_ref().err());
        let count = self.records.len();
        // First of all: what is written of the lower lanes counts from here.
        let urgent = (count > 0 && self.parts.lane == Lane::High)
            .then(|| self.parts.mailboxes.urgency().polled(tokio::time::Instant::now()));
        if polled.is_err() && count == 0 && nothing_waits {
            std::thread::sleep(Duration::from_millis(limits::LANE_POLL_MS));
        }
        if count > 0 {
            self.parts.metrics.polled.inc_by(count as u64);
            let bytes: usize = self.records.iter().map(|r| r.value.len()).sum();
            self.poll_max = (limits::LANE_POLL_BYTES * count / bytes.max(1)).clamp(1, limits::LANE_POLL_RECORDS);
            self.ahead.extend(&self.parts.decoder, self.parts.lane, &mut self.records, urgent.as_ref());
        }
        count
    }

    /// Takes records whose turn it is and makes them deliveries, a bounded part at a time. Answers how many it took.
    fn take(&mut self) -> usize {
        // Not the source's room: what was read has its place there, and what stands first may be among it.
        let room = self.parts.in_flight_max.saturating_sub(self.shares.len());
        let batch = if self.parts.lane == Lane::Low { limits::LANE_BATCH_LOW } else { limits::LANE_BATCH_DELIVERIES };
        let mut taken = 0;
        while taken < room && !self.aside_full() && self.outgoing.len() < batch {
            let Some((place, item)) = self.ahead.next(&*self.parts.source) else { break };
            match item {
                Item::Plain(position, delivery) => {
                    let owner = Owner { place, bytes: delivery.tail.len() };
                    self.ahead.under_way(owner, 1);
                    let token = self.shares.open(self.parts.lane as u8, position, 1, Some(owner));
                    self.outgoing.push_delivery(token, delivery);
                }
                Item::Record(record, urgent) => self.decode(place, &record, urgent.as_ref()),
            }
            taken += 1;
        }
        self.settle_positions();
        taken
    }

    fn decode(&mut self, place: Place, record: &Record, urgent: Option<&Urgent>) {
        let lane = self.parts.lane;
        let mut owner = Owner { place, bytes: 0 };
        match self.parts.decoder.read(lane, record) {
            Ok(Decoded::Deliveries(deliveries, parcels)) if deliveries.is_empty() && parcels.is_empty() => {
                self.ahead.under_way(owner, 0);
                self.positions.push(record.position);
            }
            Ok(Decoded::Scheduled(scheduled)) => {
                self.ahead.under_way(owner, 0);
                let token = self.shares.open(lane as u8, record.position, 1, None);
                self.parts.aside_bytes.fetch_add(scheduled.bytes(), Ordering::Relaxed);
                // As with a burial.
                let _ = self.parts.finished.send(Finished::Scheduled { scheduled, token });
            }
            Ok(Decoded::Deliveries(mut deliveries, parcels)) => {
                deliveries.iter_mut().for_each(|delivery| delivery.urgent = urgent.cloned());
                let tail = deliveries.first().map(|delivery| delivery.tail.len());
                owner.bytes = tail.or(parcels.first().map(Parcel::bytes)).unwrap_or(0);
                let count = deliveries.len() + parcels.len();
                self.ahead.under_way(owner, count);
                let token = self.shares.open(lane as u8, record.position, count as u32, Some(owner));
                self.outgoing.push(token, deliveries, parcels, &self.parts.source.hold(record.position));
            }
            Err(undecodable) => {
                self.ahead.under_way(owner, 0);
                let Undecodable { dead, hold_until_ms } = *undecodable;
                let token = self.shares.open(lane as u8, record.position, 1, None);
                match hold_until_ms {
                    Some(until_ms) => self.held.push(until_ms, clock::unix_ms(), dead, token),
                    None => self.bury(dead, token),
                }
            }
        }
    }

    /// Buries held records whose time has come and, if the lane has no room, the oldest: held records never stop a lane.
    /// Answers whether something must settle before the lane may take or read more.
    fn bury_held(&mut self) -> bool {
        let full = self.shares.len() >= self.parts.in_flight_max || self.parts.source.window().room == 0;
        if self.aside_full() {
            return true;
        }
        let now_ms = clock::unix_ms();
        let mut room = if full { limits::LANE_HELD_YIELD } else { 0 };
        while let Some((record, token)) = self.held.take(now_ms, room > 0 || self.held.crowded()) {
            room = room.saturating_sub(1);
            self.bury(record, token);
        }
        full
    }

    /// While dead letters and tasks cannot be written, no more are made.
    fn aside_full(&self) -> bool {
        self.parts.aside_bytes.load(Ordering::Relaxed) > limits::LANE_ASIDE_BYTES_MAX
    }

    fn bury(&mut self, record: DeadRecord, token: Token) {
        self.buried.tell(self.parts.lane, &record);
        self.parts.metrics.dead.inc();
        self.parts.aside_bytes.fetch_add(record.value.len(), Ordering::Relaxed);
        // Without a finisher the process is going down and the record comes again.
        let _ = self.parts.finished.send(Finished::Dead { record, token });
    }

    /// At the end: lets go of workers and finishers, takes what settles until they are gone, then commits.
    fn drain(self) {
        let LaneParts { lane, mut source, settled, mailboxes, accounts, finished, .. } = self.parts;
        drop((mailboxes, accounts, finished, self.outgoing));
        let mut shares = self.shares;
        let mut positions = self.positions;
        while let Ok(tokens) = settled.recv() {
            positions.extend(tokens.into_iter().filter_map(|token| shares.settle(token)?.position));
        }
        source.settle(&positions);
        if let Err(error) = source.commit() {
            warn!(lane = lane.as_str(), %error, "last settlements not committed: their records come again");
        }
    }
}

#[cfg(test)]
mod tests;
