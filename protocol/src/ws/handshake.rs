//! The opening handshake of a server (RFC 6455 section 4.2), over headers that were already split.
//!
//! It does not know paths, tokens or subprotocols' meanings.

use base64::{
    Engine, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
};
use httparse::Header;

use super::extension::{self, Deflate};

/// Decodes keys. The four bits that the last character has too many may be anything: some clients draw the key's
/// characters instead of its bytes.
const KEYS: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// What a valid upgrade request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade<'h> {
    /// `Sec-WebSocket-Key`.
    pub key: &'h str,
    /// `Sec-WebSocket-Protocol`, in order of preference; unique tokens.
    pub protocols: Vec<&'h str>,
    /// `permessage-deflate`, as it can be agreed on: the first acceptable offer.
    pub deflate: Option<Deflate>,
}

/// Why a request is not an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not `GET`.
    #[error("the method must be GET")]
    Method,
    /// HTTP/1.0.
    #[error("HTTP/1.1 is needed")]
    Version,
    /// `Host` is missing, repeated or not `host[:port]`.
    #[error("one Host header, host or host:port, is needed")]
    Host,
    /// `Upgrade: websocket` is missing.
    #[error("this address speaks WebSocket: Upgrade: websocket is needed")]
    NotUpgrade,
    /// `Connection: Upgrade` is missing.
    #[error("Connection: Upgrade is needed")]
    Connection,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("Sec-WebSocket-Version must be 13")]
    SocketVersion,
    /// `Sec-WebSocket-Key` is missing, repeated or not 16 bytes in base64.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64, once")]
    Key,
    /// `Sec-WebSocket-Protocol` is not a list of unique tokens.
    #[error("Sec-WebSocket-Protocol must be a list of unique tokens")]
    Protocols,
    /// `Sec-WebSocket-Extensions` is not a list of extensions (RFC 6455 section 9.1).
    #[error("Sec-WebSocket-Extensions must be a list of extensions")]
    Extensions,
    /// A request that is upgraded has no body.
    #[error("an upgrade request has no body")]
    Body,
}

impl Refusal {
    /// The HTTP status of the answer. 426 must carry `Upgrade: websocket` and `Sec-WebSocket-Version: 13`, 405
    /// `Allow: GET`.
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Version => 505,
            Self::NotUpgrade | Self::SocketVersion => 426,
            _ => 400,
        }
    }
}

/// Checks an upgrade request. `minor_version` is httparse's (1 for HTTP/1.1).
pub fn check<'h>(method: &str, minor_version: u8, headers: &[Header<'h>]) -> Result<Upgrade<'h>, Refusal> {
    if method != "GET" {
        return Err(Refusal::Method);
    }
    if minor_version == 0 {
        return Err(Refusal::Version);
    }
    single(headers, "host").filter(|host| host.bytes().all(is_host_byte)).ok_or(Refusal::Host)?;
    if !tokens(headers, "upgrade").any(|t| t.eq_ignore_ascii_case("websocket")) {
        return Err(Refusal::NotUpgrade);
    }
    if !tokens(headers, "connection").any(|t| t.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::Connection);
    }
    if single(headers, "sec-websocket-version") != Some("13") {
        return Err(Refusal::SocketVersion);
    }
    let key = single(headers, "sec-websocket-key").ok_or(Refusal::Key)?;
    if KEYS.decode(key).map_or(true, |k| k.len() != 16) {
        return Err(Refusal::Key);
    }
    let no_body = values(headers, "transfer-encoding").next().is_none()
        && values(headers, "content-length").all(|v| v.trim_ascii() == b"0");
    if !no_body {
        return Err(Refusal::Body);
    }
    let deflate = extension::choose(values(headers, "sec-websocket-extensions")).map_err(|_| Refusal::Extensions)?;
    Ok(Upgrade { key, protocols: protocols(headers)?, deflate })
}

/// `Sec-WebSocket-Accept` for a key.
pub fn accept(key: &str) -> String {
    let mut sha1 = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key.as_bytes());
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha1.finish())
}

/// The 101 that answers [`check`]'s `key`, naming the subprotocol chosen among those offered, if any, and the extension that
/// is used, if it is.
pub fn switching(key: &str, protocol: Option<&str>, deflate: Option<Deflate>) -> Vec<u8> {
    let mut out = String::with_capacity(192);
    out.push_str(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.push_str(&accept(key));
    if let Some(protocol) = protocol {
        out.push_str("\r\nSec-WebSocket-Protocol: ");
        out.push_str(protocol);
    }
    if let Some(deflate) = deflate {
        out.push_str("\r\nSec-WebSocket-Extensions: ");
        out.push_str(&deflate.answer());
    }
    out.push_str("\r\n\r\n");
    out.into_bytes()
}

fn values<'a, 'h>(headers: &'a [Header<'h>], name: &'a str) -> impl Iterator<Item = &'h [u8]> + 'a {
    headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

/// The value of a header that occurs exactly once.
fn single<'h>(headers: &[Header<'h>], name: &str) -> Option<&'h str> {
    let mut found = values(headers, name);
    let value = std::str::from_utf8(found.next()?).ok()?.trim_ascii();
    found.next().is_none().then_some(value)
}

/// The elements of a header that is a list and may be repeated.
fn tokens<'a, 'h: 'a>(headers: &'a [Header<'h>], name: &'a str) -> impl Iterator<Item = &'h str> + 'a {
    values(headers, name)
        .filter_map(|v| std::str::from_utf8(v).ok())
        .flat_map(|v| v.split(','))
        .map(str::trim_ascii)
        .filter(|t| !t.is_empty())
}

fn protocols<'h>(headers: &[Header<'h>]) -> Result<Vec<&'h str>, Refusal> {
    let mut list: Vec<&'h str> = Vec::new();
    for value in values(headers, "sec-websocket-protocol") {
        let value = std::str::from_utf8(value).map_err(|_| Refusal::Protocols)?;
        for token in value.split(',').map(str::trim_ascii) {
            if token.is_empty() || !token.bytes().all(is_token_byte) || list.contains(&token) {
                return Err(Refusal::Protocols);
            }
            list.push(token);
        }
    }
    Ok(list)
}

/// What `uri-host [ ":" port ]` is made of (RFC 3986 section 3.2.2).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request(extra: &[(&'static str, &'static str)], without: &str) -> Result<Vec<String>, Refusal> {
        let base = [
            ("Host", "example.org"),
            ("upgrade", "WebSocket"),
            ("Connection", "keep-alive, upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        let headers: Vec<Header<'_>> = base
            .iter()
            .filter(|(n, _)| !n.eq_ignore_ascii_case(without))
            .chain(extra)
            .map(|(name, value)| Header { name, value: value.as_bytes() })
            .collect();
        check("GET", 1, &headers).map(|u| u.protocols.iter().map(|p| p.to_string()).collect())
    }

    #[test]
    fn the_rfcs_example_key_gets_its_accept() {
        assert_eq!(accept(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(
            switching(KEY, Some("pushgate.v1"), None).ends_with(b"\r\nSec-WebSocket-Protocol: pushgate.v1\r\n\r\n")
        );
    }

    #[test]
    fn a_request_needs_each_of_its_headers_once() {
        assert_eq!(request(&[], ""), Ok(vec![]));
        for (without, refusal) in [
            ("host", Refusal::Host),
            ("upgrade", Refusal::NotUpgrade),
            ("connection", Refusal::Connection),
            ("sec-websocket-version", Refusal::SocketVersion),
            ("sec-websocket-key", Refusal::Key),
        ] {
            assert_eq!(request(&[], without), Err(refusal));
        }
        assert_eq!(request(&[("Host", "b")], ""), Err(Refusal::Host));
        for (host, good) in [("", true), ("[::1]:7400", true), ("a b", false), ("a/b", false), ("u@b", false)] {
            assert_eq!(request(&[("Host", host)], "host").is_ok(), good, "{host:?}");
        }
        assert_eq!(request(&[("Sec-WebSocket-Key", KEY)], ""), Err(Refusal::Key));
        assert_eq!(request(&[("Sec-WebSocket-Key", "c2hvcnQ=")], "sec-websocket-key"), Err(Refusal::Key));
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZXM=",
            "-_hlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(request(&[("Sec-WebSocket-Key", key)], "sec-websocket-key"), Err(Refusal::Key), "{key}");
        }
        assert_eq!(request(&[("Sec-WebSocket-Key", "abcdefghijklmnopqrstuv==")], "sec-websocket-key"), Ok(vec![]));
        for version in ["", "7", "013", "13, 8", "14"] {
            let refused = request(&[("Sec-WebSocket-Version", version)], "sec-websocket-version");
            assert_eq!(refused, Err(Refusal::SocketVersion), "{version}");
        }
        assert_eq!(request(&[("Sec-WebSocket-Version", "13")], ""), Err(Refusal::SocketVersion));
        assert_eq!(request(&[("Sec-WebSocket-Version", "8")], "sec-websocket-version"), Err(Refusal::SocketVersion));
        assert_eq!(request(&[("Content-Length", "5")], ""), Err(Refusal::Body));
        assert_eq!(check("POST", 1, &[]), Err(Refusal::Method));
        assert_eq!(check("GET", 0, &[]), Err(Refusal::Version));
        assert_eq!(Refusal::NotUpgrade.status(), 426);
    }

    #[test]
    fn an_extension_is_answered_only_if_it_is_used() {
        assert_eq!(request(&[("Sec-WebSocket-Extensions", "x-unknown; a=1, permessage-deflate")], ""), Ok(vec![]));
        assert_eq!(request(&[("Sec-WebSocket-Extensions", "a b")], ""), Err(Refusal::Extensions));
        let answer = String::from_utf8(switching(KEY, None, Some(Deflate::ANY_WINDOW))).unwrap();
        let line = format!("\r\nSec-WebSocket-Extensions: {}\r\n\r\n", Deflate::ANY_WINDOW.answer());
        assert!(answer.ends_with(&line), "{answer}");
        assert!(!String::from_utf8(switching(KEY, None, None)).unwrap().contains("Extensions"));
    }

    #[test]
    fn upgrade_and_connection_are_lists_in_any_case() {
        for (name, value, good) in [
            ("Connection", "Upgrade", true),
            ("Connection", "keep-alive , UPGRADE", true),
            ("Connection", "keep-alive,,upgrade", true),
            ("Connection", "keep-alive", false),
            ("Connection", "notupgrade", false),
            ("Connection", "upgrade;q=1", false),
            ("Upgrade", "WEBSOCKET", true),
            ("Upgrade", "h2c, websocket", true),
            ("Upgrade", "websockets", false),
            ("Upgrade", "h2c", false),
        ] {
            assert_eq!(request(&[(name, value)], name).is_ok(), good, "{name}: {value}");
        }
        assert_eq!(request(&[("Connection", "keep-alive"), ("connection", "Upgrade")], "connection"), Ok(vec![]));
    }

    #[test]
    fn subprotocols_are_a_list_of_unique_tokens() {
        let listed = request(&[("Sec-WebSocket-Protocol", "pushgate.v1, bearer.a.b.c")], "");
        assert_eq!(listed, Ok(vec!["pushgate.v1".into(), "bearer.a.b.c".into()]));
        let twice = request(&[("Sec-WebSocket-Protocol", "a"), ("sec-websocket-protocol", "b")], "");
        assert_eq!(twice, Ok(vec!["a".into(), "b".into()]));
        for bad in ["a,,b", "a, a", "a b", ""] {
            assert_eq!(request(&[("Sec-WebSocket-Protocol", bad)], ""), Err(Refusal::Protocols), "{bad}");
        }
    }
}
