//! The tag of an operation: what was asked and for which connection, in the 64 bits that the kernel hands back.

/// What was asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Connect to the server.
    Connect,
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
    /// Cancel the connect of a connection that ends.
    CancelConnect,
    /// Cancel its receive.
    CancelReceive,
    /// Cancel its wait.
    CancelWritable,
    /// Close the direct descriptor.
    Close,
}

const OPS: [Op; 10] = [
    Op::Connect,
    Op::Receive,
    Op::Send,
    Op::Writable,
    Op::Hush,
    Op::Shutdown,
    Op::CancelConnect,
    Op::CancelReceive,
    Op::CancelWritable,
    Op::Close,
];

/// One connection of a client: its slot, which is its direct descriptor, and which of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conn {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

pub(super) fn pack(op: Op, conn: Conn) -> u64 {
    debug_assert!(conn.slot < 1 << 24, "a ring has fewer slots than the tag can tell");
    u64::from(conn.generation) << 32 | (op as u64) << 24 | u64::from(conn.slot)
}

/// `None` for a tag that was never packed.
pub(super) fn unpack(tag: u64) -> Option<(Op, Conn)> {
    let op = *OPS.get((tag >> 24 & 0xff) as usize)?;
    Some((op, Conn { slot: tag as u32 & 0xff_ffff, generation: (tag >> 32) as u32 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_packing() {
        for op in OPS {
            let conn = Conn { slot: crate::limits::RING_CLIENTS_MAX - 1, generation: u32::MAX };
            assert_eq!(unpack(pack(op, conn)), Some((op, conn)));
        }
        assert_eq!(unpack(u64::MAX), None);
    }
}
