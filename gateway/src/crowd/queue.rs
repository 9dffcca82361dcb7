//! Queues that a burst has grown.
//!
//! What rests keeps next to nothing: a block of some kilobytes that stays has the allocator keep the run of such blocks that it is in, and so
//! half a megabyte of what a crowd needed.

use std::collections::VecDeque;

/// Room for this many is kept while a queue is in use.
pub(super) const KEPT: usize = 1_024;
/// Room for this many is kept by a queue that nothing is in when its owner rests.
pub(super) const KEPT_AT_REST: usize = 64;

/// Gives back the memory of a queue that is empty.
pub(super) fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > KEPT_AT_REST {
        *queue = VecDeque::new();
    }
}
