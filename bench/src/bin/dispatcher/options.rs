//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use pushgate_bench::record::root;

use crate::rows::Row;

/// Measures the dispatcher.
#[derive(Debug, Parser)]
pub struct Options {
    /// Rows to measure; all by default
    #[arg(value_enum, default_values_t = Row::value_variants().to_vec())]
    pub rows: Vec<Row>,
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/pushgate")]
    pub bin: PathBuf,
    /// Write bench/results/dispatcher-ROW.json
    #[arg(long)]
    pub record: bool,
    /// Rounds
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Users, each with a session
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub users: Option<u32>,
    /// Messages of a round
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub messages: Option<u32>,
    /// Say the processes' ids, and wait so many seconds before the first round: time to attach a profiler
    #[arg(long, default_value_t = 0)]
    pub pause_s: u64,
}

impl Options {
    /// Where servers and services keep their data: on the disk of the checkout, not in memory.
    pub fn scratch(&self) -> PathBuf {
        root().join("target/bench-dispatcher")
    }
}
