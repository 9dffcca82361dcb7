//! What a user has had of its app's stream of messages to everyone: runs of positions, shared by every store.
//!
//! A place names a position and a lower one after which there is nothing before it, so places that follow one another join
//! to one run: a user who has had everything costs one run, however long the stream.

use pushgate_protocol::link::Place;

use crate::limits::SEEN_RUNS_MAX;

/// What adding a place came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It was noted before.
    Before,
    /// It is new.
    New,
    /// It is new, and the bound was passed: what lay between the lowest two runs is given up.
    Joined,
}

/// Runs (after, up to), ascending and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenRuns(Vec<(u64, u64)>);

impl SeenRuns {
    /// Adds a place. Past the bound the lowest two runs become one: what lies between them counts as had.
    pub fn add(&mut self, place: Place) -> Noted {
        if self.contains(place.position) {
            return Noted::Before;
        }
        let (mut from, mut upto) = (place.before, place.position);
        self.0.retain(|&(a, b)| {
            let touches = b >= from && a <= upto;
            if touches {
                (from, upto) = (from.min(a), upto.max(b));
            }
            !touches
        });
        let at = self.0.partition_point(|run| run.0 < from);
        self.0.insert(at, (from, upto));
        if self.0.len() <= SEEN_RUNS_MAX {
            return Noted::New;
        }
        self.0[0].1 = self.0.remove(1).1;
        Noted::Joined
    }

    /// Whether the user has had what stands at this position.
    pub fn contains(&self, position: u64) -> bool {
        let at = self.0.partition_point(|run| run.1 < position);
        self.0.get(at).is_some_and(|run| run.0 < position)
    }

    /// The end of the run that holds this position: nothing up to there is new to the user.
    pub fn end_of_run(&self, position: u64) -> Option<u64> {
        let at = self.0.partition_point(|run| run.1 < position);
        self.0.get(at).filter(|run| run.0 < position).map(|run| run.1)
    }

    /// 16 bytes a run, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()]).flatten().collect()
    }

    /// `None` if the bytes are damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (runs, []) = bytes.as_chunks::<16>() else { return None };
        let number = |half: &[u8]| half.first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
        Some(Self(runs.iter().map(|run| (number(&run[..8]), number(&run[8..]))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any part of a stream, had in any order: exactly that part is had.
        #[test]
        fn exactly_what_was_had_is_remembered(mut stream in proptest::collection::btree_set(1u64..10_000, 1..100), order in any::<u64>()) {
            let positions: Vec<u64> = std::mem::take(&mut stream).into_iter().collect();
            let mut had: Vec<usize> = (0..positions.len()).filter(|n| order >> (n % 64) & 1 == 1).collect();
            had.sort_by_key(|n| (*n as u64).wrapping_mul(order | 1));
            let mut runs = SeenRuns::default();
            for &n in &had {
                let before = n.checked_sub(1).map_or(0, |m| positions[m]);
                let place = Place { position: positions[n], before };
                prop_assert_eq!(runs.add(place), Noted::New);
                prop_assert_eq!(runs.add(place), Noted::Before);
            }
            let had: BTreeSet<usize> = had.into_iter().collect();
            for (n, position) in positions.iter().enumerate() {
                prop_assert_eq!(runs.contains(*position), had.contains(&n));
                let end = runs.end_of_run(*position);
                prop_assert_eq!(end.is_some(), had.contains(&n));
                let last = (n..positions.len()).take_while(|n| had.contains(n)).last();
                prop_assert_eq!(end, last.map(|n| positions[n]));
            }
            prop_assert_eq!(SeenRuns::decode(&runs.encode()), Some(runs));
        }
    }

    #[test]
    fn runs_join_and_are_bounded() {
        let mut runs = SeenRuns::default();
        for n in 1..=50 {
            runs.add(Place { position: n * 10, before: (n - 1) * 10 });
        }
        assert_eq!(runs, SeenRuns(vec![(0, 500)]));
        for n in 1..2 * SEEN_RUNS_MAX as u64 {
            let noted = runs.add(Place { position: 1_000 + n * 10 + 5, before: 1_000 + n * 10 });
            assert_eq!(noted, if n < SEEN_RUNS_MAX as u64 { Noted::New } else { Noted::Joined });
        }
        assert_eq!(runs.0.len(), SEEN_RUNS_MAX);
        assert!(runs.contains(700), "the oldest hole is given up");
    }
}
