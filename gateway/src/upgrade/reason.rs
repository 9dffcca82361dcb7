//! Why connections did not become sessions: what an operator counts.

/// A reason; each is a value of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `gateway.proxy_protocol` is on and the peer is none of `gateway.trusted_proxies`.
    NotAProxy,
    /// The PROXY protocol header is missing or wrong.
    ProxyHeader,
    /// `connections_per_ip_max`
    AddressConnections,
    /// `handshakes_per_ip_per_s`
    AddressRate,
    /// `connections_per_app_max`
    AppConnections,
    /// The TLS handshake failed or was not finished; `pushgate_tls_*` tell more.
    Tls,
    /// The client went away before its request was whole.
    Gone,
    /// The request did not arrive within `handshake_timeout_ms`.
    Timeout,
    /// The request head is larger than `head_bytes_max`, or has too many lines.
    HeadTooLarge,
    /// Not HTTP, or not to be understood.
    Malformed,
    /// There is nothing at the path, or not with the method.
    NotFound,
    /// No upgrade to a WebSocket was asked for.
    NoUpgrade,
    /// None of `gateway.origins`.
    Origin,
    /// No token, or a bad one.
    Token,
    /// The token was revoked.
    Revoked,
    /// The gateway shuts down.
    Draining,
    /// The owner shard's mailbox or crowd was full, or there are as many echo connections as may be.
    Full,
    /// `/v1/locate` while no gateway is known to own the user.
    NoOwner,
}

impl Reason {
    /// Every reason, in the order of their declaration.
    pub(crate) const ALL: [Self; 18] = [
        Self::NotAProxy,
        Self::ProxyHeader,
        Self::AddressConnections,
        Self::AddressRate,
        Self::AppConnections,
        Self::Tls,
        Self::Gone,
        Self::Timeout,
        Self::HeadTooLarge,
        Self::Malformed,
        Self::NotFound,
        Self::NoUpgrade,
        Self::Origin,
        Self::Token,
        Self::Revoked,
        Self::Draining,
        Self::Full,
        Self::NoOwner,
    ];

    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotAProxy => "not_a_proxy",
            Self::ProxyHeader => "proxy_header",
            Self::AddressConnections => "ip_connections",
            Self::AddressRate => "ip_rate",
            Self::AppConnections => "app_connections",
            Self::Tls => "tls",
            Self::Gone => "gone",
            Self::Timeout => "timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::NoUpgrade => "no_upgrade",
            Self::Origin => "origin",
            Self::Token => "token",
            Self::Revoked => "revoked",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::NoOwner => "no_owner",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place() {
        for (n, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
        }
    }
}
