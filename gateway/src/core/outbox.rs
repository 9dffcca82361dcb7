//! What a session has under way: pushes that wait for the socket, and pushes that were staged and wait to be acknowledged or
//! written. It exists only while there is something, and knows neither sockets nor links.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use pushgate_protocol::link::OutboxPolicy;

use super::links::LinkId;

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
    pub(super) expires_ms: u64,
    /// How it ended was told; nothing more is.
    pub(super) settled: Cell<bool>,
}

impl Pushed {
    /// Whether this is the delivery of message `id` to `device`.
    fn is(&self, id: &str, device: Option<&str>, to_session: bool) -> bool {
        *self.id == *id && self.device.as_deref() == device && self.to_session == to_session
    }
}

/// What an index knows of a message id.
pub(super) fn id_key(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// A push whose frame was staged.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) seq: u64,
    /// It ends when this many bytes of the connection were written; `None`: when it is acknowledged.
    pub(super) until: Option<u64>,
    pub(super) pushed: Rc<Pushed>,
}

/// Something whose turn has not come.
#[derive(Debug)]
pub(super) enum Waiting {
    Push { seq: u64, replay: bool, pushed: Rc<Pushed>, tail: Rc<[u8]> },
    Gap { from: u64, to: u64 },
}

/// The outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    held: VecDeque<Held>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
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
    /// An empty outbox of a connection that has `backlog` bytes waiting.
    pub(super) fn new(backlog: usize) -> Self {
        Self {
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
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
        self.waiting_bytes
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

    pub(super) fn find(&self, id: &str, device: Option<&str>, to_session: bool) -> Option<&Rc<Pushed>> {
        let key = id_key(id);
        if self.keys.as_ref().is_some_and(|keys| !keys.contains_key(&key)) {
            return None;
        }
        self.pushes().find(|p| p.key == key && p.is(id, device, to_session))
    }

    pub(super) fn contains(&self, pushed: &Rc<Pushed>) -> bool {
        self.pushes().any(|p| Rc::ptr_eq(p, pushed))
    }

    pub(super) fn hold(&mut self, held: Held) {
        self.enter(held.pushed.key);
        self.unwritten += usize::from(held.until.is_some());
        self.held.push_back(held);
    }

    pub(super) fn wait(&mut self, seq: u64, replay: bool, pushed: Rc<Pushed>, tail: Rc<[u8]>) {
        self.enter(pushed.key);
        self.waiting_bytes += tail.len();
        self.waiting.push_back(Waiting::Push { seq, replay, pushed, tail });
    }

    /// Notes that `seq` is left out, in its place.
    pub(super) fn skip(&mut self, seq: u64) {
        match self.waiting.back_mut() {
            Some(Waiting::Gap { to, .. }) if *to + 1 == seq => *to = seq,
            _ => self.waiting.push_back(Waiting::Gap { from: seq, to: seq }),
        }
    }

    pub(super) fn next_waiting(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front()?;
        if let Waiting::Push { pushed, tail, .. } = &next {
            self.waiting_bytes -= tail.len();
            let key = pushed.key;
            self.leave(key);
        }
        Some(next)
    }

    /// Leaves out the oldest waiting push that may be dropped; gaps that then touch become one.
    pub(super) fn drop_oldest(&mut self) -> Option<Rc<Pushed>> {
        let at = self
            .waiting
            .iter()
            .position(|w| matches!(w, Waiting::Push { pushed, .. } if pushed.policy != OutboxPolicy::Close))?;
        let Waiting::Push { seq, pushed, tail, .. } = self.waiting.remove(at)? else {
            return None;
        };
        self.waiting_bytes -= tail.len();
        self.leave(pushed.key);
        let (mut from, mut to, mut place) = (seq, seq, at);
        if let Some(&Waiting::Gap { from: next, to: end }) = self.waiting.get(at)
            && next == seq + 1
        {
            to = end;
            self.waiting.remove(at);
        }
        if let Some(before) = at.checked_sub(1)
            && let Some(&Waiting::Gap { from: start, to: end }) = self.waiting.get(before)
            && end + 1 == seq
        {
            from = start;
            place = before;
            self.waiting.remove(before);
        }
        self.waiting.insert(place, Waiting::Gap { from, to });
        Some(pushed)
    }

    /// Takes out what a cumulative acknowledgement names; only what was staged can be.
    pub(super) fn acknowledge(&mut self, seq: u64) -> Vec<Rc<Pushed>> {
        let n = self.held.partition_point(|h| h.seq <= seq);
        let done = self.held.drain(..n).collect();
        self.ended(done)
    }

    /// Takes out what ended because the first `bytes` bytes were written.
    pub(super) fn written(&mut self, bytes: u64) -> Vec<Rc<Pushed>> {
        if self.unwritten == 0 {
            return Vec::new();
        }
        let ends = |h: &Held| h.until.is_some_and(|until| until <= bytes);
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

    /// Everything, with its number, in order.
    pub(super) fn into_pushes(self) -> impl Iterator<Item = (u64, Rc<Pushed>)> {
        let waiting = self.waiting.into_iter().filter_map(|w| match w {
            Waiting::Push { seq, pushed, .. } => Some((seq, pushed)),
            Waiting::Gap { .. } => None,
        });
        self.held.into_iter().map(|h| (h.seq, h.pushed)).chain(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(policy: OutboxPolicy) -> Rc<Pushed> {
        Rc::new(Pushed {
            origin: Cell::new((LinkId(0), 0)),
            id: "m".into(),
            key: id_key("m"),
            device: None,
            to_session: false,
            ack: true,
            policy,
            expires_ms: u64::MAX,
            settled: Cell::new(false),
        })
    }

    fn waiting(outbox: &Outbox) -> Vec<(u64, u64)> {
        outbox
            .waiting
            .iter()
            .map(|w| match w {
                Waiting::Push { seq, .. } => (*seq, 0),
                Waiting::Gap { from, to } => (*from, *to),
            })
            .collect()
    }

    #[test]
    fn dropped_pushes_leave_gaps_in_their_place_that_grow_together() {
        let mut outbox = Outbox::new(0);
        let tail: Rc<[u8]> = Rc::from(&b"12345"[..]);
        for seq in 1..=5 {
            let policy = if seq == 2 { OutboxPolicy::Close } else { OutboxPolicy::DropOldest };
            outbox.wait(seq, false, pushed(policy), tail.clone());
        }
        outbox.skip(6);
        outbox.skip(7);
        for left in [4, 3, 2, 1] {
            assert!(outbox.drop_oldest().is_some());
            assert_eq!(outbox.waiting_bytes(), left * 5);
        }
        assert!(outbox.drop_oldest().is_none(), "the one with policy close stays");
        assert_eq!(waiting(&outbox), [(1, 1), (2, 0), (3, 7)]);
    }

    #[test]
    fn an_acknowledgement_takes_only_what_was_staged() {
        let mut outbox = Outbox::new(0);
        outbox.hold(Held { seq: 1, until: None, pushed: pushed(OutboxPolicy::Close) });
        outbox.hold(Held { seq: 2, until: Some(90), pushed: pushed(OutboxPolicy::Close) });
        outbox.wait(3, false, pushed(OutboxPolicy::Close), Rc::from(&b""[..]));
        assert_eq!(outbox.written(89).len(), 0);
        assert_eq!(outbox.written(90).len(), 1);
        assert_eq!(outbox.acknowledge(9).len(), 1);
        assert_eq!((outbox.len(), outbox.is_empty()), (1, false));
    }

    #[test]
    fn a_push_is_found_by_its_id_in_a_small_and_a_large_outbox_until_it_ends() {
        let mut outbox = Outbox::new(0);
        let named = |n: u64| {
            let mut push = Rc::into_inner(pushed(OutboxPolicy::DropOldest)).unwrap();
            push.id = format!("m{n}").into();
            push.key = id_key(&push.id);
            Rc::new(push)
        };
        for seq in 1..=100 {
            if seq <= 60 {
                outbox.hold(Held { seq, until: (seq % 2 == 0).then_some(seq), pushed: named(seq) });
            } else {
                outbox.wait(seq, false, named(seq), Rc::from(&b""[..]));
            }
            assert!(outbox.find(&format!("m{seq}"), None, false).is_some());
            assert!(outbox.find(&format!("m{seq}"), Some("d"), false).is_none());
        }
        let found = |o: &Outbox| (1..=100u64).filter(|n| o.find(&format!("m{n}"), None, false).is_some()).count();
        assert_eq!(found(&outbox), 100);
        assert_eq!((outbox.written(40).len(), found(&outbox)), (20, 80));
        assert_eq!((outbox.acknowledge(60).len(), found(&outbox)), (40, 40));
        assert!(!outbox.has_unwritten());
        assert!(outbox.drop_oldest().is_some() && outbox.next_waiting().is_some() && outbox.next_waiting().is_some());
        assert_eq!(found(&outbox), 38);
    }
}
