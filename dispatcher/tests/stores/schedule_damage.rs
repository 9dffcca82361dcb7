//! Tasks that cannot be read hold up nothing else.

use std::sync::Arc;

use pushgate_dispatcher::{
    clock::unix_ms,
    embedded::{EmbeddedSchedule, EmbeddedStore, Write},
    memory::{Harm, MemorySchedule},
    redis::{RedisLink, RedisSchedule},
    schedule::head,
    seams::{
        Added, Change, Changed, Claimed, Found, Phase, ScheduleStore, Settled, Standing, Task, TaskKey, TaskQuery,
        Unreadable,
    },
};

use crate::{
    redis_server::Server,
    schedule_facts::{LONG_AGO, app, settlement, task},
};

const LEASE_MS: u64 = 5_000;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn name(key: &TaskKey) -> Vec<u8> {
    [key.app.as_str().as_bytes(), &[0], key.id.as_str().as_bytes()].concat()
}

/// Four tasks of one shard.
fn tasks() -> Vec<Task> {
    let all = (0..).map(|n| task(&format!("t{n}"), LONG_AGO));
    all.filter(|task| task.key.shard() == 3).take(4).collect()
}

fn later(task: &Task) -> Vec<u8> {
    let mut head = head::encode(&task.head);
    head[0] += 1;
    head
}

fn claimed(claimed: &Claimed) -> Vec<&TaskKey> {
    let mut keys: Vec<&TaskKey> = claimed.claims.iter().map(|claim| &claim.task.key).collect();
    keys.sort();
    keys
}

fn readable(tasks: &[Task]) -> Vec<&TaskKey> {
    let mut keys = vec![&tasks[0].key, &tasks[3].key];
    keys.sort();
    keys
}

/// Of four tasks the second is damaged and the third of a later version: all are listed, in pages too, and what is asked of
/// those two changes nothing.
async fn hold_up_no_list_and_no_change(store: &dyn ScheduleStore, tasks: &[Task]) {
    let unreadable = |task: &Task, later| Found::Unreadable(Unreadable { key: task.key.clone(), later });
    let list = async |after: Option<&Task>, limit| {
        let after = after.map(|task| task.key.id.clone());
        store.tasks(TaskQuery { app: app("shop"), after, id: None, limit }).await.unwrap()
    };
    let mut order: Vec<&Task> = tasks.iter().collect();
    order.sort_by(|a, b| a.key.cmp(&b.key));
    let all = list(None, 100).await;
    assert_eq!(all.iter().map(Found::key).collect::<Vec<_>>(), order.iter().map(|task| &task.key).collect::<Vec<_>>());
    assert!(all.contains(&unreadable(&tasks[1], false)) && all.contains(&unreadable(&tasks[2], true)), "{all:?}");
    assert_eq!(all.iter().filter(|found| matches!(found, Found::Task(_))).count(), 2);
    assert_eq!([list(None, 2).await, list(Some(order[1]), 2).await].concat(), all);
    for (at, later) in [(1, false), (2, true)] {
        let Task { key, head, .. } = tasks[at].clone();
        let one = TaskQuery { app: app("shop"), after: None, id: Some(key.id.clone()), limit: 1 };
        assert_eq!(store.tasks(one).await.unwrap(), [unreadable(&tasks[at], later)]);
        let changed = store.change(Change { key, head, body: None, standing: Standing::Idle }).await.unwrap();
        assert_eq!(changed, Changed::Conflict);
    }
    let other = (0..).map(|n| task(&format!("other{n}"), LONG_AGO)).find(|task| task.key.shard() != 3).unwrap();
    let added = store.add(vec![tasks[1].clone(), other]).await.unwrap();
    assert_eq!(added, [Added::Conflict, Added::New], "another is added beside it");
}

#[test]
fn in_memory_an_unreadable_task_holds_up_no_other() {
    let store = MemorySchedule::new(Arc::new(unix_ms));
    let tasks = tasks();
    block_on(async {
        store.add(tasks.clone()).await.unwrap();
        store.harm(&tasks[1].key, Harm::Damaged);
        store.harm(&tasks[2].key, Harm::Later);
        hold_up_no_list_and_no_change(&store, &tasks).await;
        let found = store.claim(vec![3], 250, LEASE_MS).await.unwrap();
        assert_eq!((claimed(&found), found.unreadable), (readable(&tasks), 2));
        let again = store.claim(vec![3], 250, LEASE_MS).await.unwrap();
        assert_eq!((again.claims, again.unreadable), (vec![], 0));
    });
}

#[test]
fn on_redis_what_is_damaged_while_it_is_claimed_holds_up_no_settlement() {
    let server = Server::private();
    let store = RedisSchedule::new(RedisLink::new(server.url(), 0).unwrap());
    let mut connection = server.connection();
    let tasks = tasks();
    block_on(async {
        store.add(tasks.clone()).await.unwrap();
        let found = store.claim(vec![3], 250, LEASE_MS).await.unwrap();
        let mut changed = found.claims[0].task.head.clone();
        changed.revision += 1;
        let key = found.claims[0].task.key.clone();
        let change = Change { key: key.clone(), head: changed, body: None, standing: Standing::Due(LONG_AGO) };
        assert_eq!(store.change(change).await.unwrap(), Changed::Done);
        redis::cmd("HSET").arg("pushgate:t:{t3}:heads").arg(name(&key)).arg("garbage").exec(&mut connection).unwrap();
        let ended = found.claims.iter().map(|c| settlement(c, Phase::Completed, Standing::Ended { body: true }));
        let settled = store.settle(ended.collect()).await.unwrap();
        assert_eq!(settled, [Settled::Lost, Settled::Done, Settled::Done, Settled::Done]);
    });
}

#[test]
fn on_redis_a_name_that_is_none_hides_no_task() {
    let server = Server::private();
    let store = RedisSchedule::new(RedisLink::new(server.url(), 0).unwrap());
    let mut connection = server.connection();
    let tasks = tasks();
    block_on(async {
        store.add(tasks.clone()).await.unwrap();
        for strange in [b"shop\0\x01\xff".as_slice(), b"shop\0\x01\xfe", b"shop\0\x02"] {
            redis::cmd("ZADD").arg("pushgate:t:{t3}:names").arg(0).arg(strange).exec(&mut connection).unwrap();
        }
        let mut names: Vec<&TaskKey> = tasks.iter().map(|task| &task.key).collect();
        names.sort();
        let query = |limit| TaskQuery { app: app("shop"), after: None, id: None, limit };
        for limit in 1..=5 {
            let found = store.tasks(query(limit)).await.unwrap();
            assert_eq!(found.iter().map(Found::key).collect::<Vec<_>>(), names[..limit.min(4)]);
        }
    });
}

#[test]
fn on_redis_an_unreadable_task_holds_up_no_other() {
    let server = Server::private();
    let store = RedisSchedule::new(RedisLink::new(server.url(), 0).unwrap());
    let mut connection = server.connection();
    let tasks = tasks();
    block_on(async {
        store.add(tasks.clone()).await.unwrap();
        for (task, head) in [(&tasks[1], b"garbage".to_vec()), (&tasks[2], later(&tasks[2]))] {
            let key = "pushgate:t:{t3}:heads";
            redis::cmd("HSET").arg(key).arg(name(&task.key)).arg(head).exec(&mut connection).unwrap();
        }
        hold_up_no_list_and_no_change(&store, &tasks).await;
        let found = store.claim(vec![3], 250, LEASE_MS).await.unwrap();
        assert_eq!((claimed(&found), found.unreadable), (readable(&tasks), 2));
    });
    let mut score = |task: &Task| -> Option<f64> {
        redis::cmd("ZSCORE").arg("pushgate:t:{t3}:due").arg(name(&task.key)).query(&mut connection).unwrap()
    };
    assert_eq!(score(&tasks[1]), None, "what is damaged is due no more");
    assert_eq!(score(&tasks[2]), score(&tasks[0]), "what a later version wrote comes again after the lease");
    let kept: bool =
        redis::cmd("HEXISTS").arg("pushgate:t:{t3}:bodies").arg(name(&tasks[1].key)).query(&mut connection).unwrap();
    assert!(kept, "what there is of it can be looked at");
}

#[test]
fn on_the_embedded_store_an_unreadable_task_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let schedule = EmbeddedSchedule::new(store.clone(), Arc::new(unix_ms)).unwrap();
    let tasks = tasks();
    block_on(async {
        schedule.add(tasks.clone()).await.unwrap();
        let rows = store.keyspace("tasks").unwrap();
        let later = [&[0; 9], later(&tasks[2]).as_slice()].concat();
        let put = |task: &Task, value: Vec<u8>| Write::put(&rows, name(&task.key), value);
        let writes = vec![put(&tasks[1], b"garbage".to_vec()), put(&tasks[2], later.clone())];
        store.update(move |turn| turn.write(writes)).await.unwrap();
        hold_up_no_list_and_no_change(&schedule, &tasks).await;
        let found = schedule.claim(vec![3], 250, LEASE_MS).await.unwrap();
        assert_eq!((claimed(&found), found.unreadable), (readable(&tasks), 2));
        let row = rows.get(name(&tasks[2].key)).unwrap().unwrap();
        assert_eq!(row[9..], later[9..], "what a later version wrote stays as it is");
        let again = schedule.claim(vec![3], 250, LEASE_MS).await.unwrap();
        assert_eq!((again.claims, again.unreadable), (vec![], 0));
        let lease_ms = found.claims[0].lease_ms;
        assert_eq!(again.next_ms, Some(lease_ms), "all that is left is leased");
    });
    let count = |key: &Task| {
        let name = name(&key.key);
        store
            .keyspace("tasks_at")
            .unwrap()
            .iter()
            .map(|row| row.key().unwrap())
            .filter(|key| key.ends_with(&name))
            .count()
    };
    assert_eq!((count(&tasks[1]), count(&tasks[2])), (0, 1));
}
