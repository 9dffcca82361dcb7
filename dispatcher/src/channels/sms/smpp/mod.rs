//! `kind = "smpp"`: text messages through a message centre that speaks SMPP 3.4, over connections that stay open.
//!
//! | module | owns |
//! |---|---|
//! | [`settings`] | the account, checked |
//! | [`stream`] | bytes, in clear or encrypted |
//! | [`link`] | one connection, opened anew whenever it breaks |
//! | [`session`] | from a connection's opening to its end |
//! | [`look`] | whether it lets us in |
//! | [`receipts`] | receipts on their way to results |
//!
//! What is decided without I/O is in [`core::smpp`](crate::core::smpp). A submit whose connection broke once it was written is never made
//! again: it may have been sent.

mod link;
mod look;
mod receipts;
mod session;
mod settings;
mod stream;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::message::Channel;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use xxhash_rust::xxh3::xxh3_64;

use self::{
    link::{Link, Outcome, Waiter},
    receipts::{Book, Receipts},
    settings::Settings,
};
use super::{http::unsent, words};
use crate::{
    channels::{
        Checked, Provider,
        config::AccountConfig,
        reports::{Reports, Whom},
    },
    core::{
        account::{Answer, Parcel, Rejection},
        smpp::{
            pdu::Submit,
            sent::Parts,
            status,
            text::{self, Encoded},
        },
    },
    limits,
    seams::BoxFuture,
};

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    let settings = Arc::new(Settings::of(account)?);
    let book = Book::new(&settings.smpp);
    Ok(Arc::new(Smpp { settings, book, links: OnceLock::new() }))
}

struct Smpp {
    settings: Arc<Settings>,
    book: Arc<Book>,
    links: OnceLock<Links>,
}

/// Open connections, or those to be opened. They end when this is dropped.
struct Links {
    all: Vec<Arc<Link>>,
    running: Mutex<JoinSet<()>>,
    stop: watch::Sender<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        // They see that nobody needs them any more, and say goodbye by themselves.
        self.running.get_mut().unwrap_or_else(PoisonError::into_inner).detach_all();
    }
}

impl Provider for Smpp {
    fn kind(&self) -> Channel {
        Channel::Sms
    }

    fn start(&self, reports: Reports) {
        let _ = self.book.reports.set(reports);
        self.links();
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        Box::pin(async move { unsent(parcel, self.attempt(parcel).await) })
    }

    fn check(&self) -> BoxFuture<'_, Checked> {
        Box::pin(look::look(&self.settings))
    }

    fn concurrency(&self) -> Option<usize> {
        Some(self.settings.smpp.concurrency())
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(links) = self.links.get() else { return };
            links.stop.send_replace(());
            let running = std::mem::take(&mut *links.running.lock().unwrap_or_else(PoisonError::into_inner));
            // Goodbyes and receipts have bounds of their own.
            running.join_all().await;
        })
    }
}

impl Smpp {
    fn links(&self) -> &Links {
        self.links.get_or_init(|| {
            let (stop, stopped) = watch::channel(());
            let mut running = JoinSet::new();
            let all: Vec<_> = (0..self.settings.smpp.binds).map(|_| Link::new(Arc::clone(&self.settings))).collect();
            for (n, link) in all.iter().enumerate() {
                let receipts = Receipts::new(Arc::clone(&self.book));
                // Where the link stands in memory differs between processes, so that they do not come back at once.
                let seed = xxh3_64(&[Arc::as_ptr(link) as usize, n].map(usize::to_le_bytes).concat());
                running.spawn(Arc::clone(link).run(receipts, stopped.clone(), seed));
            }
            Links { all, running: Mutex::new(running), stop }
        })
    }

    /// The connection with the most room.
    fn link(&self) -> &Arc<Link> {
        let links = &self.links().all;
        let room = |link: &&Arc<Link>| (link.is_bound(), link.places.available_permits());
        links.iter().max_by_key(room).expect("there is at least one")
    }

    async fn attempt(&self, parcel: &Parcel) -> Answer {
        parcel.sending.begin();
        let encoded = match self.encoded(parcel) {
            Ok(encoded) => encoded,
            Err(answer) => return answer,
        };
        let link = self.link();
        parcel.sending.call();
        if let Err(why) = link.ready().await {
            return Answer::Unavailable { detail: why.to_string() };
        }
        parcel.sending.reached();
        let ahead = link.ahead();
        if ahead > Duration::from_millis(2 * limits::SMPP_THROTTLED_MS) {
            let after_ms = Some(ahead.as_millis() as u64);
            return Answer::RetryAfter { after_ms, detail: "the message centre wants it slower".into() };
        }
        let parts = self.book.is_open().then(|| {
            let whom = Whom::of(parcel);
            let bytes = whom.bytes();
            Parts::new(whom, bytes, encoded.parts.len())
        });
        let mut waiting = Vec::with_capacity(encoded.parts.len());
        for body in &encoded.parts {
            waiting.push((body, self.submit(link, parcel, &encoded, body, parts.clone()).await));
        }
        let (mut taken, mut first_name) = (0, None);
        loop {
            let mut later = Vec::new();
            for (body, answer) in waiting.drain(..) {
                let outcome = answer.await.unwrap_or_else(|_| Outcome::Unanswered("it did not answer".into()));
                match outcome {
                    Outcome::Answered(status::OK, name) => {
                        taken += 1;
                        first_name = first_name.or(name);
                    }
                    outcome => later.push((body, outcome)),
                }
            }
            let Some((_, first)) = later.first() else {
                // Its receipts go by the same name, whichever of its parts was answered first.
                let named = parts.as_ref().and_then(|parts| parts.name()).map(str::to_owned);
                return Answer::Sent { provider_id: named.or(first_name) };
            };
            let transient =
                |outcome: &Outcome| matches!(outcome, Outcome::Answered(code, _) if status::is_throttling(*code));
            if taken == 0 || !later.iter().all(|(_, outcome)| transient(outcome)) {
                return ended(taken, encoded.parts.len(), later.iter().map(|(_, outcome)| outcome), first);
            }
            // A part of it is sent: the rest goes along, or the whole would have to be sent again.
            tokio::time::sleep(Duration::from_millis(limits::SMPP_THROTTLED_MS)).await;
            for (body, _) in later {
                waiting.push((body, self.submit(link, parcel, &encoded, body, parts.clone()).await));
            }
        }
    }

    async fn submit(
        &self,
        link: &Arc<Link>,
        parcel: &Parcel,
        encoded: &Encoded,
        body: &[u8],
        parts: Option<Arc<Parts<Whom>>>,
    ) -> oneshot::Receiver<Outcome> {
        let (answer, answered) = oneshot::channel();
        let Ok(place) = Arc::clone(&link.places).acquire_owned().await else { return answered };
        let waiter = Waiter { parts, sending: parcel.sending.clone(), answer, place };
        let Settings { smpp, source, .. } = &*self.settings;
        let Some(seconds) = left_s(parcel) else {
            waiter.tell(Outcome::Late);
            return answered;
        };
        let mut submit = Submit {
            service_type: &smpp.service_type,
            source,
            to: smpp.destination,
            digits: parcel.address.as_str().trim_start_matches('+'),
            has_head: encoded.parts.len() > 1,
            receipt: smpp.receipts,
            data_coding: encoded.data_coding,
            valid_s: smpp.validity.then_some(seconds),
            payload: encoded.payload,
            body,
        };
        if let Some((pause, waiter)) = link.turn(&submit, waiter) {
            tokio::time::sleep(pause).await;
            match left_s(parcel) {
                Some(seconds) => {
                    submit.valid_s = smpp.validity.then_some(seconds);
                    link.submit(&submit, waiter);
                }
                None => waiter.tell(Outcome::Late),
            }
        }
        answered
    }

    fn encoded(&self, parcel: &Parcel) -> Result<Encoded, Answer> {
        let text = words::text(parcel)?;
        // The same whenever this message is sent to this number, and most likely another than that of the next.
        let reference = xxh3_64(parcel.id.as_str().as_bytes()) as u8;
        let smpp = &self.settings.smpp;
        text::encode(&text, smpp.alphabet(), smpp.long(), reference)
            .map_err(|error| Answer::Rejected { why: Rejection::Content, detail: error.to_string() })
    }
}

/// For how long the message is worth sending, seconds; `None` if it is over.
fn left_s(parcel: &Parcel) -> Option<u64> {
    let left_ms = parcel.expires_ms.checked_sub(now_ms()).filter(|left_ms| *left_ms > 0)?;
    Some((left_ms / 1_000).max(1))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// What follows of parts that were not all taken.
fn ended<'a>(taken: usize, parts: usize, mut left: impl Iterator<Item = &'a Outcome>, first: &Outcome) -> Answer {
    let unanswered = left.find_map(|outcome| match outcome {
        Outcome::Unanswered(why) => Some(format!("{why}; it may have been sent, and is not sent again")),
        _ => None,
    });
    match (unanswered, first) {
        (Some(detail), _) => Answer::Unknown { detail },
        (None, Outcome::Answered(code, _)) if taken == 0 => status::of(*code),
        (None, Outcome::Answered(code, _)) => Answer::Unknown {
            detail: format!("{taken} of its {parts} parts were taken, and of another {}", status::said(*code)),
        },
        (None, Outcome::Late) if taken == 0 => Answer::Late,
        (None, Outcome::Late) => {
            Answer::Unknown { detail: format!("{taken} of its {parts} parts were taken, and then it expired") }
        }
        (None, Outcome::NotSent(why) | Outcome::Unanswered(why)) if taken == 0 => {
            Answer::Unavailable { detail: why.to_string() }
        }
        (None, Outcome::NotSent(why) | Outcome::Unanswered(why)) => {
            Answer::Unknown { detail: format!("{taken} of its {parts} parts were taken: {why}") }
        }
    }
}
