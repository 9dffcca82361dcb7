//! Kafka: the suite, outages, results.

use std::{
    sync::{
        Arc,
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

    /// Asks the brokers for changes.
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.config.brokers).create().unwrap()
    }

    /// A consumer of a lane.
    pub fn source(&self, lane: Lane) -> KafkaSource {
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
