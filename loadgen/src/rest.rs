//! A kept-alive HTTP/1.1 connection to REST: one request at a time, the next only after the answer.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::limits::{ANSWER_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

/// A connection.
#[derive(Debug)]
pub struct RestConnection {
    stream: TcpStream,
    address: String,
    authorization: String,
    request: Vec<u8>,
    input: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

impl RestConnection {
    /// Connects to `host:port`, to call as `app` with its secret.
    pub async fn connect(address: &str, app: &str, secret: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let authorization = STANDARD.encode(format!("{app}:{secret}"));
        Ok(Self { stream, address: address.into(), authorization, request: Vec::new(), input: Vec::new() })
    }

    /// Posts JSON to `path` and waits for the answer. After an error the connection must not be used again.
    pub async fn post(&mut self, path: &str, json: &[u8]) -> io::Result<Answer<'_>> {
        let what = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len());
        self.ask("POST", path, &what, json).await
    }

    /// Gets `path`. After an error the connection must not be used again.
    pub async fn get(&mut self, path: &str) -> io::Result<Answer<'_>> {
        self.ask("GET", path, "", &[]).await
    }

    async fn ask(&mut self, method: &str, path: &str, what: &str, json: &[u8]) -> io::Result<Answer<'_>> {
        let Self { address, authorization, .. } = self;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {authorization}\r\n{what}\r\n"
        );
        self.request.clear();
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(json);
        self.stream.write_all(&self.request).await?;
        self.input.clear();
        loop {
            if let Some((status, head_bytes, body_bytes)) = head_of(&self.input)? {
                while self.input.len() < head_bytes + body_bytes {
                    self.read().await?;
                }
                return Ok(Answer { status, body: &self.input[head_bytes..head_bytes + body_bytes] });
            }
            if self.input.len() > HEAD_BYTES_MAX {
                return Err(malformed("the head has no end"));
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed before it answered")),
            _ => Ok(()),
        }
    }
}

/// Status, bytes of the head, bytes of the body; `None` while the head is not whole.
fn head_of(input: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let Status::Complete(head_bytes) = response.parse(input).map_err(|e| malformed(&e.to_string()))? else {
        return Ok(None);
    };
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|h| std::str::from_utf8(h.value).ok()).and_then(|text| text.trim().parse().ok());
    match length {
        Some(bytes) if bytes <= ANSWER_BYTES_MAX => Ok(Some((response.code.unwrap_or_default(), head_bytes, bytes))),
        _ => Err(malformed("no usable content-length")),
    }
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is not HTTP as expected: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_announced_length_came() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(head_of(whole).unwrap(), Some((202, whole.len() - 2, 2)));
        assert_eq!(head_of(&whole[..30]).unwrap(), None);
        assert!(head_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(head_of(b"SSH-2.0\r\n\r\n").is_err());
    }
}
