//! Links against a gateway written by hand.

mod urgency;

use prometheus_client::registry::Registry;
use pushgate_protocol::{
    ids::BootId,
    link::{
        Lane, OutboxPolicy, Place, Push, Target, ToGateway,
        handshake::{Challenge, Handshake, Hello, Side, prove},
    },
    ring::{Member, Routing},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{core::worker::Frames, links::Links, pipeline::mailbox::Inbox};

const KEY: &[u8] = b"the shared key of all links, 32 b";
const BOOT: BootId = BootId(77);

struct Gateway {
    listener: TcpListener,
    key: &'static [u8],
    node: &'static str,
}

/// The gateway's end of a connection.
struct End {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Gateway {
    async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), key: KEY, node: "g1" }
    }

    /// A dispatcher with so many workers that links to this gateway.
    fn dispatcher(&self, workers: u8) -> (Links, Vec<Inbox>) {
        let (mailboxes, inboxes) = Mailboxes::new(workers);
        (self.links(mailboxes, Metrics::register(&mut Registry::default())), inboxes)
    }

    fn links(&self, mailboxes: Mailboxes, metrics: Metrics) -> Links {
        let me = Identity { node: NodeId::parse("d1").unwrap(), boot: BootId(1), key: KEY.into(), tls: None };
        let address = self.listener.local_addr().unwrap().to_string();
        let routing = Routing::new(1, vec![Member::new(NodeId::parse("g1").unwrap(), address)]);
        Links::start(me, &routing, mailboxes, metrics)
    }

    /// Takes a connection up to its proof; the shard it wants. `None` if the dispatcher goes away instead of proving.
    async fn challenge(&self, shards: u16) -> Option<(End, ShardId)> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut end = End { stream, input: Vec::new() };
        let hello = end.frame().await?;
        let Handshake::Hello(Hello { boot, shard, nonce, .. }) = Handshake::decode(&hello).unwrap() else {
            panic!("no hello")
        };
        let ours = [9; 32];
        let proof = prove(self.key, Side::Gateway, (&nonce, boot, shard), (&ours, BOOT));
        let challenge = Challenge {
            version: pushgate_protocol::link::VERSION_MAX,
            boot: BOOT,
            shards,
            hash_seed: 5,
            epoch: Epoch::default(),
            nonce: ours,
            proof,
            node: self.node,
        };
        end.handshake(&Handshake::Challenge(challenge)).await;
        let theirs = end.frame().await?;
        let expected = prove(KEY, Side::Peer, (&nonce, boot, shard), (&ours, BOOT));
        assert_eq!(Handshake::decode(&theirs).unwrap(), Handshake::Proof(expected));
        Some((end, shard))
    }

    async fn link(&self, shards: u16, credit: [u32; 3]) -> (End, ShardId) {
        let (mut end, shard) = self.challenge(shards).await.expect("the dispatcher proves");
        end.handshake(&Handshake::Ready(credit)).await;
        (end, shard)
    }
}

impl End {
    async fn handshake(&mut self, frame: &Handshake<'_>) {
        let mut out = Vec::new();
        frame.encode(&mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn send(&mut self, frames: &[ToDispatcher<'_>]) {
        let mut out = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut out));
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next frame's body; `None` at the end of the connection.
    async fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((body, used)) = take_frame(&self.input).unwrap() {
                let body = body.to_vec();
                self.input.drain(..used);
                return Some(body);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

async fn up(inbox: &mut Inbox) -> (LinkId, LinkInfo, mpsc::UnboundedSender<Frames>, Arc<Queued>) {
    match inbox.events.recv().await {
        Some(WorkerEvent::LinkUp { link, info, frames, queued }) => (link, info, frames, queued),
        other => panic!("{other:?} instead of a link"),
    }
}

async fn down(inbox: &mut Inbox) -> LinkId {
    match inbox.events.recv().await {
        Some(WorkerEvent::LinkDown { link }) => link,
        other => panic!("{other:?} instead of the end of a link"),
    }
}

fn push(id: &str) -> Vec<u8> {
    push_of(Lane::Low, id)
}

fn push_of(lane: Lane, id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    ToGateway::Push(Push {
        reference: 1,
        lane,
        ack: true,
        replay: false,
        policy: OutboxPolicy::Close,
        collapse: None,
        place: Place::NONE,
        platforms: 0,
        epoch: Epoch::default(),
        expires_ms: u64::MAX,
        app: "a",
        user: "u",
        target: Target::User,
        id,
        tail: b"{}",
    })
    .encode(&mut out);
    out
}

#[tokio::test]
async fn a_gateway_without_the_key_or_with_another_name_gets_no_proof_and_no_link() {
    let mut gateway = Gateway::listen().await;
    gateway.key = b"another key";
    let (links, mut inboxes) = gateway.dispatcher(1);
    assert!(gateway.challenge(1).await.is_none());
    (gateway.key, gateway.node) = (KEY, "g2");
    assert!(gateway.challenge(1).await.is_none());
    assert_eq!(*links.up().borrow(), 0);
    gateway.node = "g1";
    let _end = gateway.link(1, [100; 3]).await;
    let (_, info, ..) = up(&mut inboxes[0]).await;
    assert_eq!((info.boot, info.shards, info.hash_seed), (BOOT, 1, 5));
}

#[tokio::test]
async fn a_link_that_breaks_is_told_to_every_worker_and_opened_again_under_another_name() {
    let gateway = Gateway::listen().await;
    let (links, mut inboxes) = gateway.dispatcher(2);
    let mut last = None;
    for broken in [&b""[..], &[1, 0, 0, 0, 255], &[255, 255, 255, 255]] {
        let (mut end, _) = gateway.link(1, [100; 3]).await;
        let (link, _, _frames, _) = up(&mut inboxes[0]).await;
        let (same, _, _frames, _) = up(&mut inboxes[1]).await;
        assert_eq!(same, link);
        assert_ne!(last.replace(link), Some(link));
        end.stream.write_all(broken).await.unwrap();
        end.stream.shutdown().await.unwrap();
        assert_eq!((down(&mut inboxes[0]).await, down(&mut inboxes[1]).await), (link, link));
    }
    let _end = gateway.link(1, [100; 3]).await;
    let _writers = (up(&mut inboxes[0]).await, up(&mut inboxes[1]).await);
    links.up().wait_for(|n| *n == 1).await.unwrap();
}

#[tokio::test]
async fn answers_reach_the_worker_they_concern() {
    let gateway = Gateway::listen().await;
    let (_links, mut inboxes) = gateway.dispatcher(2);
    let (mut end, _) = gateway.link(1, [100; 3]).await;
    // A worker that drops its writer shuts down.
    let _writers = (up(&mut inboxes[0]).await, up(&mut inboxes[1]).await);
    let answer = |worker: u64| ToDispatcher::Offline { reference: worker << 56 | 3 };
    // The reference of a worker that is not there harms nobody.
    end.send(&[answer(1), ToDispatcher::Pong, answer(9), answer(0)]).await;
    for (worker, inbox) in (0u64..).zip(&mut inboxes) {
        let Some(WorkerEvent::Frames { bytes, .. }) = inbox.events.recv().await else { panic!("no frames") };
        let (body, used) = take_frame(&bytes).unwrap().unwrap();
        assert_eq!(ToDispatcher::decode(body).unwrap(), answer(worker));
        assert_eq!(used, bytes.len());
    }
}

#[tokio::test]
async fn pushes_wait_for_credit_and_count_as_queued_until_they_are_written() {
    let gateway = Gateway::listen().await;
    let (_links, mut inboxes) = gateway.dispatcher(1);
    let one = push("m1");
    let (mut end, _) = gateway.link(1, [1_000, 1_000, one.len() as u32]).await;
    let (link, _, frames, queued) = up(&mut inboxes[0]).await;
    let bytes = [one.clone(), push("m2")].concat();
    queued.add(Lane::Low, bytes.len());
    frames.send(Frames { link, lane: Lane::Low, bytes, urgent: Vec::new() }).unwrap();
    let mut high = Vec::new();
    ToGateway::StoredMany.encode(&mut high);
    queued.add(Lane::High, high.len());
    let id = |body: &[u8]| match ToGateway::decode(body).unwrap() {
        ToGateway::Push(push) => push.id.to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(id(&end.frame().await.unwrap()), "m1");
    frames.send(Frames { link, lane: Lane::High, bytes: high, urgent: Vec::new() }).unwrap();
    let body = end.frame().await.unwrap();
    assert_eq!(ToGateway::decode(&body).unwrap(), ToGateway::StoredMany, "the second push waits, other lanes go on");
    while queued.bytes(Lane::Low) != one.len() || queued.bytes(Lane::High) != 0 {
        tokio::task::yield_now().await;
    }
    end.send(&[ToDispatcher::Credit { lane: Lane::Low, bytes: one.len() as u32 }]).await;
    assert_eq!(id(&end.frame().await.unwrap()), "m2");
}

#[tokio::test]
async fn a_link_to_a_shard_that_is_no_more_is_told_down() {
    let gateway = Gateway::listen().await;
    let (_links, mut inboxes) = gateway.dispatcher(1);
    let (mut first, shard) = gateway.link(2, [100; 3]).await;
    assert_eq!(shard, ShardId(0));
    let (zero, _, _zero_frames, _) = up(&mut inboxes[0]).await;
    let (mut second, shard) = gateway.link(2, [100; 3]).await;
    assert_eq!(shard, ShardId(1));
    let (one, _, _one_frames, _) = up(&mut inboxes[0]).await;
    first.stream.shutdown().await.unwrap();
    assert_eq!(down(&mut inboxes[0]).await, zero);
    let _first = gateway.link(1, [100; 3]).await;
    let events = [inboxes[0].events.recv().await, inboxes[0].events.recv().await];
    assert!(events.iter().flatten().any(|e| matches!(e, WorkerEvent::LinkDown { link } if *link == one)), "{events:?}");
    assert!(second.frame().await.is_none(), "and it is closed");
}
