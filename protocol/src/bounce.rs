//! What mail servers report of mails that they could not deliver (RFC 3464, RFC 6533), and mailbox providers of mails that their readers
//! complained of (RFC 5965).
//!
//! It reads bytes from outside: parts, recipients and texts are bounded, nothing is decoded that need not be. It does not know whose mail a
//! report is about: [`Report::original`] is the name that the mail had.

mod fields;

#[cfg(test)]
mod tests;

use self::fields::{Fields, Lines, bare, parameter, without_comment};
use crate::limits::{BOUNCE_PARTS_MAX, BOUNCE_RECIPIENTS_MAX, BOUNCE_TEXT_BYTES_MAX};

/// A report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The `Message-ID` of the mail that it is about, with its brackets.
    pub original: Option<String>,
    /// What became of each recipient, at most [`BOUNCE_RECIPIENTS_MAX`].
    pub recipients: Vec<Outcome>,
}

/// What became of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The address that it was sent to, as far as the report says; empty if it does not.
    pub address: String,
    /// What happened.
    pub action: Action,
    /// The code of RFC 3463, such as 5.1.1.
    pub status: Option<Status>,
    /// The server's words, shortened, on one line.
    pub detail: String,
}

/// What happened to a mail for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was not delivered.
    Failed,
    /// It is tried on.
    Delayed,
    /// It was delivered, or given to somebody who does not report.
    Delivered,
    /// Its reader complained.
    Complained,
}

/// A status code of RFC 3463.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8, pub u16, pub u16);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Status {
    /// Reads `5.1.1`, alone or before other words.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_ascii_whitespace().next()?;
        let mut numbers = word.split('.').map(|part| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| digits)
        });
        let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let sound = numbers.next().is_none() && matches!(class, 2 | 4 | 5);
        sound.then_some(Self(class as u8, subject, detail))
    }
}

/// Why something is no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BounceError {
    /// It is a mail of another kind, or no mail.
    #[error("it is no multipart/report")]
    NotReport,
    /// It says nothing of any recipient.
    #[error("it has neither a delivery-status nor a feedback-report that names a recipient")]
    Empty,
}

/// Reads a whole mail, headers and body.
pub fn mail(mail: &[u8]) -> Result<Report, BounceError> {
    let mut lines = Lines::of(mail);
    let head = Fields::read(&mut lines);
    let kind = head.value("content-type").ok_or(BounceError::NotReport)?;
    body(&kind, lines.rest())
}

/// Reads the body of a mail with this `Content-Type`.
pub fn body(content_type: &str, body: &[u8]) -> Result<Report, BounceError> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    let boundary = boundary.filter(|_| kind.eq_ignore_ascii_case("multipart/report")).ok_or(BounceError::NotReport)?;
    let mut report = Report::default();
    for part in parts(body, &boundary) {
        read_part(part, &mut report);
    }
    if report.recipients.is_empty() { Err(BounceError::Empty) } else { Ok(report) }
}

/// What stands between the lines of a boundary.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let mut lines = Lines::of(body);
    let (mut parts, mut start) = (Vec::new(), None);
    while let Some((at, line)) = lines.next_at() {
        let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes())) else {
            continue;
        };
        let rest = rest.trim_ascii();
        if !rest.is_empty() && rest != b"--" {
            continue;
        }
        if let Some(start) = start {
            parts.push(&body[start..at]);
        }
        start = Some(body.len() - lines.rest().len());
        if rest == b"--" || parts.len() == BOUNCE_PARTS_MAX {
            return parts;
        }
    }
    // One that broke off may have said enough.
    parts.extend(start.map(|start| &body[start..]));
    parts
}

fn read_part(part: &[u8], report: &mut Report) {
    let mut lines = Lines::of(part);
    let head = Fields::read(&mut lines);
    let kind = head.value("content-type").unwrap_or_default().to_ascii_lowercase();
    match kind.split(';').next().unwrap_or_default().trim() {
        "message/delivery-status" | "message/global-delivery-status" => delivery_status(&mut lines, report),
        "message/feedback-report" => feedback(&Fields::read(&mut lines), report),
        "message/rfc822" | "text/rfc822-headers" | "message/global" | "message/global-headers" => {
            let original = Fields::read(&mut lines);
            if report.original.is_none() {
                report.original = original.value("message-id").and_then(|id| bare(&id));
            }
            // A complaint often leaves the address to the mail that it returns.
            let nameless = report.recipients.iter_mut().filter(|outcome| outcome.address.is_empty());
            if let Some(to) = original.value("to") {
                nameless.for_each(|outcome| outcome.address = address(&to));
            }
        }
        _ => {}
    }
}

/// Fields of the mail, then of each recipient, with empty lines between.
fn delivery_status(lines: &mut Lines<'_>, report: &mut Report) {
    let of_mail = Fields::read(lines);
    let named = of_mail.value("x-original-message-id").or_else(|| of_mail.value("original-message-id"));
    if let Some(id) = named.and_then(|id| bare(&id)) {
        report.original = Some(id);
    }
    // Some leave the empty line before the first recipient out.
    recipient(&of_mail, report);
    while !lines.rest().is_empty() {
        recipient(&Fields::read(lines), report);
    }
}

fn recipient(fields: &Fields, report: &mut Report) {
    let Some(action) = fields.value("action") else { return };
    let action = match without_comment(&action).to_ascii_lowercase().as_str() {
        "failed" => Action::Failed,
        "delayed" => Action::Delayed,
        "delivered" | "relayed" | "expanded" => Action::Delivered,
        _ => return,
    };
    // The one that it was sent to comes before the one that it was sent on to.
    let named = ["original-recipient", "final-recipient"].into_iter().filter_map(|name| fields.value(name));
    let address = named.map(|typed| address(typed.split_once(';').map_or(typed.as_str(), |(_, address)| address)));
    let address = address.into_iter().find(|address| !address.is_empty());
    let status = fields.value("status").as_deref().and_then(Status::parse);
    let said = fields.value("diagnostic-code").unwrap_or_default();
    let detail = said.split_once(';').map_or(said.as_str(), |(_, words)| words);
    push(report, Outcome { address: address.unwrap_or_default(), action, status, detail: shortened(detail) });
}

/// A reader's complaint.
fn feedback(fields: &Fields, report: &mut Report) {
    let Some(kind) = fields.value("feedback-type") else { return };
    let kind = without_comment(&kind).to_ascii_lowercase();
    // Of the others `not-spam` takes back, and `auth-failure` is not a reader's.
    if !matches!(kind.as_str(), "abuse" | "fraud" | "virus" | "other" | "opt-out") {
        return;
    }
    let to = fields.value("original-rcpt-to").map_or_else(String::new, |to| address(&to));
    push(report, Outcome { address: to, action: Action::Complained, status: None, detail: kind });
}

fn push(report: &mut Report, outcome: Outcome) {
    if report.recipients.len() < BOUNCE_RECIPIENTS_MAX {
        report.recipients.push(outcome);
    }
}

/// An address without what stands around it; empty if it is none, or several.
fn address(text: &str) -> String {
    let text = text.trim();
    let inner = text.rsplit_once('<').map_or(text, |(_, rest)| rest.split('>').next().unwrap_or_default()).trim();
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '"' | '\\');
    let sound = inner.contains('@') && inner.len() <= BOUNCE_TEXT_BYTES_MAX && !inner.contains(bad);
    if sound { inner.to_owned() } else { String::new() }
}

/// A server's words on one line.
fn shortened(text: &str) -> String {
    let text = text.trim();
    let mut end = text.len().min(BOUNCE_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
