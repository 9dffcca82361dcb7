//! The gateway's part of the configuration, as the file writes it, and what it means once checked.

use std::net::{SocketAddr, ToSocketAddrs};

use pushgate_protocol::{ids::NodeId, link::tls, ring::WEIGHT_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    door::{ForwardedHeader, Origins, Proxies, ProxyProtocol},
    limits::GatewayLimits,
};
pub use crate::crowd::engine::EngineChoice;
use crate::{
    limits as bounds,
    tls::config::{TlsConfig, TlsSettings},
};

mod door;
mod limits;

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Address for clients, `host:port`. Default `0.0.0.0:7400`; `dev` binds loopback.
    pub listen: String,
    /// Address for node links, `host:port`. Default `127.0.0.1:7401`.
    pub links: String,
    /// Address for metrics, health and administration, `host:port`. Default `127.0.0.1:7402`.
    pub admin: String,
    /// This gateway's name in the member list, at most 64 bytes. Default `gateway`.
    pub node: String,
    /// URL at which clients reach this very gateway, `ws://` or `wss://`, as they connect to it: with its path, such as
    /// `ws://g1.example.com:7400/v1/ws`. Default: none, clients are never sent here.
    pub advertise: Option<String>,
    /// `host:port` at which dispatchers reach the node links. Default: the address of `links`.
    pub advertise_links: Option<String>,
    /// `host:port` at which operators reach the admin port, as the member list tells them. Default: the address of `admin`, unless that is every
    /// address of the host.
    pub advertise_admin: Option<String>,
    /// Share of the users relative to other gateways of the member list, 1 to 100. Default 1.
    pub weight: u32,
    /// Shards: threads that hold sessions, 0 to 1024. Default 0: as many as cores are usable (affinity and cgroup quota).
    pub shards: u16,
    /// Whether each shard is bound to one core. Leave it off when the host runs anything else. Default `false`.
    pub pin: bool,
    /// How sockets are driven: `auto`, `uring` (io_uring, Linux 6.0 or newer) or `epoll`. Default `auto`.
    pub engine: EngineChoice,
    /// Whether `GET /v1/echo` answers: a WebSocket without a token that sends back what it gets. Default `false`.
    pub echo: bool,
    /// Whether messages are compressed for clients that offer `permessage-deflate` (RFC 7692), as browsers do: pushes of 256 bytes
    /// and more, once for all who get them. It saves traffic and costs processor time. Default `false`.
    pub compression: bool,
    /// The key that dispatchers and gateways prove to each other, at least 16 bytes. In a file it stands once for all
    /// nodes, in `[links]`; whoever starts the gateway puts it, or the name of its file, here.
    #[serde(skip)]
    pub link_key: Option<String>,
    /// File that holds the link key; a final line end is ignored.
    #[serde(skip)]
    pub link_key_file: Option<String>,
    /// TLS of `[links]`, put here by whoever starts the gateway.
    #[serde(skip)]
    pub link_tls: Option<tls::TlsSettings>,
    /// `[tls]`, put here by whoever starts the gateway.
    #[serde(skip)]
    pub tls: TlsConfig,
    /// Origins whose web pages may connect: exact, such as `https://app.example.com`, or with a wildcard for any part before a
    /// domain, such as `https://*.example.com`. Clients that are no browser name none and are not asked. Default: empty, every
    /// origin.
    pub origins: Vec<String>,
    /// Whether connections begin with a PROXY protocol header: `off`, or `v2`, and then nobody but `trusted_proxies` may
    /// connect. Default `off`.
    pub proxy_protocol: ProxyProtocol,
    /// The header line by which `trusted_proxies` name the client: `off`, `x-forwarded-for` or `forwarded` (RFC 7239).
    /// Default `off`.
    pub forwarded_header: ForwardedHeader,
    /// Networks of the proxies in front of the gateway, such as `10.0.0.0/8`. What they say of a client is believed.
    /// Default: none.
    pub trusted_proxies: Vec<String>,
    /// Where a gateway that drains sends its clients, `ws://` or `wss://`: the address of the other gateways. Default: none, they
    /// are closed with 1012 and come again on their own.
    pub drain_url: Option<String>,
    /// Bounds.
    pub limits: GatewayLimits,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:7400".into(),
            links: "127.0.0.1:7401".into(),
            admin: "127.0.0.1:7402".into(),
            node: "gateway".into(),
            advertise: None,
            advertise_links: None,
            advertise_admin: None,
            weight: 1,
            shards: 0,
            pin: false,
            engine: EngineChoice::Auto,
            echo: false,
            compression: false,
            link_key: None,
            link_key_file: None,
            link_tls: None,
            tls: TlsConfig::default(),
            origins: Vec::new(),
            proxy_protocol: ProxyProtocol::Off,
            forwarded_header: ForwardedHeader::Off,
            trusted_proxies: Vec::new(),
            drain_url: None,
            limits: GatewayLimits::default(),
        }
    }
}

/// Why a configuration is refused; the process ends with it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value outside its range.
    #[error("{key} is {value}, must be {expected}")]
    Value {
        /// The full key.
        key: &'static str,
        /// What the configuration says.
        value: String,
        /// What it may say.
        expected: String,
    },
    /// Nothing, or two things, where one is needed.
    #[error("{key} {problem}")]
    Missing {
        /// The full key.
        key: &'static str,
        /// What is wrong and what to do.
        problem: &'static str,
    },
    /// A file named by the configuration cannot be read.
    #[error("{key}: cannot read {path}: {source}")]
    File {
        /// The full key.
        key: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A configuration that was checked: what exists here is valid.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Clients.
    pub listen: SocketAddr,
    /// Node links.
    pub links: SocketAddr,
    /// Administration.
    pub admin: SocketAddr,
    /// The gateway's name.
    pub node: NodeId,
    /// Where clients reach this gateway.
    pub advertise: Option<String>,
    /// Where links reach it.
    pub advertise_links: Option<String>,
    /// Where operators reach the admin port.
    pub advertise_admin: Option<String>,
    /// Its share of users, relative to others.
    pub weight: u32,
    /// At least 1.
    pub shards: u16,
    /// Bind shards to cores.
    pub pin: bool,
    /// The engine asked for.
    pub engine: EngineChoice,
    /// Serve `/v1/echo`.
    pub echo: bool,
    /// Agree on `permessage-deflate`.
    pub compression: bool,
    /// At least [`crate::limits::LINK_KEY_BYTES_MIN`] bytes.
    pub link_key: Vec<u8>,
    /// TLS for links, if they may have some.
    pub link_tls: Option<tls::TlsSettings>,
    /// TLS for clients, if they come with it.
    pub tls: Option<TlsSettings>,
    /// Web pages that may connect.
    pub origins: Origins,
    /// What is believed of a client's address.
    pub proxies: Proxies,
    /// Where clients are sent by a drain.
    pub drain_url: Option<String>,
    /// Within their ranges.
    pub limits: GatewayLimits,
}

impl GatewayConfig {
    /// Checks every value, resolves addresses and reads the key file.
    pub fn check(&self) -> Result<Settings, ConfigError> {
        if self.shards > bounds::SHARDS_MAX {
            return Err(value("gateway.shards", self.shards, format!("0 to {}", bounds::SHARDS_MAX)));
        }
        for (key, url) in [("gateway.advertise", &self.advertise), ("gateway.drain_url", &self.drain_url)] {
            if let Some(url) = url.as_ref().filter(|url| !(url.starts_with("ws://") || url.starts_with("wss://"))) {
                return Err(value(key, url, "a ws:// or wss:// URL"));
            }
        }
        for (key, told) in
            [("gateway.advertise_links", &self.advertise_links), ("gateway.advertise_admin", &self.advertise_admin)]
        {
            let sound = |a: &&String| {
                a.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            };
            if let Some(address) = told.as_ref().filter(|address| !sound(address)) {
                return Err(value(key, address, "host:port"));
            }
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(value("gateway.weight", self.weight, format!("1 to {WEIGHT_MAX}")));
        }
        self.limits.check()?;
        Ok(Settings {
            listen: address("gateway.listen", &self.listen)?,
            links: address("gateway.links", &self.links)?,
            admin: address("gateway.admin", &self.admin)?,
            node: NodeId::parse(&self.node)
                .map_err(|e| value("gateway.node", format!("{:?} ({e})", self.node), "a name of 1 to 64 bytes"))?,
            advertise: self.advertise.clone(),
            advertise_links: self.advertise_links.clone(),
            advertise_admin: self.advertise_admin.clone(),
            weight: self.weight,
            shards: if self.shards == 0 { usable_cores() } else { self.shards },
            pin: self.pin,
            engine: self.engine,
            echo: self.echo,
            compression: self.compression,
            link_key: self.link_key()?,
            link_tls: self.link_tls.clone(),
            tls: self.tls.check()?,
            origins: Origins::parse(&self.origins)?,
            proxies: Proxies::parse(self.proxy_protocol, self.forwarded_header, &self.trusted_proxies)?,
            drain_url: self.drain_url.clone(),
            limits: self.limits.clone(),
        })
    }

    fn link_key(&self) -> Result<Vec<u8>, ConfigError> {
        let (key, bytes) = match (&self.link_key, &self.link_key_file) {
            (Some(text), None) => ("gateway.link_key", text.clone().into_bytes()),
            (None, Some(path)) => {
                let key = "gateway.link_key_file";
                let mut bytes =
                    std::fs::read(path).map_err(|source| ConfigError::File { key, path: path.clone(), source })?;
                while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
                    bytes.pop();
                }
                (key, bytes)
            }
            (None, None) => {
                let problem = "is missing: set it, or gateway.link_key_file, to the key that the dispatchers have";
                return Err(ConfigError::Missing { key: "gateway.link_key", problem });
            }
            (Some(_), Some(_)) => {
                let problem = "and gateway.link_key_file are both set: keep one";
                return Err(ConfigError::Missing { key: "gateway.link_key", problem });
            }
        };
        if bytes.len() < bounds::LINK_KEY_BYTES_MIN {
            let expected = format!("at least {} bytes", bounds::LINK_KEY_BYTES_MIN);
            return Err(value(key, format!("{} bytes long", bytes.len()), expected));
        }
        Ok(bytes)
    }
}

/// Cores this process may use: affinity and cgroup quota, at least 1.
fn usable_cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(bounds::SHARDS_MAX).min(bounds::SHARDS_MAX)
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let bad = || value(key, format!("{text:?}"), "host:port, such as 127.0.0.1:7400");
    text.to_socket_addrs().map_err(|_| bad())?.next().ok_or_else(bad)
}

fn value(key: &'static str, value: impl ToString, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_key() -> GatewayConfig {
        GatewayConfig { link_key: Some("0123456789abcdef".into()), ..GatewayConfig::default() }
    }

    #[test]
    fn the_defaults_with_a_key_are_valid() {
        let settings = with_key().check().unwrap();
        assert!(settings.shards >= 1);
        assert_eq!(settings.links, "127.0.0.1:7401".parse().unwrap());
    }

    #[test]
    fn each_refusal_names_its_key_and_value() {
        let refused = |change: fn(&mut GatewayConfig)| {
            let mut config = with_key();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert_eq!(
            refused(|c| c.listen = "nowhere".into()),
            "gateway.listen is \"nowhere\", must be host:port, such as 127.0.0.1:7400"
        );
        assert_eq!(refused(|c| c.shards = 2000), "gateway.shards is 2000, must be 0 to 1024");
        assert_eq!(refused(|c| c.limits.heartbeat_s = 0), "gateway.limits.heartbeat_s is 0, must be 1 to 3600");
        assert!(refused(|c| c.limits.idle_timeout_ms = 30_000).contains("30001 to"));
        assert!(refused(|c| c.link_key = Some("short".into())).contains("is 5 bytes long, must be at least 16 bytes"));
        assert!(refused(|c| c.link_key = None).contains("gateway.link_key is missing"));
        assert!(refused(|c| c.link_key_file = Some("/x".into())).contains("both set"));
        assert!(refused(|c| c.advertise = Some("http://x".into())).contains("ws://"));
        assert!(refused(|c| c.advertise_links = Some("x".into())).contains("host:port"));
        assert!(refused(|c| c.advertise_admin = Some("x:y".into())).contains("gateway.advertise_admin"));
        assert!(refused(|c| c.origins = vec!["example.com".into()]).contains("gateway.origins is \"example.com\""));
        assert!(refused(|c| c.trusted_proxies = vec!["10/8".into()]).contains("gateway.trusted_proxies is \"10/8\""));
        assert!(refused(|c| c.proxy_protocol = ProxyProtocol::V2).contains("gateway.trusted_proxies is empty"));
        assert!(
            refused(|c| c.forwarded_header = ForwardedHeader::Forwarded).contains("gateway.trusted_proxies is empty")
        );
        assert!(refused(|c| c.node = String::new()).contains("node is empty"));
    }

    #[test]
    fn limits_may_be_set_up_to_their_own_bounds() {
        type Set = fn(&mut GatewayLimits, u32);
        let keys: [(&str, Set, u32, u32); 11] = [
            ("head_bytes_max", |l, v| l.head_bytes_max = v, 1_024, bounds::REQUEST_HEAD_BYTES_MAX),
            ("handshake_timeout_ms", |l, v| l.handshake_timeout_ms = v, 100, 300_000),
            ("pending_handshakes_max", |l, v| l.pending_handshakes_max = v, 1, 65_536),
            ("outbox_bytes_max", |l, v| l.outbox_bytes_max = v, bounds::OUTBOX_BYTES_MIN, 1 << 30),
            ("unacked_max", |l, v| l.unacked_max = v, 1, 65_536),
            ("write_timeout_ms", |l, v| l.write_timeout_ms = v, 5_000, 3_600_000),
            ("handshakes_per_s", |l, v| l.handshakes_per_s = v, 0, bounds::RATE_PER_S_MAX),
            ("handshakes_per_ip_per_s", |l, v| l.handshakes_per_ip_per_s = v, 0, bounds::RATE_PER_S_MAX),
            ("client_messages_burst", |l, v| l.client_messages_burst = v, 1, bounds::CLIENT_MESSAGES_BURST_MAX),
            ("drain_grace_ms", |l, v| l.drain_grace_ms = v, 0, 300_000),
            ("shutdown_timeout_ms", |l, v| l.shutdown_timeout_ms = v, 0, 3_600_000),
        ];
        for (key, set, min, max) in keys {
            let check = |v| {
                let mut config = with_key();
                set(&mut config.limits, v);
                config.check().map_err(|e| e.to_string())
            };
            assert!(check(min).is_ok() && check(max).is_ok(), "{key}");
            let expected = format!("gateway.limits.{key} is {}, must be {min} to {max}", max + 1);
            assert_eq!(check(max + 1).unwrap_err(), expected);
            assert!(min == 0 || check(min - 1).is_err(), "{key}");
        }
    }

    #[test]
    fn a_key_file_loses_its_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let config = GatewayConfig {
            link_key_file: Some(file.path().to_string_lossy().into_owned()),
            ..GatewayConfig::default()
        };
        assert_eq!(config.check().unwrap().link_key, b"0123456789abcdef");
    }
}
