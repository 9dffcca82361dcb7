//! What one session may send in a tick: a client that floods is not received from until the next.

use hashbrown::HashMap;

use crate::{
    crowd::{ConnId, Outgoing},
    limits::{INBOUND_BYTES_PER_TICK, INBOUND_TABLE_KEPT},
};

use super::Shard;

/// Bytes of this tick by slot, and who waits for the next.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    heard: HashMap<u32, usize>,
    paused: Vec<ConnId>,
}

impl Inbound {
    /// Counts bytes of a connection; whether it passed the budget of the tick just now.
    fn spend(&mut self, conn: ConnId, bytes: usize) -> bool {
        let spent = self.heard.entry(conn.slot).or_default();
        let before = *spent;
        *spent += bytes;
        let passed = before <= INBOUND_BYTES_PER_TICK && *spent > INBOUND_BYTES_PER_TICK;
        if passed {
            self.paused.push(conn);
        }
        passed
    }

    /// Gives back the room that nothing is in.
    pub(super) fn rest(&mut self) {
        if self.heard.is_empty() {
            self.heard = HashMap::new();
        }
    }

    /// A new tick: who waited for it.
    fn renew(&mut self) -> Vec<ConnId> {
        if self.heard.capacity() > INBOUND_TABLE_KEPT {
            self.heard = HashMap::new();
        } else {
            self.heard.clear();
        }
        std::mem::take(&mut self.paused)
    }
}

impl Shard {
    /// Counts what came; past the budget of the tick nothing more is received from the session.
    pub(super) fn spend_inbound(&mut self, conn: ConnId, bytes: usize, out: &mut dyn Outgoing) {
        if self.inbound.spend(conn, bytes) {
            self.metrics.inbound_pauses += 1;
            out.pause(conn, true);
        }
    }

    /// A tick is over: everyone may send again.
    pub(super) fn renew_inbound(&mut self, out: &mut dyn Outgoing) {
        for conn in self.inbound.renew() {
            if self.slots.holds(conn) {
                out.pause(conn, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_a_crowd_needed_in_one_tick_is_not_kept() {
        let mut inbound = Inbound::default();
        let heard = |inbound: &mut Inbound, slots: u32| {
            (0..slots).for_each(|slot| assert!(!inbound.spend(ConnId { slot, generation: 0 }, 1)));
            assert!(inbound.renew().is_empty());
            inbound.heard.capacity()
        };
        assert!(heard(&mut inbound, 100) >= 100, "room for a few is kept");
        inbound.rest();
        assert_eq!(inbound.heard.capacity(), 0, "but not at rest");
        assert_eq!(heard(&mut inbound, INBOUND_TABLE_KEPT as u32 + 1), 0);
    }
}
