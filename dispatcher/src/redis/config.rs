//! `[redis]`, and what of it cannot be used.

use pushgate_protocol::apps::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    address::Address,
    settings::{Settings, parse_url},
};

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// One server: `redis://[user:password@]host:port[/database]`, or `rediss://` with TLS. Default `redis://127.0.0.1:6379`. Not used with `nodes` or `sentinels`.
    pub url: String,
    /// A Redis Cluster: some of its nodes, each `host:port`; the others are learned from them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Sentinels, each `host:port`, that know which server is the primary.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sentinels: Vec<String>,
    /// The name by which the Sentinels know the primary: that of their `sentinel monitor`. Default `mymaster`.
    pub master_name: String,
    /// The user to log in as, where `nodes` or `sentinels` are named; without one it is the user `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of that user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// File that holds the password instead, read anew for each connection; a final newline is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The user to log in as at Sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_user: Option<String>,
    /// The password at Sentinels; without one and without a file nobody logs in there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password: Option<Secret>,
    /// File that holds the password at Sentinels instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<String>,
    /// Whether nodes of a cluster, or Sentinels and the primary, are spoken to with TLS. Default false.
    pub tls: bool,
    /// PEM file of who vouches for the servers' certificates. Without it those whom the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// PEM file of the certificate to show to the servers, where they ask for one (`tls-auth-clients`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// PEM file of its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// `local`: the server's own append-only file (needs `appendonly yes`, `appendfsync always`); `wait:N`: also N
    /// replicas, without which a failover loses what was just acknowledged. Default `local`.
    pub durability: String,
}

impl RedisConfig {
    /// One server, and how many of its replicas must have a write.
    pub fn single(url: &str, replicas: u32) -> Self {
        Self { url: url.into(), durability: durability(replicas), ..Self::default() }
    }

    /// A cluster of which these nodes are known.
    pub fn cluster(nodes: Vec<String>, replicas: u32) -> Self {
        Self { nodes, durability: durability(replicas), ..Self::default() }
    }

    /// The primary that these Sentinels know by this name.
    pub fn sentinel(sentinels: Vec<String>, name: &str, replicas: u32) -> Self {
        Self { sentinels, master_name: name.into(), durability: durability(replicas), ..Self::default() }
    }

    /// Replicas that must have a write before it counts as durable: the N of `wait:N`, else 0.
    pub fn replicas(&self) -> u32 {
        self.durability.strip_prefix("wait:").and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// Everything that is wrong with it. No text holds a password.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(problem) = parse_url(&self.url) {
            problems.push(problem);
        }
        for (key, addresses) in [("nodes", &self.nodes), ("sentinels", &self.sentinels)] {
            let wrong = addresses.iter().filter(|address| Address::parse(address).is_none());
            problems.extend(wrong.map(|address| Address::problem(key, address)));
        }
        let replicas = self.durability.strip_prefix("wait:").map(str::parse::<u8>);
        if self.durability != "local" && !matches!(replicas, Some(Ok(1..))) {
            problems.push(format!(
                "redis.durability is {:?}, must be local or wait:N with N from 1 to 255",
                self.durability
            ));
        }
        if problems.is_empty() {
            problems.extend(Settings::of(self).err());
        }
        problems
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            nodes: Vec::new(),
            sentinels: Vec::new(),
            master_name: "mymaster".into(),
            user: None,
            password: None,
            password_file: None,
            sentinel_user: None,
            sentinel_password: None,
            sentinel_password_file: None,
            tls: false,
            ca_file: None,
            cert_file: None,
            key_file: None,
            durability: "local".into(),
        }
    }
}

fn durability(replicas: u32) -> String {
    if replicas == 0 { "local".into() } else { format!("wait:{replicas}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_together_is_named_without_secrets() {
        let secret = || Some(Secret::new("verysecret"));
        let nodes = || vec!["a:1".to_owned()];
        let wrong = [
            (RedisConfig { url: "http://:verysecret@x".into(), ..Default::default() }, "redis.url"),
            (RedisConfig { nodes: vec!["a".into()], ..Default::default() }, "redis.nodes holds \"a\""),
            (
                RedisConfig { sentinels: vec!["redis://u:verysecret@h:1".into()], ..Default::default() },
                "redis.sentinels holds \"...@h:1\"",
            ),
            (RedisConfig { nodes: nodes(), sentinels: nodes(), ..Default::default() }, "both set"),
            (RedisConfig { durability: "wait:0".into(), ..Default::default() }, "redis.durability is \"wait:0\""),
            (
                RedisConfig {
                    nodes: nodes(),
                    password: secret(),
                    password_file: Some("f".into()),
                    ..Default::default()
                },
                "redis.password and redis.password_file are both set",
            ),
            (RedisConfig { nodes: nodes(), user: Some("u".into()), ..Default::default() }, "redis.user is set without"),
            (
                RedisConfig { nodes: nodes(), password_file: Some("/no/such".into()), ..Default::default() },
                "redis.password_file",
            ),
            (RedisConfig { sentinels: nodes(), master_name: String::new(), ..Default::default() }, "redis.master_name"),
            (
                RedisConfig { url: "redis://u:verysecret@h:1".into(), password: secret(), ..Default::default() },
                "both redis.url",
            ),
            (
                RedisConfig { ca_file: Some("f".into()), ..Default::default() },
                "redis.ca_file is set, and no TLS is spoken",
            ),
            (
                RedisConfig { tls: true, ca_file: Some("/no/such".into()), ..RedisConfig::cluster(nodes(), 0) },
                "redis.ca_file: cannot read /no/such",
            ),
            (
                RedisConfig { cert_file: Some("f".into()), ..RedisConfig::single("rediss://h:1", 0) },
                "redis.cert_file is set without redis.key_file",
            ),
        ];
        for (config, said) in wrong {
            let problems = config.problems();
            assert!(problems.len() == 1 && problems[0].contains(said), "{problems:?} does not say {said}");
            assert!(!problems[0].contains("verysecret"), "{problems:?}");
        }
        for right in [
            RedisConfig::default(),
            RedisConfig::cluster(nodes(), 1),
            RedisConfig::sentinel(nodes(), "m", 2),
            RedisConfig { user: Some("u".into()), password: secret(), ..RedisConfig::cluster(nodes(), 0) },
            RedisConfig { password: secret(), ..RedisConfig::single("redis://h:1/2", 0) },
        ] {
            assert_eq!(right.problems(), Vec::<String>::new());
        }
    }
}
