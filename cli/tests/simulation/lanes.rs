//! More to send in the lower lanes than links carry, and what lane high promises then.

use std::collections::BTreeSet;

use pushgate_protocol::link::{Lane, OutboxPolicy};

use crate::{
    log::Message,
    world::{Event, World},
};

/// When the flood begins and ends, milliseconds: clients are there before it.
const FLOOD_MS: [u64; 2] = [2_000, 5_000];
/// Pushes of the lower lanes, and bytes of each: seconds of what a link carries.
const FLOOD: (u64, usize) = (900, 5_000);
/// Pushes of lane high meanwhile.
const HIGH: u64 = 40;
/// The longest that a push of lane high takes, milliseconds: two questions to a store, one behind the other, and two ways over the
/// network, each at its slowest, with whatever came just before; not what waits in the lower lanes, which takes seconds.
const HIGH_MS: u64 = 500;

impl World {
    pub fn plan_flood(&mut self) {
        for client in 0..self.clients.len() {
            (self.clients[client].lazy, self.clients[client].anywhere) = (false, false);
            self.after_some(1, 500, Event::Connect { client });
        }
        for n in 0..FLOOD.0 {
            let lane = if self.random.one_in(2) { Lane::Normal } else { Lane::Low };
            self.plan_push(n, lane, FLOOD.1);
        }
        for n in FLOOD.0..FLOOD.0 + HIGH {
            self.plan_push(n, Lane::High, 10);
        }
    }

    fn plan_push(&mut self, n: u64, lane: Lane, bytes: usize) {
        let at = self.random.between(FLOOD_MS[0], FLOOD_MS[1]);
        let client = self.random.below(self.clients.len() as u64) as usize;
        let message = Message {
            id: format!("m{n}"),
            user: self.clients[client].user,
            device: None,
            others: Vec::new(),
            everyone: None,
            client: None,
            session: None,
            collapse: None,
            ack: true,
            lane,
            policy: OutboxPolicy::Close,
            accepted_ms: at,
            expires_ms: u64::MAX,
            bytes,
        };
        self.at(at, Event::Append(message));
    }

    /// Pushes of lane high that took longer than they may.
    pub fn late(&self) -> Vec<String> {
        let mut late = Vec::new();
        for message in self.log.messages().filter(|m| m.lane == Lane::High) {
            let got = self.receipts.iter().filter(|r| r.id == message.id);
            let mut seen = BTreeSet::new();
            for receipt in got.filter(|r| seen.insert(r.client)) {
                let took_ms = receipt.at - message.accepted_ms;
                if took_ms > HIGH_MS {
                    late.push(format!("client {} got {} after {took_ms} ms", receipt.client, message.id));
                }
            }
        }
        late
    }
}
