//! DKIM: signatures by which a receiver sees that a mail is of its sender's domain and was not changed (RFC 6376, RFC 8463).
//!
//! | module | owns |
//! |---|---|
//! | [`key`] | a domain's signing key, read from PEM |
//! | [`record`] | what the domain publishes in DNS for it |
//! | `canonical` | headers and body in the form that is signed (relaxed) |
//!
//! Invariants:
//! - what is signed is what the far end reads: lines are those of [`Lines`];
//! - a header that a mail has once cannot be added once more: each that a reader sees is signed one time more than it is there.

mod canonical;
pub mod key;
pub mod record;

#[cfg(test)]
mod tests;

use base64::{Engine, engine::general_purpose::STANDARD};

use self::canonical::{Body, Head, relaxed};
pub use self::{key::Key, record::Record};
use crate::{core::smtp::stuffing::Lines, limits::DKIM_LINE_CHARS};

/// Signed as often as they are there and once more, so that nobody adds one.
const CLOSED: [&str; 10] = [
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];
/// The same if they are there: a list that sends the mail on adds its own. RFC 8058 wants them signed.
const CLOSED_IF_THERE: [&str; 2] = ["List-Unsubscribe", "List-Unsubscribe-Post"];

/// The headers that sign a mail, one for each key, to stand before it. `mail` is headers and body as they are before dots are doubled.
pub fn signatures(keys: &[Key], mail: &[u8], now_s: u64) -> Vec<u8> {
    let mut lines = Lines::of(mail);
    let head = Head::read(&mut lines);
    let mut body = Body::default();
    lines.for_each(|line| body.line(line));
    let hash = STANDARD.encode(body.hash());
    let names = signed_names(&head);
    let headers = head.signed(&names);
    let mut out = Vec::new();
    for key in keys {
        let unsigned = header(key, &names, &hash, now_s);
        let signature = signature(key, headers.clone(), &unsigned);
        out.extend_from_slice(unsigned.as_bytes());
        folded(&mut out, &signature);
    }
    out
}

/// Of the headers that are signed, in the form that is signed, and this one, without its value: the signature, in base64.
fn signature(key: &Key, mut headers: Vec<u8>, unsigned: &str) -> String {
    let (name, value) = unsigned.split_once(':').unwrap_or((unsigned, ""));
    headers.extend_from_slice(name.to_ascii_lowercase().as_bytes());
    headers.push(b':');
    relaxed(&mut headers, Lines::of(value.as_bytes()));
    STANDARD.encode(key.sign(&headers))
}

/// The header up to where its signature follows.
fn header(key: &Key, names: &[&str], hash: &str, now_s: u64) -> String {
    let mut text = format!(
        "DKIM-Signature: v=1; a={}; c=relaxed/relaxed;\r\n d={};\r\n s={}; t={now_s};\r\n h=",
        key.algorithm(),
        key.domain(),
        key.selector(),
    );
    let mut used = 3;
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            text.push(':');
            used += 1;
        }
        if used + name.len() >= DKIM_LINE_CHARS {
            text.push_str("\r\n  ");
            used = 2;
        }
        text.push_str(name);
        used += name.len();
    }
    text.push_str(";\r\n bh=");
    text.push_str(hash);
    text.push_str(";\r\n b=");
    text
}

/// A signature over some lines, and the end of its header.
fn folded(out: &mut Vec<u8>, signature: &str) {
    for (at, piece) in signature.as_bytes().chunks(DKIM_LINE_CHARS - 5).enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\r\n ");
        }
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"\r\n");
}

fn signed_names(head: &Head) -> Vec<&'static str> {
    let closed = CLOSED.into_iter().map(|name| (name, head.count(name) + 1));
    let there = CLOSED_IF_THERE.into_iter().map(|name| (name, head.count(name))).filter(|(_, count)| *count > 0);
    let there = there.map(|(name, count)| (name, count + 1));
    closed.chain(there).flat_map(|(name, count)| std::iter::repeat_n(name, count)).collect()
}
