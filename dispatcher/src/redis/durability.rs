//! Whether a Redis server keeps what it acknowledges.

use redis::Value;

use super::{
    server::Server,
    wire::{Commands, Reply},
};
use crate::{clock::unix_ms, seams::StoreError};

/// A setting that loses data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Host and port of the server.
    pub server: String,
    /// The setting.
    pub setting: &'static str,
    /// Its value; `None` if the server does not tell.
    pub value: Option<String>,
    /// What it should be.
    pub wanted: String,
    /// What it costs.
    pub cost: &'static str,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, setting, value, wanted, cost } = self;
        match value {
            Some(value) => write!(f, "redis {server} has {setting} {value}, wanted is {wanted}: {cost}"),
            None => write!(f, "redis {server} does not tell {setting}, wanted is {wanted}: {cost}"),
        }
    }
}

const WANTED: [(&str, &str, &str); 4] = [
    ("appendonly", "yes", "a restart loses everything since the last snapshot"),
    ("appendfsync", "always", "a crash of the server loses what it acknowledged in the last second or more"),
    ("no-appendfsync-on-rewrite", "no", "a crash while the log is rewritten loses what was acknowledged meanwhile"),
    ("maxmemory-policy", "noeviction", "a full server throws stored pushes and marks away"),
];

/// What of a server's settings loses data; with `replicas` above 0 also whether it has so many.
pub(super) async fn report(server: &Server, replicas: u32) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let mut find = |setting, value: Option<String>, wanted: String, cost| {
        if value.as_ref() != Some(&wanted) {
            findings.push(Finding { server: server.address(), setting, value, wanted, cost });
        }
    };
    for (setting, wanted, cost) in WANTED {
        let value = ask(server, &["CONFIG", "GET", setting]).await?.and_then(|answer| value_of(&answer));
        find(setting, value, wanted.to_owned(), cost);
    }
    if replicas > 0 {
        let have = ask(server, &["INFO", "replication"]).await?.and_then(|answer| replicas_of(&answer));
        // More than are asked for are as good.
        let have = have.map(|have| have.min(replicas).to_string());
        find(
            "connected_slaves",
            have,
            replicas.to_string(),
            "no write counts as durable: nothing is stored or settled",
        );
    }
    Ok(findings)
}

pub(super) async fn ahead_ms(server: &Server) -> Result<i64, StoreError> {
    // Connecting takes no part of the way.
    ask(server, &["TIME"]).await?;
    let began_ms = unix_ms();
    let answer = ask(server, &["TIME"]).await?;
    let here_ms = began_ms.midpoint(unix_ms());
    let there_ms = answer
        .as_ref()
        .and_then(time_of)
        .ok_or_else(|| StoreError::Damaged { what: "redis", detail: "TIME was not answered with a time".into() })?;
    Ok(there_ms as i64 - here_ms as i64)
}

/// The answer to one command; an error is one.
async fn ask(server: &Server, words: &[&str]) -> Result<Option<Value>, StoreError> {
    let mut command = Commands::default();
    let mut arguments = command.command(words.len());
    for word in words {
        arguments.arg(word);
    }
    drop(arguments);
    let answer = server.ask(0, command.into_bytes().into(), 1, 0).await?;
    if !answer.failed {
        server.up();
    }
    Ok(answer.replies().next().map(Reply::to_value))
}

fn replicas_of(answer: &Value) -> Option<u32> {
    let Value::BulkString(bytes) = answer else { return None };
    let lines = std::str::from_utf8(bytes).ok()?;
    lines.lines().find_map(|line| line.strip_prefix("connected_slaves:"))?.trim().parse().ok()
}

/// Seconds and microseconds.
fn time_of(answer: &Value) -> Option<u64> {
    let Value::Array(pair) = answer else { return None };
    let number = |value: Option<&Value>| match value {
        Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    Some(number(pair.first())? * 1_000 + number(pair.get(1))? / 1_000)
}

fn value_of(answer: &Value) -> Option<String> {
    let value = match answer {
        Value::Array(pair) => pair.get(1)?,
        Value::Map(pairs) => &pairs.first()?.1,
        _ => return None,
    };
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}
