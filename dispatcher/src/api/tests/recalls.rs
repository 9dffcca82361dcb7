//! Messages taken back.

use bytes::Bytes;
use pushgate_protocol::{
    ids::MessageId,
    link::OutboxPolicy,
    result::{Class, ResultInfo, State},
};

use super::{
    doubles::{Did, Outage},
    *,
};
use crate::{
    core::worker::CHANNEL,
    seams::{DeliveryKey, Mark, MarkQuery, StoredPush, StreamOp, StreamOutcome, UserKey},
};

fn user(name: &str) -> UserKey {
    UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(name).unwrap() }
}

fn key() -> DeliveryKey {
    DeliveryKey::of_user("m1", CHANNEL)
}

fn push() -> StoredPush {
    let info = ResultInfo {
        occurrence: None,
        lane: Lane::Low,
        class: Class::Marketing,
        accepted_ms: NOW_MS,
        bytes: 3,
        meta: None,
        trace: None,
    };
    StoredPush {
        key: key(),
        id: MessageId::parse("m1").unwrap(),
        device: None,
        lane: Lane::Low,
        policy: OutboxPolicy::DropOldest,
        platforms: 0,
        expires_ms: u64::MAX,
        collapse: None,
        info,
        exclude: Vec::new(),
        returned: None,
        tail: Bytes::from_static(b"abc"),
    }
}

async fn sent() -> Fixture {
    let api = Fixture::new();
    assert_eq!(api.send(&with_id("m1")).await.status, 202);
    api
}

async fn delete(api: &Fixture, id: &str) -> Answer {
    api.call(request(Method::DELETE, &format!("/v1/messages/{id}")).body(Body::empty()).unwrap()).await
}

async fn mark(api: &Fixture, name: &str) -> Option<Mark> {
    let query = MarkQuery { user: user(name), key: key() };
    api.streams.marks(vec![query], NOW_MS).await.unwrap().remove(0)
}

#[tokio::test]
async fn what_is_stored_is_taken_out_told_of_published_and_recorded() {
    let api = sent().await;
    api.streams
        .apply(vec![StreamOp::Append { user: user("alice"), push: Box::new(push()), deferred: None }], NOW_MS)
        .await
        .unwrap();
    api.memory.show(&[("alice", State::Stored), ("bob", State::Delivered), ("carol", State::Sent)]);
    let answer = delete(&api, "m1").await;
    assert_eq!((answer.status, answer.body), (202, json!({ "id": "m1" })));
    let recalled = |who: &str| Did::Recorded(who.into(), State::Recalled);
    let published = |who: &str, known| Did::Published(who.into(), State::Recalled, known);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(recalled);
    assert_eq!(
        api.memory.did(),
        [Did::Noted, Did::Told(3), published("alice", true), published("carol", false), alice, bob, carol],
        "what ended elsewhere is no result once more"
    );
    assert_eq!(mark(&api, "alice").await, Some(Mark::Ended));
    assert!(api.streams.read(user("alice"), 0, 9, 0, NOW_MS).await.unwrap().entries.is_empty());
    let again = StreamOp::Append { user: user("alice"), push: Box::new(push()), deferred: None };
    assert_eq!(api.streams.apply(vec![again], NOW_MS).await.unwrap(), [StreamOutcome::AlreadyEnded(Mark::Ended)]);
    assert_eq!(delete(&api, "m1").await.status, 202, "as often as asked");
    assert!(api.get("/metrics").await.text.contains("rest_messages_recalled_total 2"));
}

#[tokio::test]
async fn a_message_that_nobody_is_known_to_have_is_noted_and_shards_are_told() {
    let api = sent().await;
    api.memory.show(&[]);
    assert_eq!(delete(&api, "m1").await.status, 202);
    assert_eq!(api.memory.did(), [Did::Noted, Did::Told(0)], "and nobody becomes a recipient by that");
}

#[tokio::test]
async fn who_acknowledged_it_meanwhile_has_it() {
    let api = sent().await;
    let settle = StreamOp::Settle { user: user("alice"), key: key(), mark: Mark::Delivered };
    api.streams.apply(vec![settle], NOW_MS).await.unwrap();
    api.memory.show(&[("alice", State::Stored)]);
    assert_eq!(delete(&api, "m1").await.status, 202);
    let delivered = Did::Published("alice".into(), State::Delivered, false);
    let recorded = Did::Recorded("alice".into(), State::Delivered);
    assert_eq!(api.memory.did(), [Did::Noted, Did::Told(1), delivered, recorded]);
}

#[tokio::test]
async fn a_message_is_taken_back_by_its_app_alone() {
    let api = sent().await;
    assert_eq!(delete(&api, "unknown").await.problem(), (404, "not_found", None));
    assert_eq!(delete(&api, "%00").await.problem(), (404, "not_found", None));
    let other = api.apps.mint_caller(&AppId::parse("mute").unwrap(), &[Scope::Send], 60, NOW_MS / 1_000).unwrap();
    for (authorization, status) in [(None, 401), (Some(format!("Bearer {other}")), 404)] {
        let mut request = Request::delete("/v1/messages/m1");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        assert_eq!(api.call(request.body(Body::empty()).unwrap()).await.problem().0, status);
    }
    assert_eq!(api.memory.did(), []);
}

#[tokio::test]
async fn a_recall_that_is_not_whole_is_not_answered_as_done() {
    let api = sent().await;
    api.memory.show(&[("alice", State::Stored)]);
    api.memory.fail(Outage::Append);
    assert_eq!(delete(&api, "m1").await.problem(), (503, "unavailable", None));
    assert_eq!(api.memory.did(), [Did::Noted, Did::Told(1)]);
    assert_eq!(mark(&api, "alice").await, Some(Mark::Ended), "it is not sent any more");
    api.memory.fail(Outage::None);
    assert_eq!(delete(&api, "m1").await.status, 202);
    assert_eq!(api.memory.did().len(), 4);
}
