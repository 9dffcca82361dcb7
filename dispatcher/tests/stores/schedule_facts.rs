//! What every `ScheduleStore` does. Redis goes by its server's clock, so tasks are due long ago or in a long time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use pushgate_dispatcher::{
    classes::Classes,
    clock::unix_ms,
    health::Health,
    limits,
    memory::{Fault, Flaky, MemoryMessages},
    metrics::ScheduleMetrics,
    schedule::{
        announce::Announcer,
        driver::{ScheduleLoop, ScheduleParts},
        entry,
        wakers::Wakers,
    },
    seams::{
        Added, BoxFuture, Change, Changed, Claim, DeadRecord, Found, Intake, NewRecord, Phase, ResultSink,
        ScheduleStore, Seen, Settled, Settlement, Standing, StoreError, Task, TaskHead, TaskKey, TaskQuery,
    },
    states::MessageBounds,
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message,
    result::ResultRecord,
};
use serde_json::{Value, json};

use crate::backend::{Backend, facts};

facts!(
    a_task_that_is_due_is_claimed_once_and_goes_where_it_is_settled,
    a_task_that_is_not_due_is_not_claimed_and_its_time_is_told,
    a_task_is_added_once_and_its_name_is_not_anothers,
    a_lease_that_ends_gives_the_task_to_the_next_and_keeps_the_first_from_settling,
    a_change_beside_a_claim_holds_and_is_told_to_whoever_settles,
    a_change_of_another_revision_than_the_last_changes_nothing,
    a_paused_task_is_never_claimed_until_it_goes_on,
    a_claim_is_bounded_and_the_rest_follows,
    tasks_are_seen_in_order_and_by_app,
    what_has_ended_is_bounded_and_its_body_kept_or_not,
    whatever_fails_each_occurrence_is_sent_under_its_one_name,
);

pub const LONG_AGO: u64 = 1_600_000_000_000;
pub const IN_A_LONG_TIME: u64 = 2_500_000_000_000;
pub const LEASE_MS: u64 = 5_000;

pub fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

pub fn id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

fn all_shards() -> Vec<u16> {
    (0..limits::SCHEDULE_SHARDS).collect()
}

pub fn scheduled(name: &str, schedule: Value, accepted_ms: u64) -> Task {
    let json = json!({
        "id": name, "app": "shop", "to": {"users": ["u1"]}, "content": {"title": "t"}, "schedule": schedule, "ttl": "1y"
    });
    let message = message::decode(json.to_string().as_bytes()).unwrap();
    entry::task(app("shop"), id(name), &message, Lane::Normal, accepted_ms).unwrap()
}

pub fn task(name: &str, due_ms: u64) -> Task {
    scheduled(name, json!({"delay": "0s"}), due_ms)
}

pub async fn claim(store: &dyn ScheduleStore) -> Vec<Claim> {
    let mut claims = store.claim(all_shards(), 250, LEASE_MS).await.unwrap().claims;
    claims.sort_by(|a, b| a.task.key.cmp(&b.task.key));
    claims
}

pub async fn see(store: &dyn ScheduleStore, name: &str) -> Seen {
    let query = TaskQuery { app: app("shop"), after: None, id: Some(id(name)), limit: 1 };
    store.tasks(query).await.unwrap().remove(0).task().unwrap()
}

pub fn settlement(claim: &Claim, phase: Phase, standing: Standing) -> Settlement {
    let due_ms = if let Standing::Due(at) = standing { at } else { claim.task.head.due_ms };
    let head = TaskHead { phase, due_ms, fired: claim.task.head.fired + 1, ..claim.task.head.clone() };
    Settlement { key: claim.task.key.clone(), lease_ms: claim.lease_ms, head, standing }
}

pub fn change(seen: &Task, phase: Phase, standing: Standing) -> Change {
    let head = TaskHead { phase, revision: seen.head.revision + 1, ..seen.head.clone() };
    Change { key: seen.key.clone(), head, body: None, standing }
}

async fn a_task_that_is_due_is_claimed_once_and_goes_where_it_is_settled(backend: Backend) {
    let store = backend.schedule();
    assert_eq!(store.add(vec![task("a", LONG_AGO), task("b", LONG_AGO + 1)]).await.unwrap(), [Added::New; 2]);
    let claims = claim(&*store).await;
    assert_eq!(
        claims.iter().map(|c| c.task.clone()).collect::<Vec<_>>(),
        [task("a", LONG_AGO), task("b", LONG_AGO + 1)]
    );
    assert_eq!(claim(&*store).await, [], "they are claimed");
    assert!(see(&*store, "a").await.claimed);
    let settlements = vec![
        settlement(&claims[0], Phase::Completed, Standing::Ended { body: true }),
        settlement(&claims[1], Phase::Live, Standing::Due(LONG_AGO + 2)),
    ];
    assert_eq!(store.settle(settlements.clone()).await.unwrap(), [Settled::Done, Settled::Done]);
    assert_eq!(
        store.settle(settlements).await.unwrap(),
        [Settled::Lost, Settled::Lost],
        "a repetition changes nothing"
    );
    let ended = see(&*store, "a").await;
    assert_eq!((ended.task.head.phase, ended.task.head.fired, ended.claimed), (Phase::Completed, 1, false));
    let again = claim(&*store).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].task.key.id.as_str(), again[0].task.head.due_ms), ("b", LONG_AGO + 2));
}

async fn a_task_that_is_not_due_is_not_claimed_and_its_time_is_told(backend: Backend) {
    let store = backend.schedule();
    assert_eq!(store.claim(all_shards(), 10, LEASE_MS).await.unwrap().next_ms, None);
    store.add(vec![task("a", IN_A_LONG_TIME + 7), task("b", IN_A_LONG_TIME)]).await.unwrap();
    let before = unix_ms();
    let claimed = store.claim(all_shards(), 10, LEASE_MS).await.unwrap();
    assert_eq!((claimed.claims.len(), claimed.next_ms), (0, Some(IN_A_LONG_TIME)));
    assert!(claimed.now_ms >= before && claimed.now_ms <= unix_ms());
    let elsewhere = (0..limits::SCHEDULE_SHARDS).filter(|s| *s != task("b", 0).key.shard()).collect();
    let next_ms = store.claim(elsewhere, 10, LEASE_MS).await.unwrap().next_ms;
    assert!(next_ms.is_none_or(|next| next == IN_A_LONG_TIME + 7));
    store.add(vec![task("c", LONG_AGO)]).await.unwrap();
    let claimed = store.claim(all_shards(), 10, LEASE_MS).await.unwrap();
    assert_eq!(claimed.next_ms, Some(claimed.claims[0].lease_ms), "a lease that ends is a time to come again");
}

async fn a_task_is_added_once_and_its_name_is_not_anothers(backend: Backend) {
    let store = backend.schedule();
    store.add(vec![task("a", LONG_AGO)]).await.unwrap();
    let claims = claim(&*store).await;
    let other = scheduled("a", json!({"delay": "1s"}), LONG_AGO);
    let later = task("a", IN_A_LONG_TIME);
    let added = store.add(vec![task("a", LONG_AGO), other, later, task("b", LONG_AGO)]).await.unwrap();
    assert_eq!(added, [Added::Known, Added::Conflict, Added::Known, Added::New]);
    assert_eq!(see(&*store, "a").await.task, task("a", LONG_AGO));
    let ended = settlement(&claims[0], Phase::Completed, Standing::Ended { body: false });
    assert_eq!(store.settle(vec![ended]).await.unwrap(), [Settled::Done], "adding it again left the claim alone");
    assert_eq!(store.add(vec![task("a", LONG_AGO)]).await.unwrap(), [Added::Known], "also after its end");
}

async fn a_lease_that_ends_gives_the_task_to_the_next_and_keeps_the_first_from_settling(backend: Backend) {
    let store = backend.schedule();
    store.add(vec![task("a", LONG_AGO)]).await.unwrap();
    let first = store.claim(all_shards(), 10, 1).await.unwrap().claims.remove(0);
    let second = loop {
        if let Some(claim) = claim(&*store).await.pop() {
            break claim;
        }
        tokio::task::yield_now().await;
    };
    assert!(second.lease_ms > first.lease_ms);
    let late = settlement(&first, Phase::Completed, Standing::Ended { body: true });
    assert_eq!(store.settle(vec![late]).await.unwrap(), [Settled::Lost]);
    assert_eq!(see(&*store, "a").await.task.head.phase, Phase::Live);
    let right = settlement(&second, Phase::Completed, Standing::Ended { body: true });
    assert_eq!(store.settle(vec![right]).await.unwrap(), [Settled::Done]);
}

async fn a_change_beside_a_claim_holds_and_is_told_to_whoever_settles(backend: Backend) {
    let store = backend.schedule();
    store.add(vec![task("a", LONG_AGO)]).await.unwrap();
    let held = claim(&*store).await.remove(0);
    let mut pause = change(&held.task, Phase::Paused, Standing::Idle);
    pause.body = Some(Bytes::from_static(b"{}"));
    assert_eq!(store.change(pause.clone()).await.unwrap(), Changed::Done);
    assert!(see(&*store, "a").await.claimed);
    let told = store.settle(vec![settlement(&held, Phase::Completed, Standing::Ended { body: true })]).await.unwrap();
    let [Settled::Changed(task)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&task.head, task.body.as_ref()), (&pause.head, b"{}".as_slice()));
    let held = Claim { task: (**task).clone(), ..held };
    assert_eq!(store.settle(vec![settlement(&held, Phase::Paused, Standing::Idle)]).await.unwrap(), [Settled::Done]);
    assert_eq!(claim(&*store).await, []);
    assert!(!see(&*store, "a").await.claimed);
}

async fn a_change_of_another_revision_than_the_last_changes_nothing(backend: Backend) {
    let store = backend.schedule();
    let a = task("a", IN_A_LONG_TIME);
    assert_eq!(store.change(change(&a, Phase::Paused, Standing::Idle)).await.unwrap(), Changed::Unknown);
    store.add(vec![a.clone()]).await.unwrap();
    let pause = change(&a, Phase::Paused, Standing::Idle);
    assert_eq!(store.change(pause.clone()).await.unwrap(), Changed::Done);
    assert_eq!(store.change(pause.clone()).await.unwrap(), Changed::Done, "its repetition is the same change");
    let cancel = change(&a, Phase::Cancelled, Standing::Ended { body: true });
    assert_eq!(store.change(cancel).await.unwrap(), Changed::Conflict);
    assert_eq!(see(&*store, "a").await.task.head, pause.head);
}

async fn a_paused_task_is_never_claimed_until_it_goes_on(backend: Backend) {
    let store = backend.schedule();
    let a = task("a", LONG_AGO);
    store.add(vec![a.clone()]).await.unwrap();
    store.change(change(&a, Phase::Paused, Standing::Idle)).await.unwrap();
    let claimed = store.claim(all_shards(), 10, LEASE_MS).await.unwrap();
    assert_eq!((claimed.claims.len(), claimed.next_ms), (0, None));
    let paused = see(&*store, "a").await.task;
    store.change(change(&paused, Phase::Live, Standing::Due(LONG_AGO))).await.unwrap();
    let claims = claim(&*store).await;
    assert_eq!((claims.len(), claims[0].task.head.revision), (1, 3));
    let ended = settlement(&claims[0], Phase::Completed, Standing::Ended { body: true });
    store.settle(vec![ended]).await.unwrap();
    let ended = see(&*store, "a").await.task;
    store.change(change(&ended, Phase::Completed, Standing::Due(LONG_AGO))).await.unwrap();
    assert_eq!(claim(&*store).await.len(), 1, "what has ended may be sent again");
}

async fn a_claim_is_bounded_and_the_rest_follows(backend: Backend) {
    let store = backend.schedule();
    let tasks: Vec<Task> = (0..600).map(|n| task(&format!("t{n}"), LONG_AGO + n)).collect();
    assert_eq!(store.add(tasks).await.unwrap(), [Added::New; 600]);
    let mut seen = BTreeMap::new();
    loop {
        let claimed = store.claim(all_shards(), 7, LEASE_MS).await.unwrap();
        let mut of_shard = BTreeMap::<u16, Vec<u64>>::new();
        for claim in &claimed.claims {
            of_shard.entry(claim.task.key.shard()).or_default().push(claim.task.head.due_ms);
            *seen.entry(claim.task.key.clone()).or_insert(0) += 1;
        }
        assert!(of_shard.values().all(|due| due.len() <= 7 && due.is_sorted()), "the earliest come first");
        if claimed.claims.is_empty() {
            break;
        }
        let more = of_shard.values().any(|due| due.len() == 7);
        assert!(!more || claimed.next_ms.is_some());
        let settle = |claim: &Claim| settlement(claim, Phase::Completed, Standing::Ended { body: true });
        let settled = store.settle(claimed.claims.iter().map(settle).collect()).await.unwrap();
        assert!(settled.iter().all(|s| *s == Settled::Done));
    }
    assert_eq!(seen.len(), 600);
    assert!(seen.values().all(|times| *times == 1));
}

async fn tasks_are_seen_in_order_and_by_app(backend: Backend) {
    let store = backend.schedule();
    let named = |app_name: &str, name: &str| {
        let task = task(name, IN_A_LONG_TIME);
        Task { key: TaskKey { app: app(app_name), id: id(name) }, ..task }
    };
    let names = ["m1", "m2", "m3", "m30", "m4"];
    store.add(names.iter().rev().map(|name| named("shop", name)).collect()).await.unwrap();
    store.add(vec![named("shop2", "m0"), named("sho", "m9"), named("bank", "m1")]).await.unwrap();
    let ids = async |after: Option<&str>, limit| -> Vec<String> {
        let query = TaskQuery { app: app("shop"), after: after.map(id), id: None, limit };
        store.tasks(query).await.unwrap().iter().map(|found| found.key().id.to_string()).collect()
    };
    assert_eq!(ids(None, 100).await, names);
    assert_eq!(ids(None, 2).await, ["m1", "m2"]);
    assert_eq!(ids(Some("m2"), 2).await, ["m3", "m30"]);
    assert_eq!(ids(Some("m4"), 2).await, [""; 0]);
    assert_eq!(ids(Some("m29"), 1).await, ["m3"], "a name that is not there may be asked behind");
    let none = TaskQuery { app: app("shop"), after: None, id: Some(id("m")), limit: 1 };
    assert_eq!(store.tasks(none).await.unwrap(), []);
    assert_eq!(see(&*store, "m3").await.task, named("shop", "m3"));
}

async fn what_has_ended_is_bounded_and_its_body_kept_or_not(backend: Backend) {
    let store = backend.schedule();
    let shard = task("x", 0).key.shard();
    let mut names = (0..).map(|n| format!("t{n:06}")).filter(|name| task(name, 0).key.shard() == shard);
    let tasks: Vec<Task> = names.by_ref().take(limits::ENDED_TASKS_MAX + 5).map(|name| task(&name, LONG_AGO)).collect();
    store.add(tasks.clone()).await.unwrap();
    let mut ended = Vec::new();
    loop {
        let claims = store.claim(vec![shard], 250, LEASE_MS).await.unwrap().claims;
        if claims.is_empty() {
            break;
        }
        let body = ended.is_empty();
        ended.extend(claims.iter().map(|claim| claim.task.key.id.to_string()));
        let settle = |claim: &Claim| settlement(claim, Phase::Completed, Standing::Ended { body });
        store.settle(claims.iter().map(settle).collect()).await.unwrap();
    }
    assert_eq!(ended.len(), tasks.len());
    let query = TaskQuery { app: app("shop"), after: None, id: None, limit: 2_000 };
    let kept = store.tasks(query).await.unwrap();
    assert_eq!(kept.len(), limits::ENDED_TASKS_MAX);
    let with_body = kept.into_iter().filter_map(Found::task).filter(|seen| !seen.task.body.is_empty()).count();
    assert_eq!(with_body, 250 - 5, "the oldest left, bodies are those of the first claim");
    let next = names.next().unwrap();
    assert_eq!(store.add(vec![task(&next, LONG_AGO), tasks[0].clone()]).await.unwrap(), [Added::New; 2]);
}

/// Lanes and results that remember.
#[derive(Default)]
pub struct Sent(Mutex<Vec<String>>);

impl Sent {
    pub fn occurrences(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for occurrence in self.0.lock().unwrap().iter() {
            *counts.entry(occurrence.clone()).or_insert(0) += 1;
        }
        counts
    }
}

impl Intake for Sent {
    fn append(&self, _: Lane, records: Vec<NewRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let occurrence = |record: &NewRecord| {
            let json: Value = serde_json::from_slice(&record.value).unwrap();
            json["occurrence"].as_str().unwrap().to_owned()
        };
        self.0.lock().unwrap().extend(records.iter().map(occurrence));
        Box::pin(async { Ok(()) })
    }
}

impl ResultSink for Sent {
    fn publish(&self, _: Vec<ResultRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn bury(&self, _: Vec<DeadRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!("the schedule buries nothing")
    }
}

pub fn parts(store: Arc<dyn ScheduleStore>, intake: Arc<dyn Intake>, lease_ms: u64) -> ScheduleParts {
    let messages = Arc::new(MemoryMessages::new(MessageBounds::default()));
    ScheduleParts {
        store,
        intake,
        announcer: Announcer { messages, results: Arc::new(Sent::default()) },
        classes: Classes::default(),
        lease_ms,
        wakers: Wakers::new(),
        clock: Arc::new(unix_ms),
        pause: Arc::new(|ms| Box::pin(tokio::time::sleep(std::time::Duration::from_millis(ms)))),
        health: Health::new(),
        metrics: ScheduleMetrics::register(&mut Registry::default()),
    }
}

/// One call in five of the store, and of the log, fails, half of them after the work is done.
fn now_and_then(seed: u64) -> impl FnMut(u64) -> Option<Fault> + Send + 'static {
    move |call| match (call + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 {
        0 => Some(Fault::Before),
        1 | 2 => Some(Fault::After),
        _ => None,
    }
}

async fn whatever_fails_each_occurrence_is_sent_under_its_one_name(backend: Backend) {
    let store: Arc<dyn ScheduleStore> = Arc::new(Flaky::new(backend.schedule(), now_and_then(1)));
    let sent = Arc::new(Sent::default());
    let (mut tasks, mut expected) = (Vec::new(), Vec::new());
    for n in 0..40 {
        let accepted_ms = unix_ms() - 60_000 - n;
        tasks.push(scheduled(&format!("once{n}"), json!({"delay": "1s"}), accepted_ms));
        expected.push(format!("once{n}@{}", accepted_ms + 1_000));
        tasks.push(scheduled(
            &format!("five{n}"),
            json!({"every": "2s", "times": 25, "misfire": "catch_up"}),
            accepted_ms,
        ));
        expected.extend((0..25).map(|k| format!("five{n}@{}", accepted_ms + k * 2_000)));
    }
    while store.add(tasks.clone()).await.is_err() {}
    let intake = Arc::new(Flaky::new(sent.clone(), now_and_then(2)));
    // Two dispatchers.
    let (one, two) = (parts(store.clone(), intake.clone(), 40), parts(store.clone(), intake, 40));
    let mut loops: Vec<ScheduleLoop> = ScheduleLoop::all(&one).into_iter().chain(ScheduleLoop::all(&two)).collect();
    let open = async || {
        let query = TaskQuery { app: app("shop"), after: None, id: None, limit: 1_000 };
        match store.tasks(query).await {
            Ok(found) => found.into_iter().filter_map(Found::task).any(|seen| !seen.task.head.phase.is_end()),
            Err(_) => true,
        }
    };
    while open().await {
        futures_util::future::join_all(loops.iter_mut().map(ScheduleLoop::turn)).await;
    }
    expected.sort();
    assert_eq!(sent.occurrences().into_keys().collect::<Vec<_>>(), expected);
}
