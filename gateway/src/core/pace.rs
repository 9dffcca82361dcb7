//! Clients that are behind. While all sessions that a push is for are, its user is replayed: further pushes go to the stream
//! and come as fast as the client follows. It is live again once a session has caught up. A client is closed for slowness
//! only when its socket takes nothing for long.

use pushgate_protocol::close::CloseCode;

use super::{Now, Shard, outbox::Outbox};
use crate::{
    crowd::Outgoing,
    limits::{BEHIND_SHARE, CAUGHT_UP_SHARE, STAGED_BYTES_MAX},
};

impl Shard {
    /// Whether a push of a live user must wait in the stream, because each session it is for is behind.
    pub(super) fn must_hold_back(&self, user: u32, push_bytes: usize, targets: &[u32], out: &dyn Outgoing) -> bool {
        let live = self.users.user(user).is_some_and(|u| u.replaying.is_none());
        let (count_max, bytes_max) =
            (self.settings.unacked_max / BEHIND_SHARE, self.settings.outbox_bytes_max / BEHIND_SHARE);
        live && targets.iter().all(|&slot| {
            let (count, bytes) = self.under_way(slot, out);
            count >= count_max.max(1) || bytes >= bytes_max || self.is_full(slot, out, push_bytes)
        })
    }

    /// Whether every session of the user is behind still, and every host of such.
    pub(super) fn is_behind(&self, user: u32, out: &dyn Outgoing) -> bool {
        self.slots_of(user).all(|slot| !self.has_caught_up(slot, out)) && self.guests.away.all_wait(user)
    }

    fn has_caught_up(&self, slot: u32, out: &dyn Outgoing) -> bool {
        let (count, bytes) = self.under_way(slot, out);
        count <= self.settings.unacked_max / CAUGHT_UP_SHARE
            && bytes <= self.settings.outbox_bytes_max / CAUGHT_UP_SHARE
    }

    /// A replayed push found no room. If the user has no session that is not behind, another round brings it once one has
    /// caught up; else its replayer tries again.
    pub(super) fn note_no_room(&mut self, slot: u32, out: &dyn Outgoing) {
        let Some(user) = self.slots.session(slot).map(|s| s.user) else {
            return;
        };
        if self.is_behind(user, out)
            && let Some(replaying) = self.users.user_mut(user).and_then(|u| u.replaying.as_deref_mut())
        {
            replaying.again = true;
        }
    }

    /// A session may have caught up: if its user's replay waited for that, it goes on.
    pub(super) fn note_progress(&mut self, slot: u32, out: &dyn Outgoing) {
        if self.metrics.replaying == 0 {
            return;
        }
        let Some(user) = self.slots.session(slot).map(|s| s.user) else {
            return;
        };
        let waits = self.users.user(user).and_then(|u| u.replaying.as_deref()).is_some_and(|r| r.waits_at.is_some());
        if waits && self.has_caught_up(slot, out) {
            self.resume_replay(user);
        }
    }

    /// Pushes and bytes under way to a session that has an outbox.
    fn under_way(&self, slot: u32, out: &dyn Outgoing) -> (usize, usize) {
        let (Some(conn), Some(session)) = (self.slots.conn(slot), self.slots.session(slot)) else {
            return (0, 0);
        };
        session.outbox.as_deref().map_or((0, 0), |o| (o.len(), o.waiting_bytes() + out.backlog(conn)))
    }

    /// Whether one more push of this size is too much for a session.
    pub(super) fn is_full(&self, slot: u32, out: &dyn Outgoing, bytes: usize) -> bool {
        self.slots.conn(slot).is_none_or(|conn| {
            let backlog = out.backlog(conn);
            self.is_full_with(slot, backlog, bytes) || self.is_crowded(slot, backlog, bytes, self.waits_in(slot))
        })
    }

    /// The same, for a session whose connection has `backlog` bytes waiting.
    pub(super) fn is_full_with(&self, slot: u32, backlog: usize, bytes: usize) -> bool {
        let outbox = self.slots.session(slot).and_then(|s| s.outbox.as_deref());
        let (count, waiting_bytes) = outbox.map_or((0, 0), |o| (o.len(), o.waiting_bytes()));
        let bytes_before = backlog + waiting_bytes;
        // A push larger than the whole outbox may go when nothing is before it.
        count >= self.settings.unacked_max
            || (bytes_before > 0 && bytes_before + bytes > self.settings.outbox_bytes_max)
    }

    /// Whether the outboxes of the shard hold too much for a push that would wait in this session's. If `before` waited in
    /// it, as much may again: at the bound it gets room from its own.
    pub(super) fn is_crowded(&self, slot: u32, backlog: usize, bytes: usize, before: usize) -> bool {
        if self.waiting.bytes() + bytes <= self.settings.outboxes_bytes_max {
            return false;
        }
        let outbox = self.slots.session(slot).and_then(|s| s.outbox.as_deref());
        let waits = backlog >= STAGED_BYTES_MAX || outbox.is_some_and(Outbox::has_waiting);
        waits && self.waits_in(slot) + bytes > before
    }

    /// Bytes that wait in a session's outbox.
    pub(super) fn waits_in(&self, slot: u32) -> usize {
        self.slots.session(slot).and_then(|s| s.outbox.as_deref()).map_or(0, Outbox::waiting_bytes)
    }

    /// Closes a session whose socket has taken nothing of what waits for it for too long. Called on each pass of the clocks.
    pub(super) fn close_if_stalled(&mut self, now: Now, slot: u32, out: &mut dyn Outgoing) {
        let Some(backlog) = self.slots.conn(slot).map(|conn| out.backlog(conn)) else {
            return;
        };
        let outbox = self.slots.session_mut(slot).and_then(|s| s.outbox.as_deref_mut());
        let Some(still_ms) = outbox.map(|o| o.still_ms(now.mono_ms, backlog)) else {
            return;
        };
        if still_ms >= self.settings.write_timeout_ms {
            self.metrics.outbox_closes += 1;
            self.end(now, slot, Some((CloseCode::SLOW, "the socket took nothing for too long")), out);
        } else {
            self.note_progress(slot, out);
        }
    }
}
