//! The embedded log under kill -9, while it is appended to, consumed and trimmed.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use pushgate_dispatcher::{
    embedded::{EmbeddedLog, EmbeddedStore},
    seams::{Intake, TaskSource},
};
use pushgate_protocol::link::Lane;

use crate::suite;

const DIR: &str = "PUSHGATE_TEST_CRASH_DIR";
const FIRST: &str = "PUSHGATE_TEST_CRASH_FIRST";
const ROUNDS: usize = 5;
const BATCH: usize = 10;
const LINES: usize = 2_000;

/// The child: appends and consumes without end, telling what was acknowledged and what is about to be settled.
#[test]
#[ignore = "started by acknowledged_records_survive_kill_nine"]
fn appender() {
    let log = EmbeddedLog::open(EmbeddedStore::open(std::env::var(DIR).unwrap()).unwrap()).unwrap();
    let first: usize = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut source = log.consumer(Lane::High).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (first..).step_by(BATCH) {
                let records = (n..n + BATCH).map(|n| suite::record("u", n.to_string())).collect();
                suite::block_on(log.append(Lane::High, records)).unwrap();
                tell("acknowledged", n..n + BATCH);
            }
        });
        let mut held = Vec::new();
        loop {
            let mut records = Vec::new();
            suite::poll(&mut source, 100, &mut records);
            held.extend(records);
            // The latest first, and always a few left over.
            let settled: Vec<_> = held.drain(..held.len().saturating_sub(3)).rev().collect();
            tell("settled", numbers(&suite::values(&settled)));
            source.settle(&suite::positions(&settled));
            source.commit().unwrap();
        }
    });
}

fn tell(what: &str, numbers: impl IntoIterator<Item = usize>) {
    let lines: String = numbers.into_iter().map(|n| format!("{what} {n}\n")).collect();
    std::io::stderr().write_all(lines.as_bytes()).unwrap();
}

fn numbers(values: &[String]) -> Vec<usize> {
    values.iter().map(|v| v.parse().unwrap()).collect()
}

/// Runs the child until it has told enough, kills it, and adds what it told.
fn run_and_kill(dir: &Path, first: usize, acknowledged: &mut BTreeSet<usize>, settled: &mut BTreeSet<usize>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::appender", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    for (told, line) in lines.enumerate() {
        if let Some(n) = line.strip_prefix("acknowledged ") {
            acknowledged.insert(n.parse().unwrap());
        } else if let Some(n) = line.strip_prefix("settled ") {
            settled.insert(n.parse().unwrap());
        }
        if told == LINES {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

#[test]
fn acknowledged_records_survive_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut settled) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        run_and_kill(dir.path(), round * 1_000_000, &mut acknowledged, &mut settled);
    }
    let log = EmbeddedLog::open(EmbeddedStore::open(dir.path()).unwrap()).unwrap();
    let left = usize::try_from(log.backlog(Lane::High).records).unwrap();
    let again = numbers(&suite::values(&suite::take(&mut log.consumer(Lane::High).unwrap(), left)));
    assert!(again.is_sorted(), "{again:?}");
    assert!(acknowledged.len() > ROUNDS * BATCH);
    let found: BTreeSet<usize> = again.into_iter().collect();
    let lost: Vec<_> = acknowledged.iter().filter(|n| !settled.contains(n) && !found.contains(n)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
