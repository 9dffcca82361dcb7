//! What of `[kafka]` says how brokers are spoken to: TLS, and who we are to them. Everything that opens Kafka takes it from here.

use std::fs::File;

use rdkafka::{
    ClientConfig,
    client::Client,
    error::{KafkaError, KafkaResult},
    types::RDKafkaType,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    config::{KafkaConfig, KafkaConfigError},
    events::Silent,
};
use crate::channels::{password_in, system_roots};

/// How to log in at brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sasl {
    /// The password itself is sent: only with TLS.
    Plain,
    /// RFC 7677: the password is not sent.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl Sasl {
    /// As brokers call it.
    pub fn mechanism(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Keys of `[kafka]`, and the properties of librdkafka that say the same: what is written as one may not be written as the other.
const SAME: [(&str, &[&str]); 8] = [
    ("tls", &["security.protocol"]),
    ("ca_file", &["ssl.ca.location", "ssl.ca.pem"]),
    ("cert_file", &["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"]),
    ("key_file", &["ssl.key.location", "ssl.key.pem", "ssl.keystore.location"]),
    ("sasl", &["security.protocol", "sasl.mechanism", "sasl.mechanisms"]),
    ("user", &["sasl.username"]),
    ("password", &["sasl.password"]),
    ("password_file", &["sasl.password"]),
];

/// The properties that the keys come to. Files are looked at, and that of the password is read.
pub(super) fn properties(config: &KafkaConfig) -> Result<Vec<(&'static str, String)>, KafkaConfigError> {
    fits(config)?;
    let mut properties = Vec::new();
    let mut set = |name, value: &str| properties.push((name, value.to_owned()));
    match (config.tls, config.sasl) {
        (false, None) => {}
        (true, None) => set("security.protocol", "ssl"),
        (false, Some(_)) => set("security.protocol", "sasl_plaintext"),
        (true, Some(_)) => set("security.protocol", "sasl_ssl"),
    }
    let files = [
        ("ca_file", "ssl.ca.location", &config.ca_file),
        ("cert_file", "ssl.certificate.location", &config.cert_file),
        ("key_file", "ssl.key.location", &config.key_file),
    ];
    for (key, name, file) in files {
        let Some(path) = file else { continue };
        let unreadable = |error| KafkaConfigError::File { key, detail: format!("cannot read {path}: {error}") };
        File::open(path).map_err(unreadable)?;
        set(name, path);
    }
    // The library would look where its own OpenSSL was built to look, in no place that systems have.
    let options_trust = SAME[1].1.iter().any(|name| config.options.contains_key(*name));
    if encrypts(config) && config.ca_file.is_none() && !options_trust {
        set("ssl.ca.location", &system_roots().ok_or(KafkaConfigError::TrustsNobody)?);
    }
    if let Some(sasl) = config.sasl {
        set("sasl.mechanism", sasl.mechanism());
        set("sasl.username", config.user.as_deref().unwrap_or_default());
        set("sasl.password", &password(config)?);
    }
    Ok(properties)
}

/// Whether brokers are spoken to with TLS.
fn encrypts(config: &KafkaConfig) -> bool {
    config.tls || config.options.get("security.protocol").is_some_and(|p| p.to_ascii_lowercase().ends_with("ssl"))
}

fn password(config: &KafkaConfig) -> Result<String, KafkaConfigError> {
    match (&config.password, &config.password_file) {
        (Some(password), _) => Ok(password.expose().to_owned()),
        (None, Some(path)) => {
            let wrong = |detail| KafkaConfigError::File { key: "password_file", detail };
            password_in(path).map(|password| password.expose().to_owned()).map_err(wrong)
        }
        (None, None) => Err(KafkaConfigError::Without { key: "sasl", needed: "password or kafka.password_file" }),
    }
}

/// Each key has what it needs, and nothing is said twice.
fn fits(config: &KafkaConfig) -> Result<(), KafkaConfigError> {
    let KafkaConfig { tls, ca_file, cert_file, key_file, sasl, user, password, password_file, options, .. } = config;
    let written = |key: &str| match key {
        "tls" => *tls,
        "ca_file" => ca_file.is_some(),
        "cert_file" => cert_file.is_some(),
        "key_file" => key_file.is_some(),
        "sasl" => sasl.is_some(),
        "user" => user.is_some(),
        "password" => password.is_some(),
        _ => password_file.is_some(),
    };
    for (key, names) in SAME.iter().filter(|(key, _)| written(key)) {
        if let Some(name) = names.iter().find(|name| options.contains_key(**name)) {
            return Err(KafkaConfigError::Both { key, other: format!("options.{name:?}") });
        }
    }
    if written("password") && written("password_file") {
        return Err(KafkaConfigError::Both { key: "password", other: "password_file".into() });
    }
    let needs = [
        ("ca_file", "tls"),
        ("cert_file", "tls"),
        ("key_file", "tls"),
        ("cert_file", "key_file"),
        ("key_file", "cert_file"),
        ("user", "sasl"),
        ("password", "sasl"),
        ("password_file", "sasl"),
        ("sasl", "user"),
    ];
    match needs.into_iter().find(|(key, needed)| written(key) && !written(needed)) {
        Some((key, needed)) => Err(KafkaConfigError::Without { key, needed }),
        None => Ok(()),
    }
}

/// Makes a client that knows no broker: the library reads certificates and keys as it is made.
pub(super) fn try_out(config: &KafkaConfig) -> Result<(), KafkaConfigError> {
    if !encrypts(config) {
        return Ok(());
    }
    let mut client = ClientConfig::new();
    for (name, value) in properties(config)? {
        client.set(name, value);
    }
    for (name, value) in config.options.iter().filter(|(name, _)| is_of_security(name)) {
        client.set(name, value);
    }
    let made: KafkaResult<Client<Silent>> = client
        .create_native_config()
        .and_then(|native| Client::new(&client, native, RDKafkaType::RD_KAFKA_PRODUCER, Silent));
    let detail = match made {
        Ok(_) => return Ok(()),
        Err(KafkaError::ClientCreation(detail)) => detail,
        Err(error) => error.to_string(),
    };
    let files = [
        ("ca_file", "ssl.ca.location", &config.ca_file),
        ("cert_file", "ssl.certificate.location", &config.cert_file),
        ("key_file", "ssl.key.location", &config.key_file),
    ];
    let named = files.into_iter().find(|(_, name, file)| file.is_some() && detail.starts_with(name));
    Err(match (named, &config.cert_file) {
        (Some((key, _, Some(path))), _) => KafkaConfigError::File { key, detail: format!("{path}: {detail}") },
        // Each for itself can be read.
        (_, Some(path)) if detail.starts_with("Private key check") => {
            KafkaConfigError::File { key: "key_file", detail: format!("it is not the key of {path}: {detail}") }
        }
        _ => KafkaConfigError::Refused { detail },
    })
}

fn is_of_security(name: &str) -> bool {
    ["ssl.", "enable.ssl.", "security.", "sasl."].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests;
