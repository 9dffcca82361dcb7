//! Kafka: the suite, rebalances, outages, results.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pushgate_dispatcher::{
    kafka::{KafkaConfig, KafkaHealth, KafkaIntake, KafkaProducer, KafkaSource},
    seams::{Intake, SourceError, TaskSource},
};
use pushgate_protocol::link::Lane;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

use crate::{
    services,
    suite::{self, Backend},
};

suite::conformance!(Topics::new());

/// Topics of a prefix of their own, deleted at the end.
struct Topics {
    config: KafkaConfig,
    health: Arc<KafkaHealth>,
    intake: Arc<KafkaIntake>,
}

impl Topics {
    fn new() -> Self {
        let topics = Self::absent();
        topics.create();
        topics
    }

    fn absent() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("test.{}.{}", uuid::Uuid::now_v7(), COUNT.fetch_add(1, Ordering::Relaxed));
        let config =
            KafkaConfig { brokers: services::kafka().into(), group: prefix.clone(), prefix, ..Default::default() };
        let health = KafkaHealth::new();
        let producer = KafkaProducer::new(&config, health.clone()).unwrap();
        let intake = Arc::new(KafkaIntake::new(&config, producer));
        Self { config, health, intake }
    }

    fn names(&self) -> Vec<String> {
        Lane::ALL.map(|lane| self.config.lane_topic(lane)).to_vec()
    }

    fn create(&self) {
        let names = self.names();
        let topics: Vec<_> = names.iter().map(|n| NewTopic::new(n, 6, TopicReplication::Fixed(1))).collect();
        for result in suite::block_on(self.admin().create_topics(&topics, &AdminOptions::new())).unwrap() {
            result.unwrap();
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.config.brokers).create().unwrap()
    }

    fn source(&self, lane: Lane) -> KafkaSource {
        KafkaSource::new(&self.config, lane, self.health.clone()).unwrap()
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        drop(suite::block_on(self.admin().delete_topics(&names, &AdminOptions::new())));
    }
}

impl Backend for Topics {
    fn intake(&self) -> Arc<dyn Intake> {
        self.intake.clone()
    }

    fn open(&self, lane: Lane) -> Box<dyn TaskSource> {
        Box::new(self.source(lane))
    }
}

#[test]
fn a_missing_topic_is_named_and_found_once_it_is_there() {
    let topics = Topics::absent();
    let mut source = topics.source(Lane::High);
    let error = source.poll(1, Duration::from_millis(100), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains(&topics.config.lane_topic(Lane::High)), "{error}");
    assert_eq!(topics.health.outages().len(), 1);
    topics.create();
    suite::append(&topics, Lane::High, vec![suite::record("u", "first")]);
    assert_eq!(suite::values(&suite::take(&mut source, 1)), ["first"]);
    assert_eq!(topics.health.outages(), []);
}

#[test]
fn an_absent_broker_is_named_with_the_time_since() {
    // A port that nobody listens on while this listener holds it without accepting for Kafka.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = KafkaConfig { brokers: closed.to_string(), ..Default::default() };
    let health = KafkaHealth::new();
    let mut source = KafkaSource::new(&config, Lane::High, health.clone()).unwrap();
    let error = source.poll(1, Duration::from_millis(100), &mut Vec::new()).unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
    let outages = health.outages();
    assert_eq!(outages.len(), 1);
    assert!(outages[0].since_ms > 0);
}

#[test]
fn settlements_after_a_revoke_are_ignored() {
    let topics = Topics::new();
    let keys: Vec<String> = (0..60).map(|k| format!("k{k}")).collect();
    suite::append(&topics, Lane::High, keys.iter().map(|k| suite::record(k, k.clone())).collect());
    let mut first = topics.source(Lane::High);
    let polled = suite::take(&mut first, 60);
    let mut second = topics.source(Lane::High);
    let mut moved = Vec::new();
    while second.partitions() == 0 || moved.is_empty() {
        suite::poll(&mut second, 100, &mut moved);
        suite::poll(&mut first, 100, &mut Vec::new());
    }
    // What moved came again at the second; the first settles all it ever polled, the second nothing.
    first.settle(&suite::positions(&polled));
    first.commit().unwrap();
    let moved_partitions: BTreeSet<u32> = moved.iter().map(|r| r.position.partition).collect();
    let expected: BTreeSet<String> = polled
        .iter()
        .filter(|r| moved_partitions.contains(&r.position.partition))
        .flat_map(|r| suite::values(std::slice::from_ref(r)))
        .collect();
    drop(second);
    drop(first);
    let mut third = topics.source(Lane::High);
    let again: BTreeSet<String> = suite::values(&suite::take(&mut third, expected.len())).into_iter().collect();
    assert_eq!(again, expected);
}

#[test]
fn rebalances_neither_skip_nor_lose() {
    const RECORDS: usize = 6_000;
    let topics = Topics::new();
    let seen = Mutex::new(BTreeSet::new());
    let enough = |part: usize| seen.lock().unwrap().len() >= part;
    // Settles in batches, out of order, leaving always a few for later, and commits now and then.
    let consume = |part: usize| {
        let mut source = topics.source(Lane::Normal);
        let mut held = Vec::new();
        let mut turn = 0;
        while !enough(part) {
            let mut records = Vec::new();
            suite::poll(&mut source, 50, &mut records);
            seen.lock().unwrap().extend(suite::values(&records));
            held.extend(suite::positions(&records).into_iter().rev());
            source.settle(&held.drain(..held.len().saturating_sub(7)).collect::<Vec<_>>());
            turn += 1;
            if turn % 3 == 0 {
                // Refused while a rebalance is under way; the next one commits.
                drop(source.commit());
            }
        }
        source.settle(&held);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in 0..RECORDS / 100 {
                let numbers = batch * 100..(batch + 1) * 100;
                suite::append(
                    &topics,
                    Lane::Normal,
                    numbers.map(|n| suite::record(&format!("k{}", n % 97), n.to_string())).collect(),
                );
            }
        });
        // Three members that come and go at different times, one that stays to the end.
        for part in [RECORDS / 8, RECORDS / 4, RECORDS / 2, RECORDS] {
            let consume = &consume;
            scope.spawn(move || consume(part));
        }
    });
    assert_eq!(seen.lock().unwrap().len(), RECORDS);
    // All was settled, so nothing is left but what is appended now.
    suite::append(&topics, Lane::Normal, vec![suite::record("k", "last")]);
    let mut source = topics.source(Lane::Normal);
    let left = suite::values(&suite::take(&mut source, 1));
    assert_eq!(left, ["last"]);
}
