//! What the forms of Redis do that one server does not: primaries that change, slots that move, and who is asked for what it is not.

use std::{
    future::Future,
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use pushgate_dispatcher::{
    redis::{RedisConfig, RedisLink, RedisMembership, RedisStreams},
    seams::{Mark, MarkQuery, Streams},
    stored::StreamBounds,
};
use pushgate_protocol::{ids::NodeId, membership::Membership, ring::Member};
use redis::Value;
use tokio::{sync::watch, time::timeout};

use crate::{
    redis_fleet::{Fleet, Form, MASTER},
    stream_facts::{NOW, append, key, mark, numbers, push, settle, user},
};

/// How long what is replaced may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn streams(config: &RedisConfig) -> RedisStreams {
    RedisStreams::new(RedisLink::open(config).unwrap(), StreamBounds::default())
}

/// Repeats what is refused for a moment.
async fn at_last<T, E: std::fmt::Display>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Appends pushes, each to a user of its own, repeating what fails; tells how many were acknowledged, until nobody listens.
async fn write(streams: Arc<RedisStreams>, acknowledged: watch::Sender<u64>) {
    for first in (0..).step_by(USERS) {
        let start = Instant::now();
        let ops = || (first..first + USERS as u64).map(|n| append(&user(&format!("u{n}")), push(n))).collect();
        while let Err(error) = streams.apply(ops(), NOW).await {
            assert!(error.retryable() && start.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if acknowledged.send(first + USERS as u64).is_err() {
            return;
        }
    }
}

/// More than there are primaries: in each batch all of them have some.
const USERS: usize = 24;

async fn is_primary(fleet: &Fleet, name: &str) -> Result<(), String> {
    let mut connection = fleet.connection(name);
    let role: Value = redis::cmd("ROLE").query(&mut connection).map_err(|error| error.to_string())?;
    match role {
        Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"master".into())) => Ok(()),
        _ => Err(format!("{name} is no primary")),
    }
}

/// The primary dies while it is used; another takes its place, and the first comes back.
fn nothing_acknowledged_is_lost(form: Form, dies: &str, follows: &str) {
    let fleet = Fleet::private(form, 1_000);
    let streams = Arc::new(streams(&fleet.config(1)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (tell, mut told) = watch::channel(0);
    let writer = runtime.spawn(write(Arc::clone(&streams), tell));
    runtime.block_on(async {
        told.wait_for(|count| *count >= 10 * USERS as u64).await.unwrap();
        fleet.kill(dies);
        at_last(async || is_primary(&fleet, follows).await).await;
        fleet.restart(dies);
        let before = *told.borrow();
        // Only with a replica anything is acknowledged: that is the one that died.
        told.wait_for(|count| *count >= before + 10 * USERS as u64).await.unwrap();
        let count = *told.borrow();
        drop(told);
        writer.await.unwrap();
        let queries = (0..count).map(|n| MarkQuery { user: user(&format!("u{n}")), key: key(n) }).collect();
        let marks = streams.marks(queries, NOW).await.unwrap();
        let lost = marks.iter().filter(|mark| **mark != Some(Mark::Stored)).count();
        assert_eq!(lost, 0, "of {count} acknowledged");
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_sentinels_replace_the_primary() {
    nothing_acknowledged_is_lost(Form::Sentinel, "watched-1", "watched-2");
}

#[test]
fn nothing_acknowledged_is_lost_when_a_cluster_replaces_a_primary() {
    nothing_acknowledged_is_lost(Form::Cluster, "cluster-1", "cluster-4");
}

/// The commands that move a slot, as an operator's tool gives them.
struct Move<'a> {
    fleet: &'a Fleet,
    slot: u16,
    from: usize,
    to: usize,
}

impl Move<'_> {
    fn id(&self, n: usize) -> String {
        redis::cmd("CLUSTER").arg("MYID").query(&mut self.fleet.connection(&format!("cluster-{n}"))).unwrap()
    }

    fn set_slot(&self, at: usize, words: &[&str]) {
        let mut connection = self.fleet.connection(&format!("cluster-{at}"));
        redis::cmd("CLUSTER").arg("SETSLOT").arg(self.slot).arg(words).exec(&mut connection).unwrap();
    }

    fn begin(&self) {
        self.set_slot(self.to, &["IMPORTING", &self.id(self.from)]);
        self.set_slot(self.from, &["MIGRATING", &self.id(self.to)]);
    }

    /// Moves at most so many keys.
    fn keys(&self, max: usize) {
        let mut connection = self.fleet.connection(&format!("cluster-{}", self.from));
        let keys: Vec<String> =
            redis::cmd("CLUSTER").arg("GETKEYSINSLOT").arg(self.slot).arg(max).query(&mut connection).unwrap();
        for key in &keys {
            let port = self.fleet.port(&format!("cluster-{}", self.to));
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(port).arg(key).arg(0).arg(5_000).exec(&mut connection).unwrap();
        }
    }

    fn end(&self) {
        let id = self.id(self.to);
        self.set_slot(self.to, &["NODE", &id]);
        self.set_slot(self.from, &["NODE", &id]);
    }
}

/// The slot of a hash tag, and the number of the primary that a new cluster gives it.
fn place_of(fleet: &Fleet, tag: &str) -> (u16, usize) {
    let mut connection = fleet.connection("cluster-1");
    let slot: u16 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(format!("{{{tag}}}")).query(&mut connection).unwrap();
    (slot, 1 + (0..3).find(|n| usize::from(slot) < (n + 1) * 16_384 / 3).unwrap())
}

#[test]
fn a_slot_moves_while_it_is_used() {
    let fleet = Fleet::private(Form::Cluster, 15_000);
    let streams = streams(&fleet.config(1));
    let alice = user("alice");
    block_on(async {
        streams.apply(vec![append(&alice, push(1)), append(&user("bob"), push(1))], NOW).await.unwrap();
        let (slot, from) = place_of(&fleet, "shop:alice");
        let moving = Move { fleet: &fleet, slot, from, to: from % 3 + 1 };
        moving.begin();
        // A script names keys that may not be there, of which nobody knows where they are: it is refused until the slot has moved.
        let append_to_both = |n| vec![append(&alice, push(n)), append(&user("bob"), push(n))];
        for keys in [0, 1, 10] {
            moving.keys(keys);
            let apart = streams.apply(append_to_both(2), NOW).await.unwrap_err();
            assert!(apart.retryable(), "{apart}");
            assert_eq!(mark(&streams, &alice, 1, NOW).await, Some(Mark::Stored), "one key is found wherever it is");
        }
        moving.end();
        streams.apply(vec![append(&alice, push(4)), settle(&alice, 1, Mark::Ended)], NOW).await.unwrap();
        assert_eq!(numbers(&streams, &alice, NOW).await, [4]);
        // What was refused for her sake had run for him.
        assert_eq!(numbers(&streams, &user("bob"), NOW).await, [1, 2]);
    });
}

fn refusal(config: &RedisConfig) -> String {
    let error = block_on(streams(config).apply(vec![append(&user("alice"), push(1))], NOW)).unwrap_err();
    assert!(error.retryable(), "{error}");
    error.to_string()
}

#[test]
fn whoever_is_asked_for_what_it_is_not_is_named_with_what_to_do() {
    let watched = Fleet::shared(Form::Sentinel);
    let cluster = Fleet::shared(Form::Cluster);
    let sentinels = watched.config(0).sentinels;
    let primary = block_on(async {
        let link = RedisLink::open(&watched.config(0)).unwrap();
        link.ahead_ms().await.unwrap();
        link.described().await.unwrap().split(' ').next().unwrap().to_owned()
    });
    let one = |address: &str| RedisConfig::single(&format!("redis://{address}"), 0);
    let nodes = &cluster.config(0).nodes;
    for (config, said) in [
        (
            RedisConfig::cluster(vec![primary.clone()], 0),
            "it is no node of a cluster: a single server is named in redis.url",
        ),
        (
            RedisConfig::sentinel(sentinels.clone(), "nobody", 0),
            "it knows no primary \"nobody\", which redis.master_name names",
        ),
        (RedisConfig::sentinel(vec![primary], MASTER, 0), "it is no Sentinel"),
        (one(&sentinels[0]), "a Sentinel is named in redis.sentinels"),
        (RedisConfig::cluster(vec!["127.0.0.1:1".into()], 0), "no node says who has which slots: 127.0.0.1:1"),
        (RedisConfig::sentinel(vec!["127.0.0.1:1".into()], MASTER, 0), "sentinel 127.0.0.1:1: "),
    ] {
        let error = refusal(&config);
        assert!(error.contains(said), "{error}");
    }
    let moved = (0..3).filter(|n| {
        let link = one(&nodes[*n]);
        let all = (0..USERS as u64).map(|n| append(&user(&format!("v{n}")), push(n))).collect();
        let error = block_on(streams(&link).apply(all, NOW)).unwrap_err().to_string();
        error.contains("it is a cluster of several nodes: name some of them in redis.nodes")
    });
    assert_eq!(moved.count(), 3);
}

#[test]
fn a_cluster_tells_of_itself_and_of_the_settings_of_each_primary() {
    let fleet = Fleet::private(Form::Cluster, 15_000);
    block_on(async {
        let link = RedisLink::open(&fleet.config(1)).unwrap();
        assert_eq!(link.durability_report().await.unwrap(), []);
        // A node names replicas once it knows that they have something.
        let all = (0..USERS as u64).map(|n| append(&user(&format!("w{n}")), push(n))).collect();
        streams(&fleet.config(1)).apply(all, NOW).await.unwrap();
        at_last(async || {
            let described = RedisLink::open(&fleet.config(1)).unwrap().described().await.map_err(|e| e.to_string())?;
            if described == "a cluster of 3 primaries and 3 replicas" { Ok(()) } else { Err(described) }
        })
        .await;
        let mut second = fleet.connection("cluster-2");
        redis::cmd("CONFIG").arg("SET").arg("appendfsync").arg("everysec").exec(&mut second).unwrap();
        let findings = link.durability_report().await.unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].server.ends_with(&format!(":{}", fleet.port("cluster-2"))), "{findings:?}");
        let more = RedisLink::open(&fleet.config(2)).unwrap().durability_report().await.unwrap();
        let few = more.iter().filter(|finding| finding.setting == "connected_slaves");
        assert_eq!(few.count(), 3, "{more:?}");
    });
}

#[test]
fn what_has_run_counts_only_with_its_replicas_though_others_of_its_batch_are_sent_elsewhere() {
    let fleet = Fleet::private(Form::Cluster, 15_000);
    let streams = streams(&fleet.config(1));
    let (slot, from) = place_of(&fleet, "shop:alice");
    let stays = (0..).map(|n| format!("stays-{n}")).find(|name| {
        let (its_slot, at) = place_of(&fleet, &format!("shop:{name}"));
        at == from && its_slot != slot
    });
    let (alice, stays) = (user("alice"), user(&stays.unwrap()));
    block_on(async {
        streams.apply(vec![append(&alice, push(1)), append(&stays, push(1))], NOW).await.unwrap();
        let moving = Move { fleet: &fleet, slot, from, to: from % 3 + 1 };
        moving.begin();
        moving.keys(100);
        moving.end();
        fleet.kill(&format!("cluster-{}", from + 3));
        let answer = streams.apply(vec![append(&alice, push(2)), append(&stays, push(2))], NOW).await;
        let error = answer.expect_err("nobody but its primary has what was sent to the one who stays").to_string();
        assert!(error.contains("redis.durability asks for 1"), "{error}");
    });
}

#[test]
fn who_waits_for_less_than_a_primary_that_hangs_may_take_finds_the_one_that_follows() {
    let fleet = Fleet::private(Form::Cluster, 1_000);
    let list = RedisMembership::new(RedisLink::open(&fleet.config(0)).unwrap(), 2_000, 1);
    let me = Member::new(NodeId::parse("g1").unwrap(), "g1:7401");
    let (_, at) = place_of(&fleet, ":gateways");
    block_on(async {
        list.renew(&me).await.unwrap();
        let _hanging = fleet.hang(&format!("cluster-{at}"));
        // A gateway waits for a part of its lease.
        at_last(async || match timeout(Duration::from_secs(1), list.renew(&me)).await {
            Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
            Err(late) => Err(late.to_string()),
        })
        .await;
    });
}

#[test]
fn a_node_that_is_in_no_cluster_any_more_is_passed_over() {
    let cluster = Fleet::shared(Form::Cluster);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = cluster.config(0);
    config.nodes.insert(0, listener.local_addr().unwrap().to_string());
    let forgotten = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4_096];
        while let Ok(length @ 1..) = stream.read(&mut asked) {
            let of_slots = asked[..length].windows(5).any(|word| word == b"SLOTS");
            stream.write_all(if of_slots { b"*0\r\n" } else { b"+OK\r\n" }).unwrap();
        }
    });
    block_on(streams(&config).apply(vec![append(&user("of-no-cluster"), push(1))], NOW)).unwrap();
    forgotten.join().unwrap();
}
