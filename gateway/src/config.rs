//! The gateway's part of the configuration, as the file writes it, and what it means once checked.

use std::net::{SocketAddr, ToSocketAddrs};

use pushgate_protocol::ids::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::crowd::engine::EngineChoice;
use crate::{
    limits,
    tls::config::{TlsConfig, TlsSettings},
};

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
    /// URL at which clients reach this very gateway, `ws://` or `wss://`. Default: none, clients are never sent here.
    pub advertise: Option<String>,
    /// `host:port` at which dispatchers reach the node links. Default: the address of `links`.
    pub advertise_links: Option<String>,
    /// Shards: threads that hold sessions, 0 to 1024. Default 0: as many as cores are usable (affinity and cgroup quota).
    pub shards: u16,
    /// Whether each shard is bound to one core. Leave it off when the host runs anything else. Default `false`.
    pub pin: bool,
    /// How sockets are driven: `auto`, `uring` (io_uring, Linux 6.0 or newer) or `epoll`. Default `auto`.
    pub engine: EngineChoice,
    /// Whether `GET /v1/echo` answers: a WebSocket without a token that sends back what it gets. Default `false`.
    pub echo: bool,
    /// The key that dispatchers and gateways prove to each other, at least 16 bytes. In a file it stands once for all
    /// nodes, in `[links]`; whoever starts the gateway puts it, or the name of its file, here.
    #[serde(skip)]
    pub link_key: Option<String>,
    /// File that holds the link key; a final line end is ignored.
    #[serde(skip)]
    pub link_key_file: Option<String>,
    /// `[tls]`, put here by whoever starts the gateway.
    #[serde(skip)]
    pub tls: TlsConfig,
    /// Bounds.
    pub limits: GatewayLimits,
}

/// `[gateway.limits]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayLimits {
    /// Largest request head, bytes, 1024 to 65536. Default 8192.
    pub head_bytes_max: u32,
    /// Time from accept to the end of the handshake, milliseconds, 100 to 300000. Default 10000.
    pub handshake_timeout_ms: u32,
    /// Handshakes one shard serves at a time, 1 to 65536; more connections wait to be accepted. Default 1024.
    pub pending_handshakes_max: u32,
    /// Heartbeat interval that clients are told, seconds, 1 to 3600. Default 30.
    pub heartbeat_s: u32,
    /// Silence of a client after which its session ends, milliseconds; longer than the heartbeat. Default 75000.
    pub idle_timeout_ms: u32,
    /// Bytes of pushes that may wait for one client's socket, at least 540672. Default 1048576.
    pub outbox_bytes_max: u32,
    /// Pushes that one session may leave unacknowledged, 1 to 65536. Default 8192.
    pub unacked_max: u32,
    /// Time that a shutdown waits for clients to read their close frame, milliseconds, 0 to 300000. Default 5000.
    pub shutdown_timeout_ms: u32,
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
            shards: 0,
            pin: false,
            engine: EngineChoice::Auto,
            echo: false,
            link_key: None,
            link_key_file: None,
            tls: TlsConfig::default(),
            limits: GatewayLimits::default(),
        }
    }
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: limits::REQUEST_HEAD_BYTES,
            handshake_timeout_ms: limits::HANDSHAKE_TIMEOUT_MS,
            pending_handshakes_max: limits::PENDING_HANDSHAKES,
            heartbeat_s: limits::HEARTBEAT_S,
            idle_timeout_ms: limits::IDLE_TIMEOUT_MS as u32,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX as u32,
            unacked_max: limits::UNACKED_MAX as u32,
            shutdown_timeout_ms: limits::SHUTDOWN_TIMEOUT_MS,
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
    /// At least 1.
    pub shards: u16,
    /// Bind shards to cores.
    pub pin: bool,
    /// The engine asked for.
    pub engine: EngineChoice,
    /// Serve `/v1/echo`.
    pub echo: bool,
    /// At least [`limits::LINK_KEY_BYTES_MIN`] bytes.
    pub link_key: Vec<u8>,
    /// TLS for clients, if they come with it.
    pub tls: Option<TlsSettings>,
    /// Within their ranges.
    pub limits: GatewayLimits,
}

impl GatewayConfig {
    /// Checks every value, resolves addresses and reads the key file.
    pub fn check(&self) -> Result<Settings, ConfigError> {
        if self.shards > limits::SHARDS_MAX {
            return Err(value("gateway.shards", self.shards, format!("0 to {}", limits::SHARDS_MAX)));
        }
        if let Some(url) = &self.advertise
            && !(url.starts_with("ws://") || url.starts_with("wss://"))
        {
            return Err(value("gateway.advertise", url, "a ws:// or wss:// URL"));
        }
        if let Some(address) = &self.advertise_links
            && !address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            return Err(value("gateway.advertise_links", address, "host:port"));
        }
        self.limits.check()?;
        Ok(Settings {
            listen: address("gateway.listen", &self.listen)?,
            links: address("gateway.links", &self.links)?,
            admin: address("gateway.admin", &self.admin)?,
            node: NodeId::parse(&self.node)
                .map_err(|e| value("gateway.node", format!("{:?} ({e})", self.node), "a name of 1 to 64 bytes"))?,
            advertise: self.advertise.clone(),
            shards: if self.shards == 0 { usable_cores() } else { self.shards },
            pin: self.pin,
            engine: self.engine,
            echo: self.echo,
            link_key: self.link_key()?,
            tls: self.tls.check()?,
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
        if bytes.len() < limits::LINK_KEY_BYTES_MIN {
            let expected = format!("at least {} bytes", limits::LINK_KEY_BYTES_MIN);
            return Err(value(key, format!("{} bytes long", bytes.len()), expected));
        }
        Ok(bytes)
    }
}

impl GatewayLimits {
    fn check(&self) -> Result<(), ConfigError> {
        let within = |key, v: u32, min: u32, max: u32| {
            if (min..=max).contains(&v) { Ok(()) } else { Err(value(key, v, format!("{min} to {max}"))) }
        };
        within("gateway.limits.head_bytes_max", self.head_bytes_max, 1024, limits::REQUEST_HEAD_BYTES_MAX)?;
        within("gateway.limits.handshake_timeout_ms", self.handshake_timeout_ms, 100, 300_000)?;
        within("gateway.limits.pending_handshakes_max", self.pending_handshakes_max, 1, 65_536)?;
        within("gateway.limits.heartbeat_s", self.heartbeat_s, 1, 3_600)?;
        within("gateway.limits.idle_timeout_ms", self.idle_timeout_ms, self.heartbeat_s * 1_000 + 1, 86_400_000)?;
        within("gateway.limits.outbox_bytes_max", self.outbox_bytes_max, limits::OUTBOX_BYTES_MIN, 1 << 30)?;
        within("gateway.limits.unacked_max", self.unacked_max, 1, 65_536)?;
        within("gateway.limits.shutdown_timeout_ms", self.shutdown_timeout_ms, 0, 300_000)
    }
}

/// Cores this process may use: affinity and cgroup quota, at least 1.
fn usable_cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(limits::SHARDS_MAX).min(limits::SHARDS_MAX)
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
        assert!(refused(|c| c.node = String::new()).contains("node is empty"));
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
