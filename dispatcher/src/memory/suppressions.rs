//! Addresses that are sent nothing, in memory.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, PoisonError},
};

use pushgate_protocol::{ids::AppId, message::Channel};

use crate::{
    seams::{AppAddress, BoxFuture, StoreError, Suppression, Suppressions},
    suppressed::Reasons,
};

/// [`Suppressions`] in memory.
pub struct MemorySuppressions {
    max: usize,
    kept: Mutex<BTreeMap<AppId, Addresses>>,
}

type Addresses = BTreeMap<(&'static str, String), (Reasons, u64)>;

impl MemorySuppressions {
    /// Empty lists of at most so many addresses each.
    pub fn new(max: usize) -> Self {
        Self { max, kept: Mutex::default() }
    }

    fn with<T: Send + 'static>(
        &self,
        app: AppId,
        act: impl FnOnce(&mut Addresses) -> T,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let done = act(self.kept.lock().unwrap_or_else(PoisonError::into_inner).entry(app).or_default());
        Box::pin(async { Ok(done) })
    }
}

impl Suppressions for MemorySuppressions {
    fn suppress(&self, app: AppId, entries: Vec<Suppression>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        self.with(app, |kept| {
            let add = |entry: Suppression| {
                let key = (entry.channel.as_str(), entry.address);
                if kept.len() >= self.max && !kept.contains_key(&key) {
                    return false;
                }
                let (reasons, _) = kept.entry(key).or_insert((Reasons::default(), entry.since_ms));
                *reasons = reasons.with(entry.reasons);
                true
            };
            entries.into_iter().map(add).collect()
        })
    }

    fn release(&self, address: AppAddress, gone: Reasons) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.with(address.app, |kept| {
            let key = (address.channel.as_str(), address.address);
            let Some((reasons, _)) = kept.get_mut(&key) else { return false };
            let left = reasons.without(gone);
            let changed = left != std::mem::replace(reasons, left);
            if left.is_empty() {
                kept.remove(&key);
            }
            changed
        })
    }

    fn suppressed(&self, addresses: Vec<AppAddress>) -> BoxFuture<'_, Result<Vec<Reasons>, StoreError>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let reasons = |asked: AppAddress| {
            let entry = kept.get(&asked.app)?.get(&(asked.channel.as_str(), asked.address))?;
            Some(entry.0)
        };
        let found = addresses.into_iter().map(|asked| reasons(asked).unwrap_or_default()).collect();
        Box::pin(async { Ok(found) })
    }

    fn list(
        &self,
        app: AppId,
        after: Option<(Channel, String)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Suppression>, StoreError>> {
        self.with(app, |kept| {
            let from =
                after.map_or(Bound::Unbounded, |(channel, address)| Bound::Excluded((channel.as_str(), address)));
            let row = |((channel, address), (reasons, since_ms)): (&(&str, String), &(Reasons, u64))| Suppression {
                channel: Channel::parse(channel).unwrap_or(Channel::Email),
                address: address.clone(),
                reasons: *reasons,
                since_ms: *since_ms,
            };
            kept.range((from, Bound::Unbounded)).take(limit).map(row).collect()
        })
    }
}
