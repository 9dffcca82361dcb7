//! Whether a Redis server keeps what it acknowledges.

use redis::Value;

use super::link::RedisLink;
use crate::{clock::unix_ms, seams::StoreError};

/// A setting that loses data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The setting.
    pub setting: &'static str,
    /// Its value; `None` if the server does not tell.
    pub value: Option<String>,
    /// What it should be.
    pub wanted: &'static str,
    /// What it costs.
    pub cost: &'static str,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { setting, value, wanted, cost } = self;
        match value {
            Some(value) => write!(f, "redis has {setting} {value}, wanted is {wanted}: {cost}"),
            None => write!(f, "redis does not tell {setting}, wanted is {wanted}: {cost}"),
        }
    }
}

const WANTED: [(&str, &str, &str); 4] = [
    ("appendonly", "yes", "a restart loses everything since the last snapshot"),
    ("appendfsync", "always", "a crash of the server loses what it acknowledged in the last second or more"),
    ("no-appendfsync-on-rewrite", "no", "a crash while the log is rewritten loses what was acknowledged meanwhile"),
    ("maxmemory-policy", "noeviction", "a full server throws stored pushes and marks away"),
];

pub(super) async fn report(link: &RedisLink) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for (setting, wanted, cost) in WANTED {
        let mut ask = redis::pipe();
        ask.cmd("CONFIG").arg("GET").arg(setting);
        let value = link.run_each(&ask).await?.into_iter().next().and_then(|answer| value_of(&answer));
        if value.as_deref() != Some(wanted) {
            findings.push(Finding { setting, value, wanted, cost });
        }
    }
    Ok(findings)
}

pub(super) async fn ahead_ms(link: &RedisLink) -> Result<i64, StoreError> {
    let mut ask = redis::pipe();
    ask.cmd("TIME");
    // Connecting takes no part of the way.
    link.run_each(&ask).await?;
    let began_ms = unix_ms();
    let answer = link.run_each(&ask).await?;
    let here_ms = began_ms.midpoint(unix_ms());
    let there_ms = answer
        .first()
        .and_then(time_of)
        .ok_or_else(|| StoreError::Damaged { what: "redis", detail: "TIME was not answered with a time".into() })?;
    Ok(there_ms as i64 - here_ms as i64)
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
