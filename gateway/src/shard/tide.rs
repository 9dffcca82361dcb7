//! Whether a crowd has left a shard: its tables hold far less than they did, and no longer shrink. Then what the allocator keeps is
//! given back at once; else it is kept for a while, for most of it is soon used again.

/// Looks at which it is given back: what the allocator could not give back at the first, it does at the next.
const EBB_LOOKS: u32 = 2;

/// What tables held.
#[derive(Debug, Default)]
pub(super) struct Tide {
    /// Most since it ebbed last, bytes.
    high: u64,
    /// When it was looked at last, bytes.
    last: u64,
    /// Looks left of the ebb under way.
    ebb: u32,
}

impl Tide {
    /// Told what tables hold, now and then. True, for a few looks, once less than half is left of what they held, and no less than
    /// at the look before.
    pub(super) fn has_ebbed(&mut self, bytes: u64) -> bool {
        let falls = bytes < self.last;
        self.last = bytes;
        self.high = self.high.max(bytes);
        if !falls && bytes < self.high / 2 {
            self.high = bytes;
            self.ebb = EBB_LOOKS;
        }
        let ebbs = self.ebb > 0;
        self.ebb = self.ebb.saturating_sub(1);
        ebbs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_ebbed_when_a_crowd_has_left_and_not_while_it_leaves() {
        let mut tide = Tide::default();
        let looks =
            [0, 10, 90, 100, 70, 30, 5, 5, 5, 5, 60, 60, 31, 31, 20, 20, 20, 20].map(|bytes| tide.has_ebbed(bytes));
        let ebbs: Vec<usize> = (0..looks.len()).filter(|&at| looks[at]).collect();
        assert_eq!(ebbs, [7, 8, 15, 16]);
    }
}
