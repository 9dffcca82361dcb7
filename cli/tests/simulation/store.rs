//! Streams, marks and results as a durable store keeps them, after the text of the seams.

use std::collections::BTreeMap;

use pushgate_dispatcher::{
    core::worker::{Finished, ReadRequest},
    seams::{DeliveryKey, Mark, MarkQuery, StoredPush, StreamOp, StreamOutcome, StreamPage, UserKey},
};
use pushgate_protocol::result::State;

/// What survives every crash.
#[derive(Default)]
pub struct Store {
    streams: BTreeMap<UserKey, BTreeMap<u64, StoredPush>>,
    marks: BTreeMap<(UserKey, DeliveryKey), Mark>,
    deferred: BTreeMap<(UserKey, u64), u64>,
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
                    let count = self.deferred.entry((user.clone(), tag.episode)).or_default();
                    *count = (*count).max(tag.k + 1);
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
                let expired: Vec<u64> =
                    stream.iter().filter(|(_, e)| e.expires_ms <= now_ms).map(|(at, _)| *at).collect();
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
        page.deferred = self.deferred.get(&(read.user.clone(), read.episode)).copied().unwrap_or(0);
        page
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
        let entries = self.streams.iter().flat_map(|(user, s)| s.values().map(move |e| (user, e)));
        entries.filter(|(_, e)| e.expires_ms > now_ms).map(|(user, e)| format!("{} of {}", e.id, user.user)).collect()
    }
}
