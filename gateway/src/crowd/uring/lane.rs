//! What is to be done on one ring: queues of connections, emptied at each flush, and how many connections it has.

use std::collections::VecDeque;

use super::tag::Op;
use crate::crowd::{ConnId, queue::shrink};

/// The queues and the count of one ring.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Connections of the ring.
    pub(super) held: u32,
    /// Operations to ask of the kernel, in order.
    pub(super) orders: VecDeque<(Op, ConnId)>,
    /// Connections with something to send.
    pub(super) listed: VecDeque<ConnId>,
    /// Waiting for receive buffers, and got nothing since they last received. They come first: otherwise one flooder at the
    /// head of the queue would empty the buffers every time.
    pub(super) starved: VecDeque<ConnId>,
    /// Waiting for receive buffers, and got something.
    pub(super) fed: VecDeque<ConnId>,
}

impl Lane {
    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.listed.is_empty() && self.starved.is_empty() && self.fed.is_empty()
    }

    /// The next that waits for a receive buffer.
    pub(super) fn next_hungry(&mut self) -> Option<ConnId> {
        self.starved.pop_front().or_else(|| self.fed.pop_front())
    }

    /// Gives back the memory of queues that a burst has grown.
    pub(super) fn shrink(&mut self) {
        shrink(&mut self.orders);
        shrink(&mut self.listed);
        shrink(&mut self.starved);
        shrink(&mut self.fed);
    }
}
