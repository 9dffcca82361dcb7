//! What only Redis can do wrong: going away, losing scripts, keeping keys for ever, losing what it acknowledged.

use std::sync::Arc;

use pushgate_dispatcher::{
    redis::{RedisLink, RedisMessages, RedisStreams},
    seams::{DeferredTag, Mark, MessageStore, StateChange, StoreError, StoredPush, StreamOp, Streams},
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
    redis_server::Server,
    stream_facts::{NOW, append, key, mark, numbers, push, settle, user},
};

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn streams(link: &Arc<RedisLink>) -> RedisStreams {
    RedisStreams::new(link.clone(), StreamBounds::default())
}

#[test]
fn stores_of_another_versions_format_are_left_alone() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 0).unwrap();
    block_on(async {
        link.check_format().await.unwrap();
        link.check_format().await.unwrap();
        let mut other = server.connection();
        let noted: String = redis::cmd("GET").arg("pushgate:format").query(&mut other).unwrap();
        assert_eq!(noted, "1");
        redis::cmd("SET").arg("pushgate:format").arg("2").exec(&mut other).unwrap();
        let refused = link.check_format().await.unwrap_err().to_string();
        assert!(refused.contains("format 2") && refused.contains("knows format 1"), "{refused}");
        let noted: String = redis::cmd("GET").arg("pushgate:format").query(&mut other).unwrap();
        assert_eq!(noted, "2");
    });
}

#[test]
fn acknowledged_appends_survive_kill_nine_of_redis() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 0).unwrap();
    let (streams, alice) = (streams(&link), user("alice"));
    block_on(async {
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            for n in 0..40 {
                let n = round * 100 + n;
                let again =
                    || streams.apply(vec![append(&alice, push(n)), settle(&alice, n + 1_000, Mark::Ended)], NOW);
                // The first calls after a restart may meet the old connection or the pause after a failure.
                while again().await.is_err() {
                    tokio::task::yield_now().await;
                }
                acknowledged.push(n);
            }
            server.kill();
            let lost = streams.apply(vec![append(&alice, push(9_999))], NOW).await.unwrap_err();
            assert!(lost.retryable(), "{lost}");
            let outage = link.outage().unwrap();
            assert!(server.url().ends_with(&outage.address), "{outage:?}");
            assert!(streams.apply(vec![], NOW).await.is_ok(), "an empty batch needs no server");
            server.restart();
            let stored = loop {
                match streams.read(alice.clone(), 0, 1_000, 0, NOW).await {
                    Ok(page) => break page,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            assert_eq!(stored.entries.len(), acknowledged.len());
            assert_eq!(link.outage(), None);
        }
        assert_eq!(numbers(&streams, &alice, NOW).await, acknowledged);
        assert_eq!(mark(&streams, &alice, 1_000, NOW).await, Some(Mark::Ended));
    });
}

#[test]
fn a_server_that_lost_its_scripts_is_given_them_again() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 0).unwrap();
    let (streams, alice) = (streams(&link), user("alice"));
    block_on(async {
        streams.apply(vec![append(&alice, push(1))], NOW).await.unwrap();
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.connection()).unwrap();
        streams.apply(vec![append(&alice, push(2)), append(&alice, push(3))], NOW).await.unwrap();
        assert_eq!(numbers(&streams, &alice, NOW).await, [1, 2, 3]);
    });
}

#[test]
fn every_key_expires() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 0).unwrap();
    let streams = streams(&link);
    let messages = RedisMessages::new(link, MessageBounds::default());
    let (alice, app, id) = (user("alice"), AppId::parse("shop").unwrap(), MessageId::parse("m").unwrap());
    block_on(async {
        let mut brief = push(1);
        (brief.expires_ms, brief.collapse) = (NOW + 1_000, Some("c".into()));
        let mut endless = push(2);
        endless.expires_ms = u64::MAX;
        let deferred = Some(DeferredTag { episode: u64::MAX, k: u64::MAX });
        let endless = StreamOp::Append { user: user("bob"), push: Box::new(endless), deferred };
        let address = StreamOp::Mark { user: user("ann@example.org"), key: key(4), mark: Mark::Delivered };
        streams
            .apply(vec![append(&alice, brief), endless, settle(&alice, 3, Mark::Ended), address], NOW)
            .await
            .unwrap();
        messages.reserve(app.clone(), vec![(id.clone(), [1; 16], Lane::High)], NOW).await.unwrap();
        messages.confirm(app.clone(), vec![id.clone(), MessageId::parse("gone").unwrap()]).await.unwrap();
        let recipient = Recipient { user: UserId::parse("u").unwrap(), device: None };
        let state = State::Stored;
        let change =
            StateChange { app, message: id, recipient, channel: "websocket", state, reason: None, time_ms: NOW };
        messages.record(vec![change]).await.unwrap();
    });
    let mut connection = server.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert!(keys.len() >= 11, "{keys:?}");
    for key in keys {
        let ttl: i64 = redis::cmd("TTL").arg(&key).query(&mut connection).unwrap();
        assert!(ttl > 0, "{key} has ttl {ttl}");
        assert!(!key.contains("alice}:z") || ttl <= 3_601, "{key} lives {ttl} s");
    }
}

#[test]
fn a_mark_keeps_its_time_where_later_ones_are_given_less() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 0).unwrap();
    let small = RedisStreams::new(link, StreamBounds { mark_bytes: 200_000, ..StreamBounds::default() });
    let delivered = |user, n| StreamOp::Mark { user, key: key(n), mark: Mark::Delivered };
    let ann = || user("ann@example.org");
    let mut connection = server.connection();
    let mut ttl_ms = |name: &str| -> i64 {
        let keys: Vec<String> = redis::cmd("KEYS").arg(format!("*{name}*:m*")).query(&mut connection).unwrap();
        assert_eq!(keys.len(), 1, "{keys:?}");
        redis::cmd("PTTL").arg(&keys[0]).query(&mut connection).unwrap()
    };
    block_on(async {
        let window_ms = StreamBounds::default().mark_window_ms as i64;
        small.apply(vec![delivered(ann(), 1)], NOW).await.unwrap();
        assert!(ttl_ms("ann@") > 2 * window_ms);
        let flood = (0..5_000).map(|n| delivered(user(&format!("bob-{n}@example.org")), n)).collect();
        small.apply(flood, NOW).await.unwrap();
        assert!(ttl_ms("bob-4999@") < window_ms / 10);
        small.apply(vec![delivered(ann(), 2)], NOW).await.unwrap();
        assert!(ttl_ms("ann@") > 2 * window_ms);
    });
}

#[test]
fn what_leaves_the_messages_to_everyone_leaves_no_row_of_its_expiry() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 0).unwrap();
    let mut connection = server.connection();
    let mut rows = || -> usize { redis::cmd("ZCARD").arg("pushgate:s:{shop:*}:x").query(&mut connection).unwrap() };
    block_on(async {
        let small = RedisStreams::new(link.clone(), StreamBounds { entries: 3, ..StreamBounds::default() });
        let collapsed = |n| StoredPush { collapse: Some("c".into()), ..push(n) };
        small.apply((1..=100).map(|n| publish(collapsed(n))).collect(), NOW).await.unwrap();
        assert_eq!(rows(), 1, "collapsed");
        small.apply((200..=300).map(|n| publish(push(n))).collect(), NOW).await.unwrap();
        assert_eq!(rows(), 3, "evicted");
        small.apply(vec![settle(&everyone(), 299, Mark::Ended)], NOW).await.unwrap();
        assert_eq!(rows(), 2, "taken back");
    });
}

#[test]
fn settings_that_lose_data_are_found() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 0).unwrap();
    block_on(async {
        assert_eq!(link.durability_report().await.unwrap(), []);
        let mut connection = server.connection();
        for (setting, value) in [("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru"), ("appendonly", "no")]
        {
            redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).exec(&mut connection).unwrap();
        }
        let findings = link.durability_report().await.unwrap();
        let settings: Vec<&str> = findings.iter().map(|finding| finding.setting).collect();
        assert_eq!(settings, ["appendonly", "appendfsync", "maxmemory-policy"]);
        assert!(findings[1].to_string().contains(" has appendfsync everysec, wanted is always"));
    });
}

#[test]
fn a_write_waits_for_its_replicas() {
    let server = Server::private();
    let link = RedisLink::new(server.url(), 1).unwrap();
    block_on(async {
        let error = streams(&link).apply(vec![append(&user("alice"), push(1))], NOW).await.unwrap_err();
        assert!(error.retryable() && error.to_string().contains("replicas"), "{error}");
    });
}

#[test]
fn errors_name_the_address_and_never_the_password() {
    let url = "redis://someone:verysecret@127.0.0.1:1";
    let link = RedisLink::new(url, 0).unwrap();
    let error = block_on(streams(&link).apply(vec![append(&user("alice"), push(1))], NOW)).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }));
    assert!(error.to_string().contains("127.0.0.1:1") && !error.to_string().contains("verysecret"), "{error}");
    let malformed = RedisLink::new("no url:verysecret", 0).map(drop).unwrap_err();
    assert!(!malformed.to_string().contains("verysecret"), "{malformed}");
}

#[test]
fn who_has_the_password_is_let_in_and_others_are_told() {
    let server = Server::private();
    let mut connection = server.connection();
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("verysecret").exec(&mut connection).unwrap();
    let bob = ["SETUSER", "bob", "on", ">word", "~*", "+@all"];
    redis::cmd("ACL").arg(&bob).exec(&mut connection).unwrap();
    let host = server.url().trim_start_matches("redis://");
    let who = [("", false), (":wrong@", false), ("bob:wrong@", false), (":verysecret@", true), ("bob:word@", true)];
    for (who, let_in) in who {
        let link = RedisLink::new(&format!("redis://{who}{host}"), 0).unwrap();
        let answer = block_on(streams(&link).apply(vec![append(&user("alice"), push(1))], NOW));
        match answer {
            Ok(_) => assert!(let_in, "{who}"),
            Err(error) => {
                assert!(!let_in && error.retryable() && error.to_string().contains("authentication failed"), "{error}");
            }
        }
    }
}

#[test]
fn a_slot_that_is_not_served_is_told_by_its_code() {
    let server = Server::private();
    let mut connection = server.connection();
    redis::cmd("CLUSTER").arg("DELSLOTSRANGE").arg(0).arg(16_383).exec(&mut connection).unwrap();
    let link = RedisLink::new(server.url(), 0).unwrap();
    let error = block_on(streams(&link).apply(vec![append(&user("alice"), push(1))], NOW)).unwrap_err();
    assert!(error.retryable() && error.to_string().contains("CLUSTERDOWN"), "{error}");
}
