//! Guests: sessions on a gateway that does not own their user. The sequences are in `docs/src/architecture/delivery.md`.
//!
//! | module | owns |
//! |---|---|
//! | `here` | users of other gateways with sessions here |
//! | `away` | users of ours with sessions on other gateways |
//! | `stays` | how those end |
//! | `rounds` | how the replays end that hosts asked for |
//! | `flow` | what is sent to a host, against its credit |
//! | `ownership` | what a new member list changes |

mod away;
mod flow;
mod here;
mod ownership;
mod rounds;
mod stays;

pub use self::here::{OwnerInfo, WantedLink};
use self::{away::Away, here::Here, ownership::Ownership};
use super::{Now, Shard};
use crate::crowd::Outgoing;

impl Shard {
    /// Lets what is under way with guests go on, at each tick.
    pub(super) fn go_on_with_guests(&mut self, now: Now, out: &mut dyn Outgoing) {
        self.go_on_placing();
        self.register_guests();
        self.go_on_inviting(now, out);
        self.answer_for_lost(out);
        self.ping_hosts(now);
    }
}

/// The guests of a shard, its own and others'.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) here: Here,
    pub(super) away: Away,
    pub(super) ownership: Ownership,
}
