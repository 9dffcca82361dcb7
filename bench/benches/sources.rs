//! Rates of the sources and their intakes: the embedded log, and Kafka if `PUSHGATE_TEST_KAFKA` names brokers.
//!
//! `cargo bench -p pushgate-bench --bench sources`; each figure is the best and the median of its rounds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pushgate_dispatcher::{
    embedded::{EmbeddedLog, EmbeddedStore},
    kafka::{KafkaConfig, KafkaHealth, KafkaIntake, KafkaProducer, KafkaSource},
    seams::{Intake, NewRecord, Record, TaskSource},
};
use pushgate_protocol::link::Lane;

const VALUE_BYTES: usize = 200;
const ROUNDS: usize = 5;
const POLL_RECORDS: usize = 512;
const COMMIT_EVERY: Duration = Duration::from_secs(1);

fn main() {
    println!("{VALUE_BYTES}-byte values, {ROUNDS} rounds each");
    embedded();
    match std::env::var("PUSHGATE_TEST_KAFKA") {
        Ok(brokers) => kafka(brokers),
        Err(_) => println!("kafka: PUSHGATE_TEST_KAFKA is not set"),
    }
}

fn embedded() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp is writable");
    let store = EmbeddedStore::open(dir.path()).expect("the directory is new");
    let log = EmbeddedLog::open(store).expect("the store is new");
    let intake: Arc<dyn Intake> = log.clone();
    for (batch, tasks, total) in [(1, 1, 1_000), (1, 256, 50_000), (1_000, 1, 200_000), (1_000, 8, 400_000)] {
        report(&format!("embedded append, {tasks} at once of {batch}"), || {
            append(&intake, Lane::Low, batch, tasks, total)
        });
    }
    let mut source = log.consumer(Lane::Low).expect("the only consumer");
    report("embedded source: poll, settle, commit", || consume(&mut source, 150_000));
}

fn kafka(brokers: String) {
    let prefix = format!("bench.{}", std::process::id());
    let config = KafkaConfig { brokers, group: prefix.clone(), prefix, ..Default::default() };
    let health = KafkaHealth::new();
    let producer = KafkaProducer::new(&config, health.clone()).expect("the configuration is valid");
    let intake: Arc<dyn Intake> = Arc::new(KafkaIntake::new(&config, producer));
    for (batch, tasks, total) in [(1, 1, 1_000), (1, 256, 50_000), (1_000, 8, 400_000)] {
        report(&format!("kafka append, {tasks} at once of {batch}"), || {
            append(&intake, Lane::Low, batch, tasks, total)
        });
    }
    let mut source = KafkaSource::new(&config, Lane::Low, health).expect("the configuration is valid");
    consume(&mut source, POLL_RECORDS);
    report("kafka source: poll, settle, commit", || consume(&mut source, 300_000));
}

/// Records appended by `tasks` tasks that each wait for one batch before the next; how many.
fn append(intake: &Arc<dyn Intake>, lane: Lane, batch: usize, tasks: usize, total: usize) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let rounds = total / batch / tasks;
    let records = move |task: usize| {
        let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
        (0..batch)
            .map(|n| NewRecord { key: format!("user-{task}-{n}").into(), value: value.clone() })
            .collect::<Vec<_>>()
    };
    let running = (0..tasks).map(|task| {
        let intake = intake.clone();
        async move {
            for _ in 0..rounds {
                intake.append(lane, records(task)).await.expect("the lane takes records");
            }
        }
    });
    runtime.block_on(async {
        let running: Vec<_> = running.map(|task| tokio::task::spawn(task)).collect();
        for task in running {
            task.await.expect("no task panics");
        }
    });
    rounds * batch * tasks
}

fn consume(source: &mut dyn TaskSource, total: usize) -> usize {
    let (mut found, mut committed) = (0, Instant::now());
    let mut records: Vec<Record> = Vec::new();
    while found < total {
        source.poll(POLL_RECORDS, Duration::from_millis(100), &mut records).expect("the lane is there");
        found += records.len();
        source.settle(&records.drain(..).map(|r| r.position).collect::<Vec<_>>());
        if committed.elapsed() >= COMMIT_EVERY {
            source.commit().expect("the lane is there");
            committed = Instant::now();
        }
    }
    source.commit().expect("the lane is there");
    found
}

fn report(what: &str, mut run: impl FnMut() -> usize) {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run() as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    println!("{what}: {:.0}/s, best {:.0}/s", rates[ROUNDS / 2], rates[ROUNDS - 1]);
}
