//! The ring's points, sorted, with an index by their leading bits: a lookup reads one slot and one or two points.

/// Sorted points and where each slot of places begins among them.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Places of the points, rising.
    places: Vec<u64>,
    /// Who stands there, by point.
    owners: Vec<u32>,
    /// By the leading bits of a place: the first point that does not lie before the slot. At least twice as many as points, so
    /// that the points of one slot are few.
    starts: Vec<u32>,
    /// How far a place is shifted to give its slot.
    shift: u32,
}

impl Slots {
    /// The table of these (place, owner); of points at one place the least owner counts.
    pub(super) fn new(mut points: Vec<(u64, u32)>) -> Self {
        points.sort_unstable();
        let bits = (2 * points.len().max(1)).next_power_of_two().trailing_zeros();
        let shift = 64 - bits;
        let mut starts = vec![0; 1 << bits];
        let mut at = 0;
        for (slot, start) in starts.iter_mut().enumerate() {
            while points.get(at).is_some_and(|(place, _)| place >> shift < slot as u64) {
                at += 1;
            }
            *start = at as u32;
        }
        let (places, owners) = points.into_iter().unzip();
        Self { places, owners, starts, shift }
    }

    /// Who owns a place: whoever stands there or next after it; after the last, the first.
    pub(super) fn owner(&self, place: u64) -> Option<u32> {
        let start = *self.starts.get((place >> self.shift) as usize)? as usize;
        let after = self.places[start..].iter().position(|&p| p >= place);
        self.owners.get(after.map_or(0, |n| start + n)).copied()
    }

    /// Points and their owners, rising.
    pub(super) fn points(&self) -> impl Iterator<Item = (u64, u32)> {
        self.places.iter().copied().zip(self.owners.iter().copied())
    }

    /// How many points.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use hashring::HashRing;
    use proptest::prelude::*;

    use super::*;
    use crate::ring::tests::{Placed, Point, UserPlace};

    proptest! {
        #[test]
        fn the_table_answers_like_the_plain_ring(
            places in prop::collection::hash_set(any::<u64>(), 0..200),
            near in any::<u64>(),
            asked in prop::collection::vec(any::<u64>(), 50),
        ) {
            // Some lie close together, so that one slot holds many.
            let close = (0..20).map(|n| near.wrapping_add(n * n));
            let mut places: Vec<u64> = places.into_iter().chain(close).collect();
            places.sort_unstable();
            places.dedup();
            let points: Vec<(u64, u32)> = places.into_iter().zip(0..).collect();
            let mut ring = HashRing::with_hasher(Placed);
            ring.batch_add(points.iter().map(|&(place, owner)| Point { place, owner }).collect());
            let slots = Slots::new(points.clone());
            let edges = points.iter().flat_map(|&(p, _)| [p.wrapping_sub(1), p, p.wrapping_add(1)]);
            for place in asked.into_iter().chain(edges).chain([0, u64::MAX]) {
                prop_assert_eq!(slots.owner(place), ring.get(&UserPlace(place)).map(|p| p.owner));
            }
        }
    }

    #[test]
    fn an_empty_table_has_no_owner() {
        assert_eq!(Slots::new(Vec::new()).owner(7), None);
        assert_eq!(Slots::default().owner(7), None);
    }
}
