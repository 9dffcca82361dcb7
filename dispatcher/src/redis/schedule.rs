//! The schedule on Redis: one sorted set per shard, whose scores are times, or ends of leases.
//!
//! All keys of a shard carry its hash tag `{tN}`; they are described in `scripts/tasks_add.lua` and `scripts/tasks_place.lua`. Times are those of
//! the server (`TIME`), so that dispatchers need not agree on theirs.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::ids::{AppId, MessageId};
use redis::{Cmd, Value};
use tracing::{error, warn};

use super::{
    link::{RedisLink, damaged},
    scripts::{self, Source},
    streams::strange,
};
use crate::{
    limits,
    schedule::head,
    seams::{
        Added, BoxFuture, Change, Changed, Claim, Claimed, ScheduleStore, Seen, Settled, Settlement, Standing,
        StoreError, Task, TaskKey, TaskQuery,
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
        let groups = by_shard(tasks.iter().map(|task| task.key.shard()));
        let command = |(shard, places): &(u16, Vec<usize>)| {
            let mut call = self.call(&scripts::TASKS_ADD, *shard, &["due", "heads", "bodies", "names"]);
            for task in places.iter().map(|place| &tasks[*place]) {
                call.arg(name_of(&task.key)).arg(task.head.due_ms).arg(task.head.hash.as_slice());
                call.arg(head::encode(&task.head)).arg(task.body.as_ref());
            }
            (u64::from(*shard), call)
        };
        let answers = self.link.write(groups.iter().map(command).collect()).await?;
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

    async fn claim_all(&self, shards: Vec<u16>, max: usize, lease_ms: u64) -> Result<Claimed, StoreError> {
        let command = |shard: &u16| {
            let mut call = self.call(&scripts::TASKS_CLAIM, *shard, &["due", "heads", "bodies", "leases"]);
            call.arg(max.min(limits::CLAIM_TASKS_MAX)).arg(lease_ms.min(limits::LEASE_MS_MAX));
            call.arg(limits::LEASE_DOUBT_MS).arg(limits::CLAIM_BYTES_MAX);
            (u64::from(*shard), call)
        };
        let (mut claimed, mut damage) = (Claimed::default(), Vec::new());
        let answers = self.link.write(shards.iter().map(command).collect()).await?;
        for (shard, answer) in shards.iter().zip(answers) {
            let mut parts = array(answer)?.into_iter();
            let head = (parts.next(), parts.next(), parts.next());
            let (Some(Value::Int(now)), Some(Value::Int(lease)), Some(Value::Int(next))) = head else {
                return Err(damaged("a claim's script answered strangely".into()));
            };
            claimed.now_ms = claimed.now_ms.max(now as u64);
            let next = u64::try_from(next).ok();
            claimed.next_ms = [claimed.next_ms, next].into_iter().flatten().min();
            while let Some(name) = parts.next() {
                let (head, body) = (parts.next(), parts.next());
                // What a later version wrote is for those of that version, when its lease is over.
                let later = matches!(&head, Some(Value::BulkString(head)) if head::is_later(head));
                match task_of(Some(&name), head, body) {
                    Ok(task) => claimed.claims.push(Claim { task, lease_ms: lease as u64 }),
                    Err(_) => {
                        claimed.unreadable += 1;
                        damage.extend((!later).then_some((*shard, name)));
                    }
                }
            }
        }
        self.set_aside(damage).await;
        Ok(claimed)
    }

    /// Lets tasks that are damaged be due no more, so that they take no place in every claim. What there is of them stays.
    async fn set_aside(&self, damage: Vec<(u16, Value)>) {
        let mut commands = Vec::with_capacity(damage.len());
        for (shard, name) in damage {
            let Value::BulkString(name) = name else { continue };
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

    async fn settle_all(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        let mut settled = vec![Settled::Lost; settlements.len()];
        let groups = by_shard(settlements.iter().map(|s| s.key.shard()));
        let command = |(shard, places): &(u16, Vec<usize>)| {
            let mut call = self.place_call(&scripts::TASKS_SETTLE, *shard);
            for s in places.iter().map(|place| &settlements[*place]) {
                let (standing, at) = standing_of(s.standing);
                call.arg(name_of(&s.key)).arg(s.lease_ms).arg(s.head.revision.to_le_bytes().as_slice());
                call.arg(standing).arg(at).arg(head::encode(&s.head));
            }
            (u64::from(*shard), call)
        };
        let answers = self.link.write(groups.iter().map(command).collect()).await?;
        for ((_, places), answer) in groups.iter().zip(answers) {
            for (place, answer) in places.iter().zip(array(answer)?) {
                settled[*place] = match answer {
                    Value::Int(1) => Settled::Done,
                    Value::Int(0) => Settled::Lost,
                    Value::Array(parts) => {
                        let mut parts = parts.into_iter();
                        let name = Value::BulkString(name_of(&settlements[*place].key));
                        Settled::Changed(Box::new(task_of(Some(&name), parts.next(), parts.next())?))
                    }
                    other => return Err(strange(&Some(other))),
                };
            }
        }
        Ok(settled)
    }

    async fn change_one(&self, change: Change) -> Result<Changed, StoreError> {
        let shard = change.key.shard();
        let (standing, at) = standing_of(change.standing);
        let looked_at = change.head.revision.saturating_sub(1).to_le_bytes();
        let mut call = self.place_call(&scripts::TASKS_CHANGE, shard);
        call.arg(name_of(&change.key)).arg(looked_at.as_slice()).arg(head::encode(&change.head)).arg(standing).arg(at);
        call.arg(change.body.map_or_else(Vec::new, |body| [b"1", body.as_ref()].concat()));
        match self.link.write(vec![(u64::from(shard), call)]).await?.as_slice() {
            [Value::Int(0)] => Ok(Changed::Unknown),
            [Value::Int(1)] => Ok(Changed::Done),
            [Value::Int(2)] => Ok(Changed::Conflict),
            other => Err(strange(&other.first().cloned())),
        }
    }

    fn place_call(&self, script: &Source, shard: u16) -> Cmd {
        let mut call = self.call(script, shard, &["due", "heads", "bodies", "ended", "names"]);
        call.arg(limits::ENDED_TASK_KEEP_MS).arg(limits::ENDED_TASKS_MAX).arg(limits::ENDED_TRIM_MAX);
        call
    }

    /// The names that a query asks for, in order.
    async fn names(&self, query: &TaskQuery) -> Result<Vec<TaskKey>, StoreError> {
        if let Some(id) = &query.id {
            return Ok(vec![TaskKey { app: query.app.clone(), id: id.clone() }]);
        }
        let after = query.after.as_ref().map_or("", MessageId::as_str);
        // Ids are not empty, so the app with its end mark alone is before all of them.
        let from = [b"(", query.app.as_str().as_bytes(), &[0], after.as_bytes()].concat();
        let until = [b"(", query.app.as_str().as_bytes(), &[1]].concat();
        let mut ask = redis::pipe();
        for shard in 0..limits::SCHEDULE_SHARDS {
            let names = ask.cmd("ZRANGEBYLEX").arg(self.key(shard, "names")).arg(from.as_slice()).arg(until.as_slice());
            names.arg("LIMIT").arg(0).arg(query.limit);
        }
        let mut names = Vec::new();
        for answer in self.link.run(&ask).await? {
            for name in array(answer)? {
                names.push(key_of(&name).ok_or_else(|| damaged("a task's name cannot be read".into()))?);
            }
        }
        names.sort();
        names.truncate(query.limit);
        Ok(names)
    }

    async fn look(&self, query: TaskQuery) -> Result<Vec<Seen>, StoreError> {
        let names = self.names(&query).await?;
        let groups = by_shard(names.iter().map(TaskKey::shard));
        let mut ask = redis::pipe();
        for (shard, places) in &groups {
            let of_group: Vec<Vec<u8>> = places.iter().map(|place| name_of(&names[*place])).collect();
            ask.cmd("HMGET").arg(self.key(*shard, "heads")).arg(&of_group);
            ask.cmd("HMGET").arg(self.key(*shard, "bodies")).arg(&of_group);
            ask.cmd("ZMSCORE").arg(self.key(*shard, "due")).arg(&of_group);
        }
        let mut answers = self.link.run(&ask).await?.into_iter();
        let mut seen: Vec<Option<Seen>> = names.iter().map(|_| None).collect();
        for (_, places) in &groups {
            let mut column = || answers.next().map_or_else(|| Ok(Vec::new()), array);
            let (heads, bodies, scores) = (column()?, column()?, column()?);
            for (((place, head), body), score) in places.iter().zip(heads).zip(bodies).zip(scores) {
                if head == Value::Nil {
                    continue;
                }
                let name = Value::BulkString(name_of(&names[*place]));
                let task = task_of(Some(&name), Some(head), Some(body))?;
                let score: Option<f64> = redis::from_redis_value(score).map_err(|e| damaged(e.to_string()))?;
                seen[*place] = Some(Seen { task, claimed: score.is_some_and(|score| score.fract() != 0.0) });
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
        Box::pin(self.claim_all(shards, max, lease_ms))
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<Settled>, StoreError>> {
        Box::pin(self.settle_all(settlements))
    }

    fn change(&self, change: Change) -> BoxFuture<'_, Result<Changed, StoreError>> {
        Box::pin(self.change_one(change))
    }

    fn tasks(&self, query: TaskQuery) -> BoxFuture<'_, Result<Vec<Seen>, StoreError>> {
        Box::pin(self.look(query))
    }
}

/// Places by shard, a bounded number in each group: a script's arguments are bounded.
fn by_shard(shards: impl Iterator<Item = u16>) -> Vec<(u16, Vec<usize>)> {
    let mut groups: Vec<(u16, Vec<usize>)> = Vec::new();
    for (place, shard) in shards.enumerate() {
        let open = groups.iter_mut().rev().find(|(s, places)| *s == shard && places.len() < limits::REDIS_TASKS_MAX);
        match open {
            Some((_, places)) => places.push(place),
            None => groups.push((shard, vec![place])),
        }
    }
    groups
}

fn standing_of(standing: Standing) -> (&'static str, u64) {
    match standing {
        Standing::Due(at_ms) => ("d", at_ms),
        Standing::Idle => ("i", 0),
        Standing::Ended { body: true } => ("k", 0),
        Standing::Ended { body: false } => ("e", 0),
        Standing::Gone => ("g", 0),
    }
}

fn name_of(key: &TaskKey) -> Vec<u8> {
    [key.app.as_str().as_bytes(), &[0], key.id.as_str().as_bytes()].concat()
}

fn key_of(name: &Value) -> Option<TaskKey> {
    let Value::BulkString(name) = name else { return None };
    let (app, id) = std::str::from_utf8(name).ok()?.split_once('\0')?;
    Some(TaskKey { app: AppId::parse(app).ok()?, id: MessageId::parse(id).ok()? })
}

fn task_of(name: Option<&Value>, head: Option<Value>, body: Option<Value>) -> Result<Task, StoreError> {
    let unreadable = || damaged("a task cannot be read".into());
    let Some(Value::BulkString(head)) = head else { return Err(unreadable()) };
    let body = match body {
        Some(Value::BulkString(body)) => Bytes::from(body),
        _ => Bytes::new(),
    };
    let key = name.and_then(key_of).ok_or_else(unreadable)?;
    Ok(Task { key, head: head::decode(&head).ok_or_else(unreadable)?, body })
}

fn array(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(strange(&Some(other))),
    }
}
