//! `POST /v1/hooks/email/{id}`: what a provider reports of mails that it took: that they came back, or that somebody complained.
//!
//! A report by a server (RFC 3464, RFC 5965) may have been written by anyone who knows where reports go: it is believed only of mails whose
//! name we gave, to the recipient they went to. Our own form is believed as its caller is.

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, Method, header},
    response::{IntoResponse, Response},
    routing::post,
};
use pushgate_protocol::{
    apps::Scope,
    bounce::{self, Action, Status},
    ids::{AppId, MessageId},
    message::Channel,
    result::{Recipient, ResultRecord, State as Became},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Api,
    accept::in_time,
    body::{self, is_json},
    caller,
    openapi::{Operation, STORE},
    problem::Problem,
};
use crate::{
    limits::{HOOK_BYTES_MAX, HOOK_REPORTS_MAX, MESSAGE_PAGE_MAX, SUPPRESSED_ADDRESS_BYTES_MAX},
    seams::{RecipientView, Suppression},
    suppressed::{Reason, Reasons, checked, normalized},
};

/// Reports in our own form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reports {
    /// The reports.
    #[schemars(length(min = 1, max = HOOK_REPORTS_MAX))]
    reports: Vec<GivenReport>,
}

/// What became of a mail.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GivenReport {
    /// Whom it was to.
    #[schemars(length(min = 1, max = SUPPRESSED_ADDRESS_BYTES_MAX))]
    address: String,
    /// What happened.
    event: Event,
    /// The `Message-ID` that the mail had.
    #[serde(default)]
    #[schemars(with = "String")]
    message_id: Option<String>,
    /// The code of RFC 3463, such as `5.1.1`.
    #[serde(default)]
    #[schemars(with = "String")]
    status: Option<String>,
}

/// What happened to a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Event {
    /// It came back, for good.
    Bounced,
    /// It is tried on, or came back for a reason that passes.
    Deferred,
    /// Its reader complained.
    Complained,
}

/// What was done about reports.
#[derive(Default, Serialize, JsonSchema)]
struct Noted {
    /// Addresses that are sent nothing from now on.
    suppressed: usize,
    /// Recipients whose state is `failed` now.
    failed: usize,
    /// Reports that change nothing: what passes, or is not about a mail of ours.
    ignored: usize,
}

/// A report, wherever it comes from.
struct Known {
    address: String,
    /// Of which message the mail was, if it is ours.
    message: Option<MessageId>,
    failed: bool,
    reason: Option<Reason>,
    status: Option<Status>,
    /// Whether who says so is known: anyone may write what servers write.
    proven: bool,
}

/// How it is served and described.
pub(super) fn operation() -> Operation {
    let path = (Method::POST, "/v1/hooks/email/{id}");
    let body = json!({ "reports": [{ "address": "ann@example.org", "event": "bounced", "status": "5.1.1" }] });
    Operation::new(path, post(report), "reportMail", "Report what became of mails")
        .detail("Beside JSON it takes a report as servers write it: `message/rfc822`, or `multipart/report` (RFC 3464, RFC 5965).")
        .tag("suppressions")
        .needs(Scope::Report)
        .path_id_of::<String>("The account's name.", "outbox")
        .body::<Reports>(HOOK_BYTES_MAX, body)
        .answers::<Noted>(200, "It is noted, durably.", json!({ "suppressed": 1, "failed": 0, "ignored": 0 }))
        .refuses(&["invalid_value", "no_room"])
        .refuses(STORE)
}

async fn report(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let caller = caller::check(&api, &headers, Scope::Report)?;
        let account =
            path.ok().map(|Path(account)| account).filter(|name| api.given.roster.accounts().has(Channel::Email, name));
        let account = account.ok_or_else(|| Problem::not_found("there is no account of this name in [[email]]"))?;
        let known = read(&api, &caller.app, &headers, body).await?;
        note(&api, &caller.app, &account, known).await
    };
    answer.await.map_or_else(Problem::into_response, |noted| Json(noted).into_response())
}

/// The reports of a body.
async fn read(api: &Api, app: &AppId, headers: &HeaderMap, body: Body) -> Result<Vec<Known>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !is_json(headers) && !matches!(essence.as_str(), "message/rfc822" | "multipart/report") {
        let detail = "the Content-Type must be application/json, message/rfc822 or multipart/report";
        return Err(Problem::new(415, "unsupported_media_type", detail));
    }
    let body = body::read_any(api, headers, body, HOOK_BYTES_MAX).await?;
    let report = match essence.as_str() {
        "message/rfc822" => bounce::mail(&body.bytes),
        "multipart/report" => bounce::body(&kind, &body.bytes),
        _ => return given(api, app, &body.bytes),
    };
    let report = report.map_err(|error| invalid("", error.to_string()))?;
    let original = report.original.unwrap_or_default();
    Ok(report.recipients.into_iter().map(|outcome| of_server(api, app, &original, outcome)).collect())
}

fn given(api: &Api, app: &AppId, bytes: &[u8]) -> Result<Vec<Known>, Problem> {
    let Reports { reports } = serde_json::from_slice(bytes).map_err(|e| match e.is_data() {
        true => invalid("", e.to_string()),
        false => Problem::new(400, "not_json", format!("not JSON: {e}")).at(""),
    })?;
    if !(1..=HOOK_REPORTS_MAX).contains(&reports.len()) {
        return Err(invalid("/reports", format!("has {} reports, must be 1 to {HOOK_REPORTS_MAX}", reports.len())));
    }
    let known = |(n, report): (usize, GivenReport)| {
        let address = checked(Channel::Email, &report.address)
            .ok_or_else(|| invalid(&format!("/reports/{n}/address"), "is no mail address".into()))?;
        let message = report.message_id.and_then(|id| api.given.message_ids.read(&id, &address));
        let message = message.filter(|(of, _)| of == app).map(|(_, message)| message);
        let status = report.status.as_deref().and_then(Status::parse);
        let (failed, reason) = match report.event {
            Event::Bounced => (true, Some(Reason::Bounced)),
            Event::Complained => (false, Some(Reason::Complained)),
            Event::Deferred => (false, None),
        };
        Ok(Known { address, message, failed, reason, status, proven: true })
    };
    reports.into_iter().enumerate().map(known).collect()
}

/// Of a mail that is not ours nothing is believed.
fn of_server(api: &Api, app: &AppId, original: &str, outcome: bounce::Outcome) -> Known {
    let message =
        api.given.message_ids.read(original, &outcome.address).filter(|(of, _)| of == app).map(|(_, message)| message);
    let (failed, reason) = match outcome.action {
        Action::Failed => (true, outcome.status.filter(|status| is_dead(*status)).map(|_| Reason::Bounced)),
        Action::Complained => (false, Some(Reason::Complained)),
        Action::Delayed | Action::Delivered => (false, None),
    };
    let ours = message.is_some();
    let address = checked(Channel::Email, &outcome.address).unwrap_or_default();
    let reason = reason.filter(|_| ours);
    Known { address, message, failed: failed && ours, reason, status: outcome.status, proven: false }
}

/// Whether a mail that failed so says that its address leads nowhere: not that a mailbox is full, or what the mail said or who sent it was
/// not liked.
fn is_dead(Status(class, subject, detail): Status) -> bool {
    class == 5 && !matches!(subject, 3 | 6 | 7) && !(subject == 2 && matches!(detail, 2 | 3))
}

/// First the addresses, so that nothing more goes there; repeated, it changes nothing.
async fn note(api: &Api, app: &AppId, account: &str, known: Vec<Known>) -> Result<Noted, Problem> {
    let (since_ms, time_ms) = ((api.given.wall)(), (api.given.clock)());
    let (mut noted, mut entries, mut results) = (Noted::default(), Vec::new(), Vec::new());
    for report in known {
        let asks = report.failed || !report.proven && report.reason.is_some();
        let recipient = match report.message.as_ref().filter(|_| asks) {
            Some(message) => recipient(api, app, message, &report.address).await?,
            None => None,
        };
        // Who knows one of our ids can make others: a mail that went there is needed as well.
        let reason = report.reason.filter(|_| report.proven || recipient.is_some());
        let recipient = recipient.filter(|_| report.failed);
        noted.ignored += usize::from(reason.is_none() && recipient.is_none());
        if let (Some(recipient), Some(message)) = (recipient, report.message) {
            noted.failed += 1;
            results.push(ResultRecord {
                message,
                app: app.clone(),
                recipient,
                channel: Channel::Email.as_str(),
                account: Some(account.into()),
                provider_id: None,
                state: Became::Failed,
                // The server's words may repeat the content.
                reason: Some(report.status.map_or_else(|| "bounced".into(), |status| format!("bounced: {status}"))),
                attempt: 1,
                time_ms,
                info: None,
            });
        }
        if let Some(reason) = reason {
            let reasons = Reasons::of(reason);
            entries.push(Suppression { channel: Channel::Email, address: report.address, reasons, since_ms });
        }
    }
    noted.suppressed = entries.len();
    let mut left = 0;
    if !entries.is_empty() {
        let added = in_time(api, api.given.suppressions.suppress(app.clone(), entries)).await;
        left = added.map_err(|e| Problem::store(&e))?.into_iter().filter(|had_room| !had_room).count();
    }
    // What became of mails is so whether the list has room or not.
    in_time(api, api.given.announcer.tell(results)).await.map_err(|e| Problem::store(&e))?;
    if left > 0 {
        let of = noted.suppressed;
        return Err(Problem::new(
            409,
            "no_room",
            format!("there is no room for {left} of {of} addresses, all else is noted"),
        ));
    }
    Ok(noted)
}

/// The recipient of a message whose address this is, as the message wrote it; `None` if that is not known any more.
async fn recipient(api: &Api, app: &AppId, message: &MessageId, address: &str) -> Result<Option<Recipient>, Problem> {
    let mut page = 0;
    loop {
        let view = api.given.messages.message(app.clone(), message.clone(), page, MESSAGE_PAGE_MAX);
        let Some(view) = in_time(api, view).await.map_err(|e| Problem::store(&e))? else { return Ok(None) };
        let is_it = |row: &RecipientView| {
            row.channel == Channel::Email.as_str() && normalized(Channel::Email, row.recipient.user.as_str()) == address
        };
        if let Some(row) = view.recipients.into_iter().find(is_it) {
            return Ok(Some(row.recipient));
        }
        match view.next {
            Some(next) if next > page => page = next,
            _ => return Ok(None),
        }
    }
}

fn invalid(pointer: &str, detail: String) -> Problem {
    Problem::new(422, "invalid_value", detail).at(pointer)
}
