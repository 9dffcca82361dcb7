//! What became of mails and text messages: nobody receives them here, so the server is asked for the state of each, after everything was sent.
//!
//! Latency is from planned to the time at which the server says that the provider took it; of a server on another machine both clocks are in it.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tokio::{runtime::Builder, time::timeout};

use crate::{
    histogram::Histogram,
    lanes::ByLane,
    limits::{INQUIRY_PAUSE, INQUIRY_TIMEOUT, INQUIRY_WORKERS},
    rest::RestConnection,
    sender::RestDoor,
    stamp::Stamp,
};

/// What was found out of a lane's messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Found {
    /// Messages that were asked about.
    pub asked: u64,
    /// Their states and reasons.
    pub states: BTreeMap<String, u64>,
    /// Those that a provider took.
    pub taken: u64,
    /// Those without an end.
    pub open: u64,
    /// From planned to taken, of what was measured.
    pub latency: Histogram,
}

impl Found {
    /// Adds another process's.
    pub(super) fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        for (state, count) in &other.states {
            *self.states.entry(state.clone()).or_default() += count;
        }
        self.taken += other.taken;
        self.open += other.open;
        self.latency.merge(&other.latency);
    }
}

/// An inquiry under way, on a thread of its own.
pub(super) struct Inquiry {
    thread: thread::JoinHandle<()>,
    shared: Arc<Shared>,
}

struct Shared {
    door: RestDoor,
    measured_from_us: u64,
    stop: AtomicBool,
    until: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// The next to be asked about stands first, with when it may be.
    waiting: VecDeque<(Instant, Stamp)>,
    /// Those that are asked about now.
    under_way: usize,
    found: ByLane<Found>,
    /// Why the server did not answer, the first time.
    failure: Option<String>,
}

/// What is read of the answer about a message.
#[derive(Deserialize)]
struct View {
    recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
struct Recipient {
    state: String,
    reason: Option<String>,
    history: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    state: String,
    time_ms: u64,
}

impl Inquiry {
    /// Asks about each until all have ended or the time is up.
    pub(super) fn start(door: RestDoor, stamps: Vec<Stamp>, measured_from_us: u64, until: Instant) -> io::Result<Self> {
        let mut book = Book::default();
        stamps.iter().for_each(|stamp| book.found[stamp.lane].asked += 1);
        let now = Instant::now();
        book.waiting.extend(stamps.into_iter().map(|stamp| (now, stamp)));
        let shared =
            Arc::new(Shared { door, measured_from_us, stop: AtomicBool::new(false), until, book: Mutex::new(book) });
        let asks = Arc::clone(&shared);
        let thread = thread::Builder::new().name("inquiry".into()).spawn(move || {
            // A runtime that does not start leaves everything open, and that is told.
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                let mut workers = tokio::task::JoinSet::new();
                (0..INQUIRY_WORKERS).for_each(|_| drop(workers.spawn(Arc::clone(&asks).work())));
                workers.join_all().await;
            });
        })?;
        Ok(Self { thread, shared })
    }

    /// Whether nothing more is asked.
    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks nothing more; what was found until now, and what kept it from finding more.
    pub(super) fn end(self) -> (ByLane<Found>, Option<String>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // One that panicked has said so.
        let _ = self.thread.join();
        let mut book = self.shared.book();
        for found in book.found.values_mut() {
            found.open = found.asked - found.states.values().sum::<u64>();
        }
        (std::mem::take(&mut book.found), book.failure.take())
    }
}

impl Shared {
    async fn work(self: Arc<Self>) {
        let mut connection = None;
        while !self.stop.load(Ordering::Relaxed) && Instant::now() < self.until {
            let next = {
                let mut book = self.book();
                if book.waiting.is_empty() && book.under_way == 0 {
                    return;
                }
                // In the order in which they may be asked about.
                let due = book.waiting.front().is_some_and(|(not_before, _)| *not_before <= Instant::now());
                book.under_way += usize::from(due);
                if due { book.waiting.pop_front() } else { None }
            };
            let Some((_, stamp)) = next else {
                tokio::time::sleep(INQUIRY_PAUSE / 10).await;
                continue;
            };
            let seen = match timeout(INQUIRY_TIMEOUT, self.ask(&mut connection, &stamp)).await {
                Ok(seen) => seen,
                Err(_) => Err(io::Error::other("the state of a message was not told in time")),
            };
            let again = match &seen {
                Ok(Some(recipient)) => !self.note(&stamp, recipient),
                Ok(None) => true,
                Err(error) => {
                    self.book().failure.get_or_insert_with(|| error.to_string());
                    true
                }
            };
            if seen.is_err() {
                // A server that refuses connections is not asked in a tight loop.
                tokio::time::sleep(INQUIRY_PAUSE).await;
            }
            let mut book = self.book();
            book.under_way -= 1;
            if again {
                book.waiting.push_back((Instant::now() + INQUIRY_PAUSE, stamp));
            }
        }
    }

    /// What the server says of a message; nothing if it does not know of a recipient yet.
    async fn ask(&self, kept: &mut Option<RestConnection>, stamp: &Stamp) -> io::Result<Option<Recipient>> {
        let RestDoor { address, app, secret } = &self.door;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => RestConnection::connect(address, app, secret).await?,
        };
        let id = stamp.write();
        let answer = connection.get(&format!("/v1/messages/{}", String::from_utf8_lossy(&id))).await?;
        let recipient = match answer.status {
            200 => serde_json::from_slice::<View>(answer.body).map_err(io::Error::from)?.recipients.pop(),
            // Of a message that came over Kafka nothing is known before it was read.
            404 => None,
            status => return Err(io::Error::other(format!("GET /v1/messages/… was answered {status}"))),
        };
        *kept = Some(connection);
        Ok(recipient)
    }

    /// Whether it has ended, which is written down.
    fn note(&self, stamp: &Stamp, recipient: &Recipient) -> bool {
        let taken = recipient.history.iter().find(|entry| matches!(entry.state.as_str(), "sent" | "delivered"));
        let ended = matches!(recipient.state.as_str(), "failed" | "expired" | "skipped" | "recalled" | "unknown");
        if taken.is_none() && !ended {
            return false;
        }
        let mut book = self.book();
        let found = &mut book.found[stamp.lane];
        let reason = recipient.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        *found.states.entry(format!("{}{reason}", recipient.state)).or_default() += 1;
        if let Some(taken) = taken {
            found.taken += 1;
            if stamp.planned_us >= self.measured_from_us {
                found.latency.record((taken.time_ms * 1_000).saturating_sub(stamp.planned_us));
            }
        }
        true
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
