//! Whether a crowd has left a shard, or has come to rest: then what the allocator keeps is given back at once; else it is kept for a
//! while, for most of it is soon used again.

/// Looks at which it is given back: what the allocator could not give back at the first, and what a crowd's going needed itself, it gives
/// back at the next.
const EBB_LOOKS: u32 = 4;
/// Looks without a change of the tables after which a crowd rests: what its coming needed has been freed by then, and again after
/// what its first messages needed has.
const REST_LOOKS: [u32; 2] = [10, 30];

/// What tables held.
#[derive(Debug, Default)]
pub(super) struct Tide {
    /// Most since it ebbed last, bytes.
    high: u64,
    /// When it was looked at last, bytes.
    last: u64,
    /// Looks since that changed.
    still: u32,
    /// Looks left of the ebb under way.
    ebb: u32,
}

impl Tide {
    /// Told what tables hold, now and then. True, for a few looks, once less than half is left of what they held, and no less than
    /// at the look before; and each time they have not changed for a while.
    pub(super) fn has_ebbed(&mut self, bytes: u64) -> bool {
        let falls = bytes < self.last;
        self.still = if bytes == self.last { self.still.saturating_add(1) } else { 0 };
        self.last = bytes;
        self.high = self.high.max(bytes);
        let has_left = !falls && bytes < self.high / 2;
        if has_left {
            self.high = bytes;
        }
        if has_left || REST_LOOKS.contains(&self.still) {
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

    fn ebbs(looks: &[u64]) -> Vec<usize> {
        let mut tide = Tide::default();
        let told: Vec<bool> = looks.iter().map(|bytes| tide.has_ebbed(*bytes)).collect();
        (0..looks.len()).filter(|&at| told[at]).collect()
    }

    #[test]
    fn it_has_ebbed_when_a_crowd_has_left_and_not_while_it_leaves() {
        let looks = [0, 10, 90, 100, 70, 30, 5, 5, 5, 5, 60, 60, 31, 31, 20, 20, 20, 20];
        assert_eq!(ebbs(&looks), [7, 8, 9, 10, 15, 16, 17]);
    }

    #[test]
    fn a_crowd_that_has_come_rests_after_a_while_and_is_not_disturbed_again_and_again() {
        let mut looks = vec![40, 80];
        looks.extend([100; 200]);
        assert_eq!(ebbs(&looks), [12, 13, 14, 15, 32, 33, 34, 35]);
        // While clients come and go there is no rest.
        assert!(ebbs(&(0..200).map(|n| 100 + n % 2).collect::<Vec<_>>()).is_empty());
    }
}
