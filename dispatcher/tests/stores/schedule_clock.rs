//! Clocks that are set.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use pushgate_dispatcher::{
    embedded::{EmbeddedSchedule, EmbeddedStore},
    limits,
    memory::MemorySchedule,
    redis::{RedisLink, RedisSchedule},
    seams::ScheduleStore,
};

use crate::{
    redis_server::Server,
    schedule_facts::{LONG_AGO, claim, see, task},
    scoped::Scoped,
};

const NOW: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn steps(store: &dyn ScheduleStore, clock: &AtomicU64) {
    store.add(vec![task("held", NOW - 1), task("later", NOW + HOUR_MS)]).await.unwrap();
    assert_eq!(claim(store).await.len(), 1);
    clock.store(NOW + 2 * HOUR_MS, Ordering::SeqCst);
    let ids: Vec<_> = claim(store).await.iter().map(|c| c.task.key.id.to_string()).collect();
    assert_eq!(ids, ["held", "later"], "set forward: what is due is due, and the lease is over");
    clock.store(NOW, Ordering::SeqCst);
    let ids: Vec<_> = claim(store).await.iter().map(|c| c.task.key.id.to_string()).collect();
    assert_eq!(ids, ["held", "later"], "set back: leases from before it hold up nothing");
    clock.store(NOW + limits::LEASE_MS_MAX - 1, Ordering::SeqCst);
    assert_eq!(claim(store).await.len(), 0, "a lease of now is a lease");
    store.add(vec![task("soon", NOW + limits::LEASE_DOUBT_MS + limits::LEASE_MS_MAX)]).await.unwrap();
    assert_eq!(claim(store).await.len(), 0, "a time to come is no lease");
    assert!(see(store, "held").await.claimed && !see(store, "soon").await.claimed);
}

fn clock() -> (Arc<AtomicU64>, Arc<dyn Fn() -> u64 + Send + Sync>) {
    let clock = Arc::new(AtomicU64::new(NOW));
    (clock.clone(), Arc::new(move || clock.load(Ordering::SeqCst)))
}

#[test]
fn a_clock_that_is_set_holds_up_nothing_in_memory() {
    let (clock, now) = clock();
    block_on(steps(&MemorySchedule::new(now), &clock));
}

#[test]
fn a_clock_that_is_set_holds_up_nothing_on_disk() {
    let (clock, now) = clock();
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedSchedule::new(EmbeddedStore::open(dir.path()).unwrap(), now).unwrap();
    block_on(steps(&store, &clock));
}

/// The server's clock cannot be set, so the lease is written as one given an hour later.
#[test]
fn a_clock_that_is_set_back_holds_up_nothing_in_redis() {
    let server = Server::shared();
    let scope = Scoped::<()>::fresh();
    let store = RedisSchedule::with_prefix(RedisLink::new(server.url(), 0).unwrap(), &scope);
    block_on(async {
        store.add(vec![task("held", LONG_AGO)]).await.unwrap();
        let lease_ms = claim(&store).await[0].lease_ms;
        assert_eq!(claim(&store).await.len(), 0);
        let key = |part: &str| format!("{scope}:t:{{t{}}}:{part}", task("held", 0).key.shard());
        let later = lease_ms + HOUR_MS;
        let mut connection = server.connection();
        redis::cmd("ZADD").arg(key("due")).arg(format!("{later}.5")).arg("shop\0held").exec(&mut connection).unwrap();
        assert_eq!(claim(&store).await.len(), 0, "nothing says that it is a lease from before a step");
        redis::cmd("SET").arg(key("leases")).arg(later).exec(&mut connection).unwrap();
        assert_eq!(claim(&store).await.len(), 1);
        let latest: String = redis::cmd("GET").arg(key("leases")).query(&mut connection).unwrap();
        let (latest, tasks) = latest.split_once(' ').unwrap();
        assert!(latest.parse::<u64>().unwrap() < later && tasks == "1", "{latest} {tasks}");
    });
}
