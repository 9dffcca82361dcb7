//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use pushgate_bench::record::root;

/// Measures delivery end to end: from a push's planned time to its frame at the client.
#[derive(Debug, Parser)]
pub struct Options {
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/pushgate")]
    pub bin: PathBuf,
    /// Forms to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Form::Embedded, Form::Cluster])]
    pub forms: Vec<Form>,
    /// Pushes a second
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000], value_parser = clap::value_parser!(u64).range(1..))]
    pub rates: Vec<u64>,
    /// Connected users, one session each
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub users: u64,
    /// Measured seconds of each run
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Seconds at the same rate before, which are not measured
    #[arg(long, default_value_t = 8)]
    pub warm_up_s: u64,
    /// Length of each push's body text
    #[arg(long, default_value_t = 100)]
    pub body_bytes: usize,
    /// Write bench/results/e2e-FORM-RATE.json
    #[arg(long)]
    pub record: bool,
}

/// How Pushgate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// `pushgate dev`, messages over REST
    Embedded,
    /// `pushgate gateway` and `pushgate dispatcher` with Kafka and Redis, messages over Kafka
    Cluster,
}

impl Form {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
        }
    }
}

impl Options {
    /// Where servers and services keep their data: on the disk of the checkout, not in memory.
    pub fn scratch(&self) -> PathBuf {
        root().join("target/bench-e2e")
    }
}
