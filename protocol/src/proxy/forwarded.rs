//! Header lines by which HTTP proxies name the client: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Each proxy appends the address it got the request from, so only the right end of the list was written by somebody who
//! is trusted: the list is read from the right as long as the addresses are trusted proxies, and the first that is not
//! is the client.

use std::net::{IpAddr, SocketAddr};

use super::Networks;

/// Which header line is believed. Only one is: a proxy that writes one of them hands on what a client wrote into the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded`
    Forwarded,
}

impl Field {
    /// The header's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// The client of a request that came from `peer`: the right-most address that is no trusted proxy. `lines` are the
/// values of the header lines, in the order of the request. At an entry that is no address the proxy that wrote it counts
/// as the client.
pub fn client<'a>(
    field: Field,
    peer: IpAddr,
    trusted: &Networks,
    lines: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let mut client = peer;
    for line in lines.rev() {
        let mut entries: Vec<Option<IpAddr>> = match field {
            Field::XForwardedFor => line.split(',').map(address).collect(),
            Field::Forwarded => split_quoted(line, b',').map(forwarded_for).collect(),
        };
        while let Some(entry) = entries.pop() {
            if !trusted.contain(client) {
                return client;
            }
            match entry {
                Some(address) => client = address,
                None => return client,
            }
        }
    }
    client
}

/// The address in the `for` parameter of one element.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pair = split_quoted(element, b';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })?;
    // An address needs no escapes; a quoted text with some is none.
    address(pair.strip_prefix('"').and_then(|p| p.strip_suffix('"')).unwrap_or(pair))
}

/// An address with or without a port, IPv6 with or without brackets. `unknown` and names that hide one (RFC 7239
/// section 6) are none.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let found = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    found.map(|a| a.to_canonical())
}

/// Parts between separators that stand outside quotes.
fn split_quoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (n, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == separator && !quoted => {
                    rest = Some(&text[n + 1..]);
                    return Some(&text[..n]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> Networks {
        ["10.0.0.0/8", "2001:db8::/32"].iter().map(|n| n.parse().unwrap()).collect()
    }

    fn of(field: Field, lines: &[&str]) -> String {
        client(field, "10.0.0.1".parse().unwrap(), &trusted(), lines.iter().copied()).to_string()
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_is_the_client() {
        let xff = |lines: &[&str]| of(Field::XForwardedFor, lines);
        assert_eq!(xff(&[]), "10.0.0.1");
        assert_eq!(xff(&["203.0.113.9"]), "203.0.113.9");
        assert_eq!(xff(&["1.1.1.1, 203.0.113.9,10.0.0.7"]), "203.0.113.9", "what a client wrote itself is left of it");
        assert_eq!(xff(&["1.1.1.1", "203.0.113.9:4711", "[2001:db8::1]:80"]), "203.0.113.9");
        assert_eq!(xff(&["2001:db9::5"]), "2001:db9::5");
        assert_eq!(xff(&["203.0.113.9, unknown"]), "10.0.0.1");
        assert_eq!(xff(&["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn forwarded_is_read_with_its_quotes() {
        let forwarded = |lines: &[&str]| of(Field::Forwarded, lines);
        assert_eq!(forwarded(&["for=203.0.113.9;proto=https;by=10.0.0.1"]), "203.0.113.9");
        assert_eq!(forwarded(&["For=\"[2001:db9::5]:4711\""]), "2001:db9::5");
        assert_eq!(forwarded(&["for=1.1.1.1, host=\"a,b;for=2.2.2.2\"; for=203.0.113.9, for=10.2.3.4"]), "203.0.113.9");
        assert_eq!(forwarded(&["for=203.0.113.9, for=_hidden"]), "10.0.0.1");
        assert_eq!(forwarded(&["for=203.0.113.9, proto=http"]), "10.0.0.1");
    }

    #[test]
    fn a_peer_that_is_no_proxy_is_the_client_whatever_it_writes() {
        let lines = ["1.1.1.1"].into_iter();
        let peer = "203.0.113.9".parse().unwrap();
        assert_eq!(client(Field::XForwardedFor, peer, &trusted(), lines), peer);
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_harm(line in "\\PC{0,120}") {
            of(Field::Forwarded, &[&line]);
            of(Field::XForwardedFor, &[&line]);
        }
    }
}
