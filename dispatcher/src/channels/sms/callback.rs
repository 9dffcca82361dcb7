//! Calls about what became of messages of providers that do not sign them: a key in the URL that they are given says who calls.

use pushgate_protocol::{
    apps::Secret,
    ids::{AppId, MessageId, UserId},
};
use ring::{digest, hmac};

use super::http::percent;
use crate::{
    channels::{
        config::AccountConfig,
        hooks::{Hook, HookHead, HookRefusal},
        reports::Whom,
    },
    core::account::Parcel,
};

/// Letters of a key.
const KEY: std::ops::RangeInclusive<usize> = 16..=128;

/// The key of an account, or what is wrong with it.
pub(super) fn key(account: &AccountConfig) -> Result<Option<Secret>, String> {
    let sound = |key: &str| KEY.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match &account.callback_key {
        Some(key) if !sound(key.expose()) => {
            Err(format!("callback_key must have {} to {} letters and digits", KEY.start(), KEY.end()))
        }
        key => Ok(key.clone()),
    }
}

/// Whether a call brings the key.
pub(super) fn expected(key: Option<&Secret>, head: &HookHead) -> Result<(), HookRefusal> {
    let key = key.ok_or(HookRefusal::NotExpected)?;
    let options = head.options();
    let given = options.iter().find(|(name, _)| name == "key").map_or("", |(_, value)| value);
    if is_same(key.expose(), given) { Ok(()) } else { Err(HookRefusal::WrongSignature) }
}

/// The entries of a call in JSON, if it brings the key.
pub(super) fn entries(key: Option<&Secret>, hook: &Hook) -> Result<Vec<serde_json::Value>, HookRefusal> {
    expected(key, &hook.head)?;
    Ok(match serde_json::from_slice(&hook.body) {
        Ok(serde_json::Value::Array(entries)) => entries,
        Ok(entry @ serde_json::Value::Object(_)) => vec![entry],
        // What cannot be read would only come again.
        _ => Vec::new(),
    })
}

/// Compares without telling by its time where they differ.
fn is_same(key: &str, given: &str) -> bool {
    let by = hmac::Key::new(hmac::HMAC_SHA256, digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    hmac::verify(&by, given.as_bytes(), hmac::sign(&by, key.as_bytes()).as_ref()).is_ok()
}

/// A code of a provider, if it is one that may be repeated.
pub(super) fn code(text: &str) -> Option<&str> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    Some(text).filter(|text| (1..=40).contains(&text.len()) && text.bytes().all(sound))
}

/// A parcel's recipient in a text of at most so many bytes, for a provider to bring back; `None` if it takes more.
pub(super) fn named(parcel: &Parcel, bytes_max: usize) -> Option<String> {
    let parts = [parcel.app.as_str(), parcel.id.as_str(), parcel.address.as_str()];
    let text = parts.map(percent).join(":");
    (text.len() <= bytes_max).then_some(text)
}

/// Whom such a text names.
pub(super) fn whom(text: &str) -> Option<Whom> {
    let mut parts = text.split(':').map(crate::channels::hooks::decoded);
    let (app, message, address) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some(Whom {
        app: AppId::parse(&app).ok()?,
        message: MessageId::parse(&message).ok()?,
        address: UserId::parse(&address).ok()?,
        info: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_only_with_the_key() {
        let head = |query: &str| HookHead { query: query.into(), ..HookHead::default() };
        let hook = |query: &str| Hook { head: head(query), body: "[{}, {}]".into() };
        let key = Secret::new("0123456789abcdef");
        assert_eq!(entries(Some(&key), &hook("a=1&key=0123456789abcdef")).map(|entries| entries.len()), Ok(2));
        for query in ["", "key=", "key=0123456789abcdeF", "key=0123456789abcdef0", "KEY=0123456789abcdef"] {
            assert_eq!(entries(Some(&key), &hook(query)), Err(HookRefusal::WrongSignature), "{query}");
        }
        assert_eq!(entries(None, &hook("key=")), Err(HookRefusal::NotExpected));
    }

    #[test]
    fn a_key_is_long_and_plain() {
        for (text, sound) in [("0123456789abcdef", true), ("short", false), ("0123456789abcde&", false)] {
            let mut account = AccountConfig::new("a", "aliyun", "u");
            account.callback_key = Some(Secret::new(text));
            assert_eq!(key(&account).is_ok(), sound, "{text}");
        }
    }

    #[test]
    fn whom_it_is_about_is_read_as_it_was_written() {
        let found = whom("shop:task%40%3A1:%2B8613800138000").unwrap();
        let found = (found.app.as_str(), found.message.as_str(), found.address.as_str());
        assert_eq!(found, ("shop", "task@:1", "+8613800138000"));
        for text in ["", "m1", "shop:m1", "shop:m1:", "a:b:c:d"] {
            assert!(whom(text).is_none(), "{text}");
        }
    }
}
