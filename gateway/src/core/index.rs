//! Finding users by their hash: linear hashing (Litwin 1980), in chains that run through the users themselves.
//!
//! Buckets are four bytes each, and come and go one by one as users do, so neither growing nor shrinking ever
//! stops the shard, and what a crowd needed comes back when it has left. A link to a user holds seven bits of its hash: who is
//! not meant is passed by without its id being looked at.

use crate::chunked::Ground;

/// Buckets that come and go together: those of a page.
const CHUNK: usize = 1_024;
/// More users than this for so many buckets, and a bucket is split in two.
const SPLIT_AT: (usize, usize) = (2, 3);
/// Fewer, and two become one.
const JOIN_AT: (usize, usize) = (1, 2);
const INDEX_BITS: u32 = 25;

/// The next user of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(u32);

impl Link {
    /// There is none.
    pub(super) const END: Self = Self(u32::MAX);

    fn to(index: u32, spread: u64) -> Self {
        debug_assert!(index < (1 << INDEX_BITS) - 1, "user {index} is beyond a link");
        Self((spread as u32) << INDEX_BITS | index)
    }

    fn index(self) -> Option<u32> {
        (self != Self::END).then_some(self.0 & ((1 << INDEX_BITS) - 1))
    }

    /// Whether it may lead to a user of this hash.
    fn fits(self, spread: u64) -> bool {
        self.0 >> INDEX_BITS == (spread as u32) & ((1 << (32 - INDEX_BITS)) - 1)
    }
}

/// Where chains run.
pub(super) trait Chained {
    fn next(&self, index: u32) -> Link;
    fn set_next(&mut self, index: u32, next: Link);
    fn hash(&self, index: u32) -> u64;
}

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Index {
    heads: Ground<Link, CHUNK>,
    buckets: usize,
    len: usize,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.heads.bytes()
    }

    /// The first whose hash resembles this one and who `is` meant.
    pub(super) fn find(&self, chains: &impl Chained, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.buckets == 0 {
            return None;
        }
        let spread = spread(hash);
        let mut link = self.head(bucket(spread, self.buckets));
        while let Some(index) = link.index() {
            if link.fits(spread) && is(index) {
                return Some(index);
            }
            link = chains.next(index);
        }
        None
    }

    /// Adds a user, who must not be there.
    pub(super) fn insert(&mut self, chains: &mut impl Chained, hash: u64, index: u32) {
        self.len += 1;
        while self.buckets * SPLIT_AT.0 < self.len * SPLIT_AT.1 {
            self.split(chains);
        }
        self.chain(chains, hash, index);
    }

    /// Takes a user out.
    pub(super) fn remove(&mut self, chains: &mut impl Chained, hash: u64, index: u32) {
        if self.buckets == 0 {
            return;
        }
        let bucket = bucket(spread(hash), self.buckets);
        let (mut before, mut link) = (None, self.head(bucket));
        while let Some(at) = link.index() {
            let next = chains.next(at);
            if at == index {
                match before {
                    Some(before) => chains.set_next(before, next),
                    None => self.set_head(bucket, next),
                }
                self.len -= 1;
                break;
            }
            (before, link) = (Some(at), next);
        }
        while self.buckets > 0 && self.len * JOIN_AT.1 < self.buckets * JOIN_AT.0 {
            self.join(chains);
        }
    }

    /// Puts a user in front of its chain.
    fn chain(&mut self, chains: &mut impl Chained, hash: u64, index: u32) {
        let spread = spread(hash);
        let bucket = bucket(spread, self.buckets);
        chains.set_next(index, self.head(bucket));
        self.set_head(bucket, Link::to(index, spread));
    }

    /// One bucket more: half of the chain of the one that it is split from goes there.
    fn split(&mut self, chains: &mut impl Chained) {
        let new = self.buckets;
        self.heads.get_or_make(new / CHUNK, |_| Link::END);
        self.buckets += 1;
        self.set_head(new, Link::END);
        if new == 0 {
            return;
        }
        let old = partner(new);
        let mut link = self.head(old);
        self.set_head(old, Link::END);
        while let Some(index) = link.index() {
            link = chains.next(index);
            let hash = chains.hash(index);
            self.chain(chains, hash, index);
        }
    }

    /// One bucket less: its chain goes behind that of the one that it was split from.
    fn join(&mut self, chains: &mut impl Chained) {
        self.buckets -= 1;
        let (last, chain) = (self.buckets, self.head(self.buckets));
        if last > 0 && chain != Link::END {
            let old = partner(last);
            let mut link = self.head(old);
            let mut tail = None;
            while let Some(index) = link.index() {
                (tail, link) = (Some(index), chains.next(index));
            }
            match tail {
                Some(tail) => chains.set_next(tail, chain),
                None => self.set_head(old, chain),
            }
        }
        if last % CHUNK == 0 {
            self.heads.clear(last / CHUNK);
        }
    }

    fn head(&self, bucket: usize) -> Link {
        self.heads.get(bucket / CHUNK).map_or(Link::END, |heads| heads[bucket % CHUNK])
    }

    fn set_head(&mut self, bucket: usize, link: Link) {
        if let Some(heads) = self.heads.get_mut(bucket / CHUNK) {
            heads[bucket % CHUNK] = link;
        }
    }
}

/// The bucket, of `buckets`, of what [`spread`] made.
fn bucket(spread: u64, buckets: usize) -> usize {
    let mask = buckets.next_power_of_two() - 1;
    let bucket = (spread >> 32) as usize & mask;
    if bucket < buckets { bucket } else { bucket & (mask >> 1) }
}

/// The bucket that this one was split from.
fn partner(bucket: usize) -> usize {
    bucket & !(1 << bucket.ilog2())
}

/// The users of a shard share some bits of their hash, by which the shard was chosen; of this they share none that is asked for. All
/// bits of the hash went into the upper half, the lower seven bits are of the middle (Knuth's multiplicative hashing).
fn spread(hash: u64) -> u64 {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed & !0x7f | mixed >> 25 & 0x7f
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Users by number.
    #[derive(Default)]
    struct Model {
        hashes: BTreeMap<u32, u64>,
        next: BTreeMap<u32, Link>,
    }

    impl Chained for Model {
        fn next(&self, index: u32) -> Link {
            self.next[&index]
        }

        fn set_next(&mut self, index: u32, next: Link) {
            self.next.insert(index, next);
        }

        fn hash(&self, index: u32) -> u64 {
            self.hashes[&index]
        }
    }

    impl Model {
        fn insert(&mut self, index: &mut Index, number: u32, hash: u64) {
            self.hashes.insert(number, hash);
            index.insert(self, hash, number);
        }

        fn remove(&mut self, index: &mut Index, number: u32) {
            index.remove(self, self.hashes[&number], number);
            self.hashes.remove(&number);
            self.next.remove(&number);
        }
    }

    #[test]
    fn an_index_that_emptied_gives_its_buckets_back() {
        let (mut index, mut model) = (Index::default(), Model::default());
        (0..10_000).for_each(|n| model.insert(&mut index, n, u64::from(n) * 6));
        let full = index.bytes();
        assert!((40_000..90_000).contains(&full), "4 to 8 bytes a user: {full}");
        (0..10_000).for_each(|n| model.remove(&mut index, n));
        assert!(index.bytes() < full / 10 && index.len() == 0, "{} of {full}", index.bytes());
        assert_eq!(index.find(&model, 0, |_| true), None);
        model.insert(&mut index, 7, 42);
        assert_eq!(index.find(&model, 42, |_| true), Some(7));
    }

    #[test]
    fn chains_stay_short_though_hashes_share_their_low_bits() {
        let (mut index, mut model) = (Index::default(), Model::default());
        let hash = |n: u32| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()) / 64 * 64 + 5;
        (0..10_000).for_each(|n| model.insert(&mut index, n, hash(n)));
        let mut looked_at = 0;
        for n in 0..10_000 {
            assert_eq!(
                index.find(&model, hash(n), |at| {
                    looked_at += 1;
                    at == n
                }),
                Some(n)
            );
        }
        assert!(looked_at < 10_200, "{looked_at} looks for 10000 users");
        let longest = (0..index.buckets).map(|bucket| chain(&index, &model, bucket).len()).max();
        assert!(longest.is_some_and(|users| users < 9), "{longest:?}");
    }

    fn chain(index: &Index, model: &Model, bucket: usize) -> Vec<u32> {
        let first = index.head(bucket);
        let links = std::iter::successors(Some(first), |link| link.index().map(|index| model.next(index)));
        links.filter_map(Link::index).collect()
    }

    proptest! {
        /// Against a map: everyone is found by its hash and nobody twice, whoever has left is not found, and buckets follow
        /// the number of users.
        #[test]
        fn an_index_tells_what_a_map_tells(steps in prop::collection::vec((0u32..100, 0u32..400, 0u64..300), 1..2_000)) {
            let (mut index, mut model) = (Index::default(), Model::default());
            for (n, (kind, number, hash)) in steps.into_iter().enumerate() {
                let coming = if n / 300 % 2 == 0 { 80 } else { 20 };
                if model.hashes.contains_key(&number) {
                    if kind >= coming {
                        model.remove(&mut index, number);
                    }
                } else if kind < coming {
                    model.insert(&mut index, number, hash.wrapping_mul(0x0123_4567_89ab_cdef));
                }
                prop_assert_eq!(index.len(), model.hashes.len());
                prop_assert!((3 * index.len..=4 * index.len).contains(&(2 * index.buckets)), "{} for {}", index.buckets, index.len);
            }
            let all: BTreeSet<u32> = model.hashes.keys().copied().collect();
            let chained: Vec<u32> = (0..index.buckets).flat_map(|bucket| chain(&index, &model, bucket)).collect();
            prop_assert_eq!(chained.len(), all.len());
            prop_assert_eq!(chained.into_iter().collect::<BTreeSet<u32>>(), all);
            for (number, hash) in &model.hashes {
                prop_assert_eq!(index.find(&model, *hash, |at| at == *number), Some(*number));
            }
        }
    }
}
