//! The schedule in memory, by a clock of the test's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    limits::{ENDED_TASK_KEEP_MS, ENDED_TASKS_MAX, LEASE_DOUBT_MS, LEASE_MS_MAX},
    seams::{
        Added, BoxFuture, Change, Changed, Claim, Claimed, Found, ScheduleStore, Seen, Settled, Settlement, Standing,
        StoreError, Task, TaskKey, TaskQuery, Unreadable,
    },
};

/// [`ScheduleStore`] in memory.
pub struct MemorySchedule {
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    rows: Mutex<BTreeMap<TaskKey, Row>>,
}

struct Row {
    task: Task,
    place: Place,
    harm: Option<Harm>,
}

/// Why a task cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It is damaged.
    Damaged,
    /// A later version wrote it.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Due(u64),
    Leased(u64),
    Idle,
    Ended(u64),
}

impl MemorySchedule {
    /// An empty schedule that goes by this clock (Unix milliseconds).
    pub fn new(clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { clock, rows: Mutex::default() }
    }

    /// Makes a task one that cannot be read.
    pub fn harm(&self, key: &TaskKey, harm: Harm) {
        if let Some(row) = self.rows().get_mut(key) {
            row.harm = Some(harm);
        }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<TaskKey, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim_now(&self, shards: &[u16], max: usize, lease_ms: u64) -> Claimed {
        let now_ms = (self.clock)();
        let mut rows = self.rows();
        let mut claimed = Claimed { now_ms, ..Claimed::default() };
        for shard in shards {
            let mut open: Vec<(u64, TaskKey)> = Vec::new();
            for (key, row) in rows.iter().filter(|(key, _)| key.shard() == *shard) {
                match row.place {
                    Place::Due(ms) => open.push((ms, key.clone())),
                    // Given before the clock was set back: nobody waits for it that long.
                    Place::Leased(ms) if ms > now_ms + LEASE_DOUBT_MS => open.push((now_ms, key.clone())),
                    Place::Leased(ms) => open.push((ms, key.clone())),
                    Place::Idle | Place::Ended(_) => {}
                }
            }
            open.sort();
            let due = open.partition_point(|(ms, _)| *ms <= now_ms).min(max);
            claimed.next_ms = [claimed.next_ms, open.get(due).map(|(ms, _)| *ms)].into_iter().flatten().min();
            for (_, key) in open.drain(..due) {
                let lease_ms = now_ms + lease_ms.min(LEASE_MS_MAX);
                let Some(row) = rows.get_mut(&key) else { continue };
                claimed.unreadable += usize::from(row.harm.is_some());
                if row.harm == Some(Harm::Damaged) {
                    row.place = Place::Idle;
                    continue;
                }
                row.place = Place::Leased(lease_ms);
                claimed.next_ms = Some(claimed.next_ms.map_or(lease_ms, |next| next.min(lease_ms)));
                if row.harm.is_none() {
                    claimed.claims.push(Claim { task: row.task.clone(), lease_ms });
                }
            }
        }
        claimed
    }

    fn settle_one(&self, rows: &mut BTreeMap<TaskKey, Row>, settlement: Settlement) -> Settled {
        let Some(row) = rows.get_mut(&settlement.key).filter(|row| row.harm.is_none()) else { return Settled::Lost };
        if row.place != Place::Leased(settlement.lease_ms) {
            return Settled::Lost;
        }
        if row.task.head.revision != settlement.head.revision {
            return Settled::Changed(Box::new(row.task.clone()));
        }
        row.task.head = settlement.head;
        self.put(row, settlement.standing);
        let shard = settlement.key.shard();
        if settlement.standing == Standing::Gone {
            rows.remove(&settlement.key);
        }
        self.trim(rows, shard);
        Settled::Done
    }

    fn put(&self, row: &mut Row, standing: Standing) {
        row.place = match standing {
            Standing::Due(ms) => Place::Due(ms),
            Standing::Idle | Standing::Gone => Place::Idle,
            Standing::Ended { body } => {
                if !body {
                    row.task.body.clear();
                }
                Place::Ended((self.clock)())
            }
        };
    }

    fn trim(&self, rows: &mut BTreeMap<TaskKey, Row>, shard: u16) {
        let now_ms = (self.clock)();
        let ended = |(key, row): (&TaskKey, &Row)| match row.place {
            Place::Ended(at_ms) if key.shard() == shard => Some((at_ms, key.clone())),
            _ => None,
        };
        let mut ended: Vec<_> = rows.iter().filter_map(ended).collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(ENDED_TASKS_MAX);
        for (n, (at_ms, key)) in ended.into_iter().enumerate() {
            if n < surplus || at_ms.saturating_add(ENDED_TASK_KEEP_MS) <= now_ms {
                rows.remove(&key);
            }
        }
    }
}

impl ScheduleStore for MemorySchedule {
    fn add(&self, tasks: Vec<Task>) -> BoxFuture<'_, Result<Vec<Added>, StoreError>> {
        let mut rows = self.rows();
        let mut add = |task: Task| match rows.get(&task.key) {
            Some(known) if known.harm.is_none() && known.task.head.hash == task.head.hash => Added::Known,
            Some(_) => Added::Conflict,
            None => {
                let place = Place::Due(task.head.due_ms);
                rows.insert(task.key.clone(), Row { task, place, harm: None });
                Added::New
            }
        };
        let added = tasks.into_iter().map(&mut add).collect();
        Box::pin(async { Ok(added) })
    }

    fn claim(&self, shards: Vec<u16>, max: usize, lease_ms: u64) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        let claimed = self.claim_now(&shards, max, lease_ms);
        Box::pin(async { Ok(claimed) })
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>> {
        let mut rows = self.rows();
        let settled = settlements.into_iter().map(|s| self.settle_one(&mut rows, s)).collect();
        Box::pin(async { Ok(settled) })
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, StoreError>> {
        let mut rows = self.rows();
        let changed = match rows.get_mut(&change.key) {
            None => Changed::Unknown,
            Some(row) if row.harm.is_some() => Changed::Conflict,
            Some(row) if row.task.head == change.head => Changed::Done,
            Some(row) if row.task.head.revision + 1 != change.head.revision => Changed::Conflict,
            Some(row) => {
                row.task.head = change.head;
                if let Some(body) = change.body {
                    row.task.body = body;
                }
                if !matches!(row.place, Place::Leased(_)) {
                    self.put(row, change.standing);
                    if change.standing == Standing::Gone {
                        rows.remove(&change.key);
                    }
                }
                Changed::Done
            }
        };
        Box::pin(async move { Ok(changed) })
    }

    fn tasks(&self, query: TaskQuery) -> BoxFuture<'_, Result<Vec<Found>, StoreError>> {
        let rows = self.rows();
        let wanted = |key: &TaskKey| {
            key.app == query.app
                && query.id.as_ref().is_none_or(|id| *id == key.id)
                && query.after.as_ref().is_none_or(|after| key.id > *after)
        };
        let seen = |row: &Row| match row.harm {
            Some(harm) => Found::Unreadable(Unreadable { key: row.task.key.clone(), later: harm == Harm::Later }),
            None => Found::Task(Seen { task: row.task.clone(), claimed: matches!(row.place, Place::Leased(_)) }),
        };
        let seen = rows.iter().filter(|(key, _)| wanted(key)).take(query.limit).map(|(_, row)| seen(row)).collect();
        Box::pin(async { Ok(seen) })
    }
}
