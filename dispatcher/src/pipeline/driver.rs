//! The driver of one pipeline worker: carries the sans-I/O worker's requests to stores and links, and their answers back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use pushgate_protocol::link::{ToDispatcher, take_frame};
use tokio::sync::mpsc;
use tracing::error;

use super::{
    finisher::Finished,
    mailbox::{Inbox, WorkerEvent},
};
use crate::{
    core::worker::{Frames, LinkId, ReadId, Worker},
    limits,
    seams::{BoxFuture, Mark, StoreError, StreamOutcome, StreamPage, Streams},
};

/// What a driver works with.
pub struct DriverParts {
    /// The worker.
    pub worker: Worker,
    /// Its mailbox.
    pub inbox: Inbox,
    /// Streams and marks.
    pub streams: Arc<dyn Streams>,
    /// Where ended deliveries go.
    pub finished: mpsc::UnboundedSender<Finished>,
    /// Ended deliveries whose result is not yet published.
    pub backlog: Arc<AtomicUsize>,
    /// Shows deliveries taken and not finished.
    pub open: Arc<AtomicUsize>,
    /// Unix milliseconds.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// A store's answer.
enum Reply {
    Marks(Result<Vec<Option<Mark>>, StoreError>),
    Applied(Result<Vec<StreamOutcome>, StoreError>),
    Page(ReadId, Result<StreamPage, StoreError>),
}

/// Runs until its inbox is closed.
pub struct Driver {
    parts: DriverParts,
    links: HashMap<LinkId, mpsc::UnboundedSender<Frames>>,
    replies: FuturesUnordered<BoxFuture<'static, Reply>>,
}

/// What woke the driver.
enum Wake {
    Event(Option<WorkerEvent>),
    Deliveries(Option<Vec<crate::core::worker::Delivery>>),
    Reply(Reply),
    Tick,
}

impl Driver {
    /// A driver.
    pub fn new(parts: DriverParts) -> Self {
        Self { parts, links: HashMap::new(), replies: FuturesUnordered::new() }
    }

    /// Runs until every lane and link has let go of the mailbox.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(Duration::from_millis(limits::WORKER_TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            match self.wake(&mut tick).await {
                Wake::Event(None) | Wake::Deliveries(None) => return,
                Wake::Event(Some(event)) => self.event(event),
                Wake::Deliveries(Some(batch)) => self.parts.worker.deliver(self.now_ms(), batch),
                Wake::Reply(reply) => self.reply(reply),
                Wake::Tick => {}
            }
            // What else is there now belongs to the same turn: its frames leave together.
            while let Some(Ok(event)) = Some(self.parts.inbox.events.try_recv()) {
                self.event(event);
            }
            while let Some(Some(reply)) = self.replies.next().now_or_never() {
                self.reply(reply);
            }
            self.pump();
        }
    }

    async fn wake(&mut self, tick: &mut tokio::time::Interval) -> Wake {
        let open = self.accepts();
        let Inbox { events, deliveries: [high, normal, low] } = &mut self.parts.inbox;
        tokio::select! {
            biased;
            event = events.recv() => Wake::Event(event),
            Some(reply) = self.replies.next() => Wake::Reply(reply),
            batch = high.recv(), if open => Wake::Deliveries(batch),
            batch = normal.recv(), if open => Wake::Deliveries(batch),
            batch = low.recv(), if open => Wake::Deliveries(batch),
            _ = tick.tick() => Wake::Tick,
        }
    }

    /// Whether the worker may take more: past the bounds its lanes wait.
    fn accepts(&self) -> bool {
        let worker = &self.parts.worker;
        worker.in_flight() < limits::WORKER_OPEN_MAX
            && worker.in_flight_bytes() < limits::WORKER_OPEN_BYTES_MAX
            && self.parts.backlog.load(Ordering::Relaxed) < limits::FINISH_BACKLOG
    }

    fn now_ms(&self) -> u64 {
        (self.parts.clock)()
    }

    fn event(&mut self, event: WorkerEvent) {
        let now_ms = self.now_ms();
        match event {
            WorkerEvent::LinkUp { link, info, frames } => {
                self.links.insert(link, frames);
                self.parts.worker.link_up(now_ms, link, info);
            }
            WorkerEvent::LinkDown { link } => {
                self.links.remove(&link);
                self.parts.worker.link_down(now_ms, link);
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
        match reply {
            Reply::Marks(marks) => self.parts.worker.marks(now_ms, marks),
            Reply::Applied(outcomes) => self.parts.worker.applied(now_ms, outcomes),
            Reply::Page(request, page) => self.parts.worker.page(now_ms, request, page),
        }
    }

    /// Carries out what the worker asks for.
    fn pump(&mut self) {
        let now_ms = self.now_ms();
        let worker = &mut self.parts.worker;
        worker.tick(now_ms);
        if let Some(queries) = worker.take_marks() {
            let streams = Arc::clone(&self.parts.streams);
            self.replies.push(async move { Reply::Marks(streams.marks(queries, now_ms).await) }.boxed());
        }
        if let Some(ops) = worker.take_ops() {
            let streams = Arc::clone(&self.parts.streams);
            self.replies.push(async move { Reply::Applied(streams.apply(ops, now_ms).await) }.boxed());
        }
        for read in worker.take_reads() {
            let streams = Arc::clone(&self.parts.streams);
            let page = async move {
                let page = streams.read(read.user, read.after, read.limit, read.episode, now_ms).await;
                Reply::Page(read.id, page)
            };
            self.replies.push(page.boxed());
        }
        for frames in worker.take_frames() {
            if let Some(sender) = self.links.get(&frames.link) {
                // A link that ended meanwhile says so next; what was sent on it is then stored.
                let _ = sender.send(frames);
            }
        }
        let mut ended = 0;
        for finished in worker.take_finished() {
            ended += 1;
            // Without a finisher the process is going down and the records come again.
            let _ = self.parts.finished.send(Finished::State(finished));
        }
        self.parts.backlog.fetch_add(ended, Ordering::Relaxed);
        self.parts.open.store(self.parts.worker.in_flight(), Ordering::Relaxed);
    }
}
