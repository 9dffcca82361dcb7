//! Streams and marks in memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pushgate_protocol::link::Place;

use crate::{
    limits::EXPIRED_PER_PUBLISH,
    marks,
    seams::{
        BoxFuture, DeliveryKey, Mark, MarkQuery, StoreError, StoredPush, StreamOp, StreamOutcome, StreamPage, Streams,
        UserKey,
    },
    seen::SeenRuns,
    stored::{self, StreamBounds},
};

/// The order of marks.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// [`Streams`] in memory. Episodes and empty streams are kept for ever: simulations are short.
pub struct MemoryStreams {
    bounds: StreamBounds,
    users: Mutex<HashMap<UserKey, User>>,
    /// What marks take at most: changes since they were last reckoned up count as marks.
    reckoned: AtomicU64,
}

#[derive(Default)]
struct User {
    last: u64,
    entries: BTreeMap<u64, StoredPush>,
    /// With the order in which they were set.
    marks: HashMap<(u64, DeliveryKey), (Mark, u64)>,
    deferred: HashMap<u64, BTreeSet<u64>>,
    seen: SeenRuns,
}

impl MemoryStreams {
    /// Empty streams.
    pub fn new(bounds: StreamBounds) -> Self {
        Self { bounds, users: Mutex::default(), reckoned: AtomicU64::new(0) }
    }

    /// Past the bound the oldest marks leave.
    fn relieve(&self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |users: &HashMap<UserKey, User>| -> u64 {
            users.iter().map(|(name, user)| marks::bytes_of(name) * user.marks.len() as u64).sum()
        };
        while taken(&users) > self.bounds.mark_bytes {
            let of = |(name, user): (&UserKey, &User)| {
                user.marks.iter().map(|(key, (_, set))| (*set, name.clone(), *key)).min_by_key(|(set, ..)| *set)
            };
            let Some((_, name, key)) = users.iter().filter_map(of).min_by_key(|(set, ..)| *set) else { return };
            if let Some(user) = users.get_mut(&name) {
                user.marks.remove(&key);
            }
        }
        self.reckoned.store(taken(&users), Ordering::Relaxed);
    }

    fn with<T>(&self, user: &UserKey, f: impl FnOnce(&mut User) -> T) -> T {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        f(users.entry(user.clone()).or_default())
    }
}

impl Streams for MemoryStreams {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        let window = now_ms / self.bounds.mark_window_ms;
        let marks = queries.iter().map(|q| self.with(&q.user, |user| user.mark(window, q.key))).collect();
        Box::pin(async { Ok(marks) })
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        let apply = |op| match op {
            StreamOp::Append { user, push, deferred } => self.with(&user, |user| {
                if let Some(tag) = deferred {
                    user.deferred.entry(tag.episode).or_default().insert(tag.k);
                }
                user.append(*push, now_ms, &self.bounds)
            }),
            StreamOp::Settle { user, key, mark } => self.with(&user, |user| {
                let window = now_ms / self.bounds.mark_window_ms;
                let was = user.mark(window, key);
                let mark = if was == Some(Mark::Delivered) { Mark::Delivered } else { mark };
                user.set_mark(window, key, mark);
                let entry = user.position(key).and_then(|p| user.entries.remove(&p)).map(Box::new);
                StreamOutcome::Settled { entry, was }
            }),
            StreamOp::Mark { user, key, mark } => self.with(&user, |user| {
                let window = now_ms / self.bounds.mark_window_ms;
                let stays = user.mark(window, key) == Some(Mark::Delivered);
                user.set_mark(window, key, if stays { Mark::Delivered } else { mark });
                StreamOutcome::Marked
            }),
            StreamOp::Tag { user, key, returned } => self.with(&user, |user| {
                if let Some(entry) = user.position(key).and_then(|p| user.entries.get_mut(&p)) {
                    entry.returned = Some(returned);
                }
                StreamOutcome::Tagged
            }),
            StreamOp::Publish { user, push } => self.with(&user, |user| {
                let key = push.key;
                let mut left = user.expire(now_ms, &self.bounds);
                let outcome = match user.append(*push, now_ms, &self.bounds) {
                    StreamOutcome::Appended { evicted } => {
                        left.extend(evicted);
                        StreamOutcome::Appended { evicted: left }
                    }
                    outcome => outcome,
                };
                user.published(key, outcome)
            }),
            StreamOp::Seen { user, place, .. } => self.with(&user, |user| StreamOutcome::Seen(user.seen.add(place))),
        };
        let more: u64 = ops.iter().map(|op| marks::bytes_of(op.user())).sum();
        let outcomes = ops.into_iter().map(apply).collect();
        if self.reckoned.fetch_add(more, Ordering::Relaxed) + more > self.bounds.mark_bytes {
            self.relieve();
        }
        Box::pin(async { Ok(outcomes) })
    }

    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        let page = self.with(&user, |user| {
            let deferred = user.deferred.get(&episode).map_or(0, |ks| ks.len() as u64);
            let mut page = StreamPage { deferred, end: true, ..StreamPage::default() };
            for (position, push) in user.entries.range(after.saturating_add(1)..) {
                if push.expires_ms <= now_ms {
                    page.expired.push(push.clone());
                } else if page.entries.len() < limit {
                    page.entries.push((*position, push.clone()));
                } else {
                    page.end = false;
                    break;
                }
            }
            page
        });
        Box::pin(async { Ok(page) })
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        let seen = self.with(&user, |user| user.seen.clone());
        Box::pin(async { Ok(seen) })
    }
}

impl User {
    fn set_mark(&mut self, window: u64, key: DeliveryKey, mark: Mark) {
        self.marks.insert((window, key), (mark, NEXT.fetch_add(1, Ordering::Relaxed)));
    }

    fn mark(&self, window: u64, key: DeliveryKey) -> Option<Mark> {
        let windows = [Some(window), window.checked_sub(1)];
        windows.into_iter().flatten().find_map(|w| self.marks.get(&(w, key)).map(|(mark, _)| *mark))
    }

    fn position(&self, key: DeliveryKey) -> Option<u64> {
        self.entries.iter().find(|(_, push)| push.key == key).map(|(position, _)| *position)
    }

    fn append(&mut self, push: StoredPush, now_ms: u64, bounds: &StreamBounds) -> StreamOutcome {
        let window = now_ms / bounds.mark_window_ms;
        if let Some(mark) = self.mark(window, push.key).filter(|mark| mark.is_end()) {
            return StreamOutcome::AlreadyEnded(mark);
        }
        self.set_mark(window, push.key, Mark::Stored);
        if let Some(position) = self.position(push.key) {
            if let Some(entry) = self.entries.get_mut(&position) {
                entry.returned = push.returned.or(entry.returned);
            }
            return StreamOutcome::Appended { evicted: Vec::new() };
        }
        let collapses = |older: &StoredPush| push.collapse.is_some() && older.collapse == push.collapse;
        let mut leave: Vec<u64> = self.entries.iter().filter(|(_, e)| collapses(e)).map(|(p, _)| *p).collect();
        let mut evicted: Vec<StoredPush> = leave.drain(..).filter_map(|p| self.entries.remove(&p)).collect();
        self.last = stored::next_position(self.last, now_ms);
        self.entries.insert(self.last, push);
        while self.entries.len() > 1 && self.oldest_leaves(now_ms, bounds) {
            evicted.extend(self.entries.pop_first().map(|(_, push)| push));
        }
        evicted.iter().for_each(|push| self.set_mark(window, push.key, Mark::Ended));
        StreamOutcome::Appended { evicted }
    }

    /// Lets the oldest of what has expired leave, up to a bound.
    fn expire(&mut self, now_ms: u64, bounds: &StreamBounds) -> Vec<StoredPush> {
        let expired = self.entries.iter().filter(|(_, push)| push.expires_ms <= now_ms);
        let mut expired: Vec<(u64, u64)> = expired.map(|(position, push)| (push.expires_ms, *position)).collect();
        expired.sort_unstable();
        let expired = expired.into_iter().take(EXPIRED_PER_PUBLISH);
        let left: Vec<StoredPush> = expired.filter_map(|(_, position)| self.entries.remove(&position)).collect();
        let window = now_ms / bounds.mark_window_ms;
        left.iter().for_each(|push| self.set_mark(window, push.key, Mark::Ended));
        left
    }

    /// The place of what was appended.
    fn published(&self, key: DeliveryKey, outcome: StreamOutcome) -> StreamOutcome {
        match (outcome, self.position(key)) {
            (StreamOutcome::Appended { evicted }, Some(position)) => {
                let before = self.entries.range(..position).next_back().map_or(0, |(before, _)| *before);
                StreamOutcome::Published { place: Place { position, before }, evicted }
            }
            (outcome, _) => outcome,
        }
    }

    fn oldest_leaves(&self, now_ms: u64, bounds: &StreamBounds) -> bool {
        let bytes: usize = self.entries.values().map(|push| stored::encode(push).len()).sum();
        let expired = self.entries.values().next().is_some_and(|push| push.expires_ms <= now_ms);
        expired || self.entries.len() > bounds.entries || bytes > bounds.bytes
    }
}
