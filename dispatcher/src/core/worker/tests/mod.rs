//! One test per sequence of the delivery protocol, and a property test over random ones.

mod everyone;
mod model;
mod pushes;
mod random;
mod replays;
mod settling;
mod told;
mod urgent;

use std::sync::Arc;

use bytes::Bytes;
use pushgate_protocol::{
    ids::{AppId, BootId, DeviceId, Epoch, MessageId, NodeId, SessionId, ShardId, UserId},
    link::{Lane, OutboxPolicy, Place, Target, ToDispatcher, ToGateway, take_frame},
    result::{Class, ResultInfo, State},
    ring::{Member, Routing},
};

use self::model::Model;
use super::*;
use crate::seams::StreamOp;

pub(super) const DEADLINE_MS: u64 = 1_000;
pub(super) const NEVER: u64 = u64::MAX;
pub(super) const G1: LinkId = LinkId(1);

/// A frame a worker sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    Push { id: String, reference: u64, replay: bool, to: To },
    Replayed { user: String, episode: u64, round: u32, k: u64 },
    Stored,
    StoredMany,
    All { id: String, place: Place, exclude: Vec<String> },
    Recall { user: Option<String>, id: String, tell: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    User,
    Device(String),
    Session(SessionId),
}

/// A worker, its stores and what it did.
pub(super) struct Rig {
    pub(super) worker: Worker,
    pub(super) model: Model,
    pub(super) now: u64,
    /// Frames by link, in the order taken.
    pub(super) sent: Vec<(LinkId, Lane, Sent)>,
    pub(super) finished: Vec<Finished>,
    tokens: u64,
}

pub(super) fn settings() -> WorkerSettings {
    WorkerSettings { index: 1, ack_deadline_ms: DEADLINE_MS, in_flight_max: 1_000, in_flight_bytes_max: 1 << 20 }
}

pub(super) fn routing(number: u64, nodes: &[&str]) -> Arc<Routing> {
    let member = |node: &&str| Member::new(NodeId::parse(node).unwrap(), "127.0.0.1:7401");
    Arc::new(Routing::new(number, nodes.iter().map(member).collect()))
}

pub(super) fn info(node: &str, boot: u64) -> LinkInfo {
    LinkInfo { node: NodeId::parse(node).unwrap(), boot: BootId(boot), shard: ShardId(0), shards: 1, hash_seed: 9 }
}

pub(super) fn user(name: &str) -> UserKey {
    UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(name).unwrap() }
}

/// Session `n` of gateway `g1`.
pub(super) fn session(n: u64) -> SessionId {
    SessionId::new(BootId(10), ShardId(0), n)
}

impl Rig {
    /// One gateway, `g1`, with a link that is up.
    pub(super) fn new() -> Self {
        let mut rig = Self::unlinked(settings());
        rig.link_up(G1, info("g1", 10));
        rig
    }

    pub(super) fn unlinked(settings: WorkerSettings) -> Self {
        let mut worker = Worker::new(settings);
        worker.routing(routing(1, &["g1"]));
        Self { worker, model: Model::default(), now: 1_000, sent: Vec::new(), finished: Vec::new(), tokens: 0 }
    }

    pub(super) fn delivery(&mut self, name: &str, id: &str, target: DeliveryTarget) -> Delivery {
        self.tokens += 1;
        let id = MessageId::parse(id).unwrap();
        Delivery {
            token: Token(self.tokens),
            key: target.key(&id),
            user: user(name),
            id,
            target,
            platforms: 0,
            lane: Lane::Normal,
            policy: OutboxPolicy::Close,
            ack: true,
            untracked: false,
            expires_ms: NEVER,
            collapse: None,
            info: ResultInfo {
                occurrence: None,
                lane: Lane::Normal,
                class: Class::Transactional,
                accepted_ms: 1,
                bytes: 2,
                meta: None,
                trace: None,
            },
            attempt: 1,
            tail: Bytes::from_static(b"{}"),
            urgent: None,
        }
    }

    /// Delivers to all of a user's sessions.
    pub(super) fn deliver(&mut self, name: &str, id: &str) {
        let delivery = self.delivery(name, id, DeliveryTarget::User);
        self.give(delivery);
    }

    pub(super) fn give(&mut self, delivery: Delivery) {
        self.worker.deliver(self.now, vec![Box::new(delivery)]);
        self.run();
    }

    pub(super) fn link_up(&mut self, link: LinkId, info: LinkInfo) {
        self.worker.link_up(self.now, link, info);
        self.run();
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        self.worker.link_down(self.now, link);
        self.run();
    }

    pub(super) fn frame(&mut self, frame: ToDispatcher<'_>) {
        self.worker.frame(self.now, G1, frame);
        self.run();
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.worker.tick(self.now);
        self.run();
    }

    /// Does what the worker wants until it wants nothing more.
    pub(super) fn run(&mut self) {
        loop {
            let mut busy = false;
            if !self.model.hold_marks
                && let Some(query) = self.worker.take_past()
            {
                busy = true;
                let recalled = query.messages.iter().map(|m| self.model.recalled.contains(m.id.as_str())).collect();
                let answer = self.model.marks(&query.marks).map(|marks| Past { marks, recalled, ..Past::default() });
                self.worker.past(self.now, answer);
            }
            if !self.model.hold_ops
                && let Some(ops) = self.worker.take_ops()
            {
                busy = true;
                let answer = self.model.apply(&ops, self.now);
                self.worker.applied(self.now, answer);
            }
            for read in self.worker.take_reads() {
                busy = true;
                if read.everyone {
                    let answer = self.model.read_all(&read, self.now);
                    self.worker.page_all(self.now, read.id, answer);
                    continue;
                }
                let answer = self.model.read(&read, self.now);
                self.worker.page(self.now, read.id, answer);
            }
            busy |= self.collect();
            if !busy {
                return;
            }
        }
    }

    pub(super) fn collect(&mut self) -> bool {
        let (frames, finished) = (self.worker.take_frames(), self.worker.take_finished());
        let busy = !frames.is_empty() || !finished.is_empty();
        for Frames { link, lane, bytes, .. } in frames {
            let mut rest = &bytes[..];
            while let Some((body, used)) = take_frame(rest).unwrap() {
                self.sent.push((link, lane, sent(ToGateway::decode(body).unwrap())));
                rest = &rest[used..];
            }
            assert!(rest.is_empty(), "whole frames");
        }
        self.finished.extend(finished);
        busy
    }

    /// Frames sent since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent).into_iter().map(|(_, _, sent)| sent).collect()
    }

    /// Ids and references of pushes sent since the last call, which must be all that was.
    pub(super) fn take_pushes(&mut self) -> Vec<(String, u64)> {
        let push = |sent| match sent {
            Sent::Push { id, reference, .. } => (id, reference),
            other => panic!("sent {other:?}"),
        };
        self.take_sent().into_iter().map(push).collect()
    }

    /// The reference of the one push sent since the last call.
    pub(super) fn reference(&mut self) -> u64 {
        let pushes = self.take_pushes();
        assert_eq!(pushes.len(), 1, "{pushes:?}");
        pushes[0].1
    }

    /// Ids, states and reasons published since the last call.
    pub(super) fn states(&mut self) -> Vec<(String, State, Option<String>)> {
        let finished = std::mem::take(&mut self.finished).into_iter();
        finished.map(|f| (f.record.message.to_string(), f.record.state, f.record.reason)).collect()
    }

    pub(super) fn acked(&mut self, reference: u64) {
        self.frame(ToDispatcher::Acked { reference, device: Some("d1") });
    }
}

pub(super) fn state(id: &str, state: State) -> (String, State, Option<String>) {
    (id.into(), state, None)
}

pub(super) fn because(id: &str, state: State, reason: &str) -> (String, State, Option<String>) {
    (id.into(), state, Some(reason.into()))
}

fn sent(frame: ToGateway<'_>) -> Sent {
    match frame {
        ToGateway::Push(p) => Sent::Push {
            id: p.id.into(),
            reference: p.reference,
            replay: p.replay,
            to: match p.target {
                Target::User => To::User,
                Target::Device(d) => To::Device(d.into()),
                Target::Session(s) => To::Session(s),
            },
        },
        ToGateway::Replayed { user, episode, round, k, .. } => Sent::Replayed { user: user.into(), episode, round, k },
        ToGateway::Stored { hash } => {
            assert_ne!(hash, 0);
            Sent::Stored
        }
        ToGateway::StoredMany => Sent::StoredMany,
        ToGateway::All(all) => Sent::All {
            id: all.id.into(),
            place: all.place,
            exclude: all.exclude.into_iter().map(Into::into).collect(),
        },
        ToGateway::Recall { user, id, tell, .. } => Sent::Recall { user: user.map(Into::into), id: id.into(), tell },
        ToGateway::Ping => panic!("the driver pings"),
    }
}

pub(super) fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

pub(super) fn epoch() -> Epoch {
    Epoch::default()
}
