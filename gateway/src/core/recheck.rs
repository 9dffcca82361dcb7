//! Ending sessions whose token was revoked after they began: a walk over the slots, a part of it at each tick. What comes in
//! behind it was checked with what it is for.

use pushgate_protocol::close::CloseCode;

use super::{Bearer, Now, Shard};
use crate::{
    crowd::Outgoing,
    limits::{RECHECK_ENDS_PER_TICK, RECHECK_VISITS_PER_TICK},
};

/// Where the walk stands.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    cursor: u32,
    left: u32,
    /// How many slots there were at the last tick.
    slots: u32,
}

impl Shard {
    /// Something was revoked: asks [`super::ShardSettings::revoked`] about every session, in the ticks that follow.
    pub fn recheck_tokens(&mut self) {
        let slots = self.slots.len();
        let recheck = &mut self.provenances.recheck;
        (recheck.left, recheck.slots) = (slots, slots);
    }

    pub(super) fn go_on_rechecking(&mut self, now: Now, out: &mut dyn Outgoing) {
        let mut ends = 0;
        let slots = self.slots.len();
        let recheck = &mut self.provenances.recheck;
        if recheck.left > 0 {
            // The walk comes by them before it comes back to where it began.
            recheck.left += slots - recheck.slots;
        }
        recheck.slots = slots;
        for _ in 0..self.provenances.recheck.left.min(RECHECK_VISITS_PER_TICK) {
            let recheck = &mut self.provenances.recheck;
            recheck.cursor = (recheck.cursor + 1) % self.slots.len();
            recheck.left -= 1;
            let slot = recheck.cursor;
            if !self.is_revoked(now, slot) {
                continue;
            }
            self.metrics.revoked_closes += 1;
            self.end(now, slot, Some((CloseCode::REVOKED, "the token was revoked")), out);
            ends += 1;
            if ends == RECHECK_ENDS_PER_TICK {
                break;
            }
        }
    }

    fn is_revoked(&self, now: Now, slot: u32) -> bool {
        let Some(session) = self.slots.session(slot) else { return false };
        let Some(user) = self.users.user(session.user) else { return false };
        let device = session.device.as_deref();
        let token = self.provenances.token(slot);
        (self.settings.revoked)(Bearer { app: user.app.as_str(), user: &user.id, device, token }, now)
    }
}
