//! A message as most are: to one user, now, with content that is written without escapes. It is read in one pass that copies nothing.
//!
//! Invariant: what is read here reads the same by [`decode`](super::decode). Whatever else there may be in a message, even if it is valid,
//! is left to that: `None` says nothing about the message.

use serde_json::value::RawValue;

use super::{Span, json, validate, yes_one_day};
use crate::{
    limits::{COLLAPSE_BYTES_MAX, CONTENT_BYTES_MAX, DATA_DEPTH_MAX},
    result::Class,
};

/// The parts of a plain message. Identifiers are texts that are still to be parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain<'a> {
    /// Its id.
    pub id: Option<&'a str>,
    /// Its app.
    pub app: Option<&'a str>,
    /// Its class.
    pub class: Class,
    /// The one user.
    pub user: &'a str,
    /// Of its content: one line, as it is written in JSON.
    pub title: Option<&'a str>,
    /// The text, as it is written in JSON.
    pub body: Option<&'a str>,
    /// An object, on one line.
    pub data: Option<&'a str>,
    /// How long it is worth sending.
    pub ttl: Span,
    /// Its collapse key.
    pub collapse: Option<&'a str>,
    /// Whether it is to be acknowledged.
    pub ack: bool,
}

/// Reads a message that is plain.
pub fn plain(json: &[u8]) -> Option<Plain<'_>> {
    // All content lies in it, so it is within its own bound too.
    if json.len() > CONTENT_BYTES_MAX {
        return None;
    }
    let mut text = Text { text: str::from_utf8(json).ok()?, at: 0 };
    let mut given = Given::default();
    text.object(|name, text| given.take(name, text))?;
    (text.skip_space() == text.text.len()).then_some(())?;
    let content = given.content?;
    (content != Parts::default()).then_some(())?;
    let Parts { title, body, data } = content;
    let (ack, ttl) = yes_one_day();
    Some(Plain {
        id: given.id,
        app: given.app,
        class: given.class.unwrap_or_default(),
        user: given.user.filter(|user| *user != "*")?,
        title,
        body,
        data,
        ttl: given.ttl.unwrap_or(ttl),
        collapse: given.collapse,
        ack: given.ack.unwrap_or(ack),
    })
}

/// What was given so far.
#[derive(Default)]
struct Given<'a> {
    v: Option<()>,
    id: Option<&'a str>,
    app: Option<&'a str>,
    class: Option<Class>,
    user: Option<&'a str>,
    content: Option<Parts<'a>>,
    ttl: Option<Span>,
    collapse: Option<&'a str>,
    ack: Option<bool>,
}

/// Of the content.
#[derive(Default, PartialEq)]
struct Parts<'a> {
    title: Option<&'a str>,
    body: Option<&'a str>,
    data: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn take(&mut self, name: &str, text: &mut Text<'a>) -> Option<()> {
        match name {
            "v" => once(&mut self.v, text.literal("1")?),
            "id" => once(&mut self.id, text.string()?),
            "app" => once(&mut self.app, text.string()?),
            "class" => once(&mut self.class, Class::parse(text.string()?)?),
            "to" => once(&mut self.user, one_user(text)?),
            "content" => once(&mut self.content, content(text)?),
            "ttl" => {
                let ttl = Span::parse(text.string()?).ok()?;
                validate::check_ttl(ttl).ok()?;
                once(&mut self.ttl, ttl)
            }
            "collapse" => {
                let collapse = text.string()?;
                (1..=COLLAPSE_BYTES_MAX).contains(&collapse.len()).then_some(())?;
                once(&mut self.collapse, collapse)
            }
            "ack" => once(&mut self.ack, text.truth()?),
            _ => None,
        }
    }
}

/// A field given twice is not for here.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

fn one_user<'a>(text: &mut Text<'a>) -> Option<&'a str> {
    let mut user = None;
    text.object(|name, text| {
        (name == "users").then_some(())?;
        text.literal("[")?;
        let one = text.string()?;
        text.literal("]")?;
        once(&mut user, one)
    })?;
    user
}

fn content<'a>(text: &mut Text<'a>) -> Option<Parts<'a>> {
    let mut parts = Parts::default();
    text.object(|name, text| match name {
        "title" => once(&mut parts.title, text.string()?),
        "body" => once(&mut parts.body, text.string()?),
        "data" => once(&mut parts.data, text.plain_object()?),
        _ => None,
    })?;
    Some(parts)
}

/// JSON that is being read.
struct Text<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Text<'a> {
    /// To what is no space; where that is.
    fn skip_space(&mut self) -> usize {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.at
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        let from = self.skip_space();
        self.text.as_bytes()[from..].starts_with(literal.as_bytes()).then_some(())?;
        self.at += literal.len();
        // Digits that follow would make it another number, which no separator is.
        Some(())
    }

    fn truth(&mut self) -> Option<bool> {
        match self.literal("true") {
            Some(()) => Some(true),
            None => self.literal("false").map(|()| false),
        }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.literal("\"")?;
        let (from, bytes) = (self.at, self.text.as_bytes());
        let end = from + bytes[from..].iter().position(|byte| ENDS_PLAIN_TEXT[usize::from(*byte)])?;
        (bytes[end] == b'"').then_some(())?;
        self.at = end + 1;
        Some(&self.text[from..end])
    }

    /// An object, with a look at each member's value where it begins.
    fn object(&mut self, mut member: impl FnMut(&'a str, &mut Self) -> Option<()>) -> Option<()> {
        self.literal("{")?;
        loop {
            let name = self.string()?;
            self.literal(":")?;
            member(name, self)?;
            if self.literal(",").is_none() {
                return self.literal("}");
            }
        }
    }

    /// The text of an object on one line and not too deep.
    fn plain_object(&mut self) -> Option<&'a str> {
        let from = self.skip_space();
        let rest = &self.text[from..];
        rest.starts_with('{').then_some(())?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let object = values.next()?.ok()?.get();
        self.at = from + values.byte_offset();
        let on_one_line = !object.contains(['\n', '\r']);
        (on_one_line && json::depth(object) <= DATA_DEPTH_MAX).then_some(object)
    }
}

/// Bytes that no text without escapes holds: its end, the escape, control characters.
const ENDS_PLAIN_TEXT: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        ends[byte] = true;
        byte += 1;
    }
    ends[b'"' as usize] = true;
    ends[b'\\' as usize] = true;
    ends
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::decode;

    /// What `decode` makes of it, if it is to one user and nothing else.
    fn assert_same(json: &str) -> bool {
        let Some(plain) = plain(json.as_bytes()) else { return false };
        let whole = match decode(json.as_bytes()) {
            Ok(whole) => whole,
            // Identifiers are parsed by whoever reads on.
            Err(error) => {
                assert!(["/id", "/app", "/to/users/0"].contains(&error.pointer.as_str()), "{json}: {error}");
                return false;
            }
        };
        assert_eq!(plain.id, whole.id.as_ref().map(|id| id.as_str()), "{json}");
        assert_eq!(plain.app, whole.app.as_ref().map(|app| app.as_str()), "{json}");
        assert_eq!((plain.class, plain.ack, plain.ttl), (whole.class, whole.ack, whole.ttl), "{json}");
        assert_eq!(whole.to.users.iter().map(|user| user.as_str()).collect::<Vec<_>>(), [plain.user], "{json}");
        assert_eq!(
            (whole.to.count(), whole.to.all, whole.to.exclude.len(), whole.to.platform_bits()),
            (1, false, 0, 0)
        );
        assert_eq!(plain.title, whole.content.title.as_deref(), "{json}");
        assert_eq!(plain.body, whole.content.body.as_deref(), "{json}");
        assert_eq!(plain.data, whole.content.data.as_ref().map(|data| data.as_str()), "{json}");
        assert_eq!(plain.collapse, whole.collapse.as_deref(), "{json}");
        assert!(whole.schedule.is_none() && whole.occurrence.is_none() && whole.overrides.is_none(), "{json}");
        assert!(whole.meta.is_none() && whole.traceparent.is_none(), "{json}");
        true
    }

    #[test]
    fn usual_messages_are_plain() {
        for json in [
            r#"{"app":"a","to":{"users":["u1"]},"content":{"title":"T","body":"B"}}"#,
            r#" { "v" : 1 , "id" : "m" , "to" : { "users" : [ "ü" ] } , "content" : { "body" : "grüße" } } "#,
            r#"{"to":{"users":["u"]},"class":"state","ack":false,"ttl":"5m","collapse":"k","content":{"data":{"a":[1,{"b":"\n"}]}}}"#,
        ] {
            assert!(assert_same(json), "{json}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_whole_decoder() {
        for json in [
            "",
            "{}",
            "[]",
            r#"{"to":{"users":["u1"]}}"#,
            r#"{"to":{"users":["u1"]},"content":{}}"#,
            r#"{"to":{"users":["*"]},"content":{"body":"b"}}"#,
            r#"{"to":{"users":["u1","u2"]},"content":{"body":"b"}}"#,
            r#"{"to":{"users":["u1"],"all":false},"content":{"body":"b"}}"#,
            r#"{"to":{"users":["u1"]},"content":{"body":"\u0041"}}"#,
            r#"{"to":{"users":["u1"]},"content":{"body":"b"},"content":{"body":"c"}}"#,
            r#"{"v":2,"to":{"users":["u1"]},"content":{"body":"b"}}"#,
            r#"{"v":1.0,"to":{"users":["u1"]},"content":{"body":"b"}}"#,
            r#"{"v":10,"to":{"users":["u1"]},"content":{"body":"b"}}"#,
            r#"{"to":{"users":["u1"]},"content":{"body":null}}"#,
            r#"{"to":{"users":["u1"]},"content":{"body":"b"},"ttl":"0s"}"#,
            r#"{"to":{"users":["u1"]},"content":{"body":"b"},"collapse":""}"#,
            r#"{"to":{"users":["u1"]},"content":{"body":"b"}}x"#,
            r#"{"to":{"users":["u1"]},"content":{"body":"b"},}"#,
            r#"{"to":{"users":["u1"]},"content":{"data":[1]}}"#,
            "{\"to\":{\"users\":[\"u1\"]},\"content\":{\"data\":{\"a\":\n1}}}",
            r#"{"to":{"users":["u1"]},"content":{"body":"b"},"meta":{}}"#,
            r#"{"to":{"users":["u1"]},"content":{"body":"b"},"ack":truefalse}"#,
        ] {
            assert_eq!(plain(json.as_bytes()), None, "{json}");
        }
        assert_eq!(plain(b"{\"to\":{\"users\":[\"\xff\"]},\"content\":{\"body\":\"b\"}}"), None);
    }

    proptest! {
        /// Parts of messages in any order, some of them wrong: what is plain is what the whole decoder reads.
        #[test]
        fn what_is_plain_reads_the_same_by_the_whole_decoder(
            parts in prop::collection::vec(0..PARTS.len(), 0..6), to in 0..TO.len(), content in 0..CONTENT.len(), cut in 0..400usize,
        ) {
            let mut members = vec![TO[to], CONTENT[content]];
            members.extend(parts.into_iter().map(|n| PARTS[n]));
            let json = format!("{{{}}}", members.join(","));
            assert_same(&json);
            let end = (0..=cut.min(json.len())).rev().find(|end| json.is_char_boundary(*end)).unwrap_or(0);
            assert_same(&json[..end]);
        }
    }

    const TO: [&str; 6] = [
        r#""to":{"users":["u1"]}"#,
        r#""to": {"users": ["a b"] }"#,
        r#""to":{"users":["\u0001"]}"#,
        r#""to":{"users":[]}"#,
        r#""to":{"users":["u"],"platforms":["web"]}"#,
        r#""to":{"users":[""]}"#,
    ];
    const CONTENT: [&str; 8] = [
        r#""content":{"body":"b"}"#,
        r#""content":{"title":"t","body":"b","data":{"x":1}}"#,
        r#""content":{"title":"ü\"","body":"b"}"#,
        r#""content":{"data":{}}"#,
        r#""content":{"data":{"a":{"b":[1,2,{"c":"}"}]}}}"#,
        r#""content":{"data":{"a":}}"#,
        r#""content":{"body":"\t"}"#,
        r#""content":null"#,
    ];
    const PARTS: [&str; 22] = [
        r#""v":1"#,
        r#""v":"1""#,
        r#""v":1e0"#,
        r#""id":"m1""#,
        r#""id":"""#,
        r#""app":"shop""#,
        r#""app":null"#,
        r#""class":"otp""#,
        r#""class":"none""#,
        r#""ack":false"#,
        r#""ack":true"#,
        r#""ack":0"#,
        r#""ttl":"1h""#,
        r#""ttl":"2y""#,
        r#""ttl":"-1s""#,
        r#""collapse":"k""#,
        r#""collapse":"""#,
        r#""channels":["websocket"]"#,
        r#""schedule":{"delay":"5s"}"#,
        r#""meta":{"a":1}"#,
        r#""unknown":1"#,
        r#" "id" : "m\u0032" "#,
    ];
}
