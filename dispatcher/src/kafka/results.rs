//! Results and dead letters as topics.

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::result::ResultRecord;
use rdkafka::message::{Header, OwnedHeaders};

use super::{
    config::KafkaConfig,
    producer::{KafkaProducer, Outgoing, Packed},
};
use crate::seams::{BoxFuture, DeadRecord, ResultSink, StoreError};

/// Publishes to `<prefix>.results` (key as [`ResultRecord::write_key`] writes it) and `<prefix>.dead` (original key and value; headers
/// `reason`, `attempts` and `origin`).
pub struct KafkaResults {
    producer: Arc<KafkaProducer>,
    results: Arc<str>,
    dead: Arc<str>,
}

impl KafkaResults {
    /// Publishes through `producer`.
    pub fn new(config: &KafkaConfig, producer: Arc<KafkaProducer>) -> Self {
        Self { producer, results: config.results_topic().into(), dead: config.dead_topic().into() }
    }

    /// A record as large as the broker takes grows past that by our headers. Rather than hold up its partition for ever, it
    /// is then buried without its value, which still lies at its origin.
    async fn bury_each(&self, records: &[DeadRecord]) -> Result<(), StoreError> {
        for record in records {
            match self.producer.send(vec![letter(&self.dead, record, false)]).await {
                Err(StoreError::Refused { detail, .. }) => {
                    tracing::warn!(origin = record.origin, detail, "buried without its value");
                    self.producer.send(vec![letter(&self.dead, record, true)]).await?;
                }
                other => other?,
            }
        }
        Ok(())
    }
}

impl ResultSink for KafkaResults {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut packed = Packed::new(self.results.clone(), records.len());
        for record in &records {
            packed.push(|key| record.write_key(key), |value| record.write_json(value));
        }
        Box::pin(self.producer.send_packed(packed))
    }

    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match self.producer.send(records.iter().map(|r| letter(&self.dead, r, false)).collect()).await {
                Err(StoreError::Refused { .. }) => self.bury_each(&records).await,
                other => other,
            }
        })
    }
}

fn letter(topic: &Arc<str>, record: &DeadRecord, without_value: bool) -> Outgoing {
    let attempts = record.attempts.to_string();
    let mut headers = OwnedHeaders::new()
        .insert(Header { key: "reason", value: Some(&record.reason) })
        .insert(Header { key: "attempts", value: Some(&attempts) })
        .insert(Header { key: "origin", value: Some(&record.origin) });
    let value = if without_value {
        let bytes = record.value.len().to_string();
        headers = headers.insert(Header { key: "value_left_out_bytes", value: Some(&bytes) });
        Bytes::new()
    } else {
        record.value.clone()
    };
    Outgoing { topic: topic.clone(), key: record.key.clone(), value, headers: Some(headers) }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;

    #[test]
    fn a_dead_letter_carries_reason_attempts_and_origin() {
        let record = DeadRecord {
            key: Some(Bytes::from_static(b"u1")),
            value: Bytes::from_static(b"{"),
            reason: "body is not JSON".into(),
            attempts: 3,
            origin: "pushgate.high/2/17".into(),
        };
        let out = letter(&"pushgate.dead".into(), &record, false);
        assert_eq!((out.key, out.value), (record.key.clone(), record.value.clone()));
        let headers: Vec<(String, String)> = out
            .headers
            .unwrap()
            .iter()
            .map(|h| (h.key.into(), String::from_utf8(h.value.unwrap().into()).unwrap()))
            .collect();
        let expected = [("reason", "body is not JSON"), ("attempts", "3"), ("origin", "pushgate.high/2/17")];
        assert_eq!(headers, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(letter(&"pushgate.dead".into(), &record, true).value, Bytes::new());
    }
}
