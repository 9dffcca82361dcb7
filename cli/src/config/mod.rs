//! The configuration: one TOML file, overridden by the environment, checked whole before anything starts.
//!
//! The sections' types live in the rooms that use them; this module puts them together. What comes out of [`load`] has
//! known keys and right types; [`Loaded::check`] looks at the values. Every finding names the key, the place where it
//! was written, what it says and what it should say.

mod check;
mod document;
mod finding;
pub mod key_files;
mod keys;
mod log;
mod overrides;
mod print;
pub mod reference;
mod schema;

use std::path::{Path, PathBuf};

use pushgate_dispatcher::{
    channels::config::{AccountConfig, ChannelsConfig},
    classes::ClassConfig,
    config::{DispatcherConfig, LinkConfig, MemberConfig, RedisConfig, StoreConfig},
    kafka::KafkaConfig,
};
use pushgate_gateway::{config::GatewayConfig, tls::config::TlsConfig};
use pushgate_protocol::apps::AppConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    check::Role,
    finding::{Finding, Findings},
    log::LogConfig,
    print::effective,
};

/// The whole configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The gateway: where it listens and how it holds sessions.
    pub gateway: GatewayConfig,
    /// The dispatcher: where messages come from and how they are worked on.
    pub dispatcher: DispatcherConfig,
    /// Where streams, marks and message states live.
    pub store: StoreConfig,
    /// Kafka, used when `dispatcher.source` is `kafka`.
    pub kafka: KafkaConfig,
    /// Redis, used when `store.kind` is `redis`.
    pub redis: RedisConfig,
    /// What dispatchers and gateways of one installation share.
    pub links: LinkConfig,
    /// Certificates: with one, clients connect with `wss://`.
    pub tls: TlsConfig,
    /// Logging.
    pub log: LogConfig,
    /// The apps: tenants, their callers' secrets and the keys of their tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<AppConfig>,
    /// Accounts that send mail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email: Vec<AccountConfig>,
    /// Accounts that send text messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sms: Vec<AccountConfig>,
    /// How mail and text messages are sent.
    pub channels: ChannelsConfig,
    /// What is laid down for each class of messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassConfig>,
    /// The gateways that a dispatcher links to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberConfig>,
}

/// A configuration and where each key was written.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// Where its keys come from.
    origins: document::Origins,
    /// The file, if there is one.
    file: Option<PathBuf>,
    /// What may have been meant otherwise.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Whether the key was written, in the file or the environment.
    pub fn wrote(&self, path: &str) -> bool {
        self.origins.wrote(path)
    }

    /// Another configuration whose keys come from the same places.
    pub fn with(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// The file that was read, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file and the environment anew.
    pub fn again(&self) -> Result<Self, Findings> {
        load(self.file.as_deref(), std::env::vars())
    }
}

/// Reads `file` (none: only defaults) and applies the overrides found in `environment`.
///
/// Fails with everything that is wrong with keys and types, not with the first thing only.
pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded, Findings> {
    let document = match file {
        Some(path) => document::Document::read(path)?,
        None => document::Document::default(),
    };
    let environment: Vec<(String, String)> = environment.collect();
    let names = environment.iter().map(|(name, _)| name.as_str());
    let warnings = overrides::near_misses(&schema::Schema::of_config(), names);
    let loaded = assemble(document, environment.into_iter())?;
    Ok(Loaded { file: file.map(Path::to_owned), warnings, ..loaded })
}

/// Reads another file of the same kind: known keys, right types, and `accept` says what is wrong with the values, each text beginning with its
/// key.
pub fn read_as<T, U>(file: &Path, accept: impl FnOnce(T) -> Result<U, Vec<String>>) -> Result<U, Findings>
where
    T: serde::de::DeserializeOwned + JsonSchema,
{
    let document = document::Document::read(file)?;
    let mut findings = Vec::new();
    keys::check(&document, &schema::Schema::of::<T>(), &mut findings);
    if findings.is_empty() {
        let origins = document.origins;
        match toml::Value::Table(document.table).try_into::<T>() {
            Ok(value) => match accept(value) {
                Ok(accepted) => return Ok(accepted),
                Err(texts) => findings.extend(texts.into_iter().map(|text| origins.about(text))),
            },
            Err(error) => findings.push(origins.about_serde(&error)),
        }
    }
    findings.sort_by_key(Finding::order);
    Err(Findings(findings))
}

fn assemble(
    mut document: document::Document,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Findings> {
    let schema = schema::Schema::of_config();
    let mut findings = overrides::apply(&mut document, &schema, environment);
    keys::check(&document, &schema, &mut findings);
    if !findings.is_empty() {
        findings.sort_by_key(Finding::order);
        return Err(Findings(findings));
    }
    let table = toml::Value::Table(document.table);
    match table.try_into::<Config>() {
        Ok(config) => Ok(Loaded { config, origins: document.origins, file: None, warnings: Vec::new() }),
        Err(error) => Err(Findings(vec![document.origins.about_serde(&error)])),
    }
}

#[cfg(test)]
mod tests;
