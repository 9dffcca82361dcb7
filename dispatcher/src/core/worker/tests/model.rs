//! Streams and marks in memory, after the text of the seam.

use std::collections::{BTreeMap, BTreeSet};

use pushgate_protocol::link::Place;

use crate::{
    core::worker::ReadRequest,
    seams::{
        AllPage, DeliveryKey, Mark, MarkQuery, StoreError, StoredPush, StreamOp, StreamOutcome, StreamPage, UserKey,
    },
    seen::SeenRuns,
};

#[derive(Default)]
pub(in crate::core::worker) struct Model {
    pub(super) streams: BTreeMap<UserKey, BTreeMap<u64, StoredPush>>,
    pub(super) marks: BTreeMap<(UserKey, DeliveryKey), Mark>,
    deferred: BTreeMap<(UserKey, u64), u64>,
    pub(super) seen: BTreeMap<UserKey, SeenRuns>,
    /// Messages that were taken back.
    pub(super) recalled: BTreeSet<String>,
    next: u64,
    /// Every batch applied or refused.
    pub(super) batches: Vec<Vec<StreamOp>>,
    /// While set, the rig does not answer.
    pub(super) hold_marks: bool,
    pub(super) hold_ops: bool,
    /// The user whose stream and marks cannot be read.
    pub(super) damaged: Option<UserKey>,
    /// How many requests fail next.
    pub(super) failures: u32,
    /// Entries per stream.
    pub(super) bound: Option<usize>,
}

impl Model {
    fn fails<T>(&mut self) -> Option<Result<T, StoreError>> {
        self.failures = self.failures.checked_sub(1)?;
        Some(Err(StoreError::Unavailable { what: "model", detail: "asked to fail".into() }))
    }

    fn check<'a>(&self, mut users: impl Iterator<Item = &'a UserKey>) -> Result<(), StoreError> {
        match users.any(|user| self.damaged.as_ref() == Some(user)) {
            true => Err(StoreError::Damaged { what: "model", detail: "asked to be".into() }),
            false => Ok(()),
        }
    }

    pub(super) fn marks(&mut self, queries: &[MarkQuery]) -> Result<Vec<Option<Mark>>, StoreError> {
        self.check(queries.iter().map(|q| &q.user))?;
        if let Some(error) = self.fails() {
            return error;
        }
        Ok(queries.iter().map(|q| self.marks.get(&(q.user.clone(), q.key)).copied()).collect())
    }

    pub(super) fn apply(&mut self, ops: &[StreamOp], now_ms: u64) -> Result<Vec<StreamOutcome>, StoreError> {
        self.batches.push(ops.to_vec());
        self.check(ops.iter().map(|op| op.user()))?;
        if let Some(error) = self.fails() {
            return error;
        }
        Ok(ops.iter().map(|op| self.apply_one(op, now_ms)).collect())
    }

    fn apply_one(&mut self, op: &StreamOp, now_ms: u64) -> StreamOutcome {
        match op.clone() {
            StreamOp::Append { user, push, deferred } => {
                if let Some(tag) = deferred {
                    let count = self.deferred.entry((user.clone(), tag.episode)).or_default();
                    *count = (*count).max(tag.k + 1);
                }
                if let Some(&mark) = self.marks.get(&(user.clone(), push.key)).filter(|mark| mark.is_end()) {
                    return StreamOutcome::AlreadyEnded(mark);
                }
                self.marks.insert((user.clone(), push.key), Mark::Stored);
                let stream = self.streams.entry(user).or_default();
                if let Some(known) = stream.values_mut().find(|e| e.key == push.key) {
                    known.returned = push.returned.or(known.returned);
                    return StreamOutcome::Appended { evicted: Vec::new() };
                }
                let collapses = |e: &StoredPush| e.collapse.is_some() && e.collapse == push.collapse;
                let mut evicted: Vec<_> =
                    stream.extract_if(.., |_, e| e.expires_ms <= now_ms || collapses(e)).map(|(_, e)| e).collect();
                self.next += 1;
                stream.insert(self.next, *push);
                while stream.len() > self.bound.unwrap_or(usize::MAX) {
                    evicted.extend(stream.pop_first().map(|(_, e)| e));
                }
                StreamOutcome::Appended { evicted }
            }
            StreamOp::Settle { user, key, mark } => {
                let was = self.marks.insert((user.clone(), key), mark);
                let stream = self.streams.entry(user).or_default();
                let at = stream.iter().find(|(_, e)| e.key == key).map(|(at, _)| *at);
                StreamOutcome::Settled { entry: at.and_then(|at| stream.remove(&at)).map(Box::new), was }
            }
            StreamOp::Mark { user, key, mark } => {
                let delivered = self.mark(&user, key) == Some(Mark::Delivered);
                self.marks.insert((user, key), if delivered { Mark::Delivered } else { mark });
                StreamOutcome::Marked
            }
            StreamOp::Tag { user, key, returned } => {
                let stream = self.streams.entry(user).or_default();
                stream.values_mut().filter(|e| e.key == key).for_each(|e| e.returned = Some(returned));
                StreamOutcome::Tagged
            }
            StreamOp::Publish { user, push } => {
                let (key, mark) = (push.key, self.mark(&user, push.key));
                if let Some(mark) = mark.filter(|mark| mark.is_end()) {
                    return StreamOutcome::AlreadyEnded(mark);
                }
                self.marks.insert((user.clone(), key), Mark::Stored);
                let stream = self.streams.entry(user).or_default();
                if !stream.values().any(|e| e.key == key) {
                    self.next += 1;
                    stream.insert(self.next, *push);
                }
                let at = stream.iter().find(|(_, e)| e.key == key).map_or(0, |(at, _)| *at);
                let before = stream.range(..at).next_back().map_or(0, |(at, _)| *at);
                StreamOutcome::Published { place: Place { position: at, before }, evicted: Vec::new() }
            }
            StreamOp::Seen { user, place, .. } => StreamOutcome::Seen(self.seen.entry(user).or_default().add(place)),
        }
    }

    pub(super) fn read(&mut self, read: &ReadRequest, now_ms: u64) -> Result<StreamPage, StoreError> {
        if let Some(error) = self.fails() {
            return error;
        }
        let stream = self.streams.get(&read.user).cloned().unwrap_or_default();
        let (mut entries, mut expired) = (Vec::new(), Vec::new());
        for (at, entry) in stream.range(read.after + 1..) {
            match entry.expires_ms > now_ms {
                true => entries.push((*at, entry.clone())),
                false => expired.push(entry.clone()),
            }
        }
        let end = entries.len() <= read.limit;
        entries.truncate(read.limit);
        let deferred = self.deferred.get(&(read.user.clone(), read.episode)).copied().unwrap_or(0);
        Ok(StreamPage { entries, end, deferred, expired })
    }

    pub(super) fn read_all(&mut self, read: &ReadRequest, now_ms: u64) -> Result<AllPage, StoreError> {
        let everyone = ReadRequest { user: UserKey::everyone(read.user.app.clone()), ..read.clone() };
        let seen = self.seen.get(&read.user).cloned().unwrap_or_default();
        Ok(AllPage::of(self.read(&everyone, now_ms)?, read.after, &seen, &read.user.user))
    }

    /// Ids in a user's stream.
    pub(super) fn stream(&self, user: &UserKey) -> Vec<String> {
        self.streams.get(user).into_iter().flat_map(|s| s.values()).map(|e| e.id.to_string()).collect()
    }

    pub(super) fn mark(&self, user: &UserKey, key: DeliveryKey) -> Option<Mark> {
        self.marks.get(&(user.clone(), key)).copied()
    }
}
