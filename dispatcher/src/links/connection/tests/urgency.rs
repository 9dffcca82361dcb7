//! How many pushes of lane low a gateway gets between the poll that returns a record of lane high and that record: a real lane thread and
//! a real link, and a gateway that records.

use std::{
    sync::{atomic::AtomicBool, mpsc as std_mpsc},
    time::Duration,
};

use bytes::Bytes;
use pushgate_protocol::{
    auth::{Apps, SharedApps},
    ids::AppId,
};

use super::*;
use crate::{
    channels::Accounts,
    clock,
    core::worker::Delivery,
    decode::Decoder,
    health::Health,
    limits::PUSHES_BEFORE_HIGH_MAX,
    pipeline::{LaneParts, LaneThread},
    seams::{Hold, Position, Record, SourceError, TaskSource, Window},
    urgency::Urgency,
};

/// A lane that has what a test puts into it.
struct Given(std_mpsc::Receiver<Record>);

impl TaskSource for Given {
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Record>) -> Result<(), SourceError> {
        if max > 0 {
            out.extend(self.0.recv_timeout(wait));
        }
        Ok(())
    }

    fn settle(&mut self, _: &[Position]) {}

    fn commit(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn holds(&self, _: Position) -> bool {
        true
    }

    fn hold(&self, _: Position) -> Hold {
        Hold::default()
    }

    fn window(&self) -> Window {
        Window { unsettled: 0, room: usize::MAX, oldest_ms: None }
    }

    fn oldest(&self) -> Vec<(u32, Option<u64>)> {
        Vec::new()
    }
}

/// Lane high of a dispatcher that has a link.
struct Rig {
    end: End,
    link: LinkId,
    frames: mpsc::UnboundedSender<Frames>,
    queued: Arc<Queued>,
    inboxes: Vec<Inbox>,
    metrics: Metrics,
    records: Option<std_mpsc::Sender<Record>>,
    stop: Arc<AtomicBool>,
    lane: Option<LaneThread>,
    _links: Links,
}

impl Rig {
    /// A record of lane high holds the lower lanes up for so long.
    async fn start(hold: Duration) -> Self {
        let gateway = Gateway::listen().await;
        let (mailboxes, mut inboxes) = Mailboxes::new(1);
        let mailboxes = mailboxes.with_urgency(Urgency::new(hold));
        let metrics = Metrics::register(&mut Registry::default());
        let links = gateway.links(mailboxes.clone(), metrics.clone());
        let (end, _) = gateway.link(1, [1 << 30; 3]).await;
        let (link, _, frames, queued) = up(&mut inboxes[0]).await;
        let (records, source) = std_mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let lane = LaneThread::start(LaneParts {
            lane: Lane::High,
            source: Box::new(Given(source)),
            decoder: Arc::new(Decoder::new(AppId::parse("a").ok(), ["high", "normal", "low"].map(String::from))),
            mailboxes,
            accounts: Accounts::closed(),
            finished: mpsc::unbounded_channel().0,
            aside_bytes: Arc::default(),
            settled: std_mpsc::channel().1,
            nice: 0,
            in_flight_max: 100,
            app_in_flight_max: 100,
            apps: SharedApps::new(Apps::new(Vec::new()).unwrap()),
            stop: Arc::clone(&stop),
            health: Health::new(),
            metrics: metrics.lane(Lane::High),
        });
        let (records, lane) = (Some(records), Some(lane.unwrap()));
        Self { end, link, frames, queued, inboxes, metrics, records, stop, lane, _links: links }
    }

    /// So many pushes of lane low wait for the link.
    fn low(&self, count: usize) {
        let bytes = push_of(Lane::Low, "low").repeat(count);
        self.queued.add(Lane::Low, bytes.len());
        self.frames.send(Frames { link: self.link, lane: Lane::Low, bytes, urgent: Vec::new() }).unwrap();
    }

    fn low_waiting(&self) -> usize {
        self.queued.bytes(Lane::Low) / push_of(Lane::Low, "low").len()
    }

    /// What lane high polls next, as its worker gets it.
    async fn polled(&mut self) -> Box<Delivery> {
        let value = r#"{"v":1,"to":{"users":["u"]},"content":{"title":"t"}}"#;
        let position = Position { partition: 0, generation: 1, offset: 0 };
        let record = Record { position, key: None, value: Bytes::from(value), time_ms: clock::unix_ms() };
        self.records.as_ref().unwrap().send(record).unwrap();
        self.inboxes[0].deliveries[0].recv().await.unwrap().remove(0)
    }

    fn high(&self, mut delivery: Box<Delivery>) {
        let bytes = push_of(Lane::High, "high");
        self.queued.add(Lane::High, bytes.len());
        let urgent = delivery.urgent.take().into_iter().collect();
        self.frames.send(Frames { link: self.link, lane: Lane::High, bytes, urgent }).unwrap();
    }

    async fn next(&mut self) -> String {
        let body = self.end.frame().await.unwrap();
        match ToGateway::decode(&body).unwrap() {
            ToGateway::Push(push) => push.id.to_owned(),
            other => panic!("{other:?}"),
        }
    }

    async fn reads_low(&mut self, count: usize) {
        for n in 0..count {
            assert_eq!(self.next().await, "low", "{n}");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.records.take();
        self.lane.take().into_iter().for_each(LaneThread::join);
    }
}

#[tokio::test]
async fn a_gateway_gets_at_most_256_pushes_of_low_between_the_poll_that_returns_a_record_of_high_and_that_record() {
    let mut rig = Rig::start(Duration::from_secs(3_600)).await;
    // Nothing of high waits: low goes on.
    rig.low(5_000);
    rig.reads_low(5_000).await;
    let delivery = rig.polled().await;
    rig.low(10_000);
    // The record takes its time; meanwhile the link writes what it may.
    while rig.metrics.lower_held.get() == 0 && rig.low_waiting() > 9_000 {
        tokio::task::yield_now().await;
    }
    rig.high(delivery);
    let mut before = 0;
    while rig.next().await == "low" {
        before += 1;
    }
    assert!((1..=PUSHES_BEFORE_HIGH_MAX).contains(&before), "{before}");
    rig.reads_low(10_000 - before as usize).await;
}

#[tokio::test]
async fn a_record_of_high_that_waits_for_something_else_does_not_starve_low() {
    let mut rig = Rig::start(Duration::from_millis(1)).await;
    let delivery = rig.polled().await;
    rig.low(10_000);
    rig.reads_low(10_000).await;
    drop(delivery);
}
