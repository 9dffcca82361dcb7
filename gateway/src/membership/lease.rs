//! A gateway's lease, sans-I/O: whether it may act as the owner of users, from what it knows at a time.
//!
//! Invariant 6: past its lease it never serves, and frozen it stays only while a link is up and none has shown a newer list. Times
//! are milliseconds of a clock that runs on while the machine sleeps (`CLOCK_BOOTTIME`).

use crate::core::Standing;

/// What a gateway knows of its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peers {
    /// A link to any of its shards is up.
    pub(crate) linked: bool,
    /// Number of the newest epoch that any has shown.
    pub(crate) shown: u64,
}

/// The lease.
#[derive(Debug)]
pub(crate) struct Lease {
    lease_ms: u64,
    /// When it ends, if it was ever renewed.
    until_ms: u64,
    /// Number of the epoch by which the gateway acts.
    number: u64,
    standing: Standing,
}

impl Lease {
    /// Not renewed yet: who cannot prove to own a user does not act so.
    pub(crate) fn new(lease_ms: u64) -> Self {
        Self { lease_ms, until_ms: 0, number: 0, standing: Standing::SteppedDown }
    }

    /// A renewal that was sent at `sent_ms` was answered with the list of epoch `number`. It counts from when it was sent: the
    /// list may have taken it at once, and the answer may have been long on its way.
    pub(crate) fn renewed(&mut self, sent_ms: u64, number: u64) {
        self.until_ms = self.until_ms.max(sent_ms.saturating_add(self.lease_ms));
        self.number = number;
        self.standing = Standing::Serving;
    }

    /// Another process holds the name.
    pub(crate) fn displaced(&mut self) {
        self.until_ms = 0;
        self.standing = Standing::SteppedDown;
    }

    /// What holds at `now_ms`.
    pub(crate) fn look(&mut self, now_ms: u64, peers: Peers) -> Standing {
        if self.standing != Standing::SteppedDown {
            self.standing = match () {
                () if now_ms < self.until_ms => Standing::Serving,
                () if peers.linked && peers.shown <= self.number => Standing::Frozen,
                () => Standing::SteppedDown,
            };
        }
        self.standing
    }

    /// How much of it is left, milliseconds.
    pub(crate) fn left_ms(&self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEASE_MS: u64 = 6_000;
    const ALONE: Peers = Peers { linked: false, shown: 0 };
    const LINKED: Peers = Peers { linked: true, shown: 5 };

    fn renewed_at(sent_ms: u64) -> Lease {
        let mut lease = Lease::new(LEASE_MS);
        lease.renewed(sent_ms, 5);
        lease
    }

    #[test]
    fn a_gateway_that_never_renewed_owns_nobody() {
        assert_eq!(Lease::new(LEASE_MS).look(0, LINKED), Standing::SteppedDown);
    }

    #[test]
    fn the_lease_counts_from_before_the_renewal_was_sent() {
        let mut lease = renewed_at(1_000);
        assert_eq!((lease.look(6_999, ALONE), lease.left_ms(6_999)), (Standing::Serving, 1));
        assert_eq!((lease.look(7_000, LINKED), lease.left_ms(7_000)), (Standing::Frozen, 0));
        // An answer that came when its lease was over already.
        let mut late = renewed_at(1_000);
        assert_eq!(late.look(60_000, LINKED), Standing::Frozen);
    }

    #[test]
    fn a_frozen_gateway_steps_down_on_a_newer_list_or_without_links_and_stays_so_until_renewed() {
        for peers in [Peers { shown: 6, ..LINKED }, Peers { linked: false, ..LINKED }] {
            let mut lease = renewed_at(1_000);
            assert_eq!(lease.look(8_000, LINKED), Standing::Frozen);
            assert_eq!(lease.look(8_100, peers), Standing::SteppedDown);
            assert_eq!(lease.look(8_200, LINKED), Standing::SteppedDown);
            lease.renewed(8_300, 7);
            assert_eq!(lease.look(8_400, LINKED), Standing::Serving);
        }
    }

    #[test]
    fn a_displaced_gateway_steps_down_at_once() {
        let mut lease = renewed_at(1_000);
        lease.displaced();
        assert_eq!(lease.look(1_001, LINKED), Standing::SteppedDown);
    }

    /// The member list as its store keeps it: leases count from when a renewal arrives.
    #[derive(Default)]
    struct List {
        number: u64,
        until_ms: [Option<u64>; 2],
    }

    impl List {
        fn expire(&mut self, now_ms: u64) {
            for until in &mut self.until_ms {
                if until.is_some_and(|until| until <= now_ms) {
                    *until = None;
                    self.number += 1;
                }
            }
        }

        fn renew(&mut self, now_ms: u64, who: usize) -> u64 {
            self.expire(now_ms);
            if self.until_ms[who].replace(now_ms + LEASE_MS).is_none() {
                self.number += 1;
            }
            self.number
        }
    }

    /// A renewal on its way to the list, and its answer on its way back unless it is lost.
    struct OnItsWay {
        who: usize,
        sent_ms: u64,
        there_ms: u64,
        back_ms: Option<u64>,
        answer: u64,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Renew { who: usize, there: u64, back: u64, lost: bool },
        Peers { who: usize, linked: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let renew = (0..2usize, 0..900u64, 0..900u64, prop::bool::weighted(0.3));
        prop::collection::vec(
            prop_oneof![
                3 => (1..300u64).prop_map(Step::Pass),
                3 => renew.prop_map(|(who, there, back, lost)| Step::Renew { who, there, back, lost }),
                1 => (0..2usize, any::<bool>()).prop_map(|(who, linked)| Step::Peers { who, linked }),
            ],
            1..80,
        )
    }

    /// Two gateways and their list.
    struct World {
        now_ms: u64,
        list: List,
        leases: [Lease; 2],
        linked: [bool; 2],
        on_their_way: Vec<OnItsWay>,
    }

    impl World {
        fn follow(&mut self, step: &Step) {
            match *step {
                Step::Renew { who, there, back, lost } => {
                    let there_ms = self.now_ms + there * TICK_MS;
                    let back_ms = (!lost).then_some(there_ms + back * TICK_MS);
                    self.on_their_way.push(OnItsWay { who, sent_ms: self.now_ms, there_ms, back_ms, answer: 0 });
                }
                Step::Peers { who, linked } => self.linked[who] = linked,
                Step::Pass(ticks) => (0..ticks).for_each(|_| self.tick()),
            }
        }

        fn tick(&mut self) {
            self.now_ms += TICK_MS;
            self.list.expire(self.now_ms);
            for way in &mut self.on_their_way {
                if way.there_ms == self.now_ms {
                    way.answer = self.list.renew(self.now_ms, way.who);
                }
                if way.back_ms == Some(self.now_ms) && way.answer > 0 {
                    self.leases[way.who].renewed(way.sent_ms, way.answer);
                }
            }
            for (who, lease) in self.leases.iter_mut().enumerate() {
                let linked = self.linked[who];
                let shown = if linked { self.list.number } else { 0 };
                let standing = lease.look(self.now_ms, Peers { linked, shown });
                let listed = self.list.until_ms[who].is_some();
                assert!(standing != Standing::Serving || listed, "{who} serves at {} and is not listed", self.now_ms);
                assert!(standing != Standing::Frozen || linked && self.list.number <= lease.number);
            }
        }
    }

    const TICK_MS: u64 = 10;

    proptest! {
        /// Invariant 6: two gateways never both act as owner of one user past a lease. The list gives a gateway's users away when it
        /// takes the gateway out: by then the gateway does not serve any more, however long renewals and answers were on their way.
        /// What it still takes frozen is what was routed by its own list, and nothing once anybody has shown it a newer one.
        #[test]
        fn invariant_6_who_left_the_list_does_not_serve(steps in steps()) {
            let leases = [Lease::new(LEASE_MS), Lease::new(LEASE_MS)];
            let mut world =
                World { now_ms: 0, list: List::default(), leases, linked: [true, true], on_their_way: Vec::new() };
            steps.iter().for_each(|step| world.follow(step));
        }
    }
}
