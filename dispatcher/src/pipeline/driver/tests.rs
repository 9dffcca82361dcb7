//! A worker's driver against stores that fail and a link that a test holds.

use bytes::Bytes;
use prometheus_client::registry::Registry;
use pushgate_protocol::{
    ids::{AppId, BootId, NodeId, ShardId},
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
    seams::{Position, Record},
    states::MessageBounds,
    stored::StreamBounds,
};

struct Rig {
    mailboxes: Mailboxes,
    finished: mpsc::UnboundedReceiver<Finished>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn start(streams: Arc<dyn Streams>) -> Self {
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
        Self { mailboxes, finished: ended, stop, task: tokio::spawn(Driver::new(parts).run()) }
    }

    fn mailbox(&self) -> &Mailbox {
        self.mailboxes.iter().next().unwrap()
    }

    async fn deliver(&self, lane: Lane, id: &str) {
        let origins = ["high", "normal", "low"].map(String::from);
        let decoder = Decoder::new(Some(AppId::parse("a").unwrap()), origins);
        let value = format!(
            r#"{{"v":1,"id":"{id}","class":"transactional","to":{{"users":["u"]}},"content":{{"title":"t"}}}}"#
        );
        let position = Position { partition: 0, generation: 1, offset: 0 };
        let record = Record { position, key: None, value: Bytes::from(value), time_ms: unix_ms() };
        let Decoded::Deliveries(mut deliveries, _) = decoder.read(lane, &record).unwrap() else {
            panic!("it is scheduled")
        };
        deliveries[0].token = Token(5);
        self.mailbox().deliveries[lane as usize].send(deliveries).await.unwrap();
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
