//! `GET /v1/dead` and `POST /v1/dead/replay`: records that could not be processed.
//!
//! A caller sees the letters of its app. One whose content names no app, because it is no message or is redacted, is shown only
//! where there is one app.

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use pushgate_protocol::{
    apps::Scope,
    auth::Caller,
    ids::MessageId,
    link::Lane,
    message::{self, JsonObject},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Api,
    accept::{self, in_time},
    body, caller,
    openapi::{EXAMPLE_ID, Operation, STORE, example_message},
    problem::Problem,
    request,
    send::{Accepted, ItemStatus},
};
use crate::{
    limits::{DEAD_PAGE_DEFAULT, DEAD_PAGE_MAX, DEAD_REPLAYS_MAX},
    seams::{DeadCursor, DeadLetter, DeadPage, DeadPlace},
};

/// Largest body of a replay, bytes.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Which part of the dead letters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeadQuery {
    /// `next` of the page before.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = "^[0-9]+-[0-9]+(,[0-9]+-[0-9]+)*$"))]
    before: Option<String>,
    /// Letters looked at; those of other apps are left out.
    #[serde(default = "page_default")]
    #[schemars(range(min = 1, max = DEAD_PAGE_MAX))]
    limit: usize,
    /// The letter of this id alone.
    #[serde(default)]
    #[schemars(with = "DeadId")]
    id: Option<String>,
    /// Whether to answer what was kept of their content.
    #[serde(default)]
    content: bool,
}

fn page_default() -> usize {
    DEAD_PAGE_DEFAULT
}

/// A page of dead letters, the newest first.
#[derive(Serialize, JsonSchema)]
struct DeadList {
    /// The letters.
    letters: Vec<DeadEntry>,
    /// What to ask for as `before`, if there may be older ones.
    next: Option<String>,
}

/// A dead letter.
#[derive(Serialize, JsonSchema)]
struct DeadEntry {
    /// Its name: `partition-offset`.
    id: String,
    /// When it was written, Unix milliseconds; 0 if that is not known.
    time_ms: u64,
    /// Where the record came from: `topic/partition/offset`.
    origin: String,
    /// Why it could not be processed.
    reason: String,
    /// How often it was tried.
    attempts: u32,
    /// Bytes of the content that was kept; 0 of a redacted class.
    bytes: usize,
    /// The content, if it was asked for and is a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<JsonObject>,
    /// The content in base64, if it was asked for and is anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
}

/// Dead letters to send once more.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplayRequest {
    /// Their ids.
    #[schemars(with = "Vec<DeadId>", length(min = 1, max = DEAD_REPLAYS_MAX))]
    ids: Vec<String>,
}

/// What became of each.
#[derive(Serialize, JsonSchema)]
struct ReplayAnswer {
    /// One for each id, in their order.
    items: Vec<ReplayItem>,
}

/// What became of one.
#[derive(Serialize, JsonSchema)]
struct ReplayItem {
    /// The letter's id.
    id: String,
    /// Whether its message was accepted.
    status: ItemStatus,
    /// The message's id, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageId>,
    /// Its lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<Lane>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

struct DeadId;

impl JsonSchema for DeadId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeadId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,18}$" })
    }
}

/// How they are served and described.
pub(super) fn operations() -> [Operation; 2] {
    let entry = json!({
        "id": "0-1", "time_ms": 1_767_225_600_123_u64, "origin": "pushgate.high/2/17",
        "reason": "/to: the field to is missing", "attempts": 1, "bytes": 212, "content": example_message()
    });
    let list = Operation::new((Method::GET, "/v1/dead"), get(list), "listDead", "Records that could not be processed")
        .tag("dead letters")
        .needs(Scope::Admin)
        .query::<DeadQuery>()
        .answers::<DeadList>(200, "The newest first.", json!({ "letters": [entry], "next": null }))
        .refuses(STORE);
    let items = json!({ "items": [
        { "id": "0-1", "status": "accepted", "message": EXAMPLE_ID, "lane": "high" },
        { "id": "0-2", "status": "refused", "error": unknown() }
    ] });
    let path = (Method::POST, "/v1/dead/replay");
    let replay = Operation::new(path, post(replay), "replayDead", "Send dead letters once more")
        .detail("To the lanes they came from; each is judged alone. The letters stay; sent twice, a message is accepted once.")
        .tag("dead letters")
        .needs(Scope::Admin)
        .body::<ReplayRequest>(REPLAY_BYTES_MAX, json!({ "ids": ["0-1", "0-2"] }))
        .answers::<ReplayAnswer>(200, "What became of each, in their order.", items)
        .refuses(&["invalid_value"])
        .refuses(STORE);
    [list, replay]
}

async fn list(State(api): State<Api>, query: Result<Query<DeadQuery>, QueryRejection>, headers: HeaderMap) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Admin)?;
        let Query(DeadQuery { before, limit, id, content }) =
            query.map_err(|_| Problem::query("the query may hold before, limit, id and content, each once"))?;
        if !(1..=DEAD_PAGE_MAX).contains(&limit) {
            return Err(Problem::query(format!("limit is {limit}, must be from 1 to {DEAD_PAGE_MAX}")));
        }
        let before = before.map(|text| text.parse::<DeadCursor>()).transpose();
        let before = before.map_err(|()| Problem::query("before is not the next of an earlier answer"))?;
        let id = id.map(|text| text.parse::<DeadPlace>()).transpose();
        let page = match id.map_err(|()| Problem::query("id is not partition-offset"))? {
            None => in_time(&api, api.given.dead.letters(before, limit)).await,
            Some(place) => in_time(&api, api.given.dead.letter(place))
                .await
                .map(|found| DeadPage { letters: found.into_iter().collect(), next: None }),
        };
        let page = page.map_err(|e| Problem::store(&e))?;
        let shown = page.letters.iter().filter(|letter| is_shown(&api, &caller, letter));
        let letters = shown.map(|letter| entry(letter, content)).collect();
        Ok(DeadList { letters, next: page.next.map(|next| next.to_string()) })
    };
    answer.await.map_or_else(Problem::into_response, |list| Json(list).into_response())
}

async fn replay(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Admin)?;
        let body = body::read(&api, &headers, body, REPLAY_BYTES_MAX).await?;
        let ReplayRequest { ids } = serde_json::from_slice(&body.bytes).map_err(|e| match e.is_data() {
            true => wrong_ids("the body must be an object with the one field ids, an array of texts"),
            false => Problem::new(400, "not_json", format!("not JSON: {e}")).at(""),
        })?;
        if !(1..=DEAD_REPLAYS_MAX).contains(&ids.len()) {
            return Err(wrong_ids(&format!("ids names {} letters, must be 1 to {DEAD_REPLAYS_MAX}", ids.len())));
        }
        caller::charge(&api, &caller, ids.len() - 1)?;
        let mut items = Vec::with_capacity(ids.len());
        for id in ids {
            items.push(item(id.clone(), send_again(&api, &caller, &id, &headers).await)?);
        }
        Ok::<_, Problem>(ReplayAnswer { items })
    };
    answer.await.map_or_else(Problem::into_response, |answer| Json(answer).into_response())
}

/// What is wrong with a letter is its own; what is wrong with a store fails the request.
fn item(id: String, outcome: Result<Accepted, Problem>) -> Result<ReplayItem, Problem> {
    match outcome {
        Ok(Accepted { id: message, lane }) => {
            Ok(ReplayItem { id, status: ItemStatus::Accepted, message: Some(message), lane: Some(lane), error: None })
        }
        Err(problem) if problem.status >= 500 => Err(problem),
        Err(problem) => {
            let status = if problem.code == "id_used" { ItemStatus::Conflict } else { ItemStatus::Refused };
            Ok(ReplayItem { id, status, message: None, lane: None, error: Some(problem) })
        }
    }
}

async fn send_again(api: &Api, caller: &Caller, id: &str, headers: &HeaderMap) -> Result<Accepted, Problem> {
    let letter = find(api, caller, id).await?;
    if letter.record.value.is_empty() {
        return Err(Problem::new(409, "content_not_kept", "the content of this letter was not kept"));
    }
    let mut message = message::decode(&letter.record.value)?;
    match (message.retry.take(), &message.id) {
        // What one recipient did not get is sent as a message of its own: what remains of the old one says that it is over.
        (Some(_), Some(old)) => message.id = Some(id_of(&format!("{old} {id} {}", letter.record.origin))),
        _ => {
            message.id.get_or_insert_with(|| id_of(&letter.record.origin));
        }
    }
    // An occurrence that is sent once more is a message like any other.
    message.occurrence = None;
    let lane = lane_of(&letter.record.origin);
    let trace = request::trace(headers);
    let ready = accept::ready(message, (&caller.app, lane), trace.as_ref(), api)?;
    let id = ready.id.clone();
    let accepted = accept::accept(api, &caller.app, lane, vec![ready]).await;
    let lane = accepted.map_err(|e| Problem::store(&e).with_id(&id))?[0].lane(&id)?;
    api.given.metrics.accepted(lane, 1);
    Ok(Accepted { id, lane })
}

fn unknown() -> Problem {
    Problem::not_found("there is no dead letter of this id, or no longer")
}

fn wrong_ids(detail: &str) -> Problem {
    Problem::new(422, "invalid_value", detail).at("/ids")
}

async fn find(api: &Api, caller: &Caller, id: &str) -> Result<DeadLetter, Problem> {
    let place: DeadPlace = id.parse().map_err(|()| unknown())?;
    let found = in_time(api, api.given.dead.letter(place)).await.map_err(|e| Problem::store(&e))?;
    found.filter(|letter| is_shown(api, caller, letter)).ok_or_else(unknown)
}

fn is_shown(api: &Api, caller: &Caller, letter: &DeadLetter) -> bool {
    #[derive(Deserialize)]
    struct Named {
        app: Option<String>,
    }
    let named = serde_json::from_slice::<Named>(&letter.record.value).ok().and_then(|named| named.app);
    match named {
        Some(app) => app == caller.app.as_str(),
        None => api.given.apps.current().only() == Some(&caller.app),
    }
}

fn entry(letter: &DeadLetter, with_content: bool) -> DeadEntry {
    let record = &letter.record;
    let kept = Some(&record.value).filter(|value| with_content && !value.is_empty());
    let content = kept.and_then(|value| std::str::from_utf8(value).ok()).and_then(JsonObject::parse);
    let content_base64 = kept.filter(|_| content.is_none()).map(|value| STANDARD.encode(value));
    DeadEntry {
        id: letter.place.to_string(),
        time_ms: letter.time_ms,
        origin: record.origin.clone(),
        reason: record.reason.clone(),
        attempts: record.attempts,
        bytes: record.value.len(),
        content,
        content_base64,
    }
}

/// The lane that an origin names: `pushgate.high/2/17`, `high/0/17`.
fn lane_of(origin: &str) -> Lane {
    let topic = origin.split('/').next().unwrap_or_default();
    let name = topic.rsplit('.').next().unwrap_or_default();
    Lane::ALL.into_iter().find(|lane| lane.as_str() == name).unwrap_or_default()
}

/// A message that had no id gets the same one each time its letter is replayed.
fn id_of(origin: &str) -> MessageId {
    let id = format!("dead-{:032x}", xxh3_128(origin.as_bytes()));
    MessageId::parse(&id).expect("digits are an id")
}
