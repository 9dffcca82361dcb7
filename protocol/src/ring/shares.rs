//! What part of all users each member owns, and what part changes owner between two lists: exactly, by the lengths between the
//! ring's points, as users are spread evenly over it.

use std::collections::BTreeMap;

use super::Routing;

/// Places on the ring.
const WHOLE: f64 = 18_446_744_073_709_551_616.0;

impl Routing {
    /// What part of all users each member owns, in the order of [`members`](Self::members); together 1, unless there is nobody.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.members.len()];
        let mut before = 0;
        for (end, owner) in self.arcs() {
            if let Some(share) = shares.get_mut(owner as usize) {
                *share += (end - before) as f64 / WHOLE;
            }
            before = end;
        }
        shares
    }

    /// What part of all users has another owner by `later` than by this list.
    pub fn moved(&self, later: &Self) -> f64 {
        if self.members.is_empty() || later.members.is_empty() {
            return if self.members.len() == later.members.len() { 0.0 } else { 1.0 };
        }
        let mut moved = 0.0;
        self.compare(later, |_, _, share| moved += share);
        moved
    }

    /// From whom to whom users move between this list and `later`, and what part of all users: places in [`members`](Self::members)
    /// of this list and of the later one, rising. Together as much as [`moved`](Self::moved), unless one of the lists has no member.
    pub fn moves(&self, later: &Self) -> Vec<(usize, usize, f64)> {
        let mut moves = BTreeMap::new();
        self.compare(later, |from, to, share| *moves.entry((from, to)).or_insert(0.0) += share);
        moves.into_iter().map(|((from, to), share)| (from as usize, to as usize, share)).collect()
    }

    /// Tells each stretch of the ring whose owner differs: the owner by this list, that by `later`, and what part of the ring it is.
    fn compare(&self, later: &Self, mut tell: impl FnMut(u32, u32, f64)) {
        let (ours, theirs) = (self.arcs(), later.arcs());
        // Which member of the later list each of ours is.
        let same: Vec<Option<u32>> = self
            .members
            .iter()
            .map(|m| later.members.binary_search_by(|other| other.node.cmp(&m.node)).ok().map(|at| at as u32))
            .collect();
        let (mut before, mut a, mut b) = (0, 0, 0);
        // Both end at the last place.
        while let (Some(&(end_a, owner_a)), Some(&(end_b, owner_b))) = (ours.get(a), theirs.get(b)) {
            let end = end_a.min(end_b);
            if same.get(owner_a as usize).copied().flatten() != Some(owner_b) {
                tell(owner_a, owner_b, (end - before) as f64 / WHOLE);
            }
            before = end;
            a += usize::from(end_a == end);
            b += usize::from(end_b == end);
        }
    }

    /// Where each stretch of the ring ends, and who owns it; the last ends at the last place.
    fn arcs(&self) -> Vec<(u64, u32)> {
        if let Some(only) = self.only {
            return vec![(u64::MAX, only)];
        }
        let mut arcs: Vec<(u64, u32)> = self.slots.points().collect();
        match (arcs.first().copied(), arcs.last()) {
            // After the last point comes the first.
            (Some((_, first)), Some(&(end, _))) if end != u64::MAX => arcs.push((u64::MAX, first)),
            _ => {}
        }
        arcs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::NodeId,
        ring::{Member, MemberState},
    };

    fn member(name: &str) -> Member {
        Member::new(NodeId::parse(name).unwrap(), format!("{name}:7401"))
    }

    fn list(n: usize) -> Vec<Member> {
        (0..n).map(|i| member(&format!("gateway-{i}"))).collect()
    }

    #[test]
    fn the_most_loaded_of_a_thousand_members_carries_at_most_a_tenth_more_than_the_mean() {
        let shares = Routing::new(1, list(1_000)).shares();
        let sum: f64 = shares.iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        let most = shares.iter().fold(0.0_f64, |most, share| most.max(*share)) * 1_000.0;
        assert!(most <= 1.1, "{most}");
    }

    #[test]
    fn shares_are_what_owners_are_counted_to_and_follow_weights() {
        let mut members = list(4);
        members[1].weight = 3;
        members[2].state = MemberState::Draining;
        let routing = Routing::new(1, members);
        let shares = routing.shares();
        const USERS: usize = 100_000;
        let mut counted = vec![0.0; 4];
        for user in 0..USERS {
            let owner = routing.owner("app", &format!("user-{user}")).unwrap();
            counted[routing.members().iter().position(|m| m == owner).unwrap()] += 1.0 / USERS as f64;
        }
        for (at, (share, counted)) in shares.iter().zip(&counted).enumerate() {
            assert!((share - counted).abs() < 0.01, "{at}: {share}, {counted} counted");
            assert!((share - [0.2, 0.6, 0.0, 0.2][at]).abs() < 0.03, "{at}: {share}");
        }
    }

    /// What a member of this name takes when it joins `n` others.
    fn taken(n: usize, before: &Routing, name: &str) -> f64 {
        let mut members = list(n);
        members.push(member(name));
        before.moved(&Routing::new(2, members))
    }

    #[test]
    fn who_joins_takes_its_own_share_and_at_most_a_tenth_more() {
        for n in [1, 2, 3, 4, 7, 11, 19, 49, 99] {
            let before = Routing::new(1, list(n));
            let joins: Vec<f64> = (0..12).map(|j| taken(n, &before, &format!("joins-{j}"))).collect();
            let fair = 1.0 / (n + 1) as f64;
            let mean = joins.iter().sum::<f64>() / joins.len() as f64;
            assert!(mean <= 1.1 * fair, "{n}: {mean} of {fair}");
            // The fourth of the cluster, whoever it is.
            assert!(n != 3 || joins.iter().all(|moved| *moved <= 1.1 * fair), "{joins:?}");
        }
    }

    #[test]
    fn nobody_moves_between_equal_lists_and_everybody_from_none_to_one() {
        let routing = Routing::new(1, list(5));
        assert_eq!(routing.moved(&Routing::new(2, list(5))), 0.0);
        assert_eq!(Routing::new(1, list(1)).moved(&Routing::new(2, list(1))), 0.0);
        assert_eq!((Routing::empty().moved(&routing), Routing::empty().moved(&Routing::empty())), (1.0, 0.0));
        let one_less = Routing::new(2, list(4));
        let left = routing.shares()[4];
        assert!((routing.moved(&one_less) - left).abs() < 1e-9, "only those of the one that left");
        let moves = routing.moves(&one_less);
        assert_eq!(
            moves.iter().map(|(from, to, _)| (*from, *to)).collect::<Vec<_>>(),
            [(4, 0), (4, 1), (4, 2), (4, 3)]
        );
        assert!((moves.iter().map(|(_, _, share)| share).sum::<f64>() - left).abs() < 1e-9);
    }
}
