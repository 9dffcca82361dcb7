//! The end of running accounts, under load.

use tokio::sync::Semaphore;

use super::*;
use crate::limits;

/// Takes what it gets, and says so when it is let.
struct Slow {
    asked: AtomicUsize,
    lets: Semaphore,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), lets: Semaphore::new(0) })
    }
}

impl Provider for Slow {
    fn kind(&self) -> Channel {
        Channel::Email
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            parcel.sending.begin();
            let _ = parcel.sending.hand_over();
            let _let = self.lets.acquire().await;
            Answer::Sent { provider_id: None }
        })
    }
}

async fn under_load(fixture: Fixture, asked: impl Fn() -> usize) -> Fixture {
    let to: Vec<String> = (0..20).map(|n| format!("u{n}@b.c")).collect();
    fixture.send(parcels(&to.iter().map(String::as_str).collect::<Vec<_>>(), None)).await;
    while asked() < 4 {
        fixture.look().await;
    }
    fixture
}

#[tokio::test]
async fn at_the_end_nothing_begins_and_the_answers_to_what_was_handed_over_count() {
    let slow = Slow::new();
    let mut fixture = under_load(Fixture::start(slow.clone(), 300_000), || slow.asked.load(Ordering::Relaxed)).await;
    fixture.stop.send_replace(true);
    slow.lets.add_permits(100);
    for _ in 0..4 {
        assert_eq!(fixture.over().await, sent_by("relay"));
    }
    // The other sixteen are settled by nobody, and come again.
    assert!(fixture.finished.recv().await.is_none());
    assert_eq!(slow.asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn at_the_end_what_was_not_handed_over_is_given_back_at_once() {
    let stub = Arc::new(Stub::parse(Channel::Email, "stub:unheard").unwrap());
    let mut fixture = under_load(Fixture::start(stub.clone(), 300_000), || stub.asked()).await;
    fixture.stop.send_replace(true);
    assert!(fixture.finished.recv().await.is_none());
    assert_eq!(stub.asked(), 4);
}

#[tokio::test]
async fn what_is_not_answered_at_the_bound_of_the_end_is_tried_once_more_or_unknown() {
    for once in [false, true] {
        let slow = Slow::new();
        let start = if once { Fixture::once } else { Fixture::start };
        let mut fixture = under_load(start(slow.clone(), 300_000), || slow.asked.load(Ordering::Relaxed)).await;
        // The next look at the clock after the end began is behind its bound.
        fixture.clock.step_ms.store(limits::SHUTDOWN_ANSWERS_MS, Ordering::Relaxed);
        fixture.stop.send_replace(true);
        for _ in 0..4 {
            match fixture.finished.recv().await {
                Some(Finished::Later(later)) if !once => {
                    let retry = message::decode(&later.task.body).unwrap().retry.unwrap();
                    assert_eq!((retry.attempts, retry.unknown), (1, 1));
                }
                Some(Finished::Over(over)) if once => assert_eq!(over.state.record.state, State::Unknown),
                other => panic!("{other:?}"),
            }
        }
        // It is over; the other sixteen are settled by nobody.
        assert!(fixture.finished.recv().await.is_none());
    }
}
