//! What every `Streams` does.

use std::sync::Arc;

use pushgate_dispatcher::{
    memory::{Fault, Flaky},
    seams::{DeferredTag, DeliveryKey, Mark, MarkQuery, StoredPush, StreamOp, StreamOutcome, Streams, UserKey},
    stored::StreamBounds,
};
use pushgate_protocol::{
    ids::{AppId, BootId, MessageId, SessionId, UserId},
    link::{Lane, OutboxPolicy},
    result::{Class, ResultInfo},
    trace::TraceParent,
};

use crate::backend::{Backend, facts};

facts!(
    entries_come_back_in_the_order_appended,
    an_entry_is_unique_by_its_key_and_takes_the_new_tag,
    settling_returns_the_entry_and_marks,
    a_delivered_mark_stays,
    what_goes_to_addresses_is_marked_without_a_stream,
    what_may_have_been_sent_is_marked_until_it_is_known,
    an_ended_delivery_is_not_appended_again,
    marks_are_forgotten_after_two_windows,
    a_window_passed_by_keeps_no_mark,
    deferred_pushes_count_once_per_episode,
    a_tag_is_read_back,
    expired_entries_are_told_apart,
    pages_continue_after_a_position,
    users_and_apps_are_apart,
    positions_grow_when_a_stream_was_emptied,
    a_repeated_batch_changes_nothing,
    a_store_that_fails_now_and_then_ends_in_the_same_state,
    many_users_change_at_once,
);

pub const NOW: u64 = 1_800_000_000_000;
const WINDOW: u64 = 600_000;

pub fn user(name: &str) -> UserKey {
    UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(name).unwrap() }
}

pub fn key(n: u64) -> DeliveryKey {
    let mut key = [7; 16];
    key[..8].copy_from_slice(&n.to_be_bytes());
    DeliveryKey(key)
}

pub fn push(n: u64) -> StoredPush {
    StoredPush {
        key: key(n),
        id: MessageId::parse(&format!("m{n}")).unwrap(),
        device: None,
        lane: Lane::High,
        policy: OutboxPolicy::Close,
        platforms: 7,
        expires_ms: NOW + 24 * 3_600_000,
        collapse: None,
        info: ResultInfo {
            occurrence: None,
            lane: Lane::High,
            class: Class::Transactional,
            accepted_ms: NOW,
            bytes: 12,
            meta: Some(r#"{"a":1}"#.into()),
            trace: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        },
        exclude: Vec::new(),
        returned: None,
        tail: format!("tail of {n}").into_bytes().into(),
    }
}

pub fn append(user: &UserKey, push: StoredPush) -> StreamOp {
    StreamOp::Append { user: user.clone(), push: Box::new(push), deferred: None }
}

fn deferred(user: &UserKey, push: StoredPush, episode: u64, k: u64) -> StreamOp {
    StreamOp::Append { user: user.clone(), push: Box::new(push), deferred: Some(DeferredTag { episode, k }) }
}

pub fn settle(user: &UserKey, n: u64, mark: Mark) -> StreamOp {
    StreamOp::Settle { user: user.clone(), key: key(n), mark }
}

pub fn session(n: u64) -> SessionId {
    SessionId { boot: BootId(u64::MAX - n), serial: n << 48 | 3 }
}

pub async fn mark(streams: &dyn Streams, user: &UserKey, n: u64, now_ms: u64) -> Option<Mark> {
    streams.marks(vec![MarkQuery { user: user.clone(), key: key(n) }], now_ms).await.unwrap()[0]
}

pub async fn numbers(streams: &dyn Streams, user: &UserKey, now_ms: u64) -> Vec<u64> {
    let page = streams.read(user.clone(), 0, 10_000, 0, now_ms).await.unwrap();
    assert!(page.end);
    page.entries.iter().map(|(_, push)| number(push)).collect()
}

pub fn number(push: &StoredPush) -> u64 {
    u64::from_be_bytes(*push.key.0.first_chunk().unwrap())
}

fn streams(backend: &Backend) -> Arc<dyn Streams> {
    backend.streams(StreamBounds::default())
}

const APPENDED: StreamOutcome = StreamOutcome::Appended { evicted: Vec::new() };

async fn entries_come_back_in_the_order_appended(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let outcomes = streams.apply((0..100).map(|n| append(&alice, push(n))).collect(), NOW).await.unwrap();
    assert_eq!(outcomes, vec![APPENDED; 100]);
    streams.apply(vec![append(&alice, push(100))], NOW - 5_000).await.unwrap();
    assert_eq!(numbers(&*streams, &alice, NOW).await, (0..=100).collect::<Vec<_>>());
    let page = streams.read(alice.clone(), 0, 1, 0, NOW).await.unwrap();
    assert_eq!(page.entries[0].1, push(0));
    assert_eq!(mark(&*streams, &alice, 5, NOW).await, Some(Mark::Stored));
    assert_eq!(mark(&*streams, &alice, 500, NOW).await, None);
}

async fn an_entry_is_unique_by_its_key_and_takes_the_new_tag(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    streams.apply(vec![append(&alice, push(1)), append(&alice, push(2))], NOW).await.unwrap();
    let tagged = StoredPush { returned: Some((session(1), 17)), ..push(1) };
    let outcomes = streams.apply(vec![append(&alice, tagged), append(&alice, push(1))], NOW).await.unwrap();
    assert_eq!(outcomes, [APPENDED, APPENDED]);
    assert_eq!(numbers(&*streams, &alice, NOW).await, [1, 2]);
    let page = streams.read(alice, 0, 1, 0, NOW).await.unwrap();
    assert_eq!(page.entries[0].1.returned, Some((session(1), 17)));
}

async fn settling_returns_the_entry_and_marks(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let ops = vec![append(&alice, push(1)), settle(&alice, 1, Mark::Delivered), settle(&alice, 2, Mark::Ended)];
    let outcomes = streams.apply(ops, NOW).await.unwrap();
    let entry = Some(Box::new(push(1)));
    assert_eq!(outcomes[1], StreamOutcome::Settled { entry, was: Some(Mark::Stored) });
    assert_eq!(outcomes[2], StreamOutcome::Settled { entry: None, was: None });
    assert!(numbers(&*streams, &alice, NOW).await.is_empty());
    let queries = (1..=3).map(|n| MarkQuery { user: alice.clone(), key: key(n) }).collect();
    assert_eq!(streams.marks(queries, NOW).await.unwrap(), [Some(Mark::Delivered), Some(Mark::Ended), None]);
}

async fn a_delivered_mark_stays(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let ops = vec![settle(&alice, 1, Mark::Delivered), settle(&alice, 1, Mark::Ended), settle(&alice, 2, Mark::Ended)];
    let outcomes = streams.apply(ops, NOW).await.unwrap();
    assert_eq!(outcomes[1], StreamOutcome::Settled { entry: None, was: Some(Mark::Delivered) });
    streams.apply(vec![settle(&alice, 2, Mark::Delivered)], NOW).await.unwrap();
    assert_eq!(mark(&*streams, &alice, 1, NOW).await, Some(Mark::Delivered));
    assert_eq!(mark(&*streams, &alice, 2, NOW).await, Some(Mark::Delivered));
}

async fn what_may_have_been_sent_is_marked_until_it_is_known(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let ops =
        vec![settle(&alice, 1, Mark::Unknown), settle(&alice, 2, Mark::Delivered), settle(&alice, 2, Mark::Unknown)];
    let outcomes = streams.apply(ops, NOW).await.unwrap();
    assert_eq!(outcomes[2], StreamOutcome::Settled { entry: None, was: Some(Mark::Delivered) });
    let queries = || (1..=2).map(|n| MarkQuery { user: alice.clone(), key: key(n) }).collect();
    assert_eq!(streams.marks(queries(), NOW).await.unwrap(), [Some(Mark::Unknown), Some(Mark::Delivered)]);
    let outcomes = streams.apply(vec![append(&alice, push(1)), settle(&alice, 1, Mark::Delivered)], NOW).await.unwrap();
    assert_eq!(outcomes[0], StreamOutcome::AlreadyEnded(Mark::Unknown));
    assert_eq!(outcomes[1], StreamOutcome::Settled { entry: None, was: Some(Mark::Unknown) });
    assert_eq!(streams.marks(queries(), NOW).await.unwrap(), [Some(Mark::Delivered); 2]);
}

async fn what_goes_to_addresses_is_marked_without_a_stream(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let mark = |n, mark| StreamOp::Mark { user: alice.clone(), key: key(n), mark };
    let ops = vec![
        mark(1, Mark::Delivered),
        mark(1, Mark::Ended),
        mark(2, Mark::Unknown),
        mark(3, Mark::Ended),
        settle(&alice, 4, Mark::Delivered),
        mark(3, Mark::Delivered),
    ];
    let outcomes = streams.apply(ops, NOW).await.unwrap();
    let settled = StreamOutcome::Settled { entry: None, was: None };
    use StreamOutcome::Marked;
    assert_eq!(outcomes, [Marked, Marked, Marked, Marked, settled, Marked]);
    let queries = (1..=5).map(|n| MarkQuery { user: alice.clone(), key: key(n) }).collect();
    let wanted = [Some(Mark::Delivered), Some(Mark::Unknown), Some(Mark::Delivered), Some(Mark::Delivered), None];
    assert_eq!(streams.marks(queries, NOW).await.unwrap(), wanted);
    let next = NOW + StreamBounds::default().mark_window_ms;
    streams.apply(vec![mark(1, Mark::Ended), mark(2, Mark::Delivered)], next).await.unwrap();
    let queries = (1..=2).map(|n| MarkQuery { user: alice.clone(), key: key(n) }).collect();
    assert_eq!(streams.marks(queries, next).await.unwrap(), [Some(Mark::Delivered); 2]);
}

async fn an_ended_delivery_is_not_appended_again(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let ops = vec![settle(&alice, 1, Mark::Delivered), settle(&alice, 2, Mark::Ended)];
    streams.apply(ops, NOW).await.unwrap();
    let outcomes = streams.apply(vec![append(&alice, push(1)), append(&alice, push(2))], NOW).await.unwrap();
    assert_eq!(outcomes, [StreamOutcome::AlreadyEnded(Mark::Delivered), StreamOutcome::AlreadyEnded(Mark::Ended)]);
    assert!(numbers(&*streams, &alice, NOW).await.is_empty());
}

async fn marks_are_forgotten_after_two_windows(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let start = NOW - NOW % WINDOW;
    for step in 0..5 {
        let now_ms = start + step * WINDOW;
        streams.apply(vec![settle(&alice, step, Mark::Delivered)], now_ms).await.unwrap();
        for earlier in 0..=step {
            let expected = (earlier + 1 >= step).then_some(Mark::Delivered);
            assert_eq!(mark(&*streams, &alice, earlier, now_ms).await, expected, "mark {earlier} in window {step}");
        }
    }
    assert_eq!(mark(&*streams, &alice, 4, start + 6 * WINDOW - 1).await, Some(Mark::Delivered));
    assert_eq!(mark(&*streams, &alice, 4, start + 6 * WINDOW).await, None);
}

async fn a_window_passed_by_keeps_no_mark(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    for skip in [2, 3, 4] {
        streams.apply(vec![settle(&alice, skip, Mark::Delivered)], NOW + 10 * skip * WINDOW).await.unwrap();
        let later = NOW + (10 * skip + skip) * WINDOW;
        streams.apply(vec![settle(&alice, 99, Mark::Ended)], later).await.unwrap();
        assert_eq!(mark(&*streams, &alice, skip, later).await, None);
        assert_eq!(mark(&*streams, &alice, 99, later).await, Some(Mark::Ended));
    }
}

async fn deferred_pushes_count_once_per_episode(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    streams.apply(vec![settle(&alice, 3, Mark::Delivered)], NOW).await.unwrap();
    let ops = vec![
        deferred(&alice, push(1), 70, 0),
        deferred(&alice, push(2), 70, 1),
        deferred(&alice, push(1), 70, 0),
        deferred(&alice, push(3), 70, 2),
        deferred(&alice, push(4), 71, 0),
        append(&alice, push(5)),
    ];
    streams.apply(ops, NOW).await.unwrap();
    for (episode, count) in [(70, 3), (71, 1), (72, 0)] {
        assert_eq!(streams.read(alice.clone(), 0, 10, episode, NOW).await.unwrap().deferred, count, "{episode}");
    }
    assert_eq!(streams.read(user("bob"), 0, 10, 70, NOW).await.unwrap().deferred, 0);
}

async fn a_tag_is_read_back(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let tag = |n, seq| StreamOp::Tag { user: alice.clone(), key: key(n), returned: (session(2), seq) };
    let ops = vec![append(&alice, push(1)), tag(1, 4), tag(9, 5), tag(1, u64::MAX)];
    let outcomes = streams.apply(ops, NOW).await.unwrap();
    assert_eq!(outcomes[1..], [StreamOutcome::Tagged, StreamOutcome::Tagged, StreamOutcome::Tagged]);
    let page = streams.read(alice, 0, 10, 0, NOW).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!(page.entries[0].1, StoredPush { returned: Some((session(2), u64::MAX)), ..push(1) });
}

async fn expired_entries_are_told_apart(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let brief = |n| StoredPush { expires_ms: NOW + 10, ..push(n) };
    let ops = vec![append(&alice, push(1)), append(&alice, brief(2)), append(&alice, push(3))];
    streams.apply(ops, NOW).await.unwrap();
    assert_eq!(numbers(&*streams, &alice, NOW + 9).await, [1, 2, 3]);
    let page = streams.read(alice.clone(), 0, 10, 0, NOW + 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|(_, p)| number(p)).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(page.expired, [brief(2)]);
    let outcomes = streams.apply(vec![settle(&alice, 2, Mark::Ended)], NOW + 10).await.unwrap();
    let entry = Some(Box::new(brief(2)));
    assert_eq!(outcomes, [StreamOutcome::Settled { entry, was: Some(Mark::Stored) }]);
    assert!(streams.read(alice, 0, 10, 0, NOW + 10).await.unwrap().expired.is_empty());
}

async fn pages_continue_after_a_position(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    streams.apply((0..10).map(|n| append(&alice, push(n))).collect(), NOW).await.unwrap();
    let (mut after, mut seen, mut pages) = (0, Vec::new(), 0);
    loop {
        let page = streams.read(alice.clone(), after, 5, 0, NOW).await.unwrap();
        seen.extend(page.entries.iter().map(|(_, push)| number(push)));
        after = page.entries.last().map_or(after, |(position, _)| *position);
        pages += 1;
        if page.end {
            break;
        }
    }
    assert_eq!((seen, pages), ((0..10).collect(), 2));
    assert!(streams.read(alice.clone(), after, 5, 0, NOW).await.unwrap().entries.is_empty());
    streams.apply(vec![append(&alice, push(10))], NOW).await.unwrap();
    let page = streams.read(alice, after, 5, 0, NOW).await.unwrap();
    assert_eq!(page.entries.iter().map(|(_, push)| number(push)).collect::<Vec<_>>(), [10]);
}

async fn users_and_apps_are_apart(backend: Backend) {
    let streams = streams(&backend);
    let names =
        [("a", "b:c"), ("a:b", "c"), ("a", "b"), ("a}", "b"), ("}", "b"), ("{a", "b}"), ("a%7D", "b"), ("%", "")];
    let users = names.iter().map(|(app, name)| UserKey {
        app: AppId::parse(app).unwrap(),
        user: UserId::parse(&format!("{name}x")).unwrap(),
    });
    let users: Vec<UserKey> = users.collect();
    let ops = users.iter().zip(0..).map(|(user, n)| append(user, push(n))).collect();
    streams.apply(ops, NOW).await.unwrap();
    for (user, n) in users.iter().zip(0..) {
        assert_eq!(numbers(&*streams, user, NOW).await, [n], "{user:?}");
        assert_eq!(mark(&*streams, user, (n + 1) % 8, NOW).await, None, "{user:?}");
    }
}

async fn positions_grow_when_a_stream_was_emptied(backend: Backend) {
    let (streams, alice) = (streams(&backend), user("alice"));
    let mut last = 0;
    for n in 0..20 {
        streams.apply(vec![append(&alice, push(n))], NOW).await.unwrap();
        let page = streams.read(alice.clone(), last, 10, 0, NOW).await.unwrap();
        assert_eq!(page.entries.len(), 1, "push {n} stands after position {last}");
        last = page.entries[0].0;
        streams.apply(vec![settle(&alice, n, Mark::Delivered)], NOW).await.unwrap();
    }
}

fn mixed_batch(alice: &UserKey, bob: &UserKey) -> Vec<StreamOp> {
    let mut ops: Vec<_> = (0..12).map(|n| deferred(alice, push(n), 7, n)).collect();
    ops.push(settle(alice, 4, Mark::Delivered));
    ops.push(StreamOp::Tag { user: alice.clone(), key: key(8), returned: (session(1), 3) });
    ops.extend((0..3).map(|n| append(bob, StoredPush { collapse: Some("c".into()), ..push(n) })));
    ops.push(settle(bob, 2, Mark::Ended));
    ops.extend((20..23).map(|n| append(bob, push(n))));
    ops
}

async fn end_state(streams: &dyn Streams, user: &UserKey) -> (Vec<StoredPush>, u64, Vec<Option<Mark>>) {
    let page = streams.read(user.clone(), 0, 100, 7, NOW).await.unwrap();
    let queries = (0..25).map(|n| MarkQuery { user: user.clone(), key: key(n) }).collect();
    let entries = page.entries.into_iter().map(|(_, push)| push).collect();
    (entries, page.deferred, streams.marks(queries, NOW).await.unwrap())
}

async fn a_repeated_batch_changes_nothing(backend: Backend) {
    let streams = backend.streams(StreamBounds { entries: 6, ..StreamBounds::default() });
    let (alice, bob) = (user("alice"), user("bob"));
    streams.apply(mixed_batch(&alice, &bob), NOW).await.unwrap();
    let before = (end_state(&*streams, &alice).await, end_state(&*streams, &bob).await);
    assert_eq!((before.0.0.len(), before.0.1, before.1.0.len()), (6, 12, 3));
    for _ in 0..3 {
        streams.apply(mixed_batch(&alice, &bob), NOW).await.unwrap();
        assert_eq!((end_state(&*streams, &alice).await, end_state(&*streams, &bob).await), before);
    }
}

async fn a_store_that_fails_now_and_then_ends_in_the_same_state(backend: Backend) {
    let bounds = StreamBounds { entries: 6, ..StreamBounds::default() };
    let (alice, bob) = (user("alice"), user("bob"));
    let calm = backend.streams(bounds);
    let (dave, erin) = (user("dave"), user("erin"));
    for op in mixed_batch(&dave, &erin) {
        calm.apply(vec![op], NOW).await.unwrap();
    }
    let flaky = Flaky::new(calm.clone(), |call| [Some(Fault::After), Some(Fault::Before), None][call as usize % 3]);
    for op in mixed_batch(&alice, &bob) {
        while flaky.apply(vec![op.clone()], NOW).await.is_err() {}
    }
    assert_eq!(end_state(&*calm, &alice).await, end_state(&*calm, &dave).await);
    assert_eq!(end_state(&*calm, &bob).await, end_state(&*calm, &erin).await);
}

async fn many_users_change_at_once(backend: Backend) {
    let streams = streams(&backend);
    let one = |n: u64| {
        let streams = streams.clone();
        async move {
            let user = user(&format!("u{n}"));
            for k in 0..20 {
                streams.apply(vec![append(&user, push(k))], NOW).await.unwrap();
            }
            numbers(&*streams, &user, NOW).await
        }
    };
    for numbers in futures_util::future::join_all((0..30).map(one)).await {
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    }
}
