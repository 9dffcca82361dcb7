//! What channels need: recipients of their kind, addresses of the right form.

use super::{
    Channel, Message,
    error::{MessageError, Problem},
};
use crate::limits::{
    CID_BYTES_MAX, EMAIL_BYTES_MAX, PHONE_BYTES_MAX, PHONE_DIGITS_MAX, PHONE_DIGITS_MIN, UNSUBSCRIBE_BYTES_MAX,
};

/// Each channel has recipients, and each recipient and override a channel.
pub(super) fn check(message: &Message) -> Result<(), MessageError> {
    let to = &message.to;
    let sessions = to.users.len() + to.devices.len() + to.sessions.len() + usize::from(to.all);
    let first = [("users", !to.users.is_empty()), ("devices", !to.devices.is_empty()), ("sessions", true)];
    let first = if to.all { "all" } else { first.iter().find(|(_, given)| *given).map_or("users", |(name, _)| name) };
    let kinds = [
        (Channel::Websocket, sessions, first, "users, devices, sessions or all"),
        (Channel::Email, to.emails.len(), "emails", "emails"),
        (Channel::Sms, to.phones.len(), "phones", "phones"),
    ];
    for (channel, count, field, _) in kinds {
        if count > 0 && !message.channels.contains(&channel) {
            let detail = format!("{field} is for the channel {}, which channels does not name", channel.as_str());
            return invalid(&format!("/to/{field}"), detail);
        }
    }
    for (channel, count, _, fields) in kinds {
        if let Some(at) = message.channels.iter().position(|c| *c == channel && count == 0) {
            let detail = format!("the channel {} has no recipient: name {fields} in to", channel.as_str());
            return invalid(&format!("/channels/{at}"), detail);
        }
    }
    for (n, address) in to.emails.iter().enumerate() {
        email(&format!("/to/emails/{n}"), address)?;
    }
    for (n, number) in to.phones.iter().enumerate() {
        phone(&format!("/to/phones/{n}"), number)?;
    }
    overrides(message)
}

fn overrides(message: &Message) -> Result<(), MessageError> {
    let Some(overrides) = &message.overrides else { return Ok(()) };
    for (channel, given) in [(Channel::Email, overrides.email.is_some()), (Channel::Sms, overrides.sms.is_some())] {
        if given && !message.channels.contains(&channel) {
            let name = channel.as_str();
            let detail = format!("is for the channel {name}, which channels does not name");
            return invalid(&format!("/overrides/{name}"), detail);
        }
    }
    let Some(mail) = &overrides.email else { return Ok(()) };
    for (field, addresses) in [("cc", &mail.cc), ("bcc", &mail.bcc)] {
        for (n, address) in addresses.iter().enumerate() {
            email(&format!("/overrides/email/{field}/{n}"), address)?;
        }
    }
    if let Some(address) = &mail.reply_to {
        email("/overrides/email/reply_to", address)?;
    }
    if let Some(url) = &mail.unsubscribe {
        let sound = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        let plain = url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b',' | b'"'));
        if !sound || !plain || url.len() > UNSUBSCRIBE_BYTES_MAX {
            let detail =
                format!("must be an address like https://example.org/u/17, {UNSUBSCRIBE_BYTES_MAX} bytes at most");
            return invalid("/overrides/email/unsubscribe", detail);
        }
    }
    for (n, file) in mail.attachments.iter().enumerate() {
        let sound = |cid: &str| {
            let plain = cid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@'));
            plain && (1..=CID_BYTES_MAX).contains(&cid.len())
        };
        if file.cid.as_deref().is_some_and(|cid| !sound(cid)) {
            let detail = format!("must have 1 to {CID_BYTES_MAX} letters, digits and .-_@");
            return invalid(&format!("/overrides/email/attachments/{n}/cid"), detail);
        }
    }
    match &mail.subject {
        Some(subject) if subject.chars().any(char::is_control) => {
            invalid("/overrides/email/subject", "must be one line, without control characters".into())
        }
        _ => Ok(()),
    }
}

/// The bare form of RFC 5321, without a name beside it. What a server thinks of it shows when it is sent.
fn email(pointer: &str, address: &str) -> Result<(), MessageError> {
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '"' | '\\');
    let sound = address.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !local.contains('@') && !domain.is_empty() && !address.contains(bad)
    });
    match address.len() {
        bytes if bytes > EMAIL_BYTES_MAX => {
            invalid(pointer, format!("has {bytes} bytes, at most {EMAIL_BYTES_MAX} are allowed"))
        }
        _ if !sound => invalid(pointer, "is not a mail address like a@example.org".into()),
        _ => Ok(()),
    }
}

/// As people write it: a `+`, digits, and what sets them apart. Which number it is, and whether there can be such a one, is known to
/// whoever knows the plans of all countries.
fn phone(pointer: &str, number: &str) -> Result<(), MessageError> {
    let rest = number.strip_prefix('+').unwrap_or(number);
    let plain = rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'-' | b'.' | b'/' | b'(' | b')'));
    match rest.bytes().filter(u8::is_ascii_digit).count() {
        PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX if plain && number.len() <= PHONE_BYTES_MAX => Ok(()),
        _ => invalid(pointer, "is not a telephone number like +8613800000000".into()),
    }
}

fn invalid(pointer: &str, detail: String) -> Result<(), MessageError> {
    Err(MessageError::new(Problem::Invalid, pointer, detail))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::message::decode;

    fn decoded(field: &str, value: Value) -> Result<(), String> {
        let message = json!({"to": {"emails": ["a@b.c"]}, "channels": ["email"], "content": {"title": "t"},
            "overrides": {"email": {field: value}}});
        decode(message.to_string().as_bytes()).map(drop).map_err(|error| error.pointer.to_string())
    }

    #[test]
    fn what_stands_in_headers_of_a_mail_has_its_form() {
        let image = |cid: &str| json!([{"name": "n", "type": "image/png", "base64": "aGk=", "cid": cid}]);
        for (field, value) in
            [("unsubscribe", json!("https://example.org/u?id=17")), ("attachments", image("logo@1.a-b_c"))]
        {
            assert_eq!(decoded(field, value), Ok(()), "{field}");
        }
        for (field, value) in [
            ("unsubscribe", json!("http://example.org/u")),
            ("unsubscribe", json!("https://")),
            ("unsubscribe", json!("https://example.org/>\r\nBcc: x@y.z")),
            ("unsubscribe", json!(format!("https://example.org/{}", "u".repeat(900)))),
            ("attachments", image("")),
            ("attachments", image("a>\r\nBcc: x@y.z")),
            ("attachments", image(&"a".repeat(65))),
        ] {
            let pointer = decoded(field, value.clone()).unwrap_err();
            assert!(pointer.starts_with(&format!("/overrides/email/{field}")), "{value}: {pointer}");
        }
    }

    #[test]
    fn a_one_time_code_to_addresses_is_worth_minutes_unless_its_sender_says_otherwise() {
        let ttl = |class: &str, channels: Value, ttl: Option<&str>| {
            let mut message = json!({"class": class, "channels": channels, "content": {"body": "1"}, "to": {"phones": ["+8613800138000"]}});
            if channels == json!(["websocket", "sms"]) {
                message["to"]["users"] = json!(["u"]);
            }
            if let Some(ttl) = ttl {
                message["ttl"] = json!(ttl);
            }
            let message = decode(message.to_string().as_bytes()).unwrap();
            assert_eq!(decode(&message.encode()).unwrap().ttl, message.ttl);
            message.ttl.to_string()
        };
        assert_eq!(ttl("otp", json!(["sms"]), None), "10m");
        assert_eq!(ttl("otp", json!(["sms"]), Some("24h")), "24h");
        assert_eq!(ttl("otp", json!(["sms"]), Some("1m")), "1m");
        assert_eq!(ttl("otp", json!(["websocket", "sms"]), None), "24h");
        assert_eq!(ttl("transactional", json!(["sms"]), None), "24h");
    }
}
