//! Tokens that were revoked: refused though their signature is good, until nobody can have one any more.
//!
//! One table for all shards. It is asked when a connection, a refresh or a recheck brings a token, and costs one atomic load while
//! nothing was ever revoked. An entry lasts as long as the tokens it is against, so that the table is bounded by time as well as
//! by number. It is this process' alone: whoever revokes tells every gateway, and tells it again after a restart.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use pushgate_protocol::ids::{AppId, DeviceId, UserId};
use serde::Serialize;

use crate::{
    core::{Bearer, TokenMark},
    limits::REVOCATIONS_MAX,
};

/// Which tokens are not good any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Revocation {
    /// Of which app.
    pub(crate) app: AppId,
    /// Of which user; none: of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserId>,
    /// Of which of the user's devices; none: of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<DeviceId>,
    /// With this `jti` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<String>,
    /// Issued before this, Unix milliseconds. A token with a `jti` of its own is named by it, whenever it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before_ms: Option<u64>,
    /// Until when this is remembered, Unix milliseconds.
    pub(crate) until_ms: u64,
}

/// There are [`REVOCATIONS_MAX`] that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{REVOCATIONS_MAX} revocations are in force, which is the most")]
pub(crate) struct Full;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    /// Grows with each entry, after it; 0: there never was one.
    version: AtomicU64,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    apps: HashMap<String, OfApp>,
    len: usize,
}

/// What is revoked of one app.
#[derive(Debug, Default)]
struct OfApp {
    all: Option<Revocation>,
    users: HashMap<String, OfUser>,
    /// By [`TokenMark::id_of`].
    tokens: HashMap<u64, Revocation>,
}

/// What is revoked of one user.
#[derive(Debug, Default)]
struct OfUser {
    all: Option<Revocation>,
    devices: HashMap<String, Revocation>,
}

impl Revocations {
    /// Changes when something was added.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether what somebody shows is revoked; `now_ms` is Unix time.
    pub(crate) fn is_revoked(&self, bearer: Bearer<'_>, now_ms: u64) -> bool {
        if self.version() == 0 {
            return false;
        }
        let table = self.read();
        let Some(of) = table.apps.get(bearer.app) else { return false };
        // Whoever does not say when it was issued may have been issued at any time.
        let issued_ms = u64::from(bearer.token.issued_s) * 1_000;
        let hits = |r: &Revocation| r.until_ms > now_ms && r.before_ms.is_some_and(|before_ms| issued_ms < before_ms);
        let named = |r: &Revocation| r.until_ms > now_ms && r.user.as_ref().is_none_or(|u| u.as_str() == bearer.user);
        let user = of.users.get(bearer.user);
        let device = user.zip(bearer.device).and_then(|(user, device)| user.devices.get(device));
        of.all.as_ref().is_some_and(hits)
            || user.and_then(|u| u.all.as_ref()).is_some_and(hits)
            || device.is_some_and(hits)
            || (bearer.token.id != 0 && of.tokens.get(&bearer.token.id).is_some_and(named))
    }

    /// Adds one. Where there is one of the same app, user, device and `jti`, the later of both their times hold; what is in force
    /// then is returned.
    pub(crate) fn add(&self, new: Revocation, now_ms: u64) -> Result<Revocation, Full> {
        let mut table = self.write();
        if table.len >= REVOCATIONS_MAX {
            table.forget_ended(now_ms);
        }
        let full = table.len >= REVOCATIONS_MAX;
        let in_force = match table.find_mut(&new) {
            Some(known) => {
                known.before_ms = known.before_ms.max(new.before_ms);
                known.until_ms = known.until_ms.max(new.until_ms);
                if known.user != new.user {
                    known.user = None;
                }
                known.clone()
            }
            None if full => return Err(Full),
            None => {
                table.insert(new.clone());
                new
            }
        };
        drop(table);
        self.version.fetch_add(1, Ordering::Release);
        Ok(in_force)
    }

    /// All that stand, ordered by app, user, device and `jti`.
    pub(crate) fn list(&self, now_ms: u64) -> Vec<Revocation> {
        let mut all: Vec<Revocation> = self.read().iter().filter(|r| r.until_ms > now_ms).cloned().collect();
        all.sort_by(|a, b| (&a.app, &a.user, &a.device, &a.jti).cmp(&(&b.app, &b.user, &b.device, &b.jti)));
        all
    }

    /// How many are remembered, ended ones that are not forgotten yet included.
    pub(crate) fn len(&self) -> usize {
        self.read().len
    }

    /// The table is whole after every statement: a panic elsewhere leaves nothing half done.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The one of the same app, user, device and `jti`.
    fn find_mut(&mut self, like: &Revocation) -> Option<&mut Revocation> {
        let of = self.apps.get_mut(like.app.as_str())?;
        match (&like.jti, &like.user, &like.device) {
            (Some(jti), _, _) => of.tokens.get_mut(&TokenMark::id_of(jti)),
            (None, Some(user), Some(device)) => of.users.get_mut(user.as_str())?.devices.get_mut(device.as_str()),
            (None, Some(user), None) => of.users.get_mut(user.as_str())?.all.as_mut(),
            (None, None, _) => of.all.as_mut(),
        }
    }

    /// Adds one that [`Self::find_mut`] does not find.
    fn insert(&mut self, new: Revocation) {
        self.len += 1;
        let of = self.apps.entry(new.app.as_str().to_owned()).or_default();
        if let Some(jti) = &new.jti {
            of.tokens.insert(TokenMark::id_of(jti), new);
            return;
        }
        let Some(user) = &new.user else {
            of.all = Some(new);
            return;
        };
        let of = of.users.entry(user.as_str().to_owned()).or_default();
        match &new.device {
            Some(device) => drop(of.devices.insert(device.as_str().to_owned(), new)),
            None => of.all = Some(new),
        }
    }

    fn forget_ended(&mut self, now_ms: u64) {
        let stands = |r: &Revocation| r.until_ms > now_ms;
        self.apps.retain(|_, of| {
            of.all.take_if(|r| !stands(r));
            of.tokens.retain(|_, r| stands(r));
            of.users.retain(|_, of| {
                of.all.take_if(|r| !stands(r));
                of.devices.retain(|_, r| stands(r));
                of.all.is_some() || !of.devices.is_empty()
            });
            of.all.is_some() || !of.users.is_empty() || !of.tokens.is_empty()
        });
        self.len = self.iter().count();
    }

    fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.apps.values().flat_map(|of| {
            let of_users = of.users.values().flat_map(|of| of.all.iter().chain(of.devices.values()));
            of.all.iter().chain(of_users).chain(of.tokens.values())
        })
    }
}

#[cfg(test)]
mod tests;
