//! A dispatcher process: its workers, its ledger and a driver that does what they want, with delays and failing stores.

use std::{collections::BTreeMap, time::Duration};

use pushgate_dispatcher::{
    clock::Reading,
    core::{
        ledger::Ledger,
        turns::Turns,
        worker::{Finished, LinkId, LinkInfo, Past, PastQuery, ReadId, ReadRequest, Token, Worker, WorkerSettings},
    },
    limits,
    seams::{AllPage, Position, StoreError, StreamOp, StreamOutcome, StreamPage},
    urgency::Urgency,
};
use pushgate_protocol::{
    ids::BootId,
    link::{ToDispatcher, take_frame},
    result::State,
};

use crate::{
    Plant,
    frames::worker_for,
    links::Way,
    recall::may_be_late,
    world::{Event, World},
};

pub const WORKERS: usize = 2;
/// How late the store may do what was given up, milliseconds.
const LATE_MS: u64 = 3_000;
pub const ACK_DEADLINE_MS: u64 = 2_000;

pub struct Dispatcher {
    /// Grows with each start; an event of an earlier run is void.
    pub run: u64,
    pub alive: bool,
    /// Number of the member list it knows.
    pub list: u64,
    pub workers: Vec<Worker>,
    pub ledger: Ledger,
    /// Partitions read, and the next offset of each.
    pub reading: BTreeMap<u32, u64>,
    pub tokens: BTreeMap<Token, (Position, usize)>,
    pub next_token: u64,
    /// The link to each gateway's shard.
    pub links: BTreeMap<(usize, u16), usize>,
    /// Batches of records taken.
    pub batches: u32,
    pub turns: Turns,
    /// Its clock, once it was looked at.
    pub clock: Option<Reading>,
    /// Nothing waits at it: what it does for lane high is a matter of threads.
    pub urgency: Urgency,
    /// Until when what it asks of the store is on its way.
    pub slow_until: u64,
}

/// What a driver asks of a store.
#[derive(Clone)]
pub enum Request {
    Past(PastQuery),
    Apply(Vec<StreamOp>),
    Read(ReadRequest),
    Publish(Vec<Finished>),
    /// States of messages that were taken back meanwhile, and what settles once they are ended.
    TakeBack(Vec<Finished>, Vec<Token>),
}

/// What a store answers.
pub enum Answer {
    Past(Result<Past, StoreError>),
    Applied(Result<Vec<StreamOutcome>, StoreError>),
    Page(ReadId, Result<StreamPage, StoreError>),
    AllPage(ReadId, Result<AllPage, StoreError>),
    Published(Vec<Token>),
}

impl Dispatcher {
    pub fn down() -> Self {
        Self {
            run: 0,
            alive: false,
            list: 0,
            workers: Vec::new(),
            ledger: Ledger::new(),
            reading: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: 0,
            links: BTreeMap::new(),
            batches: 0,
            turns: Turns::default(),
            clock: None,
            urgency: Urgency::new(Duration::ZERO),
            slow_until: 0,
        }
    }

    pub fn boot(d: usize, run: u64) -> BootId {
        BootId(1_000 * (d as u64 + 1) + run)
    }
}

pub fn unavailable() -> StoreError {
    StoreError::Unavailable { what: "store", detail: "told to fail".into() }
}

impl World {
    pub fn start_dispatcher(&mut self, d: usize) {
        let run = self.dispatchers[d].run + 1;
        let worker = |index| {
            let settings = WorkerSettings {
                index,
                ack_deadline_ms: ACK_DEADLINE_MS,
                in_flight_max: self.in_flight_max,
                in_flight_bytes_max: if self.saturated { limits::WORKER_UNANSWERED_BYTES_MAX } else { 1 << 20 },
            };
            let mut worker = Worker::new(settings);
            worker.routing(self.routing.clone());
            worker
        };
        let list = self.routing.epoch().number;
        let workers = (0..WORKERS as u8).map(worker).collect();
        self.dispatchers[d] = Dispatcher { run, alive: true, workers, list, ..Dispatcher::down() };
        self.trace(|| format!("dispatcher {d} starts, run {run}"));
        for (g, s) in self.shards() {
            self.after(1, Event::Dial { d, run, g, s });
        }
        self.after(1, Event::Tick { d, run });
        self.after(1, Event::Commit { d, run });
        self.after(200, Event::Rebalance);
    }

    pub fn crash_dispatcher(&mut self, d: usize) {
        if !self.dispatchers[d].alive {
            return;
        }
        self.trace(|| format!("dispatcher {d} dies"));
        self.dispatcher_died = true;
        let run = self.dispatchers[d].run;
        self.dispatchers[d] = Dispatcher { run, ..Dispatcher::down() };
        for link in 0..self.links.len() {
            if self.links[link].d == d && self.links[link].d_run == run {
                self.cut(link, 500);
            }
        }
        self.after_some(300, 900, Event::Rebalance);
        self.after_some(500, 3_000, Event::StartDispatcher { d });
    }

    pub fn runs(&self, d: usize, run: u64) -> bool {
        self.dispatchers[d].alive && self.dispatchers[d].run == run
    }

    /// Gives every partition to a dispatcher that is alive.
    pub fn rebalance(&mut self) {
        let alive: Vec<usize> = (0..self.dispatchers.len()).filter(|&d| self.dispatchers[d].alive).collect();
        let partitions: Vec<u32> = self.log.0.keys().copied().collect();
        for n in partitions {
            let next = (!alive.is_empty()).then(|| alive[n as usize % alive.len()]);
            let next = next.map(|d| (d, self.dispatchers[d].run));
            let owner = self.log.0[&n].owner;
            if owner == next {
                continue;
            }
            if let Some((d, run)) = owner
                && self.runs(d, run)
            {
                self.dispatchers[d].reading.remove(&n);
                if let Some(offset) = self.dispatchers[d].ledger.revoke(n) {
                    self.commit(n, offset);
                }
            }
            let from = self.log.0[&n].committed;
            if let Some(partition) = self.log.0.get_mut(&n) {
                partition.owner = next;
            }
            if let Some((d, _)) = next {
                self.dispatchers[d].ledger.assign(n);
                self.dispatchers[d].reading.insert(n, from);
            }
            self.trace(|| format!("partition {n} goes to {next:?} from offset {from}"));
        }
    }

    pub fn commit(&mut self, n: u32, offset: u64) {
        let partition = self.log.0.get_mut(&n).expect("a partition of the log");
        partition.committed = partition.committed.max(offset);
    }

    pub fn commit_all(&mut self, d: usize) {
        let dirty = self.dispatchers[d].ledger.dirty();
        for &(n, offset) in &dirty {
            self.commit(n, offset);
        }
        self.dispatchers[d].ledger.committed(&dirty);
    }

    /// Polls the lanes and lets time pass for the workers.
    pub fn tick_dispatcher(&mut self, d: usize) {
        let now = self.dispatcher_ms(d);
        self.take_records(d);
        for worker in &mut self.dispatchers[d].workers {
            worker.tick(now);
        }
        self.pump(d);
    }

    /// Does what the workers want.
    pub fn pump(&mut self, d: usize) {
        let run = self.dispatchers[d].run;
        for w in 0..WORKERS {
            let worker = &mut self.dispatchers[d].workers[w];
            let mut requests: Vec<Request> = Vec::new();
            requests.extend(worker.take_past().map(Request::Past));
            requests.extend(worker.take_ops().map(Request::Apply));
            requests.extend(worker.take_reads().into_iter().map(Request::Read));
            let finished = worker.take_finished();
            if !finished.is_empty() {
                requests.push(Request::Publish(finished));
            }
            let frames = worker.take_frames();
            for request in requests {
                let delay = self.random.delay().max(self.dispatchers[d].slow_until.saturating_sub(self.now));
                self.after(delay, Event::Ask { d, run, w, request });
            }
            frames.into_iter().for_each(|frames| self.send_to_gateway(frames));
        }
    }

    /// A request reaches the store. It does what it does even if who asked is gone by now.
    pub fn ask(&mut self, d: usize, run: u64, w: usize, request: Request) {
        let now = self.dispatcher_ms(d);
        let fails = self.store_fails && self.random.one_in(4);
        let upto = |n: usize, world: &mut Self| if fails { world.random.below(n as u64 + 1) as usize } else { n };
        let answer = match request {
            Request::Past(query) => {
                let (marks, recalled) = (self.store.marks(&query.marks), self.store.are_recalled(&query.messages));
                Answer::Past(if fails { Err(unavailable()) } else { Ok(Past { marks, recalled, ..Past::default() }) })
            }
            Request::Apply(ops) => {
                let n = upto(ops.len(), self);
                let outcomes = self.store.apply(&ops[..n], now);
                self.trace(|| format!("dispatcher {d}.{w} applies {n} of {ops:?}"));
                if fails && self.random.one_in(3) {
                    // It waited in a connection that was given up, and the same was asked again over another.
                    self.after_some(1, LATE_MS, Event::Late { d, ops });
                }
                Answer::Applied(if fails { Err(unavailable()) } else { Ok(outcomes) })
            }
            Request::Read(read) if read.everyone => {
                let page = self.store.read_all(&read, now);
                Answer::AllPage(read.id, if fails { Err(unavailable()) } else { Ok(page) })
            }
            Request::Read(read) => {
                let page = self.store.read(&read, now);
                Answer::Page(read.id, if fails { Err(unavailable()) } else { Ok(page) })
            }
            Request::Publish(finished) => {
                let n = upto(finished.len(), self);
                self.store.publish(&finished[..n]);
                for expired in finished[..n].iter().filter(|f| f.record.state == State::Expired) {
                    self.note_expired(expired.record.message.as_str());
                }
                if fails {
                    if self.runs(d, run) {
                        self.after(50, Event::Ask { d, run, w, request: Request::Publish(finished) });
                    }
                    return;
                }
                let tokens = finished.iter().filter_map(|f| f.token).collect();
                let late = |f: &Finished| self.store.is_recalled(&f.record.message) && may_be_late(f.record.state);
                let late: Vec<Finished> = finished.into_iter().filter(late).collect();
                if !late.is_empty() && self.plant != Some(Plant::KeepRecalled) {
                    let delay = self.random.delay();
                    return self.after(delay, Event::Ask { d, run, w, request: Request::TakeBack(late, tokens) });
                }
                Answer::Published(tokens)
            }
            Request::TakeBack(late, tokens) => {
                for finished in &late {
                    self.take_back(d, run, finished);
                }
                if fails {
                    if self.runs(d, run) {
                        self.after(50, Event::Ask { d, run, w, request: Request::TakeBack(late, tokens) });
                    }
                    return;
                }
                Answer::Published(tokens)
            }
        };
        let delay = self.random.delay();
        self.after(delay, Event::Answer { d, run, w, answer });
    }

    /// The store does once more, or for the first time, what whoever asked has given up and asked again since.
    pub fn apply_late(&mut self, d: usize, ops: &[StreamOp]) {
        self.trace(|| format!("what dispatcher {d} gave up is applied: {ops:?}"));
        if self.plant == Some(Plant::ForgetEnded) {
            self.store.forget(ops);
        }
        let now = self.dispatcher_ms(d);
        self.store.apply(ops, now);
    }

    pub fn answer(&mut self, d: usize, w: usize, answer: Answer) {
        let now = self.dispatcher_ms(d);
        let dispatcher = &mut self.dispatchers[d];
        let worker = &mut dispatcher.workers[w];
        match answer {
            Answer::Past(past) => worker.past(now, past),
            Answer::Applied(outcomes) => worker.applied(now, outcomes),
            Answer::Page(read, page) => worker.page(now, read, page),
            Answer::AllPage(read, page) => worker.page_all(now, read, page),
            Answer::Published(tokens) => {
                for token in tokens {
                    let (position, left) = dispatcher.tokens.get_mut(&token).expect("a token settles once");
                    *left -= 1;
                    if *left == 0 {
                        dispatcher.ledger.settle(*position);
                        dispatcher.tokens.remove(&token);
                    }
                }
            }
        }
        self.pump(d);
    }

    pub fn link_ready(&mut self, link: usize) {
        let l = &self.links[link];
        let (d, run, id) = (l.d, l.d_run, LinkId(link as u32));
        if l.cut || !self.runs(d, run) {
            return;
        }
        let gateway = &self.gateways[l.g];
        let info = LinkInfo {
            node: gateway.node.clone(),
            boot: gateway.boot(),
            shard: pushgate_protocol::ids::ShardId(l.s),
            shards: gateway.shards.len() as u16,
            hash_seed: gateway.seed,
        };
        self.trace(|| format!("link {link} is up at dispatcher {d}"));
        let now = self.dispatcher_ms(d);
        for worker in &mut self.dispatchers[d].workers {
            worker.link_up(now, id, info.clone());
        }
        self.pump(d);
    }

    pub fn link_lost_at_dispatcher(&mut self, link: usize) {
        let (d, run, g, s) = (self.links[link].d, self.links[link].d_run, self.links[link].g, self.links[link].s);
        if !self.runs(d, run) {
            return;
        }
        self.ends(link, Way::ToDispatcher);
        self.trace(|| format!("link {link} is lost at dispatcher {d}"));
        let now = self.dispatcher_ms(d);
        for worker in &mut self.dispatchers[d].workers {
            worker.link_down(now, LinkId(link as u32));
        }
        self.dispatchers[d].links.remove(&(g, s));
        self.after_some(20, 300, Event::Dial { d, run, g, s });
        self.pump(d);
    }

    pub fn frames_at_dispatcher(&mut self, link: usize, bytes: &[u8]) {
        let (d, run) = (self.links[link].d, self.links[link].d_run);
        if !self.links[link].carries(Way::ToDispatcher) || !self.runs(d, run) {
            return;
        }
        let now = self.dispatcher_ms(d);
        let mut rest = bytes;
        while let Some((body, used)) = take_frame(rest).expect("the shard frames well") {
            let frame = ToDispatcher::decode(body).expect("the shard encodes well");
            rest = &rest[used..];
            if self.plant == Some(Plant::ForgetReturned) && matches!(frame, ToDispatcher::Returned { .. }) {
                continue;
            }
            if let ToDispatcher::AckedFor { id, .. } = frame {
                self.acknowledged_for.insert(id.into());
            }
            if let ToDispatcher::Credit { lane, bytes } = frame {
                self.grant(link, lane, bytes);
                continue;
            }
            self.trace(|| format!("link {link} to dispatcher {d}: {frame:?}"));
            if let Some(w) = worker_for(&frame) {
                self.dispatchers[d].workers[w].frame(now, LinkId(link as u32), frame);
            }
        }
        assert!(rest.is_empty(), "whole frames travel together");
        self.pump(d);
    }
}
