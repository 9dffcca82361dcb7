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
    let mut answers: Vec<Option<Acceptance>> = vec![None; messages.len()];
    let mut first: HashMap<MessageId, usize> = HashMap::new();
    let mut repeats = Vec::new();
    let mut asked = Vec::with_capacity(messages.len());
    for (n, message) in messages.iter().enumerate() {
        match first.get(&message.id) {
            Some(earlier) if messages[*earlier].body == message.body => repeats.push((n, *earlier)),
            Some(_) => answers[n] = Some(Acceptance::Conflict),
            None => {
                first.insert(message.id.clone(), n);
                asked.push((n, (message.id.clone(), message.body, lane)));
            }
        }
    }
    let (places, ids): (Vec<usize>, Vec<_>) = asked.into_iter().unzip();
    let store = &api.given.messages;
    let reserved = in_time(api, store.reserve(app.clone(), ids, (api.given.clock)())).await?;

    let mut records: Vec<Option<NewRecord>> = messages.into_iter().map(|m| Some(m.record)).collect();
    let (mut appending, mut confirming) = (Vec::new(), Vec::new());
    let named: HashMap<usize, MessageId> = first.into_iter().map(|(id, n)| (n, id)).collect();
    for (n, reservation) in places.into_iter().zip(reserved) {
        answers[n] = Some(match reservation {
            Reservation::Conflict => Acceptance::Conflict,
            Reservation::Accepted(lane) => Acceptance::Accepted(lane),
            Reservation::New | Reservation::Pending => {
                appending.extend(records[n].take());
                confirming.extend(named.get(&n).cloned());
                Acceptance::Accepted(lane)
            }
        });
    }
    if !appending.is_empty() {
        in_time(api, api.given.intake.append(lane, appending)).await?;
        // The messages are durable. An id that stays unconfirmed costs a repeated request a second record, whose
        // deliveries are dropped as duplicates.
        if let Err(error) = in_time(api, store.confirm(app.clone(), confirming)).await {
            tracing::warn!(%error, "accepted ids could not be confirmed");
        }
    }
    for (n, earlier) in repeats {
        answers[n] = answers[earlier];
    }
    Ok(answers.into_iter().map(|a| a.expect("each was asked, is a repeat or is in conflict")).collect())
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
