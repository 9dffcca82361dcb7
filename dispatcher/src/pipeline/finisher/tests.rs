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
    memory::{Fault, Flaky, MemoryMessages},
    states::MessageBounds,
};

/// Refuses for good each batch that holds the one it does not like.
#[derive(Default)]
struct Picky {
    published: Mutex<Vec<String>>,
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
    Finished::State(worker::Finished { record, recipient, token: Some(Token(token)) })
}

fn dead(origin: &str, token: u64) -> Finished {
    let value = Bytes::from_static(b"12345");
    let record = DeadRecord { key: None, value, reason: "r".into(), attempts: 1, origin: origin.into() };
    Finished::Dead { record, token: Token(token) }
}

/// Finishes everything; the tokens settled in lane high, and the metrics.
async fn finish(messages: Arc<dyn MessageStore>, results: Arc<Picky>, all: Vec<Finished>) -> (Vec<u64>, String) {
    let (finished, ended) = mpsc::unbounded_channel();
    let (high, settled) = std::sync::mpsc::channel();
    let lane = || std::sync::mpsc::channel().0;
    let mut registry = Registry::default();
    let backlog = Arc::new(AtomicUsize::new(all.iter().filter(|f| matches!(f, Finished::State(_))).count()));
    let dead_bytes = Arc::new(AtomicUsize::new(5 * all.iter().filter(|f| matches!(f, Finished::Dead { .. })).count()));
    all.into_iter().for_each(|f| finished.send(f).unwrap());
    drop(finished);
    let health = Health::new();
    let parts = FinisherParts {
        worker: 0,
        finished: ended,
        messages,
        results,
        backlog: Arc::clone(&backlog),
        dead_bytes: Arc::clone(&dead_bytes),
        settled: [high, lane(), lane()],
        health: Arc::clone(&health),
        metrics: Metrics::register(&mut registry),
    };
    Finisher::new(parts).run().await;
    assert_eq!((backlog.load(Ordering::Relaxed), dead_bytes.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(health.failing(), []);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    (settled.iter().map(|t| t.0).collect(), text)
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
