//! Admission: how many connections an address and an app have, and how fast an address makes them. The one thing that
//! shards share: relaxed atomics, touched when a connection begins and ends, and not at all while no limit is set.
//!
//! Addresses are not stored. Each is hashed to one cell in each of two rows, and counts as the lesser of its cells says: memory
//! is fixed, and an address is held for more than it did only if others share both of its cells. A connection
//! remembers its cells in four bytes ([`Ticket`]).

mod addresses;
mod apps;
mod pace;

use std::{net::IpAddr, sync::Arc};

use pushgate_protocol::ids::{AppId, ShardId};

pub(crate) use self::pace::Pace;
use self::{
    addresses::{Counts, Rates},
    apps::AppCounts,
};
use crate::{config::GatewayLimits, site::Clock};

/// What a connection is counted under: the cells of its address. 0: it is not counted.
pub(crate) type Ticket = u32;

/// Which limit a connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `connections_per_ip_max`
    AddressConnections,
    /// `handshakes_per_ip_per_s`
    AddressRate,
    /// `connections_per_app_max`
    AppConnections,
}

/// The counters of one gateway.
#[derive(Debug)]
pub(crate) struct Admission {
    seed: u64,
    clock: Clock,
    counts: Option<Counts>,
    rates: Option<Rates>,
    apps: Option<AppCounts>,
}

/// A connection that is counted; not any more once dropped, unless it was kept.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    ticket: Ticket,
    app: Option<AppId>,
    /// Where the app is counted.
    shard: ShardId,
}

impl Admission {
    /// Counters for `shards` shards. `seed` keeps others from choosing addresses that share cells.
    pub(crate) fn new(limits: &GatewayLimits, seed: u64, clock: Clock, shards: u16) -> Arc<Self> {
        let set = |n: u32| (n > 0).then_some(n);
        Arc::new(Self {
            seed,
            clock,
            counts: set(limits.connections_per_ip_max).map(Counts::new),
            rates: set(limits.handshakes_per_ip_per_s).map(Rates::new),
            apps: set(limits.connections_per_app_max).map(|max| AppCounts::new(max, shards)),
        })
    }

    /// A connection that nothing is counted of yet.
    pub(crate) fn uncounted(self: &Arc<Self>) -> Permit {
        Permit { admission: self.clone(), ticket: 0, app: None, shard: ShardId(0) }
    }

    /// Answers for a connection that ended: what it was kept under.
    pub(crate) fn leave(&self, shard: ShardId, ticket: Ticket, app: Option<&AppId>) {
        if let Some(counts) = self.counts.as_ref().filter(|_| ticket != 0) {
            counts.leave(ticket);
        }
        if let (Some(apps), Some(app)) = (&self.apps, app) {
            apps.leave(app, shard);
        }
    }
}

impl Permit {
    /// Counts the connection under its client's address.
    pub(crate) fn count_address(&mut self, address: IpAddr) -> Result<(), Limit> {
        let admission = &self.admission;
        if admission.counts.is_none() && admission.rates.is_none() {
            return Ok(());
        }
        let ticket = addresses::ticket(admission.seed, address);
        if admission.rates.as_ref().is_some_and(|rates| !rates.take(ticket, admission.clock.now().mono_ms)) {
            return Err(Limit::AddressRate);
        }
        if let Some(counts) = &admission.counts {
            if !counts.enter(ticket) {
                return Err(Limit::AddressConnections);
            }
            self.ticket = ticket;
        }
        Ok(())
    }

    /// Counts the session under its app, on the shard that will hold it.
    pub(crate) fn count_app(&mut self, app: &AppId, shard: ShardId) -> Result<(), Limit> {
        if let Some(apps) = &self.admission.apps {
            if !apps.enter(app, shard) {
                return Err(Limit::AppConnections);
            }
            self.app = Some(app.clone());
            self.shard = shard;
        }
        Ok(())
    }

    /// Leaves the connection counted: whoever holds it calls [`Admission::leave`] at its end.
    pub(crate) fn keep(mut self) -> Ticket {
        self.app = None;
        std::mem::take(&mut self.ticket)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(self.shard, self.ticket, self.app.as_ref());
    }
}

#[cfg(test)]
mod tests;
