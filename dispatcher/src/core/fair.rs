//! Turns between tenants: what each has waiting in its own queue is taken by deficit round robin (Shreedhar and Varghese,
//! 1995), and nobody's while too much of it is under way.
//!
//! Invariants: of one tenant what was put in first comes out first; a tenant that waits, has room and is not alone gets its turn
//! within one round of the others' quanta, whatever they have waiting; tenants of whom nothing waits or is under way take no memory.
//!
//! It knows nothing of records: an item has a cost (deliveries) and a size.

use std::collections::VecDeque;

use hashbrown::HashMap;

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
    budget: Budget,
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
}

#[derive(Debug)]
struct Item<T> {
    it: T,
    cost: usize,
    bytes: usize,
}

impl<T> FairQueue<T> {
    /// A queue in which a turn is worth `quantum` deliveries.
    pub fn new(budget: Budget, quantum: usize) -> Self {
        Self {
            flows: Vec::new(),
            by_app: HashMap::new(),
            free: Vec::new(),
            ring: VecDeque::new(),
            budget,
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
        loop {
            let at = *self.ring.front()?;
            let flow = &mut self.flows[at as usize];
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

    fn flow(&mut self, app: &str) -> u32 {
        if let Some(at) = self.by_app.get(app) {
            return *at;
        }
        let under_way = Budget { deliveries: 0, bytes: 0 };
        let flow = Flow { app: app.into(), items: VecDeque::new(), deficit: 0, under_way, in_ring: false };
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
        let stopped = |flow: &Flow<T>| !flow.items.is_empty() && !flow.under_way.within(&self.budget);
        let was_stopped = stopped(flow);
        change(flow);
        self.stopped = self.stopped + usize::from(stopped(flow)) - usize::from(was_stopped);
        let waits = !flow.items.is_empty() && flow.under_way.within(&self.budget);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOMY: Budget = Budget { deliveries: usize::MAX, bytes: usize::MAX };

    /// Takes all, one delivery under way for each unit of cost.
    fn drain(queue: &mut FairQueue<(&'static str, u32)>) -> Vec<(&'static str, u32)> {
        let mut out = Vec::new();
        while let Some((flow, item)) = queue.pop() {
            queue.charge(flow, 1, 0);
            out.push(item);
        }
        out
    }

    #[test]
    fn a_flood_delays_another_by_one_turn() {
        let mut queue = FairQueue::new(ROOMY, 4);
        for n in 0..1_000 {
            queue.push("flood", ("flood", n), 1, 0);
        }
        queue.push("quiet", ("quiet", 0), 1, 0);
        let order = drain(&mut queue);
        let place = order.iter().position(|(who, _)| *who == "quiet").unwrap();
        assert!(place <= 8, "after {place} of the flood");
        let of_flood: Vec<u32> = order.iter().filter(|(who, _)| *who == "flood").map(|(_, n)| *n).collect();
        assert_eq!(of_flood, (0..1_000).collect::<Vec<_>>(), "in order");
    }

    #[test]
    fn turns_are_worth_deliveries_and_not_records() {
        let mut queue = FairQueue::new(ROOMY, 10);
        for n in 0..10 {
            queue.push("many", ("many", n), 100, 0);
        }
        for n in 0..200 {
            queue.push("one", ("one", n), 1, 0);
        }
        let order = drain(&mut queue);
        let before_third = order.iter().position(|item| *item == ("many", 2)).unwrap();
        assert!((180..=202).contains(&before_third), "{before_third}");
    }

    #[test]
    fn who_has_too_much_under_way_waits_and_the_others_go_on() {
        let mut queue = FairQueue::new(Budget { deliveries: 2, bytes: usize::MAX }, 4);
        for n in 0..5 {
            queue.push("slow", ("slow", n), 1, 0);
            queue.push("other", ("other", n), 1, 0);
        }
        let mut taken = Vec::new();
        while let Some((flow, item)) = queue.pop() {
            queue.charge(flow, 1, 0);
            if item.0 == "other" {
                queue.ended(flow, 0);
            }
            taken.push((flow, item));
        }
        assert_eq!(taken.iter().filter(|(_, item)| item.0 == "other").count(), 5);
        assert_eq!(taken.iter().filter(|(_, item)| item.0 == "slow").count(), 2);
        assert_eq!((queue.len(), queue.stopped()), (3, 1));
        let slow = taken.iter().find(|(_, item)| item.0 == "slow").unwrap().0;
        queue.ended(slow, 0);
        assert_eq!((queue.stopped(), queue.pop().map(|(_, item)| item)), (0, Some(("slow", 2))));
    }

    #[test]
    fn bytes_under_way_stop_a_tenant_too() {
        let mut queue = FairQueue::new(Budget { deliveries: 100, bytes: 1_000 }, 4);
        queue.push("a", ("a", 0), 1, 10);
        queue.push("a", ("a", 1), 1, 10);
        assert_eq!(queue.bytes(), 20);
        let (flow, _) = queue.pop().unwrap();
        queue.charge(flow, 2, 1_000);
        assert_eq!(queue.pop(), None);
        queue.ended(flow, 500);
        assert_eq!(queue.pop().map(|(_, item)| item.1), Some(1));
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_in_its_tenants_order_and_leaves_no_memory(
            items in prop::collection::vec((0usize..5, 0usize..30), 0..200),
            quantum in 1usize..20,
            deliveries in 1usize..40,
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let mut queue = FairQueue::new(Budget { deliveries, bytes: usize::MAX }, quantum);
            for (n, (who, cost)) in items.iter().enumerate() {
                queue.push(names[*who], (names[*who], n as u32), *cost, *cost);
            }
            let mut out: Vec<(&str, u32)> = Vec::new();
            let mut under_way = Vec::new();
            loop {
                match queue.pop() {
                    Some((flow, item)) => {
                        let cost = items[item.1 as usize].1;
                        queue.charge(flow, cost, 0);
                        under_way.extend(std::iter::repeat_n(flow, cost));
                        out.push(item);
                    }
                    None => match under_way.pop() {
                        Some(flow) => queue.ended(flow, 0),
                        None => break,
                    },
                }
            }
            prop_assert_eq!(out.len(), items.len());
            for name in names {
                let of: Vec<u32> = out.iter().filter(|(who, _)| *who == name).map(|(_, n)| *n).collect();
                prop_assert!(of.is_sorted());
            }
            prop_assert_eq!((queue.len(), queue.bytes(), queue.stopped(), queue.by_app.len()), (0, 0, 0, 0));
            prop_assert_eq!(queue.free.len(), queue.flows.len());
        }
    }
}
