//! One client of `pushgate.v1` over a plain TCP socket: upgrades, waits for its greeting, reads pushes, acknowledges.
//!
//! Everything that one read brought is acknowledged by one frame, cumulatively. A client does not reconnect: whoever
//! runs it decides what an end means.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use httparse::{EMPTY_HEADER, Response, Status};
use pushgate_protocol::{
    close::CloseCode,
    ws::{Decoder, Event, Opcode, Rules, Violation, handshake, write},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
};

use crate::limits::{FRAME_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, READ_BYTES};

const RULES: Rules = Rules { masked: false, message_bytes_max: FRAME_BYTES_MAX, deflate: false };

/// A greeted client.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    /// Frames the socket has not taken yet.
    output: Vec<u8>,
    mask: u32,
    greeted: bool,
}

/// A push as a client sees it.
#[derive(Debug)]
pub struct Push<'a> {
    /// Its number in the session.
    pub seq: u64,
    /// Whether it comes from the user's stream.
    pub replay: bool,
    /// The JSON text of the message's `data`.
    pub data: Option<&'a str>,
}

/// Why a client ended. It may connect again after each, except that a refused upgrade will be refused again.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The upgrade was refused.
    #[error("the upgrade was answered {status}")]
    Refused {
        /// The HTTP status; 0 if the answer was not HTTP.
        status: u16,
    },
    /// The server closed.
    #[error("closed by the server: {code:?} {reason}")]
    Closed {
        /// Its code.
        code: Option<CloseCode>,
        /// Its reason.
        reason: String,
    },
    /// The server broke RFC 6455.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// A frame that is not of the dialect.
    #[error("not a frame of pushgate.v1: {0}")]
    Frame(#[from] serde_json::Error),
    /// Not greeted in time.
    #[error("not greeted in {0:?}")]
    Slow(std::time::Duration),
}

impl Client {
    /// Connects to `host:port` and returns once greeted. Pushes may come right behind the greeting.
    pub async fn connect(address: &str, token: &str, on_push: &mut dyn FnMut(Push<'_>)) -> Result<Self, ClientError> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let id = uuid::Uuid::now_v7();
        let key = STANDARD.encode(id.as_bytes());
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut input = Vec::with_capacity(1024);
        let head_bytes = loop {
            if let Some(head_bytes) = upgraded(&input, &key)? {
                break head_bytes;
            }
            if input.len() > HEAD_BYTES_MAX || stream.read_buf(&mut input).await? == 0 {
                return Err(ClientError::Refused { status: 0 });
            }
        };
        let mask = u32::from_le_bytes([id.as_bytes()[12], id.as_bytes()[13], id.as_bytes()[14], id.as_bytes()[15]]);
        let mut client = Self { stream, decoder: Decoder::default(), output: Vec::new(), mask, greeted: false };
        client.feed(&mut input[head_bytes..], on_push)?;
        client.flush()?;
        let mut scratch = vec![0; READ_BYTES];
        while !client.greeted {
            client.ready().await?;
            client.turn(&mut scratch, on_push)?;
        }
        Ok(client)
    }

    /// Waits until [`turn`](Self::turn) has something to do.
    pub async fn ready(&self) -> io::Result<()> {
        let interest =
            if self.output.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        self.stream.ready(interest).await.map(|_| ())
    }

    /// Reads once into `scratch`, hands over the pushes that came and acknowledges them; never waits.
    pub fn turn(&mut self, scratch: &mut [u8], on_push: &mut dyn FnMut(Push<'_>)) -> Result<(), ClientError> {
        match self.stream.try_read(scratch) {
            Ok(0) => return Err(ClientError::Closed { code: None, reason: "without a close frame".into() }),
            Ok(read) => self.feed(&mut scratch[..read], on_push)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        self.flush()
    }

    fn feed(&mut self, bytes: &mut [u8], on_push: &mut dyn FnMut(Push<'_>)) -> Result<(), ClientError> {
        let (mut at, mut last) = (0, None);
        loop {
            let (used, event) = self.decoder.next(&RULES, &mut bytes[at..])?;
            at += used;
            match event {
                None => break,
                Some(Event::Text(text)) => {
                    let frame: Frame<'_> = serde_json::from_str(text)?;
                    match (frame.kind, frame.seq) {
                        ("push", Some(seq)) => {
                            last = Some(seq);
                            on_push(Push { seq, replay: frame.replay, data: frame.data.map(RawValue::get) });
                        }
                        ("hello", _) => self.greeted = true,
                        _ => {}
                    }
                }
                Some(Event::Ping(payload)) => {
                    let key = next_mask(&mut self.mask);
                    write::masked(&mut self.output, Opcode::Pong, true, key, payload);
                }
                Some(Event::Binary(_) | Event::Pong(_)) => {}
                Some(Event::Close(code, reason)) => {
                    return Err(ClientError::Closed { code, reason: reason.into() });
                }
            }
        }
        if let Some(seq) = last {
            let ack = format!(r#"{{"type":"ack","seq":{seq}}}"#);
            let key = next_mask(&mut self.mask);
            write::masked(&mut self.output, Opcode::Text, true, key, ack.as_bytes());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What is read of a server's frame.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    replay: bool,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Length of the head once it is whole and answers `key`.
fn upgraded(input: &[u8], key: &str) -> Result<Option<usize>, ClientError> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let Ok(parsed) = response.parse(input) else { return Err(ClientError::Refused { status: 0 }) };
    let Status::Complete(head_bytes) = parsed else { return Ok(None) };
    let status = response.code.unwrap_or_default();
    let accept = handshake::accept(key);
    let accepts =
        |h: &httparse::Header<'_>| h.name.eq_ignore_ascii_case("sec-websocket-accept") && h.value == accept.as_bytes();
    match status == 101 && response.headers.iter().any(accepts) {
        true => Ok(Some(head_bytes)),
        false => Err(ClientError::Refused { status }),
    }
}

/// The mask of the next frame. It hides nothing here: it must only differ from frame to frame.
fn next_mask(state: &mut u32) -> [u8; 4] {
    *state = state.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
    state.to_le_bytes()
}

#[cfg(test)]
mod tests;
