//! What the embedded log promises.

use std::time::Duration;

use super::*;
use crate::seams::TaskSource;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn append(log: &EmbeddedLog, lane: Lane, count: usize) -> Result<(), StoreError> {
    let record = NewRecord { key: Bytes::from_static(b"u1"), value: Bytes::from_static(b"0123456789") };
    block_on(log.append(lane, vec![record; count]))
}

/// Polls and settles `count` records, then commits.
fn consume(source: &mut EmbeddedSource, count: usize) -> Vec<u64> {
    let mut records = Vec::new();
    while records.len() < count {
        source.poll(count - records.len(), Duration::from_secs(60), &mut records).unwrap();
    }
    let positions: Vec<_> = records.iter().map(|r| r.position).collect();
    source.settle(&positions);
    source.commit().unwrap();
    positions.iter().map(|p| p.offset).collect()
}

#[test]
fn committed_records_are_removed_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(EmbeddedStore::open(dir.path()).unwrap()).unwrap();
    let count = limits::LOG_TRIM_RECORDS * 2 + 100;
    append(&log, Lane::Low, count).unwrap();
    consume(&mut log.consumer(Lane::Low).unwrap(), count - 1);
    assert_eq!(log.lanes[Lane::Low as usize].keyspace.len().unwrap(), 1);
    assert_eq!(log.backlog(Lane::Low), Backlog { records: 1, bytes: 24, refused: 0 });
}

#[test]
fn offsets_go_on_after_a_lane_was_emptied_and_reopened() {
    let dir = tempfile::tempdir().unwrap();
    for start in [0, 3, 6] {
        let log = EmbeddedLog::open(EmbeddedStore::open(dir.path()).unwrap()).unwrap();
        append(&log, Lane::High, 3).unwrap();
        let offsets = consume(&mut log.consumer(Lane::High).unwrap(), 3);
        assert_eq!(offsets, (start..start + 3).collect::<Vec<_>>());
        assert_eq!(log.backlog(Lane::High), Backlog { records: 0, bytes: 0, refused: 0 });
    }
}

#[test]
fn a_full_lane_refuses_until_its_consumer_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::with_lane_bytes_max(EmbeddedStore::open(dir.path()).unwrap(), 240).unwrap();
    append(&log, Lane::Low, 10).unwrap();
    let error = append(&log, Lane::Low, 1).unwrap_err();
    assert!(error.retryable());
    assert!(error.to_string().contains("lane low holds 240 bytes"), "{error}");
    assert_eq!(log.backlog(Lane::Low).refused, 1);
    append(&log, Lane::High, 1).unwrap();
    consume(&mut log.consumer(Lane::Low).unwrap(), 1);
    append(&log, Lane::Low, 1).unwrap();
}

#[test]
fn a_lane_has_one_consumer_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(EmbeddedStore::open(dir.path()).unwrap()).unwrap();
    let first = log.consumer(Lane::High).unwrap();
    assert!(matches!(log.consumer(Lane::High), Err(SourceError::Fatal { .. })));
    log.consumer(Lane::Low).unwrap();
    drop(first);
    log.consumer(Lane::High).unwrap();
}

#[test]
fn an_append_whose_caller_went_away_still_wakes_the_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(EmbeddedStore::open(dir.path()).unwrap()).unwrap();
    let record = NewRecord { key: Bytes::new(), value: Bytes::new() };
    let mut append = log.append(Lane::High, vec![record]);
    // Polled once, so that it is queued, then dropped.
    let polled = append.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(polled.is_pending() || matches!(polled, std::task::Poll::Ready(Ok(()))));
    drop(append);
    assert_eq!(consume(&mut log.consumer(Lane::High).unwrap(), 1), [0]);
}

#[test]
fn damaged_records_are_errors() {
    for bytes in [&b""[..], b"12345678", b"12345678\0\0\0\x05abcd"] {
        assert!(matches!(Stored::decode(bytes), Err(StoreError::Damaged { .. })), "{bytes:?}");
    }
}
