//! Receipts of one connection on their way to where they are recorded: a message centre gets its answer when they are, and sends
//! again what could not be.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use pushgate_protocol::result::State;

use crate::{
    channels::reports::{Report, Reports, Whom},
    core::smpp::{
        receipt::{Receipt, ReceiptState},
        sent::{Known, Parts, Sent},
        status,
    },
    limits::SMPP_REPORTS_WAITING_MAX,
    seams::{BoxFuture, StoreError},
};

/// What the connections of an account share: receipts come on any of them.
pub(super) struct Book {
    /// Whether receipts are asked for.
    wanted: bool,
    sent: Mutex<Sent<Whom>>,
    /// Where they go, once that is known.
    pub(super) reports: OnceLock<Reports>,
    epoch: Instant,
}

impl Book {
    pub(super) fn new(wanted: bool) -> Arc<Self> {
        Arc::new(Self { wanted, sent: Mutex::default(), reports: OnceLock::new(), epoch: Instant::now() })
    }

    fn with<T>(&self, step: impl FnOnce(&mut Sent<Whom>, u64) -> T) -> T {
        let now_ms = self.epoch.elapsed().as_millis() as u64;
        step(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner), now_ms)
    }
}

/// Those of one connection.
pub(super) struct Receipts {
    book: Arc<Book>,
    /// Each with the number of what is to be answered; none for one that came before the answer to its submit.
    waiting: Vec<(Option<u32>, Known<Whom>)>,
    telling: Option<Telling>,
}

struct Telling {
    told: BoxFuture<'static, Result<(), StoreError>>,
    what: Vec<(Option<u32>, Known<Whom>)>,
}

impl Receipts {
    pub(super) fn new(book: Arc<Book>) -> Self {
        Self { book, waiting: Vec::new(), telling: None }
    }

    /// A message was taken.
    pub(super) fn took(&mut self, name: &str, parts: &Arc<Parts<Whom>>) {
        parts.named(name);
        if !self.book.wanted || self.book.reports.get().is_none() {
            return;
        }
        let early = self.book.with(|sent, now_ms| sent.took(name, parts, now_ms));
        self.waiting.extend(early.map(|known| (None, known)));
    }

    /// A receipt came. What to answer at once, if anything.
    pub(super) fn came(&mut self, sequence: u32, receipt: Receipt) -> Option<u32> {
        let known = self.book.with(|sent, now_ms| sent.receipt(receipt, now_ms));
        let Some(known) = known else { return Some(status::OK) };
        if self.waiting.len() >= SMPP_REPORTS_WAITING_MAX {
            self.book.with(|sent, now_ms| sent.again(&known, now_ms));
            return Some(status::QUEUE_FULL);
        }
        self.waiting.push((Some(sequence), known));
        None
    }

    /// Begins to record what waits, unless that is under way.
    pub(super) fn tell(&mut self) {
        let Some(reports) = self.book.reports.get() else { return };
        if self.telling.is_some() || self.waiting.is_empty() {
            return;
        }
        let what = std::mem::take(&mut self.waiting);
        let batch = what.iter().map(|(_, known)| report(known)).collect();
        let reports = reports.clone();
        let told = Box::pin(async move { reports.tell(batch).await });
        self.telling = Some(Telling { told, what });
    }

    /// Waits until what is being recorded is: what to answer to each. Nothing is lost if it is dropped before.
    pub(super) async fn told(&mut self) -> Vec<(u32, u32)> {
        let Some(telling) = &mut self.telling else { return std::future::pending().await };
        let told = (&mut telling.told).await;
        let what = self.telling.take().map(|telling| telling.what).unwrap_or_default();
        let code = match &told {
            Ok(()) => status::OK,
            Err(error) => {
                tracing::warn!(%error, "receipts could not be recorded: they are asked for again");
                self.book.with(|sent, now_ms| what.iter().for_each(|(_, known)| sent.again(known, now_ms)));
                status::QUEUE_FULL
            }
        };
        what.into_iter().filter_map(|(sequence, _)| sequence.map(|sequence| (sequence, code))).collect()
    }
}

fn report((parts, receipt): &Known<Whom>) -> Report {
    let state = if receipt.state == ReceiptState::Delivered { State::Delivered } else { State::Failed };
    Report {
        whom: parts.whom.clone(),
        state,
        reason: receipt.reason(),
        provider_id: parts.name().map(str::to_owned),
    }
}
