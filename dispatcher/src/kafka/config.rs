//! `[kafka]`, and the librdkafka configuration made of it.

use std::{collections::BTreeMap, fmt};

use pushgate_protocol::{apps::Secret, link::Lane};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::security::{self, Sasl};
use crate::limits;

/// Properties that delivery's promises rest on: they cannot be overridden.
const FIXED: [&str; 10] = [
    "acks",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "metadata.broker.list",
    // A partition is given up apart from the others: the protocol of these assignors alone.
    "partition.assignment.strategy",
    "request.required.acks",
    "transactional.id",
];

/// `[kafka]`
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Brokers to start from, `host:port`, separated by commas. Default `127.0.0.1:9092`.
    pub brokers: String,
    /// Consumer group; each lane consumes as `<group>.<lane>`. Dispatchers that share the work share the group. Default
    /// `pushgate`.
    pub group: String,
    /// What topic names begin with: `<prefix>.high|normal|low|results|dead`. Default `pushgate`.
    pub prefix: String,
    /// Whether brokers are spoken to with TLS. Default false.
    pub tls: bool,
    /// PEM file of who vouches for the brokers' certificates. Without it those whom the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// PEM file of the certificate to show to the brokers, where they ask for one (`ssl.client.auth`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// PEM file of its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// How to log in: `plain`, `scram-sha-256` or `scram-sha-512`. Without it nobody logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// The user to log in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of that user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// File that holds the password instead, read at the start; a final newline is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// Properties passed on to librdkafka, for consumers and producers alike, e.g. `"client.rack" = "eu-1a"`. Those that delivery rests on (acks, idempotence,
    /// commits, the group's name and how it assigns) are refused, and those that a key of this section says already.
    #[serde(deserialize_with = "properties")]
    pub options: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            group: "pushgate".into(),
            prefix: "pushgate".into(),
            tls: false,
            ca_file: None,
            cert_file: None,
            key_file: None,
            sasl: None,
            user: None,
            password: None,
            password_file: None,
            options: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for KafkaConfig {
    /// Values of `options` may be passwords: only their keys are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("user", &self.user)
            .field("options", &self.options.keys())
            .finish()
    }
}

/// Why a `[kafka]` section cannot be used. None of these passes by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    /// A field is empty or malformed.
    #[error("kafka.{field} is {value:?}, must be {must}")]
    Field {
        /// Which.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        must: &'static str,
    },
    /// The property is ours to set.
    #[error("kafka.options.{key:?} cannot be set: delivery rests on its value")]
    Fixed {
        /// The property.
        key: String,
    },
    /// Two say the same thing.
    #[error("kafka.{key} and kafka.{other} are both set: keep one")]
    Both {
        /// One of them.
        key: &'static str,
        /// The other.
        other: String,
    },
    /// A key means nothing without another.
    #[error("kafka.{key} is set without kafka.{needed}")]
    Without {
        /// The one that is set.
        key: &'static str,
        /// What it needs.
        needed: &'static str,
    },
    /// A file cannot be used.
    #[error("kafka.{key}: {detail}")]
    File {
        /// What names it.
        key: &'static str,
        /// Which, and why. Holds nothing of what is in it.
        detail: String,
    },
    /// There is no file of certificates where systems keep them.
    #[error("this system trusts no certificates: install ca-certificates, or set kafka.ca_file")]
    TrustsNobody,
    /// librdkafka refuses the properties.
    #[error("kafka.options: {detail}")]
    Refused {
        /// Its words; they name the property.
        detail: String,
    },
}

impl KafkaConfig {
    /// Checks every field and every option, without a broker.
    pub fn validate(&self) -> Result<(), KafkaConfigError> {
        let field = |field, value: &str, must| KafkaConfigError::Field { field, value: value.into(), must };
        let host_and_port = |b: &str| {
            b.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !self.brokers.split(',').all(host_and_port) {
            return Err(field("brokers", &self.brokers, "host:port, separated by commas"));
        }
        if self.group.is_empty() || self.group.chars().any(char::is_whitespace) {
            return Err(field("group", &self.group, "a name without spaces"));
        }
        let topic_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=200).contains(&self.prefix.len()) || !self.prefix.chars().all(topic_char) {
            return Err(field("prefix", &self.prefix, "1 to 200 of a-z, A-Z, 0-9, '.', '_' and '-'"));
        }
        if let Some(key) = self.options.keys().find(|k| FIXED.contains(&k.as_str())) {
            return Err(KafkaConfigError::Fixed { key: key.clone() });
        }
        for client in [self.consumer(Lane::High)?, self.intake_producer()?] {
            client.create_native_config().map_err(|e| KafkaConfigError::Refused { detail: e.to_string() })?;
        }
        security::try_out(self)
    }

    /// The topic of a lane.
    pub fn lane_topic(&self, lane: Lane) -> String {
        format!("{}.{}", self.prefix, lane.as_str())
    }

    /// The group that reads a lane.
    pub fn lane_group(&self, lane: Lane) -> String {
        format!("{}.{}", self.group, lane.as_str())
    }

    /// The topic of results.
    pub fn results_topic(&self) -> String {
        format!("{}.results", self.prefix)
    }

    /// The topic of dead letters.
    pub fn dead_topic(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// A lane's consumer.
    pub(super) fn consumer(&self, lane: Lane) -> Result<ClientConfig, KafkaConfigError> {
        let mut c = self.client()?;
        // A broker answers a fetch as soon as it has one byte; the wait shows when a partition was left out of the fetch
        // under way, and then 50 ms bounded the high lane's p99 behind a backlog in low.
        c.set("fetch.min.bytes", "1").set("fetch.wait.max.ms", "50");
        // Prefetched bytes per partition; the default of 64 MiB holds seconds of a backlog. The default backoff of a full queue is
        // 1 s, which a fast lane would spend waiting.
        c.set("queued.max.messages.kbytes", (limits::KAFKA_PREFETCH_BYTES / 1024).to_string());
        c.set("queued.min.messages", limits::KAFKA_PREFETCH_RECORDS.to_string());
        c.set("fetch.queue.backoff.ms", "10");
        c.set("fetch.max.bytes", limits::KAFKA_FETCH_BYTES.to_string());
        c.set("fetch.message.max.bytes", "1048576");
        c.set("auto.offset.reset", "earliest").set("isolation.level", "read_committed");
        // A member that died gives its partitions up after the session timeout.
        c.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "2000");
        c.set("partition.assignment.strategy", "cooperative-sticky");
        c.set("enable.partition.eof", "false").set("allow.auto.create.topics", "false");
        self.with_options(&mut c);
        c.set("group.id", self.lane_group(lane));
        c.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        Ok(c)
    }

    /// A consumer without a group, which reads what it is told and knows the ends of partitions.
    pub(super) fn reader(&self) -> Result<ClientConfig, KafkaConfigError> {
        let mut c = self.client()?;
        c.set("fetch.wait.max.ms", "50").set("isolation.level", "read_committed");
        self.with_options(&mut c);
        c.set("group.id", format!("{}.dead-reader", self.group)).set("enable.partition.eof", "true");
        c.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        Ok(c)
    }

    /// The producer of intake: somebody waits for each report.
    pub(super) fn intake_producer(&self) -> Result<ClientConfig, KafkaConfigError> {
        // 0 measured p50 13 to 48 ms at 10,000 records/s, 1 ms about 1 ms.
        self.producer("1")
    }

    /// The producer of results: nobody waits, and a broker's cost is by the request.
    pub(super) fn results_producer(&self) -> Result<ClientConfig, KafkaConfigError> {
        self.producer("10")
    }

    fn producer(&self, linger_ms: &str) -> Result<ClientConfig, KafkaConfigError> {
        let mut c = self.client()?;
        c.set("linger.ms", linger_ms).set("batch.num.messages", "10000");
        c.set("compression.type", "lz4");
        // As the Java client does, so that a user's records from REST and from other producers share a partition.
        c.set("partitioner", "murmur2_random");
        c.set("delivery.timeout.ms", limits::KAFKA_DELIVERY_TIMEOUT_MS.to_string());
        c.set("queue.buffering.max.kbytes", (limits::KAFKA_SEND_BYTES * 2 / 1024).to_string());
        c.set("queue.buffering.max.messages", "1000000");
        c.set("message.max.bytes", limits::KAFKA_RECORD_BYTES_MAX.to_string());
        self.with_options(&mut c);
        c.set("enable.idempotence", "true").set("acks", "all");
        Ok(c)
    }

    /// What every client begins with.
    fn client(&self) -> Result<ClientConfig, KafkaConfigError> {
        let mut c = ClientConfig::new();
        c.set("bootstrap.servers", &self.brokers).set("client.id", "pushgate");
        // The default of 10 s would add to every broker restart; a new topic is found by the refresh (default 300 s).
        c.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "1000");
        c.set("topic.metadata.refresh.interval.ms", "10000");
        c.set("socket.timeout.ms", "15000").set("socket.nagle.disable", "true");
        // A broker that closes connections at once does not say why: that it does is all there is to go by.
        c.set("log.connection.close", "true");
        // What becomes of it is decided by who hears it; the library would go by a log of its own kind.
        let is_debugged = self.options.contains_key("debug");
        c.set_log_level(if is_debugged { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        for (name, value) in security::properties(self)? {
            c.set(name, value);
        }
        Ok(c)
    }

    fn with_options(&self, c: &mut ClientConfig) {
        for (key, value) in &self.options {
            c.set(key, value);
        }
    }
}

/// Takes numbers and booleans too: `"socket.timeout.ms" = 15000`.
fn properties<'de, D: serde::Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Number(i64),
        Switch(bool),
    }
    let values = BTreeMap::<String, Value>::deserialize(d)?;
    let text = |v| match v {
        Value::Text(t) => t,
        Value::Number(n) => n.to_string(),
        Value::Switch(b) => b.to_string(),
    };
    Ok(values.into_iter().map(|(k, v)| (k, text(v))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> KafkaConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn defaults_are_valid() {
        let config = KafkaConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.lane_topic(Lane::Low), "pushgate.low");
        assert_eq!(config.results_topic(), "pushgate.results");
        assert_eq!(config.dead_topic(), "pushgate.dead");
    }

    #[test]
    fn options_reach_the_client_and_their_values_are_not_shown() {
        let config =
            parse(r#"{"options":{"session.timeout.ms":7000,"socket.keepalive.enable":true,"client.rack":"r1"}}"#);
        assert_eq!(config.validate(), Ok(()));
        let consumer = config.consumer(Lane::High).unwrap();
        assert_eq!(consumer.get("session.timeout.ms"), Some("7000"));
        assert_eq!(consumer.get("socket.keepalive.enable"), Some("true"));
        assert!(!format!("{config:?}").contains("7000"));
    }

    #[test]
    fn what_delivery_rests_on_cannot_be_overridden() {
        let config = parse(r#"{"options":{"enable.auto.commit":true}}"#);
        assert_eq!(config.validate(), Err(KafkaConfigError::Fixed { key: "enable.auto.commit".into() }));
    }

    #[test]
    fn a_mistyped_option_is_named() {
        let error = parse(r#"{"options":{"sesion.timeout.ms":1}}"#).validate().unwrap_err();
        assert!(error.to_string().contains("sesion.timeout.ms"), "{error}");
        assert!(serde_json::from_str::<KafkaConfig>(r#"{"broker":"x"}"#).is_err());
    }

    #[test]
    fn malformed_fields_are_named() {
        for (json, field) in
            [(r#"{"brokers":"a:9092,b"}"#, "brokers"), (r#"{"group":""}"#, "group"), (r#"{"prefix":"a b"}"#, "prefix")]
        {
            let error = parse(json).validate().unwrap_err();
            assert!(error.to_string().starts_with(&format!("kafka.{field} is ")), "{error}");
        }
    }
}
