//! How values on the command line are read, and what is said of wrong ones.

use std::time::Duration;

use pushgate_protocol::{
    ids::{AppId, DeviceId, MessageId, UserId},
    message::Span,
    platform::Platform,
};

/// An app id.
pub fn app(text: &str) -> Result<AppId, String> {
    AppId::parse(text).map_err(|e| e.to_string())
}

/// A user id.
pub fn user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|e| e.to_string())
}

/// A device id.
pub fn device(text: &str) -> Result<DeviceId, String> {
    DeviceId::parse(text).map_err(|e| e.to_string())
}

/// A message id.
pub fn message(text: &str) -> Result<MessageId, String> {
    MessageId::parse(text).map_err(|e| e.to_string())
}

/// A platform.
pub fn platform(text: &str) -> Result<Platform, String> {
    Platform::parse(text).ok_or_else(|| "must be ios, android or web".to_owned())
}

/// A span of time.
pub fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|e| e.to_string())
}

/// A span as seconds.
pub fn seconds(span: Span) -> u64 {
    span.as_ms() / 1_000
}

/// A span as a duration.
pub fn duration(span: Span) -> Duration {
    Duration::from_secs(seconds(span))
}

/// A JSON object.
pub fn json_object(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(value),
        Ok(_) => Err("must be a JSON object, like {\"n\":1}".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

/// A telephone number as people write it; the server knows which there can be.
pub fn phone(text: &str) -> Result<String, String> {
    let sound = text.bytes().all(|b| b.is_ascii_digit() || b"+ -./()".contains(&b));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (sound && digits > 3).then(|| text.to_owned()).ok_or_else(|| "must be one number, like +8613800000000".to_owned())
}

/// A name and a value.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "must be like code=123456".to_owned())
}

/// A mail address, as far as it is not a list or a name beside one; the server says what else is wrong with it.
pub fn mail_address(text: &str) -> Result<String, String> {
    let sound = text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let plain = !text.contains([' ', ',', ';', '<', '>']);
    (sound && plain).then(|| text.to_owned()).ok_or_else(|| "must be one address, like alice@example.org".to_owned())
}
