//! One measurement each. A row says what it measures, runs it, and answers its samples.

mod codes;
mod due;
mod everyone;
mod failover;
mod lanes;
mod mail;
mod mail_lane;
mod silent;
mod sms;
mod tasks;
mod throughput;

use std::error::Error;

use clap::ValueEnum;
use serde_json::Value;

use crate::options::Options;

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Pushes per processor second of the dispatcher, without acknowledgements and results
    Throughput,
    /// The same with acknowledgements, marks, states and results
    ThroughputAcked,
    /// Latency in the lane high while the lane low works off a backlog
    Lanes,
    /// Latency in the lane normal while mails in it go to a provider that never answers
    Silent,
    /// Text messages to a message centre by SMPP, against a bare client loop
    Sms,
    /// One message to everyone, against the gateway's own fan-out
    All,
    /// A million tasks: memory, changes, and how late tasks are fired
    Schedule,
    /// Due tasks worked off, against BullMQ
    Due,
    /// Mails through a provider's pool alone, against nodemailer's
    Mail,
    /// One-time codes while a campaign waits for the same account
    Codes,
    /// Mails while the server of the first of two accounts is down for a minute
    Failover,
    /// Mails from the lane to the mail server, with marks and results, against nodemailer's pool
    MailLane,
}

impl Row {
    /// As on the command line and in the record's name.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it measures.
    pub fn what(self) -> &'static str {
        match self {
            Self::Schedule => {
                "a million tasks in Redis: memory of each, changes beside them, and how late tasks are fired"
            }
            Self::Due => "due tasks claimed, published and acknowledged, against BullMQ on the same Redis",
            Self::Mail => {
                "mails a second to smtp-sink over 8 connections, pipelining offered or not, against nodemailer's pool"
            }
            Self::Codes => {
                "latency of one-time codes from the planned send to the final dot, on an idle system and while 100,000 mails wait for the same account of 2,000 a second"
            }
            Self::Failover => {
                "mails at a steady rate while the server of the first of two accounts is gone or silent for a minute"
            }
            Self::MailLane => {
                "mails a second from a lane of Kafka to smtp-sink over 8 connections, with marks, states and results, against nodemailer's pool"
            }
            Self::All => {
                "one message to everyone of 100,000 who are online, through Kafka and the dispatcher, and as the link's record alone"
            }
            Self::Sms => {
                "submits a second to npm's smpp over one connection with a window of 100, against a bare client loop"
            }
            Self::Lanes => {
                "latency of the lane high from the planned send to the client's frame, alone and while the lane low works off a backlog"
            }
            Self::Silent => {
                "latency of pushes in the lane normal from the planned send to the client's frame, alone and while 100,000 mails in the same lane go to a provider that never answers"
            }
            Self::Throughput => {
                "pushes per processor second of the dispatcher from Kafka to the link: ack false, no results, one recipient a record"
            }
            Self::ThroughputAcked => {
                "pushes per processor second of the dispatcher from Kafka to the result: acknowledged, marks and states in Redis"
            }
        }
    }

    /// Measures.
    pub fn run(self, options: &Options) -> Result<Value, Box<dyn Error>> {
        match self {
            Self::Lanes => lanes::run(options),
            Self::Silent => silent::run(options),
            Self::Sms => sms::run(options),
            Self::All => everyone::run(options),
            Self::Schedule => tasks::run(options),
            Self::Due => due::run(options),
            Self::Mail => mail::run(options),
            Self::Codes => codes::run(options),
            Self::Failover => failover::run(options),
            Self::MailLane => mail_lane::run(options),
            Self::Throughput => throughput::run(options, false),
            Self::ThroughputAcked => throughput::run(options, true),
        }
    }
}

/// The lower median; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
