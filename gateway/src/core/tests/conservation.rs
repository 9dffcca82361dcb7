//! No interleaving loses a push silently: each ends in exactly one answer, or is held, or a repetition has taken it over.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use pushgate_protocol::{
    ids::SessionId,
    link::{Lane, OutboxPolicy, Push, Target, ToDispatcher, ToGateway},
    placement,
};

use super::world::{START_MS, World, frames, tail, to};
use crate::core::{LinkId, SessionOpen, unheld::Unheld};

const SLOTS: u32 = 5;
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const DEVICES: [Option<&str>; 3] = [None, Some("phone"), Some("desk")];
const MESSAGES: u8 = 12;

#[derive(Debug, Clone)]
enum Step {
    Attach { slot: u32, user: usize, device: usize, resume: Option<u64> },
    Gone { slot: u32 },
    Ack { slot: u32, seq: u64 },
    Read { slot: u32 },
    BadFrame { slot: u32 },
    Push { link: usize, user: usize, message: u8, kind: Kind },
    Replayed { behind: bool },
    Stored { user: usize },
    LinkUp,
    LinkDown { link: usize },
    Pass { ms: u64 },
    ShutDown,
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    ack: bool,
    replay: bool,
    policy: OutboxPolicy,
    expires_ms: u64,
    device: usize,
    large: bool,
    lane: Lane,
}

fn kind() -> impl Strategy<Value = Kind> {
    let policy = prop_oneof![Just(OutboxPolicy::Close), Just(OutboxPolicy::DropOldest), Just(OutboxPolicy::Collapse)];
    let expires = prop_oneof![4 => Just(u64::MAX), 1 => START_MS..START_MS + 3_000];
    let device = prop_oneof![6 => Just(0), 1 => Just(1), 1 => Just(2usize)];
    let lane = prop_oneof![1 => Just(Lane::High), 2 => Just(Lane::Normal), 1 => Just(Lane::Low)];
    (prop::bool::weighted(0.8), any::<bool>(), policy, expires, device, prop::bool::weighted(0.3), lane).prop_map(
        |(ack, replay, policy, expires_ms, device, large, lane)| Kind {
            ack,
            replay,
            policy,
            expires_ms,
            device,
            large,
            lane,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    prop_oneof![
        6 => (slot.clone(), 0..USERS.len(), 0..DEVICES.len(), prop::option::weighted(0.3, 0..8u64))
            .prop_map(|(slot, user, device, resume)| Step::Attach { slot, user, device, resume }),
        2 => slot.clone().prop_map(|slot| Step::Gone { slot }),
        6 => (slot.clone(), 0..12u64).prop_map(|(slot, seq)| Step::Ack { slot, seq }),
        3 => slot.clone().prop_map(|slot| Step::Read { slot }),
        1 => slot.prop_map(|slot| Step::BadFrame { slot }),
        50 => (prop_oneof![3 => Just(0), 1 => 0..3usize], 0..USERS.len(), 0..MESSAGES, kind())
            .prop_map(|(link, user, message, kind)| Step::Push { link, user, message, kind }),
        10 => prop::bool::weighted(0.2).prop_map(|behind| Step::Replayed { behind }),
        1 => (0..USERS.len()).prop_map(|user| Step::Stored { user }),
        2 => Just(Step::LinkUp),
        1 => (0..3usize).prop_map(|link| Step::LinkDown { link }),
        3 => (0..1_500u64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::ShutDown),
    ]
}

/// What a dispatcher calls a delivery: user, message, device.
type Delivery = (usize, String, Option<&'static str>);

/// A world with the books of its dispatchers.
struct Audited {
    w: World,
    links: Vec<LinkId>,
    boots: u64,
    references: u64,
    /// Pushes not answered yet, of links that are up.
    open: HashMap<(LinkId, u64), Delivery>,
    /// The newest reference of each delivery: earlier ones may have been taken over.
    newest: HashMap<Delivery, (LinkId, u64)>,
    /// Of each episode, what `k` comes next.
    next_k: HashMap<u64, u64>,
    /// Replays asked for: link, user, episode, round.
    online: Vec<(LinkId, String, u64, u32)>,
    sessions: HashMap<u32, SessionId>,
    /// The user in each slot, and the number of the newest push it heard.
    users: HashMap<u32, (usize, u64)>,
}

impl Audited {
    fn new() -> Self {
        let mut w = World::with(|s| {
            s.unacked_max = 4;
            s.outbox_bytes_max = 100_000;
        });
        let links = vec![w.link(1)];
        Self {
            w,
            links,
            boots: 1,
            references: 0,
            open: HashMap::new(),
            newest: HashMap::new(),
            next_k: HashMap::new(),
            online: Vec::new(),
            sessions: HashMap::new(),
            users: HashMap::new(),
        }
    }

    fn standing(&self, slot: u32) -> bool {
        self.w.out.peers.contains_key(&slot)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Attach { slot, user, device, resume } => {
                self.leave(slot);
                let resume = resume.and_then(|seq| Some((*self.sessions.get(&(slot % 2))?, seq)));
                let device = DEVICES[device].map(|d| pushgate_protocol::ids::DeviceId::parse(d).unwrap());
                let id = self.w.attach(slot, SessionOpen { device, resume, ..World::open(USERS[user]) });
                self.sessions.insert(slot, id);
                self.users.insert(slot, (user, 0));
            }
            Step::Gone { slot } => self.leave(slot),
            Step::Ack { slot, seq } if self.standing(slot) => self.w.acks(slot, seq),
            Step::BadFrame { slot } if self.standing(slot) => self.w.says(slot, "{"),
            Step::Read { slot } if self.standing(slot) => self.read(slot),
            Step::Push { link, user, message, kind } => self.push(link, user, message, kind),
            Step::Replayed { behind } => self.replayed(behind),
            Step::Stored { user } => {
                let hash = placement::user_hash(5, "shop", USERS[user]);
                if let Some(&link) = self.links.first() {
                    self.w.frame(link, ToGateway::Stored { hash });
                }
            }
            Step::LinkUp if self.links.len() < 3 => {
                self.boots += 1;
                let link = self.w.link(self.boots);
                self.links.push(link);
            }
            Step::LinkDown { link } if link < self.links.len() => {
                let link = self.links.remove(link);
                self.w.shard.link_down(self.w.now, link);
                self.open.retain(|&(l, _), _| l != link);
            }
            Step::Pass { ms } => self.w.pass(ms),
            Step::ShutDown => self.w.shard.shut_down(self.w.now, &mut self.w.out),
            _ => {}
        }
        self.settle();
    }

    fn leave(&mut self, slot: u32) {
        if self.standing(slot) {
            self.w.gone(slot);
        }
    }

    fn push(&mut self, link: usize, user: usize, message: u8, kind: Kind) {
        let Some(&link) = self.links.get(link) else {
            return;
        };
        self.references += 1;
        let device = DEVICES[kind.device];
        let id = format!("{user}-{message}");
        let mut text = tail(&id);
        if kind.large {
            text.truncate(text.len() - 1);
            text.extend_from_slice(format!(r#","body":"{}"}}"#, "x".repeat(40_000)).as_bytes());
        }
        let delivery = (user, id.clone(), device);
        self.open.insert((link, self.references), delivery.clone());
        self.newest.insert(delivery, (link, self.references));
        let push = Push {
            lane: kind.lane,
            ack: kind.ack,
            replay: kind.replay,
            policy: kind.policy,
            expires_ms: kind.expires_ms,
            target: device.map_or(Target::User, Target::Device),
            ..to(USERS[user], self.references, &id, &text)
        };
        self.w.push(link, push);
    }

    fn replayed(&mut self, behind: bool) {
        let Some((link, user, episode, round)) = self.online.pop() else {
            return;
        };
        let deferred = self.next_k.get(&episode).copied().unwrap_or(0);
        let k = deferred.saturating_sub(u64::from(behind));
        if self.links.contains(&link) {
            self.w.frame(link, ToGateway::Replayed { app: "shop", user: &user, episode, round, k, all: 0 });
        }
    }

    /// A client reads: pushes are its user's own, their numbers and gaps cover every number in order.
    fn read(&mut self, slot: u32) {
        let (user, mut last) = self.users[&slot];
        for text in self.w.heard(slot) {
            let frame: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            match frame["type"].as_str() {
                Some("push") => {
                    assert_eq!(frame["seq"].as_u64(), Some(last + 1), "no number is missing or repeated");
                    assert!(frame["id"].as_str().unwrap().starts_with(&format!("{user}-")), "{text} for {user}");
                    last += 1;
                }
                Some("gap") => {
                    assert_eq!(frame["from"].as_u64(), Some(last + 1));
                    last = frame["to"].as_u64().unwrap();
                }
                _ => {}
            }
        }
        self.users.insert(slot, (user, last));
    }

    /// Reads every link's output into the books, and balances them.
    fn settle(&mut self) {
        for link in self.links.clone() {
            let output = std::mem::take(self.w.shard.link_output(link).unwrap());
            for frame in frames(&output) {
                let reference = match frame {
                    ToDispatcher::Acked { reference, .. }
                    | ToDispatcher::Written { reference }
                    | ToDispatcher::Offline { reference }
                    | ToDispatcher::Expired { reference }
                    | ToDispatcher::Dropped { reference }
                    | ToDispatcher::Moved { reference, .. }
                    | ToDispatcher::Returned { reference: Some(reference), .. } => reference,
                    ToDispatcher::Deferred { reference, episode, k } => {
                        let next = self.next_k.entry(episode).or_default();
                        assert_eq!(k, *next, "deferred pushes are counted without a hole");
                        *next += 1;
                        reference
                    }
                    ToDispatcher::Online { user, episode, round, .. } => {
                        self.online.push((link, user.to_owned(), episode, round));
                        continue;
                    }
                    _ => continue,
                };
                assert!(self.open.remove(&(link, reference)).is_some(), "{frame:?} answers what was not open");
            }
        }
        let held = self.held();
        for (name, delivery) in &self.open {
            let taken_over = self.newest.get(delivery) != Some(name);
            assert!(held.contains(name) || taken_over, "{name:?} {delivery:?} is lost");
        }
        let metrics = self.w.shard.metrics();
        assert_eq!(metrics.crossed, 0);
        assert!(metrics.sessions <= u64::from(SLOTS) && metrics.users <= metrics.sessions);
        assert!(metrics.replaying <= metrics.users);
    }

    /// References of pushes that sessions hold and that have not ended.
    fn held(&self) -> HashSet<(LinkId, u64)> {
        let outboxes = (0..SLOTS).filter_map(|s| self.w.shard.slots.session(s)?.outbox.as_deref());
        let pushes = outboxes.flat_map(|o| {
            assert!(!o.is_empty(), "an empty outbox takes no memory");
            o.pushes()
        });
        let kept = pushes.filter(|p| !p.settled.get()).map(|p| p.origin.get());
        kept.chain(self.w.shard.unheld.iter().map(Unheld::origin)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_push_ends_in_exactly_one_answer_or_is_held(steps in prop::collection::vec(step(), 1..120)) {
        let mut audited = Audited::new();
        for slot in 0..SLOTS {
            audited.step(&Step::Attach { slot, user: slot as usize % USERS.len(), device: 0, resume: None });
        }
        for step in &steps {
            audited.step(step);
        }
        // In the end nothing is held, so everything that is open was taken over.
        audited.step(&Step::ShutDown);
        audited.w.tick();
        audited.settle();
        prop_assert!(audited.held().is_empty());
        let metrics = audited.w.shard.metrics();
        prop_assert_eq!((metrics.sessions, metrics.users, metrics.replaying), (0, 0, 0));
    }
}
