//! `GET`, `PUT` and `DELETE /v1/suppressions`: addresses that an app sends nothing.

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, Method},
    response::{IntoResponse, Response},
    routing::{delete, get, put},
};
use pushgate_protocol::{apps::Scope, message::Channel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Api,
    accept::in_time,
    body, caller,
    openapi::{Operation, STORE},
    problem::Problem,
};
use crate::{
    limits::{SUPPRESSIONS_ADDED_MAX, SUPPRESSIONS_PAGE_DEFAULT, SUPPRESSIONS_PAGE_MAX},
    seams::{AppAddress, Suppression},
    suppressed::{Reason, Reasons, checked},
};

/// Largest body that adds addresses, bytes.
const ADDED_BYTES_MAX: usize = 512 * 1024;

/// A channel whose addresses are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum AddressChannel {
    /// Mail.
    Email,
    /// Text messages.
    Sms,
}

impl AddressChannel {
    fn channel(self) -> Channel {
        match self {
            Self::Email => Channel::Email,
            Self::Sms => Channel::Sms,
        }
    }
}

/// Which part of the list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// `next` of the page before.
    #[serde(default)]
    #[schemars(with = "String", regex(pattern = "^(email|sms)/.+$"))]
    after: Option<String>,
    /// Addresses looked at; those that a filter leaves out count.
    #[serde(default = "page_default")]
    #[schemars(range(min = 1, max = SUPPRESSIONS_PAGE_MAX))]
    limit: usize,
    /// Those of this channel alone.
    #[serde(default)]
    #[schemars(with = "AddressChannel")]
    channel: Option<AddressChannel>,
    /// Those with this reason alone.
    #[serde(default)]
    #[schemars(with = "Reason")]
    reason: Option<Reason>,
}

fn page_default() -> usize {
    SUPPRESSIONS_PAGE_DEFAULT
}

/// A page of addresses that are sent nothing.
#[derive(Serialize, JsonSchema)]
struct SuppressionList {
    /// The addresses, by channel and address.
    suppressions: Vec<SuppressionView>,
    /// What to ask for as `after`, if there may be more.
    next: Option<String>,
}

/// An address that is sent nothing.
#[derive(Serialize, JsonSchema)]
struct SuppressionView {
    /// The channel.
    channel: Channel,
    /// The address: a mail address in small letters, its domain as DNS has it.
    address: String,
    /// Why: every reason that was given.
    reasons: Vec<Reason>,
    /// Since when, Unix milliseconds.
    since_ms: u64,
}

/// Addresses to send nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddRequest {
    /// The addresses.
    #[schemars(length(min = 1, max = SUPPRESSIONS_ADDED_MAX))]
    suppressions: Vec<AddItem>,
}

/// An address to send nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddItem {
    /// Its channel.
    channel: AddressChannel,
    /// The address.
    #[schemars(regex(pattern = r"^([a-z0-9]{1,20}@[a-z0-9]{1,20}\.[a-z]{2,8}|\+[1-9][0-9]{7,14})$"))]
    address: String,
    /// Why.
    #[serde(default = "manual")]
    reason: Reason,
}

fn manual() -> Reason {
    Reason::Manual
}

/// How many addresses are on the list now that were named.
#[derive(Serialize, JsonSchema)]
struct Added {
    /// All of them.
    suppressed: usize,
}

/// Which address to send to again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseQuery {
    /// Its channel.
    channel: AddressChannel,
    /// The address.
    #[schemars(length(min = 1))]
    address: String,
    /// The reason that no longer holds; without it all.
    #[serde(default)]
    #[schemars(with = "Reason")]
    reason: Option<Reason>,
}

/// Whether something changed.
#[derive(Serialize, JsonSchema)]
struct Released {
    /// Whether the address was on the list, for this reason.
    released: bool,
}

/// How they are served and described.
pub(super) fn operations() -> [Operation; 3] {
    const PATH: &str = "/v1/suppressions";
    let entry = json!({ "channel": "email", "address": "ann@example.org", "reasons": ["bounced"], "since_ms": 1_767_225_600_123_u64 });
    let list = Operation::new((Method::GET, PATH), get(list), "listSuppressions", "Addresses that are sent nothing")
        .tag("suppressions")
        .needs(Scope::Send)
        .query::<ListQuery>()
        .answers::<SuppressionList>(200, "By channel and address.", json!({ "suppressions": [entry], "next": null }))
        .refuses(STORE);
    let body = json!({ "suppressions": [{ "channel": "email", "address": "ann@example.org", "reason": "opted_out" }] });
    let add = Operation::new((Method::PUT, PATH), put(add), "suppress", "Send nothing to addresses")
        .detail("All of them or, if one is no address, none; where the list gets full (`no_room`) those in front that there is room for. An address that is on the list has one more reason. `opted_out` lets messages of class `otp` through.")
        .tag("suppressions")
        .needs(Scope::Send)
        .body::<AddRequest>(ADDED_BYTES_MAX, body)
        .answers::<Added>(200, "They are on the list, durably.", json!({ "suppressed": 1 }))
        .refuses(&["invalid_value", "no_room"])
        .refuses(STORE);
    let release = Operation::new((Method::DELETE, PATH), delete(release), "release", "Send to an address again")
        .tag("suppressions")
        .needs(Scope::Send)
        .query::<ReleaseQuery>()
        .answers::<Released>(200, "It is not on the list, or not for this reason.", json!({ "released": true }))
        .refuses(STORE);
    [list, add, release]
}

async fn list(State(api): State<Api>, query: Result<Query<ListQuery>, QueryRejection>, headers: HeaderMap) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let Query(ListQuery { after, limit, channel, reason }) = query.map_err(|_| {
            Problem::query("the query may hold after, limit, channel (email or sms) and reason, each once")
        })?;
        if !(1..=SUPPRESSIONS_PAGE_MAX).contains(&limit) {
            return Err(Problem::query(format!("limit is {limit}, must be from 1 to {SUPPRESSIONS_PAGE_MAX}")));
        }
        let place = |text: String| {
            let (channel, address) = text.split_once('/')?;
            Some((Channel::parse(channel)?, address.to_owned()))
        };
        let after =
            after.map(|text| place(text).ok_or_else(|| Problem::query("after is not the next of an earlier answer")));
        let found = in_time(&api, api.given.suppressions.list(caller.app, after.transpose()?, limit)).await;
        let found = found.map_err(|e| Problem::store(&e))?;
        let last = found.last().filter(|_| found.len() == limit);
        let next = last.map(|last| format!("{}/{}", last.channel.as_str(), last.address));
        let of_channel = |row: &Suppression| channel.is_none_or(|channel| channel.channel() == row.channel);
        let shown =
            found.into_iter().filter(|row| of_channel(row) && reason.is_none_or(|reason| row.reasons.has(reason)));
        let suppressions = shown.map(|row| SuppressionView {
            channel: row.channel,
            address: row.address,
            reasons: row.reasons.iter().collect(),
            since_ms: row.since_ms,
        });
        Ok(SuppressionList { suppressions: suppressions.collect(), next })
    };
    answer.await.map_or_else(Problem::into_response, |list| Json(list).into_response())
}

async fn add(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let body = body::read(&api, &headers, body, ADDED_BYTES_MAX).await?;
        let AddRequest { suppressions } = serde_json::from_slice(&body.bytes).map_err(|e| match e.is_data() {
            true => invalid("", format!("{e}")),
            false => Problem::new(400, "not_json", format!("not JSON: {e}")).at(""),
        })?;
        let count = suppressions.len();
        if !(1..=SUPPRESSIONS_ADDED_MAX).contains(&count) {
            return Err(invalid(
                "/suppressions",
                format!("has {count} addresses, must be 1 to {SUPPRESSIONS_ADDED_MAX}"),
            ));
        }
        let since_ms = (api.given.wall)();
        let entry = |(n, item): (usize, AddItem)| {
            let channel = item.channel.channel();
            let address = checked(channel, &item.address);
            let address = address
                .ok_or_else(|| invalid(&format!("/suppressions/{n}/address"), "is no address of the channel".into()))?;
            Ok(Suppression { channel, address, reasons: Reasons::of(item.reason), since_ms })
        };
        let entries = suppressions.into_iter().enumerate().map(entry).collect::<Result<Vec<_>, Problem>>()?;
        let added = in_time(&api, api.given.suppressions.suppress(caller.app, entries)).await;
        let left = added.map_err(|e| Problem::store(&e))?.into_iter().filter(|had_room| !had_room).count();
        if left > 0 {
            return Err(Problem::new(
                409,
                "no_room",
                format!("there is no room for {left} of {count} addresses, the others are on the list"),
            ));
        }
        Ok(Added { suppressed: count })
    };
    answer.await.map_or_else(Problem::into_response, |added| Json(added).into_response())
}

async fn release(
    State(api): State<Api>,
    query: Result<Query<ReleaseQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Send)?;
        let Query(ReleaseQuery { channel, address, reason }) = query.map_err(|_| {
            Problem::query("the query must hold channel (email or sms) and address, and may hold reason, each once")
        })?;
        // What is no address is not on the list.
        let Some(address) = checked(channel.channel(), &address) else { return Ok(Released { released: false }) };
        let address = AppAddress { app: caller.app, channel: channel.channel(), address };
        let reasons = reason.map_or(Reasons::ALL, Reasons::of);
        let released = in_time(&api, api.given.suppressions.release(address, reasons)).await;
        Ok(Released { released: released.map_err(|e| Problem::store(&e))? })
    };
    answer.await.map_or_else(Problem::into_response, |released| Json(released).into_response())
}

fn invalid(pointer: &str, detail: String) -> Problem {
    Problem::new(422, "invalid_value", detail).at(pointer)
}
