//! Mailboxes of the pipeline workers, and which worker a user or a reference belongs to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pushgate_protocol::{link::Lane, result::Recipient, ring::Routing};
use tokio::sync::mpsc;

use crate::{
    core::worker::{Delivery, Frames, LinkId, LinkInfo, worker_of, worker_of_reference},
    limits,
    recall::is_for_everyone,
    seams::{BoxFuture, MessageKey, Recalls},
    urgency::Urgency,
};

/// What reaches a worker besides deliveries. Its channel is bounded; a worker always empties it.
#[derive(Debug)]
pub enum WorkerEvent {
    /// A link came up; frames for it go into `frames`. That channel never blocks a worker; `queued` tells it when to take
    /// no more for the link.
    LinkUp {
        /// Its name.
        link: LinkId,
        /// The shard at its end.
        info: LinkInfo,
        /// Its writer.
        frames: mpsc::UnboundedSender<Frames>,
        /// What waits in its writer, of all workers.
        queued: Arc<Queued>,
    },
    /// A link is gone.
    LinkDown {
        /// Its name.
        link: LinkId,
    },
    /// Another member list: pushes are routed by it from now on.
    Routing(Arc<Routing>),
    /// A message is taken back.
    Recall {
        /// Which.
        message: MessageKey,
        /// Known recipients, all of this worker.
        recipients: Vec<Recipient>,
        /// Every shard is told, for the sessions that hold it.
        holders: bool,
    },
    /// Whole frames from a link, all of this worker.
    Frames {
        /// The link.
        link: LinkId,
        /// The frames, length words included.
        bytes: Vec<u8>,
    },
}

/// What waits in a link's writer.
#[derive(Debug, Default)]
pub struct Queued {
    /// Bytes handed to the link and not yet written, per lane.
    bytes: [AtomicUsize; 3],
    blocked: AtomicBool,
}

impl Queued {
    /// So many more wait. Answers how many do.
    pub fn add(&self, lane: Lane, bytes: usize) -> usize {
        self.bytes[lane as usize].fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// So many were written.
    pub fn written(&self, lane: Lane, bytes: usize) {
        self.bytes[lane as usize].fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many wait.
    pub fn bytes(&self, lane: Lane) -> usize {
        self.bytes[lane as usize].load(Ordering::Relaxed)
    }

    /// Whether the peer keeps the link from writing what it has of lane high.
    pub fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Whether that was said last.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

/// The sending ends of one worker's mailbox.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// Links and their frames.
    pub events: mpsc::Sender<WorkerEvent>,
    /// Deliveries per lane, so that high never waits behind low.
    pub deliveries: [mpsc::Sender<Vec<Box<Delivery>>>; 3],
}

/// The receiving ends.
#[derive(Debug)]
pub struct Inbox {
    /// Links and their frames.
    pub events: mpsc::Receiver<WorkerEvent>,
    /// Deliveries per lane.
    pub deliveries: [mpsc::Receiver<Vec<Box<Delivery>>>; 3],
}

/// All workers' mailboxes.
#[derive(Debug, Clone)]
pub struct Mailboxes {
    all: Arc<[Mailbox]>,
    urgency: Urgency,
}

impl Mailboxes {
    /// Mailboxes for `workers` workers, with their inboxes in order.
    pub fn new(workers: u8) -> (Self, Vec<Inbox>) {
        let (boxes, inboxes): (Vec<_>, Vec<_>) = (0..workers.max(1)).map(|_| mailbox()).unzip();
        let urgency = Urgency::new(Duration::from_millis(limits::URGENT_HOLD_MS));
        (Self { all: boxes.into(), urgency }, inboxes)
    }

    /// How many workers there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Never: there is at least one worker.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// In worker order.
    pub fn iter(&self) -> impl Iterator<Item = &Mailbox> {
        self.all.iter()
    }

    /// The worker that gave a link reference: its top byte.
    pub fn of_reference(&self, reference: u64) -> usize {
        usize::from(worker_of_reference(reference))
    }

    /// The worker of a user.
    pub fn of_user(&self, app: &str, user: &str) -> usize {
        worker_of(app, user, self.all.len())
    }

    /// The gate between what lane high puts into mailboxes and what links write of the lower lanes.
    pub fn urgency(&self) -> &Urgency {
        &self.urgency
    }

    /// The same mailboxes with another gate.
    pub fn with_urgency(self, urgency: Urgency) -> Self {
        Self { urgency, ..self }
    }
}

impl Recalls for Mailboxes {
    fn recall(&self, message: MessageKey, recipients: Vec<Recipient>, holders: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A recall for everyone reaches every session, so also those that hold the message.
            let holders = holders && !is_for_everyone(&recipients);
            let mut of_worker = vec![Vec::new(); self.len()];
            for recipient in recipients {
                of_worker[self.of_user(message.app.as_str(), recipient.user.as_str())].push(recipient);
            }
            for (at, (mailbox, recipients)) in self.iter().zip(of_worker).enumerate() {
                let holders = holders && at == 0;
                if !recipients.is_empty() || holders {
                    let event = WorkerEvent::Recall { message: message.clone(), recipients, holders };
                    // Without a worker the process is going down, and nothing is under way any more.
                    let _ = mailbox.events.send(event).await;
                }
            }
        })
    }
}

fn mailbox() -> (Mailbox, Inbox) {
    let (events, events_in) = mpsc::channel(limits::WORKER_EVENTS);
    let lanes = Lane::ALL.map(|_| mpsc::channel(limits::WORKER_BATCHES));
    let [(high, high_in), (normal, normal_in), (low, low_in)] = lanes;
    (
        Mailbox { events, deliveries: [high, normal, low] },
        Inbox { events: events_in, deliveries: [high_in, normal_in, low_in] },
    )
}
