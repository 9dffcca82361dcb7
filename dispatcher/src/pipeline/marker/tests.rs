//! What is marked when, while the store fails now and then.

use std::{fs, path::Path};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    result::{Recipient, ResultRecord, State},
};

use super::*;
use crate::{
    core::{
        account::{Over, Sending},
        worker,
    },
    memory::{Fault, Flaky, MemoryStreams},
    seams::{DeliveryKey, UserKey},
    stored::StreamBounds,
};

fn delivery(n: usize) -> MarkQuery {
    let user = UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(&format!("u{n}@b.example")).unwrap() };
    MarkQuery { user, key: DeliveryKey::of_user("m1", "email") }
}

fn over(n: usize, mark: Mark, noted: Option<Noted>) -> Finished {
    let MarkQuery { user, key } = delivery(n);
    let recipient = Recipient { user: user.user.clone(), device: None };
    let record = ResultRecord {
        message: MessageId::parse("m1").unwrap(),
        app: user.app.clone(),
        recipient: recipient.clone(),
        channel: "email",
        account: None,
        provider_id: None,
        state: State::Sent,
        reason: None,
        attempt: 1,
        time_ms: 1,
        info: None,
    };
    let state = worker::Finished { record, recipient, token: None };
    Finished::Over(Box::new(Over {
        mark: Some(StreamOp::Mark { user, key, mark }),
        noted,
        held: Sending::default(),
        state,
        dead: None,
    }))
}

struct Fixture {
    ended: mpsc::UnboundedSender<Finished>,
    marked: mpsc::UnboundedReceiver<Finished>,
    streams: Arc<MemoryStreams>,
    journal: Arc<Journal>,
    marker: Marker,
}

impl Fixture {
    fn new(folder: &Path) -> Self {
        let (ended, of_pool) = mpsc::unbounded_channel();
        let (send, marked) = mpsc::unbounded_channel();
        let streams = Arc::new(MemoryStreams::new(StreamBounds::default()));
        let journal = Journal::new(folder.to_owned(), 2, Counter::default());
        let plan = |call: u64| (call < 2).then_some(if call.is_multiple_of(2) { Fault::Before } else { Fault::After });
        let marker = Marker::new(MarkerParts {
            ended: of_pool,
            marked: send,
            streams: Arc::new(Flaky::new(Arc::clone(&streams), plan)),
            journal: Arc::clone(&journal),
            health: Health::new(),
            metrics: Metrics::register(&mut Registry::default()),
        });
        Self { ended, marked, streams, journal, marker }
    }
}

async fn marks(streams: &MemoryStreams, count: usize) -> Vec<Option<Mark>> {
    streams.marks((0..count).map(delivery).collect(), clock::unix_ms()).await.unwrap()
}

#[tokio::test]
async fn what_a_killed_process_noted_is_marked_before_any_mark_is_read_and_is_gone_then() {
    let folder = tempfile::tempdir().unwrap();
    let killed = Journal::new(folder.path().to_owned(), 1, Counter::default());
    (0..2).for_each(|n| assert!(killed.taken(&delivery(n), None).is_some()));
    assert!(killed.handed_over(&delivery(2)).is_some());
    drop(killed);
    let Fixture { ended, streams, journal, marker, .. } = Fixture::new(folder.path());
    let read = tokio::spawn(async move {
        journal.recovered().await;
        marks(&streams, 4).await
    });
    let marker = tokio::spawn(marker.run());
    assert_eq!(read.await.unwrap(), [Some(Mark::Delivered), Some(Mark::Delivered), Some(Mark::Unknown), None]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    drop(ended);
    marker.await.unwrap();
}

#[tokio::test]
async fn what_another_process_noted_is_marked_once_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let sibling = Journal::new(folder.path().to_owned(), 1, Counter::default());
    assert!(sibling.handed_over(&delivery(0)).is_some());
    let Fixture { streams, marker, .. } = Fixture::new(folder.path());
    let files = || fs::read_dir(folder.path()).unwrap().count();
    marker.take_over().await;
    assert_eq!((marks(&streams, 1).await, files()), (vec![None], 1), "it lives");
    drop(sibling);
    marker.take_over().await;
    assert_eq!((marks(&streams, 1).await, files()), (vec![Some(Mark::Unknown)], 0));
}

#[tokio::test]
async fn what_was_taken_or_may_have_been_is_marked_before_it_goes_on_and_any_other_end_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let Fixture { ended, mut marked, streams, journal, marker } = Fixture::new(folder.path());
    let (taken, handed_over) = (journal.taken(&delivery(0), None), journal.handed_over(&delivery(1)));
    ended.send(over(0, Mark::Delivered, taken)).unwrap();
    ended.send(over(1, Mark::Unknown, handed_over)).unwrap();
    ended.send(over(2, Mark::Ended, None)).unwrap();
    drop(ended);
    let marker = tokio::spawn(marker.run());
    for _ in 0..2 {
        let Some(Finished::Over(over)) = marked.recv().await else { panic!("it goes on") };
        assert!(over.mark.is_none());
    }
    assert_eq!(marks(&streams, 3).await, [Some(Mark::Delivered), Some(Mark::Unknown), None]);
    let Some(Finished::Over(third)) = marked.recv().await else { panic!("in order") };
    assert!(matches!(third.mark, Some(StreamOp::Mark { mark: Mark::Ended, .. })));
    marker.await.unwrap();
    journal.close();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "all is marked");
}
