//! What the brokers have of what a dispatcher needs: for `pushgate doctor`.

use std::time::Duration;

use pushgate_protocol::link::Lane;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::config::KafkaConfig;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Brokers of the cluster.
    pub brokers: usize,
    /// The topics that are read and written.
    pub topics: Vec<TopicSurvey>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSurvey {
    /// Its name.
    pub name: String,
    /// Its partitions, and the fewest replicas that one of them has; `None` if it cannot be used.
    pub partitions: Option<(usize, usize)>,
    /// Why, in the brokers' words.
    pub problem: Option<String>,
}

/// Asks the brokers. Joins no group, and makes no topic.
///
/// # Errors
/// The library's words, if no broker answers in `wait`.
pub fn look(config: &KafkaConfig, wait: Duration) -> Result<Survey, KafkaError> {
    let mut client: ClientConfig = config.consumer(Lane::High);
    client.set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = client.create()?;
    let brokers = consumer.fetch_metadata(None, wait)?.brokers().len();
    let names =
        Lane::ALL.into_iter().map(|lane| config.lane_topic(lane)).chain([config.results_topic(), config.dead_topic()]);
    let mut topics = Vec::new();
    for name in names {
        let metadata = consumer.fetch_metadata(Some(&name), wait)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        let problem = found.and_then(|topic| topic.error()).map(|error| RDKafkaErrorCode::from(error).to_string());
        let fewest = |topic: &rdkafka::metadata::MetadataTopic| {
            topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0)
        };
        let partitions = found.filter(|_| problem.is_none()).map(|topic| (topic.partitions().len(), fewest(topic)));
        topics.push(TopicSurvey { name, partitions, problem });
    }
    Ok(Survey { brokers, topics })
}
