//! Where a server is.

use std::fmt;

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// `host:port`, an IPv6 address in brackets or, as nodes of a cluster write it, without.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let strange = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '[' | ']');
        let whole = !host.is_empty() && !host.contains(strange);
        Some(Self { host: whole.then(|| host.to_owned())?, port: port.parse().ok().filter(|port| *port > 0)? })
    }

    /// What is wrong with a text under `key` that is none. What stands before an `@` may be a password, and is not repeated.
    pub(super) fn problem(key: &str, text: &str) -> String {
        let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("...@{host}"));
        format!("redis.{key} holds {shown:?}, must be host:port")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_ports() {
        for (text, host, shown) in [
            ("a.example:6379", "a.example", "a.example:6379"),
            ("[::1]:6379", "::1", "[::1]:6379"),
            ("fe80::1:6379", "fe80::1", "[fe80::1]:6379"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port, address.to_string().as_str()), (host, 6379, shown));
        }
        for text in ["", "a", ":1", "a:", "a:0", "a:65536", "redis://a:1", "u@a:1", "a b:1"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
