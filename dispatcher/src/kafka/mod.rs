//! Kafka: the lanes as topics, results and dead letters.
//!
//! | module | owns |
//! |---|---|
//! | [`dead`] | reading dead letters |
//! | [`config`] | `[kafka]` and what is passed on to librdkafka |
//! | `security` | TLS and login, of every client |
//! | `refusal` | why brokers do not let us in, or not do something |
//! | [`health`] | what cannot be reached or used, and since when |
//! | [`source`], `queues`, `context` | one lane's consumer, what is fetched, and what calls it back |
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

mod context;
mod events;
mod queues;
mod refusal;
mod security;

pub use self::{
    config::{KafkaConfig, KafkaConfigError},
    dead::KafkaDead,
    health::{KafkaHealth, Outage},
    intake::KafkaIntake,
    producer::KafkaProducer,
    results::KafkaResults,
    security::Sasl,
    source::KafkaSource,
};
