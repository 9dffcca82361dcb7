//! One client's side of a connection, sans-I/O: bytes in, events and bytes out. It knows no socket, no clock and no ring,
//! and takes plain bytes, so that TLS fits between it and a socket.
//!
//! A greeted session that has nothing incomplete owns no memory beyond its own struct.

use std::io::Write as _;

use base64::{Engine, engine::general_purpose::STANDARD};
use httparse::{EMPTY_HEADER, Response, Status};
use pushgate_protocol::{
    close::CloseCode,
    ws::{Decoder, Event, Opcode, Rules, Violation, handshake, write},
};
use serde::Deserialize;

use crate::limits::{FRAME_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

/// Whether messages may come deflated is the session's.
const RULES: Rules = Rules { masked: false, message_bytes_max: FRAME_BYTES_MAX, deflate: false };

/// What the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The upgrade succeeded.
    Upgraded,
    /// The greeting of `pushgate.v1`.
    Hello,
    /// A push.
    Push {
        /// Its message id.
        id: &'a str,
        /// Whether its number follows that of the push or gap before it.
        follows: bool,
        /// It comes from the stream.
        replay: bool,
    },
    /// These pushes were left out.
    Gap {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A message of an echo connection.
    Message(&'a [u8]),
    /// Answers a ping of this client.
    Pong,
    /// Anything else of the dialect.
    Other,
}

/// Why a session is over.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// The upgrade was refused; trying again is refused again.
    #[error("the upgrade was answered {0}")]
    Refused(u16),
    /// The server closed.
    #[error("closed by the server with {0:?}")]
    Closed(Option<CloseCode>),
    /// The server broke RFC 6455.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// A message that is not of the dialect.
    #[error("not a message of pushgate.v1")]
    Frame,
}

/// What is said on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `pushgate.v1` at `/v1/ws`.
    PushgateV1,
    /// Messages that come back, at `/v1/echo`.
    Echo,
}

impl Dialect {
    /// Where it is served.
    pub fn path(self) -> &'static str {
        match self {
            Self::PushgateV1 => "/v1/ws",
            Self::Echo => "/v1/echo",
        }
    }
}

/// A client's session.
#[derive(Debug)]
pub struct Session {
    /// The answer to the upgrade as far as it came; `None` once upgraded.
    head: Option<Vec<u8>>,
    decoder: Decoder,
    /// Number of the newest push or gap.
    seq: u64,
    mask: u32,
    unacknowledged: u32,
    dialect: Dialect,
    /// It offers to take deflated messages.
    deflate: bool,
}

impl Session {
    /// A session that has not asked for its upgrade. `seed` should differ from session to session.
    pub fn new(dialect: Dialect, seed: u32) -> Self {
        Self {
            head: Some(Vec::new()),
            decoder: Decoder::default(),
            seq: 0,
            mask: seed,
            unacknowledged: 0,
            dialect,
            deflate: false,
        }
    }

    /// The same, which offers `permessage-deflate` if told so.
    pub fn offering_deflate(self, deflate: bool) -> Self {
        Self { deflate, ..self }
    }

    /// Writes the request for the upgrade.
    pub fn request(&mut self, host: &str, token: Option<&str>, out: &mut Vec<u8>) {
        let key = key(self.mask);
        let path = self.dialect.path();
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if self.deflate {
            out.extend_from_slice(b"Sec-WebSocket-Extensions: permessage-deflate\r\n");
        }
        if let Some(token) = token {
            let _ = write!(out, "Authorization: Bearer {token}\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Takes bytes from the server. What must be answered at once (pongs) goes to `out`.
    pub fn feed(&mut self, bytes: &mut [u8], out: &mut Vec<u8>, hear: &mut impl FnMut(Heard<'_>)) -> Result<(), Over> {
        let Some(head) = &mut self.head else { return self.frames(bytes, out, hear) };
        head.extend_from_slice(bytes);
        let Some(head_bytes) = upgraded(head, self.mask)? else { return Ok(()) };
        let mut rest = std::mem::take(head).split_off(head_bytes);
        self.head = None;
        hear(Heard::Upgraded);
        self.frames(&mut rest, out, hear)
    }

    /// Pushes not acknowledged yet.
    pub fn unacknowledged(&self) -> u32 {
        self.unacknowledged
    }

    /// Number of the newest push or gap.
    pub fn newest(&self) -> u64 {
        self.seq
    }

    /// Acknowledges what was received up to this number.
    pub fn acknowledge(&mut self, seq: u64, out: &mut Vec<u8>) {
        let mut text = [0; 48];
        let mut rest = &mut text[..];
        // Longer than the frame with the largest number.
        let _ = write!(rest, r#"{{"type":"ack","seq":{seq}}}"#);
        let left = rest.len();
        let length = text.len() - left;
        // Some of the numbers between may be of a gap.
        self.unacknowledged = self.unacknowledged.min(self.seq.saturating_sub(seq).try_into().unwrap_or(u32::MAX));
        self.say(Opcode::Text, &text[..length], out);
    }

    /// Asks the server whether it is there.
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        match self.dialect {
            Dialect::PushgateV1 => self.say(Opcode::Text, br#"{"type":"ping"}"#, out),
            Dialect::Echo => self.say(Opcode::Ping, b"", out),
        }
    }

    /// Says a message, for an echo.
    pub fn message(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.say(Opcode::Binary, payload, out);
    }

    /// Says goodbye.
    pub fn close(&mut self, code: CloseCode, out: &mut Vec<u8>) {
        self.say(Opcode::Close, &code.0.to_be_bytes(), out);
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        let mask = next_mask(&mut self.mask);
        write::masked(out, opcode, true, mask, payload);
    }

    fn frames(&mut self, bytes: &mut [u8], out: &mut Vec<u8>, hear: &mut impl FnMut(Heard<'_>)) -> Result<(), Over> {
        let rules = Rules { deflate: self.deflate, ..RULES };
        let mut at = 0;
        loop {
            let (used, event) = self.decoder.next(&rules, &mut bytes[at..])?;
            at += used;
            match event {
                None => return Ok(()),
                Some(Event::Text(text)) if self.dialect == Dialect::PushgateV1 => {
                    let said = Said::parse(text).ok_or(Over::Frame)?;
                    hear(said.heard(&mut self.seq, &mut self.unacknowledged));
                }
                Some(Event::Text(text)) => hear(Heard::Message(text.as_bytes())),
                Some(Event::Binary(payload)) => hear(Heard::Message(payload)),
                Some(Event::Ping(payload)) => {
                    let mask = next_mask(&mut self.mask);
                    write::masked(out, Opcode::Pong, true, mask, payload);
                }
                Some(Event::Pong(_)) => hear(Heard::Pong),
                Some(Event::Close(code, _)) => return Err(Over::Closed(code)),
            }
        }
    }
}

/// A server's message.
enum Said<'a> {
    Push { seq: u64, replay: bool, id: &'a str },
    Gap { from: u64, to: u64 },
    Hello,
    Pong,
    Other,
}

impl<'a> Said<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Some((seq, replay, id)) = push(text) {
            return Some(Self::Push { seq, replay, id });
        }
        let frame: Frame<'a> = serde_json::from_str(text).ok()?;
        Some(match frame.kind {
            "push" => Self::Push { seq: frame.seq?, replay: frame.replay, id: frame.id? },
            "gap" => Self::Gap { from: frame.from?, to: frame.to? },
            "hello" => Self::Hello,
            "pong" => Self::Pong,
            _ => Self::Other,
        })
    }

    fn heard(self, newest: &mut u64, unacknowledged: &mut u32) -> Heard<'a> {
        match self {
            Self::Push { seq, replay, id } => {
                let follows = seq == newest.wrapping_add(1);
                *newest = seq;
                *unacknowledged += 1;
                Heard::Push { id, follows, replay }
            }
            Self::Gap { from, to } => {
                *newest = to;
                Heard::Gap { from, to }
            }
            Self::Hello => Heard::Hello,
            Self::Pong => Heard::Pong,
            Self::Other => Heard::Other,
        }
    }
}

/// A push as the gateway writes it, found without reading the JSON behind the id. `None`: read it as JSON.
fn push(text: &str) -> Option<(u64, bool, &str)> {
    let rest = text.strip_prefix(r#"{"type":"push","seq":"#)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let seq = rest[..digits].parse().ok()?;
    let rest = rest[digits..].strip_prefix(r#","replay":"#)?;
    let (replay, rest) = match rest.strip_prefix("false") {
        Some(rest) => (false, rest),
        None => (true, rest.strip_prefix("true")?),
    };
    let rest = rest.strip_prefix(r#","id":""#)?;
    let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (rest.as_bytes()[end] == b'"').then(|| (seq, replay, &rest[..end]))
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    seq: Option<u64>,
    #[serde(default)]
    replay: bool,
    id: Option<&'a str>,
    from: Option<u64>,
    to: Option<u64>,
}

/// Length of the head once it is whole and answers this session's key.
fn upgraded(head: &[u8], seed: u32) -> Result<Option<usize>, Over> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let Ok(parsed) = response.parse(head) else { return Err(Over::Refused(0)) };
    let Status::Complete(head_bytes) = parsed else {
        return if head.len() > HEAD_BYTES_MAX { Err(Over::Refused(0)) } else { Ok(None) };
    };
    let status = response.code.unwrap_or_default();
    let accept = handshake::accept(&key(seed));
    let accepts =
        |h: &httparse::Header<'_>| h.name.eq_ignore_ascii_case("sec-websocket-accept") && h.value == accept.as_bytes();
    match status == 101 && response.headers.iter().any(accepts) {
        true => Ok(Some(head_bytes)),
        false => Err(Over::Refused(status)),
    }
}

/// The key of the upgrade. It guards against caches that answer from memory, so it must only differ between sessions.
fn key(seed: u32) -> String {
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&seed.to_le_bytes());
    STANDARD.encode(nonce)
}

/// The mask of the next frame. It hides nothing here: it must only differ from frame to frame.
fn next_mask(state: &mut u32) -> [u8; 4] {
    *state = state.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
    state.to_le_bytes()
}

#[cfg(test)]
mod tests;
