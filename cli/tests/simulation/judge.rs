//! What must hold when the storm is over and time has passed.

use std::collections::{BTreeMap, BTreeSet};

use pushgate_protocol::result::State;

use crate::{log::Message, world::World};

impl World {
    /// What is still wrong. Empty: every promise is kept.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        complaints.extend(self.log.behind().into_iter().map(|n| format!("partition {n} is not committed to its end")));
        complaints.extend(self.store.stored(self.now).into_iter().map(|what| format!("in a stream still: {what}")));
        let got: BTreeSet<(&str, usize, usize)> = self
            .receipts
            .iter()
            .map(|r| (r.id.as_str(), self.clients[r.client].user, self.clients[r.client].device))
            .collect();
        for message in self.log.messages() {
            let reached = got.iter().any(|&(id, user, device)| {
                id == message.id && user == message.user && message.device.is_none_or(|d| d == device)
            });
            let promised = message.ack && message.expires_ms == u64::MAX;
            if promised && !reached {
                complaints.push(format!("{} was never received by {}", message.id, message.recipient()));
            }
            if !self.ended(message, promised, reached) {
                let states = self.store.results.get(&(message.id.clone(), message.recipient()));
                complaints.push(format!("{} did not end: {states:?}", message.id));
            }
        }
        complaints
    }

    /// The state of a push that settled as `stored` may stay so though it was acknowledged: its record is gone, so nobody
    /// repeats a result that died with its dispatcher, or that a lost reply of the store swallowed.
    fn may_stay_stored(&self, message: &Message) -> bool {
        self.acknowledged_for.contains(&message.id) || self.dispatcher_died
    }

    fn ended(&self, message: &Message, promised: bool, reached: bool) -> bool {
        let states = self.store.results.get(&(message.id.clone(), message.recipient()));
        states.is_some_and(|states| {
            states.iter().any(|state| match state {
                State::Delivered => true,
                State::Sent | State::Skipped => !message.ack,
                State::Stored => !promised || (reached && self.may_stay_stored(message)),
                State::Expired => !promised,
                _ => false,
            })
        })
    }

    /// Pushes that a client got from someone else's user, or another device.
    pub fn strays(&self) -> Vec<String> {
        let messages: BTreeMap<&str, &Message> = self.log.messages().map(|m| (m.id.as_str(), m)).collect();
        let stray = |r: &&crate::client::Receipt| {
            let (client, message) = (&self.clients[r.client], messages[r.id.as_str()]);
            message.user != client.user || message.device.is_some_and(|d| d != client.device)
        };
        self.receipts.iter().filter(stray).map(|r| format!("client {} got {}", r.client, r.id)).collect()
    }

    /// Where a session got pushes of one user and lane in another order than they were produced. Those accepted while the
    /// session stood count, and of each the first receipt: a repetition may come at any time.
    pub fn disorder(&self) -> Vec<String> {
        let mut places = BTreeMap::new();
        for partition in self.log.0.values() {
            for (at, message) in partition.records.iter().enumerate() {
                places.insert(message.id.as_str(), (at, message));
            }
        }
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(usize, u8), (usize, &str)> = BTreeMap::new();
        let mut found = Vec::new();
        for receipt in &self.receipts {
            let (at, message) = places[receipt.id.as_str()];
            if message.accepted_ms < self.conns[receipt.conn].attached_ms
                || !message.ack
                || !seen.insert((receipt.client, receipt.id.as_str()))
            {
                continue;
            }
            let newest = last.entry((receipt.conn, message.lane as u8)).or_insert((at, &receipt.id));
            if newest.0 > at {
                found.push(format!("conn {} got {} after {} at {}", receipt.conn, receipt.id, newest.1, receipt.at));
            }
            *newest = (*newest).max((at, &receipt.id));
        }
        found
    }
}
