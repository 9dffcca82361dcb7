//! Kafka: the suite, rebalances, outages, results.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use pushgate_dispatcher::{
    kafka::{KafkaConfig, KafkaHealth, KafkaIntake, KafkaProducer, KafkaResults, KafkaSource},
    seams::{DeadRecord, Intake, ResultSink, SourceError, TaskSource},
};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    result::{Class, Recipient, ResultInfo, ResultRecord, State},
};
use rdkafka::{
    ClientConfig, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Headers, OwnedMessage},
};

use crate::{
    services,
    suite::{self, Backend},
};

suite::conformance!(Topics::new());

/// Topics of a prefix of their own, deleted at the end.
pub struct Topics {
    config: KafkaConfig,
    health: Arc<KafkaHealth>,
    intake: Arc<KafkaIntake>,
}

impl Topics {
    /// `None` without a broker.
    pub fn new() -> Option<Self> {
        let topics = Self::absent()?;
        topics.create();
        Some(topics)
    }

    fn absent() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("test.{}.{}", uuid::Uuid::now_v7(), COUNT.fetch_add(1, Ordering::Relaxed));
        let config =
            KafkaConfig { brokers: services::kafka()?.into(), group: prefix.clone(), prefix, ..Default::default() };
        let health = KafkaHealth::new();
        let producer = KafkaProducer::new(&config, health.clone()).unwrap();
        let intake = Arc::new(KafkaIntake::new(&config, producer));
        Some(Self { config, health, intake })
    }

    /// Where they are.
    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// The sink of results and dead letters.
    pub fn results(&self) -> KafkaResults {
        KafkaResults::new(&self.config, KafkaProducer::new(&self.config, self.health.clone()).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let lanes = Lane::ALL.map(|lane| self.config.lane_topic(lane));
        lanes.into_iter().chain([self.config.results_topic(), self.config.dead_topic()]).collect()
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
    let Some(topics) = Topics::absent() else { return };
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
    // A port that nobody listens on any more.
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
    let Some(topics) = Topics::new() else { return };
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
    let Some(topics) = Topics::new() else { return };
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

#[test]
fn results_and_dead_letters_have_the_contracts_form() {
    let Some(topics) = Topics::new() else { return };
    let sink = topics.results();
    let result = ResultRecord {
        message: MessageId::parse("m1").unwrap(),
        app: AppId::parse("shop").unwrap(),
        recipient: Recipient { user: UserId::parse("u1").unwrap(), device: None },
        channel: "websocket",
        account: None,
        provider_id: None,
        state: State::Delivered,
        reason: None,
        attempt: 1,
        time_ms: 5,
        info: Some(ResultInfo {
            occurrence: None,
            lane: Lane::High,
            class: Class::Transactional,
            accepted_ms: 4,
            bytes: 3,
            meta: None,
            trace: None,
        }),
    };
    suite::block_on(sink.publish(vec![result.clone()])).unwrap();
    let letter = |value: Vec<u8>| DeadRecord {
        key: Some(Bytes::from_static(b"u1")),
        value: value.into(),
        reason: "body is not JSON".into(),
        attempts: 2,
        origin: "pushgate.high/0/7".into(),
    };
    // The second is larger than the topic takes: it is buried without its value.
    suite::block_on(sink.bury(vec![letter(b"{".to_vec()), letter(vec![7; 3 << 20])])).unwrap();

    let results = read(&topics.config, &topics.config.results_topic(), 1);
    assert_eq!(results[0].key().unwrap(), b"m1/u1");
    assert_eq!(results[0].payload().unwrap(), result.to_json());
    // The first attempt at both may have placed the first already.
    let dead = read(&topics.config, &topics.config.dead_topic(), 2);
    let header = |m: &OwnedMessage, key: &str| {
        let found = m.headers().unwrap().iter().find(|h| h.key == key);
        found.map(|h| String::from_utf8(h.value.unwrap().to_vec()).unwrap())
    };
    for message in &dead {
        assert_eq!(message.key().unwrap(), b"u1");
        assert_eq!(header(message, "reason").unwrap(), "body is not JSON");
        assert_eq!(header(message, "attempts").unwrap(), "2");
        assert_eq!(header(message, "origin").unwrap(), "pushgate.high/0/7");
    }
    assert_eq!(dead[0].payload().unwrap(), b"{");
    let last = dead.last().unwrap();
    assert!(last.payload().unwrap_or_default().is_empty());
    assert_eq!(header(last, "value_left_out_bytes").unwrap(), (3 << 20).to_string());
}

/// Reads a topic from its start with a consumer of its own until the `count`-th distinct message.
fn read(config: &KafkaConfig, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("group.id", format!("{}.reader", config.prefix))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let mut found: Vec<OwnedMessage> = Vec::new();
    for _ in 0..300 {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let message = message.detach();
            if !found.iter().any(|m| m.payload() == message.payload()) {
                found.push(message);
            }
            if found.len() == count {
                return found;
            }
        }
    }
    panic!("{} of {count} messages came from {topic}", found.len());
}
