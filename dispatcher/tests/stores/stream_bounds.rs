//! What every `Streams` does at its bounds.

use pushgate_dispatcher::{
    marks::{self, MarkMetrics},
    seams::{Mark, StoredPush, StreamOutcome},
    stored::{self, StreamBounds},
};

use crate::{
    backend::{Backend, facts},
    stream_facts::{NOW, append, mark, number, numbers, push, settle, user},
};

facts!(
    the_oldest_leave_when_there_are_too_many,
    the_oldest_leave_when_they_are_too_large,
    an_expired_oldest_entry_leaves_at_the_next_append,
    a_newer_entry_takes_the_place_of_an_older_with_its_collapse_key,
    the_bounds_hold_after_settling_out_of_order,
    marks_within_their_bound_are_kept_and_the_newest_always,
    a_window_of_marks_that_pressure_shortens_is_told,
);

fn evicted(outcome: &StreamOutcome) -> Vec<u64> {
    match outcome {
        StreamOutcome::Appended { evicted } => evicted.iter().map(number).collect(),
        other => panic!("not appended: {other:?}"),
    }
}

async fn the_oldest_leave_when_there_are_too_many(backend: Backend) {
    let streams = backend.streams(StreamBounds { entries: 3, ..StreamBounds::default() });
    let alice = user("alice");
    let outcomes = streams.apply((0..5).map(|n| append(&alice, push(n))).collect(), NOW).await.unwrap();
    assert_eq!(outcomes.iter().map(evicted).collect::<Vec<_>>(), [vec![], vec![], vec![], vec![0], vec![1]]);
    assert_eq!(numbers(&*streams, &alice, NOW).await, [2, 3, 4]);
    assert_eq!(mark(&*streams, &alice, 0, NOW).await, Some(Mark::Ended));
    let again = streams.apply(vec![append(&alice, push(0))], NOW).await.unwrap();
    assert_eq!(again, [StreamOutcome::AlreadyEnded(Mark::Ended)]);
}

async fn the_oldest_leave_when_they_are_too_large(backend: Backend) {
    let large = |n, bytes| StoredPush { tail: vec![b'x'; bytes].into(), ..push(n) };
    let one = stored::encode(&large(1, 1_000)).len();
    let streams = backend.streams(StreamBounds { bytes: 3 * one, ..StreamBounds::default() });
    let alice = user("alice");
    let outcomes = streams.apply((1..4).map(|n| append(&alice, large(n, 1_000))).collect(), NOW).await.unwrap();
    assert_eq!(outcomes.iter().map(evicted).collect::<Vec<_>>(), vec![Vec::<u64>::new(); 3]);
    let outcomes = streams.apply(vec![append(&alice, large(4, 1_900))], NOW).await.unwrap();
    assert_eq!(evicted(&outcomes[0]), [1, 2]);
    let outcomes = streams.apply(vec![append(&alice, large(5, 9_000))], NOW).await.unwrap();
    assert_eq!(evicted(&outcomes[0]), [3, 4]);
    assert_eq!(numbers(&*streams, &alice, NOW).await, [5], "the newest stays, however large");
    let outcomes = streams.apply(vec![append(&alice, large(6, 10))], NOW).await.unwrap();
    assert_eq!(evicted(&outcomes[0]), [5]);
}

async fn an_expired_oldest_entry_leaves_at_the_next_append(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let alice = user("alice");
    let brief = |n| StoredPush { expires_ms: NOW + 10, ..push(n) };
    let ops =
        vec![append(&alice, brief(0)), append(&alice, brief(1)), append(&alice, push(2)), append(&alice, brief(3))];
    streams.apply(ops, NOW).await.unwrap();
    let outcomes = streams.apply(vec![append(&alice, push(4)), append(&alice, push(5))], NOW + 10).await.unwrap();
    assert_eq!(outcomes.iter().map(evicted).collect::<Vec<_>>(), [vec![0, 1], vec![]]);
    assert_eq!(numbers(&*streams, &alice, NOW + 10).await, [2, 4, 5]);
    assert_eq!(mark(&*streams, &alice, 0, NOW + 10).await, Some(Mark::Ended));
}

async fn a_newer_entry_takes_the_place_of_an_older_with_its_collapse_key(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let alice = user("alice");
    let order = |n, collapse: &str| StoredPush { collapse: Some(collapse.into()), ..push(n) };
    let ops = vec![append(&alice, order(1, "x")), append(&alice, order(2, "y")), append(&alice, push(3))];
    streams.apply(ops, NOW).await.unwrap();
    let outcomes = streams.apply(vec![append(&alice, order(4, "x"))], NOW).await.unwrap();
    assert_eq!(evicted(&outcomes[0]), [1]);
    assert_eq!(numbers(&*streams, &alice, NOW).await, [2, 3, 4]);
    let ops = vec![settle(&alice, 4, Mark::Delivered), append(&alice, order(5, "x")), append(&alice, order(1, "x"))];
    let outcomes = streams.apply(ops, NOW).await.unwrap();
    assert_eq!(evicted(&outcomes[1]), [] as [u64; 0], "a settled entry is not replaced");
    assert_eq!(outcomes[2], StreamOutcome::AlreadyEnded(Mark::Ended));
    assert_eq!(numbers(&*streams, &alice, NOW).await, [2, 3, 5]);
}

async fn the_bounds_hold_after_settling_out_of_order(backend: Backend) {
    let streams = backend.streams(StreamBounds { entries: 4, ..StreamBounds::default() });
    let alice = user("alice");
    streams.apply((0..4).map(|n| append(&alice, push(n))).collect(), NOW).await.unwrap();
    for n in [0, 2] {
        streams.apply(vec![settle(&alice, n, Mark::Delivered)], NOW).await.unwrap();
    }
    let outcomes = streams.apply((4..8).map(|n| append(&alice, push(n))).collect(), NOW).await.unwrap();
    assert_eq!(outcomes.iter().map(evicted).collect::<Vec<_>>(), [vec![], vec![], vec![1], vec![3]]);
    assert_eq!(numbers(&*streams, &alice, NOW).await, [4, 5, 6, 7]);
}

async fn marks_within_their_bound_are_kept_and_the_newest_always(backend: Backend) {
    let alice = user("alice");
    let one = marks::bytes_of(&alice);
    let streams = backend.streams(StreamBounds { mark_bytes: 40 * one, ..StreamBounds::default() });
    for n in 0..15 {
        streams.apply(vec![settle(&alice, n, Mark::Delivered)], NOW).await.unwrap();
    }
    for n in 0..15 {
        assert_eq!(mark(&*streams, &alice, n, NOW).await, Some(Mark::Delivered), "{n}");
    }
    for n in 15..300 {
        streams.apply(vec![settle(&alice, n, Mark::Ended)], NOW).await.unwrap();
        assert_eq!(mark(&*streams, &alice, n, NOW).await, Some(Mark::Ended), "{n}");
        assert!(mark(&*streams, &alice, n - 10, NOW).await.is_some(), "{n}");
    }
}

async fn a_window_of_marks_that_pressure_shortens_is_told(backend: Backend) {
    let alice = user("alice");
    let metrics = MarkMetrics::default();
    let bounds = StreamBounds { mark_bytes: 40 * marks::bytes_of(&alice), ..StreamBounds::default() };
    let whole_s = bounds.mark_window_ms as f64 / 1_000.0;
    let Some(streams) = backend.streams_with(bounds, metrics.clone()) else { return };
    assert_eq!((metrics.shortened.get(), metrics.window.get()), (0, whole_s));
    // A second each: at no time more than twice what 40 of them take, and so for no window of the whole length.
    for n in 0..300 {
        streams.apply(vec![settle(&alice, n, Mark::Ended)], NOW + 1_000 * n).await.unwrap();
    }
    assert!(metrics.shortened.get() >= 7, "{}", metrics.shortened.get());
    let window_s = metrics.window.get();
    assert!((10.0..=80.0).contains(&window_s), "{window_s} s of {whole_s} s");
}
