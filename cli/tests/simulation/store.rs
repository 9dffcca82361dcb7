//! Streams, marks and results as a durable store keeps them, after the text of the seams.

use std::collections::{BTreeMap, BTreeSet};

use pushgate_dispatcher::{
    core::worker::{CHANNEL, Finished, ReadRequest},
    seams::{
        AllPage, DeliveryKey, Mark, MarkQuery, MessageKey, MessageView, RecipientView, StateChange, StoredPush,
        StreamOp, StreamOutcome, StreamPage, UserKey,
    },
    seen::SeenRuns,
    states::is_end,
};
use pushgate_protocol::{
    ids::{DeviceId, MessageId, UserId},
    link::Place,
    result::{Recipient, State},
};

/// What survives every crash.
#[derive(Default)]
pub struct Store {
    streams: BTreeMap<UserKey, BTreeMap<u64, StoredPush>>,
    marks: BTreeMap<(UserKey, DeliveryKey), Mark>,
    /// Numbers taken, by episode.
    deferred: BTreeMap<(UserKey, u64), BTreeSet<u64>>,
    pub seen: BTreeMap<UserKey, SeenRuns>,
    next: u64,
    /// Messages that were taken back.
    pub recalled: BTreeSet<String>,
    /// States of each message and recipient, in the order recorded.
    pub results: BTreeMap<(String, String), Vec<State>>,
}

impl Store {
    pub fn marks(&self, queries: &[MarkQuery]) -> Vec<Option<Mark>> {
        queries.iter().map(|q| self.marks.get(&(q.user.clone(), q.key)).copied()).collect()
    }

    /// Marks of what is to be appended are gone.
    pub fn forget(&mut self, ops: &[StreamOp]) {
        for op in ops {
            if let StreamOp::Append { user, push, .. } = op {
                self.marks.remove(&(user.clone(), push.key));
            }
        }
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
            StreamOp::Mark { user, key, mark } => {
                let slot = (user, key);
                if self.marks.get(&slot) != Some(&Mark::Delivered) {
                    self.marks.insert(slot, mark);
                }
                StreamOutcome::Marked
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
        let first = self.read(&everyone, now_ms).entries.first().map(|(at, _)| *at);
        let after = first.and_then(|at| seen.end_of_run(at)).unwrap_or(read.after);
        let from = ReadRequest { after, ..everyone };
        AllPage::of(self.read(&from, now_ms), after, &seen, &read.user.user)
    }

    pub fn is_recalled(&self, id: &MessageId) -> bool {
        self.recalled.contains(id.as_str())
    }

    pub fn are_recalled(&self, messages: &[MessageKey]) -> Vec<bool> {
        messages.iter().map(|message| self.is_recalled(&message.id)).collect()
    }

    /// A state that is recorded.
    pub fn note(&mut self, change: &StateChange) {
        let key = (change.message.to_string(), name_of(&change.recipient));
        self.results.entry(key).or_default().push(change.state);
    }

    /// Who has which state of a message.
    pub fn view(&self, id: &MessageId) -> MessageView {
        let of_message = self.results.iter().filter(|((message, _), _)| message == id.as_str());
        let view = |((_, name), states): (&(String, String), &Vec<State>)| {
            let mut parts = name.splitn(2, '/');
            let user = parts.next().and_then(|user| UserId::parse(user).ok()).expect("it was one");
            let device = parts.next().and_then(|device| DeviceId::parse(device).ok());
            let state = states.iter().find(|state| is_end(**state)).or(states.last()).copied().expect("it has a state");
            let recipient = Recipient { user, device };
            RecipientView { recipient, channel: CHANNEL.into(), state, reason: None, history: Vec::new() }
        };
        let recipients = of_message.map(view).collect();
        MessageView { id: id.clone(), summary: BTreeMap::new(), recipients, next: None, recalled_ms: None }
    }

    /// Messages in any stream that were taken back.
    pub fn stored_though_recalled(&self) -> Vec<String> {
        let entries = self.streams.iter().flat_map(|(user, s)| s.values().map(move |e| (user, e)));
        let recalled = entries.filter(|(_, e)| self.is_recalled(&e.id));
        recalled.map(|(user, e)| format!("{} of {}", e.id, user.user)).collect()
    }

    pub fn publish(&mut self, finished: &[Finished]) {
        for f in finished {
            let recipient = name_of(&f.recipient);
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

fn name_of(recipient: &Recipient) -> String {
    match &recipient.device {
        Some(device) => format!("{}/{device}", recipient.user),
        None => recipient.user.to_string(),
    }
}
