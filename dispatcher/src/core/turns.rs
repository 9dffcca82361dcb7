//! Whose turn it is among lanes: strictly the highest first, and a lane that waited long before the others.

use pushgate_protocol::link::Lane;

use crate::limits;

/// The turns of a worker's lanes. A lane from which nothing was taken while so many batches of others were as
/// [`limits::LANE_WAIT`] says comes before the higher ones, once.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// Batches of other lanes since each had its last.
    waited: [u32; Lane::ALL.len()],
}

impl Turns {
    /// The lanes in the order in which the next batch is looked for.
    pub fn order(&self) -> [Lane; Lane::ALL.len()] {
        let mut order = Lane::ALL;
        // Stable: lanes that did not wait too long keep their order.
        order.sort_by_key(|lane| {
            let waited = self.waited[*lane as usize];
            std::cmp::Reverse(if waited >= limits::LANE_WAIT { waited } else { 0 })
        });
        order
    }

    /// A batch of this lane was taken.
    pub fn took(&mut self, lane: Lane) {
        for waited in &mut self.waited {
            *waited = waited.saturating_add(1);
        }
        self.waited[lane as usize] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose the batches are, as long as each of these lanes always has one.
    fn batches(turns: &mut Turns, full: &[Lane], count: u32) -> Vec<Lane> {
        let mut take = || {
            let lane = turns.order().into_iter().find(|lane| full.contains(lane)).unwrap();
            turns.took(lane);
            lane
        };
        (0..count).map(|_| take()).collect()
    }

    fn of(taken: &[Lane], lane: Lane) -> usize {
        taken.iter().filter(|other| **other == lane).count()
    }

    #[test]
    fn the_highest_lane_comes_first() {
        let mut turns = Turns::default();
        assert_eq!(batches(&mut turns, &Lane::ALL, limits::LANE_WAIT), vec![Lane::High; 16]);
        assert_eq!(batches(&mut Turns::default(), &[Lane::Normal, Lane::Low], 3), [Lane::Normal; 3]);
    }

    #[test]
    fn no_full_lane_starves_the_ones_below_it() {
        let rounds = 100;
        let taken = batches(&mut Turns::default(), &Lane::ALL, rounds * (limits::LANE_WAIT + 1));
        for lane in [Lane::Normal, Lane::Low] {
            let many = of(&taken, lane);
            assert!((rounds as usize - 1..=rounds as usize).contains(&many), "{lane:?}: {many}");
        }
        let taken = batches(&mut Turns::default(), &[Lane::Normal, Lane::Low], rounds * (limits::LANE_WAIT + 1));
        assert_eq!(of(&taken, Lane::Low), rounds as usize);
    }

    #[test]
    fn a_lane_that_was_empty_for_long_has_one_turn_and_not_many() {
        let mut turns = Turns::default();
        batches(&mut turns, &[Lane::High], 10 * limits::LANE_WAIT);
        assert_eq!(batches(&mut turns, &[Lane::High, Lane::Low], 3), [Lane::Low, Lane::High, Lane::High]);
    }

    #[test]
    fn the_high_lane_waits_for_one_batch_of_each_other_at_most() {
        let mut turns = Turns::default();
        batches(&mut turns, &[Lane::Normal], 10 * limits::LANE_WAIT);
        // High waited too, the longest of all with low.
        let taken = batches(&mut turns, &Lane::ALL, 60);
        let longest = taken.split(|lane| *lane == Lane::High).map(<[Lane]>::len).max();
        assert!(longest <= Some(2), "{taken:?}");
    }
}
