//! When each slot is to be looked at next: buckets of a coarse wheel, each a list that runs through the slots themselves. Four
//! bytes a slot, no timer and no allocation per session; a look costs what it finds.
//!
//! A slot stands in at most one list, and stays there when its connection ends: it is then found vacant, or with
//! a successor for whom the look is early. Nothing is taken out of the middle of a list. What must be looked at before its
//! bucket comes is queued besides, in `soon`, and seen once in `limits::HEARTBEAT_PASS_MS` until it need not be; its bucket is
//! then passed over.

use std::collections::VecDeque;

use crate::{
    chunked::Sheet,
    limits::{HEARTBEAT_PASS_MS, TICK_MS, WHEEL_GRAIN_MS_MAX},
};

/// Buckets; the wheel spans a heartbeat, after which every session is to be looked at anyway.
const BUCKETS: u64 = 64;
/// Slots whose places fill a page.
const CHUNK: usize = 1_024;
/// Room that `soon` keeps.
const SOON_KEPT: usize = 4_096;

/// A slot's place: the slot after it in its list, plus [`FIRST`]; or one of these.
const UNLINKED: u32 = 0;
const LAST: u32 = 1;
const FIRST: u32 = 2;
/// The slot is in `soon`. Slots take 24 bits.
const SOON: u32 = 1 << 31;

/// See the module.
#[derive(Debug)]
pub(super) struct Wheel {
    grain_ms: u64,
    /// The bucket that is being emptied, counted from the clock's beginning.
    at: u64,
    /// By number, modulo [`BUCKETS`]: the first slot, as in a slot's place.
    heads: [u32; BUCKETS as usize],
    places: Sheet<u32, CHUNK>,
    soon: VecDeque<u32>,
    /// Thousandths of a look that `soon` is owed.
    owed: u64,
    pass: Pass,
}

/// A pass through `soon`. As many looks as it begins with, or the one before did, make up `limits::HEARTBEAT_PASS_MS`: if they became
/// fewer with those that leave, the last of many that leave at once would be looked at late.
#[derive(Debug, Default)]
struct Pass {
    began_with: usize,
    before: usize,
    /// Looks until it ends.
    left: usize,
}

impl Wheel {
    /// A wheel for sessions that are looked at once in `heartbeat_ms` or later.
    pub(super) fn new(heartbeat_ms: u64) -> Self {
        Self {
            grain_ms: (heartbeat_ms / BUCKETS).clamp(TICK_MS, WHEEL_GRAIN_MS_MAX),
            at: 0,
            heads: [LAST; BUCKETS as usize],
            places: Sheet::default(),
            soon: VecDeque::new(),
            owed: 0,
            pass: Pass::default(),
        }
    }

    /// Has `slot` looked at when `due_ms` has come, or at most a grain and a tick later; earlier if that is far away. One
    /// that stands in a bucket already is left there, or queued in `soon` if that is too late.
    pub(super) fn plan(&mut self, slot: u32, due_ms: u64) {
        let place = self.place(slot);
        if place & !SOON != UNLINKED {
            if due_ms < self.reach_ms() {
                self.plan_soon(slot);
            }
            return;
        }
        let due = due_ms.div_ceil(self.grain_ms).clamp(self.at + 1, self.at + BUCKETS - 1);
        let head = &mut self.heads[(due % BUCKETS) as usize];
        let next = std::mem::replace(head, slot + FIRST);
        self.places.replace(slot, (place & SOON) | next);
    }

    /// Has `slot` looked at again and again, until [`Self::seen_soon`] ends it.
    pub(super) fn plan_soon(&mut self, slot: u32) {
        let place = self.place(slot);
        if place & SOON == 0 {
            self.places.replace(slot, place | SOON);
            self.soon.push_back(slot);
        }
    }

    /// The slots that are looked at again and again, the next first: who has something under way is among them.
    pub(super) fn soon(&self) -> &VecDeque<u32> {
        &self.soon
    }

    /// The next slot whose bucket has come; it stands in none then.
    pub(super) fn next_due(&mut self, now_ms: u64) -> Option<u32> {
        let now = now_ms / self.grain_ms;
        // Whole turns change nothing but the count.
        if now.saturating_sub(self.at) > 2 * BUCKETS {
            self.at += ((now - self.at) / BUCKETS - 1) * BUCKETS;
        }
        loop {
            let head = (self.at % BUCKETS) as usize;
            if self.heads[head] != LAST {
                let slot = self.heads[head] - FIRST;
                let place = self.place(slot);
                self.places.replace(slot, place & SOON);
                self.heads[head] = place & !SOON;
                return Some(slot);
            }
            if self.at >= now {
                return None;
            }
            self.at += 1;
        }
    }

    /// How many of `soon` are to be looked at, when so much time has passed since this was last asked.
    pub(super) fn soon_share(&mut self, passed_ms: u64) -> usize {
        if self.pass.left == 0 {
            self.pass = Pass { began_with: self.soon.len(), before: self.pass.began_with, left: self.soon.len() };
        }
        let pace = self.soon.len().max(self.pass.began_with).max(self.pass.before);
        self.owed += pace as u64 * passed_ms.min(HEARTBEAT_PASS_MS);
        let share = (self.owed / HEARTBEAT_PASS_MS) as usize;
        self.owed %= HEARTBEAT_PASS_MS;
        share.min(self.soon.len())
    }

    /// The next of `soon`; [`Self::seen_soon`] must follow.
    pub(super) fn next_soon(&mut self) -> Option<u32> {
        self.pass.left = self.pass.left.saturating_sub(1);
        self.soon.pop_front()
    }

    /// Ends a look at one of `soon`; it comes again if `again`.
    pub(super) fn seen_soon(&mut self, slot: u32, again: bool) {
        if again {
            self.soon.push_back(slot);
            return;
        }
        self.places.replace(slot, self.place(slot) & !SOON);
        if self.soon.capacity() > SOON_KEPT && self.soon.len() < self.soon.capacity() / 4 {
            self.soon.shrink_to(self.soon.len() * 2);
        }
    }

    /// Forgets all slots, when none holds a connection: otherwise they would be forgotten one by one as their buckets come.
    pub(super) fn forget_all(&mut self) {
        if self.places.bytes() > 0 {
            self.heads = [LAST; BUCKETS as usize];
            (self.places, self.soon, self.pass) = (Sheet::default(), VecDeque::new(), Pass::default());
        }
    }

    /// Whether a slot is looked at again and again.
    pub(super) fn is_soon(&self, slot: u32) -> bool {
        self.place(slot) & SOON != 0
    }

    /// By when every slot in a bucket is looked at.
    fn reach_ms(&self) -> u64 {
        (self.at + BUCKETS - 1) * self.grain_ms
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.places.bytes() + self.soon.capacity() * size_of::<u32>()
    }

    fn place(&self, slot: u32) -> u32 {
        self.places.get(slot).copied().unwrap_or(UNLINKED)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, btree_map::Entry};

    use proptest::prelude::*;

    use super::*;

    fn due(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut slots: Vec<u32> = std::iter::from_fn(|| wheel.next_due(now_ms)).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn slots_come_when_they_are_due_and_once() {
        let mut wheel = Wheel::new(6_400);
        wheel.plan(7, 1_000);
        wheel.plan(300, 1_000);
        wheel.plan(7, 2_000);
        assert!(due(&mut wheel, 999).is_empty());
        assert_eq!(due(&mut wheel, 1_000), [7, 300]);
        assert!(due(&mut wheel, 100_000).is_empty());
        assert_eq!(wheel.next_soon(), Some(7));
        assert!(wheel.bytes() > 4_096);
        wheel.seen_soon(7, false);
        assert!(
            wheel.bytes() < 4_096 + 512,
            "what is looked at at no time costs the page that went last: {}",
            wheel.bytes()
        );
    }

    #[test]
    fn all_are_forgotten_at_once_and_planned_anew() {
        let mut wheel = Wheel::new(6_400);
        (0..3_000).for_each(|slot| wheel.plan(slot, 3_000));
        wheel.plan_soon(7);
        assert_eq!(wheel.soon_share(HEARTBEAT_PASS_MS), 1);
        wheel.forget_all();
        assert_eq!((wheel.bytes(), wheel.next_soon(), wheel.is_soon(7)), (0, None, false));
        assert!(due(&mut wheel, 100_000).is_empty());
        wheel.plan(7, 101_000);
        assert_eq!(due(&mut wheel, 101_000), [7]);
    }

    #[test]
    fn one_that_stands_in_a_late_bucket_is_seen_soon() {
        let mut wheel = Wheel::new(6_400);
        wheel.plan(7, 6_300);
        assert_eq!(wheel.soon_share(HEARTBEAT_PASS_MS), 0);
        wheel.plan(7, 300);
        wheel.plan(7, 200);
        assert_eq!(wheel.soon_share(HEARTBEAT_PASS_MS), 1);
        assert_eq!(wheel.next_soon(), Some(7));
        wheel.seen_soon(7, true);
        assert_eq!(wheel.next_soon(), Some(7));
        wheel.seen_soon(7, false);
        assert_eq!((wheel.next_soon(), due(&mut wheel, 6_300)), (None, vec![7]));
    }

    #[test]
    fn one_that_stays_is_seen_in_time_though_all_others_leave() {
        const OTHERS: u32 = 99;
        let mut wheel = Wheel::new(6_400);
        (0..=OTHERS).for_each(|slot| wheel.plan_soon(slot));
        let (mut since_ms, mut latest_ms) = (0, 0);
        for _ in 0..10 * HEARTBEAT_PASS_MS / TICK_MS {
            since_ms += TICK_MS;
            for _ in 0..wheel.soon_share(TICK_MS) {
                let Some(slot) = wheel.next_soon() else { break };
                if slot == 0 {
                    latest_ms = latest_ms.max(std::mem::take(&mut since_ms));
                }
                wheel.seen_soon(slot, slot == 0);
            }
        }
        assert!((TICK_MS..=HEARTBEAT_PASS_MS + TICK_MS).contains(&latest_ms), "{latest_ms} ms");
    }

    proptest! {
        /// Against a table of when each slot is due: nothing comes before its time unless that is past the wheel's reach,
        /// nothing later than a grain after it, everything once.
        #[test]
        fn a_wheel_tells_what_a_table_tells(plans in prop::collection::vec((0u32..600, 0u64..20_000, 0u64..700), 1..200)) {
            let mut wheel = Wheel::new(6_400);
            let mut table = BTreeMap::new();
            let mut now_ms = 0;
            for (slot, after_ms, pass_ms) in plans {
                if let Entry::Vacant(place) = table.entry(slot) {
                    let due_ms = now_ms + 1 + after_ms;
                    place.insert((due_ms, due_ms.min(wheel.reach_ms())));
                    wheel.plan(slot, due_ms);
                }
                now_ms += pass_ms;
                while let Some(slot) = wheel.next_due(now_ms) {
                    let (_, earliest_ms) = table.remove(&slot).expect("it was planned, and comes once");
                    prop_assert!(now_ms >= earliest_ms, "{slot} at {now_ms}, planned for {earliest_ms}");
                }
                for (slot, (due_ms, _)) in &table {
                    prop_assert!(now_ms < due_ms + wheel.grain_ms, "{slot} was due at {due_ms}, it is {now_ms}");
                }
            }
        }
    }
}
