//! What only the embedded store can do wrong: keep for ever what nobody asks for any more.

use std::sync::Arc;

use pushgate_dispatcher::{
    embedded::{EmbeddedMessages, EmbeddedStore, EmbeddedStreams},
    seams::{DeferredTag, Mark, MessageStore, Reservation, StateChange, StoredPush, StreamOp, Streams},
    states::MessageBounds,
    stored::StreamBounds,
};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    result::{Recipient, State},
};

use crate::{
    everyone_facts::{everyone, publish},
    stream_facts::{NOW, append, numbers, push, settle, user},
};

const HOUR_MS: u64 = 3_600_000;

fn rows(store: &EmbeddedStore, keyspace: &'static str, prefix: &str) -> usize {
    store.keyspace(keyspace).unwrap().prefix(prefix).count()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn an_abandoned_stream_is_swept_once_all_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let streams: Arc<dyn Streams> = Arc::new(EmbeddedStreams::new(store.clone(), StreamBounds::default()).unwrap());
    block_on(async {
        let mut brief = push(1);
        (brief.expires_ms, brief.collapse) = (NOW + 1_000, Some("c".into()));
        let mut long = push(2);
        long.expires_ms = NOW + 9 * HOUR_MS;
        let deferred = Some(DeferredTag { episode: 1, k: 0 });
        let append_deferred = StreamOp::Append { user: user("alice"), push: Box::new(brief), deferred };
        streams.apply(vec![append_deferred, append(&user("alice"), long)], NOW).await.unwrap();
        streams.apply(vec![append(&user("bob"), push(3))], NOW + 3 * HOUR_MS).await.unwrap();
        assert_eq!(rows(&store, "streams", "shop\0alice\0"), 3, "state, entry and index of the one that lives");
        assert_eq!(numbers(&*streams, &user("alice"), NOW + 3 * HOUR_MS).await, [2]);
        streams.apply(vec![append(&user("bob"), push(4))], NOW + 10 * HOUR_MS).await.unwrap();
        assert_eq!(rows(&store, "streams", "shop\0alice\0"), 0);
        assert_eq!(numbers(&*streams, &user("bob"), NOW + 10 * HOUR_MS).await, [3, 4]);
    });
    assert_eq!(rows(&store, "streams_due", ""), 1, "bob's");
}

#[test]
fn what_leaves_the_messages_to_everyone_leaves_no_row_of_its_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let bounds = StreamBounds { entries: 3, ..StreamBounds::default() };
    let streams = EmbeddedStreams::new(store.clone(), bounds).unwrap();
    let rows = || rows(&store, "streams", "shop\0*\0\x06");
    block_on(async {
        let collapsed = |n| StoredPush { collapse: Some("c".into()), ..push(n) };
        streams.apply((1..=100).map(|n| publish(collapsed(n))).collect(), NOW).await.unwrap();
        assert_eq!(rows(), 1, "collapsed");
        streams.apply((200..=300).map(|n| publish(push(n))).collect(), NOW).await.unwrap();
        assert_eq!(rows(), 3, "evicted");
        streams.apply(vec![settle(&everyone(), 299, Mark::Ended)], NOW).await.unwrap();
        assert_eq!(rows(), 2, "taken back");
        streams.apply(vec![append(&user("bob"), push(1))], NOW + 48 * HOUR_MS).await.unwrap();
    });
    assert_eq!(rows(), 0, "swept");
    assert_eq!(self::rows(&store, "streams", "shop\0*\0"), 0);
}

#[test]
fn messages_are_swept_after_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let bounds = MessageBounds { keep_ms: 10 * HOUR_MS, ..MessageBounds::default() };
    let messages = EmbeddedMessages::new(store.clone(), bounds).unwrap();
    let app = AppId::parse("shop").unwrap();
    let id = |text: &str| MessageId::parse(text).unwrap();
    let change = |message: &str, time_ms| StateChange {
        app: app.clone(),
        message: id(message),
        recipient: Recipient { user: UserId::parse("u").unwrap(), device: None },
        channel: "websocket",
        state: State::Stored,
        reason: None,
        time_ms,
    };
    block_on(async {
        messages.reserve(app.clone(), vec![(id("reserved"), [1; 16], Lane::High)], NOW).await.unwrap();
        messages.record(vec![change("old", NOW)]).await.unwrap();
        messages.record(vec![change("new", NOW + 11 * HOUR_MS)]).await.unwrap();
        assert_eq!(messages.message(app.clone(), id("old"), 0, 10).await.unwrap(), None);
        assert!(messages.message(app.clone(), id("new"), 0, 10).await.unwrap().is_some());
        assert_eq!(rows(&store, "messages", "shop\0reserved\0"), 1, "its window is longer");
        let again = messages.reserve(app.clone(), vec![(id("later"), [1; 16], Lane::High)], NOW + 30 * HOUR_MS).await;
        assert_eq!(again.unwrap(), [Reservation::New]);
    });
    assert_eq!(rows(&store, "messages", ""), 1, "the last reservation");
}
