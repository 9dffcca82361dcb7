//! Values: ranges, addresses, names, and what must fit together.

use std::{collections::BTreeSet, fs, sync::Arc, time::Instant};

use pushgate_dispatcher::{
    channels::{config::check_accounts, email, sms},
    config::{SourceKind, StoreKind},
    unsubscribe,
};
use pushgate_gateway::{
    config::{ConfigError, GatewayConfig, Settings},
    tls::{config::TlsConfig, identity::Identity},
};
use pushgate_protocol::{
    auth::Apps,
    ids::{AppId, NodeId},
    link::tls::LinkTls,
};

use super::{Config, Finding, Findings, Loaded, key_files};
use crate::limits;

/// Which program a configuration is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Everything in one process.
    Dev,
    /// A gateway node.
    Gateway,
    /// A dispatcher node.
    Dispatcher,
}

impl Loaded {
    /// Checks every value that matters to the role, and returns all that is wrong.
    pub fn check(&self, role: Role) -> Result<(), Findings> {
        let config = &self.config;
        let mut texts = Vec::new();
        texts.extend(config.log.filter().err());
        if role != Role::Dispatcher {
            config.check_tls(&mut texts);
            config.check_gateway(role, &mut texts);
        }
        if role != Role::Gateway {
            config.check_dispatcher(role, &mut texts);
        }
        // A gateway reads and writes the member list there.
        if role == Role::Gateway && config.store.kind == StoreKind::Redis && config.members.is_empty() {
            texts.extend(config.redis.problems());
        }
        let others = [("nodes", config.redis.nodes.is_empty()), ("sentinels", config.redis.sentinels.is_empty())];
        for (key, _) in others.iter().filter(|(_, empty)| !empty && self.wrote("redis.url")) {
            texts.push(format!("redis.url is set beside redis.{key}: keep one"));
        }
        if role != Role::Dev {
            texts.extend(config.link_key().err());
            texts.extend(config.link_tls().err());
            if config.apps.is_empty() {
                texts.push("apps is empty: without [[apps]] nobody can connect or send".into());
            }
        }
        config.check_apps(&mut texts);
        if texts.is_empty() {
            return Ok(());
        }
        let mut findings: Vec<_> = texts.into_iter().map(|text| self.origins.about(text)).collect();
        findings.sort_by_key(Finding::order);
        Err(Findings(findings))
    }
}

impl Config {
    /// The gateway's section, checked, with the key of `[links]`. In `dev`, which draws a key of its own, none is needed.
    pub fn gateway_settings(&self, role: Role) -> Result<Settings, String> {
        let mut gateway = GatewayConfig { link_key: None, link_key_file: None, ..self.gateway.clone() };
        // What is wrong with it is reported once, by its own check.
        gateway.tls = if self.tls.check().is_ok() { self.tls.clone() } else { TlsConfig::default() };
        gateway.link_key = match (role, &self.links.key, &self.links.key_file) {
            (Role::Dev, None, None) => Some("drawn at the start of dev".into()),
            // Reported once, by the check of the key itself.
            _ => Some(self.link_key().unwrap_or_else(|_| "reported elsewhere".into())),
        };
        gateway.link_tls = self.links.tls().ok().flatten();
        gateway.check().map_err(|error| match error {
            ConfigError::Value { key, value, expected } => format!("{key} is {value}, must be {expected}"),
            other => other.to_string(),
        })
    }

    /// The key that dispatchers and gateways prove to each other.
    pub fn link_key(&self) -> Result<String, String> {
        let (name, key) = match (&self.links.key, &self.links.key_file) {
            (Some(key), None) => ("links.key", key.clone()),
            (None, Some(path)) => {
                let text = fs::read_to_string(path).map_err(|e| format!("links.key_file: cannot read {path}: {e}"))?;
                ("links.key_file", text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, None) => {
                return Err("links.key is missing: set it, or links.key_file, to the same random text on every node, \
                            for example from: openssl rand -hex 32"
                    .into());
            }
            (Some(_), Some(_)) => return Err("links.key and links.key_file are both set: keep one".into()),
        };
        if key.len() < limits::LINK_KEY_BYTES_MIN {
            let (bytes, min) = (key.len(), limits::LINK_KEY_BYTES_MIN);
            return Err(format!("{name} holds {bytes} bytes, must be at least {min}"));
        }
        Ok(key)
    }

    /// TLS of links, the files read; `None`: links have none.
    pub fn link_tls(&self) -> Result<Option<Arc<LinkTls>>, String> {
        let Some(settings) = self.links.tls()? else { return Ok(None) };
        let tls = LinkTls::open(settings, Instant::now(), |path| fs::read(path));
        tls.map(|tls| Some(Arc::new(tls))).map_err(|error| error.to_string())
    }

    /// The gateway's own check ends at the first finding: what it names takes its default, and the rest is looked at again.
    fn check_gateway(&self, role: Role, texts: &mut Vec<String>) {
        let mut config = self.clone();
        while let Err(text) = config.gateway_settings(role) {
            let key = text.split([' ', ':']).next().unwrap_or_default().to_owned();
            texts.push(text);
            if texts.len() > limits::FINDINGS_MAX || !config.take_default(&key) {
                return;
            }
        }
    }

    /// Gives a key of the gateway its default; `false` if there is no such key, or it has it already.
    fn take_default(&mut self, key: &str) -> bool {
        let Ok(mut json) = serde_json::to_value(&self.gateway) else { return false };
        let path = format!("/{}", key.strip_prefix("gateway.").unwrap_or_default().replace('.', "/"));
        let Some((parent, name)) = path.rsplit_once('/') else { return false };
        let Some(table) = json.pointer_mut(parent).and_then(serde_json::Value::as_object_mut) else { return false };
        let removed = table.remove(name).is_some();
        match serde_json::from_value::<GatewayConfig>(json) {
            Ok(gateway) if removed && gateway != self.gateway => {
                self.gateway = gateway;
                true
            }
            _ => false,
        }
    }

    /// The apps, their keys parsed, the files they name read.
    fn check_apps(&self, texts: &mut Vec<String>) {
        let mut apps = Vec::with_capacity(self.apps.len());
        for (n, app) in self.apps.iter().enumerate() {
            match app.resolve(&mut key_files::read) {
                Ok(app) => apps.push(app),
                Err(error) => texts.push(format!("apps[{n}]: {error}")),
            }
        }
        texts.extend(Apps::new(apps).err().map(|error| format!("apps: {error}")));
    }

    fn check_tls(&self, texts: &mut Vec<String>) {
        let pairs = match self.tls.check() {
            Ok(tls) => tls.map(|tls| tls.certificates).unwrap_or_default(),
            Err(error) => return texts.push(error.to_string()),
        };
        for (n, pair) in pairs.iter().enumerate() {
            if let Err(error) = Identity::load(pair) {
                texts.push(match n {
                    0 => format!("tls.cert: {error}"),
                    n => format!("tls.certificates[{}]: {error}", n - 1),
                });
            }
        }
    }

    fn check_dispatcher(&self, role: Role, texts: &mut Vec<String>) {
        let dispatcher = &self.dispatcher;
        if !is_host_and_port(&dispatcher.listen) {
            texts.push(format!("dispatcher.listen is {:?}, must be host:port", dispatcher.listen));
        }
        if let Err(error) = NodeId::parse(&dispatcher.node) {
            texts.push(format!("dispatcher.node is {:?}: {error}", dispatcher.node));
        }
        range(
            texts,
            "dispatcher.workers",
            dispatcher.workers.into(),
            0,
            pushgate_dispatcher::limits::WORKERS_MAX.into(),
        );
        range(texts, "dispatcher.ack_deadline_ms", dispatcher.ack_deadline_ms, 100, limits::ACK_DEADLINE_MS_MAX);
        range(texts, "dispatcher.in_flight_max", dispatcher.in_flight_max as u64, 1, limits::IN_FLIGHT_MAX);
        range(
            texts,
            "dispatcher.low_nice",
            dispatcher.low_nice.into(),
            0,
            pushgate_dispatcher::limits::NICE_MAX.into(),
        );
        range(texts, "dispatcher.app_in_flight_max", dispatcher.app_in_flight_max as u64, 1, limits::IN_FLIGHT_MAX);
        range(texts, "store.dedupe_window_ms", self.store.dedupe_window_ms, 1_000, limits::DAY_MS);
        range(texts, "store.dedupe_bytes_max", self.store.dedupe_bytes_max, 1 << 20, 1 << 50);
        let entries_max = pushgate_dispatcher::limits::STREAM_ENTRIES_MAX as u64;
        range(texts, "store.stream_entries_max", self.store.stream_entries_max as u64, 1, entries_max);
        let bytes_max = pushgate_dispatcher::limits::STREAM_BYTES_MAX as u64;
        range(texts, "store.stream_bytes_max", self.store.stream_bytes_max as u64, 1 << 16, bytes_max);
        range(
            texts,
            "store.stream_age_max_ms",
            self.store.stream_age_max_ms,
            60_000,
            pushgate_protocol::limits::TTL_MS_MAX,
        );
        let (shortest, longest) =
            (pushgate_dispatcher::limits::MEMBER_LEASE_MS_MIN, pushgate_dispatcher::limits::MEMBER_LEASE_MS_MAX);
        range(texts, "store.member_lease_ms", self.store.member_lease_ms, shortest, longest);
        range(texts, "store.message_ttl_ms", self.store.message_ttl_ms, 60_000, 366 * limits::DAY_MS);
        let wrong = dispatcher.public_url.as_deref().and_then(unsubscribe::check);
        texts.extend(wrong.map(|problem| format!("dispatcher.public_url {problem}")));
        if let Some(app) = &dispatcher.default_app {
            let known = AppId::parse(app).is_ok() && self.apps.iter().any(|a| a.id.as_str() == app);
            if !known && role != Role::Dev {
                texts.push(format!("dispatcher.default_app is {app:?}, must be one of [[apps]]"));
            }
        }
        if dispatcher.source == SourceKind::Kafka {
            texts.extend(self.kafka.validate().err().map(|error| error.to_string()));
        }
        if self.store.kind == StoreKind::Redis {
            texts.extend(self.redis.problems());
        }
        texts.extend(check_accounts("email", &self.email, email::open));
        texts.extend(check_accounts("sms", &self.sms, sms::open));
        texts.extend(self.channels.email.check("channels.email"));
        texts.extend(self.channels.sms.check("channels.sms"));
        self.check_members(role, texts);
    }

    fn check_members(&self, role: Role, texts: &mut Vec<String>) {
        if self.members.is_empty() && role == Role::Dispatcher && self.store.kind == StoreKind::Embedded {
            let problem = "members is empty: name every gateway in a [[members]] with its node and links, or set store.kind to redis";
            texts.push(problem.into());
        }
        let mut nodes = BTreeSet::new();
        for (n, member) in self.members.iter().enumerate() {
            if let Err(error) = NodeId::parse(&member.node) {
                texts.push(format!("members[{n}].node is {:?}: {error}", member.node));
            }
            if !nodes.insert(&member.node) {
                texts.push(format!("members[{n}].node is {:?}, which another member has", member.node));
            }
            if !is_host_and_port(&member.links) {
                texts.push(format!("members[{n}].links is {:?}, must be host:port", member.links));
            }
            range(
                texts,
                &format!("members[{n}].weight"),
                member.weight.into(),
                1,
                pushgate_protocol::ring::WEIGHT_MAX.into(),
            );
        }
    }
}

fn range(texts: &mut Vec<String>, key: &str, value: u64, min: u64, max: u64) {
    if !(min..=max).contains(&value) {
        texts.push(format!("{key} is {value}, must be {min} to {max}"));
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
