//! Kafka: the lanes as topics, results and dead letters.
//!
//! | module | owns |
//! |---|---|
//! | [`dead`] | reading dead letters |
//! | [`config`] | `[kafka]` and what is passed on to librdkafka |
//! | [`health`] | what cannot be reached, and since when |
//! | [`source`] | one lane's consumer |
//! | [`producer`] | the idempotent producer, its budget and delivery reports |
//! | [`intake`] | REST's appends to the lanes |
//! | [`results`] | results and dead letters |
//! | [`survey`] | what the brokers have of what is needed |

pub mod config;
pub mod dead;
pub mod health;
pub mod intake;
pub mod producer;
pub mod results;
pub mod source;
pub mod survey;

mod events;

pub use self::{
    config::{KafkaConfig, KafkaConfigError},
    dead::KafkaDead,
    health::{KafkaHealth, Outage},
    intake::KafkaIntake,
    producer::KafkaProducer,
    results::KafkaResults,
    source::KafkaSource,
};
