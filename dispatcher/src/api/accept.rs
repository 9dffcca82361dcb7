//! How messages are accepted: reserve their ids, append their records, confirm. Every step may fail or be cut off, and a repeated
//! request goes on where the first stopped.

use std::{collections::HashMap, future::Future};

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message::{Message, MessageError, Problem as Kind},
};
use xxhash_rust::xxh3::xxh3_128;

use super::{Api, problem::Problem};
use crate::seams::{NewRecord, Reservation, StoreError};

/// A valid message with its id and app, ready to be appended.
pub(super) struct Ready {
    pub(super) id: MessageId,
    body: [u8; 16],
    record: NewRecord,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acceptance {
    /// It is durable in this lane.
    Accepted(Lane),
    /// Its id belongs to another message.
    Conflict,
}

/// Fills in what the caller may leave out.
pub(super) fn ready(mut message: Message, app: &AppId) -> Result<Ready, MessageError> {
    match &message.app {
        Some(given) if given != app => {
            return Err(MessageError {
                problem: Kind::Invalid,
                pointer: "/app".into(),
                detail: "is not the caller's app".into(),
            });
        }
        _ => message.app = Some(app.clone()),
    }
    let id = message.id.get_or_insert_with(new_id).clone();
    let to = &message.to;
    let key = match (to.users.as_slice(), to.devices.as_slice(), to.count()) {
        ([user], _, 1) => user.as_str(),
        (_, [device], 1) => device.user.as_str(),
        _ => id.as_str(),
    };
    let key = Bytes::copy_from_slice(key.as_bytes());
    // The encoding has one order of fields, so the same message written differently has the same hash.
    let value = message.encode();
    let body = xxh3_128(&value).to_le_bytes();
    Ok(Ready { id, body, record: NewRecord { key, value: value.into() } })
}

/// Accepts the messages, in order; an answer for each. An error is one of all of them: nothing may be assumed.
pub(super) async fn accept(
    api: &Api,
    app: &AppId,
    lane: Lane,
    messages: Vec<Ready>,
) -> Result<Vec<Acceptance>, StoreError> {
    // A message that is there twice is asked for once; two messages with one id are for the store to judge.
    let mut first: HashMap<(&MessageId, [u8; 16]), usize> = HashMap::new();
    let (mut asked, mut place) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for message in &messages {
        place.push(*first.entry((&message.id, message.body)).or_insert_with(|| {
            asked.push((message.id.clone(), message.body, lane));
            asked.len() - 1
        }));
    }
    let store = &api.given.messages;
    let reserved = in_time(api, store.reserve(app.clone(), asked, (api.given.clock)())).await?;

    let (mut appending, mut confirming) = (Vec::new(), Vec::new());
    let mut taken = vec![false; reserved.len()];
    for (message, at) in messages.into_iter().zip(&place) {
        let open = matches!(reserved.get(*at), Some(Reservation::New | Reservation::Pending));
        if open && !std::mem::replace(&mut taken[*at], true) {
            appending.push(message.record);
            confirming.push(message.id);
        }
    }
    if !appending.is_empty() {
        in_time(api, api.given.intake.append(lane, appending)).await?;
        // The messages are durable. An id that stays unconfirmed costs a repeated request a second record, whose
        // deliveries are dropped as duplicates.
        if let Err(error) = in_time(api, store.confirm(app.clone(), confirming)).await {
            tracing::warn!(%error, "accepted ids could not be confirmed");
        }
    }
    let answer = |reservation: &Reservation| match reservation {
        Reservation::Conflict => Acceptance::Conflict,
        Reservation::Accepted(lane) => Acceptance::Accepted(*lane),
        Reservation::New | Reservation::Pending => Acceptance::Accepted(lane),
    };
    let answers = place.iter().map(|at| reserved.get(*at).map(answer)).collect::<Option<Vec<_>>>();
    answers.ok_or_else(|| StoreError::Damaged { what: "message store", detail: "it left reservations out".into() })
}

/// Gives up on a store that does not answer: what it did remains open, and a repeated request finds out.
async fn in_time<T>(api: &Api, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(api.patience.store, step).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::Unavailable {
            what: "store or log",
            detail: format!("no answer within {:?}", api.patience.store),
        }),
    }
}

/// A UUIDv7 of now.
pub(super) fn new_id() -> MessageId {
    let uuid = uuid::Uuid::now_v7();
    MessageId::parse(uuid.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).expect("a UUID is an id")
}

impl Acceptance {
    /// The lane, or what to answer instead.
    pub(super) fn lane(self, id: &MessageId) -> Result<Lane, Problem> {
        match self {
            Self::Accepted(lane) => Ok(lane),
            Self::Conflict => Err(Problem::conflict(id)),
        }
    }
}
