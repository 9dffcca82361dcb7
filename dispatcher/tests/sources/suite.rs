//! What every source and its intake must do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use pushgate_dispatcher::{
    memory::{Fault, Flaky},
    seams::{Intake, NewRecord, Position, Record, SourceError, TaskSource},
};
use pushgate_protocol::link::Lane;

/// Polls that may pass before a test gives up: half a minute of silence.
const POLLS_MAX: usize = 300;
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Empty lanes of one backend.
pub trait Backend {
    /// The producing side.
    fn intake(&self) -> Arc<dyn Intake>;

    /// A consumer of a lane, as a process that starts has it.
    fn open(&self, lane: Lane) -> Box<dyn TaskSource>;
}

/// Runs the suite over a backend, if there is one: one test per fact.
macro_rules! conformance {
    ($backend:expr; $($fact:ident),+ $(,)?) => {
        $(#[test] fn $fact() {
            if let Some(backend) = $backend {
                $crate::suite::$fact(&backend);
            }
        })+
    };
    ($backend:expr) => {
        $crate::suite::conformance! { $backend;
            records_of_a_key_come_in_the_order_appended,
            unsettled_records_come_again_after_a_restart,
            settled_records_do_not_come_again,
            out_of_order_settlement_commits_only_the_prefix,
            an_empty_poll_returns,
            a_waiting_poll_is_woken_by_an_append,
            any_bytes_pass_unchanged,
            lanes_do_not_mix,
            no_more_than_asked_for_is_polled,
            nothing_asked_for_is_nothing_polled,
            concurrent_appends_are_all_found,
            the_largest_message_passes,
            an_intake_that_loses_replies_loses_no_record,
            polls_and_commits_that_fail_lose_nothing,
        }
    };
}
pub(crate) use conformance;

pub fn record(key: &str, value: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into() }
}

pub fn append(backend: &impl Backend, lane: Lane, records: Vec<NewRecord>) {
    block_on(backend.intake().append(lane, records)).unwrap();
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Polls until there are `count` records.
pub fn take(source: &mut dyn TaskSource, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    for _ in 0..POLLS_MAX {
        poll(source, count - records.len(), &mut records);
        if records.len() == count {
            return records;
        }
    }
    panic!("{} of {count} records came", records.len());
}

/// One poll. A lane may be unavailable for a moment, e.g. while a new topic becomes known.
pub fn poll(source: &mut dyn TaskSource, max: usize, records: &mut Vec<Record>) {
    match source.poll(max, POLL_WAIT, records) {
        Ok(()) => {}
        Err(SourceError::Unavailable { .. }) => std::thread::yield_now(),
        Err(error) => panic!("{error}"),
    }
}

pub fn positions(records: &[Record]) -> Vec<Position> {
    records.iter().map(|r| r.position).collect()
}

pub fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()).collect()
}

fn numbered(key: &str, numbers: std::ops::Range<usize>) -> Vec<NewRecord> {
    numbers.map(|n| record(key, n.to_string())).collect()
}

fn expected(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

pub fn records_of_a_key_come_in_the_order_appended(backend: &impl Backend) {
    let keys: Vec<String> = (0..10).map(|k| format!("user-{k}")).collect();
    for batch in 0..6 {
        let all = (batch * 50..(batch + 1) * 50).map(|n| record(&keys[n % 10], n.to_string())).collect();
        append(backend, Lane::Normal, all);
    }
    let mut source = backend.open(Lane::Normal);
    let mut by_key = BTreeMap::<Bytes, Vec<usize>>::new();
    for r in take(&mut *source, 300) {
        assert!(r.time_ms > 0);
        let number = std::str::from_utf8(&r.value).unwrap().parse().unwrap();
        by_key.entry(r.key.unwrap()).or_default().push(number);
    }
    assert_eq!(by_key.len(), 10);
    for (key, numbers) in by_key {
        assert_eq!(numbers.len(), 30, "{key:?}");
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
}

pub fn unsettled_records_come_again_after_a_restart(backend: &impl Backend) {
    append(backend, Lane::High, numbered("u", 0..10));
    let mut source = backend.open(Lane::High);
    let records = take(&mut *source, 10);
    assert_eq!(source.window().unsettled, 10);
    source.settle(&positions(&records[..6]));
    assert_eq!(source.window().unsettled, 4);
    source.commit().unwrap();
    drop(source);
    let mut source = backend.open(Lane::High);
    assert_eq!(values(&take(&mut *source, 4)), expected(6..10));
}

pub fn settled_records_do_not_come_again(backend: &impl Backend) {
    append(backend, Lane::High, numbered("u", 0..5));
    let mut source = backend.open(Lane::High);
    let records = take(&mut *source, 5);
    source.settle(&positions(&records));
    source.commit().unwrap();
    source.commit().unwrap();
    drop(source);
    append(backend, Lane::High, numbered("u", 5..6));
    let mut source = backend.open(Lane::High);
    assert_eq!(values(&take(&mut *source, 1)), expected(5..6));
}

pub fn out_of_order_settlement_commits_only_the_prefix(backend: &impl Backend) {
    append(backend, Lane::Low, numbered("u", 0..10));
    let mut source = backend.open(Lane::Low);
    let records = take(&mut *source, 10);
    let mut settled = positions(&records);
    settled.remove(3);
    settled.reverse();
    source.settle(&settled);
    source.settle(&settled);
    assert_eq!(source.window().unsettled, 1);
    source.commit().unwrap();
    drop(source);
    let mut source = backend.open(Lane::Low);
    assert_eq!(values(&take(&mut *source, 7)), expected(3..10));
}

pub fn an_empty_poll_returns(backend: &impl Backend) {
    let mut source = backend.open(Lane::High);
    let mut records = Vec::new();
    for _ in 0..3 {
        poll(&mut *source, 10, &mut records);
    }
    source.poll(10, Duration::ZERO, &mut records).unwrap();
    assert!(records.is_empty());
    source.commit().unwrap();
}

pub fn a_waiting_poll_is_woken_by_an_append(backend: &impl Backend) {
    let mut source = backend.open(Lane::High);
    append(backend, Lane::High, numbered("u", 0..1));
    take(&mut *source, 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut records = Vec::new();
            source.poll(10, Duration::from_secs(3600), &mut records).unwrap();
            values(&records)
        });
        append(backend, Lane::High, numbered("u", 1..2));
        assert_eq!(waiting.join().unwrap(), expected(1..2));
    });
}

pub fn any_bytes_pass_unchanged(backend: &impl Backend) {
    let bytes: Vec<Bytes> = vec![
        Bytes::from_static(b"\xff\xfe\x00{"),
        Bytes::new(),
        Bytes::from_static(b"{\"users\": nonsense"),
        Bytes::from((0..=255).collect::<Vec<u8>>()),
    ];
    let key = Bytes::from_static(b"\x00\xc3\x28");
    append(backend, Lane::Normal, bytes.iter().map(|v| NewRecord { key: key.clone(), value: v.clone() }).collect());
    let records = take(&mut *backend.open(Lane::Normal), bytes.len());
    assert!(records.iter().all(|r| r.key.as_ref() == Some(&key)));
    assert_eq!(records.into_iter().map(|r| r.value).collect::<Vec<_>>(), bytes);
}

pub fn lanes_do_not_mix(backend: &impl Backend) {
    for lane in Lane::ALL {
        append(backend, lane, vec![record("u", lane.as_str())]);
    }
    for lane in Lane::ALL {
        let mut source = backend.open(lane);
        let mut records = take(&mut *source, 1);
        poll(&mut *source, 10, &mut records);
        assert_eq!(values(&records), [lane.as_str()]);
    }
}

pub fn no_more_than_asked_for_is_polled(backend: &impl Backend) {
    append(backend, Lane::Normal, numbered("u", 0..20));
    let mut source = backend.open(Lane::Normal);
    let first = take(&mut *source, 1);
    let mut records = Vec::new();
    poll(&mut *source, 3, &mut records);
    assert!(records.len() <= 3, "{}", records.len());
    let rest = take(&mut *source, 19 - records.len());
    assert_eq!(values(&[first, records, rest].concat()), expected(0..20));
}

pub fn nothing_asked_for_is_nothing_polled(backend: &impl Backend) {
    append(backend, Lane::Normal, numbered("u", 0..3));
    let mut source = backend.open(Lane::Normal);
    take(&mut *source, 1);
    let mut records = Vec::new();
    // Longer than a source waits before it takes a full lane for a lasting one.
    for _ in 0..400 {
        source.poll(0, POLL_WAIT, &mut records).unwrap();
    }
    assert!(records.is_empty());
    assert_eq!(values(&take(&mut *source, 2)), expected(1..3));
}

pub fn concurrent_appends_are_all_found(backend: &impl Backend) {
    let intake = backend.intake();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let intake = &intake;
            scope.spawn(move || {
                for batch in 0..5 {
                    let numbers = thread * 100 + batch * 20..thread * 100 + (batch + 1) * 20;
                    block_on(intake.append(Lane::High, numbered(&format!("t{thread}"), numbers))).unwrap();
                }
            });
        }
    });
    let mut found: Vec<usize> = take(&mut *backend.open(Lane::High), 400)
        .iter()
        .map(|r| std::str::from_utf8(&r.value).unwrap().parse().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, (0..400).collect::<Vec<_>>());
}

pub fn the_largest_message_passes(backend: &impl Backend) {
    // Bytes that do not compress.
    let mut state = 1u64;
    let value: Bytes = (0..pushgate_protocol::limits::MESSAGE_BYTES_MAX)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    append(backend, Lane::Normal, vec![record("u", value.clone())]);
    assert_eq!(take(&mut *backend.open(Lane::Normal), 1)[0].value, value);
}

pub fn an_intake_that_loses_replies_loses_no_record(backend: &impl Backend) {
    let plan = |call| [Some(Fault::After), Some(Fault::Before), None][call as usize % 3];
    let intake = Flaky::new(backend.intake(), plan);
    for n in 0..20 {
        while block_on(intake.append(Lane::High, numbered("u", n..n + 1))).is_err() {}
    }
    let twice: Vec<String> = (0..20).flat_map(|n| [n.to_string(), n.to_string()]).collect();
    assert_eq!(values(&take(&mut *backend.open(Lane::High), 40)), twice, "once for the reply that was lost");
}

pub fn polls_and_commits_that_fail_lose_nothing(backend: &impl Backend) {
    append(backend, Lane::High, numbered("u", 0..30));
    let plan = |call| [Some(Fault::Before), None, Some(Fault::After)][call as usize % 3];
    let mut source = Flaky::new(backend.open(Lane::High), plan);
    let first = take(&mut source, 10);
    assert_eq!(values(&first), expected(0..10));
    source.settle(&positions(&first));
    while source.commit().is_err() {}
    let second = take(&mut source, 10);
    source.settle(&positions(&second));
    while source.commit().is_ok() {}
    drop(source);
    let again = values(&take(&mut *backend.open(Lane::High), 10));
    let from: usize = again[0].parse().unwrap();
    assert!(from == 10 || from == 20, "what was committed is left out, and nothing else: {from}");
    assert_eq!(again, expected(from..from + 10));
}
