//! How much of what an account has.

use super::Account;

impl Account {
    /// Parcels that wait for a worker.
    pub fn waiting(&self) -> usize {
        self.unchecked.len() + self.queue.len()
    }

    /// Parcels here.
    pub fn len(&self) -> usize {
        self.unchecked.len() + self.queue.len() + self.attempts.len()
    }

    /// Whether no parcel is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Attempts under way.
    pub fn under_way(&self) -> usize {
        self.queue.busy()
    }
}
