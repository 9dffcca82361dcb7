//! The tag of an operation: what was asked and for which connection, packed into the 64 bits the kernel hands back.

use crate::{crowd::ConnId, limits::CROWD_SOCKETS_MAX};

/// What was asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Multishot receive.
    Receive,
    /// One send; the slot is the index in its batch.
    Send,
    /// Wait until the socket takes bytes again.
    Writable,
    /// Cancel the receive.
    Hush,
    /// Send FIN.
    Shutdown,
    /// Cancel whatever is under way.
    Cancel,
    /// Close the direct descriptor.
    Close,
}

const OPS: [Op; 7] = [Op::Receive, Op::Send, Op::Writable, Op::Hush, Op::Shutdown, Op::Cancel, Op::Close];
const SLOT_BITS: u32 = CROWD_SOCKETS_MAX.trailing_zeros();
const OP_BITS: u32 = 8;

const _: () = assert!(CROWD_SOCKETS_MAX.is_power_of_two() && SLOT_BITS + OP_BITS + 32 <= 64);

pub(super) fn pack(op: Op, conn: ConnId) -> u64 {
    debug_assert!(conn.slot < CROWD_SOCKETS_MAX, "slot {} is beyond the tag", conn.slot);
    u64::from(conn.generation) << 32 | (op as u64) << SLOT_BITS | u64::from(conn.slot)
}

/// `None` for a tag that was never packed.
pub(super) fn unpack(tag: u64) -> Option<(Op, ConnId)> {
    let op = *OPS.get((tag >> SLOT_BITS & 0xff) as usize)?;
    Some((op, ConnId { slot: tag as u32 & (CROWD_SOCKETS_MAX - 1), generation: (tag >> 32) as u32 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_packing() {
        for op in OPS {
            for slot in [0, 1, CROWD_SOCKETS_MAX - 1] {
                for generation in [0, 1, u32::MAX] {
                    let conn = ConnId { slot, generation };
                    assert_eq!(unpack(pack(op, conn)), Some((op, conn)));
                }
            }
        }
        assert_eq!(unpack(u64::MAX), None);
    }
}
