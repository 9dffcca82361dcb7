//! How far two clocks are apart, by round trips: the other's time was read between when it was asked for and when the answer came, so the shortest
//! round trip tells it best, to half of what it took (Cristian, Distributed Computing 3, 1989).

use serde::{Deserialize, Serialize};

/// What was measured of the leader's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// How far it is ahead of this process's, microseconds.
    pub ahead_us: i64,
    /// It is no further from that than this, microseconds.
    pub bound_us: u64,
    /// How far they have certainly drifted apart since, microseconds.
    pub drift_us: u64,
}

/// One round trip, by this process's clock but for what the leader read.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundTrip {
    pub(super) asked_us: u64,
    pub(super) leader_us: u64,
    pub(super) answered_us: u64,
}

impl RoundTrip {
    fn took_us(&self) -> u64 {
        self.answered_us.saturating_sub(self.asked_us)
    }

    fn offset(&self) -> Offset {
        let took_us = self.took_us();
        let middle_us = self.asked_us.saturating_add(took_us / 2);
        Offset {
            ahead_us: (self.leader_us as i64).saturating_sub(middle_us as i64),
            // Half, rounded up, and a microsecond for each reading.
            bound_us: took_us.div_ceil(2) + 2,
            drift_us: 0,
        }
    }
}

impl Offset {
    /// By the shortest of these.
    pub(super) fn measured(trips: &[RoundTrip]) -> Self {
        trips.iter().min_by_key(|trip| trip.took_us()).map(RoundTrip::offset).unwrap_or_default()
    }

    /// Takes in a later round trip, by the clock that was set by this offset.
    pub(super) fn look_again(&mut self, trip: &RoundTrip) {
        let Self { ahead_us, bound_us, .. } = trip.offset();
        self.drift_us = self.drift_us.max(ahead_us.unsigned_abs().saturating_sub(bound_us + self.bound_us));
    }

    /// How wrong a time may be that is taken between the two clocks, microseconds.
    pub fn error_us(&self) -> u64 {
        self.bound_us.saturating_add(self.drift_us)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_US: u64 = 1_790_000_000_000_000;

    fn trip(ahead_us: i64, there_us: u64, back_us: u64) -> RoundTrip {
        let leader_us = (NOW_US + there_us).saturating_add_signed(ahead_us);
        RoundTrip { asked_us: NOW_US, leader_us, answered_us: NOW_US + there_us + back_us }
    }

    proptest! {
        #[test]
        fn the_offset_lies_within_its_bound_however_the_delays_are_split(
            ahead_us in -86_400_000_000i64..86_400_000_000,
            delays in prop::collection::vec((0u64..2_000_000, 0u64..2_000_000), 1..20),
        ) {
            let trips: Vec<_> = delays.iter().map(|(there, back)| trip(ahead_us, *there, *back)).collect();
            let mut offset = Offset::measured(&trips);
            prop_assert!(offset.ahead_us.abs_diff(ahead_us) <= offset.bound_us);
            let shortest = delays.iter().map(|(there, back)| there + back).min().unwrap();
            prop_assert!(offset.bound_us <= shortest / 2 + 3);
            // Clocks that stay as they are have not drifted.
            delays.iter().for_each(|(there, back)| offset.look_again(&trip(ahead_us - offset.ahead_us, *there, *back)));
            prop_assert_eq!(offset.drift_us, 0);
        }
    }

    #[test]
    fn clocks_that_drift_are_told() {
        let mut offset = Offset::measured(&[trip(500, 10, 10)]);
        offset.look_again(&trip(5_000, 50, 50));
        assert!((4_900..5_000).contains(&offset.drift_us), "{offset:?}");
    }
}
