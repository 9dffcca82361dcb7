//! An intake and a message store in memory that fail on demand.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    result::{Recipient, ResultRecord, State},
};

use crate::seams::{
    BoxFuture, Count, DeadCursor, DeadLetter, DeadLetters, DeadPage, DeadPlace, DeadRecord, Intake, MessageKey,
    MessageStore, MessageView, NewRecord, Recalls, RecipientView, Reservation, ResultSink, StateChange, StateEntry,
    StoreError,
};

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Outage {
    #[default]
    None,
    Reserve,
    Append,
    Confirm,
    /// No call ever ends.
    Silent,
}

/// What a recall did, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Did {
    /// The message was noted as taken back.
    Noted,
    /// Workers were told of this many recipients.
    Told(usize),
    /// A result: who, the state, and whether it repeats something of the message.
    Published(String, State, bool),
    /// A state.
    Recorded(String, State),
}

#[derive(Default)]
pub(super) struct Memory(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    outage: Outage,
    records: Vec<(Lane, NewRecord)>,
    reserved: HashMap<(AppId, MessageId), ([u8; 16], Lane, bool)>,
    confirmed: Vec<String>,
    /// Who has which state, of every message; `None`: `u1` has it.
    shown: Option<Vec<(Recipient, State)>>,
    /// Whether what is shown was sent as mail.
    mail: bool,
    did: Vec<Did>,
    dead: Vec<DeadRecord>,
}

impl Memory {
    pub(super) fn fail(&self, outage: Outage) {
        self.lock().outage = outage;
    }

    pub(super) fn only_record(&self) -> (Lane, NewRecord) {
        let inner = self.lock();
        assert_eq!(inner.records.len(), 1);
        inner.records[0].clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().records.is_empty()
    }

    pub(super) fn confirmed(&self) -> Vec<String> {
        self.lock().confirmed.clone()
    }

    /// Ids of the records, in their order.
    pub(super) fn ids(&self) -> Vec<String> {
        let id = |record: &NewRecord| {
            let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
            value["id"].as_str().unwrap().to_owned()
        };
        self.lock().records.iter().map(|(_, record)| id(record)).collect()
    }

    /// Shows these recipients of every message.
    pub(super) fn show(&self, shown: &[(&str, State)]) {
        self.lock().shown = Some(shown.iter().map(|(user, state)| (recipient(user), *state)).collect());
    }

    /// Shows every message as a mail that was sent to this address.
    pub(super) fn show_mail(&self, address: &str) {
        let mut inner = self.lock();
        inner.shown = Some(vec![(recipient(address), State::Sent)]);
        inner.mail = true;
    }

    /// Holds these dead letters, the oldest first.
    pub(super) fn dead(&self, letters: Vec<DeadRecord>) {
        self.lock().dead = letters;
    }

    /// What was done since the last call.
    pub(super) fn did(&self) -> Vec<Did> {
        std::mem::take(&mut self.lock().did)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn answer<T: Send + 'static>(
        &self,
        outage: Outage,
        act: impl FnOnce(&mut Inner) -> T,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let mut inner = self.lock();
        if inner.outage == Outage::Silent {
            return Box::pin(std::future::pending());
        }
        let result = match inner.outage == outage {
            true => Err(StoreError::Unavailable { what: "store", detail: "10.0.0.7 refused".into() }),
            false => Ok(act(&mut inner)),
        };
        Box::pin(async { result })
    }
}

impl Inner {
    fn recipients(&self, limit: usize) -> Vec<RecipientView> {
        let shown = self.shown.clone().unwrap_or_else(|| vec![(recipient("u1"), State::Delivered)]);
        let view = |(recipient, state)| RecipientView {
            recipient,
            channel: if self.mail { "email" } else { "websocket" }.into(),
            state,
            reason: None,
            history: vec![StateEntry { state, time_ms: limit as u64 }],
        };
        shown.into_iter().map(view).collect()
    }
}

fn recipient(user: &str) -> Recipient {
    Recipient { user: UserId::parse(user).unwrap(), device: None }
}

impl Intake for Memory {
    fn append(&self, lane: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(Outage::Append, |inner| inner.records.extend(records.into_iter().map(|r| (lane, r))))
    }
}

impl Recalls for Memory {
    fn recall(&self, _: MessageKey, recipients: Vec<Recipient>, holders: bool) -> BoxFuture<'_, ()> {
        assert!(holders, "whoever holds it is told");
        self.lock().did.push(Did::Told(recipients.len()));
        Box::pin(async {})
    }
}

impl ResultSink for Memory {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(Outage::Append, |inner| {
            let did = |r: ResultRecord| Did::Published(r.recipient.user.to_string(), r.state, r.info.is_some());
            inner.did.extend(records.into_iter().map(did));
        })
    }

    fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("REST buries nothing")
    }
}

impl Inner {
    fn letters(&self) -> Vec<DeadLetter> {
        let place = |n: usize| DeadPlace { partition: 0, offset: n as u64 };
        let letter =
            |(n, record): (usize, &DeadRecord)| DeadLetter { place: place(n), time_ms: 7, record: record.clone() };
        self.dead.iter().enumerate().map(letter).collect()
    }
}

impl DeadLetters for Memory {
    fn letters(&self, before: Option<DeadCursor>, limit: usize) -> BoxFuture<'_, Result<DeadPage, StoreError>> {
        self.answer(Outage::Reserve, |inner| {
            let end = before.map_or(inner.dead.len() as u64, |cursor| cursor.0[0].offset);
            let found = inner.letters().into_iter().filter(|l| l.place.offset < end).collect();
            let place = |offset| [DeadPlace { partition: 0, offset }];
            DeadPage::newest(found, &place(end), &place(0), limit)
        })
    }

    fn letter(&self, place: DeadPlace) -> BoxFuture<'_, Result<Option<DeadLetter>, StoreError>> {
        self.answer(Outage::Reserve, |inner| inner.letters().into_iter().find(|l| l.place == place))
    }
}

impl MessageStore for Memory {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        self.answer(Outage::Reserve, |inner| {
            inner.did.extend(changes.into_iter().map(|c| Did::Recorded(c.recipient.user.to_string(), c.state)));
            Vec::new()
        })
    }

    fn recall(&self, message: MessageKey, _: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.answer(Outage::Reserve, |inner| {
            let known = inner.reserved.contains_key(&(message.app, message.id));
            inner.did.extend(known.then_some(Did::Noted));
            known
        })
    }

    fn recalled(&self, _: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        unreachable!("REST takes back and does not ask")
    }

    fn count(&self, _: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("REST counts nothing")
    }

    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        self.answer(Outage::Reserve, |inner| {
            inner.reserved.contains_key(&(app, id.clone())).then(|| MessageView {
                id,
                summary: [(State::Delivered, 1)].into(),
                recipients: inner.recipients(limit),
                next: inner.shown.is_none().then_some(page + limit as u64),
                recalled_ms: None,
            })
        })
    }

    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        _: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        self.answer(Outage::Reserve, |inner| {
            let reserve = |(id, body, lane)| match inner.reserved.get(&(app.clone(), MessageId::clone(&id))) {
                None => {
                    inner.reserved.insert((app.clone(), id), (body, lane, false));
                    Reservation::New
                }
                Some((known, _, _)) if *known != body => Reservation::Conflict,
                Some((_, lane, true)) => Reservation::Accepted(*lane),
                Some(_) => Reservation::Pending,
            };
            ids.into_iter().map(reserve).collect()
        })
    }

    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(Outage::Confirm, |inner| {
            for id in ids {
                inner.confirmed.push(id.to_string());
                inner.reserved.get_mut(&(app.clone(), id)).unwrap().2 = true;
            }
        })
    }
}
