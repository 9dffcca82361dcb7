//! Tasks that cannot be read hold up nothing else.

use std::sync::Arc;

use pushgate_dispatcher::{
    clock::unix_ms,
    embedded::{EmbeddedSchedule, EmbeddedStore},
    redis::{RedisLink, RedisSchedule},
    schedule::head,
    seams::{Claimed, ScheduleStore, Task, TaskKey},
};

use crate::{
    redis_server::Server,
    schedule_facts::{LONG_AGO, task},
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
        rows.insert(name(&tasks[1].key), b"garbage").unwrap();
        rows.insert(name(&tasks[2].key), &later).unwrap();
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
