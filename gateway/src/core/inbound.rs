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

impl Shard {
    /// Counts what came; past the budget of the tick nothing more is received from the session.
    pub(super) fn spend_inbound(&mut self, conn: ConnId, bytes: usize, out: &mut dyn Outgoing) {
        let spent = self.inbound.heard.entry(conn.slot).or_default();
        let before = *spent;
        *spent += bytes;
        if before <= INBOUND_BYTES_PER_TICK && *spent > INBOUND_BYTES_PER_TICK {
            self.metrics.inbound_pauses += 1;
            self.inbound.paused.push(conn);
            out.pause(conn, true);
        }
    }

    /// A tick is over: everyone may send again.
    pub(super) fn renew_inbound(&mut self, out: &mut dyn Outgoing) {
        for conn in std::mem::take(&mut self.inbound.paused) {
            if self.slots.holds(conn) {
                out.pause(conn, false);
            }
        }
        if self.inbound.heard.capacity() > INBOUND_TABLE_KEPT {
            self.inbound.heard = HashMap::new();
        } else {
            self.inbound.heard.clear();
        }
    }
}
