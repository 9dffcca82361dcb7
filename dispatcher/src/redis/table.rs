//! Who has which slots of a cluster, and the servers that have them.

use std::sync::Arc;

use super::{
    address::Address,
    server::{Place, Server},
    settings::Door,
    slots::{SLOTS, Told, slot_of},
};
use crate::limits;

/// Who has which slots.
pub(super) struct Table {
    pub(super) servers: Vec<Arc<Server>>,
    pub(super) replicas: Vec<Address>,
    /// The place of each slot's server, or [`NOBODY`].
    pub(super) slots: Box<[u16; SLOTS]>,
}

const NOBODY: u16 = u16::MAX;
const _: () = assert!(limits::REDIS_NODES_MAX < NOBODY as usize, "servers are counted in u16");

impl Default for Table {
    fn default() -> Self {
        Self { servers: Vec::new(), replicas: Vec::new(), slots: Box::new([NOBODY; SLOTS]) }
    }
}

impl Table {
    /// What was told; servers that are known keep their connections.
    pub(super) fn of(told: Told, known: Option<&Self>, door: &Door) -> Self {
        let mut table = Self { replicas: told.replicas, ..Self::default() };
        for address in &told.primaries {
            let known = known.and_then(|table| table.servers.iter().find(|server| server.fixed() == Some(address)));
            match known {
                Some(server) => table.servers.push(Arc::clone(server)),
                None => drop(table.place_of(address, door)),
            }
        }
        for (first, last, primary) in told.ranges {
            table.slots[usize::from(first)..=usize::from(last)].fill(primary as u16);
        }
        table
    }

    pub(super) fn copy(&self) -> Self {
        Self { servers: self.servers.clone(), replicas: self.replicas.clone(), slots: self.slots.clone() }
    }

    /// The place of the server there, which is made if there is none.
    pub(super) fn place_of(&mut self, address: &Address, door: &Door) -> u16 {
        let known = self.servers.iter().position(|server| server.fixed() == Some(address));
        let place = known.unwrap_or_else(|| {
            self.servers.push(Arc::new(Server::new(Place::Fixed(address.clone()), door.clone())));
            self.servers.len() - 1
        });
        place as u16
    }

    pub(super) fn server_of(&self, key: &[u8]) -> Option<&Arc<Server>> {
        self.servers.get(usize::from(self.slots[usize::from(slot_of(key))]))
    }
}
