//! Addresses counted in a fixed number of cells.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Ticket;
use crate::limits::ADDRESS_CELLS;

/// The cells of an address: 16 bits for each row; never 0. An IPv6 address counts with its /64, which one host has whole.
pub(super) fn ticket(seed: u64, address: IpAddr) -> Ticket {
    let hash = match address.to_canonical() {
        IpAddr::V4(v4) => xxh3_64_with_seed(&v4.octets(), seed),
        IpAddr::V6(v6) => xxh3_64_with_seed(&v6.octets()[..8], seed),
    };
    ((hash >> 32) as u32).max(1)
}

fn cells(ticket: Ticket) -> [usize; 2] {
    [(ticket >> 16) as usize, (ticket & 0xffff) as usize]
}

fn row<T: Default>() -> Box<[T]> {
    (0..ADDRESS_CELLS).map(|_| T::default()).collect()
}

/// Connections under way.
#[derive(Debug)]
pub(super) struct Counts {
    max: u32,
    rows: [Box<[AtomicU32]>; 2],
}

impl Counts {
    pub(super) fn new(max: u32) -> Self {
        Self { max, rows: [row(), row()] }
    }

    /// Counts one more unless there are `max`.
    pub(super) fn enter(&self, ticket: Ticket) -> bool {
        let before = self.each(ticket).map(|cell| cell.fetch_add(1, Ordering::Relaxed));
        let fits = before.iter().any(|n| *n < self.max);
        if !fits {
            self.leave(ticket);
        }
        fits
    }

    pub(super) fn leave(&self, ticket: Ticket) {
        for cell in self.each(ticket) {
            cell.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn each(&self, ticket: Ticket) -> [&AtomicU32; 2] {
        let [a, b] = cells(ticket);
        [&self.rows[0][a], &self.rows[1][b]]
    }
}

/// Connections per second, as in the generic cell rate algorithm (ITU-T I.371): a cell holds when its next connection would
/// be due if they came evenly; it may come a burst earlier.
#[derive(Debug)]
pub(super) struct Rates {
    interval_us: u64,
    rows: [Box<[AtomicU64]>; 2],
}

/// How much earlier than due a connection may come: a second's worth.
const BURST_US: u64 = 1_000_000;

impl Rates {
    pub(super) fn new(per_s: u32) -> Self {
        Self { interval_us: 1_000_000 / u64::from(per_s), rows: [row(), row()] }
    }

    /// Takes one if there is one to take. Two shards that ask at the same time may both get the last.
    pub(super) fn take(&self, ticket: Ticket, now_ms: u64) -> bool {
        let now_us = now_ms * 1_000;
        let [a, b] = cells(ticket);
        let each = [&self.rows[0][a], &self.rows[1][b]];
        let due = each.map(|cell| cell.load(Ordering::Relaxed).max(now_us) + self.interval_us);
        let fits = due.iter().any(|due_us| *due_us <= now_us + BURST_US);
        if fits {
            for (cell, due_us) in each.into_iter().zip(due) {
                cell.store(due_us, Ordering::Relaxed);
            }
        }
        fits
    }
}
