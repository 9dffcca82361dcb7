//! The schedule on Redis: what a million tasks take, how long changes take beside them, and how late tasks are fired.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pushgate_bench::{
    distribution::Distribution,
    installation::{APP, Variant, user},
};
use pushgate_dispatcher::{
    redis::{RedisLink, RedisSchedule},
    schedule::{changes, entry},
    seams::{Added, Change, Changed, Found, ScheduleStore, Standing, Task, TaskQuery},
};
use pushgate_loadgen::{
    fleet::Acknowledge,
    stamp::{Addressee, Stamp},
    verify::Due,
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message,
    timestamp::format_ms,
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    options::Options,
    stage::{PATIENCE, Stage, rest_connections},
    traffic::RUN,
};

/// Changes a second, and for how long of each kind.
const PER_S: u64 = 1_000;
const SECONDS: u64 = 10;
/// Tasks handed to the store together, and batches under way, while it is filled.
const FILL: usize = 500;
const FILLS: usize = 8;
/// Users of the tasks that are fired.
const USERS: u32 = 1_000;
/// Nothing is kept of what is fired, so that the store works for the schedule alone.
const SECTIONS: &str = "\n[[classes]]\nname = \"state\"\nresults = false\n";

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let count = u64::from(options.messages.unwrap_or(1_000_000));
    let stage = Stage::open(options, Variant { prefix: "pushgate", sections: SECTIONS })?;
    let link = RedisLink::new(&stage.services.redis, 0)?;
    let store: Arc<dyn ScheduleStore> = Arc::new(RedisSchedule::new(link));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    stage.announce(options);

    let now_ms = stage.clock().now_us() / 1_000;
    let empty = stage.redis_memory()?;
    let start = Instant::now();
    runtime.block_on(fill(&store, count, now_ms))?;
    let (filled_s, memory) = (start.elapsed().as_secs_f64(), stage.redis_memory()?);
    eprintln!("{count} tasks in {filled_s:.0} s, {} bytes each", (memory - empty) / count);
    // Long ago enough that the server has written what it was told.
    std::thread::sleep(Duration::from_secs(2));

    let changed = PER_S * SECONDS;
    let added = paced(&runtime, changed, |n| {
        let (store, task) = (Arc::clone(&store), later(count + n, now_ms));
        async move { Ok(store.add(vec![task]).await? == [Added::New]) }
    })?;
    let step = (count / changed).max(1);
    let pause = paced(&runtime, changed, |n| change(Arc::clone(&store), n * step, Standing::Idle))?;
    let cancel = paced(&runtime, changed, |n| {
        // Others than were paused.
        change(Arc::clone(&store), (n * step + step / 2) % count, Standing::Ended { body: true })
    })?;
    for (name, d) in [("add", &added), ("pause", &pause), ("cancel", &cancel)] {
        eprintln!("{name}: {}", d.percentiles());
    }
    let rest = over_rest(&stage, &runtime, count, changed, step)?;
    let firing = firing(&stage, &store, &runtime)?;
    Ok(json!({
        "asked": { "add_pause_cancel_p99_ms": "below 5", "fired_minus_due_p99_ms": "below 50" },
        "bytes_of_redis_per_task": (memory - empty) / count,
        "tasks_added_per_s_in_bulk": (count as f64 / filled_s).round(),
        "add_ms": added.percentiles(), "pause_ms": pause.percentiles(), "cancel_ms": cancel.percentiles(),
        "rest": rest,
        "firing": firing,
        "setup": {
            "tasks": count, "task_body_bytes": later(0, now_ms).body.len(), "changes_per_s": PER_S, "seconds_of_each": SECONDS,
            "add": "ScheduleStore::add of one task; open loop, from the planned time to the durable answer",
            "pause_and_cancel": "look at the task, then ScheduleStore::change, as REST does; from the planned time to the durable answer",
            "redis": "appendonly, appendfsync always",
        },
        "configuration": stage.installation.configuration,
    }))
}

/// Task `n`, due in a day or more.
fn later(n: u64, now_ms: u64) -> Task {
    let at = format_ms(now_ms + 24 * 3_600_000 + n);
    task_at(&name(n), &user((n % 100_000) as u32), &at, now_ms)
}

fn name(n: u64) -> String {
    format!("task-{n:08}")
}

fn task_at(id: &str, to: &str, at: &str, now_ms: u64) -> Task {
    let message = format!(
        r#"{{"id":"{id}","app":"{APP}","class":"state","ack":false,"to":{{"users":["{to}"]}},"schedule":{{"at":"{at}"}},"content":{{"body":"{}"}}}}"#,
        "x".repeat(60)
    );
    let message = message::decode(message.as_bytes()).expect("it is written as a message");
    let (app, id) = (AppId::parse(APP).expect("it is an app"), MessageId::parse(id).expect("it is an id"));
    entry::task(app, id, &message, Lane::High, now_ms).expect("its time is to come")
}

async fn fill(store: &Arc<dyn ScheduleStore>, count: u64, now_ms: u64) -> Result<(), Box<dyn Error>> {
    let mut under_way = JoinSet::new();
    let mut next = 0;
    while next < count {
        let tasks: Vec<Task> = (next..count.min(next + FILL as u64)).map(|n| later(n, now_ms)).collect();
        next += tasks.len() as u64;
        let store = Arc::clone(store);
        under_way.spawn(async move { store.add(tasks).await });
        if under_way.len() >= FILLS
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

/// Pauses or cancels, as REST does: looks, decides, changes.
async fn change(store: Arc<dyn ScheduleStore>, n: u64, standing: Standing) -> Result<bool, Failure> {
    let (app, id) = (AppId::parse(APP)?, MessageId::parse(&name(n))?);
    let query = TaskQuery { app, after: None, id: Some(id), limit: 1 };
    let seen = store.tasks(query).await?;
    let Some(seen) = seen.into_iter().find_map(Found::task) else { return Ok(false) };
    let head = match standing {
        Standing::Idle => changes::pause(&seen.task)?,
        Standing::Due(_) | Standing::Ended { .. } | Standing::Gone => changes::cancel(&seen.task)?,
    };
    let Some(mut head) = head else { return Ok(false) };
    head.revision += 1;
    let change = Change { key: seen.task.key.clone(), head, body: None, standing };
    Ok(store.change(change).await? == Changed::Done)
}

type Failure = Box<dyn Error + Send + Sync>;

/// Does something so many times at a constant rate, open loop; how long each took from its planned time, microseconds.
fn paced<F>(runtime: &Runtime, count: u64, mut act: impl FnMut(u64) -> F) -> Result<Distribution, Box<dyn Error>>
where
    F: Future<Output = Result<bool, Failure>> + Send + 'static,
{
    let micros = Arc::new(Mutex::new(Vec::with_capacity(count as usize)));
    let start = Instant::now() + Duration::from_millis(100);
    let mut under_way = Vec::with_capacity(count as usize);
    for n in 0..count {
        let planned = start + Duration::from_micros(n * 1_000_000 / PER_S);
        std::thread::sleep(planned.saturating_duration_since(Instant::now()));
        let (doing, micros) = (act(n), Arc::clone(&micros));
        under_way.push(runtime.spawn(async move {
            let done = doing.await?;
            micros.lock().unwrap_or_else(PoisonError::into_inner).push(planned.elapsed().as_micros() as u32);
            Ok::<_, Failure>(done)
        }));
    }
    let undone = runtime.block_on(async {
        let mut undone = 0;
        for one in under_way {
            let done = one.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            undone += u64::from(!done);
        }
        Ok::<_, String>(undone)
    })?;
    if undone > 0 {
        return Err(format!("{undone} of {count} were not done").into());
    }
    let micros = std::mem::take(&mut *micros.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Distribution::of(micros))
}

/// Pauses over REST, which looks first and changes then.
fn over_rest(stage: &Stage, runtime: &Runtime, count: u64, changed: u64, step: u64) -> Result<Value, Box<dyn Error>> {
    let address = stage.installation.rest.clone();
    let connections = runtime.block_on(rest_connections(&address, 64))?;
    let connections = Arc::new(connections);
    let pauses = paced(runtime, changed, |n| {
        let (connections, task) = (Arc::clone(&connections), (n * step + step / 4) % count);
        async move {
            let path = format!("/v1/tasks/{}/pause", name(task));
            let mut connection = connections[n as usize % connections.len()].lock().await;
            Ok(connection.post(&path, b"").await?.status == 202)
        }
    })?;
    eprintln!("pause over REST: {}", pauses.percentiles());
    Ok(json!({ "pause_ms": pauses.percentiles(), "connections": connections.len() }))
}

/// Tasks that are due at a constant rate, for users that are online: how late their pushes are at the client, and how late they
/// were claimed.
fn firing(stage: &Stage, store: &Arc<dyn ScheduleStore>, runtime: &Runtime) -> Result<Value, Box<dyn Error>> {
    let crowd = stage.crowd(USERS, Acknowledge::Never)?;
    stage.await_quiet()?;
    let count = PER_S * 20;
    let now_ms = stage.clock().now_us() / 1_000;
    let first_ms = now_ms + 10_000;
    runtime.block_on(async {
        for part in 0..count.div_ceil(FILL as u64) {
            let tasks = (part * FILL as u64..count.min((part + 1) * FILL as u64)).map(|n| {
                let (to, due_ms) = ((n % u64::from(USERS)) as u32, first_ms + n * 1_000 / PER_S);
                let (to_user, n) = (Addressee::User(to), (n / u64::from(USERS)) as u32);
                let stamp = Stamp { run: RUN, to: to_user, lane: Lane::Normal, n, planned_us: due_ms * 1_000 }.write();
                let id = str::from_utf8(&stamp).expect("hexadecimal digits are text");
                task_at(id, &user(to), &format_ms(due_ms), now_ms)
            });
            store.add(tasks.collect()).await?;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    if stage.clock().now_us() / 1_000 >= first_ms {
        return Err("tasks were due before all were added".into());
    }
    crowd.begin()?;
    let before = lateness(stage)?;
    let received = crowd.tally().pushes;
    crowd.wait("all that was due received", PATIENCE, |t| t.pushes >= received + count)?;
    let (window, after) = (crowd.finish()?, lateness(stage)?);
    let latency = window.latencies();
    let ms = |per_mille| latency.percentile(per_mille) as f64 / 1_000.0;
    let buckets: Vec<Value> =
        after.iter().zip(&before).map(|((upto, after), (_, before))| json!([upto, after - before])).collect();
    let told = json!({
        "due_per_s": PER_S, "tasks": count,
        "received_minus_due_ms": { "p50": ms(500), "p90": ms(900), "p99": ms(990), "p99.9": ms(999), "max": latency.max() as f64 / 1_000.0 },
        "claimed_minus_due_s_upto_count": buckets,
        "lost": crowd.lost(move |_| Due::in_lane_normal((count / u64::from(USERS)) as u32, 0))?,
    });
    eprintln!("firing: {told}");
    Ok(told)
}

/// The dispatcher's histogram of how late tasks were claimed: `[up to seconds, count]`, cumulative.
fn lateness(stage: &Stage) -> Result<Vec<(String, f64)>, Box<dyn Error>> {
    let text = stage.installation.metrics()?;
    let bucket = |line: &str| {
        let rest = line.strip_prefix("pushgate_dispatcher_occurrence_lateness_seconds_bucket{le=\"")?;
        let (upto, count) = rest.split_once("\"} ")?;
        Some((upto.to_owned(), count.trim().parse().ok()?))
    };
    Ok(text.lines().filter_map(bucket).collect())
}
