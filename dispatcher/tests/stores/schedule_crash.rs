//! Dispatchers that are killed between a claim and its settlement: kill -9 of real processes.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use pushgate_dispatcher::{
    clock::unix_ms,
    embedded::{EmbeddedSchedule, EmbeddedStore},
    redis::{RedisLink, RedisSchedule},
    schedule::driver::ScheduleLoop,
    seams::{BoxFuture, Intake, NewRecord, ScheduleStore, StoreError, Task},
};
use pushgate_protocol::link::Lane;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    redis_server::Server,
    schedule_facts::{parts, scheduled},
    scoped::Scoped,
};

const STORE: &str = "PUSHGATE_TEST_SCHEDULE";
const LOG: &str = "PUSHGATE_TEST_SCHEDULE_LOG";
const HANGS: &str = "PUSHGATE_TEST_SCHEDULE_HANGS";
const LEASE_MS: u64 = 500;

/// A lane in a file: a line for each occurrence, durable before it is acknowledged, and told.
struct FileLog {
    file: Mutex<File>,
    /// The first batch is never acknowledged.
    hangs: bool,
}

impl Intake for FileLog {
    fn append(&self, _: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let lines = records.iter().map(|record| {
            let json: Value = serde_json::from_slice(&record.value).unwrap();
            format!("{}\n", json["occurrence"].as_str().unwrap())
        });
        let lines: String = lines.collect();
        {
            let mut file = self.file.lock().unwrap();
            file.write_all(lines.as_bytes()).unwrap();
            file.sync_data().unwrap();
        }
        eprintln!("appended {}", records.len());
        match self.hangs {
            true => Box::pin(std::future::pending()),
            false => Box::pin(async { Ok(()) }),
        }
    }
}

async fn open(place: &str) -> Arc<dyn ScheduleStore> {
    match place.split_once(' ') {
        Some((url, scope)) => Arc::new(RedisSchedule::with_prefix(RedisLink::new(url, 0).unwrap(), scope)),
        None => {
            let store = EmbeddedStore::open(place).unwrap();
            Arc::new(EmbeddedSchedule::new(store, Arc::new(unix_ms)).unwrap())
        }
    }
}

/// The child: a dispatcher's schedule, until it is killed.
#[test]
#[ignore = "started by the tests of this file"]
fn dispatcher() {
    let file = OpenOptions::new().append(true).create(true).open(std::env::var(LOG).unwrap()).unwrap();
    let intake = FileLog { file: Mutex::new(file), hangs: std::env::var_os(HANGS).is_some() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(&std::env::var(STORE).unwrap()).await;
        let (_stop, stopped) = watch::channel(false);
        let loops = ScheduleLoop::all(&parts(store, Arc::new(intake), LEASE_MS));
        futures_util::future::join_all(loops.into_iter().map(|one| one.run(stopped.clone()))).await;
    });
}

struct Dispatcher {
    process: Child,
}

/// What all dispatchers of a test tell, and what they have to send.
struct Watched<'a> {
    told: Receiver<String>,
    tell: Sender<String>,
    log: &'a Path,
    expected: &'a [String],
}

impl<'a> Watched<'a> {
    fn new(log: &'a Path, expected: &'a [String]) -> Self {
        let (tell, told) = channel();
        Self { told, tell, log, expected }
    }

    fn start(&self, place: &str, hangs: bool) -> Dispatcher {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "schedule_crash::dispatcher", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(STORE, place).env(LOG, self.log).stdout(Stdio::null()).stderr(Stdio::piped());
        if hangs {
            command.env(HANGS, "1");
        }
        let mut process = command.spawn().unwrap();
        let (lines, tell) = (BufReader::new(process.stderr.take().unwrap()).lines(), self.tell.clone());
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        Dispatcher { process }
    }

    fn all_sent(&self) -> bool {
        let sent = sent(self.log);
        assert!(
            sent.keys().all(|occurrence| self.expected.binary_search(occurrence).is_ok()),
            "something else was sent"
        );
        sent.keys().eq(self.expected)
    }

    /// Waits until the dispatchers that run have appended so many batches, or there is nothing more to append.
    fn until_appended(&self, batches: usize) {
        let mut left = batches;
        while left > 0 && !self.all_sent() {
            let line = self.told.recv().unwrap();
            assert!(!line.contains("panicked"), "{line}");
            left -= usize::from(line.starts_with("appended"));
        }
    }

    fn until_all_sent(&self) {
        self.until_appended(usize::MAX);
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How often each occurrence was sent.
fn sent(log: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
        *counts.entry(line.to_owned()).or_insert(0) += 1;
    }
    counts
}

/// Tasks that are due, and all their occurrences.
fn tasks() -> (Vec<Task>, Vec<String>) {
    let now_ms = unix_ms();
    let (mut tasks, mut expected) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let accepted_ms = now_ms - 40_000 - n;
        tasks.push(scheduled(&format!("once{n}"), json!({"delay": "1s"}), accepted_ms));
        expected.push(format!("once{n}@{}", accepted_ms + 1_000));
        tasks.push(scheduled(
            &format!("many{n}"),
            json!({"every": "1s", "times": 40, "misfire": "catch_up"}),
            accepted_ms,
        ));
        expected.extend((0..40).map(|k| format!("many{n}@{}", accepted_ms + k * 1_000)));
    }
    expected.sort();
    (tasks, expected)
}

fn add(place: &str, tasks: Vec<Task>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { open(place).await.add(tasks).await }).unwrap();
}

fn log_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("sent")
}

#[test]
fn a_dispatcher_killed_between_append_and_settlement_loses_nothing_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (place, log) = (dir.path().join("data"), log_in(&dir));
    let place = place.to_str().unwrap();
    let (tasks, expected) = tasks();
    add(place, tasks);
    let watched = Watched::new(&log, &expected);
    let hanging = watched.start(place, true);
    watched.until_appended(1);
    drop(hanging);
    let first = sent(&log);
    assert!(!first.is_empty());
    for batches in [3, 5] {
        let killed = watched.start(place, false);
        watched.until_appended(batches);
        drop(killed);
    }
    let last = watched.start(place, false);
    watched.until_all_sent();
    drop(last);
    assert!(
        first.keys().all(|occurrence| sent(&log)[occurrence] > 1),
        "what nobody settled was sent again, under its name"
    );
}

#[test]
fn a_dispatcher_killed_beside_another_loses_nothing_in_redis() {
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = (Server::shared(), log_in(&dir));
    let place = format!("{} {}", server.url(), Scoped::<()>::fresh());
    let (tasks, expected) = tasks();
    add(&place, tasks);
    let watched = Watched::new(&log, &expected);
    let hanging = watched.start(&place, true);
    watched.until_appended(1);
    drop(hanging);
    let held = sent(&log);
    let other = watched.start(&place, false);
    for batches in [2, 4] {
        let killed = watched.start(&place, false);
        watched.until_appended(batches);
        drop(killed);
    }
    watched.until_all_sent();
    drop(other);
    let all = sent(&log);
    assert!(held.keys().all(|occurrence| all[occurrence] > 1), "the other sent what the first held");
    let doubled = all.values().filter(|times| **times > 1).count();
    assert!(doubled < expected.len() / 2, "{doubled} of {} doubled", expected.len());
}
