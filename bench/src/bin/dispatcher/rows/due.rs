//! Due tasks worked off: claimed, published, acknowledged; against a queue that does its like in the same Redis, at its best.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::registry::Registry;
use pushgate_bench::{
    installation::{APP, user},
    record::{answer, root},
    services::Services,
    usage::{TICKS_PER_S, process_times},
};
use pushgate_dispatcher::{
    classes::Classes,
    clock,
    health::Health,
    kafka::{KafkaConfig, KafkaHealth, KafkaIntake, KafkaProducer},
    memory::MemoryMessages,
    metrics::ScheduleMetrics,
    redis::{RedisLink, RedisSchedule},
    schedule::{
        announce::Announcer,
        driver::{ScheduleLoop, ScheduleParts},
        entry,
        wakers::Wakers,
    },
    seams::{BoxFuture, DeadRecord, ResultSink, ScheduleStore, StoreError, Task},
    states::MessageBounds,
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message,
    result::ResultRecord,
    timestamp::format_ms,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::median;
use crate::options::Options;

/// Concurrencies of the other queue's workers; the best counts.
const CONCURRENCIES: [u32; 3] = [1, 50, 500];
/// Processes of it, and threads of ours.
const WORKERS: usize = 2;
/// Tasks handed to the store together.
const FILL: usize = 500;

/// So many tasks worked off.
#[derive(Clone, Copy)]
struct Sample {
    tasks: u64,
    seconds: f64,
    redis_ticks: u64,
}

/// Measures.
pub fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let tasks = u64::from(options.messages.unwrap_or(100_000));
    let services = Services::up(root(), options.scratch().join("services"))?;
    let node_path = answer("scripts/node", &["bullmq"]);
    if node_path.is_empty() {
        return Err("scripts/node bullmq: npm did not install it".into());
    }
    let (mut ours, mut theirs) = (Vec::new(), [const { Vec::new() }; CONCURRENCIES.len()]);
    // The first round warms up.
    for round in 0..=options.rounds.unwrap_or(3) {
        let sample = schedule(&services, tasks)?;
        eprintln!("schedule: {}", told(&sample));
        if round > 0 {
            ours.push(sample);
        }
        for (concurrency, samples) in CONCURRENCIES.into_iter().zip(&mut theirs) {
            // The slower one works off fewer in the same time.
            let sample = bullmq(&services, &node_path, concurrency, tasks / 5)?;
            eprintln!("bullmq, concurrency {concurrency}: {}", told(&sample));
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    let rate = |s: &Sample| s.tasks as f64 / s.seconds;
    let cpu_us = |s: &Sample| s.redis_ticks.max(1) as f64 / TICKS_PER_S * 1_000_000.0 / s.tasks as f64;
    let best_rate = theirs.iter().map(|s| median(s.iter().map(rate))).fold(0.0, f64::max);
    let best_cpu_us = theirs.iter().map(|s| median(s.iter().map(cpu_us))).fold(f64::INFINITY, f64::min);
    let (our_rate, our_cpu_us) = (median(ours.iter().map(rate)), median(ours.iter().map(cpu_us)));
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    let raw = |samples: &[Sample]| samples.iter().map(told).collect::<Vec<_>>();
    let compared: serde_json::Map<String, Value> = CONCURRENCIES
        .iter()
        .zip(&theirs)
        .map(|(n, samples)| (format!("concurrency_{n}"), raw(samples).into()))
        .collect();
    Ok(json!({
        "redis_cpu_per_task_ratio": rounded(best_cpu_us / our_cpu_us),
        "wall_ratio": rounded(our_rate / best_rate),
        "asked": { "redis_cpu_per_task_ratio": "at least 10", "wall_ratio": "at least 5" },
        "schedule": { "tasks_per_s": our_rate.round(), "redis_cpu_us_per_task": rounded(our_cpu_us), "rounds": raw(&ours) },
        "bullmq": { "tasks_per_s_best": best_rate.round(), "redis_cpu_us_per_task_best": rounded(best_cpu_us), "rounds": compared },
        "setup": {
            "tasks": tasks, "bullmq_jobs": tasks / 5, "bullmq_workers": WORKERS,
            "bullmq": "6.7.0, ioredis 6.0.0; jobs added in bulk and ready (not delayed), a processor that does nothing, finished jobs removed at once",
            "schedule": "the product's loops and stores: due tasks are claimed, sent to a topic of Kafka (linger.ms=1, acks=all), and settled after the delivery report",
            "redis": "one server for both, appendonly, appendfsync always; rounds interleaved",
            "best": "the best of the concurrencies, of rate and of processor time each",
        },
    }))
}

fn told(sample: &Sample) -> Value {
    json!({ "tasks": sample.tasks, "seconds": sample.seconds, "redis_cpu_s": sample.redis_ticks as f64 / TICKS_PER_S })
}

fn redis_ticks(services: &Services) -> u64 {
    let pid = services.processes().into_iter().find_map(|(name, pid)| (name == "redis").then_some(pid));
    pid.map_or(0, |pid| process_times(pid).iter().sum())
}

/// The product's schedule: all tasks are due before the loops start.
fn schedule(services: &Services, tasks: u64) -> Result<Sample, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let store: Arc<dyn ScheduleStore> = Arc::new(RedisSchedule::new(RedisLink::new(&services.redis, 0)?));
        let now_ms = clock::unix_ms();
        for first in (0..tasks).step_by(FILL) {
            let part =
                (first..tasks.min(first + FILL as u64)).map(|n| task(n, now_ms)).collect::<Result<Vec<_>, _>>()?;
            store.add(part).await?;
        }
        let config = KafkaConfig { brokers: services.kafka.clone(), ..Default::default() };
        let intake = Arc::new(KafkaIntake::new(&config, KafkaProducer::new(&config, KafkaHealth::new())?));
        let metrics = ScheduleMetrics::register(&mut Registry::default());
        let announcer =
            Announcer { messages: Arc::new(MemoryMessages::new(MessageBounds::default())), results: Arc::new(Nowhere) };
        let parts = ScheduleParts {
            store: Arc::clone(&store),
            intake,
            announcer,
            classes: Classes::default(),
            lease_ms: 5_000,
            wakers: Wakers::new(),
            clock: Arc::new(clock::unix_ms),
            pause: Arc::new(|ms| Box::pin(tokio::time::sleep(Duration::from_millis(ms)))),
            health: Health::new(),
            metrics: metrics.clone(),
        };
        let due = now_ms + DUE_IN_MS;
        tokio::time::sleep(Duration::from_millis(due.saturating_sub(clock::unix_ms()) + 100)).await;
        let (stop, stopped) = watch::channel(false);
        let (before, start) = (redis_ticks(services), Instant::now());
        let loops: Vec<_> =
            ScheduleLoop::all(&parts).into_iter().map(|one| tokio::spawn(one.run(stopped.clone()))).collect();
        while metrics.fired.get() < tasks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A loop settles what it sent before it ends.
        stop.send_replace(true);
        for one in loops {
            one.await?;
        }
        let (seconds, redis_ticks) = (start.elapsed().as_secs_f64(), redis_ticks(services) - before);
        Ok(Sample { tasks, seconds, redis_ticks })
    })
}

/// How far in the future tasks are due when the first is added: a time that has passed is no schedule.
const DUE_IN_MS: u64 = 20_000;

fn task(n: u64, now_ms: u64) -> Result<Task, Box<dyn Error>> {
    let (id, at) = (format!("due-{now_ms}-{n}"), format_ms(now_ms + DUE_IN_MS));
    let message = format!(
        r#"{{"id":"{id}","app":"{APP}","to":{{"users":["{}"]}},"schedule":{{"at":"{at}"}},"content":{{"body":"{}"}}}}"#,
        user(n as u32),
        "x".repeat(100)
    );
    let message = message::decode(message.as_bytes()).map_err(|error| error.to_string())?;
    let task = entry::task(AppId::parse(APP)?, MessageId::parse(&id)?, &message, Lane::Normal, now_ms);
    Ok(task.map_err(|error| error.to_string())?)
}

/// Nobody is told of what is never sent.
struct Nowhere;

impl ResultSink for Nowhere {
    fn publish(&self, _: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// The other queue, in processes of its own.
fn bullmq(services: &Services, node_path: &str, concurrency: u32, jobs: u64) -> Result<Sample, Box<dyn Error>> {
    let port = services.redis.rsplit(':').next().unwrap_or_default();
    let mut child = Command::new("node")
        .arg(root().join("bench/bullmq.js"))
        .args([port, &WORKERS.to_string(), &concurrency.to_string(), &jobs.to_string()])
        .env("NODE_PATH", node_path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node does not start: {error}"))?;
    let (mut input, output) = (child.stdin.take().ok_or("no input")?, child.stdout.take().ok_or("no output")?);
    let mut lines = BufReader::new(output).lines();
    let mut said = || lines.next().transpose().ok().flatten().ok_or("node ended");
    if said()? != "ready" {
        return Err("the workers are not ready".into());
    }
    let before = redis_ticks(services);
    input.write_all(b"go\n")?;
    let done = said()?;
    let redis_ticks = redis_ticks(services) - before;
    let seconds =
        done.strip_prefix("done ").and_then(|seconds| seconds.parse().ok()).ok_or("it did not say how long")?;
    child.wait()?;
    Ok(Sample { tasks: jobs, seconds, redis_ticks })
}
