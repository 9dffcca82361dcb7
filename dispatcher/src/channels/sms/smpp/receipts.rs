//! Receipts of one connection on their way to where they are recorded: a message centre gets its answer when they are, and sends
//! again what could not be.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use pushgate_protocol::result::State;
use tokio::time::timeout;

use crate::{
    channels::{
        reports::{Report, Reports, Whom},
        sms::config::SmppConfig,
    },
    core::smpp::{
        receipt::{Receipt, ReceiptState},
        sent::{Known, Parts, Sent},
        status,
    },
    limits::{SMPP_REPORT_AGAIN_MS, SMPP_REPORTS_END_MS, SMPP_REPORTS_WAITING_MAX},
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
    pub(super) fn new(smpp: &SmppConfig) -> Arc<Self> {
        let sent = Mutex::new(Sent::new(smpp.ids()));
        Arc::new(Self { wanted: smpp.receipts, sent, reports: OnceLock::new(), epoch: Instant::now() })
    }

    /// Whether receipts are asked for, and go anywhere.
    pub(super) fn is_open(&self) -> bool {
        self.wanted && self.reports.get().is_some()
    }

    fn with<T>(&self, step: impl FnOnce(&mut Sent<Whom>, u64) -> T) -> T {
        let now_ms = self.epoch.elapsed().as_millis() as u64;
        step(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner), now_ms)
    }
}

/// Those of one connection.
pub(super) struct Receipts {
    book: Arc<Book>,
    waiting: Vec<(Confirmation, Known<Whom>)>,
    telling: Option<Telling>,
    /// Whether some could not be recorded that do not come again.
    pauses: bool,
}

/// How the message centre hears that a receipt is recorded.
#[derive(Clone, Copy)]
enum Confirmation {
    /// By the answer to the question of this number.
    Due(u32),
    /// It asked in a session that is over, and asks again.
    Gone,
    /// It was answered before: the receipt overtook the answer to its submit, and does not come again.
    Given,
}

struct Telling {
    told: BoxFuture<'static, Result<(), StoreError>>,
    what: Vec<(Confirmation, Known<Whom>)>,
}

impl Receipts {
    pub(super) fn new(book: Arc<Book>) -> Self {
        Self { book, waiting: Vec::new(), telling: None, pauses: false }
    }

    /// A session begins. Numbers of an earlier one mean nothing in it.
    pub(super) fn begin(&mut self) {
        let telling = self.telling.iter_mut().flat_map(|telling| &mut telling.what);
        for (confirmation, _) in self.waiting.iter_mut().chain(telling) {
            if let Confirmation::Due(_) = confirmation {
                *confirmation = Confirmation::Gone;
            }
        }
    }

    /// A message was taken.
    pub(super) fn took(&mut self, name: &str, parts: &Arc<Parts<Whom>>) {
        let early = self.book.with(|sent, now_ms| sent.took(name, parts, now_ms));
        self.keep(early.map(|known| (Confirmation::Given, known)));
    }

    fn keep(&mut self, given: impl IntoIterator<Item = (Confirmation, Known<Whom>)>) {
        let room = (2 * SMPP_REPORTS_WAITING_MAX).saturating_sub(self.waiting.len());
        let mut given = given.into_iter();
        self.waiting.extend(given.by_ref().take(room));
        let lost = given.count();
        if lost > 0 {
            tracing::warn!(lost, "receipts could not be recorded, and do not come again: their messages stay sent");
        }
    }

    /// A receipt came. What to answer at once, if anything.
    pub(super) fn came(&mut self, sequence: u32, receipt: Receipt) -> Option<u32> {
        let known = self.book.with(|sent, now_ms| sent.receipt(receipt, now_ms));
        let Some(known) = known else { return Some(status::OK) };
        if self.waiting.len() >= SMPP_REPORTS_WAITING_MAX {
            self.book.with(|sent, now_ms| sent.again(&known, now_ms));
            return Some(status::QUEUE_FULL);
        }
        self.waiting.push((Confirmation::Due(sequence), known));
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
        let pause = Duration::from_millis(if std::mem::take(&mut self.pauses) { SMPP_REPORT_AGAIN_MS } else { 0 });
        let reports = reports.clone();
        let told = Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            reports.tell(batch).await
        });
        self.telling = Some(Telling { told, what });
    }

    /// Waits until what is being recorded is: what to answer to each. Nothing is lost if it is dropped before.
    pub(super) async fn told(&mut self) -> Vec<(u32, u32)> {
        let Some(telling) = &mut self.telling else { return std::future::pending().await };
        let told = (&mut telling.told).await;
        let what = self.telling.take().map(|telling| telling.what).unwrap_or_default();
        let due = |confirmation, code| match confirmation {
            Confirmation::Due(sequence) => Some((sequence, code)),
            Confirmation::Gone | Confirmation::Given => None,
        };
        let Err(error) = told else {
            return what.into_iter().filter_map(|(confirmation, _)| due(confirmation, status::OK)).collect();
        };
        tracing::warn!(%error, "receipts could not be recorded: they are asked for again");
        let (given, asked): (Vec<_>, Vec<_>) =
            what.into_iter().partition(|(confirmation, _)| matches!(confirmation, Confirmation::Given));
        self.pauses = !given.is_empty();
        self.keep(given);
        self.book.with(|sent, now_ms| asked.iter().for_each(|(_, known)| sent.again(known, now_ms)));
        asked.into_iter().filter_map(|(confirmation, _)| due(confirmation, status::QUEUE_FULL)).collect()
    }
}

impl Receipts {
    /// The account ends: what waits is recorded, within a bounded time. What to answer to each. What was answered before it was recorded does
    /// not come again, and what is asked again later finds nobody who knows its message.
    pub(super) async fn end(&mut self) -> Vec<(u32, u32)> {
        let mut answers = Vec::new();
        let recorded = async {
            loop {
                self.tell();
                if self.telling.is_none() {
                    return;
                }
                answers.extend(self.told().await);
            }
        };
        if timeout(Duration::from_millis(SMPP_REPORTS_END_MS), recorded).await.is_err() {
            let lost = self.waiting.len() + self.telling.as_ref().map_or(0, |telling| telling.what.len());
            tracing::warn!(lost, "receipts could not be recorded before the end: their messages stay sent");
        }
        answers
    }
}

fn report(Known { parts, receipt, .. }: &Known<Whom>) -> Report {
    let state = if receipt.state == ReceiptState::Delivered { State::Delivered } else { State::Failed };
    Report { whom: parts.whom.clone(), state, reason: receipt.reason(), provider_id: parts.name().map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use pushgate_protocol::{ids::MessageId, message::Channel, result::ResultRecord};

    use super::*;
    use crate::{
        channels::tests::parcel,
        memory::MemoryMessages,
        seams::{DeadRecord, MessageStore, ResultSink},
        states::MessageBounds,
    };

    /// Says what became of messages.
    #[derive(Default)]
    struct Told(Mutex<Vec<(MessageId, State)>>);

    impl ResultSink for Told {
        fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                let told = records.into_iter().map(|record| (record.message, record.state));
                self.0.lock().unwrap().extend(told);
                Ok(())
            })
        }

        fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn what_was_answered_before_it_was_recorded_is_recorded_before_the_account_ends() {
        let book = Book::new(&SmppConfig::default());
        let messages: Arc<dyn MessageStore> = Arc::new(MemoryMessages::new(MessageBounds::default()));
        let told = Arc::new(Told::default());
        let of = (Channel::Sms, "carrier".into());
        book.reports.set(Reports::new(of, messages, told.clone(), Arc::new(|| 1))).ok().unwrap();
        let mut receipts = Receipts::new(book);
        let receipt = |id: &str| Receipt { id: id.into(), state: ReceiptState::Delivered, error: None };
        let taken = |receipts: &mut Receipts, id: &str| {
            let whom = Whom { message: MessageId::parse(id).unwrap(), ..Whom::of(&parcel()) };
            receipts.took(id, &Parts::new(whom, 10, 1));
        };
        assert_eq!(receipts.came(1, receipt("early")), Some(status::OK), "it overtook the answer to its submit");
        taken(&mut receipts, "early");
        taken(&mut receipts, "prompt");
        assert_eq!(receipts.came(2, receipt("prompt")), None);
        assert_eq!(receipts.end().await, [(2, status::OK)]);
        let mut told = told.0.lock().unwrap().clone();
        told.sort();
        let delivered = |id: &str| (MessageId::parse(id).unwrap(), State::Delivered);
        assert_eq!(told, [delivered("early"), delivered("prompt")]);
    }
}
