//! Addresses that are sent nothing, on the embedded store.
//!
//! Keys of keyspace `suppressions`: `app 00 channel 00 address`: reasons, since when; `app 00` alone: how many there are. All changes are
//! made on the writer's thread; reads see only what is durable.

use std::sync::Arc;

use fjall::{Keyspace, Readable};
use pushgate_protocol::{ids::AppId, message::Channel};

use super::{
    EmbeddedStore,
    commit::{Turn, Write, unavailable},
    streams::damaged,
};
use crate::{
    seams::{AppAddress, BoxFuture, StoreError, Suppression, Suppressions},
    suppressed::Reasons,
};

/// [`Suppressions`] on an [`EmbeddedStore`].
pub struct EmbeddedSuppressions {
    store: Arc<EmbeddedStore>,
    table: Keyspace,
    max: u64,
}

impl EmbeddedSuppressions {
    /// The lists of this store, of at most so many addresses each.
    pub fn new(store: Arc<EmbeddedStore>, max: usize) -> Result<Self, StoreError> {
        Ok(Self { table: store.keyspace("suppressions")?, store, max: max as u64 })
    }
}

impl Suppressions for EmbeddedSuppressions {
    fn suppress(&self, app: AppId, entries: Vec<Suppression>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        let (table, max) = (self.table.clone(), self.max);
        self.store.update(move |turn| {
            let mut had_room = Vec::with_capacity(entries.len());
            for entry in entries {
                let key = key(&app, entry.channel, &entry.address);
                let known = read(&table, &key)?;
                let count = count(&table, &app)?;
                if known.is_none() && count >= max {
                    had_room.push(false);
                    continue;
                }
                let (reasons, since_ms) = known.unwrap_or((Reasons::default(), entry.since_ms));
                let mut writes = vec![Write::put(&table, key, row(reasons.with(entry.reasons), since_ms))];
                if known.is_none() {
                    writes.push(Write::put(&table, prefix(&app), (count + 1).to_be_bytes()));
                }
                turn.write(writes)?;
                had_room.push(true);
            }
            Ok(had_room)
        })
    }

    fn release(&self, address: AppAddress, gone: Reasons) -> BoxFuture<'_, Result<bool, StoreError>> {
        let table = self.table.clone();
        self.store.update(move |turn| {
            let key = key(&address.app, address.channel, &address.address);
            let Some((reasons, since_ms)) = read(&table, &key)? else { return Ok(false) };
            let left = reasons.without(gone);
            if left == reasons {
                return Ok(false);
            }
            forget_or_keep(turn, &table, &address.app, key, (left, since_ms))?;
            Ok(true)
        })
    }

    fn suppressed(&self, addresses: Vec<AppAddress>) -> BoxFuture<'_, Result<Vec<Reasons>, StoreError>> {
        Box::pin(async move {
            let view = self.store.durable();
            let reasons = |asked: &AppAddress| {
                let value = view.get(&self.table, key(&asked.app, asked.channel, &asked.address));
                let value = value.map_err(|e| unavailable(&e))?;
                Ok(value
                    .map(|value| decoded(&value))
                    .transpose()?
                    .map_or_else(Reasons::default, |(reasons, _)| reasons))
            };
            addresses.iter().map(reasons).collect()
        })
    }

    fn list(
        &self,
        app: AppId,
        after: Option<(Channel, String)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Suppression>, StoreError>> {
        Box::pin(async move {
            let start = prefix(&app);
            // A zero byte behind a key is the next one there can be, and behind the prefix skips the count.
            let from = after.map_or_else(|| start.clone(), |(channel, address)| key(&app, channel, &address));
            let from = [from.as_slice(), &[0]].concat();
            let until = [app.as_str().as_bytes(), &[1]].concat();
            let view = self.store.durable();
            let rows = view.range(&self.table, from..until).take(limit).map(|row| {
                let (key, value) = row.into_inner().map_err(|e| unavailable(&e))?;
                let strange = || damaged("a suppressed address cannot be read".into());
                let rest = std::str::from_utf8(&key[start.len()..]).map_err(|_| strange())?;
                let (channel, address) = rest.split_once('\0').ok_or_else(strange)?;
                let channel = Channel::parse(channel).ok_or_else(strange)?;
                let (reasons, since_ms) = decoded(&value)?;
                Ok(Suppression { channel, address: address.to_owned(), reasons, since_ms })
            });
            rows.collect()
        })
    }
}

fn forget_or_keep(
    turn: &Turn<'_>,
    table: &Keyspace,
    app: &AppId,
    key: Vec<u8>,
    (left, since_ms): (Reasons, u64),
) -> Result<(), StoreError> {
    if !left.is_empty() {
        return turn.write(vec![Write::put(table, key, row(left, since_ms))]);
    }
    let count = count(table, app)?.saturating_sub(1);
    turn.write(vec![Write::delete(table, key), Write::put(table, prefix(app), count.to_be_bytes())])
}

fn read(table: &Keyspace, key: &[u8]) -> Result<Option<(Reasons, u64)>, StoreError> {
    let value = table.get(key).map_err(|e| unavailable(&e))?;
    value.map(|value| decoded(&value)).transpose()
}

fn count(table: &Keyspace, app: &AppId) -> Result<u64, StoreError> {
    let value = table.get(prefix(app)).map_err(|e| unavailable(&e))?;
    let number = value.map(|value| value.as_ref().try_into().map(u64::from_be_bytes)).transpose();
    Ok(number.map_err(|_| damaged("the count of suppressed addresses is strange".into()))?.unwrap_or(0))
}

fn row(reasons: Reasons, since_ms: u64) -> [u8; 9] {
    let mut row = [0; 9];
    row[0] = reasons.byte();
    row[1..].copy_from_slice(&since_ms.to_be_bytes());
    row
}

fn decoded(value: &[u8]) -> Result<(Reasons, u64), StoreError> {
    match value.split_first_chunk::<9>() {
        Some(([reasons, since_ms @ ..], [])) => Ok((Reasons::from_byte(*reasons), u64::from_be_bytes(*since_ms))),
        _ => Err(damaged(format!("a suppressed address' row has {} bytes", value.len()))),
    }
}

fn prefix(app: &AppId) -> Vec<u8> {
    [app.as_str().as_bytes(), &[0]].concat()
}

fn key(app: &AppId, channel: Channel, address: &str) -> Vec<u8> {
    [app.as_str().as_bytes(), &[0], channel.as_str().as_bytes(), &[0], address.as_bytes()].concat()
}
