//! The second pass: where a message departs from its form, and how. Runs only when the fast one failed.

use serde_json::Value;

use super::{
    Channel, Misfire, Span, VERSION,
    error::{MessageError, Problem},
    pointer::Pointer,
    recipients::SessionAddress,
    retry::Retry,
    schedule::Occurrence,
};
use crate::{
    ids::{AppId, DeviceId, IdError, MessageId, UserId},
    platform::Platform,
    result::Class,
    timestamp,
    trace::TraceParent,
};

/// Why `json` is not a message; `error` is what the fast pass found.
pub(super) fn explain(json: &[u8], error: Option<&serde_json::Error>) -> MessageError {
    let value: Value = match serde_json::from_slice(json) {
        Ok(value) => value,
        // A syntax error's text names a position and what was expected there, never what was found.
        Err(e) => return MessageError::new(Problem::NotJson, "", format!("not JSON: {e}")),
    };
    if let Err(e) = check_version(&value).and_then(|()| walk(&Pointer::Root, &value, &MESSAGE)) {
        return e;
    }
    // A field given twice is the one thing that the second pass cannot see.
    let text = error.map(ToString::to_string).unwrap_or_default();
    let detail = match text.split_once("duplicate field `") {
        Some((_, rest)) => format!("the field {} is given twice", rest.split('`').next().unwrap_or_default()),
        None => "the message has not the form of one".into(),
    };
    MessageError::new(Problem::Invalid, "", detail)
}

/// A later version may have any form, so this comes first.
fn check_version(value: &Value) -> Result<(), MessageError> {
    match value.get("v").and_then(Value::as_u64) {
        Some(v) if v > VERSION => Err(MessageError::new(
            Problem::NewerVersion,
            "/v",
            format!("the message is of version {v}, this build knows {VERSION}"),
        )),
        Some(0) => Err(MessageError::new(Problem::Invalid, "/v", "v is 0, must be at least 1")),
        _ => Ok(()),
    }
}

enum Shape {
    Flag,
    Count,
    /// A text; the function says what is wrong with it.
    Text(fn(&str) -> Result<(), String>),
    List(&'static Shape),
    /// An object of these fields.
    Object(&'static [Field], &'static [&'static str]),
    /// An object of texts.
    TextMap,
    /// Any object.
    AnyObject,
}

struct Field {
    name: &'static str,
    kind: Kind,
    shape: Shape,
}

enum Kind {
    Required,
    /// It has a default; `null` is no value for it.
    Defaulted,
    /// `null` is the same as leaving it out.
    Optional,
}

use Kind::{Defaulted, Optional, Required};
use Shape::{AnyObject, Count, Flag, List, Object, Text, TextMap};

const fn field(name: &'static str, kind: Kind, shape: Shape) -> Field {
    Field { name, kind, shape }
}

const ANY_TEXT: Shape = Text(|_| Ok(()));
const USER: Shape = Text(|t| id(UserId::parse(t)));
const INSTANT: Shape = Text(|t| timestamp::parse_ms(t).map(drop).map_err(|e| format!("is {e}")));
const SPAN: Shape = Text(|t| Span::parse(t).map(drop).map_err(|e| e.to_string()));

static MESSAGE: Shape = Object(
    &[
        field("v", Defaulted, Count),
        field("id", Optional, Text(|t| id(MessageId::parse(t)))),
        field("app", Optional, Text(|t| id(AppId::parse(t)))),
        field("class", Defaulted, Text(|t| word(Class::parse(t), "otp, transactional, marketing, state"))),
        field("to", Required, TO),
        field("channels", Defaulted, List(&Text(|t| word(Channel::parse(t), "websocket, email, sms")))),
        field("content", Required, CONTENT),
        field("overrides", Optional, OVERRIDES),
        field("schedule", Optional, SCHEDULE),
        field("occurrence", Optional, Text(|t| word(Occurrence::parse(t), "the occurrences of a schedule"))),
        field("retry", Optional, Text(|t| word(Retry::parse(t), "the retries of a dispatcher"))),
        field("ttl", Defaulted, SPAN),
        field("collapse", Optional, ANY_TEXT),
        field("ack", Defaulted, Flag),
        field("meta", Optional, AnyObject),
        field("traceparent", Optional, Text(|t| word(TraceParent::parse(t), "the forms of a traceparent"))),
    ],
    &["category", "plan", "template"],
);

const TO: Shape = Object(
    &[
        field("users", Defaulted, List(&USER)),
        field("devices", Defaulted, List(&DEVICE)),
        field("sessions", Defaulted, List(&Text(|t| id(SessionAddress::parse(t))))),
        field("all", Defaulted, Flag),
        field("emails", Defaulted, List(&ANY_TEXT)),
        field("phones", Defaulted, List(&ANY_TEXT)),
        field("platforms", Defaulted, List(&Text(|t| word(Platform::parse(t), "ios, android, web")))),
        field("exclude", Defaulted, List(&USER)),
    ],
    &["aliases", "groups", "addresses"],
);

const DEVICE: Shape =
    Object(&[field("user", Required, USER), field("device", Required, Text(|t| id(DeviceId::parse(t))))], &[]);

const CONTENT: Shape = Object(
    &[field("title", Optional, ANY_TEXT), field("body", Optional, ANY_TEXT), field("data", Optional, AnyObject)],
    &[],
);

const OVERRIDES: Shape = Object(&[field("email", Optional, EMAIL), field("sms", Optional, SMS)], &[]);

const EMAIL: Shape = Object(
    &[
        field("account", Optional, ANY_TEXT),
        field("subject", Optional, ANY_TEXT),
        field("html", Optional, ANY_TEXT),
        field("text", Optional, ANY_TEXT),
        field("cc", Defaulted, List(&ANY_TEXT)),
        field("bcc", Defaulted, List(&ANY_TEXT)),
        field("reply_to", Optional, ANY_TEXT),
        field("unsubscribe", Optional, ANY_TEXT),
        field("attachments", Defaulted, List(&ATTACHMENT)),
    ],
    &[],
);

const ATTACHMENT: Shape = Object(
    &[
        field("name", Required, ANY_TEXT),
        field("type", Required, ANY_TEXT),
        field("base64", Required, ANY_TEXT),
        field("cid", Optional, ANY_TEXT),
    ],
    &[],
);

const SMS: Shape = Object(
    &[
        field("account", Optional, ANY_TEXT),
        field("text", Optional, ANY_TEXT),
        field("sign", Optional, ANY_TEXT),
        field("template", Optional, ANY_TEXT),
        field("params", Defaulted, TextMap),
    ],
    &[],
);

const SCHEDULE: Shape = Object(
    &[
        field("at", Optional, INSTANT),
        field("delay", Optional, SPAN),
        field("every", Optional, SPAN),
        field("times", Optional, Count),
        field("start", Optional, INSTANT),
        field("cron", Optional, ANY_TEXT),
        field("zone", Optional, ANY_TEXT),
        field("until", Optional, INSTANT),
        field("misfire", Optional, Text(|t| word(Misfire::parse(t), "fire_once, skip, catch_up"))),
    ],
    &["spread", "window"],
);

fn id<T>(parsed: Result<T, IdError>) -> Result<(), String> {
    parsed.map(drop).map_err(|e| format!("is wrong: {e}"))
}

fn word<T>(parsed: Option<T>, known: &str) -> Result<(), String> {
    parsed.map(drop).ok_or_else(|| format!("is none of {known}"))
}

fn walk(at: &Pointer<'_>, value: &Value, shape: &Shape) -> Result<(), MessageError> {
    let wrong = |expected: &str| {
        Err(MessageError::at(Problem::WrongType, at, format!("must be {expected}, is {}", kind_of(value))))
    };
    match (shape, value) {
        (Flag, Value::Bool(_)) | (AnyObject, Value::Object(_)) => Ok(()),
        (Count, Value::Number(n)) => match n.as_u64() {
            Some(n) if u32::try_from(n).is_ok() => Ok(()),
            _ => Err(MessageError::at(Problem::Invalid, at, format!("must be a whole number from 0 to {}", u32::MAX))),
        },
        (Text(check), Value::String(text)) => {
            check(text).map_err(|detail| MessageError::at(Problem::Invalid, at, detail))
        }
        (List(element), Value::Array(values)) => {
            values.iter().enumerate().try_for_each(|(n, value)| walk(&at.element(n), value, element))
        }
        (TextMap, Value::Object(values)) => {
            values.iter().try_for_each(|(name, value)| walk(&at.field(name), value, &ANY_TEXT))
        }
        (Object(fields, reserved), Value::Object(values)) => walk_object(at, values, fields, reserved),
        (Flag, _) => wrong("true or false"),
        (Count, _) => wrong("a whole number"),
        (Text(_), _) => wrong("a string"),
        (List(_), _) => wrong("an array"),
        (Object(..) | AnyObject | TextMap, _) => wrong("an object"),
    }
}

fn walk_object(
    at: &Pointer<'_>,
    values: &serde_json::Map<String, Value>,
    fields: &[Field],
    reserved: &[&str],
) -> Result<(), MessageError> {
    for (name, value) in values {
        let here = at.field(name);
        if reserved.contains(&name.as_str()) {
            let detail = format!("{name} is reserved and not supported by this build");
            return Err(MessageError::at(Problem::NotSupported, &here, detail));
        }
        match fields.iter().find(|f| f.name == name) {
            Some(f) if value.is_null() && matches!(f.kind, Optional) => {}
            Some(f) => walk(&here, value, &f.shape)?,
            None => {
                let known: Vec<&str> = fields.iter().map(|f| f.name).collect();
                let detail = format!("there is no such field; the fields here are {}", known.join(", "));
                return Err(MessageError::at(Problem::UnknownField, &here, detail));
            }
        }
    }
    match fields.iter().find(|f| matches!(f.kind, Required) && !values.contains_key(f.name)) {
        Some(f) => {
            Err(MessageError::at(Problem::Missing, &at.field(f.name), format!("the field {} is missing", f.name)))
        }
        None => Ok(()),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
