//! Queues that a burst has grown.

use std::collections::VecDeque;

/// Room for this many is kept.
pub(super) const KEPT: usize = 1_024;

/// Gives back the memory of a queue that is empty.
pub(super) fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
}
