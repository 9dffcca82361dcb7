//! The offset ledger of one lane: records settle in any order, a partition is committed only up to the first that has
//! not.
//!
//! Invariants: what [`Ledger::committable`] answers never goes back within an assignment; no record at or above it was
//! reported settled *and* skipped; a settlement that names an earlier assignment changes nothing.
//!
//! It knows nothing of topics, brokers or of what a record says.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    limits::LEDGER_RECORDS_MAX,
    seams::{Hold, Position, Window},
};

/// Which records of each assigned partition are settled.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: BTreeMap<u32, Partition>,
    /// The last generation given, over all partitions: a generation is never given twice.
    generation: u32,
    unsettled: usize,
    held: usize,
}

/// One assigned partition.
#[derive(Debug)]
struct Partition {
    generation: u32,
    hold: Hold,
    /// From the first unsettled record to the last tracked one.
    window: VecDeque<Entry>,
    /// All below is settled; `None` until something was tracked.
    next: Option<u64>,
    /// What was last committed, or where the assignment began.
    committed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    at_ms: u64,
    settled: bool,
}

impl Ledger {
    /// A ledger without partitions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The partition is ours from now on; returns the generation of this assignment. Assigning it again without
    /// [`Self::revoke`] forgets what the earlier assignment tracked.
    pub fn assign(&mut self, partition: u32) -> u32 {
        self.revoke(partition);
        self.generation += 1;
        let generation = self.generation;
        let new = Partition { generation, hold: Hold::default(), window: VecDeque::new(), next: None, committed: 0 };
        self.partitions.insert(partition, new);
        generation
    }

    /// The partition is no longer ours: returns the offset to commit, if something settled since the last commit.
    /// Settlements that come later are ignored.
    pub fn revoke(&mut self, partition: u32) -> Option<u64> {
        let gone = self.partitions.remove(&partition)?;
        gone.hold.lose();
        self.held -= gone.window.len();
        self.unsettled -= gone.window.iter().filter(|e| !e.settled).count();
        gone.dirty()
    }

    /// A record was polled. Offsets of a partition come in ascending order, gaps are allowed; an offset at or below the
    /// last one tracked is a repetition and adds nothing. A record of a partition that is not assigned gets generation 0,
    /// which never settles.
    pub fn track(&mut self, partition: u32, offset: u64, now_ms: u64) -> Position {
        let Some(p) = self.partitions.get_mut(&partition) else {
            return Position { partition, generation: 0, offset };
        };
        let position = Position { partition, generation: p.generation, offset };
        let first_new = p.window.back().map(|e| e.offset + 1).or(p.next);
        match first_new {
            Some(first) if offset < first => return position,
            Some(_) => {}
            None => {
                p.next = Some(offset);
                p.committed = offset;
            }
        }
        p.window.push_back(Entry { offset, at_ms: now_ms, settled: false });
        self.held += 1;
        self.unsettled += 1;
        position
    }

    /// The record is settled; returns whether that was news. Stale generations and repetitions change nothing.
    pub fn settle(&mut self, position: Position) -> bool {
        let Some(p) = self.partitions.get_mut(&position.partition).filter(|p| p.generation == position.generation)
        else {
            return false;
        };
        let Some(at) = p.find(position.offset) else {
            return false;
        };
        if std::mem::replace(&mut p.window[at].settled, true) {
            return false;
        }
        self.unsettled -= 1;
        while let Some(first) = p.window.front().filter(|e| e.settled) {
            p.next = Some(first.offset + 1);
            p.window.pop_front();
            self.held -= 1;
        }
        true
    }

    /// The next offset to read after a restart: all below are settled. `None` if the partition is not assigned or nothing
    /// of it was polled.
    pub fn committable(&self, partition: u32) -> Option<u64> {
        self.partitions.get(&partition)?.next
    }

    /// The generation of the partition's assignment.
    pub fn generation(&self, partition: u32) -> Option<u32> {
        self.partitions.get(&partition).map(|p| p.generation)
    }

    /// The assigned partitions, with the generation of each.
    pub fn generations(&self) -> impl Iterator<Item = (u32, u32)> {
        self.partitions.iter().map(|(&n, p)| (n, p.generation))
    }

    /// Whether all that was tracked of these partitions is settled.
    pub fn is_drained(&self, partitions: &[u32]) -> bool {
        partitions.iter().all(|n| self.partitions.get(n).is_none_or(|p| p.window.is_empty()))
    }

    /// Whether the assignment that a record came by lasts, from now on.
    pub fn hold(&self, position: Position) -> Hold {
        let partition = self.partitions.get(&position.partition).filter(|p| p.generation == position.generation);
        partition.map_or_else(Hold::lost, |partition| partition.hold.clone())
    }

    /// Partitions with something to commit, and the offset up to which.
    pub fn dirty(&self) -> Vec<(u32, u64)> {
        self.partitions.iter().filter_map(|(&n, p)| Some((n, p.dirty()?))).collect()
    }

    /// These offsets, as [`Self::dirty`] gave them, are durable.
    pub fn committed(&mut self, offsets: &[(u32, u64)]) {
        for (partition, offset) in offsets {
            if let Some(p) = self.partitions.get_mut(partition) {
                p.committed = p.committed.max(*offset);
            }
        }
    }

    /// Records tracked and not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// How many records may be polled before [`LEDGER_RECORDS_MAX`] is reached.
    pub fn room(&self) -> usize {
        LEDGER_RECORDS_MAX.saturating_sub(self.held)
    }

    /// What is tracked and not settled.
    pub fn window(&self) -> Window {
        Window { unsettled: self.unsettled(), room: self.room(), oldest_ms: self.oldest_ms() }
    }

    /// When the oldest unsettled record of each partition was tracked.
    pub fn oldest_of_each(&self) -> Vec<(u32, Option<u64>)> {
        self.partitions.iter().map(|(&n, p)| (n, p.window.front().map(|e| e.at_ms))).collect()
    }

    /// When the oldest unsettled record was tracked.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.partitions.values().filter_map(|p| p.window.front()).map(|e| e.at_ms).min()
    }
}

impl Partition {
    fn dirty(&self) -> Option<u64> {
        self.next.filter(|&next| next > self.committed)
    }

    /// The record's place in the window. Offsets are nearly contiguous, so the distance from the first is mostly it;
    /// gaps only make it smaller.
    fn find(&self, offset: u64) -> Option<usize> {
        let first = self.window.front()?.offset;
        let guess = usize::try_from(offset.checked_sub(first)?).ok()?;
        if self.window.get(guess).is_some_and(|e| e.offset == offset) {
            return Some(guess);
        }
        self.window.binary_search_by_key(&offset, |e| e.offset).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_held_of_a_partition_is_lost_with_its_assignment() {
        let mut ledger = Ledger::new();
        ledger.assign(0);
        let first = ledger.track(0, 10, 0);
        let hold = ledger.hold(first);
        assert!(!hold.is_lost() && !ledger.hold(first).is_lost());
        ledger.assign(0);
        assert!(hold.is_lost() && ledger.hold(first).is_lost(), "it is assigned again");
        let second = ledger.track(0, 10, 0);
        let hold = ledger.hold(second);
        ledger.revoke(0);
        assert!(hold.is_lost() && ledger.hold(second).is_lost());
    }

    #[test]
    fn commits_only_up_to_the_first_unsettled_record() {
        let mut ledger = Ledger::new();
        ledger.assign(0);
        assert_eq!(ledger.committable(0), None);
        let at: Vec<_> = (10..14).map(|offset| ledger.track(0, offset, offset)).collect();
        assert_eq!(ledger.dirty(), []);
        ledger.settle(at[1]);
        ledger.settle(at[3]);
        assert_eq!((ledger.committable(0), ledger.unsettled(), ledger.oldest_ms()), (Some(10), 2, Some(10)));
        ledger.assign(7);
        assert_eq!(ledger.oldest_of_each(), [(0, Some(10)), (7, None)]);
        ledger.settle(at[0]);
        assert_eq!((ledger.dirty(), ledger.oldest_ms()), (vec![(0, 12)], Some(12)));
        ledger.committed(&[(0, 12)]);
        assert_eq!(ledger.dirty(), []);
        ledger.settle(at[2]);
        assert_eq!((ledger.revoke(0), ledger.unsettled(), ledger.oldest_ms()), (Some(14), 0, None));
    }

    #[test]
    fn settlements_of_an_earlier_assignment_are_ignored() {
        let mut ledger = Ledger::new();
        ledger.assign(3);
        let stale = ledger.track(3, 5, 0);
        assert_eq!(ledger.revoke(3), None);
        assert!(!ledger.settle(stale));
        ledger.assign(3);
        let fresh = ledger.track(3, 5, 0);
        assert!(!ledger.settle(stale));
        assert!(ledger.settle(fresh));
        assert_eq!(ledger.committable(3), Some(6));
        assert_eq!(ledger.track(9, 1, 0).generation, 0);
    }

    #[test]
    fn a_repeated_offset_is_tracked_once() {
        let mut ledger = Ledger::new();
        ledger.assign(0);
        let first = ledger.track(0, 7, 0);
        assert_eq!(ledger.track(0, 7, 1), first);
        ledger.settle(first);
        ledger.track(0, 7, 2);
        assert_eq!((ledger.unsettled(), ledger.committable(0)), (0, Some(8)));
    }

    #[test]
    fn room_counts_settled_records_behind_an_unsettled_one() {
        let mut ledger = Ledger::new();
        ledger.assign(0);
        let at: Vec<_> = (0..3).map(|offset| ledger.track(0, offset, 0)).collect();
        ledger.settle(at[1]);
        assert_eq!(ledger.room(), LEDGER_RECORDS_MAX - 3);
        ledger.settle(at[0]);
        assert_eq!(ledger.room(), LEDGER_RECORDS_MAX - 1);
    }

    /// Keeps everything for ever and computes every answer from scratch.
    #[derive(Default)]
    struct Naive {
        /// Per partition, the generation and every tracked offset with whether it settled.
        partitions: BTreeMap<u32, (u32, BTreeMap<u64, bool>)>,
    }

    impl Naive {
        fn committable(&self, partition: u32) -> Option<u64> {
            let (_, offsets) = self.partitions.get(&partition)?;
            let first = *offsets.keys().next()?;
            Some(offsets.iter().take_while(|(_, settled)| **settled).last().map_or(first, |(offset, _)| offset + 1))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Assign(u32),
        Revoke(u32),
        Track {
            partition: u32,
            gap: u64,
        },
        /// Settles one of all positions ever given.
        Settle(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => (0..3u32).prop_map(Step::Assign),
            1 => (0..3u32).prop_map(Step::Revoke),
            20 => (0..3u32, prop_oneof![9 => Just(0u64), 1 => 1..5u64])
                .prop_map(|(partition, gap)| Step::Track { partition, gap }),
            20 => any::<prop::sample::Index>().prop_map(Step::Settle),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn agrees_with_a_ledger_that_keeps_everything(steps in steps()) {
            let (mut ledger, mut naive) = (Ledger::new(), Naive::default());
            let (mut given, mut last) = (Vec::new(), BTreeMap::<u32, u64>::new());
            for step in steps {
                match step {
                    Step::Assign(n) => {
                        let generation = ledger.assign(n);
                        naive.partitions.insert(n, (generation, BTreeMap::new()));
                    }
                    Step::Revoke(n) => {
                        let expected = naive.committable(n);
                        let first = naive.partitions.remove(&n).and_then(|(_, o)| o.keys().next().copied());
                        prop_assert_eq!(ledger.revoke(n), expected.filter(|&next| Some(next) > first));
                    }
                    Step::Track { partition, gap } => {
                        let offset = last.get(&partition).map_or(0, |l| l + 1) + gap;
                        last.insert(partition, offset);
                        given.push(ledger.track(partition, offset, 0));
                        if let Some((_, offsets)) = naive.partitions.get_mut(&partition) {
                            offsets.insert(offset, false);
                        }
                    }
                    Step::Settle(index) if !given.is_empty() => {
                        let at: Position = given[index.index(given.len())];
                        let slot = naive.partitions.get_mut(&at.partition).filter(|(g, _)| *g == at.generation);
                        let news = slot.and_then(|(_, o)| o.get_mut(&at.offset)).is_some_and(|s| !std::mem::replace(s, true));
                        prop_assert_eq!(ledger.settle(at), news);
                    }
                    Step::Settle(_) => {}
                }
                for n in 0..3 {
                    prop_assert_eq!(ledger.committable(n), naive.committable(n));
                }
                let unsettled = naive.partitions.values().flat_map(|(_, o)| o.values()).filter(|s| !**s).count();
                prop_assert_eq!(ledger.unsettled(), unsettled);
            }
        }
    }
}
