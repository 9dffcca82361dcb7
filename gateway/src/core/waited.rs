//! Bytes that wait in outboxes, of one and of all of a shard.

use std::{cell::Cell, rc::Rc};

/// What waits in all outboxes of a shard.
#[derive(Debug, Clone, Default)]
pub(super) struct AllWaiting(Rc<Cell<usize>>);

/// What waits in one of them. Dropped, nothing of it waits any more.
#[derive(Debug)]
pub(super) struct Waited {
    bytes: usize,
    all: AllWaiting,
}

impl AllWaiting {
    pub(super) fn bytes(&self) -> usize {
        self.0.get()
    }
}

impl Waited {
    pub(super) fn nothing(all: &AllWaiting) -> Self {
        Self { bytes: 0, all: all.clone() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.0.update(|all| all + bytes);
    }

    pub(super) fn subtract(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.all.0.update(|all| all - bytes);
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        self.subtract(self.bytes);
    }
}
