//! What must hold when the storm is over and time has passed.

use std::collections::{BTreeMap, BTreeSet};

use pushgate_dispatcher::{
    core::worker::Token,
    seams::{Mark, MarkQuery},
};
use pushgate_protocol::result::State;

use crate::{
    log::{Message, recipient_of},
    world::World,
};

/// How long what was under way when a message was taken back may still arrive, milliseconds: while nothing fails, and while links
/// and processes do.
const RECALL_MS: [u64; 2] = [1_000, 10_000];

impl World {
    /// What is still wrong. Empty: every promise is kept.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        complaints.extend(self.log.behind().into_iter().map(|n| format!("partition {n} is not committed to its end")));
        complaints
            .extend(self.store.stored(self.wall_ms()).into_iter().map(|what| format!("in a stream still: {what}")));
        let recalled = self.store.stored_though_recalled().into_iter();
        complaints.extend(recalled.map(|what| format!("in a stream though taken back: {what}")));
        let open = self.taken_back.iter().filter(|(_, taken)| taken.answered_ms.is_none());
        complaints.extend(open.map(|(id, _)| format!("nobody was told that {id} is taken back")));
        let got: BTreeSet<(&str, usize, usize)> = self
            .receipts
            .iter()
            .map(|r| (r.id.as_str(), self.clients[r.client].user, self.clients[r.client].device))
            .collect();
        for message in self.log.messages() {
            let reached = |user: usize| {
                got.iter().any(|&(id, u, device)| id == message.id && u == user && message.is_for(user, device))
            };
            let promised = self.is_promised(message);
            for user in self.promised_to(message) {
                if promised && !reached(user) {
                    complaints.push(format!("{} was never received by u{user}", message.id));
                }
            }
            for delivery in message.deliveries(Token(0)) {
                let recipient = recipient_of(&delivery);
                // Whatever results say: who acknowledged is not sent it again, and nothing acknowledged is lost.
                let acknowledged = self.store.marks(&[MarkQuery { user: delivery.user.clone(), key: delivery.key }])
                    == [Some(Mark::Delivered)];
                let says_so = message.everyone.is_some() || self.says_delivered(&message.id, &recipient);
                if acknowledged && !says_so && !self.may_stay_stored(message) {
                    complaints.push(format!("{} is delivered to {recipient} and no result says so", message.id));
                }
                let reached = message.everyone.is_some() || (0..crate::world::USERS).any(reached);
                if !self.ended(message, &recipient, promised, reached) {
                    let states = self.store.results.get(&(message.id.clone(), recipient));
                    complaints.push(format!("{} did not end: {states:?}", message.id));
                }
            }
        }
        complaints
    }

    fn is_taken_back(&self, id: &str) -> bool {
        self.taken_back.contains_key(id)
    }

    fn is_promised(&self, message: &Message) -> bool {
        let lasting = message.ack && message.expires_ms == u64::MAX && message.client.is_none();
        lasting && message.collapse.is_none() && !self.is_taken_back(&message.id)
    }

    /// Users who must receive a message that is promised.
    fn promised_to(&self, message: &Message) -> Vec<usize> {
        match &message.everyone {
            Some(exclude) => (0..crate::world::USERS).filter(|u| !exclude.contains(u)).collect(),
            None => std::iter::once(message.user).chain(message.others.iter().copied()).collect(),
        }
    }

    /// The state of a push that settled as `stored` may stay so though it was acknowledged: its record is gone, so nobody
    /// repeats a result that died with its dispatcher, or that a lost reply of the store swallowed.
    fn may_stay_stored(&self, message: &Message) -> bool {
        self.acknowledged_for.contains(&message.id) || self.dispatcher_died || message.everyone.is_some()
    }

    fn says_delivered(&self, id: &str, recipient: &str) -> bool {
        let states = self.store.results.get(&(id.to_owned(), recipient.to_owned()));
        states.is_some_and(|states| states.contains(&State::Delivered))
    }

    fn ended(&self, message: &Message, recipient: &str, promised: bool, reached: bool) -> bool {
        let states = self.store.results.get(&(message.id.clone(), recipient.to_owned()));
        let recalled = self.is_taken_back(&message.id);
        states.is_some_and(|states| {
            states.iter().any(|state| match state {
                State::Delivered => true,
                State::Sent => !message.ack && !recalled,
                State::Skipped => !message.ack || !promised,
                State::Stored => !recalled && (!promised || (reached && self.may_stay_stored(message))),
                State::Expired | State::Failed => !promised,
                State::Recalled => recalled,
                _ => false,
            })
        })
    }

    /// Pushes that a client got from someone else's user, or another device, or after they were taken back.
    pub fn strays(&self) -> Vec<String> {
        let messages: BTreeMap<&str, &Message> = self.log.messages().map(|m| (m.id.as_str(), m)).collect();
        let stray = |r: &&crate::client::Receipt| {
            let (client, message) = (&self.clients[r.client], messages[r.id.as_str()]);
            match message.client {
                Some(c) => c != r.client,
                None => !message.is_for(client.user, client.device),
            }
        };
        let late = |r: &&crate::client::Receipt| {
            let answered_ms = self.taken_back.get(&r.id).and_then(|taken| taken.answered_ms);
            answered_ms.is_some_and(|answered| r.at > answered + RECALL_MS[usize::from(self.faults)])
        };
        let strays = self.receipts.iter().filter(stray).map(|r| format!("client {} got {}", r.client, r.id));
        let late = self.receipts.iter().filter(late);
        strays.chain(late.map(|r| format!("client {} got {} after it was taken back", r.client, r.id))).collect()
    }

    /// Sessions that got what was taken back and were not told of it.
    pub fn untold(&self) -> Vec<String> {
        let stands = |conn: usize| !self.conns[conn].left;
        let untold = |r: &&crate::client::Receipt| {
            stands(r.conn) && self.is_taken_back(&r.id) && !self.told.contains(&(r.conn, r.id.clone()))
        };
        let untold = self.receipts.iter().filter(untold);
        untold.map(|r| format!("conn {} was not told that {} was taken back", r.conn, r.id)).collect()
    }

    /// Where messages replaced one another until none was left to receive. The last of a key may also have been one that
    /// expired, was taken back or asked for no acknowledgement: then nothing is promised of those whose place it took.
    pub fn swallowed(&self) -> Vec<String> {
        let mut groups: BTreeMap<(usize, u8, u8), (bool, bool)> = BTreeMap::new();
        for message in self.log.messages() {
            let Some(key) = message.collapse else { continue };
            let got = |r: &crate::client::Receipt| r.id == message.id && self.clients[r.client].user == message.user;
            let lasting = message.ack && message.expires_ms == u64::MAX && !self.is_taken_back(&message.id);
            let (reached, lasts) = groups.entry((message.user, message.lane as u8, key)).or_default();
            *reached |= self.receipts.iter().any(got);
            *lasts = lasting;
        }
        let swallowed = groups.into_iter().filter(|(_, (reached, lasts))| !reached && *lasts);
        swallowed.map(|(key, _)| format!("nothing was left of {key:?}")).collect()
    }

    /// Where a session got pushes of one user and lane in another order than they were produced. Those accepted while the
    /// session stood count, and of each the first receipt: a repetition may come at any time. Where something fails, messages to
    /// everyone do not count, nor what another session of the user got before: this one may have been none of its owner's then.
    pub fn disorder(&self) -> Vec<String> {
        let mut places = BTreeMap::new();
        for partition in self.log.0.values() {
            for (at, message) in partition.records.iter().enumerate() {
                places.insert(message.id.as_str(), (at, message));
            }
        }
        let (mut seen, mut first) = (BTreeSet::new(), BTreeSet::new());
        let mut last: BTreeMap<(usize, u8, bool), (usize, &str)> = BTreeMap::new();
        let mut found = Vec::new();
        for receipt in &self.receipts {
            let (at, message) = places[receipt.id.as_str()];
            let user = self.clients[receipt.client].user;
            if message.accepted_ms < self.conns[receipt.conn].attached_ms
                || !message.ack
                || message.collapse.is_some()
                || message.client.is_some()
                || message.others.contains(&user)
                || !seen.insert((receipt.client, receipt.id.as_str()))
                || (self.faults && (message.everyone.is_some() || !first.insert((user, receipt.id.as_str()))))
            {
                continue;
            }
            let newest =
                last.entry((receipt.conn, message.lane as u8, message.everyone.is_some())).or_insert((at, &receipt.id));
            if newest.0 > at {
                found.push(format!("conn {} got {} after {} at {}", receipt.conn, receipt.id, newest.1, receipt.at));
            }
            *newest = (*newest).max((at, &receipt.id));
        }
        found
    }
}
