//! Chance that a seed settles, and how a crowd is split: by whole clients, each part within one of its share, none lost and none made.

/// Numbers that look random, the same for one seed everywhere (xorshift64*, Marsaglia 2003; seeded by splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// At least 0, less than 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Takes one of `items` away.
    pub fn draw<T>(&mut self, items: &mut Vec<T>) -> Option<T> {
        let at = (self.unit() * items.len() as f64) as usize;
        (at < items.len()).then(|| items.swap_remove(at))
    }
}

/// Splits `count` by weights: each part is its share, rounded up or down, so that on average it is the share.
pub fn split(count: u64, weights: &[f64], random: &mut Random) -> Vec<u64> {
    let mut parts = vec![0; weights.len()];
    let whole: f64 = weights.iter().sum();
    let Some(last) = weights.iter().rposition(|weight| *weight > 0.0).filter(|_| count > 0) else {
        return parts;
    };
    let (chance, mut passed, mut given) = (random.unit(), 0.0, 0);
    for (part, weight) in parts[..last].iter_mut().zip(weights) {
        passed += weight;
        let until = ((chance + count as f64 * (passed / whole)) as u64).clamp(given, count);
        *part = until - given;
        given = until;
    }
    parts[last] = count - given;
    parts
}

/// A share of `count`, rounded up or down, so that on average it is the share.
pub fn part(count: u64, share: f64, random: &mut Random) -> u64 {
    ((count as f64 * share + random.unit()) as u64).min(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nobody_is_lost_in_a_split_and_each_part_is_its_share(
            count in 0..200_000_000_u64,
            weights in prop::collection::vec(prop_oneof![Just(0.0), 0.001..100.0], 1..60),
            seed in any::<u64>(),
        ) {
            let parts = split(count, &weights, &mut Random::new(seed));
            let whole: f64 = weights.iter().sum();
            if whole == 0.0 {
                return Ok(());
            }
            prop_assert_eq!(parts.iter().sum::<u64>(), count);
            for (part, weight) in parts.iter().zip(&weights) {
                let share = count as f64 * weight / whole;
                prop_assert!((*part as f64 - share).abs() < 1.001, "{} of {}", part, share);
                prop_assert!(*weight > 0.0 || *part == 0);
            }
        }
    }

    #[test]
    fn a_seed_is_one_sequence_and_draws_everybody() {
        let drawn = |seed| {
            let (mut random, mut items) = (Random::new(seed), (0..50).collect::<Vec<_>>());
            std::iter::from_fn(|| random.draw(&mut items)).collect::<Vec<u32>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let mut all = drawn(7);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..50));
    }
}
