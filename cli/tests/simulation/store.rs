//! Streams, marks and results as a durable store keeps them, after the text of the seams.

use std::collections::{BTreeMap, BTreeSet};

use pushgate_dispatcher::{
    core::worker::{Finished, ReadRequest},
    seams::{AllPage, DeliveryKey, Mark, MarkQuery, StoredPush, StreamOp, StreamOutcome, StreamPage, UserKey},
    seen::SeenRuns,
};
use pushgate_protocol::{link::Place, result::State};

/// What survives every crash.
#[derive(Default)]
pub struct Store {
    streams: BTreeMap<UserKey, BTreeMap<u64, StoredPush>>,
    marks: BTreeMap<(UserKey, DeliveryKey), Mark>,
    /// Numbers taken, by episode.
    deferred: BTreeMap<(UserKey, u64), BTreeSet<u64>>,
    pub seen: BTreeMap<UserKey, SeenRuns>,
    next: u64,
    /// States of each message and recipient, in the order recorded.
    pub results: BTreeMap<(String, String), Vec<State>>,
}

impl Store {
    pub fn marks(&self, queries: &[MarkQuery]) -> Vec<Option<Mark>> {
        queries.iter().map(|q| self.marks.get(&(q.user.clone(), q.key)).copied()).collect()
    }

    pub fn apply(&mut self, ops: &[StreamOp], now_ms: u64) -> Vec<StreamOutcome> {
        ops.iter().map(|op| self.apply_one(op.clone(), now_ms)).collect()
    }

    fn apply_one(&mut self, op: StreamOp, now_ms: u64) -> StreamOutcome {
        match op {
            StreamOp::Append { user, push, deferred } => {
                if let Some(tag) = deferred {
                    self.deferred.entry((user.clone(), tag.episode)).or_default().insert(tag.k);
                }
                if let Some(&mark @ (Mark::Delivered | Mark::Ended)) = self.marks.get(&(user.clone(), push.key)) {
                    return StreamOutcome::AlreadyEnded(mark);
                }
                self.marks.insert((user.clone(), push.key), Mark::Stored);
                let stream = self.streams.entry(user.clone()).or_default();
                if let Some(known) = stream.values_mut().find(|e| e.key == push.key) {
                    known.returned = push.returned.or(known.returned);
                    return StreamOutcome::Appended { evicted: Vec::new() };
                }
                let collapses = |e: &StoredPush| e.collapse.is_some() && e.collapse == push.collapse;
                let expired: Vec<u64> =
                    stream.iter().filter(|(_, e)| e.expires_ms <= now_ms || collapses(e)).map(|(at, _)| *at).collect();
                let evicted: Vec<_> = expired.iter().filter_map(|at| stream.remove(at)).collect();
                self.next += 1;
                stream.insert(self.next, *push);
                for gone in &evicted {
                    self.marks.insert((user.clone(), gone.key), Mark::Ended);
                }
                StreamOutcome::Appended { evicted }
            }
            StreamOp::Settle { user, key, mark } => {
                let slot = (user.clone(), key);
                let was = self.marks.get(&slot).copied();
                if was != Some(Mark::Delivered) {
                    self.marks.insert(slot, mark);
                }
                let stream = self.streams.entry(user).or_default();
                let at = stream.iter().find(|(_, e)| e.key == key).map(|(at, _)| *at);
                StreamOutcome::Settled { entry: at.and_then(|at| stream.remove(&at)).map(Box::new), was }
            }
            StreamOp::Tag { user, key, returned } => {
                let stream = self.streams.entry(user).or_default();
                stream.values_mut().filter(|e| e.key == key).for_each(|e| e.returned = Some(returned));
                StreamOutcome::Tagged
            }
            StreamOp::Publish { user, push } => {
                let key = push.key;
                let append = StreamOp::Append { user: user.clone(), push, deferred: None };
                let StreamOutcome::Appended { evicted } = self.apply_one(append, now_ms) else {
                    return StreamOutcome::AlreadyEnded(self.marks[&(user, key)]);
                };
                let stream = &self.streams[&user];
                let position = stream.iter().find(|(_, e)| e.key == key).map_or(0, |(at, _)| *at);
                let before = stream.range(..position).next_back().map_or(0, |(at, _)| *at);
                StreamOutcome::Published { place: Place { position, before }, evicted }
            }
            StreamOp::Seen { user, place, .. } => StreamOutcome::Seen(self.seen.entry(user).or_default().add(place)),
        }
    }

    pub fn read(&self, read: &ReadRequest, now_ms: u64) -> StreamPage {
        let mut page = StreamPage { end: true, ..StreamPage::default() };
        let stream = self.streams.get(&read.user);
        for (at, entry) in stream.into_iter().flat_map(|s| s.range(read.after + 1..)) {
            if page.entries.len() == read.limit {
                page.end = false;
                break;
            }
            match entry.expires_ms > now_ms {
                true => page.entries.push((*at, entry.clone())),
                false => page.expired.push(entry.clone()),
            }
        }
        page.deferred = self.deferred.get(&(read.user.clone(), read.episode)).map_or(0, |ks| ks.len() as u64);
        page
    }

    pub fn read_all(&self, read: &ReadRequest, now_ms: u64) -> AllPage {
        let everyone = ReadRequest { user: UserKey::everyone(read.user.app.clone()), ..read.clone() };
        let seen = self.seen.get(&read.user).cloned().unwrap_or_default();
        AllPage::of(self.read(&everyone, now_ms), read.after, &seen, &read.user.user)
    }

    /// A state that a caller recorded.
    pub fn note(&mut self, id: &str, recipient: &str, state: State) {
        self.results.entry((id.into(), recipient.into())).or_default().push(state);
    }

    pub fn publish(&mut self, finished: &[Finished]) {
        for f in finished {
            let recipient = match &f.recipient.device {
                Some(device) => format!("{}/{device}", f.recipient.user),
                None => f.recipient.user.to_string(),
            };
            self.results.entry((f.record.message.to_string(), recipient)).or_default().push(f.record.state);
        }
    }

    /// What lies in streams and has not expired.
    pub fn stored(&self, now_ms: u64) -> Vec<String> {
        // What went to everyone stays until it expires.
        let of_users = self.streams.iter().filter(|(user, _)| !user.user.is_everyone());
        let entries = of_users.flat_map(|(user, s)| s.values().map(move |e| (user, e)));
        entries.filter(|(_, e)| e.expires_ms > now_ms).map(|(user, e)| format!("{} of {}", e.id, user.user)).collect()
    }
}
