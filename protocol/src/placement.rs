//! Placement: which shard of a gateway owns a user.
//!
//! `shard = hash(app, user) mod shards`, the same on gateway and dispatcher. The hash is XXH3-64 with the gateway's
//! seed (sent in the link handshake) over `app 0x00 user`; ids hold no control characters, so the text is unambiguous.

use std::cell::RefCell;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::ShardId;

/// Hash of a user, seeded.
pub fn user_hash(seed: u64, app: &str, user: &str) -> u64 {
    thread_local! {
        static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    KEY.with_borrow_mut(|key| {
        key.clear();
        key.extend_from_slice(app.as_bytes());
        key.push(0);
        key.extend_from_slice(user.as_bytes());
        xxh3_64_with_seed(key, seed)
    })
}

/// The shard, of `shards` (at least 1), that owns the user with this hash.
pub fn shard_of(hash: u64, shards: u16) -> ShardId {
    debug_assert!(shards > 0, "a gateway has at least one shard");
    ShardId((hash % u64::from(shards.max(1))) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_and_user_do_not_run_together() {
        assert_ne!(user_hash(1, "ab", "c"), user_hash(1, "a", "bc"));
        assert_ne!(user_hash(1, "a", "b"), user_hash(2, "a", "b"));
    }

    #[test]
    fn users_spread_evenly_over_shards() {
        let mut counts = [0u32; 4];
        for n in 0..40_000 {
            counts[shard_of(user_hash(9, "app", &format!("user-{n}")), 4).0 as usize] += 1;
        }
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
    }
}
