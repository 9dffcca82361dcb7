//! Addresses that are sent nothing, on Redis. Keys and scripts are described in `scripts/suppress.lua`.

use std::sync::Arc;

use pushgate_protocol::{ids::AppId, message::Channel, placement::user_hash};
use redis::Value;

use super::{
    keys::{key, tagged},
    link::{RedisLink, damaged},
    scripts,
    streams::strange,
};
use crate::{
    limits,
    seams::{AppAddress, BoxFuture, StoreError, Suppression, Suppressions},
    suppressed::Reasons,
};

/// [`Suppressions`] on Redis.
pub struct RedisSuppressions {
    link: Arc<RedisLink>,
    max: usize,
}

impl RedisSuppressions {
    /// The lists of this server, of at most so many addresses each.
    pub fn new(link: Arc<RedisLink>, max: usize) -> Self {
        Self { link, max }
    }
}

impl RedisSuppressions {
    /// The names behind one, at most so many.
    async fn names(&self, app: &AppId, after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let from = after.map_or_else(|| b"-".to_vec(), |after| [b"(", after].concat());
        let mut ask = redis::pipe();
        ask.cmd("ZRANGEBYLEX").arg(keys_of(app).1).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
        let answers = self.link.run(&ask).await?;
        let [Value::Array(names)] = answers.as_slice() else { return Err(strange(&answers.first().cloned())) };
        let name = |name: &Value| match name {
            Value::BulkString(name) => Ok(name.clone()),
            other => Err(strange(&Some(other.clone()))),
        };
        names.iter().map(name).collect()
    }

    /// What is kept of them; one that was released meanwhile is left out.
    async fn rows(&self, app: &AppId, names: &[Vec<u8>]) -> Result<Vec<Suppression>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::pipe();
        ask.cmd("HMGET").arg(keys_of(app).0).arg(names);
        let answers = self.link.run(&ask).await?;
        let [Value::Array(values)] = answers.as_slice() else { return Err(strange(&answers.first().cloned())) };
        let mut rows = Vec::with_capacity(names.len());
        for (name, value) in names.iter().zip(values) {
            let (channel, address) =
                read_name(name).ok_or_else(|| damaged("a suppressed address cannot be read".into()))?;
            if let Some((reasons, since_ms)) = decoded(value)? {
                rows.push(Suppression { channel, address, reasons, since_ms });
            }
        }
        Ok(rows)
    }
}

impl Suppressions for RedisSuppressions {
    fn suppress(&self, app: AppId, entries: Vec<Suppression>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        Box::pin(async move {
            let mut had_room = Vec::with_capacity(entries.len());
            let (hash, keys) = (hash_of(&app), keys_of(&app));
            for entries in entries.chunks(limits::REDIS_CHANGES_MAX) {
                let mut call = scripts::SUPPRESS.call(&[&keys.0, &keys.1]);
                call.arg(self.max);
                for entry in entries {
                    call.arg(name_of(entry.channel, &entry.address));
                    call.arg(&[entry.reasons.byte()]).arg(&entry.since_ms.to_be_bytes());
                }
                let answers = self.link.write(vec![(hash, call)]).await?;
                let [Value::Array(each)] = answers.as_slice() else { return Err(strange(&answers.first().cloned())) };
                had_room.extend(each.iter().map(|one| *one == Value::Int(1)));
            }
            Ok(had_room)
        })
    }

    fn release(&self, address: AppAddress, reasons: Reasons) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let keys = keys_of(&address.app);
            let mut call = scripts::RELEASE.call(&[&keys.0, &keys.1]);
            call.arg(name_of(address.channel, &address.address)).arg(&[reasons.byte()]);
            Ok(self.link.write(vec![(hash_of(&address.app), call)]).await? == [Value::Int(1)])
        })
    }

    fn suppressed(&self, addresses: Vec<AppAddress>) -> BoxFuture<'_, Result<Vec<Reasons>, StoreError>> {
        Box::pin(async move {
            let mut ask = redis::pipe();
            for of_app in
                addresses.chunk_by(|a, b| a.app == b.app).flat_map(|run| run.chunks(limits::REDIS_CHANGES_MAX))
            {
                let mut get = redis::cmd("HMGET");
                get.arg(keys_of(&of_app[0].app).0);
                for asked in of_app {
                    get.arg(name_of(asked.channel, &asked.address));
                }
                ask.add_command(get);
            }
            let mut found = Vec::with_capacity(addresses.len());
            for answer in self.link.run(&ask).await? {
                let Value::Array(values) = answer else { return Err(strange(&Some(answer))) };
                for value in values {
                    found.push(decoded(&value)?.map_or_else(Reasons::default, |(reasons, _)| reasons));
                }
            }
            Ok(found)
        })
    }

    fn list(
        &self,
        app: AppId,
        after: Option<(Channel, String)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Suppression>, StoreError>> {
        Box::pin(async move {
            let mut after = after.map(|(channel, address)| name_of(channel, &address));
            let mut found = Vec::new();
            // Some may be released between the two questions: fewer than asked for would say that these are the last.
            while found.len() < limit {
                let lacking = limit - found.len();
                let names = self.names(&app, after.as_deref(), lacking).await?;
                found.extend(self.rows(&app, &names).await?);
                if names.len() < lacking {
                    break;
                }
                after = names.into_iter().next_back();
            }
            Ok(found)
        })
    }
}

fn hash_of(app: &AppId) -> u64 {
    user_hash(0, app.as_str(), "")
}

fn keys_of(app: &AppId) -> (Vec<u8>, Vec<u8>) {
    let prefix = tagged("x", app.as_str(), "");
    (key(&prefix, "h"), key(&prefix, "z"))
}

fn name_of(channel: Channel, address: &str) -> Vec<u8> {
    [channel.as_str().as_bytes(), b"\0", address.as_bytes()].concat()
}

fn read_name(name: &[u8]) -> Option<(Channel, String)> {
    let (channel, address) = std::str::from_utf8(name).ok()?.split_once('\0')?;
    Some((Channel::parse(channel)?, address.to_owned()))
}

fn decoded(value: &Value) -> Result<Option<(Reasons, u64)>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(row) => match row.split_first_chunk::<9>() {
            Some(([reasons, since_ms @ ..], [])) => {
                Ok(Some((Reasons::from_byte(*reasons), u64::from_be_bytes(*since_ms))))
            }
            _ => Err(damaged(format!("a suppressed address' row has {} bytes", row.len()))),
        },
        other => Err(strange(&Some(other.clone()))),
    }
}
