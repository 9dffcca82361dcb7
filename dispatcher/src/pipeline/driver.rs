//! The driver of one pipeline worker: carries the sans-I/O worker's requests to stores and links, and their answers back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::try_join, stream::FuturesUnordered};
use prometheus_client::metrics::gauge::Gauge;
use pushgate_protocol::{
    link::{Lane, ToDispatcher, take_frame},
    result::State,
};
use tokio::sync::{mpsc, watch};
use tracing::error;

use super::{
    finisher::Finished,
    mailbox::{Inbox, Queued, WorkerEvent},
    reads::{Read, Reads},
    shares::Settlements,
};
use crate::{
    core::{
        turns::Turns,
        worker::{Delivery, Frames, LinkId, Past, PastQuery, Untracked, Worker},
    },
    health::Health,
    limits,
    metrics::Metrics,
    seams::{BoxFuture, MessageStore, StoreError, StreamOutcome, Streams},
};

/// What a driver works with.
pub struct DriverParts {
    /// The worker.
    pub worker: Worker,
    /// Its number.
    pub index: u8,
    /// Its mailbox.
    pub inbox: Inbox,
    /// Streams and marks.
    pub streams: Arc<dyn Streams>,
    /// Which messages were taken back.
    pub messages: Arc<dyn MessageStore>,
    /// Where ended deliveries go.
    pub finished: mpsc::UnboundedSender<Finished>,
    /// Where what settles by its end alone is told, per lane.
    pub settled: Settlements,
    /// Ended deliveries whose result is not yet published.
    pub backlog: Arc<AtomicUsize>,
    /// Shows deliveries taken and not finished.
    pub open: Arc<AtomicUsize>,
    /// Unix milliseconds; never stands still.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Turns true when the worker is to end with what it holds; that comes again.
    pub stop: watch::Receiver<bool>,
    /// Told when a store fails.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: Metrics,
}

/// A store's answer.
enum Reply {
    Past(Result<Past, StoreError>),
    Applied(Result<Vec<StreamOutcome>, StoreError>),
    Read(Read),
}

/// Runs until it is stopped or its inbox is closed.
pub struct Driver {
    parts: DriverParts,
    links: HashMap<LinkId, Writer>,
    /// Links with too much waiting in a lane: until that is written no more of the lane is taken.
    crowded: Vec<(LinkId, Lane)>,
    replies: FuturesUnordered<BoxFuture<'static, Reply>>,
    reads: Reads,
    turns: Turns,
    in_flight: Gauge,
    outages: Outages,
}

/// The writing end of a link.
struct Writer {
    frames: mpsc::UnboundedSender<Frames>,
    queued: Arc<Queued>,
}

/// What woke the driver.
enum Wake {
    Stop,
    Event(Option<WorkerEvent>),
    Deliveries(Lane, Option<Vec<Box<Delivery>>>),
    Reply(Reply),
    Tick,
}

impl Driver {
    /// A driver.
    pub fn new(parts: DriverParts) -> Self {
        let in_flight = parts.metrics.in_flight(parts.index);
        let outages = Outages { worker: parts.index, failing: [false; 3] };
        let (links, crowded, replies) = (HashMap::new(), Vec::new(), FuturesUnordered::new());
        Self { parts, links, crowded, replies, reads: Reads::default(), turns: Turns::default(), in_flight, outages }
    }

    /// Runs until it is stopped, or every lane and link has let go of the mailbox.
    pub async fn run(mut self) {
        let mut pause_ms = 0;
        loop {
            match self.wake(pause_ms).await {
                Wake::Stop | Wake::Event(None) | Wake::Deliveries(_, None) => return,
                Wake::Event(Some(event)) => self.event(event),
                Wake::Deliveries(lane, Some(batch)) => self.deliver(lane, batch),
                Wake::Reply(reply) => self.reply(reply),
                Wake::Tick => {}
            }
            // What else is there now belongs to the same turn, within bounds: its frames leave together.
            for _ in 0..limits::WORKER_EVENTS {
                let Ok(event) = self.parts.inbox.events.try_recv() else { break };
                self.event(event);
            }
            while let Some(Some(reply)) = self.replies.next().now_or_never() {
                self.reply(reply);
            }
            // Deliveries are taken in each turn, however many answers of links come.
            if let Some((lane, batch)) = self.next_batch() {
                self.deliver(lane, batch);
            }
            pause_ms = self.pump();
        }
    }

    /// Waits for something to do, `pause_ms` at the longest.
    async fn wake(&mut self, pause_ms: u64) -> Wake {
        let open = Lane::ALL.map(|lane| self.accepts(lane));
        let DriverParts { inbox: Inbox { events, deliveries: [high, normal, low] }, stop, .. } = &mut self.parts;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Wake::Stop,
            event = events.recv() => Wake::Event(event),
            Some(reply) = self.replies.next() => Wake::Reply(reply),
            batch = high.recv(), if open[0] => Wake::Deliveries(Lane::High, batch),
            batch = normal.recv(), if open[1] => Wake::Deliveries(Lane::Normal, batch),
            batch = low.recv(), if open[2] => Wake::Deliveries(Lane::Low, batch),
            () = tokio::time::sleep(Duration::from_millis(pause_ms)) => Wake::Tick,
        }
    }

    /// The next batch of deliveries that is there, and its lane.
    fn next_batch(&mut self) -> Option<(Lane, Vec<Box<Delivery>>)> {
        self.turns.order().into_iter().find_map(|lane| {
            let waits = self.accepts(lane).then(|| self.parts.inbox.deliveries[lane as usize].try_recv().ok());
            waits.flatten().map(|batch| (lane, batch))
        })
    }

    /// Whether the worker may take more of a lane: past the bounds it waits. The lower lanes leave room for the higher.
    fn accepts(&self, lane: Lane) -> bool {
        let worker = &self.parts.worker;
        let within = |taken: usize, max: usize| taken < max / 8 * [8, 7, 6][lane as usize];
        within(worker.in_flight(), limits::WORKER_OPEN_MAX)
            && within(worker.in_flight_bytes(), limits::WORKER_OPEN_BYTES_MAX)
            && within(self.parts.backlog.load(Ordering::Relaxed), limits::FINISH_BACKLOG)
            && worker.unknown(lane) < limits::WORKER_UNKNOWN_MAX
            && self.crowded.iter().all(|(_, crowded)| *crowded != lane)
    }

    fn deliver(&mut self, lane: Lane, batch: Vec<Box<Delivery>>) {
        self.turns.took(lane);
        self.parts.worker.deliver(self.now_ms(), batch);
    }

    fn now_ms(&self) -> u64 {
        (self.parts.clock)()
    }

    fn event(&mut self, event: WorkerEvent) {
        let now_ms = self.now_ms();
        match event {
            WorkerEvent::LinkUp { link, info, frames, queued } => {
                self.links.insert(link, Writer { frames, queued });
                self.parts.worker.link_up(now_ms, link, info);
            }
            WorkerEvent::LinkDown { link } => {
                self.links.remove(&link);
                self.parts.worker.link_down(now_ms, link);
            }
            WorkerEvent::Routing(routing) => self.parts.worker.routing(routing),
            WorkerEvent::Recall { message, recipients, holders } => {
                self.parts.worker.recall(now_ms, &message, &recipients, holders);
            }
            WorkerEvent::Frames { link, bytes } => self.frames(now_ms, link, &bytes),
        }
    }

    fn frames(&mut self, now_ms: u64, link: LinkId, mut bytes: &[u8]) {
        while let Ok(Some((body, used))) = take_frame(bytes) {
            match ToDispatcher::decode(body) {
                Ok(frame) => self.parts.worker.frame(now_ms, link, frame),
                // The link's reader decoded it before: only a bug comes here.
                Err(error) => error!(%error, "a frame that was sound is not"),
            }
            bytes = &bytes[used..];
        }
    }

    fn reply(&mut self, reply: Reply) {
        let now_ms = self.now_ms();
        let (outages, parts) = (&mut self.outages, &mut self.parts);
        match reply {
            Reply::Past(past) => {
                outages.seen(0, past.as_ref().err(), parts, now_ms);
                parts.worker.past(now_ms, past);
            }
            Reply::Applied(outcomes) => {
                outages.seen(1, outcomes.as_ref().err(), parts, now_ms);
                parts.worker.applied(now_ms, outcomes);
            }
            Reply::Read(read) => {
                outages.seen(2, read.error(), parts, now_ms);
                self.reads.came(&mut parts.worker, now_ms, read);
            }
        }
    }

    /// Carries out what the worker asks for. Answers for how long it may sleep, milliseconds.
    fn pump(&mut self) -> u64 {
        let now_ms = self.now_ms();
        let links = &self.links;
        let over = |queued: &Queued, lane| queued.bytes(lane) > limits::LINK_LANE_BYTES_MAX;
        self.crowded.retain(|(link, lane)| links.get(link).is_some_and(|l| over(&l.queued, *lane)));
        let worker = &mut self.parts.worker;
        let due_ms = worker.tick(now_ms);
        if let Some(PastQuery { marks, messages, .. }) = worker.take_past() {
            let (streams, states) = (Arc::clone(&self.parts.streams), Arc::clone(&self.parts.messages));
            let past = async move {
                let read = try_join(streams.marks(marks, now_ms), states.recalled(messages)).await;
                Reply::Past(read.map(|(marks, recalled)| Past { marks, recalled, ..Past::default() }))
            };
            self.replies.push(past.boxed());
        }
        if let Some(ops) = worker.take_ops() {
            let streams = Arc::clone(&self.parts.streams);
            self.replies.push(async move { Reply::Applied(streams.apply(ops, now_ms).await) }.boxed());
        }
        // What is replayed goes the same way as what is new.
        let reads = if self.crowded.is_empty() { worker.take_reads() } else { Vec::new() };
        self.reads.ask(reads);
        for read in self.reads.take(&self.parts.streams, now_ms) {
            self.replies.push(read.map(Reply::Read).boxed());
        }
        self.send_frames();
        self.finish();
        if !self.crowded.is_empty() || Lane::ALL.iter().any(|lane| !self.accepts(*lane)) {
            return limits::WORKER_TICK_MS;
        }
        due_ms.map_or(limits::WORKER_IDLE_MS, |due| due.saturating_sub(now_ms).clamp(1, limits::WORKER_IDLE_MS))
    }

    fn send_frames(&mut self) {
        for mut frames in self.parts.worker.take_frames() {
            let Some(writer) = self.links.get(&frames.link) else { continue };
            let (link, lane) = (frames.link, frames.lane);
            let over = writer.queued.add(lane, frames.bytes.len()) > limits::LINK_LANE_BYTES_MAX;
            if over && !self.crowded.contains(&(link, lane)) {
                self.crowded.push((link, lane));
            }
            if writer.queued.is_blocked() {
                // They wait for the link's peer.
                frames.urgent.clear();
            }
            // A link that ended meanwhile says so next; what was sent on it is then stored.
            let _ = writer.frames.send(frames);
        }
    }

    fn finish(&mut self) {
        let Untracked { tokens, states } = self.parts.worker.take_untracked();
        if !tokens.is_empty() {
            self.parts.settled.send(tokens);
            self.parts.metrics.untracked(states);
        }
        let mut finished = self.parts.worker.take_finished();
        if self.parts.backlog.load(Ordering::Relaxed) >= limits::RECEIPT_BACKLOG {
            let all = finished.len();
            finished.retain(|f| !matches!(f.record.state, State::Read | State::Clicked));
            self.parts.metrics.receipts_dropped.inc_by((all - finished.len()) as u64);
        }
        // Counted first: the finisher lowers the number as soon as it has them.
        self.parts.backlog.fetch_add(finished.len(), Ordering::Relaxed);
        self.parts.metrics.seen_joined.inc_by(self.parts.worker.take_joined());
        let counts = self.parts.worker.take_counts();
        if !counts.is_empty() {
            // As below: what is not counted then is counted with its repetition, if there is one.
            let _ = self.parts.finished.send(Finished::Counts(counts));
        }
        if !finished.is_empty() {
            // Without a finisher the process is going down and the records come again.
            let _ = self.parts.finished.send(Finished::States(finished));
        }
        let open = self.parts.worker.in_flight();
        self.parts.open.store(open, Ordering::Relaxed);
        self.in_flight.set(open as i64);
    }
}

/// Which requests to the streams fail now: told once when that changes.
struct Outages {
    worker: u8,
    failing: [bool; 3],
}

const OPERATIONS: [&str; 3] = ["read marks", "change streams", "read streams"];

impl Outages {
    fn seen(&mut self, operation: usize, error: Option<&StoreError>, parts: &DriverParts, now_ms: u64) {
        let name = OPERATIONS[operation];
        let was = std::mem::replace(&mut self.failing[operation], error.is_some());
        match error {
            Some(error) => {
                parts.metrics.retried(name);
                parts.health.failed(&format!("{name} (worker {})", self.worker), &error.to_string(), now_ms);
            }
            None if was => parts.health.recovered(&format!("{name} (worker {})", self.worker), now_ms),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
