//! How messages are accepted: reserve their ids, append their records or add their tasks, confirm. Every step may fail or be cut off, and a repeated
//! request goes on where the first stopped.

use std::{collections::HashMap, future::Future};

use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message::{self, Message, MessageError},
    result::State,
    trace::TraceParent,
};
use xxhash_rust::xxh3::xxh3_128;

use super::{Api, problem::Problem};
use crate::{
    phones,
    schedule::{announce, entry},
    seams::{Added, NewRecord, Reservation, StoreError, Task},
};

/// A valid message with its id and app, ready to be appended.
pub(super) struct Ready {
    pub(super) id: MessageId,
    body: [u8; 16],
    kind: Kind,
}

/// Where a message goes.
enum Kind {
    /// Into its lane.
    Record(NewRecord),
    /// Into the schedule.
    Task(Box<(Task, Message)>),
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
pub(super) fn ready(
    mut message: Message,
    (app, lane): (&AppId, Lane),
    trace: Option<&TraceParent>,
    api: &Api,
) -> Result<Ready, MessageError> {
    let refused = |pointer: &str, detail: String| {
        let problem = message::Problem::NotSupported;
        Err(MessageError { problem, pointer: pointer.into(), detail })
    };
    match &message.app {
        Some(given) if given != app => {
            return Err(MessageError {
                problem: message::Problem::Invalid,
                pointer: "/app".into(),
                detail: "is not the caller's app".into(),
            });
        }
        _ => message.app = Some(app.clone()),
    }
    let id = message.id.get_or_insert_with(new_id).clone();
    if message.occurrence.is_some() {
        return refused("/occurrence", "occurrence is set by the schedule alone".into());
    }
    if message.retry.is_some() {
        return refused("/retry", "retry is set by dispatchers alone".into());
    }
    phones::normalize(&mut message, api.given.region)?;
    if let Some((at, detail)) = api.given.roster.accounts().missing(&message) {
        return refused(&format!("/channels/{at}"), detail);
    }
    // The encoding has one order of fields, so the same message written differently has the same hash. What is repeated may
    // belong to another trace.
    let given = message.traceparent.take();
    let mut value = message.encode();
    let body = xxh3_128(&value).to_le_bytes();
    message.traceparent = given.or_else(|| trace.cloned());
    if message.traceparent.is_some() {
        value = message.encode();
    }
    let kind = if message.schedule.is_some() {
        let task = entry::task(app.clone(), id.clone(), &message, lane, (api.given.wall)())?;
        Kind::Task(Box::new((task, message)))
    } else {
        Kind::Record(NewRecord { key: entry::ordering_key(&message, &id), value: value.into() })
    };
    Ok(Ready { id, body, kind })
}

/// Accepts the messages, in order; an answer for each. An error is one of all of them: nothing may be assumed.
pub(super) async fn accept(
    api: &Api,
    app: &AppId,
    lane: Lane,
    messages: Vec<Ready>,
) -> Result<Vec<Acceptance>, StoreError> {
    let (asked, place) = distinct(&messages, lane);
    let mut reserved = reserve(api, app, asked).await?;

    let (mut appending, mut scheduling, mut confirming) = (Vec::new(), Vec::new(), Vec::new());
    let mut taken = vec![false; reserved.len()];
    for (message, at) in messages.into_iter().zip(&place) {
        let open = matches!(reserved[*at], Reservation::New | Reservation::Pending);
        if open && !std::mem::replace(&mut taken[*at], true) {
            match message.kind {
                Kind::Record(record) => appending.push(record),
                Kind::Task(task) => scheduling.push((*task, *at)),
            }
            confirming.push((*at, message.id));
        }
    }
    if !appending.is_empty() {
        in_time(api, api.given.intake.append(lane, appending)).await?;
    }
    for at in schedule(api, scheduling).await? {
        // The id names a task that stands since before the time in which ids are remembered.
        reserved[at] = Reservation::Conflict;
    }
    // An id that is refused stays unconfirmed: the same request sent again is refused again, not told that it was accepted.
    confirming.retain(|(at, _)| reserved[*at] != Reservation::Conflict);
    if !confirming.is_empty() {
        let confirming = confirming.into_iter().map(|(_, id)| id).collect();
        // The messages are durable. An id that stays unconfirmed costs a repeated request a second record, whose
        // deliveries are dropped as duplicates.
        if let Err(error) = in_time(api, api.given.messages.confirm(app.clone(), confirming)).await {
            tracing::warn!(%error, "accepted ids could not be confirmed");
        }
    }
    let answer = |reservation| match reservation {
        Reservation::Conflict => Acceptance::Conflict,
        Reservation::Accepted(lane) => Acceptance::Accepted(lane),
        Reservation::New | Reservation::Pending => Acceptance::Accepted(lane),
    };
    Ok(place.into_iter().map(|at| answer(reserved[at])).collect())
}

/// Puts messages into the schedule. Answers which of them it refuses because their ids are those of others.
async fn schedule(api: &Api, tasks: Vec<((Task, Message), usize)>) -> Result<Vec<usize>, StoreError> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let now_ms = (api.given.clock)();
    let added = api.given.schedule.add(tasks.iter().map(|((task, _), _)| task.clone()).collect());
    let added = in_time(api, added).await?;
    let (mut refused, mut told) = (Vec::new(), Vec::new());
    for (((task, message), at), added) in tasks.iter().zip(added) {
        if added == Added::Conflict {
            refused.push(*at);
            continue;
        }
        api.given.wakers.added(task.key.shard(), task.head.due_ms);
        told.extend(announce::results(task, message, State::Scheduled, None, now_ms));
    }
    in_time(api, api.given.announcer.tell(told)).await?;
    Ok(refused)
}

/// An id with its body's hash and lane, as the store wants it.
type Asked = (MessageId, [u8; 16], Lane);

/// The distinct (id, body) pairs in order, and for each message which of them it is.
fn distinct(messages: &[Ready], lane: Lane) -> (Vec<Asked>, Vec<usize>) {
    let mut first: HashMap<(&MessageId, [u8; 16]), usize> = HashMap::new();
    let (mut asked, mut place) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    for Ready { id, body, .. } in messages {
        place.push(*first.entry((id, *body)).or_insert_with(|| {
            asked.push((id.clone(), *body, lane));
            asked.len() - 1
        }));
    }
    (asked, place)
}

/// Reserves distinct pairs. Of several bodies under one id the first has the right to it; a later one is asked for only
/// when the first turned out to be in conflict itself, so that no two compete in one call.
async fn reserve(api: &Api, app: &AppId, asked: Vec<Asked>) -> Result<Vec<Reservation>, StoreError> {
    let store = &api.given.messages;
    let now_ms = (api.given.clock)();
    let mut seen = HashMap::new();
    let mut owner = Vec::with_capacity(asked.len());
    for (n, (id, ..)) in asked.iter().enumerate() {
        owner.push(*seen.entry(id.clone()).or_insert(n));
    }
    let (mut reserved, mut left) = (vec![Reservation::Conflict; asked.len()], Vec::new());
    let firsts: Vec<usize> = (0..asked.len()).filter(|n| owner[*n] == *n).collect();
    let ids = firsts.iter().map(|n| asked[*n].clone()).collect();
    let answers = in_time(api, store.reserve(app.clone(), ids, now_ms)).await?;
    if answers.len() != firsts.len() {
        return Err(StoreError::Damaged { what: "message store", detail: "it left reservations out".into() });
    }
    for (n, answer) in firsts.into_iter().zip(answers) {
        reserved[n] = answer;
    }
    left.extend((0..asked.len()).filter(|n| owner[*n] != *n && reserved[owner[*n]] == Reservation::Conflict));
    if !left.is_empty() {
        let ids = left.iter().map(|n| asked[*n].clone()).collect();
        let answers = in_time(api, store.reserve(app.clone(), ids, now_ms)).await?;
        for (n, answer) in left.into_iter().zip(answers) {
            reserved[n] = answer;
        }
    }
    Ok(reserved)
}

/// Gives up on a store that does not answer: what it did remains open, and a repeated request finds out.
pub(super) async fn in_time<T>(api: &Api, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
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
