//! Who may connect, and who is believed about where a client is: origins, proxies.

use std::net::IpAddr;

use pushgate_protocol::proxy::{Network, Networks, forwarded::Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, value};

/// `gateway.proxy_protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Connections begin with the client's first byte.
    #[default]
    Off,
    /// Connections begin with a header of version 2.
    V2,
}

/// `gateway.forwarded_header`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// None is believed.
    #[default]
    Off,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

/// What is believed of a client's address, checked.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Connections begin with a PROXY protocol header.
    pub protocol: bool,
    /// The header line that is believed.
    pub field: Option<Field>,
    /// Whose.
    pub trusted: Networks,
}

impl Proxies {
    pub(super) fn parse(
        protocol: ProxyProtocol,
        header: ForwardedHeader,
        networks: &[String],
    ) -> Result<Self, ConfigError> {
        let network = |text: &String| {
            let bad = |e| value("gateway.trusted_proxies", format!("{text:?} ({e})"), "networks such as 10.0.0.0/8");
            text.parse::<Network>().map_err(bad)
        };
        let trusted = networks.iter().map(network).collect::<Result<Networks, _>>()?;
        let field = match header {
            ForwardedHeader::Off => None,
            ForwardedHeader::XForwardedFor => Some(Field::XForwardedFor),
            ForwardedHeader::Forwarded => Some(Field::Forwarded),
        };
        let protocol = protocol == ProxyProtocol::V2;
        if trusted.is_empty() && (protocol || field.is_some()) {
            let problem = "is empty: name the proxies that gateway.proxy_protocol and gateway.forwarded_header believe";
            return Err(ConfigError::Missing { key: "gateway.trusted_proxies", problem });
        }
        Ok(Self { protocol, field, trusted })
    }

    /// Whether the peer of a connection may speak for others.
    pub fn trust(&self, peer: IpAddr) -> bool {
        self.trusted.contain(peer)
    }
}

/// Origins of web pages (RFC 6454 section 6.2) that may connect; none written means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<Pattern>);

/// In lower case, as browsers write origins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// A scheme with `://`, and what follows the wildcard, from its dot.
    Below(String, String),
}

impl Origins {
    pub(super) fn parse(texts: &[String]) -> Result<Self, ConfigError> {
        let expected = "origins such as https://app.example.com or https://*.example.com";
        let parse =
            |text: &String| Pattern::parse(text).ok_or_else(|| value("gateway.origins", format!("{text:?}"), expected));
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a page of this origin may connect.
    pub fn allow(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.fits(&origin))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Some(Self::Exact(text));
        }
        let (scheme, host) = text.split_once("://")?;
        if scheme.is_empty() || host.contains(['/', '?', '#', '@']) {
            return None;
        }
        match host.strip_prefix('*') {
            Some(domain) if domain.len() > 1 && domain.starts_with('.') && !domain.contains('*') => {
                Some(Self::Below(format!("{scheme}://"), domain.to_owned()))
            }
            _ if host.is_empty() || host.contains('*') => None,
            _ => Some(Self::Exact(text)),
        }
    }

    fn fits(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Below(scheme, domain) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(domain.as_str()))
                .is_some_and(|below| !below.is_empty() && !below.contains(['/', '@', ':'])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact_or_below_a_domain() {
        let texts = ["https://App.example.com", "https://*.example.org:8443", "null"].map(str::to_owned);
        let origins = Origins::parse(&texts).unwrap();
        for allowed in ["https://app.example.com", "HTTPS://a.b.example.org:8443", "null"] {
            assert!(origins.allow(allowed), "{allowed}");
        }
        for refused in [
            "http://app.example.com",
            "https://app.example.com:444",
            "https://app.example.com.evil.net",
            "https://example.org:8443",
            "https://a.example.org",
            "https://evil.net:1.example.org:8443",
            "https://evilexample.org:8443",
            "",
        ] {
            assert!(!origins.allow(refused), "{refused}");
        }
        assert!(Origins::default().allow("https://anywhere.example"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in ["", "example.com", "https://", "https://*", "https://*.", "https://a*.b", "https://a.b/path", "*"] {
            assert!(Origins::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
