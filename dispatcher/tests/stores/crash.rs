//! What was acknowledged survives kill -9.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use pushgate_dispatcher::{
    embedded::{EmbeddedMessages, EmbeddedStore, EmbeddedStreams},
    seams::{Mark, MarkQuery, MessageStore, Reservation, StreamOp, Streams},
    states::MessageBounds,
    stored::StreamBounds,
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
};

use crate::stream_facts::{NOW, append, key, number, push, settle, user};

const DIR: &str = "PUSHGATE_TEST_CRASH_DIR";
const ROUNDS: usize = 4;
const ACKNOWLEDGED: usize = 150;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The child: appends without end, telling each append that was acknowledged.
#[test]
#[ignore = "started by acknowledged_appends_survive_kill_nine"]
fn appender() {
    let dir = std::env::var(DIR).unwrap();
    let streams = EmbeddedStreams::new(EmbeddedStore::open(dir).unwrap(), StreamBounds::default()).unwrap();
    let round: u64 = std::env::var("ROUND").unwrap().parse().unwrap();
    let appender = |lane: u64| {
        let streams = &streams;
        async move {
            for n in 0.. {
                let n = round << 32 | lane << 24 | n;
                // A window of ten, the older ones delivered, as in a real stream; the last ones stay.
                let mut ops = vec![append(&user(&format!("u{lane}")), push(n))];
                ops.extend((n & 0xff_ffff >= 10).then(|| settle(&user(&format!("u{lane}")), n - 10, Mark::Delivered)));
                streams.apply(ops, NOW).await.unwrap();
                writeln!(std::io::stderr(), "acknowledged {n}").unwrap();
            }
        }
    };
    block_on(futures_util::future::join_all((0..8).map(appender)));
}

fn run_and_kill(dir: &Path, round: usize) -> BTreeSet<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::appender", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env("ROUND", round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let told = |line: String| line.strip_prefix("acknowledged ").and_then(|n| n.parse().ok());
    let mut acknowledged: BTreeSet<u64> = lines.by_ref().filter_map(told).take(ACKNOWLEDGED).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(lines.filter_map(told));
    acknowledged
}

#[test]
fn acknowledged_appends_survive_kill_nine() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let told = run_and_kill(dir.path(), round);
        assert!(told.len() >= ACKNOWLEDGED, "the child acknowledged {} appends only", told.len());
        acknowledged.extend(told);
    }
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let streams = EmbeddedStreams::new(store, StreamBounds::default()).unwrap();
    block_on(async {
        let mut stored = BTreeSet::new();
        for lane in 0..8 {
            let page = streams.read(user(&format!("u{lane}")), 0, 1_000, 0, NOW).await.unwrap();
            stored.extend(page.entries.iter().map(|(_, push)| number(push)));
        }
        for n in acknowledged {
            let owner = user(&format!("u{}", n >> 24 & 0xff));
            let mark = streams.marks(vec![MarkQuery { user: owner, key: key(n) }], NOW).await.unwrap()[0];
            let expected = if stored.contains(&n) { Mark::Stored } else { Mark::Delivered };
            assert_eq!(mark, Some(expected), "push {n:x}");
        }
    });
}

#[test]
fn streams_marks_and_messages_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let alice = user("alice");
    let id = |n: u64| (MessageId::parse(&format!("m{n}")).unwrap(), [n as u8; 16], Lane::Low);
    let app = AppId::parse("shop").unwrap();
    for round in 0..5u64 {
        let store = EmbeddedStore::open(dir.path()).unwrap();
        let streams = EmbeddedStreams::new(store.clone(), StreamBounds::default()).unwrap();
        let messages = EmbeddedMessages::new(store, MessageBounds::default()).unwrap();
        let now_ms = NOW + round * 600_000;
        block_on(async {
            let page = streams.read(alice.clone(), 0, 100, 0, now_ms).await.unwrap();
            let numbers: Vec<u64> = page.entries.iter().map(|(_, push)| number(push)).collect();
            assert_eq!(numbers, (0..round).map(|n| 2 * n).collect::<Vec<_>>());
            let query = |n| MarkQuery { user: alice.clone(), key: key(n) };
            if round > 1 {
                let queries = vec![query(2 * round - 1), query(2 * round - 3)];
                let marks = streams.marks(queries, now_ms).await.unwrap();
                assert_eq!(marks, [Some(Mark::Delivered), None], "marks of the last window and of the one before");
            }
            let ops: Vec<StreamOp> =
                vec![append(&alice, push(2 * round)), settle(&alice, 2 * round + 1, Mark::Delivered)];
            streams.apply(ops, now_ms).await.unwrap();
            let known = messages.reserve(app.clone(), (0..=round).map(id).collect(), now_ms).await.unwrap();
            let expected = (0..round).map(|_| Reservation::Accepted(Lane::Low)).chain([Reservation::New]);
            assert_eq!(known, expected.collect::<Vec<_>>());
            messages.confirm(app.clone(), vec![id(round).0]).await.unwrap();
        });
    }
}
