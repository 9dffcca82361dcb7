//! From a message to a mail: headers, text and HTML, files.
//!
//! Every recipient gets a mail of its own. Its Message-ID follows from the message and the recipient, so that a mail that is sent once
//! more is the same to whoever drops repetitions.
//!
//! Invariant: what a message says stays where it belongs: no header, recipient or command comes of it.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD};
use lettre::{
    Address, Message as Built,
    address::Envelope,
    message::{
        Attachment, Body, Mailbox, Mailboxes, MultiPart, SinglePart,
        header::{self, ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use pushgate_protocol::{message::EmailOverride, result::Class};

use crate::{
    channels::Offered,
    core::{
        account::{Answer, Parcel, Rejection},
        smtp::{Mail, Path, stuffing::stuffed},
    },
    limits::{MAIL_ADDRESSES_MAX, SUBJECT_WORD_BYTES_MAX},
};

/// Who sends: `Shop <no-reply@example.org>`, or the address alone.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    mailbox: Mailbox,
    path: Path,
}

impl Sender {
    /// Reads it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>').and_then(|text| text.split_once('<')) {
            Some((name, address)) => (name.trim().trim_matches('"'), address),
            None => ("", text),
        };
        let (path, address) = parsed(address)?;
        let name = (!name.is_empty()).then(|| one_line(name));
        Some(Self { mailbox: Mailbox::new(name, address), path })
    }

    /// The domain of its address.
    pub(super) fn domain(&self) -> &str {
        self.path.domain()
    }
}

/// A mail that is not signed yet.
pub(super) struct Letter {
    from: Path,
    to: Vec<Path>,
    /// Headers and body.
    pub(super) text: Vec<u8>,
}

impl Letter {
    /// The mail, with the headers that sign it.
    pub(super) fn into_mail(self, signatures: Vec<u8>) -> Mail {
        Mail { from: self.from, to: self.to, data: stuffed(signatures, &self.text) }
    }
}

/// The mail of a parcel, or why there can be none.
pub(super) fn of(sender: &Sender, offered: &Offered, parcel: &Parcel, now: SystemTime) -> Result<Letter, Answer> {
    let message = &parcel.message;
    let none = EmailOverride::default();
    let given = message.overrides.as_ref().and_then(|overrides| overrides.email.as_ref()).unwrap_or(&none);
    let (path, address) = parsed(parcel.address.as_str())
        .ok_or_else(|| rejected(Rejection::AddressDead, "it is no mail address".into()))?;
    let (cc, bcc) = if parcel.is_first() { (&given.cc[..], &given.bcc[..]) } else { Default::default() };
    let (cc, bcc) = (copies("cc", cc)?, copies("bcc", bcc)?);
    let mut to = vec![path];
    for (path, _) in cc.iter().chain(&bcc) {
        if !to.contains(path) {
            to.push(path.clone());
        }
    }
    if to.len() > MAIL_ADDRESSES_MAX {
        let detail = format!("it goes to {} addresses with its copies, at most {MAIL_ADDRESSES_MAX} may be", to.len());
        return Err(rejected(Rejection::Content, detail));
    }
    let domain = offered.ids.domain(sender.domain(), parcel.account().is_some());
    let name = offered.ids.of(&parcel.app, &parcel.id, parcel.address.as_str(), domain);
    let mut headers = Built::builder()
        // Nobody reads it: ours is in the mail. Without one the library would read the headers again.
        .envelope(Envelope::new(None, vec![address.clone()]).expect("there is a recipient"))
        .header(header::Date::new(now))
        .header(header::From::from(Mailboxes::from(sender.mailbox.clone())))
        .header(header::To::from(Mailboxes::from(Mailbox::from(address))))
        .header(header::MessageId::from(name));
    if !cc.is_empty() {
        let boxes: Mailboxes = cc.iter().map(|(_, address)| Mailbox::from(address.clone())).collect();
        headers = headers.header(header::Cc::from(boxes));
    }
    if let Some(reply_to) = &given.reply_to {
        let (_, address) = parsed(reply_to).ok_or_else(|| not_an_address("reply_to"))?;
        headers = headers.header(header::ReplyTo::from(Mailboxes::from(Mailbox::from(address))));
    }
    // Campaigns must be easy to end; what brings its own link keeps it.
    let ours = offered.links.as_ref().filter(|_| given.unsubscribe.is_none() && parcel.info.class == Class::Marketing);
    let ours = ours.map(|links| links.link(&parcel.app, parcel.address.as_str()));
    if let Some(url) =
        given.unsubscribe.as_deref().or(ours.as_deref()).filter(|url| url.bytes().all(|b| b.is_ascii_graphic()))
    {
        let raw = |name, value: String| HeaderValue::new(HeaderName::new_from_ascii_str(name), value);
        headers = headers
            .raw_header(raw("List-Unsubscribe", format!("<{url}>")))
            .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()));
    }
    let about = given.subject.as_ref().or(message.content.title.as_ref());
    if let Some(text) = about {
        headers = headers.raw_header(subject(text));
    }
    let text = given.text.as_ref().or(message.content.body.as_ref()).map(|text| plain(text));
    if about.is_none() && text.is_none() && given.html.is_none() && given.attachments.is_empty() {
        return Err(rejected(
            Rejection::Content,
            "it says nothing: it needs a title, a body, or overrides.email".into(),
        ));
    }
    let built = body(headers, text, given.html.as_deref().map(plain), given)?;
    Ok(Letter { from: sender.path.clone(), to, text: built.formatted() })
}

fn body(
    headers: lettre::message::MessageBuilder,
    text: Option<String>,
    html: Option<String>,
    given: &EmailOverride,
) -> Result<Built, Answer> {
    let (mut files, mut images) = (Vec::new(), Vec::new());
    for (n, file) in given.attachments.iter().enumerate() {
        let bad = |what: &str| rejected(Rejection::Content, format!("attachment {n}: {what}"));
        let bytes = STANDARD.decode(&file.base64).map_err(|_| bad("its bytes are not in base64"))?;
        let kind = file.r#type.chars().all(|c| matches!(c, ' '..='~')).then(|| ContentType::parse(&file.r#type));
        let kind = kind.and_then(Result::ok).ok_or_else(|| bad("its type is none like image/png"))?;
        let name = one_line(&file.name);
        // In base64 every byte of a file arrives; as text its ends of lines might be others.
        let bytes = Body::new_with_encoding(bytes, ContentTransferEncoding::Base64);
        let bytes = bytes.map_err(|_| bad("its bytes cannot be encoded"))?;
        match &file.cid {
            Some(cid) if html.is_some() => {
                images.push(Attachment::new_inline_with_name(one_line(cid), name).body(bytes, kind));
            }
            _ => files.push(Attachment::new(name).body(bytes, kind)),
        }
    }
    let words = match (text, html) {
        (text, None) => Part::Single(SinglePart::plain(text.unwrap_or_default())),
        (None, Some(html)) => with_images(html, images),
        (Some(text), Some(html)) => {
            let alternative = MultiPart::alternative().singlepart(SinglePart::plain(text));
            Part::Multi(match with_images(html, images) {
                Part::Single(html) => alternative.singlepart(html),
                Part::Multi(html) => alternative.multipart(html),
            })
        }
    };
    let letter = match words {
        Part::Single(words) if files.is_empty() => headers.singlepart(words),
        Part::Multi(words) if files.is_empty() => headers.multipart(words),
        words => {
            let mixed = match words {
                Part::Single(words) => MultiPart::mixed().singlepart(words),
                Part::Multi(words) => MultiPart::mixed().multipart(words),
            };
            headers.multipart(files.into_iter().fold(mixed, MultiPart::singlepart))
        }
    };
    letter.map_err(|error| rejected(Rejection::Content, format!("no mail can be made of it: {error}")))
}

/// A part of a mail.
enum Part {
    Single(SinglePart),
    Multi(MultiPart),
}

/// HTML, and the images that it shows.
fn with_images(html: String, images: Vec<SinglePart>) -> Part {
    let html = SinglePart::html(html);
    match images.is_empty() {
        true => Part::Single(html),
        false => Part::Multi(images.into_iter().fold(MultiPart::related().singlepart(html), MultiPart::singlepart)),
    }
}

fn copies(field: &str, addresses: &[String]) -> Result<Vec<(Path, Address)>, Answer> {
    addresses.iter().map(|address| parsed(address).ok_or_else(|| not_an_address(field))).collect()
}

/// An address as a command and as a header have it, its domain in the letters of DNS (RFC 5891).
fn parsed(address: &str) -> Option<(Path, Address)> {
    let (local, domain) = address.rsplit_once('@')?;
    let domain = match domain.starts_with('[') {
        true => domain.to_owned(),
        false => idna::domain_to_ascii(domain).ok()?,
    };
    let path = Path::parse(&format!("{local}@{domain}"))?;
    Some((path, Address::new(local, domain).ok()?))
}

/// The subject's header. The library encodes what is outside ASCII. It neither folds a word that is longer than a line may be, nor within
/// spaces, and leaves what looks encoded as it is, which a reader would decode: such a subject is encoded whole.
fn subject(text: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    let text = one_line(text);
    let plain = |word: &str| !word.is_empty() && word.len() <= SUBJECT_WORD_BYTES_MAX && !word.contains("=?");
    if text.split(' ').all(plain) {
        return HeaderValue::new(name, text);
    }
    let mut words = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // An encoded word has at most 75 characters (RFC 2047): 12 around four for each three bytes.
        let mut end = rest.len().min(SUBJECT_WORD_BYTES_MAX);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (word, left) = rest.split_at(end);
        words.push(format!("=?utf-8?b?{}?=", STANDARD.encode(word)));
        rest = left;
    }
    let encoded = words.join("\r\n ");
    HeaderValue::dangerous_new_pre_encoded(name, text, encoded)
}

/// What stands in a header: on one line, without control characters.
fn one_line(text: &str) -> String {
    if all_bytes(text, |byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect()
}

/// What stands in a body: without control characters but the ends of lines.
fn plain(text: &str) -> String {
    // Of a character that takes several bytes none is below 0x80.
    if all_bytes(text, |byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')) {
        return text.to_owned();
    }
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).collect()
}

/// Looks at all of them even if one is not so, for then it looks at many at a time.
fn all_bytes(text: &str, so: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & so(byte))
}

fn not_an_address(field: &str) -> Answer {
    rejected(Rejection::Content, format!("overrides.email.{field} is no mail address"))
}

fn rejected(why: Rejection, detail: String) -> Answer {
    Answer::Rejected { why, detail }
}
