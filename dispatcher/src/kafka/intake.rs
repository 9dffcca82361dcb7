//! REST's appends to the lanes.

use std::sync::Arc;

use pushgate_protocol::link::Lane;

use super::{
    config::KafkaConfig,
    producer::{KafkaProducer, Outgoing},
};
use crate::seams::{BoxFuture, Intake, NewRecord, StoreError};

/// Appends to the lanes' topics, in order, acknowledged by all in-sync replicas.
pub struct KafkaIntake {
    producer: Arc<KafkaProducer>,
    topics: [Arc<str>; 3],
}

impl KafkaIntake {
    /// Appends to `<prefix>.<lane>`.
    pub fn new(config: &KafkaConfig, producer: Arc<KafkaProducer>) -> Self {
        Self { producer, topics: Lane::ALL.map(|lane| config.lane_topic(lane).into()) }
    }
}

impl Intake for KafkaIntake {
    fn append(&self, lane: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let topic = &self.topics[lane as usize];
        let outgoing =
            |r: NewRecord| Outgoing { topic: topic.clone(), key: Some(r.key), value: r.value, headers: None };
        Box::pin(self.producer.send(records.into_iter().map(outgoing).collect()))
    }
}
