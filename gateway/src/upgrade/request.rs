//! A client's request head: parsed once, held as offsets into the bytes that arrived.

use std::{mem::MaybeUninit, ops::Range};

use crate::limits;

/// A request head that was read whole.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    head_bytes: usize,
    method: Range<usize>,
    target: Range<usize>,
    headers: Vec<(Range<usize>, Range<usize>)>,
}

/// Why bytes are not a request; each has its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// 400
    #[error("the request is not HTTP/1.1: {0}")]
    Malformed(&'static str),
    /// 505
    #[error("HTTP/1.1 is needed")]
    Version,
    /// 431
    #[error("the request head exceeds {0} bytes")]
    TooLarge(usize),
    /// 431
    #[error("the request has more than {} header lines", limits::REQUEST_HEADERS_MAX)]
    TooManyHeaders,
}

impl Request {
    /// Parses `bytes` if they hold a whole head of at most `head_bytes_max` bytes; gives them back if more are needed.
    pub(crate) fn parse(bytes: Vec<u8>, head_bytes_max: usize) -> Result<Result<Self, Vec<u8>>, RequestError> {
        let mut lines = [const { MaybeUninit::uninit() }; limits::REQUEST_HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        // Nothing behind the bound is looked at, so the answer does not depend on how much of it came at once.
        let head_bytes = match request.parse_with_uninit_headers(&bytes[..bytes.len().min(head_bytes_max)], &mut lines)
        {
            Ok(httparse::Status::Complete(n)) => n,
            Ok(httparse::Status::Partial) if bytes.len() < head_bytes_max => return Ok(Err(bytes)),
            Ok(httparse::Status::Partial) => return Err(RequestError::TooLarge(head_bytes_max)),
            Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooManyHeaders),
            Err(httparse::Error::Version) => return Err(RequestError::Version),
            Err(e) => return Err(RequestError::Malformed(reason(e))),
        };
        if request.version != Some(1) {
            return Err(RequestError::Version);
        }
        let range = |part: &[u8]| {
            let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
            start..start + part.len()
        };
        let method = range(request.method.unwrap_or_default().as_bytes());
        let target = range(request.path.unwrap_or_default().as_bytes());
        let headers = request.headers.iter().map(|h| (range(h.name.as_bytes()), range(h.value))).collect();
        Ok(Ok(Self { head_bytes, method, target, headers, bytes }))
    }

    /// `GET` and the like.
    pub(crate) fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// The target up to `?`. Of a target with scheme and authority (RFC 9112 section 3.2.2) only what follows counts.
    pub(crate) fn path(&self) -> &str {
        let target = self.text(&self.target);
        let target = target.split_once('?').map_or(target, |(path, _)| path);
        let absolute = target.split_once("://").filter(|(scheme, _)| {
            ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        });
        match absolute {
            None => target,
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        }
    }

    /// The first query parameter of this name, percent-decoded. A value that is not UTF-8 is absent.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.text(&self.target).split_once('?')?;
        let value = query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })?;
        percent_decode(value)
    }

    /// Values of all header lines of this name, in order. Values that are not ASCII are skipped.
    pub(crate) fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| self.bytes[key.clone()].eq_ignore_ascii_case(name.as_bytes()))
            .filter_map(|(_, value)| std::str::from_utf8(&self.bytes[value.clone()]).ok().map(str::trim))
    }

    /// All header lines, name and raw value.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(key, value)| (self.text(key), &self.bytes[value.clone()]))
    }

    /// Bytes that came after the head.
    pub(crate) fn early(&self) -> &[u8] {
        &self.bytes[self.head_bytes..]
    }

    /// Method, target and header names were checked to be ASCII by the parser.
    fn text(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default()
    }
}

fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header name is malformed",
        httparse::Error::HeaderValue => "a header value is malformed",
        httparse::Error::NewLine => "a line does not end as it should",
        _ => "the request line is malformed",
    }
}

fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = rest.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
            out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = &rest[2..];
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Request, RequestError> {
        Request::parse(text.as_bytes().to_vec(), 1024).map(|r| r.expect("a whole head"))
    }

    #[test]
    fn a_head_is_taken_apart() {
        let text = "GET /v1/ws?token=a%2Eb&seq=17&token=c HTTP/1.1\r\nHost: x\r\nSEC-x: a, b\r\nsec-X:c\r\n\r\nearly";
        let request = parse(text).unwrap();
        assert_eq!((request.method(), request.path()), ("GET", "/v1/ws"));
        assert_eq!(request.query("token").as_deref(), Some("a.b"));
        assert_eq!(request.query("seq").as_deref(), Some("17"));
        assert_eq!(request.query("resume"), None);
        assert_eq!(request.header_values("Sec-X").collect::<Vec<_>>(), ["a, b", "c"]);
        assert_eq!(request.early(), b"early");
    }

    #[test]
    fn a_part_of_a_head_asks_for_more_until_the_bound() {
        assert!(Request::parse(b"GET / HT".to_vec(), 1024).unwrap().is_err());
        let long = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(1024)).into_bytes();
        assert_eq!(Request::parse(long.clone(), 1024).unwrap_err(), RequestError::TooLarge(1024));
        let whole = [&long[..], b"\r\n\r\n"].concat();
        assert_eq!(Request::parse(whole, 1024).unwrap_err(), RequestError::TooLarge(1024));
        let wrong_behind = [&long[..], b"\r\nA B: c\r\n\r\n"].concat();
        assert_eq!(Request::parse(wrong_behind, 1024).unwrap_err(), RequestError::TooLarge(1024));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
        assert_eq!(parse(&many).unwrap_err(), RequestError::TooManyHeaders);
    }

    #[test]
    fn what_is_not_http_is_told_so() {
        for text in [
            "\x16\x03\x01\x02",
            "GET\r\n\r\n",
            "GET / HTTP/1.1\r\nA B: c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        ] {
            assert!(matches!(parse(text), Err(RequestError::Malformed(_))), "{text:?}");
        }
        for version in ["HTTP/1.0", "HTTP/2.0"] {
            assert_eq!(parse(&format!("GET / {version}\r\n\r\n")).unwrap_err(), RequestError::Version);
        }
    }

    #[test]
    fn a_target_may_hold_scheme_and_authority() {
        for (target, path) in [
            ("http://h:7400/v1/ws?a=http://x/y", "/v1/ws"),
            ("WSS://h/v1/ws", "/v1/ws"),
            ("http://h?a=/b", "/"),
            ("/v1/ws?u=http://h/x", "/v1/ws"),
            ("ftp://h/v1/ws", "ftp://h/v1/ws"),
        ] {
            let request = parse(&format!("GET {target} HTTP/1.1\r\n\r\n")).unwrap();
            assert_eq!(request.path(), path, "{target}");
        }
        assert_eq!(parse("GET http://h/p?token=t HTTP/1.1\r\n\r\n").unwrap().query("token").as_deref(), Some("t"));
    }

    #[test]
    fn broken_percent_signs_hide_the_value() {
        assert_eq!(percent_decode("%4"), None);
        assert_eq!(percent_decode("%+1"), None);
        assert_eq!(percent_decode("%ff"), None);
        assert_eq!(percent_decode("%41%62").as_deref(), Some("Ab"));
    }
}
