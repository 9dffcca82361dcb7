//! What a session has under way: pushes that wait for the socket, and pushes that were staged and wait to be acknowledged or
//! written. It exists only while there is something, and knows neither sockets nor links.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet, VecDeque},
    rc::Rc,
};

use pushgate_protocol::link::{Lane, OutboxPolicy, Place};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    links::LinkId,
    tails::Tail,
    waited::{AllWaiting, Waited},
};

/// Up to this many pushes an outbox is searched one by one.
const UNINDEXED_MAX: usize = 32;

/// A push, shared by those sessions of its user that received it.
#[derive(Debug)]
pub(super) struct Pushed {
    /// Who is told how it ends: the link it came on last, and its reference there.
    pub(super) origin: Cell<(LinkId, u64)>,
    pub(super) id: Box<str>,
    /// [`id_key`] of the id.
    pub(super) key: u64,
    /// Set if it is for one device.
    pub(super) device: Option<Box<str>>,
    /// It is for one session.
    pub(super) to_session: bool,
    pub(super) ack: bool,
    pub(super) policy: OutboxPolicy,
    /// With policy `collapse`: which waiting push it replaces.
    pub(super) collapse: Option<Box<str>>,
    pub(super) expires_ms: u64,
    /// Its place in the app's stream of messages to everyone.
    pub(super) place: Place,
    /// It came once for everyone, and sessions of all users share it: it has no origin and is never settled.
    pub(super) shared: bool,
    /// How it ended was told; nothing more is.
    pub(super) settled: Cell<bool>,
    /// Somebody it is for had no room for it when it was last offered.
    pub(super) no_room: Cell<bool>,
}

impl Pushed {
    /// Whether it is for all users: such a push and one for this user alone do not replace each other.
    fn is_for_everyone(&self) -> bool {
        self.shared || self.place.is_some()
    }

    /// Whether this is the delivery of message `id` to `device`.
    pub(super) fn is(&self, id: &str, device: Option<&str>, to_session: bool) -> bool {
        *self.id == *id && self.device.as_deref() == device && self.to_session == to_session
    }
}

/// What an index knows of a message id.
pub(super) fn id_key(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

/// A push whose frame was staged.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) seq: u64,
    /// It ends when this many bytes of the connection were written; `None`: when it is acknowledged.
    pub(super) until: Option<u64>,
    pub(super) pushed: Rc<Pushed>,
}

/// Something whose turn has not come. It gets its number when it has.
#[derive(Debug)]
pub(super) enum Waiting {
    Push {
        replay: bool,
        pushed: Rc<Pushed>,
        tail: Tail<Rc<[u8]>>,
    },
    /// So many pushes that are left out.
    Gap {
        count: u64,
    },
}

/// The outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    held: VecDeque<Held>,
    /// Those of the lane high first, each lane in its order.
    waiting: VecDeque<Waiting>,
    /// How many of `waiting` are of the lane high, gaps in their place included.
    high: u32,
    waited: Waited,
    /// How many of `held` end by being written.
    unwritten: usize,
    /// How many pushes have each key, once there are more than [`UNINDEXED_MAX`].
    keys: Option<HashMap<u64, u32>>,
    /// Bytes staged, counted from some moment; less the backlog, it is what was written.
    pub(super) staged: u64,
    /// How much was written when it was last seen to grow or nothing waited, and when that was, monotonic milliseconds.
    moved: (u64, u64),
    /// It is on the shard's watch list.
    pub(super) watched: bool,
}

impl Outbox {
    /// An empty outbox of a connection that has `backlog` bytes waiting, among `all` of its shard.
    pub(super) fn new(backlog: usize, all: &AllWaiting) -> Self {
        Self {
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            high: 0,
            waited: Waited::nothing(all),
            unwritten: 0,
            keys: None,
            staged: backlog as u64,
            moved: (0, 0),
            watched: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }

    /// Pushes and gaps in it.
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.waiting.len()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waited.bytes()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether something ends by being written.
    pub(super) fn has_unwritten(&self) -> bool {
        self.unwritten > 0
    }

    /// For how long the socket has taken nothing, though `backlog` bytes wait, milliseconds.
    pub(super) fn still_ms(&mut self, now_ms: u64, backlog: usize) -> u64 {
        let written = self.staged.saturating_sub(backlog as u64);
        if backlog == 0 || self.moved.0 != written || self.moved.1 == 0 {
            self.moved = (written, now_ms);
        }
        now_ms.saturating_sub(self.moved.1)
    }

    /// Its pushes, in order.
    pub(super) fn pushes(&self) -> impl Iterator<Item = &Rc<Pushed>> {
        let waiting = self.waiting.iter().filter_map(|w| match w {
            Waiting::Push { pushed, .. } => Some(pushed),
            Waiting::Gap { .. } => None,
        });
        self.held.iter().map(|h| &h.pushed).chain(waiting)
    }

    /// The delivery of message `id`, whose [`id_key`] is `key`.
    pub(super) fn find(&self, id: &str, key: u64, device: Option<&str>, to_session: bool) -> Option<&Rc<Pushed>> {
        if self.keys.as_ref().is_some_and(|keys| !keys.contains_key(&key)) {
            return None;
        }
        self.pushes().find(|p| p.key == key && p.is(id, device, to_session))
    }

    /// Whether some push has one of these keys.
    pub(super) fn has_any(&self, wanted: &HashSet<u64>) -> bool {
        match &self.keys {
            Some(keys) => wanted.iter().any(|key| keys.contains_key(key)),
            None => self.pushes().any(|p| wanted.contains(&p.key)),
        }
    }

    pub(super) fn contains(&self, pushed: &Rc<Pushed>) -> bool {
        self.pushes().any(|p| Rc::ptr_eq(p, pushed))
    }

    pub(super) fn hold(&mut self, held: Held) {
        self.enter(held.pushed.key);
        self.unwritten += usize::from(held.until.is_some());
        self.held.push_back(held);
    }

    /// The same, for a push whose frame went before what is held by now.
    pub(super) fn hold_in_order(&mut self, held: Held) {
        let at = self.held.partition_point(|h| h.seq < held.seq);
        self.enter(held.pushed.key);
        self.unwritten += usize::from(held.until.is_some());
        self.held.insert(at, held);
    }

    /// A push waits behind those of its lane; one of the lane high before those of the others.
    pub(super) fn wait(&mut self, lane: Lane, replay: bool, pushed: Rc<Pushed>, tail: Tail<Rc<[u8]>>) {
        self.enter(pushed.key);
        self.waited.add(tail.bytes.len());
        let entry = Waiting::Push { replay, pushed, tail };
        if lane == Lane::High {
            self.waiting.insert(self.high as usize, entry);
            self.high += 1;
        } else {
            self.waiting.push_back(entry);
        }
    }

    /// Notes, behind all that waits, that a push is left out.
    pub(super) fn skip(&mut self) {
        match self.waiting.back_mut() {
            Some(Waiting::Gap { count }) => *count += 1,
            _ => self.waiting.push_back(Waiting::Gap { count: 1 }),
        }
    }

    pub(super) fn next_waiting(&mut self) -> Option<Waiting> {
        let next = self.remove(0)?;
        if let Waiting::Push { pushed, tail, .. } = &next {
            self.waited.subtract(tail.bytes.len());
            let key = pushed.key;
            self.leave(key);
        }
        Some(next)
    }

    /// Leaves out the oldest waiting push that may be dropped, for one of `lane`: of the lane high only for one of that lane,
    /// and when no other is left. Gaps that then touch become one.
    pub(super) fn drop_oldest(&mut self, lane: Lane) -> Option<Rc<Pushed>> {
        let may_go = |w: &Waiting| matches!(w, Waiting::Push { pushed, .. } if pushed.policy != OutboxPolicy::Close);
        let high = self.high as usize;
        let of_others = self.waiting.range(high..).position(may_go).map(|at| at + high);
        let at = of_others.or_else(|| self.waiting.range(..high).position(may_go).filter(|_| lane == Lane::High))?;
        self.leave_out(at)
    }

    /// Makes a gap of the waiting push at this place.
    fn leave_out(&mut self, at: usize) -> Option<Rc<Pushed>> {
        let place = self.waiting.get_mut(at).filter(|w| matches!(w, Waiting::Push { .. }))?;
        let Waiting::Push { pushed, tail, .. } = std::mem::replace(place, Waiting::Gap { count: 1 }) else {
            return None;
        };
        self.waited.subtract(tail.bytes.len());
        self.leave(pushed.key);
        self.join_gaps(at + 1);
        self.join_gaps(at);
        Some(pushed)
    }

    /// Makes one gap of the one at this place and the one before it.
    fn join_gaps(&mut self, at: usize) {
        if let (Some(before), Some(&Waiting::Gap { count: more })) = (at.checked_sub(1), self.waiting.get(at))
            && let Some(Waiting::Gap { count }) = self.waiting.get_mut(before)
        {
            *count += more;
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) -> Option<Waiting> {
        let entry = self.waiting.remove(at)?;
        self.high -= u32::from(at < self.high as usize);
        Some(entry)
    }

    /// Leaves out the waiting push that a newer one of the same key, to the same sessions, replaces.
    pub(super) fn collapse(&mut self, newer: &Pushed, key: &str) -> Option<Rc<Pushed>> {
        let replaced = |p: &Pushed| {
            p.policy == OutboxPolicy::Collapse
                && p.collapse.as_deref() == Some(key)
                && p.device == newer.device
                && p.to_session == newer.to_session
                && p.is_for_everyone() == newer.is_for_everyone()
        };
        let at = self.waiting.iter().position(|w| matches!(w, Waiting::Push { pushed, .. } if replaced(pushed)))?;
        self.leave_out(at)
    }

    /// Takes out the pushes of a message that was taken back; those whose turn had not come become gaps.
    pub(super) fn recall(&mut self, id: &str) -> Vec<Rc<Pushed>> {
        let key = id_key(id);
        if self.keys.as_ref().is_some_and(|keys| !keys.contains_key(&key)) {
            return Vec::new();
        }
        let is = |p: &Pushed| p.key == key && *p.id == *id;
        let (gone, held): (VecDeque<Held>, VecDeque<Held>) =
            std::mem::take(&mut self.held).into_iter().partition(|h| is(&h.pushed));
        self.held = held;
        let mut gone = self.ended(gone);
        while let Some(at) = self.waiting.iter().position(|w| matches!(w, Waiting::Push { pushed, .. } if is(pushed))) {
            gone.extend(self.leave_out(at));
        }
        gone
    }

    /// Takes out what a cumulative acknowledgement names; only what was staged can be.
    pub(super) fn acknowledge(&mut self, seq: u64) -> Vec<Rc<Pushed>> {
        let n = self.held.partition_point(|h| h.seq <= seq);
        let mut acked = Vec::with_capacity(n);
        for _ in 0..n {
            acked.extend(self.first_held());
        }
        acked
    }

    /// Takes out the oldest push of all if it ended because the first `bytes` bytes were written.
    pub(super) fn first_written(&mut self, bytes: u64) -> Option<Rc<Pushed>> {
        self.held.front()?.until.filter(|&until| until <= bytes)?;
        self.first_held()
    }

    fn first_held(&mut self) -> Option<Rc<Pushed>> {
        let Held { until, pushed, .. } = self.held.pop_front()?;
        self.unwritten -= usize::from(until.is_some());
        self.leave(pushed.key);
        Some(pushed)
    }

    /// Takes out all that ended because the first `bytes` bytes were written, also behind what waits to be acknowledged.
    pub(super) fn written(&mut self, bytes: u64) -> Vec<Rc<Pushed>> {
        let ends = |h: &Held| h.until.is_some_and(|until| until <= bytes);
        if self.unwritten == 0 || !self.held.iter().any(ends) {
            return Vec::new();
        }
        let (done, held): (VecDeque<Held>, VecDeque<Held>) = std::mem::take(&mut self.held).into_iter().partition(ends);
        self.held = held;
        self.ended(done)
    }

    fn ended(&mut self, done: VecDeque<Held>) -> Vec<Rc<Pushed>> {
        for held in &done {
            self.unwritten -= usize::from(held.until.is_some());
            self.leave(held.pushed.key);
        }
        done.into_iter().map(|h| h.pushed).collect()
    }

    /// A push with this key comes in.
    fn enter(&mut self, key: u64) {
        if let Some(keys) = &mut self.keys {
            *keys.entry(key).or_default() += 1;
        } else if self.len() >= UNINDEXED_MAX {
            let mut keys: HashMap<u64, u32> = HashMap::new();
            for key in self.pushes().map(|p| p.key).chain([key]) {
                *keys.entry(key).or_default() += 1;
            }
            self.keys = Some(keys);
        }
    }

    /// A push with this key went out.
    fn leave(&mut self, key: u64) {
        if let Some(keys) = &mut self.keys
            && let Some(count) = keys.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                keys.remove(&key);
            }
        }
    }

    /// Everything, with its number, in order; `newest` is the newest given, and what waits has those it would have got.
    pub(super) fn into_pushes(self, newest: u64) -> impl Iterator<Item = (u64, Rc<Pushed>)> {
        let mut seq = newest;
        let waiting = self.waiting.into_iter().filter_map(move |w| match w {
            Waiting::Push { pushed, .. } => {
                seq += 1;
                Some((seq, pushed))
            }
            Waiting::Gap { count } => {
                seq += count;
                None
            }
        });
        self.held.into_iter().map(|h| (h.seq, h.pushed)).chain(waiting)
    }
}

#[cfg(test)]
mod tests;
