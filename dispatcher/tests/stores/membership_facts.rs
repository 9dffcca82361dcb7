//! What every `Membership` does, and what the one on Redis does besides. No test waits for a lease: its end is set in the past.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pushgate_dispatcher::redis::{RedisLink, RedisMembership};
use pushgate_protocol::{
    ids::NodeId,
    membership::{FixedMembers, MemberList, Membership, MembershipError},
    ring::{Member, MemberState},
};

use crate::{
    redis_fleet::{Fleet, Form},
    redis_server::Server,
};

const LEASE_MS: u64 = 6_000;

fn member(name: &str) -> Member {
    Member::new(NodeId::parse(name).unwrap(), format!("{name}:7401"))
}

fn names(list: &MemberList) -> Vec<&str> {
    let mut names: Vec<_> = list.members.iter().map(|m| m.node.as_str()).collect();
    names.sort_unstable();
    names
}

fn run(fact: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(fact);
}

/// The list in another form of Redis, as a process of its own sees it.
fn in_form(form: Form) -> (RedisMembership, Arc<Fleet>) {
    static LISTS: AtomicU64 = AtomicU64::new(0);
    let fleet = Fleet::shared(form);
    let name = format!("{form:?}-{}-{}", std::process::id(), LISTS.fetch_add(1, Ordering::Relaxed));
    let link = RedisLink::open(&fleet.config(1)).unwrap();
    (RedisMembership::with_name(link, LEASE_MS, 1, &name), fleet)
}

/// A list of its own on the shared server.
struct Redis {
    server: Arc<Server>,
    name: String,
}

impl Redis {
    fn new() -> Self {
        Self::on(Server::shared())
    }

    fn on(server: Arc<Server>) -> Self {
        static LISTS: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), LISTS.fetch_add(1, Ordering::Relaxed));
        Self { server, name }
    }

    /// The list as a process of its own sees it.
    fn process(&self, who: u64) -> RedisMembership {
        let link = RedisLink::new(self.server.url(), 0).unwrap();
        RedisMembership::with_name(link, LEASE_MS, who, &self.name)
    }

    fn key(&self, part: &str) -> String {
        format!("pushgate:members:{{:{}}}:{part}", self.name)
    }

    /// The lease of a gateway ends now.
    fn end_lease(&self, node: &str) {
        let mut command = redis::cmd("ZADD");
        command.arg(self.key("leases")).arg("XX").arg(1).arg(node).exec(&mut self.server.connection()).unwrap();
    }

    /// Nobody has asked for so long.
    fn pass(&self, ms: i64) {
        let mut connection = self.server.connection();
        let mut shift = |key: String, field: &str, command: &str| {
            redis::cmd(command).arg(key).arg(-ms).arg(field).exec(&mut connection).unwrap();
        };
        for node in ["g1", "g2"] {
            shift(self.key("leases"), node, "ZINCRBY");
        }
        let seen: i64 = redis::cmd("HGET").arg(self.key("epoch")).arg("seen").query(&mut connection).unwrap();
        redis::cmd("HSET").arg(self.key("epoch")).arg("seen").arg(seen - ms).exec(&mut connection).unwrap();
    }
}

async fn a_renewal_tells_the_list_with_the_member(list: &dyn Membership) {
    let told = list.renew(&member("g1")).await.unwrap();
    assert!(names(&told).contains(&"g1") && told.number > 0);
    let read = list.read().await.unwrap();
    assert_eq!((names(&read), read.number), (names(&told), told.number));
    assert_eq!(read.routing().epoch(), told.routing().epoch());
}

async fn renewing_again_keeps_the_epoch(list: &dyn Membership) {
    let first = list.renew(&member("g1")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(list.renew(&member("g1")).await.unwrap().number, first.number);
    }
}

async fn leaving_twice_is_no_error(list: &dyn Membership) {
    list.renew(&member("g1")).await.unwrap();
    list.leave(&member("g1").node).await.unwrap();
    list.leave(&member("g1").node).await.unwrap();
}

macro_rules! facts {
    ($($fact:ident),* $(,)?) => {
        mod fixed { $(#[test] fn $fact() {
            super::run(super::$fact(&super::FixedMembers::new(vec![super::member("g1"), super::member("g2")])));
        })* }
        mod redis_list { $(#[test] fn $fact() {
            super::run(async { super::$fact(&super::Redis::new().process(1)).await });
        })* }
        mod redis_list_in_a_cluster { $(#[test] fn $fact() {
            super::run(async { super::$fact(&super::in_form(super::Form::Cluster).0).await });
        })* }
        mod redis_list_by_sentinels { $(#[test] fn $fact() {
            super::run(async { super::$fact(&super::in_form(super::Form::Sentinel).0).await });
        })* }
    };
}
facts!(a_renewal_tells_the_list_with_the_member, renewing_again_keeps_the_epoch, leaving_twice_is_no_error,);

#[test]
fn a_change_wakes_who_waits_for_it_in_each_form_of_redis() {
    for form in [Form::Cluster, Form::Sentinel] {
        run(async {
            let (list, _fleet) = in_form(form);
            let number = list.read().await.unwrap().number;
            let me = member("g1");
            let (joined, ()) = tokio::join!(list.renew(&me), list.changed(number));
            assert!(joined.unwrap().number > number);
        });
    }
}

#[test]
fn a_fixed_list_has_no_place_for_others() {
    let list = FixedMembers::new(vec![member("g1")]);
    run(async move {
        assert!(matches!(list.renew(&member("g9")).await, Err(MembershipError::Refused(_))));
        assert_eq!(list.lease_ms(), None);
    });
}

#[test]
fn the_epoch_grows_with_each_change_and_only_then() {
    run(async {
        let redis = Redis::new();
        let (one, two) = (redis.process(1), redis.process(2));
        let mut number = one.renew(&member("g1")).await.unwrap().number;
        let mut grows = |list: &MemberList, grows: bool| {
            assert!(if grows { list.number > number } else { list.number == number }, "{} after {number}", list.number);
            number = list.number;
        };
        grows(&two.renew(&member("g2")).await.unwrap(), true);
        grows(&one.renew(&member("g1")).await.unwrap(), false);
        let draining = Member { state: MemberState::Draining, ..member("g1") };
        let list = one.renew(&draining).await.unwrap();
        grows(&list, true);
        assert_eq!(list.routing().owner("shop", "alice").unwrap().node.as_str(), "g2");
        one.leave(&draining.node).await.unwrap();
        let list = two.read().await.unwrap();
        grows(&list, true);
        assert_eq!(names(&list), ["g2"]);
        redis.end_lease("g2");
        let list = one.read().await.unwrap();
        grows(&list, true);
        assert!(list.members.is_empty());
        grows(&one.read().await.unwrap(), false);
    });
}

#[test]
fn one_step_takes_the_dead_away_and_nobody_else() {
    run(async {
        let redis = Redis::new();
        let (one, two) = (redis.process(1), redis.process(2));
        one.renew(&member("g1")).await.unwrap();
        let before = two.renew(&member("g2")).await.unwrap();
        redis.end_lease("g1");
        let after = two.renew(&member("g2")).await.unwrap();
        assert_eq!(names(&after), ["g2"]);
        assert!(after.number > before.number);
        // Whoever was only slow comes back.
        assert_eq!(names(&one.renew(&member("g1")).await.unwrap()), ["g1", "g2"]);
    });
}

#[test]
fn nobody_ever_reads_an_empty_list_while_a_member_stands() {
    run(async {
        let redis = Redis::new();
        let (one, two, reader) = (redis.process(1), redis.process(2), redis.process(3));
        one.renew(&member("g1")).await.unwrap();
        let churn = async {
            for _ in 0..200 {
                two.renew(&member("g2")).await.unwrap();
                two.leave(&member("g2").node).await.unwrap();
            }
        };
        let read = async {
            for _ in 0..400 {
                assert!(names(&reader.read().await.unwrap()).contains(&"g1"));
            }
        };
        tokio::join!(churn, read);
    });
}

#[test]
fn a_name_goes_to_the_newest_process_and_the_older_one_is_told() {
    run(async {
        let redis = Redis::new();
        let (old, new) = (redis.process(1), redis.process(2));
        old.renew(&member("g1")).await.unwrap();
        new.renew(&member("g1")).await.unwrap();
        assert_eq!(old.renew(&member("g1")).await, Err(MembershipError::Displaced(member("g1").node)));
        old.leave(&member("g1").node).await.unwrap();
        assert_eq!(names(&new.read().await.unwrap()), ["g1"], "it takes away only what it put there");
    });
}

#[test]
fn an_outage_of_the_list_costs_nobody_the_lease() {
    run(async {
        let redis = Redis::new();
        let (one, two) = (redis.process(1), redis.process(2));
        one.renew(&member("g1")).await.unwrap();
        let before = two.renew(&member("g2")).await.unwrap();
        redis.pass(60_000);
        let after = one.renew(&member("g1")).await.unwrap();
        assert_eq!((names(&after), after.number), (vec!["g1", "g2"], before.number));
        // A pause that is none: renewals of others went on.
        redis.pass(1_000);
        redis.end_lease("g2");
        assert_eq!(names(&one.renew(&member("g1")).await.unwrap()), ["g1"]);
    });
}

#[test]
fn a_change_wakes_who_waits_for_it() {
    run(async {
        let redis = Redis::new();
        let (one, reader) = (redis.process(1), redis.process(3));
        let number = reader.read().await.unwrap().number;
        let (waiting, me) = (reader.changed(number), member("g1"));
        let (joined, ()) = tokio::join!(one.renew(&me), waiting);
        assert!(joined.unwrap().number > number);
        // What changed before is known at once.
        reader.changed(number).await;
    });
}

#[test]
fn a_list_outlives_its_server_and_says_when_it_is_new() {
    run(async {
        let redis = Redis::on(Arc::new(Server::private()));
        let one = redis.process(1);
        let before = one.renew(&member("g1")).await.unwrap();
        assert!(before.young);
        redis.server.kill();
        assert!(matches!(one.renew(&member("g1")).await, Err(MembershipError::Unavailable(_))));
        redis.server.restart();
        let again = redis.process(2);
        assert_eq!(again.read().await.unwrap().number, before.number);
    });
}
