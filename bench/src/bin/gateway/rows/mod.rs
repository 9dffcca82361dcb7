//! One measurement each. A row says what it measures, runs it in interleaved rounds, and answers its samples.

mod accepts;
mod churn;
mod coalescing;
mod compression;
mod echo;
mod engines;
mod fan_out;
mod fan_out_tls;
mod hold;
mod idle;
mod slow_readers;

use std::error::Error;

use clap::ValueEnum;
use serde_json::Value;

use crate::{naming::Naming, options::Options, server::Setup};

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Memory of an idle session, ids of 24 and 16 bytes
    Idle,
    /// The same with ids of 36 bytes
    IdleLongIds,
    /// Memory of an idle session under TLS
    IdleTls,
    /// One push to each of 10,000 sessions, against other servers
    FanOut,
    /// The same under TLS, against the gateway without
    FanOutTls,
    /// Ten pushes waiting for each session
    Coalescing,
    /// Pushes of several lengths, compressed and not
    Compression,
    /// Echoes, against the raw ring
    Echo,
    /// Connections taken with a token, against those without
    Accepts,
    /// What others notice of clients that stop reading
    SlowReaders,
    /// io_uring against epoll
    Engines,
    /// Memory after 20 rounds of 50,000 clients
    Churn,
    /// 100,000 connections with heartbeats, all reached
    Hold,
}

impl Row {
    /// As on the command line and in the record's file.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What is measured.
    pub fn what(self) -> &'static str {
        match self {
            Self::Idle | Self::IdleLongIds | Self::IdleTls => {
                "growth of the gateway's anonymous memory per idle session; each received and acknowledged 3 pushes"
            }
            Self::FanOut | Self::FanOutTls => {
                "one 128-byte push to each session over a node link: messages per busy tick of the server's processor"
            }
            Self::Coalescing => {
                "10 pushes waiting for a session against one: messages per busy tick of the server's processor"
            }
            Self::Compression => {
                "pushes of words to each session, compressed and not: bytes on the wire and the gateway's thread time"
            }
            Self::Echo => "echoes of 64-byte messages per busy tick of the server's processor",
            Self::Accepts => "connections accepted and upgraded per busy tick of the server's processor",
            Self::SlowReaders => "latency of pushes to the others while 1 % of the clients do not read",
            Self::Engines => "fan-out, echo and memory of the engines uring and epoll",
            Self::Churn => "the gateway's memory over rounds of connecting and leaving",
            Self::Hold => "100,000 connections with heartbeats, each reached by a push of its own",
        }
    }

    /// Measures.
    pub fn run(self, options: &Options) -> Result<Value, Box<dyn Error>> {
        match self {
            Self::Idle => idle::run(options, Naming::USUAL, Setup::ONE_SHARD),
            Self::IdleLongIds => idle::run(options, Naming { user_bytes: 36, device_bytes: 36 }, Setup::ONE_SHARD),
            Self::IdleTls => idle::run(options, Naming::USUAL, Setup { tls: true, ..Setup::ONE_SHARD }),
            Self::FanOut => fan_out::run(options),
            Self::FanOutTls => fan_out_tls::run(options),
            Self::Coalescing => coalescing::run(options),
            Self::Compression => compression::run(options),
            Self::Echo => echo::run(options),
            Self::Accepts => accepts::run(options),
            Self::SlowReaders => slow_readers::run(options),
            Self::Engines => engines::run(options),
            Self::Churn => churn::run(options),
            Self::Hold => hold::run(options),
        }
    }
}
