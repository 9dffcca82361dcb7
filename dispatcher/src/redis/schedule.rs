//! The schedule on Redis: one sorted set per shard, whose scores are times, or ends of leases.
//!
//! All keys of a shard carry its hash tag `{tN}`; they are described in `scripts/tasks_add.lua` and `scripts/tasks_place.lua`, and what lies
//! in them in `tasks`. Times are those of the server (`TIME`), so that dispatchers need not agree on theirs.

use std::sync::Arc;

use pushgate_protocol::ids::MessageId;
use redis::{Cmd, Value};
use tracing::{error, warn};

use super::{
    link::{RedisLink, damaged},
    scripts::{self, Source},
    streams::strange,
    tasks::{self, Ending, array},
};
use crate::{
    limits,
    schedule::{head, wakers::Wakers},
    seams::{
        Added, BoxFuture, Change, Changed, Claimed, Found, ScheduleStore, Seen, Settled, SettledAndClaimed, Settlement,
        StoreError, Task, TaskKey, TaskQuery, Unreadable,
    },
};

/// [`ScheduleStore`] on Redis.
pub struct RedisSchedule {
    link: Arc<RedisLink>,
    prefix: String,
}

impl RedisSchedule {
    /// The schedule of this server.
    pub fn new(link: Arc<RedisLink>) -> Self {
        Self::with_prefix(link, "pushgate")
    }

    /// The schedule under another prefix of its keys: one of several that share a server.
    pub fn with_prefix(link: Arc<RedisLink>, prefix: &str) -> Self {
        Self { link, prefix: prefix.to_owned() }
    }

    fn key(&self, shard: u16, part: &str) -> String {
        format!("{}:t:{{t{shard}}}:{part}", self.prefix)
    }

    fn call(&self, script: &Source, shard: u16, parts: &[&str]) -> Cmd {
        let keys: Vec<String> = parts.iter().map(|part| self.key(shard, part)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        script.call(&keys)
    }

    async fn add_all(&self, tasks: Vec<Task>) -> Result<Vec<Added>, StoreError> {
        let mut added = vec![Added::Known; tasks.len()];
        let groups = grouped(tasks.iter().map(|task| task.key.shard()), limits::REDIS_ADDED_MAX);
        let command = |(shard, places): &(u16, Vec<usize>)| {
            let mut call = self.call(&scripts::TASKS_ADD, *shard, &["due", "heads", "bodies", "names"]);
            for task in places.iter().map(|place| &tasks[*place]) {
                call.arg(tasks::name_of(&task.key)).arg(task.head.due_ms).arg(tasks::content(&task.head, &task.body));
            }
            call
        };
        let commands: Vec<Cmd> = groups.iter().map(command).collect();
        let answers = self.link.write_in_order(limits::SCHEDULE_LOOPS, &commands).await?;
        for ((_, places), answer) in groups.iter().zip(answers) {
            for (place, answer) in places.iter().zip(array(answer)?) {
                added[*place] = match answer {
                    Value::Int(1) => Added::New,
                    Value::Int(2) => Added::Known,
                    Value::Int(3) => Added::Conflict,
                    other => return Err(strange(&Some(other))),
                };
            }
        }
        Ok(added)
    }

    /// Settles, then claims, in one batch: with `appendfsync always` that is one sync.
    async fn settle_then_claim(
        &self,
        settlements: &[Settlement],
        shards: &[u16],
        max: usize,
        lease_ms: u64,
    ) -> Result<(Vec<Settled>, Claimed), StoreError> {
        let groups = grouped(settlements.iter().map(|s| (s.key.shard(), s.lease_ms)), limits::REDIS_TASKS_MAX);
        let groups: Vec<Ending<'_>> =
            groups.into_iter().map(|(group, places)| Ending::of(group, places, settlements)).collect();
        let Some(first) = groups.first().map(|group| group.shard).or_else(|| shards.first().copied()) else {
            return Ok(Default::default());
        };
        let settles = groups.iter().map(|group| self.settle_call(group));
        let claims = shards.iter().map(|shard| self.claim_call(*shard, max, lease_ms));
        let commands: Vec<Cmd> = settles.chain(claims).collect();
        // All shards of one loop share a connection.
        let mut answers = self.link.write_in_order(Wakers::loop_of(first), &commands).await?.into_iter();
        let mut settled = vec![Settled::Lost; settlements.len()];
        for (group, answer) in groups.iter().zip(answers.by_ref()) {
            group.read(answer, &mut settled)?;
        }
        let (mut claimed, mut damage) = (Claimed::default(), Vec::new());
        for (shard, answer) in shards.iter().zip(answers) {
            tasks::read_claim(*shard, answer, &mut claimed, &mut damage)?;
        }
        self.set_aside(damage).await;
        Ok((settled, claimed))
    }

    fn claim_call(&self, shard: u16, max: usize, lease_ms: u64) -> Cmd {
        let mut call = self.call(&scripts::TASKS_CLAIM, shard, &["due", "heads", "bodies", "leases"]);
        call.arg(max.min(limits::CLAIM_TASKS_MAX)).arg(lease_ms.min(limits::LEASE_MS_MAX));
        call.arg(limits::LEASE_DOUBT_MS).arg(limits::CLAIM_BYTES_MAX).arg(limits::LEASE_MS_MAX);
        call
    }

    fn settle_call(&self, group: &Ending<'_>) -> Cmd {
        let mut call = self.place_call(&scripts::TASKS_SETTLE, group.shard);
        call.arg(group.lease_ms);
        group.write(&mut call);
        call
    }

    /// Lets tasks that are damaged be due no more, so that they take no place in every claim. What there is of them stays.
    async fn set_aside(&self, damage: Vec<(u16, Vec<u8>)>) {
        let mut commands = Vec::with_capacity(damage.len());
        for (shard, name) in damage {
            error!(shard, task = %name.escape_ascii(), "a task is damaged and will not be sent");
            let mut remove = redis::cmd("ZREM");
            remove.arg(self.key(shard, "due")).arg(name);
            commands.push((u64::from(shard), remove));
        }
        if commands.is_empty() {
            return;
        }
        if let Err(error) = self.link.write(commands).await {
            warn!(%error, "damaged tasks could not be set aside: they come again");
        }
    }

    async fn change_one(&self, change: Change) -> Result<Changed, StoreError> {
        let shard = change.key.shard();
        let looked_at = change.head.revision.saturating_sub(1).to_le_bytes();
        let mut call = self.place_call(&scripts::TASKS_CHANGE, shard);
        call.arg(tasks::name_of(&change.key)).arg(looked_at.as_slice()).arg(tasks::standing_of(change.standing));
        call.arg(head::encode(&change.head));
        call.arg(change.body.map_or_else(Vec::new, |body| tasks::content(&change.head, &body)));
        match self.link.write(vec![(u64::from(shard), call)]).await?.as_slice() {
            [Value::Int(0)] => Ok(Changed::Unknown),
            [Value::Int(1)] => Ok(Changed::Done),
            [Value::Int(2)] => Ok(Changed::Conflict),
            other => Err(strange(&other.first().cloned())),
        }
    }

    fn place_call(&self, script: &Source, shard: u16) -> Cmd {
        let mut call = self.call(script, shard, &["due", "heads", "bodies", "ended", "names", "leases"]);
        call.arg(limits::ENDED_TASK_KEEP_MS).arg(limits::ENDED_TASKS_MAX).arg(limits::ENDED_TRIM_MAX);
        call
    }

    /// The names that a query asks for, in order. One that is none is passed over, with what follows it in its shard asked for once more if
    /// it took a place.
    async fn names(&self, query: &TaskQuery) -> Result<Vec<TaskKey>, StoreError> {
        if let Some(id) = &query.id {
            return Ok(vec![TaskKey { app: query.app.clone(), id: id.clone() }]);
        }
        let after = query.after.as_ref().map_or("", MessageId::as_str);
        // Ids are not empty, so the app with its end mark alone is before all of them.
        let from = [b"(", query.app.as_str().as_bytes(), &[0], after.as_bytes()].concat();
        let until = [b"(", query.app.as_str().as_bytes(), &[1]].concat();
        let mut shards: Vec<(u16, Vec<u8>)> = (0..limits::SCHEDULE_SHARDS).map(|shard| (shard, from.clone())).collect();
        let mut names = Vec::new();
        while !shards.is_empty() {
            let mut ask = redis::pipe();
            for (shard, from) in &shards {
                let names = ask.cmd("ZRANGEBYLEX").arg(self.key(*shard, "names")).arg(from.as_slice());
                names.arg(until.as_slice()).arg("LIMIT").arg(0).arg(query.limit);
            }
            let mut answers = self.link.run(&ask).await?.into_iter();
            let mut further = Vec::new();
            for (shard, from) in shards {
                let found = answers.next().map_or_else(|| Ok(Vec::new()), array)?;
                let (whole, mut last, mut strange) = (found.len() < query.limit, from, false);
                for name in found {
                    let Value::BulkString(name) = name else { return Err(super::streams::strange(&Some(name))) };
                    last = [b"(", name.as_slice()].concat();
                    match tasks::key_of(&name) {
                        Some(key) => names.push(key),
                        None => {
                            warn!(shard, name = %name.escape_ascii(), "what is in a task's place has no name of one");
                            strange = true;
                        }
                    }
                }
                if strange && !whole {
                    further.push((shard, last));
                }
            }
            shards = further;
        }
        names.sort();
        names.truncate(query.limit);
        Ok(names)
    }

    async fn look(&self, query: TaskQuery) -> Result<Vec<Found>, StoreError> {
        let names = self.names(&query).await?;
        let groups = grouped(names.iter().map(TaskKey::shard), limits::REDIS_TASKS_MAX);
        let mut ask = redis::pipe();
        for (shard, places) in &groups {
            let of_group: Vec<Vec<u8>> = places.iter().map(|place| tasks::name_of(&names[*place])).collect();
            ask.cmd("HMGET").arg(self.key(*shard, "heads")).arg(&of_group);
            ask.cmd("HMGET").arg(self.key(*shard, "bodies")).arg(&of_group);
            ask.cmd("ZMSCORE").arg(self.key(*shard, "due")).arg(&of_group);
            ask.cmd("ZMSCORE").arg(self.key(*shard, "ended")).arg(&of_group);
        }
        let mut answers = self.link.run(&ask).await?.into_iter();
        let mut seen: Vec<Option<Found>> = names.iter().map(|_| None).collect();
        for (_, places) in &groups {
            let mut column = || answers.next().map_or_else(|| Ok(Vec::new()), array);
            let (heads, bodies, scores, ends) = (column()?, column()?, column()?, column()?);
            for ((((place, head), body), score), end) in places.iter().zip(heads).zip(bodies).zip(scores).zip(ends) {
                if head == Value::Nil && body == Value::Nil {
                    continue;
                }
                let (first, key, later) = (head == Value::Nil, names[*place].clone(), tasks::is_later(&head, &body));
                let Ok(mut task) = tasks::task_of(Some(key.clone()), Some(head), Some(body)) else {
                    seen[*place] = Some(Found::Unreadable(Unreadable { key, later }));
                    continue;
                };
                let (score, end) = (time_of(score)?, time_of(end)?);
                if let (true, Some(end)) = (first, end) {
                    task.head = tasks::once_sent(task.head, end as u64);
                }
                let claimed = score.is_some_and(|score| score.fract() != 0.0);
                seen[*place] = Some(Found::Task(Seen { task, claimed }));
            }
        }
        Ok(seen.into_iter().flatten().collect())
    }
}

impl ScheduleStore for RedisSchedule {
    fn add(&self, tasks: Vec<Task>) -> BoxFuture<'_, Result<Vec<Added>, StoreError>> {
        Box::pin(self.add_all(tasks))
    }

    fn claim(&self, shards: Vec<u16>, max: usize, lease_ms: u64) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(async move { Ok(self.settle_then_claim(&[], &shards, max, lease_ms).await?.1) })
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>> {
        Box::pin(async move { Ok(self.settle_then_claim(&settlements, &[], 0, 0).await?.0) })
    }

    fn settle_and_claim(
        &self,
        settlements: Vec<Settlement>,
        shards: Vec<u16>,
        max: usize,
        lease_ms: u64,
    ) -> BoxFuture<'_, Result<SettledAndClaimed, StoreError>> {
        Box::pin(async move {
            let (settled, claimed) = self.settle_then_claim(&settlements, &shards, max, lease_ms).await?;
            Ok((settled, Ok(claimed)))
        })
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, StoreError>> {
        Box::pin(self.change_one(change))
    }

    fn tasks(&self, query: TaskQuery) -> BoxFuture<'_, Result<Vec<Found>, StoreError>> {
        Box::pin(self.look(query))
    }
}

/// Places by what they have in common, so many in each group at most: a script's arguments are bounded.
fn grouped<G: PartialEq + Copy>(all: impl Iterator<Item = G>, max: usize) -> Vec<(G, Vec<usize>)> {
    let mut groups: Vec<(G, Vec<usize>)> = Vec::new();
    for (place, group) in all.enumerate() {
        let open = groups.iter_mut().rev().find(|(g, places)| *g == group && places.len() < max);
        match open {
            Some((_, places)) => places.push(place),
            None => groups.push((group, vec![place])),
        }
    }
    groups
}

fn time_of(score: Value) -> Result<Option<f64>, StoreError> {
    redis::from_redis_value(score).map_err(|e| damaged(e.to_string()))
}
