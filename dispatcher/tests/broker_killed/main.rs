//! A broker of its own is killed and started again while records flow: nothing acknowledged is lost, nothing committed
//! goes back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../services/mod.rs"]
mod services;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pushgate_dispatcher::{
    kafka::{KafkaConfig, KafkaHealth, KafkaIntake, KafkaProducer, KafkaSource},
    seams::{Intake, NewRecord, SourceError, TaskSource},
};
use pushgate_protocol::link::Lane;
use services::services as run;

/// State of the broker that this test kills, under `target/`.
const STATE: &str = "services-broker-killed";
const KILLS: usize = 3;
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Polls without anything new before the test gives up: two minutes.
const POLLS_MAX: usize = 1_200;

/// Stops the broker even if the test fails.
struct Broker(String);

impl Broker {
    fn start() -> Self {
        Self(services::value(&run(Some(STATE), &["up", "kafka"]), "PUSHGATE_TEST_KAFKA"))
    }

    fn kill(&self) {
        run(Some(STATE), &["kill", "kafka"]);
    }

    fn restart(&self) {
        run(Some(STATE), &["restart", "kafka"]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        run(Some(STATE), &["down", "kafka"]);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_broker_is_killed() {
    if !services::wanted() {
        return;
    }
    let broker = Broker::start();
    let prefix = format!("killed.{}", uuid::Uuid::now_v7());
    let config = KafkaConfig { brokers: broker.0.clone(), group: prefix.clone(), prefix, ..Default::default() };
    let health = KafkaHealth::new();
    let intake = KafkaIntake::new(&config, KafkaProducer::new(&config, health.clone()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(intake.append(Lane::High, vec![record(usize::MAX)])).unwrap();

    let acknowledged = Mutex::new(BTreeSet::from([usize::MAX]));
    let settled = Mutex::new(BTreeSet::new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                let numbers = next..next + 20;
                next += 20;
                // A batch that fails is not acknowledged: the test does not ask for it.
                if runtime.block_on(intake.append(Lane::High, numbers.clone().map(record).collect())).is_ok() {
                    acknowledged.lock().unwrap().extend(numbers);
                }
            }
        });
        scope.spawn(|| {
            let mut source = KafkaSource::new(&config, Lane::High, health.clone()).unwrap();
            let mut polls = 0;
            loop {
                let ended = done.load(Ordering::Relaxed);
                if ended && acknowledged.lock().unwrap().is_subset(&settled.lock().unwrap()) {
                    break;
                }
                polls = if consume(&mut source, &settled) { 0 } else { polls + 1 };
                assert!(polls < POLLS_MAX, "records that were acknowledged do not come");
            }
            source.commit().unwrap();
        });
        for _ in 0..KILLS {
            let before = acknowledged.lock().unwrap().len();
            wait_until(|| acknowledged.lock().unwrap().len() >= before + 1_000);
            broker.kill();
            wait_until(|| !health.outages().is_empty());
            broker.restart();
        }
        let before = acknowledged.lock().unwrap().len();
        wait_until(|| acknowledged.lock().unwrap().len() >= before + 1_000);
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(health.outages(), []);

    // What was committed does not come again.
    runtime.block_on(intake.append(Lane::High, vec![record(usize::MAX - 1)])).unwrap();
    let mut source = KafkaSource::new(&config, Lane::High, health).unwrap();
    let mut records = Vec::new();
    for _ in 0..POLLS_MAX {
        drop(source.poll(10, POLL_WAIT, &mut records));
        if records.iter().any(|r| number(&r.value) == usize::MAX - 1) {
            break;
        }
    }
    let committed = settled.into_inner().unwrap();
    let again: Vec<usize> = records.iter().map(|r| number(&r.value)).filter(|n| committed.contains(n)).collect();
    assert_eq!(again, Vec::<usize>::new());
    assert!(!records.is_empty());

    // Without a broker there is nobody to say goodbye to, and no waiting for ever.
    broker.kill();
    drop(source);
}

/// Polls, settles all that came and commits; answers whether anything came.
fn consume(source: &mut KafkaSource, settled: &Mutex<BTreeSet<usize>>) -> bool {
    let mut records = Vec::new();
    match source.poll(500, POLL_WAIT, &mut records) {
        Ok(()) | Err(SourceError::Unavailable { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    settled.lock().unwrap().extend(records.iter().map(|r| number(&r.value)));
    source.settle(&records.iter().map(|r| r.position).collect::<Vec<_>>());
    // While the broker is away the commit fails and the next one takes it along.
    drop(source.commit());
    !records.is_empty()
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..POLLS_MAX {
        if condition() {
            return;
        }
        std::thread::sleep(POLL_WAIT);
    }
    panic!("the broker does not take records");
}

fn record(number: usize) -> NewRecord {
    let text = number.to_string();
    NewRecord { key: format!("k{}", number % 17).into(), value: text.into() }
}

fn number(value: &[u8]) -> usize {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}
