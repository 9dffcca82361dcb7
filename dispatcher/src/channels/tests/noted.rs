//! What running accounts note of parcels that may not be sent twice.

use super::*;
use crate::{
    channels::journal::record,
    seams::{Mark, StreamOp},
};

/// Is given each parcel, and answers as it is told.
struct Asked(Vec<Option<Answer>>, AtomicUsize);

impl Provider for Asked {
    fn kind(&self) -> Channel {
        Channel::Email
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        let answer = self.0[self.1.fetch_add(1, Ordering::Relaxed)].clone();
        Box::pin(async move {
            parcel.sending.begin();
            let _ = parcel.sending.hand_over();
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

/// What becomes of a parcel: its mark and whether it is noted.
async fn ends(answer: Option<Answer>, retry_unknown: bool) -> (Option<Mark>, bool, Vec<Mark>) {
    const DEADLINE_MS: u64 = 300_000;
    let silent = answer.is_none();
    let provider = Arc::new(Asked(vec![answer], AtomicUsize::new(0)));
    let all = vec![(account("relay", 1), served("relay", provider.clone()))];
    let mut fixture = Fixture::with(all, DEADLINE_MS, retry_unknown);
    fixture.journal.recover();
    fixture.send(parcels(&["a@b.c"], None)).await;
    if silent {
        while provider.1.load(Ordering::Relaxed) == 0 {
            fixture.look().await;
        }
        fixture.clock.ahead_ms.fetch_add(DEADLINE_MS, Ordering::Relaxed);
    }
    let (mark, noted) = match fixture.finished.recv().await {
        Some(Finished::Over(over)) => match over.mark {
            Some(StreamOp::Mark { mark, .. }) => (Some(mark), over.noted.is_some()),
            other => panic!("{other:?}"),
        },
        Some(Finished::Later(_)) => (None, false),
        other => panic!("{other:?}"),
    };
    let files = std::fs::read_dir(fixture._folder.path()).unwrap();
    let pages = files.map(|file| record::read(&std::fs::read(file.unwrap().path()).unwrap()));
    (mark, noted, pages.flat_map(|page| page.noted).map(|(_, mark)| mark).collect())
}

#[tokio::test]
async fn what_was_handed_over_is_noted_until_it_is_known_that_it_was_not_sent() {
    let unknown = || Answer::Unknown { detail: "it broke".into() };
    let busy = || Answer::RetryAfter { after_ms: None, detail: "busy".into() };
    let refused = || Answer::Rejected { why: crate::core::account::Rejection::Content, detail: "no".into() };
    let sent = || Answer::Sent { provider_id: None };
    assert_eq!(ends(Some(sent()), false).await, (Some(Mark::Delivered), true, vec![Mark::Delivered]));
    assert_eq!(ends(Some(unknown()), false).await, (Some(Mark::Unknown), true, vec![Mark::Unknown]));
    assert_eq!(ends(None, false).await, (Some(Mark::Unknown), true, vec![Mark::Unknown]));
    assert_eq!(ends(Some(refused()), false).await, (Some(Mark::Ended), false, vec![]));
    assert_eq!(ends(Some(busy()), false).await, (None, false, vec![]));
}

#[tokio::test]
async fn what_may_be_sent_again_is_noted_when_it_is_taken() {
    assert_eq!(ends(Some(Answer::Delivered), true).await, (Some(Mark::Delivered), true, vec![Mark::Delivered]));
    assert_eq!(ends(Some(Answer::Unknown { detail: "it broke".into() }), true).await, (None, false, vec![]));
}
