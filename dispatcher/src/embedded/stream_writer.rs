//! Changes to one user's stream, on the writer's thread: each is one batch, so a crash leaves all of it or nothing.

use fjall::Slice;
use pushgate_protocol::{ids::SessionId, link::Place};

use super::{
    commit::{Turn, Write, unavailable},
    stream_state::StreamState,
    streams::{
        Tables, collapse_key, damaged, decode_push, decode_seen, decode_state, entry_key, expiry_key, index_key,
        is_everyones, position_of, seen_key, state_key, user_prefix,
    },
};
use crate::{
    limits,
    seams::{DeferredTag, DeliveryKey, Mark, StoreError, StoredPush, StreamOp, StreamOutcome},
    seen::SeenRuns,
    stored,
};

/// One user's stream while a change to it is put together.
struct Change<'a> {
    tables: &'a Tables,
    prefix: Vec<u8>,
    state: StreamState,
    writes: Vec<Write>,
}

impl Tables {
    /// Applies one operation.
    pub(super) fn apply(&self, turn: &Turn<'_>, op: StreamOp, now_ms: u64) -> Result<StreamOutcome, StoreError> {
        let mut prefix = Vec::new();
        user_prefix(op.user(), &mut prefix);
        let mut change = Change::of(self, prefix)?;
        let outcome = match op {
            StreamOp::Append { push, deferred, .. } => change.append(&push, deferred, now_ms)?.0,
            StreamOp::Publish { push, .. } => {
                let left = change.expire(now_ms)?;
                if !change.writes.is_empty() {
                    // What leaves is out of the way before anything else is looked at.
                    turn.write(std::mem::take(&mut change.writes))?;
                }
                change.publish(&push, left, now_ms)?
            }
            StreamOp::Seen { place, expires_ms, .. } => change.see(place, expires_ms, now_ms)?,
            StreamOp::Settle { key, mark, .. } => change.settle(key, mark)?,
            StreamOp::Mark { key, mark, .. } => {
                change.settle(key, mark)?;
                StreamOutcome::Marked
            }
            StreamOp::Tag { key, returned, .. } => change.tag(key, returned)?,
        };
        turn.write(change.writes)?;
        Ok(outcome)
    }

    /// Removes what expired long ago from streams that nobody touches any more.
    pub(super) fn sweep(&self, turn: &Turn<'_>, now_ms: u64) -> Result<(), StoreError> {
        for (prefix, row) in self.due.take(now_ms)? {
            let mut change = Change::of(self, prefix)?;
            change.writes.push(row);
            change.sweep(now_ms)?;
            turn.write(change.writes)?;
        }
        Ok(())
    }
}

impl<'a> Change<'a> {
    fn of(tables: &'a Tables, prefix: Vec<u8>) -> Result<Self, StoreError> {
        let state = tables.streams.get(state_key(&prefix)).map_err(|e| unavailable(&e))?;
        let state = state.map_or(Ok(StreamState::default()), |v| decode_state(&v))?;
        Ok(Self { tables, prefix, state, writes: Vec::new() })
    }

    fn append(
        &mut self,
        push: &StoredPush,
        deferred: Option<DeferredTag>,
        now_ms: u64,
    ) -> Result<(StreamOutcome, u64), StoreError> {
        let counted = deferred.is_some_and(|tag| self.state.defer(tag, now_ms));
        if let Some(mark) = self.tables.mark(&self.prefix, push.key)?.filter(|mark| mark.is_end()) {
            if counted {
                self.put_state(now_ms.saturating_add(limits::STREAM_EPISODE_KEEP_MS));
            }
            return Ok((StreamOutcome::AlreadyEnded(mark), 0));
        }
        self.writes.push(self.tables.set_mark(&self.prefix, push.key, Mark::Stored));
        if let Some((position, value)) = self.find(push.key)? {
            if let Some(returned) = push.returned {
                self.replace_returned(position, &value, returned)?;
            }
            if counted {
                self.put_state(now_ms.saturating_add(limits::STREAM_EPISODE_KEEP_MS));
            }
            return Ok((StreamOutcome::Appended { evicted: Vec::new() }, position));
        }
        let mut evicted = Vec::new();
        let collapsed = match &push.collapse {
            Some(collapse) => self.remove_collapsed(collapse, &mut evicted)?,
            None => None,
        };
        let position = self.insert(push, now_ms);
        self.evict(position, collapsed, now_ms, &mut evicted)?;
        let keep_ms = push.expires_ms.min(now_ms.saturating_add(limits::STREAM_KEEP_MS_MAX)).max(now_ms);
        self.put_state(keep_ms.saturating_add(limits::STREAM_EPISODE_KEEP_MS));
        Ok((StreamOutcome::Appended { evicted }, position))
    }

    /// Lets messages to everyone leave that have expired, wherever they stand, up to a bound.
    fn expire(&mut self, now_ms: u64) -> Result<Vec<StoredPush>, StoreError> {
        let mut left = Vec::new();
        let rows = expiry_key(&self.prefix, 0, 0)..=expiry_key(&self.prefix, now_ms, u64::MAX);
        for row in self.tables.streams.range(rows).take(limits::EXPIRED_PER_PUBLISH) {
            let row = row.key().map_err(|e| unavailable(&e))?;
            let position = position_of(&row)?;
            let value = self.tables.streams.get(entry_key(&self.prefix, position)).map_err(|e| unavailable(&e))?;
            if let Some(value) = value {
                let push = decode_push(&value)?;
                self.remove(position, value.len(), &push)?;
                self.writes.push(self.tables.set_mark(&self.prefix, push.key, Mark::Ended));
                left.push(push);
            } else {
                self.writes.push(Write::delete(&self.tables.streams, row.to_vec()));
            }
        }
        if !left.is_empty() {
            self.put_state(now_ms);
        }
        Ok(left)
    }

    fn publish(
        &mut self,
        push: &StoredPush,
        mut left: Vec<StoredPush>,
        now_ms: u64,
    ) -> Result<StreamOutcome, StoreError> {
        let known = self.state.last;
        let (StreamOutcome::Appended { evicted }, position) = self.append(push, None, now_ms)? else {
            let mark = self.tables.mark(&self.prefix, push.key)?.unwrap_or(Mark::Ended);
            return Ok(StreamOutcome::AlreadyEnded(mark));
        };
        left.extend(evicted);
        if position > known {
            let expiry = expiry_key(&self.prefix, push.expires_ms, position);
            self.writes.push(Write::put(&self.tables.streams, expiry, []));
        }
        // Rows that this change removes can still be read: a place may begin at one.
        let below = entry_key(&self.prefix, 0)..entry_key(&self.prefix, position);
        let before = self.tables.streams.range(below).next_back();
        let before = before.map(|row| row.key().map_err(|e| unavailable(&e)).and_then(|key| position_of(&key)));
        let place = Place { position, before: before.transpose()?.unwrap_or(0) };
        Ok(StreamOutcome::Published { place, evicted: left })
    }

    fn see(&mut self, place: Place, expires_ms: u64, now_ms: u64) -> Result<StreamOutcome, StoreError> {
        let key = seen_key(&self.prefix);
        let known = self.tables.streams.get(&key).map_err(|e| unavailable(&e))?;
        let (until_ms, mut runs) = known.map_or(Ok((0, SeenRuns::default())), |value| decode_seen(&value))?;
        let keep_ms = expires_ms.min(now_ms.saturating_add(limits::STREAM_KEEP_MS_MAX));
        let until_ms = until_ms.max(keep_ms.saturating_add(limits::STREAM_EPISODE_KEEP_MS));
        let noted = runs.add(place);
        let value = [&until_ms.to_le_bytes()[..], &runs.encode()].concat();
        self.writes.push(Write::put(&self.tables.streams, key, value));
        self.put_state(until_ms);
        Ok(StreamOutcome::Seen(noted))
    }

    fn settle(&mut self, key: DeliveryKey, mark: Mark) -> Result<StreamOutcome, StoreError> {
        let was = self.tables.mark(&self.prefix, key)?;
        let entry = match self.find(key)? {
            Some((position, value)) => {
                let push = decode_push(&value)?;
                self.remove(position, value.len(), &push)?;
                self.put_state(0);
                Some(Box::new(push))
            }
            None => None,
        };
        let mark = if was == Some(Mark::Delivered) { Mark::Delivered } else { mark };
        self.writes.push(self.tables.set_mark(&self.prefix, key, mark));
        Ok(StreamOutcome::Settled { entry, was })
    }

    fn tag(&mut self, key: DeliveryKey, returned: (SessionId, u64)) -> Result<StreamOutcome, StoreError> {
        if let Some((position, value)) = self.find(key)? {
            self.replace_returned(position, &value, returned)?;
        }
        Ok(StreamOutcome::Tagged)
    }

    fn sweep(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.state.due_ms = 0;
        let mut until_ms = self.state.forget_episodes(now_ms).unwrap_or(0);
        let seen = self.tables.streams.get(seen_key(&self.prefix)).map_err(|e| unavailable(&e))?;
        match seen.map(|value| decode_seen(&value)).transpose()? {
            Some((seen_ms, _)) if seen_ms > now_ms => until_ms = until_ms.max(seen_ms),
            Some(_) => self.writes.push(Write::delete(&self.tables.streams, seen_key(&self.prefix))),
            None => {}
        }
        for row in self.tables.streams.range(self.entries_from(self.state.first)) {
            let (row, value) = row.into_inner().map_err(|e| unavailable(&e))?;
            let push = decode_push(&value)?;
            if push.expires_ms <= now_ms {
                self.remove(position_of(&row)?, value.len(), &push)?;
            } else {
                until_ms = until_ms.max(push.expires_ms.min(now_ms.saturating_add(limits::STREAM_KEEP_MS_MAX)));
            }
        }
        for row in
            self.tables.streams.range(expiry_key(&self.prefix, 0, 0)..=expiry_key(&self.prefix, now_ms, u64::MAX))
        {
            let row = row.key().map_err(|e| unavailable(&e))?;
            let entry = entry_key(&self.prefix, position_of(&row)?);
            // Of an entry that this change removes the row is deleted with it, and no key may be written twice.
            if self.tables.streams.get(entry).map_err(|e| unavailable(&e))?.is_none() {
                self.writes.push(Write::delete(&self.tables.streams, row.to_vec()));
            }
        }
        if until_ms == 0 {
            self.writes.push(Write::delete(&self.tables.streams, state_key(&self.prefix)));
        } else {
            self.put_state(until_ms);
        }
        Ok(())
    }

    fn find(&self, key: DeliveryKey) -> Result<Option<(u64, Slice)>, StoreError> {
        let streams = &self.tables.streams;
        let Some(position) = streams.get(index_key(&self.prefix, key)).map_err(|e| unavailable(&e))? else {
            return Ok(None);
        };
        let position = position_of(&position)?;
        let value = streams.get(entry_key(&self.prefix, position)).map_err(|e| unavailable(&e))?;
        value.map(|value| Some((position, value))).ok_or_else(|| damaged(format!("entry {position} is missing")))
    }

    fn replace_returned(&mut self, position: u64, value: &[u8], returned: (SessionId, u64)) -> Result<(), StoreError> {
        let mut value = value.to_vec();
        let place = value.get_mut(stored::RETURNED).ok_or_else(|| damaged(format!("entry {position} is short")))?;
        place.copy_from_slice(&stored::encode_returned(Some(returned)));
        self.writes.push(Write::put(&self.tables.streams, entry_key(&self.prefix, position), value));
        Ok(())
    }

    fn insert(&mut self, push: &StoredPush, now_ms: u64) -> u64 {
        let position = stored::next_position(self.state.last, now_ms);
        let streams = &self.tables.streams;
        let value = stored::encode(push);
        self.state.bytes += value.len() as u64;
        self.state.last = position;
        if self.state.entries == 0 {
            self.state.first = position;
            self.state.first_expires_ms = Some(push.expires_ms);
        }
        self.state.entries += 1;
        self.writes.push(Write::put(streams, entry_key(&self.prefix, position), value));
        self.writes.push(Write::put(streams, index_key(&self.prefix, push.key), position.to_be_bytes()));
        if let Some(collapse) = &push.collapse {
            self.writes.push(Write::put(streams, collapse_key(&self.prefix, collapse), position.to_be_bytes()));
        }
        position
    }

    /// Removes the entry that has this collapse key; tells its position.
    fn remove_collapsed(&mut self, collapse: &str, left: &mut Vec<StoredPush>) -> Result<Option<u64>, StoreError> {
        let streams = &self.tables.streams;
        let Some(position) = streams.get(collapse_key(&self.prefix, collapse)).map_err(|e| unavailable(&e))? else {
            return Ok(None);
        };
        let position = position_of(&position)?;
        let Some(value) = streams.get(entry_key(&self.prefix, position)).map_err(|e| unavailable(&e))? else {
            return Ok(None);
        };
        let push = decode_push(&value)?;
        // The collapse key itself stays: the entry that takes its place writes it in the same batch.
        self.remove_entry(position, value.len(), &push);
        self.writes.push(self.tables.set_mark(&self.prefix, push.key, Mark::Ended));
        left.push(push);
        Ok(Some(position))
    }

    /// Lets the oldest entries before `newest` leave while a bound is passed or the oldest has expired. `gone` was removed by
    /// this change and can still be read.
    fn evict(
        &mut self,
        newest: u64,
        gone: Option<u64>,
        now_ms: u64,
        left: &mut Vec<StoredPush>,
    ) -> Result<(), StoreError> {
        let bounds = self.tables.bounds;
        let over = |s: &StreamState| s.entries > bounds.entries as u64 || s.bytes > bounds.bytes as u64;
        if !over(&self.state) && self.state.first_expires_ms.is_some_and(|expires_ms| expires_ms > now_ms) {
            return Ok(());
        }
        let rows = self.tables.streams.range(self.entries_from(self.state.first));
        for row in rows {
            let (row, value) = row.into_inner().map_err(|e| unavailable(&e))?;
            let position = position_of(&row)?;
            if position >= newest {
                break;
            }
            if Some(position) == gone {
                continue;
            }
            let push = decode_push(&value)?;
            if !over(&self.state) && push.expires_ms > now_ms {
                self.state.first = position;
                self.state.first_expires_ms = Some(push.expires_ms);
                return Ok(());
            }
            self.remove(position, value.len(), &push)?;
            self.writes.push(self.tables.set_mark(&self.prefix, push.key, Mark::Ended));
            left.push(push);
        }
        self.state.first = newest;
        self.state.first_expires_ms = None;
        Ok(())
    }

    fn remove(&mut self, position: u64, bytes: usize, push: &StoredPush) -> Result<(), StoreError> {
        let streams = &self.tables.streams;
        if let Some(collapse) = &push.collapse {
            let key = collapse_key(&self.prefix, collapse);
            let holder = streams.get(&key).map_err(|e| unavailable(&e))?;
            if holder.is_some_and(|p| position_of(&p).is_ok_and(|p| p == position)) {
                self.writes.push(Write::delete(streams, key));
            }
        }
        self.remove_entry(position, bytes, push);
        Ok(())
    }

    fn remove_entry(&mut self, position: u64, bytes: usize, push: &StoredPush) {
        let streams = &self.tables.streams;
        self.writes.push(Write::delete(streams, entry_key(&self.prefix, position)));
        self.writes.push(Write::delete(streams, index_key(&self.prefix, push.key)));
        if is_everyones(&self.prefix) {
            self.writes.push(Write::delete(streams, expiry_key(&self.prefix, push.expires_ms, position)));
        }
        self.state.entries = self.state.entries.saturating_sub(1);
        self.state.bytes = self.state.bytes.saturating_sub(bytes as u64);
        if self.state.first == position {
            self.state.first = position + 1;
            self.state.first_expires_ms = None;
        }
    }

    fn entries_from(&self, position: u64) -> std::ops::RangeInclusive<Vec<u8>> {
        entry_key(&self.prefix, position)..=entry_key(&self.prefix, u64::MAX)
    }

    /// Writes the state; a stream not yet known to the sweep is looked at then.
    fn put_state(&mut self, sweep_ms: u64) {
        if self.state.due_ms == 0 {
            self.state.due_ms = sweep_ms;
            self.writes.push(self.tables.due.add(sweep_ms, &self.prefix));
        }
        self.writes.push(Write::put(&self.tables.streams, state_key(&self.prefix), self.state.encode()));
    }
}
