//! What the log tells of dead letters.

use std::time::{Duration, Instant};

use pushgate_protocol::link::Lane;
use tracing::{info, warn};

use crate::{limits, seams::DeadRecord};

/// Says what is buried: each record while they are few, else how many.
#[derive(Default)]
pub(super) struct BurialLog {
    second: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl BurialLog {
    pub(super) fn tell(&mut self, lane: Lane, record: &DeadRecord) {
        if self.second.is_none_or(|since| since.elapsed() >= Duration::from_secs(1)) {
            if self.unsaid > 0 {
                info!(lane = lane.as_str(), count = self.unsaid, "more dead letters");
            }
            *self = Self { second: Some(Instant::now()), ..Self::default() };
        }
        if self.said < limits::LANE_BURIALS_SAID {
            self.said += 1;
            warn!(lane = lane.as_str(), origin = %record.origin, reason = %record.reason, "dead letter");
        } else {
            self.unsaid += 1;
        }
    }
}
