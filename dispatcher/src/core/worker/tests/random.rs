//! Random inputs: whatever shards, stores and links do, each delivery finishes exactly once with its token.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Deliver {
        user: u8,
        id: u8,
        target: u8,
        ack: bool,
        ttl_ms: Option<u64>,
    },
    /// An answer to one of the pushes ever sent.
    Answer {
        push: prop::sample::Index,
        kind: u8,
    },
    Online {
        user: u8,
        episode: u8,
        round: u8,
    },
    More {
        user: u8,
        episode: u8,
        round: u8,
        k: u8,
    },
    Gone {
        user: u8,
        episode: u8,
    },
    AckedFor {
        user: u8,
        id: u8,
    },
    LinkDown,
    LinkUp,
    Members(bool),
    Hold {
        marks: bool,
        ops: bool,
    },
    Fail(u8),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..4u8, 0..30u8, 0..6u8, prop::bool::weighted(0.85), prop::option::weighted(0.1, 1..500u64))
            .prop_map(|(user, id, target, ack, ttl_ms)| Step::Deliver { user, id, target, ack, ttl_ms }),
        16 => (any::<prop::sample::Index>(), 0..9u8).prop_map(|(push, kind)| Step::Answer { push, kind }),
        4 => (0..4u8, 0..3u8, 0..3u8).prop_map(|(user, episode, round)| Step::Online { user, episode, round }),
        2 => (0..4u8, 0..3u8, 0..3u8, 0..5u8)
            .prop_map(|(user, episode, round, k)| Step::More { user, episode, round, k }),
        1 => (0..4u8, 0..3u8).prop_map(|(user, episode)| Step::Gone { user, episode }),
        1 => (0..4u8, 0..30u8).prop_map(|(user, id)| Step::AckedFor { user, id }),
        1 => Just(Step::LinkDown),
        2 => Just(Step::LinkUp),
        1 => any::<bool>().prop_map(Step::Members),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(marks, ops)| Step::Hold { marks, ops }),
        1 => (1..4u8).prop_map(Step::Fail),
        4 => (1..700u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..150)
}

fn name(user: u8) -> String {
    format!("u{user}")
}

/// What a run remembers beside the rig.
struct Run {
    rig: Rig,
    link: Option<u32>,
    links: u32,
    /// Every push sent: reference, user and id.
    pushes: Vec<(u64, String)>,
    given: usize,
    finished: BTreeMap<Token, u32>,
}

impl Run {
    fn new() -> Self {
        let settings = WorkerSettings { in_flight_max: 20, ..settings() };
        let rig = Rig::unlinked(settings);
        Self { rig, link: None, links: 0, pushes: Vec::new(), given: 0, finished: BTreeMap::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deliver { user, id, target, ack, ttl_ms } => {
                let target = match target {
                    0 => DeliveryTarget::Session(session(u64::from(id))),
                    1 => DeliveryTarget::Device(device("d1")),
                    _ => DeliveryTarget::User,
                };
                let delivery = self.rig.delivery(&name(user), &format!("m{id}"), target);
                let expires_ms = ttl_ms.map_or(NEVER, |ttl| self.rig.now + ttl);
                self.given += 1;
                self.rig.give(Delivery { ack, expires_ms, ..delivery });
            }
            Step::Answer { push, kind } => self.answer(push, kind),
            Step::Online { user, episode, round } => {
                let user = name(user);
                let (episode, round) = (u64::from(episode), u32::from(round));
                let resume = (round == 1).then(|| (session(3), 5));
                self.frame(ToDispatcher::Online { app: "shop", user: &user, episode, round, resume });
            }
            Step::More { user, episode, round, k } => {
                let user = name(user);
                let (episode, round, k) = (u64::from(episode), u32::from(round), u64::from(k));
                self.frame(ToDispatcher::ReplayMore { app: "shop", user: &user, episode, round, k });
            }
            Step::Gone { user, episode } => {
                self.frame(ToDispatcher::Gone { app: "shop", user: &name(user), episode: u64::from(episode) });
            }
            Step::AckedFor { user, id } => {
                let (user, id) = (name(user), format!("m{id}"));
                self.frame(ToDispatcher::AckedFor {
                    app: "shop",
                    user: &user,
                    id: &id,
                    target_device: None,
                    device: None,
                });
            }
            Step::LinkDown => {
                if let Some(link) = self.link.take() {
                    self.rig.link_down(LinkId(link));
                }
            }
            Step::LinkUp => self.link_up(),
            Step::Members(some) => {
                self.rig.worker.routing(routing(1, if some { &["g1"] } else { &[] }));
                self.rig.run();
            }
            Step::Hold { marks, ops } => {
                (self.rig.model.hold_marks, self.rig.model.hold_ops) = (marks, ops);
                self.rig.run();
            }
            Step::Fail(n) => self.rig.model.failures += u32::from(n),
            Step::Pass(ms) => self.rig.pass(ms),
        }
        self.note();
    }

    fn frame(&mut self, frame: ToDispatcher<'_>) {
        if let Some(link) = self.link {
            self.rig.worker.frame(self.rig.now, LinkId(link), frame);
            self.rig.run();
        }
    }

    fn answer(&mut self, push: prop::sample::Index, kind: u8) {
        if self.pushes.is_empty() {
            return;
        }
        let (reference, id) = self.pushes[push.index(self.pushes.len())].clone();
        let frame = match kind {
            0 | 1 => ToDispatcher::Acked { reference, device: Some("d1") },
            2 => ToDispatcher::Offline { reference },
            3 => ToDispatcher::Deferred { reference, episode: 1, k: 0 },
            4 => ToDispatcher::Expired { reference },
            5 => ToDispatcher::Dropped { reference },
            6 => ToDispatcher::Moved { reference, epoch: epoch() },
            7 => ToDispatcher::Written { reference },
            _ => super::pushes::returned(Some(reference), "u0", &id, 2),
        };
        self.frame(frame);
    }

    fn link_up(&mut self) {
        if self.link.is_none() {
            self.links += 1;
            self.link = Some(self.links);
            self.rig.link_up(LinkId(self.links), info("g1", 10));
        }
    }

    fn note(&mut self) {
        for (link, _, sent) in std::mem::take(&mut self.rig.sent) {
            assert_eq!(Some(link.0), self.link, "frames leave on the link that is up");
            if let Sent::Push { id, reference, .. } = sent {
                assert!(self.pushes.iter().all(|(r, _)| *r != reference), "a reference is used once");
                self.pushes.push((reference, id));
            }
        }
        for finished in std::mem::take(&mut self.rig.finished) {
            if let Some(token) = finished.token {
                *self.finished.entry(token).or_default() += 1;
            }
        }
        assert!(self.finished.values().all(|n| *n == 1), "no token is settled twice: {:?}", self.finished);
        assert_eq!(self.rig.worker.in_flight(), self.given - self.finished.len());
    }

    /// Everything works again and time passes.
    fn quiet(&mut self) {
        (self.rig.model.hold_marks, self.rig.model.hold_ops, self.rig.model.failures) = (false, false, 0);
        for _ in 0..20 {
            self.step(Step::Pass(DEADLINE_MS));
        }
    }
}

proptest! {
    #[test]
    fn no_delivery_is_settled_twice_or_forgotten(steps in steps()) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.quiet();
        prop_assert_eq!(run.finished.len(), run.given);
        prop_assert_eq!((run.rig.worker.in_flight(), run.rig.worker.in_flight_bytes()), (0, 0));
    }
}
