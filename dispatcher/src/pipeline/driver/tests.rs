//! A worker's driver against stores that fail and a link that a test holds.

use bytes::Bytes;
use prometheus_client::registry::Registry;
use pushgate_protocol::{
    ids::{AppId, BootId, NodeId, ShardId},
    link::ToGateway,
    result::State,
    ring::{Member, Routing},
};

use super::*;
use crate::{
    clock::unix_ms,
    core::worker::{LinkInfo, Token, WorkerSettings},
    decode::{Decoded, Decoder},
    memory::{Fault, Flaky, MemoryMessages, MemoryStreams},
    pipeline::mailbox::{Mailbox, Mailboxes},
    seams::{Glance, Mark, MarkQuery, Position, Record, StreamOp, StreamPage, UserKey},
    seen::SeenRuns,
    states::MessageBounds,
    stored::StreamBounds,
};

struct Rig {
    mailboxes: Mailboxes,
    finished: mpsc::UnboundedReceiver<Finished>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

type Ends = (DriverParts, Mailboxes, mpsc::UnboundedReceiver<Finished>, watch::Sender<bool>);

fn parts(streams: Arc<dyn Streams>) -> Ends {
    let (mailboxes, mut inboxes) = Mailboxes::new(1);
    let (finished, ended) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let settings =
        WorkerSettings { index: 0, ack_deadline_ms: 60_000, in_flight_max: 100, in_flight_bytes_max: 1 << 20 };
    let mut worker = Worker::new(settings);
    let member = Member::new(NodeId::parse("g1").unwrap(), "");
    worker.routing(Arc::new(Routing::new(1, vec![member])));
    let parts = DriverParts {
        worker,
        index: 0,
        inbox: inboxes.remove(0),
        streams,
        messages: Arc::new(MemoryMessages::new(MessageBounds::default())),
        finished,
        settled: crate::pipeline::Settlements::new().0,
        backlog: Arc::default(),
        open: Arc::default(),
        clock: Arc::new(unix_ms),
        stop: stopped,
        health: Health::new(),
        metrics: Metrics::register(&mut Registry::default()),
    };
    (parts, mailboxes, ended, stop)
}

fn delivery(lane: Lane, id: &str) -> Vec<Box<Delivery>> {
    let origins = ["high", "normal", "low"].map(String::from);
    let decoder = Decoder::new(Some(AppId::parse("a").unwrap()), origins);
    let value =
        format!(r#"{{"v":1,"id":"{id}","class":"transactional","to":{{"users":["u"]}},"content":{{"title":"t"}}}}"#);
    let position = Position { partition: 0, generation: 1, offset: 0 };
    let record = Record { position, key: None, value: Bytes::from(value), time_ms: unix_ms() };
    let Decoded::Deliveries(mut deliveries, _) = decoder.read(lane, &record).unwrap() else {
        panic!("it is scheduled")
    };
    deliveries[0].token = Token(5);
    deliveries
}

impl Rig {
    fn start(streams: Arc<dyn Streams>) -> Self {
        let (parts, mailboxes, finished, stop) = parts(streams);
        Self { mailboxes, finished, stop, task: tokio::spawn(Driver::new(parts).run()) }
    }

    fn mailbox(&self) -> &Mailbox {
        self.mailboxes.iter().next().unwrap()
    }

    async fn deliver(&self, lane: Lane, id: &str) {
        self.mailbox().deliveries[lane as usize].send(delivery(lane, id)).await.unwrap();
    }

    async fn link_up(&self) -> (mpsc::UnboundedReceiver<Frames>, Arc<Queued>) {
        let (frames, sent) = mpsc::unbounded_channel();
        let queued = Arc::new(Queued::default());
        let node = NodeId::parse("g1").unwrap();
        let info = LinkInfo { node, boot: BootId(1), shard: ShardId(0), shards: 1, hash_seed: 1 };
        let up = WorkerEvent::LinkUp { link: LinkId(1), info, frames, queued: Arc::clone(&queued) };
        self.mailbox().events.send(up).await.unwrap();
        (sent, queued)
    }
}

fn memory() -> MemoryStreams {
    MemoryStreams::new(StreamBounds::default())
}

#[tokio::test]
async fn a_push_for_nobody_is_stored_though_the_store_fails_at_first() {
    let mut rig = Rig::start(Arc::new(Flaky::new(memory(), |call| (call < 2).then_some(Fault::Before))));
    rig.deliver(Lane::High, "m1").await;
    let Some(Finished::States(ended)) = rig.finished.recv().await else { panic!("nothing ended") };
    let ended: Vec<_> = ended.into_iter().map(|ended| (ended.record.state, ended.token)).collect();
    assert_eq!(ended, [(State::Stored, Some(Token(5)))]);
}

#[tokio::test]
async fn a_worker_ends_when_told_while_its_store_does_not_work() {
    let rig = Rig::start(Arc::new(Flaky::new(memory(), |_| Some(Fault::Before))));
    rig.deliver(Lane::High, "m1").await;
    rig.stop.send_replace(true);
    rig.task.await.unwrap();
    assert!(rig.mailboxes.iter().all(|m| m.events.is_closed()), "whoever waits for it is freed");
}

#[tokio::test]
async fn a_lane_waits_while_a_link_holds_too_much_of_it_and_the_others_go_on() {
    let rig = Rig::start(Arc::new(memory()));
    let (mut sent, queued) = rig.link_up().await;
    // Something else of the lane waits in the link's writer, as much as may.
    queued.add(Lane::Low, limits::LINK_LANE_BYTES_MAX);
    let mut lane_sent = async || loop {
        let frames = sent.recv().await.unwrap();
        let (body, _) = take_frame(&frames.bytes).unwrap().unwrap();
        if let Ok(pushgate_protocol::link::ToGateway::Push(push)) = pushgate_protocol::link::ToGateway::decode(body) {
            return push.id.to_owned();
        }
    };
    rig.deliver(Lane::Low, "low-1").await;
    assert_eq!(lane_sent().await, "low-1");
    rig.deliver(Lane::Low, "low-2").await;
    rig.deliver(Lane::High, "high-1").await;
    assert_eq!(lane_sent().await, "high-1");
    rig.deliver(Lane::High, "high-2").await;
    assert_eq!(lane_sent().await, "high-2", "low waits");
    queued.written(Lane::Low, limits::LINK_LANE_BYTES_MAX);
    assert_eq!(lane_sent().await, "low-2");
}

#[tokio::test]
async fn a_lane_that_is_always_full_starves_none_below_it() {
    let (parts, mailboxes, _finished, _stop) = parts(Arc::new(memory()));
    let (mut driver, mailbox) = (Driver::new(parts), mailboxes.iter().next().unwrap());
    let mut taken = Vec::new();
    for n in 0..limits::LANE_WAIT + 2 {
        for lane in Lane::ALL {
            // High was emptied by one, and is full again.
            while mailbox.deliveries[lane as usize].capacity() > 0 {
                mailbox.deliveries[lane as usize].try_send(delivery(lane, &format!("{lane:?}-{n}"))).unwrap();
            }
        }
        let (lane, batch) = driver.next_batch().unwrap();
        driver.deliver(lane, batch);
        taken.push(lane);
    }
    let (high, lower) = taken.split_at(limits::LANE_WAIT as usize);
    assert!(high.iter().all(|lane| *lane == Lane::High), "{taken:?}");
    assert_eq!(lower, [Lane::Normal, Lane::Low]);
}

/// Counts what is read.
struct Counting(MemoryStreams, Arc<[AtomicUsize; 2]>);

impl Streams for Counting {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        self.0.marks(queries, now_ms)
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        self.0.apply(ops, now_ms)
    }

    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        self.1[0].fetch_add(1, Ordering::Relaxed);
        self.0.read(user, after, limit, episode, now_ms)
    }

    fn glance(&self, asked: Vec<(UserKey, u64)>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Glance>, StoreError>> {
        self.1[1].fetch_add(1, Ordering::Relaxed);
        self.0.glance(asked, now_ms)
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        self.0.seen(user)
    }
}

#[tokio::test]
async fn streams_of_many_users_are_looked_at_together_and_those_with_something_read() {
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let mut rig = Rig::start(Arc::new(Counting(memory(), Arc::clone(&counts))));
    rig.deliver(Lane::Normal, "m1").await;
    assert!(matches!(rig.finished.recv().await, Some(Finished::States(_))), "it is stored, as no link is there");
    let (mut sent, _queued) = rig.link_up().await;
    let users: Vec<String> = (0..300).map(|n| format!("user-{n}")).chain(["u".to_owned()]).collect();
    let mut bytes = Vec::new();
    for (episode, user) in (1..).zip(&users) {
        ToDispatcher::Online { app: "a", user, episode, round: 0, resume: None }.encode(&mut bytes);
    }
    let frames = WorkerEvent::Frames { link: LinkId(1), bytes };
    rig.mailbox().events.send(frames).await.unwrap();
    let (mut replayed, mut pushed) = (Vec::new(), Vec::new());
    while replayed.len() < users.len() {
        let frames = sent.recv().await.expect("the worker runs");
        let mut bytes = &frames.bytes[..];
        while let Ok(Some((body, used))) = take_frame(bytes) {
            match ToGateway::decode(body).unwrap() {
                ToGateway::Replayed { user, .. } => replayed.push(user.to_owned()),
                ToGateway::Push(push) => pushed.push(push.id.to_owned()),
                _ => {}
            }
            bytes = &bytes[used..];
        }
    }
    replayed.sort();
    let mut users = users;
    users.sort();
    assert_eq!((replayed, pushed), (users, vec!["m1".to_owned()]));
    let [reads, looks] = [0, 1].map(|n| counts[n].load(Ordering::Relaxed));
    // One in which there is something; those of the memory's own looks go past the count.
    assert!(reads == 1 && looks <= 10, "{reads} reads, {looks} looks");
}
