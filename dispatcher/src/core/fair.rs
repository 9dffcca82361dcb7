//! Turns between tenants: what each has waiting in its own queue is taken by deficit round robin (Shreedhar and Varghese,
//! 1995), and nobody's while too much of it is under way: more than its own bound, or more than what is left free for the others
//! (dynamic thresholds, Choudhury and Hahne, 1998), so that however many do not get on, there is room for who does.
//!
//! Invariants: of one tenant what was put in first comes out first; a tenant that waits, has room and is not alone gets its turn
//! within one round of the others' quanta, whatever they have waiting; a tenant of whom less than the smallest share is under way
//! has room, so everything comes out as long as what came out ends; tenants of whom nothing waits or is under way take no memory.
//!
//! It knows nothing of records: an item has a cost (deliveries) and a size.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

/// The part of what all may have under way that is anybody's, whatever is left.
const SMALLEST_SHARE: usize = 64;

/// A tenant's name in a [`FairQueue`], valid while something of it waits or is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowId(u32);

/// What of one tenant may be under way; the last item may pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Deliveries.
    pub deliveries: usize,
    /// Bytes of them.
    pub bytes: usize,
}

/// Queues of all tenants, by name.
#[derive(Debug)]
pub struct FairQueue<T> {
    flows: Vec<Flow<T>>,
    by_app: HashMap<Box<str>, u32>,
    free: Vec<u32>,
    /// Whose turn it is: those who wait and have room.
    ring: VecDeque<u32>,
    /// Those who wait and had more under way than was left free, the least first.
    parked: BTreeSet<(usize, u32)>,
    budget: Budget,
    /// Deliveries that tenants share, and how many are under way.
    all: usize,
    under_way: usize,
    quantum: usize,
    waiting: usize,
    bytes: usize,
    /// Tenants that wait and have no room.
    stopped: usize,
}

#[derive(Debug)]
struct Flow<T> {
    app: Box<str>,
    items: VecDeque<Item<T>>,
    deficit: usize,
    under_way: Budget,
    in_ring: bool,
    parked: bool,
}

#[derive(Debug)]
struct Item<T> {
    it: T,
    cost: usize,
    bytes: usize,
}

impl<T> FairQueue<T> {
    /// A queue in which a turn is worth `quantum` deliveries, and tenants share `all` deliveries under way.
    pub fn new(budget: Budget, all: usize, quantum: usize) -> Self {
        Self {
            flows: Vec::new(),
            by_app: HashMap::new(),
            free: Vec::new(),
            ring: VecDeque::new(),
            parked: BTreeSet::new(),
            budget,
            all,
            under_way: 0,
            quantum: quantum.max(1),
            waiting: 0,
            bytes: 0,
            stopped: 0,
        }
    }

    /// Puts an item of `cost` deliveries and `bytes` at the end of its tenant's queue.
    pub fn push(&mut self, app: &str, it: T, cost: usize, bytes: usize) {
        let at = self.flow(app);
        self.waiting += 1;
        self.bytes += bytes;
        self.change(at, |flow| flow.items.push_back(Item { it, cost, bytes }));
    }

    /// The next item, and whose it is. Whoever takes it says what of it is under way with [`Self::charge`], or that nothing is
    /// with a charge of 0.
    pub fn pop(&mut self) -> Option<(FlowId, T)> {
        let share = self.share();
        self.unpark(share);
        loop {
            let at = *self.ring.front()?;
            let flow = &mut self.flows[at as usize];
            if flow.under_way.deliveries >= share {
                (flow.in_ring, flow.parked) = (false, true);
                self.parked.insert((flow.under_way.deliveries, at));
                self.stopped += 1;
                self.ring.pop_front();
                continue;
            }
            let cost = flow.items.front().map_or(0, |item| item.cost);
            if cost > flow.deficit {
                flow.deficit += self.quantum;
                self.ring.rotate_left(1);
                continue;
            }
            flow.deficit -= cost;
            let item = flow.items.pop_front().expect("a tenant in the ring has something waiting");
            self.waiting -= 1;
            self.bytes -= item.bytes;
            return Some((FlowId(at), item.it));
        }
    }

    /// So much of the item just taken is under way.
    pub fn charge(&mut self, of: FlowId, deliveries: usize, bytes: usize) {
        self.change(of.0, |flow| {
            flow.under_way.deliveries += deliveries;
            flow.under_way.bytes += bytes;
        });
    }

    /// One delivery of `bytes` ended.
    pub fn ended(&mut self, of: FlowId, bytes: usize) {
        self.change(of.0, |flow| {
            flow.under_way.deliveries = flow.under_way.deliveries.saturating_sub(1);
            flow.under_way.bytes = flow.under_way.bytes.saturating_sub(bytes);
        });
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Bytes of the items waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tenants that wait because too much of theirs is under way.
    pub fn stopped(&self) -> usize {
        self.stopped
    }

    /// A tenant of whom as much is under way takes no more: what is left free, but never less than the smallest share.
    fn share(&self) -> usize {
        self.all.saturating_sub(self.under_way).max(self.all / SMALLEST_SHARE).max(1)
    }

    /// Whoever has less under way than the share takes turns again.
    fn unpark(&mut self, share: usize) {
        while let Some((_, at)) = self.parked.first().copied().filter(|(deliveries, _)| *deliveries < share) {
            self.parked.pop_first();
            let flow = &mut self.flows[at as usize];
            (flow.in_ring, flow.parked) = (true, false);
            self.stopped -= 1;
            self.ring.push_back(at);
        }
    }

    fn flow(&mut self, app: &str) -> u32 {
        if let Some(at) = self.by_app.get(app) {
            return *at;
        }
        let under_way = Budget { deliveries: 0, bytes: 0 };
        let flow =
            Flow { app: app.into(), items: VecDeque::new(), deficit: 0, under_way, in_ring: false, parked: false };
        let at = match self.free.pop() {
            Some(at) => {
                self.flows[at as usize] = flow;
                at
            }
            None => {
                self.flows.push(flow);
                (self.flows.len() - 1) as u32
            }
        };
        self.by_app.insert(app.into(), at);
        at
    }

    /// Changes a tenant, and puts it in the ring, takes it out of there, or forgets it.
    fn change(&mut self, at: u32, change: impl FnOnce(&mut Flow<T>)) {
        let Some(flow) = self.flows.get_mut(at as usize) else { return };
        let stopped = |flow: &Flow<T>| flow.parked || !flow.items.is_empty() && !flow.under_way.within(&self.budget);
        let (was_stopped, was_under_way) = (stopped(flow), flow.under_way.deliveries);
        change(flow);
        self.under_way = self.under_way - was_under_way + flow.under_way.deliveries;
        if flow.parked && self.parked.remove(&(was_under_way, at)) {
            self.parked.insert((flow.under_way.deliveries, at));
        }
        self.stopped = self.stopped + usize::from(stopped(flow)) - usize::from(was_stopped);
        let waits = !flow.items.is_empty() && !flow.parked && flow.under_way.within(&self.budget);
        if waits != flow.in_ring {
            flow.in_ring = waits;
            if waits {
                self.ring.push_back(at);
            } else {
                flow.deficit = 0;
                // Only who was just taken from leaves, and whoever has its turn stands first.
                debug_assert_eq!(self.ring.front(), Some(&at));
                self.ring.pop_front();
            }
        }
        let idle = flow.items.is_empty() && flow.under_way.deliveries == 0;
        if idle && self.by_app.get(&flow.app) == Some(&at) {
            self.by_app.remove(&flow.app);
            self.free.push(at);
        }
    }
}

impl Budget {
    fn within(&self, budget: &Self) -> bool {
        self.deliveries < budget.deliveries && self.bytes < budget.bytes
    }
}

#[cfg(test)]
mod tests;
