//! What running accounts count.

use prometheus_client::encoding::text;

use super::*;
use crate::limits::{BREAKER_FAILURES, BREAKER_MS_MIN};

impl Fixture {
    /// What `/metrics` says of the account.
    async fn counted(&self, name: &str) -> String {
        // Who is answered knows that what went before is counted.
        self.look().await;
        let mut all = String::new();
        text::encode(&mut all, &self.registry).unwrap();
        let begin = format!("{name}{{channel=\"email\",account=\"relay\"}} ");
        let line = all.lines().find_map(|line| line.strip_prefix(&begin));
        line.unwrap_or_else(|| panic!("{name} is not in {all}")).to_owned()
    }
}

#[tokio::test]
async fn an_account_counts_as_up_until_its_provider_does_not_answer_and_again_when_it_does() {
    let refusals = BREAKER_FAILURES as usize;
    let stub = format!("stub:{}sent", "unavailable,".repeat(refusals));
    let stub = Arc::new(Stub::parse(Channel::Email, &stub).unwrap());
    let mut fixture = Fixture::start(stub.clone(), 300_000);
    assert_eq!(fixture.counted("channel_up").await, "1");
    let to: Vec<String> = (0..refusals).map(|n| format!("u{n}@b.c")).collect();
    fixture.send(parcels(&to.iter().map(String::as_str).collect::<Vec<_>>(), None)).await;
    for _ in 0..refusals {
        assert!(matches!(fixture.finished.recv().await, Some(Finished::Later(_))));
    }
    assert_eq!(fixture.counted("channel_up").await, "0");
    fixture.clock.ahead_ms.fetch_add(BREAKER_MS_MIN, Ordering::Relaxed);
    fixture.send(parcels(&["a@b.c"], None)).await;
    assert_eq!(fixture.over().await, sent_by("relay"));
    assert_eq!((fixture.counted("channel_up").await.as_str(), stub.asked()), ("1", refusals + 1));
}

/// Sends nothing, and was heard of late once.
struct Late(std::sync::atomic::AtomicBool);

impl Provider for Late {
    fn kind(&self) -> Channel {
        Channel::Email
    }

    fn deliver<'a>(&'a self, _: &'a Parcel) -> BoxFuture<'a, Answer> {
        Box::pin(async { Answer::unavailable("no greeting in time") })
    }

    fn take_heard(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn an_account_whose_provider_is_heard_of_late_is_up_again() {
    let late = Arc::new(Late(false.into()));
    let mut fixture = Fixture::start(late.clone(), 300_000);
    let to: Vec<String> = (0..BREAKER_FAILURES).map(|n| format!("u{n}@b.c")).collect();
    fixture.send(parcels(&to.iter().map(String::as_str).collect::<Vec<_>>(), None)).await;
    for _ in to {
        assert!(matches!(fixture.finished.recv().await, Some(Finished::Later(_))));
    }
    assert_eq!(fixture.counted("channel_up").await, "0");
    late.0.store(true, Ordering::Relaxed);
    // The first question lets it go round, the second is asked after that.
    fixture.look().await;
    assert_eq!(fixture.counted("channel_up").await, "1");
}
