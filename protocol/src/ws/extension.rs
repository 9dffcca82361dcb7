//! What is agreed on beyond RFC 6455: `permessage-deflate`, negotiated as RFC 7692 section 7.1 says, over the lines of an
//! upgrade request (RFC 6455 section 9.1).
//!
//! Both sides always start each message anew: context that lives on costs tens of kilobytes per connection. A server may ask
//! for that of any client (sections 7.1.1.1 and 7.1.1.2). No other extension is known; those are declined.

use std::{borrow::Cow, num::NonZeroU8};

use super::handshake::is_token_byte;

/// The extension's name.
const DEFLATE: &[u8] = b"permessage-deflate";
/// How far back DEFLATE's data can refer, bytes.
const WINDOW_BYTES_MAX: usize = 1 << 15;
/// Window bits when none were agreed on: DEFLATE's own bound is 15, and 16 tells that nothing is to be answered.
const UNNAMED: NonZeroU8 = NonZeroU8::new(16).expect("16 is not 0");

/// `permessage-deflate` as agreed: neither side keeps context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deflate(NonZeroU8);

impl Deflate {
    /// With nothing asked of the server's window.
    pub const ANY_WINDOW: Self = Self(UNNAMED);

    /// Whether `bytes` bytes that [`Deflater`](super::deflate::Deflater) deflates keep to the window agreed on: its data refer
    /// back as far as they can.
    pub fn allows(self, bytes: usize) -> bool {
        self.window_bytes() == WINDOW_BYTES_MAX || bytes <= self.window_bytes()
    }

    /// How far back the server's data may refer.
    fn window_bytes(self) -> usize {
        1 << self.0.get().min(15)
    }

    /// `Sec-WebSocket-Extensions` of the 101. The client's window is left to it: nothing is kept of it between messages.
    pub fn answer(self) -> String {
        let mut answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
        if self.0 != UNNAMED {
            answer.push_str(&format!("; server_max_window_bits={}", self.0));
        }
        answer
    }
}

/// A line that RFC 6455 section 9.1 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The first acceptable offer of `permessage-deflate` in these lines, the client's preference first. Every line is read to its
/// end, for one that is malformed fails the handshake.
pub(super) fn choose<'h>(lines: impl Iterator<Item = &'h [u8]>) -> Result<Option<Deflate>, Malformed> {
    let mut chosen = None;
    for line in lines {
        let mut cursor = Cursor(line);
        loop {
            cursor.skip_space();
            // Empty elements of a list count for nothing.
            if cursor.eat(b',') {
                continue;
            }
            if cursor.0.is_empty() {
                break;
            }
            let offer = cursor.offer()?;
            chosen = chosen.or(offer);
            if !cursor.0.is_empty() && !cursor.eat(b',') {
                return Err(Malformed);
            }
        }
    }
    Ok(chosen)
}

/// What is left of a line.
struct Cursor<'h>(&'h [u8]);

impl<'h> Cursor<'h> {
    /// One extension with its parameters; `None` if it is declined.
    fn offer(&mut self) -> Result<Option<Deflate>, Malformed> {
        let mut parameters = Parameters::default();
        let known = self.token()? == DEFLATE;
        self.skip_space();
        while self.eat(b';') {
            self.skip_space();
            let name = self.token()?;
            self.skip_space();
            let value = if self.eat(b'=') { Some(self.value()?) } else { None };
            self.skip_space();
            parameters.note(name, value.as_deref());
        }
        Ok(parameters.accept().filter(|_| known))
    }

    fn token(&mut self) -> Result<&'h [u8], Malformed> {
        let end = self.0.iter().position(|&b| !is_token_byte(b)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// A token, or a quoted string that is one without its quotes and backslashes.
    fn value(&mut self) -> Result<Cow<'h, [u8]>, Malformed> {
        self.skip_space();
        if !self.eat(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            match byte {
                b'"' if value.is_empty() => return Err(Malformed),
                b'"' => return Ok(Cow::Owned(value)),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first().ok_or(Malformed)?;
                    self.0 = rest;
                    value.push(escaped);
                }
                _ => value.push(byte),
            }
            if value.last().is_some_and(|&b| !is_token_byte(b)) {
                return Err(Malformed);
            }
        }
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

/// The parameters of one offer. Unknown ones, bad values and repetitions decline it (section 7.1).
#[derive(Default)]
struct Parameters {
    seen: u8,
    window: Option<NonZeroU8>,
    declined: bool,
}

impl Parameters {
    fn note(&mut self, name: &[u8], value: Option<&[u8]>) {
        let bits = value.and_then(window_bits);
        let (at, good) = match name {
            b"server_no_context_takeover" => (1, value.is_none()),
            b"client_no_context_takeover" => (2, value.is_none()),
            b"server_max_window_bits" => {
                self.window = bits;
                (4, bits.is_some())
            }
            // A client may say that it takes a bound without naming one.
            b"client_max_window_bits" => (8, value.is_none() || bits.is_some()),
            _ => (0, false),
        };
        self.declined |= !good || self.seen & at != 0;
        self.seen |= at;
    }

    fn accept(&self) -> Option<Deflate> {
        (!self.declined).then_some(Deflate(self.window.unwrap_or(UNNAMED)))
    }
}

/// 8 to 15, without leading zeros (sections 7.1.2.1 and 7.1.2.2).
fn window_bits(value: &[u8]) -> Option<NonZeroU8> {
    let bits = match value {
        [digit @ b'8'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'5'] => 10 + digit - b'0',
        _ => return None,
    };
    NonZeroU8::new(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(lines: &[&str]) -> Result<Option<String>, Malformed> {
        choose(lines.iter().map(|l| l.as_bytes())).map(|chosen| chosen.map(Deflate::answer))
    }

    #[test]
    fn an_offer_is_answered_with_what_was_agreed() {
        for (offer, bits) in [
            ("permessage-deflate", ""),
            ("permessage-deflate; client_max_window_bits", ""),
            ("permessage-deflate; client_max_window_bits=9", ""),
            ("permessage-deflate;server_no_context_takeover;client_no_context_takeover", ""),
            ("permessage-deflate; server_max_window_bits=8", "8"),
            ("permessage-deflate; server_max_window_bits=15; client_max_window_bits=15", "15"),
            ("permessage-deflate; server_max_window_bits=\"10\"", "10"),
            ("permessage-deflate; server_max_window_bits = \"1\\0\"\t; client_no_context_takeover", "10"),
            (", ,permessage-deflate ,", ""),
            ("x-other, permessage-deflate", ""),
            ("x-other; a=1; b=\"c\"; a, permessage-deflate", ""),
            // The first that can be accepted, not the least.
            ("permessage-deflate; server_max_window_bits=12, permessage-deflate", "12"),
            ("permessage-deflate, permessage-deflate; server_max_window_bits=12", ""),
            ("permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=9", "9"),
        ] {
            let bits = if bits.is_empty() { String::new() } else { format!("; server_max_window_bits={bits}") };
            assert_eq!(answer(&[offer]), Ok(Some(format!("{PLAIN}{bits}"))), "{offer}");
        }
        assert_eq!(answer(&["x", "permessage-deflate"]), Ok(Some(PLAIN.to_owned())), "lines make one list");
    }

    #[test]
    fn an_offer_that_cannot_be_accepted_is_declined() {
        for offer in [
            "",
            " ,, ",
            "x-webkit-deflate-frame",
            "Permessage-Deflate",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=100",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits=1x",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        ] {
            assert_eq!(answer(&[offer]), Ok(None), "{offer}");
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_is_malformed() {
        for line in [
            ";",
            "=",
            "permessage-deflate;",
            "permessage-deflate; ;",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"1 0\"",
            "permessage-deflate; client_max_window_bits=\"10\\",
            "permessage-deflate; client_max_window_bits=10 11",
            "a, b c",
            "ü",
            "permessage-deflate, ;",
        ] {
            assert_eq!(answer(&[line]), Err(Malformed), "{line}");
        }
    }

    #[test]
    fn a_window_is_what_was_asked_for_or_the_largest() {
        let window = |line: &str| choose([line.as_bytes()].into_iter()).unwrap().unwrap().window_bytes();
        assert_eq!(window("permessage-deflate; server_max_window_bits=8"), 256);
        let small = choose([&b"permessage-deflate; server_max_window_bits=8"[..]].into_iter()).unwrap().unwrap();
        assert!(small.allows(256) && !small.allows(257) && Deflate::ANY_WINDOW.allows(1 << 20));
        assert_eq!(window("permessage-deflate; server_max_window_bits=15"), 32_768);
        assert_eq!(window("permessage-deflate"), 32_768);
        assert_eq!(size_of::<Option<Deflate>>(), 1, "a session pays one byte");
    }
}
