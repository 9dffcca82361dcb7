//! What every store does with messages to everyone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use pushgate_dispatcher::{
    limits::SEEN_RUNS_MAX,
    seams::{
        AllPage, BoxFuture, Count, DeferredTag, Glance, Mark, MarkQuery, StateChange, StoreError, StoredPush, StreamOp,
        StreamOutcome, StreamPage, Streams, UserKey,
    },
    seen::{Noted, SeenRuns},
    states::MessageBounds,
    stored::StreamBounds,
};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Place,
    result::{Recipient, State},
};

use crate::{
    backend::{Backend, facts},
    stream_facts::{NOW, append, key, numbers, push, user},
};

facts!(
    a_message_to_everyone_is_stored_once_and_has_a_place,
    each_user_gets_what_it_has_not_had,
    what_a_user_has_had_is_not_read_again,
    what_expired_behind_what_lasts_leaves_with_the_next,
    who_is_excluded_gets_nothing,
    a_look_tells_of_many_streams_whether_something_is_there,
    a_message_taken_back_goes_from_everyone,
    what_was_had_is_noted_once,
    unnamed_recipients_are_counted,
    what_a_client_says_of_a_message_it_never_had_is_not_kept,
);

pub fn everyone() -> UserKey {
    UserKey::everyone(AppId::parse("shop").unwrap())
}

pub fn publish(push: StoredPush) -> StreamOp {
    StreamOp::Publish { user: everyone(), push: Box::new(push) }
}

fn seen(name: &str, place: Place) -> StreamOp {
    StreamOp::Seen { user: user(name), place, expires_ms: NOW + 3_600_000 }
}

async fn apply(streams: &dyn Streams, op: StreamOp) -> StreamOutcome {
    streams.apply(vec![op], NOW).await.unwrap().remove(0)
}

async fn place(streams: &dyn Streams, push: StoredPush) -> Place {
    match apply(streams, publish(push)).await {
        StreamOutcome::Published { place, evicted } => {
            assert!(evicted.is_empty());
            place
        }
        other => panic!("{other:?}"),
    }
}

async fn ids(streams: &dyn Streams, name: &str, after: u64, limit: usize) -> (Vec<String>, AllPage) {
    let page = streams.read_all(user(name), after, limit, NOW).await.unwrap();
    (page.entries.iter().map(|(_, push)| push.id.to_string()).collect(), page)
}

async fn a_message_to_everyone_is_stored_once_and_has_a_place(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let first = place(&*streams, push(1)).await;
    let second = place(&*streams, push(2)).await;
    assert_eq!(first.before, 0);
    assert_eq!(second.before, first.position);
    assert!(second.position > first.position);
    assert_eq!(place(&*streams, push(1)).await, first, "a repetition is told the same");
    assert_eq!(place(&*streams, push(2)).await, second);
    let collapsed = |n| StoredPush { collapse: Some("c".into()), ..push(n) };
    place(&*streams, collapsed(3)).await;
    match apply(&*streams, publish(collapsed(4))).await {
        StreamOutcome::Published { evicted, .. } => assert_eq!(evicted, [collapsed(3)]),
        other => panic!("{other:?}"),
    }
    assert_eq!(ids(&*streams, "alice", 0, 10).await.0, ["m1", "m2", "m4"]);
}

async fn each_user_gets_what_it_has_not_had(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let mut places = Vec::new();
    for n in 1..=4 {
        places.push(place(&*streams, push(n)).await);
    }
    streams.apply(vec![append(&user("alice"), push(9))], NOW).await.unwrap();
    apply(&*streams, seen("alice", places[1])).await;
    let (got, page) = ids(&*streams, "alice", 0, 10).await;
    assert_eq!(got, ["m1", "m3", "m4"]);
    assert_eq!((page.upto, page.end), (places[3].position, true));
    assert_eq!(page.entries[1].0, places[2]);
    assert_eq!(ids(&*streams, "bob", 0, 10).await.0, ["m1", "m2", "m3", "m4"]);
    let (got, page) = ids(&*streams, "alice", 0, 2).await;
    assert_eq!((got, page.end), (vec!["m1".to_owned()], false));
    assert_eq!(page.upto, places[1].position, "what the user had is read over");
    assert_eq!(ids(&*streams, "alice", page.upto, 10).await.0, ["m3", "m4"]);
    assert_eq!(numbers(&*streams, &user("alice"), NOW).await, [9], "the user's own stream is apart");
}

async fn a_look_tells_of_many_streams_whether_something_is_there(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let deferred = |name: &str, n: u64, k| {
        let deferred = Some(DeferredTag { episode: 70, k });
        StreamOp::Append { user: user(name), push: Box::new(push(n)), deferred }
    };
    let settled = |n: u64| StreamOp::Settle { user: user("bob"), key: push(n).key, mark: Mark::Delivered };
    let ops = vec![deferred("alice", 1, 0), deferred("bob", 2, 0), deferred("bob", 3, 1), settled(2), settled(3)];
    streams.apply(ops, NOW).await.unwrap();
    place(&*streams, push(4)).await;
    let mut asked = vec![(user("alice"), 70), (user("bob"), 70), (user("bob"), 71), (everyone(), 0)];
    // More than one turn takes.
    asked.extend((0..3_000).map(|n| (user(&format!("nobody-{n}")), 70)));
    asked.push((user("alice"), 1));
    let glances = streams.glance(asked, NOW).await.unwrap();
    let glance = |empty, deferred| Glance { empty, deferred };
    assert_eq!(glances[..4], [glance(false, 1), glance(true, 2), glance(true, 0), glance(false, 0)]);
    assert!(glances.len() == 3_005 && glances[4..3_004].iter().all(|g| *g == glance(true, 0)));
    assert_eq!(glances[3_004], glance(false, 0));
}

/// Counts the entries that are read.
struct Counting(Arc<dyn Streams>, AtomicUsize);

impl Streams for Counting {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        self.0.marks(queries, now_ms)
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        self.0.apply(ops, now_ms)
    }

    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        Box::pin(async move {
            let page = self.0.read(user, after, limit, episode, now_ms).await?;
            self.1.fetch_add(page.entries.len(), Ordering::Relaxed);
            Ok(page)
        })
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        self.0.seen(user)
    }
}

async fn what_a_user_has_had_is_not_read_again(backend: Backend) {
    let streams = Counting(backend.streams(StreamBounds::default()), AtomicUsize::new(0));
    let mut places = Vec::new();
    for n in 1..=100 {
        places.push(place(&streams, push(n)).await);
    }
    // Alice came when the first ten were gone from the stream, as far as she knows.
    for place in &places[10..95] {
        apply(&streams, seen("alice", *place)).await;
    }
    let settle = |n| StreamOp::Settle { user: everyone(), key: key(n), mark: Mark::Ended };
    streams.apply((1..=10).map(settle).collect(), NOW).await.unwrap();
    streams.1.store(0, Ordering::Relaxed);
    let (got, page) = ids(&streams, "alice", 0, 64).await;
    assert_eq!(got, ["m96", "m97", "m98", "m99", "m100"]);
    assert_eq!((page.upto, page.end), (places[99].position, true));
    assert_eq!(page.entries[0].0, places[95]);
    assert!(streams.1.load(Ordering::Relaxed) <= 6, "{}", streams.1.load(Ordering::Relaxed));
    for place in &places[95..] {
        apply(&streams, seen("alice", *place)).await;
    }
    let (got, page) = ids(&streams, "alice", 0, 64).await;
    assert_eq!((got.len(), page.upto, page.end), (0, places[99].position, true));
}

async fn what_expired_behind_what_lasts_leaves_with_the_next(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let short = |n: u64| StoredPush { expires_ms: NOW + 10 + n % 2, ..push(n) };
    place(&*streams, push(1)).await;
    for n in 2..=5 {
        place(&*streams, short(n)).await;
    }
    apply(&*streams, StreamOp::Settle { user: everyone(), key: key(4), mark: Mark::Ended }).await;
    let publish_at = async |n, now_ms| match streams.apply(vec![publish(push(n))], now_ms).await.unwrap().remove(0) {
        StreamOutcome::Published { evicted, .. } => evicted.iter().map(|push| push.id.to_string()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(publish_at(6, NOW + 9).await, [] as [&str; 0]);
    assert_eq!(publish_at(7, NOW + 10).await, ["m2"]);
    assert_eq!(publish_at(8, NOW + 12).await, ["m3", "m5"]);
    assert_eq!(publish_at(9, NOW + 12).await, [] as [&str; 0]);
    let page = streams.read(everyone(), 0, 100, 0, NOW + 12).await.unwrap();
    assert_eq!((page.entries.len(), page.expired.len()), (5, 0));
    assert_eq!(apply(&*streams, publish(push(3))).await, StreamOutcome::AlreadyEnded(Mark::Ended));
    // Bounds count what is there.
    let many: Vec<StoredPush> = (10..200).map(short).collect();
    for push in many {
        place(&*streams, push).await;
    }
    let mut left = 0;
    for n in 200..204 {
        left += publish_at(n, NOW + 20).await.len();
    }
    assert_eq!(left, 190, "a bounded number with each");
}

async fn who_is_excluded_gets_nothing(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let exclude = ["bob", "carol"].map(|name| UserId::parse(name).unwrap()).to_vec();
    place(&*streams, StoredPush { exclude: exclude.clone(), ..push(1) }).await;
    let (got, page) = ids(&*streams, "alice", 0, 10).await;
    assert_eq!(got, ["m1"]);
    assert_eq!(page.entries[0].1.exclude, exclude);
    assert!(ids(&*streams, "carol", 0, 10).await.0.is_empty());
}

async fn a_message_taken_back_goes_from_everyone(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    place(&*streams, push(1)).await;
    let settle = StreamOp::Settle { user: everyone(), key: key(1), mark: Mark::Ended };
    assert!(matches!(apply(&*streams, settle).await, StreamOutcome::Settled { entry: Some(_), .. }));
    assert!(ids(&*streams, "alice", 0, 10).await.0.is_empty());
    assert_eq!(apply(&*streams, publish(push(1))).await, StreamOutcome::AlreadyEnded(Mark::Ended));
}

async fn what_was_had_is_noted_once(backend: Backend) {
    let streams = backend.streams(StreamBounds::default());
    let places = [(10, 0), (30, 20), (20, 10)].map(|(position, before)| Place { position, before });
    for place in places {
        assert_eq!(apply(&*streams, seen("alice", place)).await, StreamOutcome::Seen(Noted::New));
        assert_eq!(apply(&*streams, seen("alice", place)).await, StreamOutcome::Seen(Noted::Before));
    }
    let had = streams.seen(user("alice")).await.unwrap();
    assert_eq!(had.encode().len(), 16, "what follows one another is one run");
    assert!(had.contains(30) && had.contains(1) && !had.contains(31));
    assert!(!streams.seen(user("bob")).await.unwrap().contains(10));
    let apart = |n: usize| seen("bob", Place { position: n as u64 * 10, before: n as u64 * 10 - 5 });
    let outcomes = streams.apply((1..=SEEN_RUNS_MAX + 1).map(apart).collect(), NOW).await.unwrap();
    let (last, before) = outcomes.split_last().unwrap();
    assert!(before.iter().all(|outcome| *outcome == StreamOutcome::Seen(Noted::New)));
    assert_eq!(*last, StreamOutcome::Seen(Noted::Joined));
    let had = streams.seen(user("bob")).await.unwrap();
    assert_eq!(had.encode().len(), 16 * SEEN_RUNS_MAX);
    assert!(had.contains(13) && !had.contains(5) && !had.contains(23), "the lowest hole is given up");
}

async fn unnamed_recipients_are_counted(backend: Backend) {
    let messages = backend.messages(MessageBounds::default());
    let (app, message) = (AppId::parse("shop").unwrap(), MessageId::parse("m1").unwrap());
    let count = |recipients| {
        let (app, message, state) = (app.clone(), message.clone(), State::Delivered);
        messages.count(vec![Count { app, message, state, recipients, time_ms: NOW }])
    };
    count(3).await.unwrap();
    let stored = StateChange {
        app: app.clone(),
        message: message.clone(),
        recipient: Recipient { user: UserId::everyone(), device: None },
        channel: "websocket",
        state: State::Stored,
        reason: None,
        time_ms: NOW,
    };
    messages.record(vec![stored.clone()]).await.unwrap();
    count(4).await.unwrap();
    let view = messages.message(app.clone(), message.clone(), 0, 10).await.unwrap().unwrap();
    assert_eq!(view.summary, [(State::Delivered, 7), (State::Stored, 1)].into());
    assert_eq!(view.recipients.len(), 1);
    assert!(view.recipients[0].recipient.user.is_everyone());
    let recalled = StateChange { state: State::Recalled, ..stored };
    messages.record(vec![recalled]).await.unwrap();
    let view = messages.message(app, message, 0, 10).await.unwrap().unwrap();
    assert_eq!(view.summary, [(State::Delivered, 7), (State::Recalled, 1)].into(), "who had it has it");
}

async fn what_a_client_says_of_a_message_it_never_had_is_not_kept(backend: Backend) {
    let messages = backend.messages(MessageBounds::default());
    let change = |state| StateChange {
        app: AppId::parse("shop").unwrap(),
        message: MessageId::parse("m1").unwrap(),
        recipient: Recipient { user: UserId::parse("alice").unwrap(), device: None },
        channel: "websocket",
        state,
        reason: None,
        time_ms: NOW,
    };
    let view = || messages.message(AppId::parse("shop").unwrap(), MessageId::parse("m1").unwrap(), 0, 10);
    messages.record(vec![change(State::Read), change(State::Clicked)]).await.unwrap();
    assert!(view().await.unwrap().is_none_or(|view| view.summary.is_empty()));
    messages.record(vec![change(State::Delivered), change(State::Read)]).await.unwrap();
    assert_eq!(view().await.unwrap().unwrap().summary, [(State::Read, 1)].into());
}
