//! Reads of streams for the replays of a worker: one look at many at once, and then those alone in which there is something.

use std::{collections::HashMap, sync::Arc};

use pushgate_protocol::ids::AppId;

use crate::{
    core::worker::{ReadId, ReadRequest, Worker},
    limits::{READ_ENTRIES, READ_ENTRIES_MIN, READS_ENTRIES_MAX},
    seams::{AllPage, BoxFuture, Glance, StoreError, StreamPage, Streams, UserKey},
};

/// What of a worker's reads is not under way, and how much is.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// To be looked at: they begin at the start of a stream.
    unseen: Vec<ReadRequest>,
    /// To be read.
    full: Vec<ReadRequest>,
    /// Reads under way.
    reading: usize,
}

/// An answer of the store.
pub(super) enum Read {
    /// To a look, in the order asked.
    Looked(Vec<ReadRequest>, Result<Vec<Glance>, StoreError>),
    /// A part of a user's stream.
    Page(ReadId, Result<StreamPage, StoreError>),
    /// A part of the messages to everyone.
    AllPage(ReadId, Result<AllPage, StoreError>),
}

impl Read {
    /// What went wrong.
    pub(super) fn error(&self) -> Option<&StoreError> {
        match self {
            Self::Looked(_, glances) => glances.as_ref().err(),
            Self::Page(_, page) => page.as_ref().err(),
            Self::AllPage(_, page) => page.as_ref().err(),
        }
    }
}

impl Reads {
    /// The worker wants these.
    pub(super) fn ask(&mut self, requests: Vec<ReadRequest>) {
        for request in requests {
            match request.after {
                0 => self.unseen.push(request),
                _ => self.full.push(request),
            }
        }
    }

    /// What to ask the store now.
    pub(super) fn take(&mut self, streams: &Arc<dyn Streams>, now_ms: u64) -> Vec<BoxFuture<'static, Read>> {
        let mut reads: Vec<BoxFuture<'static, Read>> = Vec::new();
        if !self.unseen.is_empty() {
            reads.push(look(Arc::clone(streams), std::mem::take(&mut self.unseen), now_ms));
        }
        let share = READS_ENTRIES_MAX / (self.reading + self.full.len()).max(1);
        let most = share.clamp(READ_ENTRIES_MIN, READ_ENTRIES);
        for mut request in self.full.drain(..) {
            self.reading += 1;
            request.limit = request.limit.min(most);
            reads.push(read(Arc::clone(streams), request, now_ms));
        }
        reads
    }

    /// An answer came.
    pub(super) fn came(&mut self, worker: &mut Worker, now_ms: u64, read: Read) {
        match read {
            Read::Looked(requests, Ok(glances)) => {
                for (request, glance) in requests.into_iter().zip(glances) {
                    match glance.empty {
                        true => nothing(worker, now_ms, &request, glance.deferred),
                        false => self.full.push(request),
                    }
                }
            }
            Read::Looked(requests, Err(error)) => {
                for request in requests {
                    match request.everyone {
                        true => worker.page_all(now_ms, request.id, Err(error.clone())),
                        false => worker.page(now_ms, request.id, Err(error.clone())),
                    }
                }
            }
            Read::Page(id, page) => {
                self.reading -= 1;
                worker.page(now_ms, id, page);
            }
            Read::AllPage(id, page) => {
                self.reading -= 1;
                worker.page_all(now_ms, id, page);
            }
        }
    }
}

/// The answer to a read of a stream in which there is nothing.
fn nothing(worker: &mut Worker, now_ms: u64, request: &ReadRequest, deferred: u64) {
    match request.everyone {
        true => worker.page_all(now_ms, request.id, Ok(AllPage { end: true, ..AllPage::default() })),
        false => worker.page(now_ms, request.id, Ok(StreamPage { end: true, deferred, ..StreamPage::default() })),
    }
}

/// Looks at the streams, at that of an app's messages to everyone once for all who ask for it.
fn look(streams: Arc<dyn Streams>, requests: Vec<ReadRequest>, now_ms: u64) -> BoxFuture<'static, Read> {
    Box::pin(async move {
        let mut asked = Vec::with_capacity(requests.len());
        let mut apps: HashMap<AppId, usize> = HashMap::new();
        let places: Vec<usize> = requests
            .iter()
            .map(|request| {
                let next = asked.len();
                let at = match request.everyone {
                    true => *apps.entry(request.user.app.clone()).or_insert(next),
                    false => next,
                };
                if at == next {
                    asked.push(match request.everyone {
                        true => (UserKey::everyone(request.user.app.clone()), 0),
                        false => (request.user.clone(), request.episode),
                    });
                }
                at
            })
            .collect();
        let glances = streams.glance(asked, now_ms).await;
        Read::Looked(
            requests,
            glances.map(|glances| places.iter().map(|at| glances.get(*at).copied().unwrap_or_default()).collect()),
        )
    })
}

fn read(streams: Arc<dyn Streams>, request: ReadRequest, now_ms: u64) -> BoxFuture<'static, Read> {
    let ReadRequest { id, user, after, limit, episode, everyone } = request;
    Box::pin(async move {
        match everyone {
            true => Read::AllPage(id, streams.read_all(user, after, limit, now_ms).await),
            false => Read::Page(id, streams.read(user, after, limit, episode, now_ms).await),
        }
    })
}
