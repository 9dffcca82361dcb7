//! What finishers do with results and stores that fail.

use std::sync::Mutex;

use bytes::Bytes;
use prometheus_client::{encoding::text::encode, registry::Registry};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    result::{Class, Recipient, ResultInfo, State},
};

use super::*;
use crate::{
    memory::{Fault, Flaky, MemoryMessages, MemorySchedule, MemoryStreams},
    seams::{BoxFuture, DeliveryKey, MarkQuery, StoreError, StoredPush, StreamOp, UserKey},
    states::MessageBounds,
    stored::StreamBounds,
};

/// Refuses for good each batch that holds the one it does not like.
#[derive(Default)]
struct Picky {
    published: Mutex<Vec<String>>,
    states: Mutex<Vec<State>>,
    buried: Mutex<Vec<String>>,
}

fn refused<T>(all: &[T], bad: impl Fn(&T) -> bool) -> Result<(), StoreError> {
    match all.iter().any(bad) {
        true => Err(StoreError::Refused { what: "fake", detail: "too large".into() }),
        false => Ok(()),
    }
}

impl ResultSink for Picky {
    fn publish(&self, records: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let answer = refused(&records, |r| r.message.as_str() == "bad");
        if answer.is_ok() {
            self.published.lock().unwrap().extend(records.iter().map(|r| r.message.as_str().to_owned()));
            self.states.lock().unwrap().extend(records.iter().map(|r| r.state));
        }
        Box::pin(async { answer })
    }

    fn bury(&self, records: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let answer = refused(&records, |r| r.origin == "bad");
        if answer.is_ok() {
            self.buried.lock().unwrap().extend(records.into_iter().map(|r| r.origin));
        }
        Box::pin(async { answer })
    }
}

fn state(id: &str, token: u64) -> Finished {
    let recipient = Recipient { user: UserId::parse("u").unwrap(), device: None };
    let info = ResultInfo {
        occurrence: None,
        lane: Lane::High,
        class: Class::Transactional,
        accepted_ms: 0,
        bytes: 1,
        meta: None,
        trace: None,
    };
    let record = ResultRecord {
        message: MessageId::parse(id).unwrap(),
        app: AppId::parse("a").unwrap(),
        recipient: recipient.clone(),
        channel: "websocket",
        account: None,
        provider_id: None,
        state: State::Delivered,
        reason: None,
        attempt: 1,
        time_ms: 1,
        info: Some(info),
    };
    Finished::States(vec![worker::Finished { record, recipient, token: Some(Token(token)) }])
}

fn dead(origin: &str, token: u64) -> Finished {
    let value = Bytes::from_static(b"12345");
    let record = DeadRecord { key: None, value, reason: "r".into(), attempts: 1, origin: origin.into() };
    Finished::Dead { record, token: Token(token) }
}

/// Finishes everything; the tokens settled in lane high, and the metrics.
async fn finish(messages: Arc<dyn MessageStore>, results: Arc<Picky>, all: Vec<Finished>) -> (Vec<u64>, String) {
    finish_with(messages, Arc::new(MemoryStreams::new(StreamBounds::default())), Arc::default(), results, all).await
}

/// Notes whom it is told of.
#[derive(Default)]
struct Told(Mutex<Vec<(String, bool)>>);

impl Recalls for Told {
    fn recall(&self, _: MessageKey, recipients: Vec<Recipient>, holders: bool) -> BoxFuture<'_, ()> {
        self.0.lock().unwrap().extend(recipients.iter().map(|r| (r.user.to_string(), holders)));
        Box::pin(async {})
    }
}

async fn finish_with(
    messages: Arc<dyn MessageStore>,
    streams: Arc<dyn Streams>,
    recalls: Arc<Told>,
    results: Arc<Picky>,
    all: Vec<Finished>,
) -> (Vec<u64>, String) {
    let (finished, ended) = mpsc::unbounded_channel();
    let (settlements, [settled, ..]) = Settlements::new();
    let mut registry = Registry::default();
    let backlog = Arc::new(AtomicUsize::new(all.iter().filter(|f| matches!(f, Finished::States(_))).count()));
    let aside_bytes = Arc::new(AtomicUsize::new(5 * all.iter().filter(|f| matches!(f, Finished::Dead { .. })).count()));
    all.into_iter().for_each(|f| finished.send(f).unwrap());
    drop(finished);
    let health = Health::new();
    let parts = FinisherParts {
        name: "worker 0".into(),
        finished: ended,
        messages,
        streams,
        recalls,
        results,
        backlog: Arc::clone(&backlog),
        schedule: Arc::new(MemorySchedule::new(Arc::new(|| 0))),
        wakers: Wakers::new(),
        aside_bytes: Arc::clone(&aside_bytes),
        settled: settlements,
        health: Arc::clone(&health),
        metrics: Metrics::register(&mut registry),
    };
    Finisher::new(parts).run().await;
    assert_eq!((backlog.load(Ordering::Relaxed), aside_bytes.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(health.failing(), []);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    (settled.iter().flatten().map(|t| t.0).collect(), text)
}

fn memory() -> MemoryMessages {
    MemoryMessages::new(MessageBounds::default())
}

#[tokio::test]
async fn what_a_sink_refuses_for_good_is_given_up_alone_and_settles() {
    let results = Arc::new(Picky::default());
    let all = vec![state("m1", 1), state("bad", 2), state("m2", 3), dead("bad", 4), dead("d1", 5)];
    let (settled, metrics) = finish(Arc::new(memory()), Arc::clone(&results), all).await;
    assert_eq!(settled, [1, 2, 3, 4, 5]);
    assert_eq!(*results.published.lock().unwrap(), ["m1", "m2"]);
    assert_eq!(*results.buried.lock().unwrap(), ["d1"]);
    assert!(metrics.contains("store_refusals_total{operation=\"publish results\"} 1"), "{metrics}");
    assert!(metrics.contains("store_refusals_total{operation=\"write dead letters\"} 1"), "{metrics}");
}

#[tokio::test]
async fn nothing_settles_before_a_store_that_fails_works_again() {
    let results = Arc::new(Picky::default());
    let plan = |call| (call < 4).then_some(if call % 2 == 0 { Fault::Before } else { Fault::After });
    let store = Arc::new(Flaky::new(memory(), plan));
    let (settled, metrics) = finish(store, Arc::clone(&results), vec![state("m1", 1)]).await;
    assert_eq!(settled, [1]);
    assert_eq!(*results.published.lock().unwrap(), ["m1"]);
    assert!(metrics.contains("store_retries_total{operation=\"record message states\"} 4"), "{metrics}");
}

/// A message is taken back before anybody records that it was stored; stores fail now and then.
#[tokio::test]
async fn what_was_stored_of_a_message_taken_back_meanwhile_goes_before_its_record_settles() {
    let plan = |call: u64| (call % 3 == 1).then_some(if call.is_multiple_of(2) { Fault::Before } else { Fault::After });
    let store = memory();
    let (app, id) = (AppId::parse("a").unwrap(), MessageId::parse("m1").unwrap());
    store.reserve(app.clone(), vec![(id.clone(), [1; 16], Lane::High)], 1).await.unwrap();
    store.confirm(app.clone(), vec![id.clone()]).await.unwrap();
    assert!(store.recall(MessageKey { app: app.clone(), id: id.clone() }, 1).await.unwrap());
    let streams = MemoryStreams::new(StreamBounds::default());
    let user = UserKey { app: app.clone(), user: UserId::parse("u").unwrap() };
    let key = DeliveryKey::of_user("m1", "websocket");
    let Finished::States(mut states) = state("m1", 1) else { panic!("a state") };
    states[0].record.state = State::Stored;
    let push = StoredPush {
        key,
        id: id.clone(),
        device: None,
        lane: Lane::High,
        policy: pushgate_protocol::link::OutboxPolicy::Close,
        platforms: 0,
        expires_ms: u64::MAX,
        collapse: None,
        info: states[0].record.info.clone().unwrap(),
        exclude: Vec::new(),
        returned: None,
        tail: Bytes::from_static(b"}"),
    };
    streams
        .apply(vec![StreamOp::Append { user: user.clone(), push: Box::new(push), deferred: None }], 1)
        .await
        .unwrap();
    let store = Arc::new(Flaky::new(store, plan));
    let streams = Arc::new(Flaky::new(streams, plan));
    let (told, results) = (Arc::new(Told::default()), Arc::new(Picky::default()));
    let all = vec![Finished::States(states), state("m2", 2)];
    let (settled, _) = finish_with(store.clone(), streams.clone(), told.clone(), results.clone(), all).await;
    assert_eq!(settled, [1, 2]);
    assert_eq!(*results.states.lock().unwrap(), [State::Stored, State::Delivered, State::Recalled]);
    assert_eq!(*told.0.lock().unwrap(), [("u".to_owned(), false)]);
    let mut read = streams.read(user.clone(), 0, 9, 0, 1).await;
    while read.is_err() {
        read = streams.read(user.clone(), 0, 9, 0, 1).await;
    }
    assert!(read.unwrap().entries.is_empty());
    let mut marks = streams.marks(vec![MarkQuery { user: user.clone(), key }], 1).await;
    while marks.is_err() {
        marks = streams.marks(vec![MarkQuery { user: user.clone(), key }], 1).await;
    }
    assert_eq!(marks.unwrap(), [Some(crate::seams::Mark::Ended)]);
}
