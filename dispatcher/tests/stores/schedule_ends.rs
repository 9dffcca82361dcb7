//! How what was claimed together ends: all of it, or each by itself.

use pushgate_dispatcher::{
    clock::unix_ms,
    seams::{Added, Changed, Claim, Fired, Phase, Settled, Settlement, Standing, Task},
};

use crate::{
    backend::{Backend, facts},
    schedule_facts::{IN_A_LONG_TIME, LEASE_MS, LONG_AGO, change, claim, see, settlement, task},
};

facts!(what_was_sent_at_its_one_time_is_told_with_it, of_what_was_claimed_together_each_is_settled_by_itself,);

/// A task of one time after it was sent, as the loops settle it.
fn once(claim: &Claim, fired_ms: u64) -> Settlement {
    let mut settlement = settlement(claim, Phase::Completed, Standing::Ended { body: true });
    settlement.head.recent = vec![Fired { due_ms: claim.task.head.due_ms, fired_ms }];
    settlement
}

async fn what_was_sent_at_its_one_time_is_told_with_it(backend: Backend) {
    let store = backend.schedule();
    let names = ["a", "b", "c", "d", "e", "f"];
    let tasks: Vec<Task> = names.iter().zip(LONG_AGO..).map(|(name, due_ms)| task(name, due_ms)).collect();
    store.add(tasks.clone()).await.unwrap();
    let claims = claim(&*store).await;
    let fired_ms = unix_ms();
    let settlements: Vec<Settlement> = claims.iter().map(|claim| once(claim, fired_ms)).collect();
    assert_eq!(store.settle(settlements.clone()).await.unwrap(), vec![Settled::Done; 6]);
    assert_eq!(store.settle(settlements.clone()).await.unwrap(), vec![Settled::Lost; 6]);
    for settlement in &settlements {
        let seen = see(&*store, settlement.key.id.as_str()).await;
        assert_eq!((&seen.task.head, seen.claimed), (&settlement.head, false));
    }
    assert_eq!(see(&*store, "a").await.task.body, tasks[0].body);
    assert_eq!(store.add(tasks).await.unwrap(), [Added::Known; 6]);
    // It is sent once more, and then there is more to tell of it.
    let ended = see(&*store, "a").await.task;
    store.change(change(&ended, Phase::Completed, Standing::Due(LONG_AGO))).await.unwrap();
    let held = claim(&*store).await.remove(0);
    assert_eq!((&held.task.head.recent, held.task.head.revision), (&settlements[0].head.recent, 2));
    let again = settlement(&held, Phase::Completed, Standing::Ended { body: true });
    assert_eq!(store.settle(vec![again.clone()]).await.unwrap(), [Settled::Done]);
    assert_eq!(see(&*store, "a").await.task.head, again.head);
}

async fn of_what_was_claimed_together_each_is_settled_by_itself(backend: Backend) {
    let store = backend.schedule();
    let shard = task("x", 0).key.shard();
    let names = (0..).map(|n| format!("t{n:03}")).filter(|name| task(name, 0).key.shard() == shard);
    store.add(names.take(5).zip(LONG_AGO..).map(|(name, due_ms)| task(&name, due_ms)).collect()).await.unwrap();
    let claims = store.claim(vec![shard], 5, LEASE_MS).await.unwrap().claims;
    let lease_ms = claims[0].lease_ms;
    assert!(claims.len() == 5 && claims.iter().all(|claim| claim.lease_ms == lease_ms));
    let pause = change(&claims[1].task, Phase::Paused, Standing::Idle);
    assert_eq!(store.change(pause.clone()).await.unwrap(), Changed::Done);
    let fired_ms = unix_ms();
    // One that was changed, one that goes on, one that is not settled now.
    let on = settlement(&claims[2], Phase::Live, Standing::Due(IN_A_LONG_TIME));
    let first = vec![on.clone(), once(&claims[0], fired_ms), once(&claims[1], fired_ms), once(&claims[3], fired_ms)];
    let told = store.settle(first).await.unwrap();
    let [Settled::Done, Settled::Done, Settled::Changed(changed), Settled::Done] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(changed.head, pause.head);
    let seen = async |n: usize| see(&*store, claims[n].task.key.id.as_str()).await;
    assert_eq!((seen(2).await.task.head, seen(2).await.claimed), (on.head, false));
    assert!(seen(1).await.claimed && seen(4).await.claimed && !seen(0).await.claimed);
    let held = Claim { task: (**changed).clone(), lease_ms };
    let rest = vec![settlement(&held, Phase::Paused, Standing::Idle), once(&claims[4], fired_ms)];
    assert_eq!(store.settle(rest).await.unwrap(), [Settled::Done, Settled::Done]);
    assert_eq!((seen(1).await.task.head.phase, seen(4).await.task.head.phase), (Phase::Paused, Phase::Completed));
    let left = store.claim(vec![shard], 5, LEASE_MS).await.unwrap();
    assert_eq!((left.claims, left.next_ms), (vec![], Some(IN_A_LONG_TIME)));
}
