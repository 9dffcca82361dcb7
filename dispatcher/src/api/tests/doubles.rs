//! An intake and a message store in memory that fail on demand.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    result::{Recipient, State},
};

use crate::seams::{
    BoxFuture, Count, Intake, MessageStore, MessageView, NewRecord, Recalls, RecipientView, Reservation, StateChange,
    StateEntry, StoreError,
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

/// Ids taken back, with how many recipients.
pub(super) type Recalled = Vec<(String, usize)>;
/// Ids and states recorded.
pub(super) type Recorded = Vec<(String, State)>;

#[derive(Default)]
pub(super) struct Memory(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    outage: Outage,
    records: Vec<(Lane, NewRecord)>,
    reserved: HashMap<(AppId, MessageId), ([u8; 16], Lane, bool)>,
    confirmed: Vec<String>,
    recalled: Vec<(String, usize)>,
    recorded: Vec<(String, State)>,
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

    /// Recalls, and states recorded.
    pub(super) fn recalled(&self) -> (Recalled, Recorded) {
        let inner = self.lock();
        (inner.recalled.clone(), inner.recorded.clone())
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

impl Intake for Memory {
    fn append(&self, lane: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(Outage::Append, |inner| inner.records.extend(records.into_iter().map(|r| (lane, r))))
    }
}

impl Recalls for Memory {
    fn recall(&self, _: AppId, id: MessageId, recipients: Vec<Recipient>) -> BoxFuture<'_, ()> {
        self.lock().recalled.push((id.to_string(), recipients.len()));
        Box::pin(async {})
    }
}

impl MessageStore for Memory {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.answer(Outage::Reserve, |inner| {
            inner.recorded.extend(changes.into_iter().map(|c| (c.message.to_string(), c.state)));
        })
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
                recipients: vec![RecipientView {
                    recipient: Recipient { user: UserId::parse("u1").unwrap(), device: None },
                    channel: "websocket".into(),
                    state: State::Delivered,
                    reason: None,
                    history: vec![StateEntry { state: State::Delivered, time_ms: limit as u64 }],
                }],
                next: (page < 2_000).then_some(page + limit as u64),
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
