//! The schedule on the embedded store.
//!
//! Keyspace `tasks`: app 00 id → place (kind, time) and head. `task_bodies`: app 00 id → body. `tasks_at`, the order of time: shard, kind, time,
//! app 00 id → nothing. All changes are made on the writer's thread, one batch each.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fjall::{Keyspace, Readable, Slice};
use pushgate_protocol::ids::MessageId;

use super::{
    EmbeddedStore,
    commit::{Turn, Write, unavailable},
    task_row::{Kind, Place, Row, at_key, key_of, row_key, span, time_of},
};
use crate::{
    limits::{
        CLAIM_BYTES_MAX, ENDED_TASK_KEEP_MS, ENDED_TASKS_MAX, ENDED_TRIM_MAX, LEASE_DOUBT_MS, LEASE_MS_MAX,
        SCHEDULE_SHARDS,
    },
    schedule::head,
    seams::{
        Added, BoxFuture, Change, Changed, Claim, Claimed, Found, ScheduleStore, Seen, Settled, Settlement, Standing,
        StoreError, Task, TaskHead, TaskKey, TaskQuery, Unreadable,
    },
};

/// The clock: Unix milliseconds.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// [`ScheduleStore`] on an [`EmbeddedStore`].
pub struct EmbeddedSchedule {
    store: Arc<EmbeddedStore>,
    tables: Arc<Tables>,
    clock: Clock,
}

struct Tables {
    tasks: Keyspace,
    bodies: Keyspace,
    at: Keyspace,
    /// Tasks that ended, of each shard.
    ended: Mutex<Vec<usize>>,
}

impl EmbeddedSchedule {
    /// The schedule of this store, by this clock (Unix milliseconds).
    pub fn new(store: Arc<EmbeddedStore>, clock: Clock) -> Result<Self, StoreError> {
        let at = store.keyspace("tasks_at")?;
        let ended = |shard| at.prefix([shard as u8, Kind::Ended as u8]).count();
        let ended = Mutex::new((0..SCHEDULE_SHARDS).map(ended).collect());
        let (tasks, bodies) = (store.keyspace("tasks")?, store.keyspace("task_bodies")?);
        Ok(Self { store, tables: Arc::new(Tables { tasks, bodies, at, ended }), clock })
    }

    /// What a claim would find, read without the writer's thread: the next time, if none has come.
    fn nothing_due(&self, shards: &[u16], now_ms: u64) -> Result<Option<Claimed>, StoreError> {
        let view = self.store.durable();
        let mut next_ms = None;
        for shard in shards {
            for kind in [Kind::Due, Kind::Leased] {
                let range = view.range(&self.tables.at, span(*shard, kind, 0, u64::MAX));
                let mut ends = range.map(|row| row.key().map_err(|e| unavailable(&e)).map(|key| time_of(&key)));
                let Some(first_ms) = ends.next().transpose()? else { continue };
                if first_ms <= now_ms || kind == Kind::Leased && doubtful(&view, &self.tables.at, *shard, now_ms)? {
                    return Ok(None);
                }
                next_ms = Some(next_ms.map_or(first_ms, |next: u64| next.min(first_ms)));
            }
        }
        Ok(Some(Claimed { now_ms, next_ms, ..Claimed::default() }))
    }
}

impl ScheduleStore for EmbeddedSchedule {
    fn add(&self, tasks: Vec<Task>) -> BoxFuture<'_, Result<Vec<Added>, StoreError>> {
        let tables = self.tables.clone();
        self.store.update(move |turn| tasks.into_iter().map(|task| tables.add(turn, task)).collect())
    }

    fn claim(&self, shards: Vec<u16>, max: usize, lease_ms: u64) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        let now_ms = (self.clock)();
        let (tables, nothing) = (self.tables.clone(), self.nothing_due(&shards, now_ms));
        Box::pin(async move {
            if let Some(nothing) = nothing? {
                return Ok(nothing);
            }
            let lease_ms = now_ms + lease_ms.min(LEASE_MS_MAX);
            let claim = move |turn: &Turn<'_>| {
                let mut claimed = Claimed { now_ms, ..Claimed::default() };
                for shard in shards {
                    tables.claim(turn, shard, max, lease_ms, &mut claimed)?;
                }
                Ok(claimed)
            };
            self.store.update(claim).await
        })
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>> {
        let (tables, now_ms) = (self.tables.clone(), (self.clock)());
        self.store.update(move |turn| settlements.into_iter().map(|s| tables.settle(turn, s, now_ms)).collect())
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, StoreError>> {
        let (tables, now_ms) = (self.tables.clone(), (self.clock)());
        self.store.update(move |turn| tables.change(turn, change, now_ms))
    }

    fn tasks(&self, query: TaskQuery) -> BoxFuture<'_, Result<Vec<Found>, StoreError>> {
        let seen = || {
            let (view, tables) = (self.store.durable(), &self.tables);
            let first = |id: &MessageId| row_key(&TaskKey { app: query.app.clone(), id: id.clone() });
            let prefix = [query.app.as_str().as_bytes(), &[0]].concat();
            let end = [query.app.as_str().as_bytes(), &[1]].concat();
            let from = match (&query.id, &query.after) {
                (Some(id), _) => first(id),
                // Ids hold no control characters: this is the first key behind.
                (None, Some(after)) => [first(after).as_slice(), &[0]].concat(),
                (None, None) => prefix,
            };
            let limit = if query.id.is_some() { query.limit.min(1) } else { query.limit };
            let mut seen = Vec::new();
            for row in view.range(&tables.tasks, from..end) {
                if seen.len() >= limit {
                    break;
                }
                let (key, value) = row.into_inner().map_err(|e| unavailable(&e))?;
                let Some(task_key) = key_of(&key) else {
                    tracing::warn!(name = %key.escape_ascii(), "what is in a task's place has no name of one");
                    continue;
                };
                if query.id.as_ref().is_some_and(|id| *id != task_key.id) {
                    break;
                }
                let Some(Row { place, head }) = Row::decode(&value) else {
                    let later = value.get(9..).is_some_and(head::is_later);
                    seen.push(Found::Unreadable(Unreadable { key: task_key, later }));
                    continue;
                };
                let body = view.get(&tables.bodies, &key).map_err(|e| unavailable(&e))?;
                let body = body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&body));
                let task = Task { key: task_key, head, body };
                seen.push(Found::Task(Seen { task, claimed: place.kind == Kind::Leased }));
            }
            Ok(seen)
        };
        let seen = seen();
        Box::pin(async { seen })
    }
}

impl Tables {
    /// The row, if there is one; nothing within if it cannot be read.
    fn row(&self, key: &[u8]) -> Result<Option<Option<Row>>, StoreError> {
        let value = self.tasks.get(key).map_err(|e| unavailable(&e))?;
        Ok(value.map(|value| Row::decode(&value)))
    }

    fn body(&self, key: &[u8]) -> Result<Bytes, StoreError> {
        let body = self.bodies.get(key).map_err(|e| unavailable(&e))?;
        Ok(body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(&body)))
    }

    fn add(&self, turn: &Turn<'_>, task: Task) -> Result<Added, StoreError> {
        let key = row_key(&task.key);
        if let Some(known) = self.row(&key)? {
            let same = known.is_some_and(|known| known.head.hash == task.head.hash);
            return Ok(if same { Added::Known } else { Added::Conflict });
        }
        let place = Place { kind: Kind::Due, time_ms: task.head.due_ms };
        turn.write(vec![
            Write::put(&self.at, at_key(task.key.shard(), place, &key), []),
            Write::put(&self.bodies, key.clone(), task.body.to_vec()),
            Write::put(&self.tasks, key, Row { place, head: task.head }.encode()),
        ])?;
        Ok(Added::New)
    }

    fn claim(
        &self,
        turn: &Turn<'_>,
        shard: u16,
        max: usize,
        lease_ms: u64,
        claimed: &mut Claimed,
    ) -> Result<(), StoreError> {
        let now_ms = claimed.now_ms;
        let (mut taken, mut bytes, mut writes) = (0, 0, Vec::new());
        let doubtful = span(shard, Kind::Leased, now_ms + LEASE_DOUBT_MS + 1, u64::MAX);
        let due = [span(shard, Kind::Leased, 0, now_ms), doubtful, span(shard, Kind::Due, 0, now_ms)];
        for row in due.into_iter().flat_map(|range| self.at.range(range)) {
            if taken >= max || bytes >= CLAIM_BYTES_MAX {
                break;
            }
            let at = row.key().map_err(|e| unavailable(&e))?;
            let key = &at[10..];
            let value = self.tasks.get(key).map_err(|e| unavailable(&e))?;
            let read = value.as_deref().and_then(Row::decode).and_then(|row| Some((key_of(key)?, row)));
            let Some((task_key, row)) = read else {
                (taken, claimed.unreadable) = (taken + 1, claimed.unreadable + 1);
                self.set_aside(shard, at, value, lease_ms, &mut writes);
                continue;
            };
            let task = Task { key: task_key, head: row.head.clone(), body: self.body(key)? };
            let place = Place { kind: Kind::Leased, time_ms: lease_ms };
            writes.push(Write::put(&self.at, at_key(shard, place, key), []));
            writes.push(Write::put(&self.tasks, key.to_vec(), Row { place, ..row }.encode()));
            writes.push(Write::delete(&self.at, at.clone()));
            (taken, bytes) = (taken + 1, bytes + task.body.len());
            claimed.claims.push(Claim { task, lease_ms });
        }
        turn.write(writes)?;
        for kind in [Kind::Due, Kind::Leased] {
            let first = self.at.range(span(shard, kind, 0, u64::MAX)).next();
            let first = first.map(|row| row.key().map(|key| time_of(&key))).transpose().map_err(|e| unavailable(&e))?;
            claimed.next_ms = [claimed.next_ms, first].into_iter().flatten().min();
        }
        Ok(())
    }

    /// Lets a task that cannot be read be due no more; what a later version wrote comes again when a lease is over.
    fn set_aside(&self, shard: u16, at: Slice, value: Option<Slice>, lease_ms: u64, writes: &mut Vec<Write>) {
        let key = &at[10..];
        match value.as_deref().and_then(|value| value.get(9..)) {
            Some(head) if head::is_later(head) => {
                let place = Place { kind: Kind::Leased, time_ms: lease_ms };
                writes.push(Write::put(&self.at, at_key(shard, place, key), []));
                writes.push(Write::put(&self.tasks, key.to_vec(), [&place.encode()[..], head].concat()));
            }
            _ => tracing::error!(shard, task = %key.escape_ascii(), "a task is damaged and will not be sent"),
        }
        writes.push(Write::delete(&self.at, at));
    }

    fn settle(&self, turn: &Turn<'_>, s: Settlement, now_ms: u64) -> Result<Settled, StoreError> {
        let key = row_key(&s.key);
        let lease = Place { kind: Kind::Leased, time_ms: s.lease_ms };
        let Some(row) = self.row(&key)?.flatten().filter(|row| row.place == lease) else { return Ok(Settled::Lost) };
        if row.head.revision != s.head.revision {
            let body = self.body(&key)?;
            return Ok(Settled::Changed(Box::new(Task { key: s.key, head: row.head, body })));
        }
        self.put(turn, (&s.key, &key), row.place, (s.head, None, s.standing), now_ms)?;
        Ok(Settled::Done)
    }

    fn change(&self, turn: &Turn<'_>, change: Change, now_ms: u64) -> Result<Changed, StoreError> {
        let key = row_key(&change.key);
        let Some(row) = self.row(&key)? else { return Ok(Changed::Unknown) };
        let Some(row) = row else { return Ok(Changed::Conflict) };
        if row.head == change.head {
            return Ok(Changed::Done);
        }
        if row.head.revision + 1 != change.head.revision {
            return Ok(Changed::Conflict);
        }
        if row.place.kind == Kind::Leased {
            let mut writes = vec![Write::put(&self.tasks, key.clone(), Row { head: change.head, ..row }.encode())];
            writes.extend(change.body.map(|body| Write::put(&self.bodies, key, body.to_vec())));
            turn.write(writes)?;
        } else {
            let new = (change.head, change.body, change.standing);
            self.put(turn, (&change.key, &key), row.place, new, now_ms)?;
        }
        Ok(Changed::Done)
    }

    /// Puts a task that stood at `from` to where it stands now.
    fn put(
        &self,
        turn: &Turn<'_>,
        (task, key): (&TaskKey, &[u8]),
        from: Place,
        (head, body, standing): (TaskHead, Option<Bytes>, Standing),
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let shard = task.shard();
        let more = |kind| usize::from(kind == Kind::Ended);
        let place = match standing {
            Standing::Due(time_ms) => Place { kind: Kind::Due, time_ms },
            Standing::Idle => Place { kind: Kind::Idle, time_ms: 0 },
            Standing::Ended { .. } => Place { kind: Kind::Ended, time_ms: now_ms },
            Standing::Gone => {
                let mut writes =
                    vec![Write::delete(&self.tasks, key.to_vec()), Write::delete(&self.bodies, key.to_vec())];
                if from.kind != Kind::Idle {
                    writes.push(Write::delete(&self.at, at_key(shard, from, key)));
                }
                turn.write(writes)?;
                return self.trim(turn, shard, 0, more(from.kind), now_ms);
            }
        };
        let mut writes = Vec::with_capacity(4);
        if from != place {
            if from.kind != Kind::Idle {
                writes.push(Write::delete(&self.at, at_key(shard, from, key)));
            }
            if place.kind != Kind::Idle {
                writes.push(Write::put(&self.at, at_key(shard, place, key), []));
            }
        }
        if standing == (Standing::Ended { body: false }) {
            writes.push(Write::delete(&self.bodies, key.to_vec()));
        } else if let Some(body) = body {
            writes.push(Write::put(&self.bodies, key.to_vec(), body.to_vec()));
        }
        writes.push(Write::put(&self.tasks, key.to_vec(), Row { place, head }.encode()));
        turn.write(writes)?;
        self.trim(turn, shard, more(place.kind), more(from.kind), now_ms)
    }

    /// Removes the oldest of the tasks that ended, if they are too many or too old.
    fn trim(&self, turn: &Turn<'_>, shard: u16, more: usize, fewer: usize, now_ms: u64) -> Result<(), StoreError> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = &mut ended[usize::from(shard)];
        *ended = (*ended + more).saturating_sub(fewer);
        if more == 0 {
            return Ok(());
        }
        let mut writes = Vec::new();
        for row in self.at.range(span(shard, Kind::Ended, 0, u64::MAX)).take(ENDED_TRIM_MAX) {
            let at = row.key().map_err(|e| unavailable(&e))?;
            if *ended <= ENDED_TASKS_MAX && time_of(&at).saturating_add(ENDED_TASK_KEEP_MS) > now_ms {
                break;
            }
            *ended = ended.saturating_sub(1);
            let key = at[10..].to_vec();
            writes.push(Write::delete(&self.bodies, key.clone()));
            writes.push(Write::delete(&self.tasks, key));
            writes.push(Write::delete(&self.at, at));
        }
        turn.write(writes)
    }
}

/// Whether there are leases from before the clock was set back.
fn doubtful(view: &impl Readable, at: &Keyspace, shard: u16, now_ms: u64) -> Result<bool, StoreError> {
    let range = span(shard, Kind::Leased, now_ms + LEASE_DOUBT_MS + 1, u64::MAX);
    view.range(at, range).next().map(|row| row.key()).transpose().map(|row| row.is_some()).map_err(|e| unavailable(&e))
}
