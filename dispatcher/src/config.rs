//! The dispatcher's part of the configuration, as the file writes it.

use pushgate_protocol::link::tls::{TlsMode, TlsSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

pub use crate::redis::RedisConfig;

/// `[dispatcher]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DispatcherConfig {
    /// Address of REST, health and metrics. Default `0.0.0.0:7410`; `dev` binds loopback.
    pub listen: String,
    /// Where messages come from: `embedded` (the log on local disk) or `kafka`. Default `embedded`.
    pub source: SourceKind,
    /// Web pages that may call REST from a browser: their origins, such as `https://admin.example`. Default none; `dev`
    /// allows its own page.
    pub cors_origins: Vec<String>,
    /// This process' name towards gateways. Default `dispatcher`.
    pub node: String,
    /// Directory of the embedded log and stores, used when `source` or `store.kind` is `embedded`; and, in `taken/`, of what providers of mail and text messages were given or took and
    /// no store knows of yet, so that a process which is killed does not send that again: at most 108 MiB, mostly far below 1 MiB, on a disk that outlives the process. Default `./pushgate-data`.
    pub data: String,
    /// Pipeline workers; 0 chooses one per core, at most 16. Default 0.
    pub workers: u8,
    /// How long a push may stay unacknowledged before it is put into the user's stream and its record is settled,
    /// milliseconds. Default 10000.
    pub ack_deadline_ms: u64,
    /// Records of one lane that workers may have taken and not settled. Default 20000.
    pub in_flight_max: usize,
    /// Deliveries of one app over one channel that may be under way in a lane; at the bound the app waits and others go on.
    /// Nor does an app have more than is left of `in_flight_max`: half of it if alone, a quarter as the next. Default 15000.
    pub app_in_flight_max: usize,
    /// How nice the threads are that read lane low, from 0 to 19 (`nice(7)`): while processors are short, the other lanes go first. 0 makes all
    /// the same. Default 5.
    pub low_nice: u8,
    /// Where the web reaches REST, such as `https://push.example.org`: then mail of class `marketing` that brings no link to end it gets one that leads
    /// there, to `/v1/unsubscribe/`.
    pub public_url: Option<String>,
    /// App of a Kafka record that names none. Without it such a record goes to the dead letters.
    pub default_app: Option<String>,
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:7410".into(),
            source: SourceKind::Embedded,
            cors_origins: Vec::new(),
            node: "dispatcher".into(),
            data: "./pushgate-data".into(),
            workers: 0,
            ack_deadline_ms: 10_000,
            in_flight_max: 20_000,
            app_in_flight_max: 15_000,
            low_nice: 5,
            public_url: None,
            default_app: None,
        }
    }
}

/// Where messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// The log on local disk.
    Embedded,
    /// Kafka topics `<prefix>.high|normal|low`.
    Kafka,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Where streams, marks and message states live: `embedded` or `redis`. Default `embedded`.
    pub kind: StoreKind,
    /// How long a settled delivery is remembered so that a repeated one is dropped, milliseconds. Default 600000.
    pub dedupe_window_ms: u64,
    /// What these memories may take, bytes, at least 1 MiB; past it the oldest leave before their time. Reckoned with 200 bytes and the names of app and user for
    /// each. With `redis`, for each dispatcher: of what it writes. Default 1073741824 (1 GiB).
    pub dedupe_bytes_max: u64,
    /// How many pushes the stream of a user holds, and that of an app's messages to everyone, from 1 to 10000; past it the oldest ends as `failed` (`stream full`). Default 10000.
    pub stream_entries_max: usize,
    /// How many bytes of pushes one such stream holds, from 65536 to 8388608. Default 8388608 (8 MiB).
    pub stream_bytes_max: usize,
    /// How long a push waits in such a stream at most, whatever its ttl, milliseconds from when it was accepted (a scheduled one: was due), from 60000; then it is `expired`. Default
    /// 31536000000, the longest ttl.
    pub stream_age_max_ms: u64,
    /// How long a dispatcher holds a task that is due, milliseconds, from 500 to 5000. If it dies meanwhile, another sends the task after
    /// that; if sending takes longer, another sends it too, with the same id. Default 5000.
    pub task_lease_ms: u64,
    /// How long a gateway's record stands in the member list without being renewed, milliseconds, from 2000 to 60000: so long nobody takes over the users of one that died. Used
    /// by gateways and dispatchers where Redis holds the list, the same on all. Default 6000.
    pub member_lease_ms: u64,
    /// How long message states answer `GET /v1/messages/{id}`, milliseconds. Default 604800000 (7 days).
    pub message_ttl_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            dedupe_window_ms: 600_000,
            dedupe_bytes_max: 1 << 30,
            stream_entries_max: limits::STREAM_ENTRIES_MAX,
            stream_bytes_max: limits::STREAM_BYTES_MAX,
            stream_age_max_ms: pushgate_protocol::limits::TTL_MS_MAX,
            task_lease_ms: 5_000,
            member_lease_ms: 6_000,
            message_ttl_ms: 7 * 24 * 3_600_000,
        }
    }
}

/// Where streams, marks and message states live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// On local disk.
    Embedded,
    /// In Redis.
    Redis,
}

/// `[links]`: what nodes of one installation share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkConfig {
    /// The key that dispatchers and gateways prove to each other, at least 16 bytes. One of `key` and `key_file` is needed outside `dev`.
    pub key: Option<String>,
    /// File that holds the key; a final newline is ignored.
    pub key_file: Option<String>,
    /// File with this node's certificate chain, PEM, its own first: with it links have mutual TLS, besides the key. It names the address that the member
    /// list has for a gateway, and is for servers and for clients. With `cert_key_file` and `ca_file`, or none of the three. Default: none, links without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// File with the private key of `cert_file`, PEM (PKCS#8, PKCS#1 or SEC1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_key_file: Option<String>,
    /// File with the certificates of the authority that every node's certificate is of, PEM. A peer without one is refused before anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// When TLS is spoken: `off`; `accept` (taken, and not dialled), `dial` (dialled, and links without are still taken) or `require`. Default `require` with
    /// `cert_file`, else `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
}

impl LinkConfig {
    /// TLS of links, files aside; `None`: links have none.
    pub fn tls(&self) -> Result<Option<TlsSettings>, String> {
        let named =
            [("cert_file", &self.cert_file), ("cert_key_file", &self.cert_key_file), ("ca_file", &self.ca_file)];
        match (&self.cert_file, &self.cert_key_file, &self.ca_file) {
            (Some(cert), Some(key), Some(ca)) => match self.tls.unwrap_or_default() {
                TlsMode::Off => Ok(None),
                mode => {
                    let (cert_file, key_file, ca_file) = (cert.clone(), key.clone(), ca.clone());
                    Ok(Some(TlsSettings { cert_file, key_file, ca_file, mode }))
                }
            },
            (None, None, None) if self.tls.is_none_or(|mode| mode == TlsMode::Off) => Ok(None),
            _ => {
                let missing = named.iter().find(|(_, file)| file.is_none()).map_or("cert_file", |(name, _)| *name);
                Err(format!("links.{missing} is missing: TLS of links needs cert_file, cert_key_file and ca_file"))
            }
        }
    }
}

/// `[[members]]`: a gateway, where the list is fixed. Without it, and with `store.kind = "redis"`, gateways join the list in Redis by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    /// The gateway's `gateway.node`.
    pub node: String,
    /// Its node-link address, `host:port`.
    pub links: String,
    /// Where clients of its users reach it, `ws://…` or `wss://…`, also as a path of an address that gateways share. Clients that come to
    /// another gateway are told; without it they stay there.
    #[serde(default)]
    pub url: Option<String>,
    /// Where operators reach its admin port, `host:port`: for `pushgate cluster`.
    #[serde(default)]
    pub admin: Option<String>,
    /// Share of users relative to others. Default 1.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}
