//! What the brokers have of what a dispatcher needs, and what they let it do: for `pushgate doctor`, and for who was forbidden to read.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use pushgate_protocol::link::Lane;
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::MetadataTopic,
};

use super::{
    config::{KafkaConfig, KafkaConfigError},
    events::Silent,
    refusal::{Rights, explain},
};

/// Errors of one client that are looked at.
const HEARD_MAX: usize = 32;
/// How long the next error is waited for.
const HEARD_WAIT: Duration = Duration::from_millis(50);
/// How long the answer to one question is waited for before the errors are looked at.
const QUESTION_WAIT: Duration = Duration::from_millis(500);
/// How long another broker has to answer when one does not let us in.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// The same where one may just be starting.
const UNSURE_WAIT: Duration = Duration::from_millis(2_500);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Brokers of the cluster.
    pub brokers: usize,
    /// The topics that are read and written.
    pub topics: Vec<TopicSurvey>,
    /// What is missing to be a member of the lanes' groups, a sentence for each.
    pub groups: Vec<String>,
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
    /// The right that is missing, and how it is given.
    pub right: Option<String>,
}

/// Why there is no survey.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// No client can be made of the configuration.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// The brokers do not let us in.
    #[error("{reason}")]
    Refused {
        /// What to do about it.
        why: &'static str,
        /// The library's words.
        reason: String,
    },
    /// None answers.
    #[error("{0}")]
    Away(#[from] KafkaError),
}

impl SurveyError {
    /// What helps.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused { why, .. } => why,
            Self::Config(_) => "correct [kafka]",
            Self::Away(_) => "start the brokers, or correct kafka.brokers and kafka.options",
        }
    }
}

/// Whether a broker lets us in.
///
/// # Errors
/// If none does, or none answers, in `wait`.
pub fn reach(config: &KafkaConfig, wait: Duration) -> Result<(), SurveyError> {
    brokers(&listening(config, Lane::High)?, wait).map(drop)
}

/// Asks the brokers. Joins no group, makes no topic and writes nothing: whether a topic may be written to is not told.
///
/// # Errors
/// If no broker answers, or lets us in, in `wait`.
pub fn look(config: &KafkaConfig, wait: Duration) -> Result<Survey, SurveyError> {
    let rights = Rights::of(config);
    let consumer = listening(config, Lane::High)?;
    let brokers = brokers(&consumer, wait)?;
    let lanes = Lane::ALL.map(|lane| (config.lane_topic(lane), &["Read", "Write"][..]));
    let others = [(config.results_topic(), &["Write"][..]), (config.dead_topic(), &["Read", "Write"][..])];
    let mut topics = Vec::new();
    for (name, operations) in lanes.into_iter().chain(others) {
        let metadata = consumer.fetch_metadata(Some(&name), wait)?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        let error = found.and_then(MetadataTopic::error).map(Code::from);
        let mut right =
            (error == Some(Code::TopicAuthorizationFailed)).then(|| rights.missing(operations, "topic", &name));
        if error.is_none()
            && found.is_some()
            && operations.contains(&"Read")
            && may_read(config, &name, wait)? == Some(false)
        {
            right = Some(rights.missing(&["Read"], "topic", &name));
        }
        let problem = error.map(|error| error.to_string());
        let partitions = found.filter(|_| problem.is_none()).map(|topic| (topic.partitions().len(), fewest(topic)));
        topics.push(TopicSurvey { name, partitions, problem, right });
    }
    let mut groups = Vec::new();
    for lane in Lane::ALL {
        if !may_join(config, lane, wait)? {
            groups.push(rights.missing(&["Read"], "group", &config.lane_group(lane)));
        }
    }
    Ok(Survey { brokers, topics, groups })
}

/// How many there are. Fails before the time is up if they do not let us in.
fn brokers(consumer: &BaseConsumer<Heard>, wait: Duration) -> Result<usize, SurveyError> {
    let began = Instant::now();
    loop {
        let error = match consumer.fetch_metadata(None, QUESTION_WAIT) {
            Ok(metadata) => return Ok(metadata.brokers().len()),
            Err(error) => error,
        };
        let refused = heard(consumer).into_iter().find_map(|(_, reason)| Some((explain(&reason)?, reason)));
        let passed = began.elapsed();
        match refused {
            // Another broker may be slower to answer.
            Some((refusal, reason)) if passed >= wait.min(if refusal.sure { REFUSED_WAIT } else { UNSURE_WAIT }) => {
                return Err(SurveyError::Refused { why: refusal.why, reason });
            }
            None if passed >= wait => return Err(SurveyError::Away(error)),
            _ => {}
        }
    }
}

/// Whether a topic that is there may be read: reads at the end of its first partition. `None` if that was not to be known in `wait`.
pub(super) fn may_read(config: &KafkaConfig, topic: &str, wait: Duration) -> Result<Option<bool>, SurveyError> {
    let consumer: BaseConsumer<Silent> = config.reader()?.create_with_context(Silent)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::End)?;
    consumer.assign(&list)?;
    let until = Instant::now() + wait;
    while Instant::now() < until {
        match consumer.poll(until.saturating_duration_since(Instant::now())) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(Some(true)),
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                return Ok(Some(false));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Whether the group of a lane may be used: asks how far it is. What is not to be known in `wait` counts as allowed.
fn may_join(config: &KafkaConfig, lane: Lane, wait: Duration) -> Result<bool, SurveyError> {
    let consumer = listening(config, lane)?;
    let mut list = TopicPartitionList::new();
    list.add_partition(&config.lane_topic(lane), 0);
    let forbidden = |error: &KafkaError| error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed);
    // Who may not ask for the coordinator is told so as an error of the client, and the question waits on.
    let until = Instant::now() + wait;
    while Instant::now() < until {
        match consumer.committed_offsets(list.clone(), QUESTION_WAIT) {
            Ok(_) => return Ok(true),
            Err(error) if forbidden(&error) => return Ok(false),
            Err(_) if heard(&consumer).iter().any(|(error, _)| forbidden(error)) => return Ok(false),
            Err(_) => {}
        }
    }
    Ok(true)
}

fn fewest(topic: &MetadataTopic) -> usize {
    topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0)
}

fn listening(config: &KafkaConfig, lane: Lane) -> Result<BaseConsumer<Heard>, SurveyError> {
    let mut client = config.consumer(lane)?;
    client.set("allow.auto.create.topics", "false");
    Ok(client.create_with_context(Heard::default())?)
}

/// The errors that a client had.
fn heard(consumer: &BaseConsumer<Heard>) -> Vec<(KafkaError, String)> {
    for _ in 0..HEARD_MAX {
        if consumer.poll(HEARD_WAIT).is_none() {
            break;
        }
    }
    consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Keeps the errors of a client.
#[derive(Default)]
struct Heard(Mutex<Vec<(KafkaError, String)>>);

impl Heard {
    fn keep(&self, error: KafkaError, reason: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < HEARD_MAX {
            heard.push((error, reason.to_owned()));
        }
    }
}

impl ClientContext for Heard {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "FAIL" {
            self.keep(KafkaError::Global(Code::Fail), text.split_once("]: ").map_or(text, |(_, reason)| reason));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.keep(error, reason);
    }
}

impl ConsumerContext for Heard {}
