//! What the plan lets happen: deaths, drains, joins, restarts, and what follows from each after its time.

use std::collections::VecDeque;

use pushgate_gateway::{core::DrainPace, limits};
use pushgate_protocol::ring::MemberState;

use super::{
    TICK_MS,
    node::State,
    outcome::Mark,
    plan::{Event, Pick, What},
    world::World,
};

/// What is to happen at a later tick.
#[derive(Debug, Clone, Copy)]
pub enum Timer {
    /// The lease of a node that died at tick `since` is over.
    LeaseEnds {
        /// The node.
        at: usize,
        /// When it died.
        since: u64,
    },
    /// The balancer looks at a node.
    Notice(usize),
    /// A node starts.
    Start(usize),
}

/// Restarts one after another.
#[derive(Debug)]
pub struct Roll {
    left: VecDeque<usize>,
    together: usize,
    down: u64,
    pause: u64,
    /// Those under way.
    busy: Vec<usize>,
    /// When the next begin, once none is under way.
    next: Option<u64>,
}

impl World<'_> {
    /// What is due now happens.
    pub(super) fn happen(&mut self) {
        while let Some(timers) = self.timers.first_entry().filter(|entry| *entry.key() <= self.tick) {
            for timer in timers.remove() {
                self.fire(timer);
            }
        }
        while let Some(event) = self.plan.events.get(self.next_event).filter(|e| e.at_ms < self.tick * TICK_MS) {
            self.next_event += 1;
            self.begin(event);
        }
        let mut rolls = std::mem::take(&mut self.rolls);
        rolls.retain_mut(|roll| self.roll(roll));
        self.rolls = rolls;
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if let State::Leaving { closes, ends, .. } = node.state
                && (self.tick >= ends || self.tick >= closes && node.sessions == 0)
            {
                self.end(at);
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::LeaseEnds { at, since } => {
                let node = &mut self.nodes[at];
                if matches!(node.state, State::Dead { since: died, .. } if died == since) {
                    node.listed = None;
                }
            }
            Timer::Notice(at) => self.nodes[at].routed = self.nodes[at].is_up(),
            Timer::Start(at) => self.start(at),
        }
    }

    fn after(&mut self, ms: u64, timer: Timer) {
        self.timers.entry(self.tick + (ms / TICK_MS).max(1)).or_default().push(timer);
    }

    fn begin(&mut self, event: &Event) {
        let nodes = match &event.what {
            What::Dies { who, silent, back_ms } => {
                let picked = self.pick(who);
                for &at in &picked {
                    self.kill(at, *silent);
                    if let Some(back_ms) = back_ms {
                        self.after(*back_ms, Timer::Start(at));
                    }
                }
                picked.len()
            }
            What::Drains { who, back_ms } => {
                let picked = self.pick(who);
                picked.iter().for_each(|at| self.leave(*at, back_ms.map(|ms| (ms / TICK_MS).max(1))));
                picked.len()
            }
            What::Joins(group) => {
                let first = self.nodes.len();
                self.add(group);
                (first..self.nodes.len()).for_each(|at| self.start(at));
                self.nodes.len() - first
            }
            What::Restarts { who, together, down_ms, pause_ms } => {
                let left: VecDeque<usize> = self.pick(who).into();
                let count = left.len();
                let (down, pause) = ((down_ms / TICK_MS).max(1), pause_ms / TICK_MS);
                let (together, next) = ((*together).max(1) as usize, Some(self.tick));
                self.rolls.push(Roll { left, together, down, pause, busy: Vec::new(), next });
                count
            }
        };
        self.marks.push(Mark { at_s: event.at_ms as f64 / 1_000.0, what: event.what.words(nodes), nodes });
    }

    /// Those meant, of those that are up, rising.
    fn pick(&mut self, who: &Pick) -> Vec<usize> {
        let mut up: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].is_up()).collect();
        let count = match who {
            Pick::All => return up,
            Pick::Zone(zone) => return up.into_iter().filter(|at| self.nodes[*at].zone == *zone).collect(),
            Pick::Node(id) => return up.into_iter().filter(|at| self.nodes[*at].id == *id).collect(),
            Pick::Count(count) => *count as usize,
            Pick::Share(share) => (up.len() as f64 * share).round() as usize,
        };
        let mut picked: Vec<usize> = (0..count).map_while(|_| self.random.draw(&mut up)).collect();
        picked.sort_unstable();
        picked
    }

    fn start(&mut self, at: usize) {
        let notice_ms = self.plan.notice_ms;
        let node = &mut self.nodes[at];
        (node.state, node.listed, node.back) = (State::Up, Some(MemberState::Up), None);
        self.after(notice_ms, Timer::Notice(at));
    }

    /// A node dies. It renewed its record within the last third of its lease, so that the list holds it for the rest.
    fn kill(&mut self, at: usize, silent: bool) {
        let lease_ms = self.plan.gateways.lease_ms;
        let left_ms = lease_ms - (self.random.unit() * lease_ms as f64 / 3.0) as u64;
        let (since, node) = (self.tick, &mut self.nodes[at]);
        node.state = State::Dead { since, silent };
        let sessions = self.nodes[at].sessions;
        self.end_some(at, sessions);
        self.dismiss(at);
        self.after(left_ms, Timer::LeaseEnds { at, since });
        self.after(self.plan.notice_ms, Timer::Notice(at));
        if silent {
            // The last thing heard, a ping at the latest, was up to a heartbeat ago.
            let heartbeat_ms = u64::from(limits::HEARTBEAT_S) * 1_000;
            let silence_ms = self.plan.clients.silence_ms;
            let first_ms = silence_ms.saturating_sub(heartbeat_ms);
            self.lose(sessions, (first_ms / TICK_MS) as usize, ((silence_ms - first_ms) / TICK_MS).max(2) as usize);
        } else {
            self.lose(sessions, 0, 1);
        }
    }

    /// A node begins to leave, as one that is told to drain.
    fn leave(&mut self, at: usize, back: Option<u64>) {
        let gateways = &self.plan.gateways;
        let (grace, timeout_ms) = (gateways.drain_grace_ms / TICK_MS, gateways.shutdown_timeout_ms);
        let closes = self.tick + grace;
        let closes_ms = closes * TICK_MS;
        let until_ms = closes_ms + timeout_ms - timeout_ms / limits::DRAIN_RESERVE_SHARE;
        let pace = DrainPace::new(closes_ms, gateways.drain_rate_per_s, until_ms);
        let node = &mut self.nodes[at];
        node.state = State::Leaving { closes, ends: closes + (timeout_ms / TICK_MS).max(1), pace };
        (node.listed, node.back) = (Some(MemberState::Draining), back);
        self.after(self.plan.notice_ms, Timer::Notice(at));
    }

    /// A node that has left ends.
    fn end(&mut self, at: usize) {
        let sessions = self.nodes[at].sessions;
        self.end_some(at, sessions);
        let node = &mut self.nodes[at];
        (node.state, node.listed) = (State::Gone, None);
        let back = node.back;
        self.dismiss(at);
        self.lose(sessions, 0, 1);
        if let Some(ticks) = back {
            self.timers.entry(self.tick + ticks).or_default().push(Timer::Start(at));
        }
    }

    /// Goes on with restarts; whether there is more to do.
    fn roll(&mut self, roll: &mut Roll) -> bool {
        // One that dies meanwhile is not waited for.
        let ready = |at: &usize| match self.nodes[*at].state {
            State::Up => self.nodes[*at].routed,
            State::Dead { .. } => true,
            State::Leaving { .. } | State::Gone => false,
        };
        if !roll.busy.is_empty() && roll.busy.iter().all(ready) {
            roll.busy.clear();
            roll.next = Some(self.tick + roll.pause);
        }
        if roll.next.is_some_and(|next| next <= self.tick) {
            roll.next = None;
            while roll.busy.len() < roll.together
                && let Some(at) = roll.left.pop_front()
            {
                if self.nodes[at].is_up() {
                    self.leave(at, Some(roll.down));
                    roll.busy.push(at);
                }
            }
        }
        !roll.busy.is_empty() || roll.next.is_some() && !roll.left.is_empty()
    }
}
