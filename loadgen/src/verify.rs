//! The judge of numbered messages: per client what came, in total what was wrong with it. Memory per client is constant:
//! for each lane the newest number, how many came, and which of the last 64 did.

use pushgate_protocol::link::Lane;
use serde::{Deserialize, Serialize};

use crate::{
    lanes::ByLane,
    stamp::{Addressee, Stamp},
};

/// What one client received. It outlives the client's connections, so a reconnect cannot hide a loss. Messages to its user and
/// those to it alone share a numbering: a run sends one kind of them in a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inbox {
    own: ByLane<Track>,
    all: ByLane<Track>,
}

/// How many messages a client was to receive in a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// To its user, or to it alone.
    pub own: u32,
    /// To everybody.
    pub all: u32,
}

impl Due {
    /// All in the lane that is the default.
    pub fn in_lane_normal(own: u32, all: u32) -> ByLane<Self> {
        ByLane::from_fn(|lane| if lane == Lane::Normal { Self { own, all } } else { Self::default() })
    }
}

/// One numbering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Track {
    /// The newest number, plus one.
    next: u32,
    distinct: u32,
    /// Bit `b`: number `next - 1 - b` came.
    window: u64,
    /// The newest number that came for the first time in this session, plus one.
    session_next: u32,
}

/// What was wrong, and how much was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// Messages received for the first time.
    pub received: u64,
    /// Received again.
    pub doubled: u64,
    /// Received after a younger one, among the last 64.
    pub out_of_order: u64,
    /// Of these, received after a younger one of the same session. What a session left behind may come in the next one.
    pub out_of_order_in_session: u64,
    /// Older than the last 64: received again or far out of order, which a client does not tell apart.
    pub stale: u64,
    /// Received later after the planned time than allowed.
    pub late: u64,
    /// Received after the end of its ttl.
    pub expired: u64,
    /// For another user or device.
    pub crossed: u64,
    /// Of another run, or without a number.
    pub foreign: u64,
}

impl Verdicts {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
        self.out_of_order_in_session += other.out_of_order_in_session;
        self.stale += other.stale;
        self.late += other.late;
        self.expired += other.expired;
        self.crossed += other.crossed;
        self.foreign += other.foreign;
    }

    /// Whether nothing was wrong. What is late is for the caller to judge: a machine may be slow.
    pub fn is_clean(&self) -> bool {
        self.doubled + self.out_of_order + self.stale + self.expired + self.crossed + self.foreign == 0
    }
}

impl ByLane<Verdicts> {
    /// Of all lanes.
    pub fn sum(&self) -> Verdicts {
        let mut sum = Verdicts::default();
        self.iter().for_each(|(_, verdicts)| sum.add(verdicts));
        sum
    }
}

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// Its user.
    pub user: u32,
    /// The client itself.
    pub client: u32,
}

/// The rules by which a run is judged.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    /// The run whose messages count.
    pub run: u32,
    /// The run whose messages to everybody count: of several processes one sends them.
    pub run_of_all: u32,
    /// A message this long after its planned time is late, microseconds.
    pub late_us: u64,
    /// How long messages of a lane live from their planned time on, microseconds; 0: for ever.
    pub ttl_us: ByLane<u64>,
}

/// A message that came for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Its lane.
    pub lane: Lane,
    /// When it was to be sent, Unix microseconds.
    pub planned_us: u64,
    /// From then to its arrival, microseconds.
    pub latency_us: u64,
}

impl Judge {
    /// For messages that never expire, and are late after a second.
    pub fn of(run: u32) -> Self {
        Self { run, run_of_all: run, late_us: 1_000_000, ttl_us: ByLane::default() }
    }

    fn run_of(&self, to: Addressee) -> u32 {
        if to == Addressee::All { self.run_of_all } else { self.run }
    }

    /// Judges the message `id` that was read at `now_us`. Answers if it came for the first time.
    pub fn take(
        &self,
        inbox: &mut Inbox,
        by: Receiver,
        id: &str,
        now_us: u64,
        verdicts: &mut ByLane<Verdicts>,
    ) -> Option<Judged> {
        let Some(stamp) = Stamp::parse(id).filter(|stamp| stamp.run == self.run_of(stamp.to)) else {
            // Of no lane; counted where most messages are.
            verdicts[Lane::Normal].foreign += 1;
            return None;
        };
        let (lane, verdicts) = (stamp.lane, &mut verdicts[stamp.lane]);
        let track = match stamp.to {
            Addressee::All => &mut inbox.all[lane],
            Addressee::User(to) if to == by.user => &mut inbox.own[lane],
            Addressee::Device(to) if to == by.client => &mut inbox.own[lane],
            Addressee::User(_) | Addressee::Device(_) => {
                verdicts.crossed += 1;
                return None;
            }
        };
        match track.take(stamp.n) {
            Came::InOrder => {}
            Came::OutOfOrder => {
                verdicts.out_of_order += 1;
                verdicts.out_of_order_in_session += u64::from(stamp.n < track.session_next);
            }
            Came::Again => {
                verdicts.doubled += 1;
                return None;
            }
            Came::Stale => {
                verdicts.stale += 1;
                return None;
            }
        }
        track.session_next = track.session_next.max(stamp.n + 1);
        verdicts.received += 1;
        let latency_us = now_us.saturating_sub(stamp.planned_us);
        verdicts.late += u64::from(latency_us > self.late_us);
        let ttl_us = self.ttl_us[lane];
        verdicts.expired += u64::from(ttl_us > 0 && latency_us > ttl_us);
        Some(Judged { lane, planned_us: stamp.planned_us, latency_us })
    }
}

impl Inbox {
    /// The client connects anew: order is promised within a session.
    pub fn begin_session(&mut self) {
        self.own.values_mut().chain(self.all.values_mut()).for_each(|track| track.session_next = 0);
    }

    /// How many of these messages never came.
    pub fn lost(&self, due: &ByLane<Due>) -> u64 {
        let lost = |(lane, due): (Lane, &Due)| {
            let (own, all) =
                (due.own.saturating_sub(self.own[lane].distinct), due.all.saturating_sub(self.all[lane].distinct));
            u64::from(own) + u64::from(all)
        };
        due.iter().map(lost).sum()
    }
}

enum Came {
    InOrder,
    OutOfOrder,
    Again,
    Stale,
}

impl Track {
    fn take(&mut self, n: u32) -> Came {
        let came = if n >= self.next {
            let ahead = n - self.next + 1;
            self.window = self.window.checked_shl(ahead).unwrap_or(0) | 1;
            self.next = n + 1;
            Came::InOrder
        } else {
            let bit = self.next - 1 - n;
            match 1u64.checked_shl(bit) {
                None => return Came::Stale,
                Some(bit) if self.window & bit != 0 => return Came::Again,
                Some(bit) => self.window |= bit,
            }
            Came::OutOfOrder
        };
        self.distinct += 1;
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Receiver = Receiver { user: 3, client: 6 };

    fn judge() -> Judge {
        Judge { late_us: 1_000, ..Judge::of(5) }
    }

    fn take(inbox: &mut Inbox, verdicts: &mut ByLane<Verdicts>, to: Addressee, n: u32, run: u32) -> Option<u64> {
        let id = Stamp { run, to, lane: Lane::Normal, n, planned_us: 100 }.write();
        let judged = judge().take(inbox, HERE, std::str::from_utf8(&id).unwrap(), 600, verdicts);
        judged.map(|judged| judged.latency_us)
    }

    fn lost(inbox: &Inbox, own: u32, all: u32) -> u64 {
        inbox.lost(&Due::in_lane_normal(own, all))
    }

    fn after(numbers: &[u32]) -> (Inbox, Verdicts) {
        let (mut inbox, mut verdicts) = Default::default();
        for n in numbers {
            take(&mut inbox, &mut verdicts, Addressee::User(3), *n, 5);
        }
        (inbox, verdicts.sum())
    }

    #[test]
    fn messages_in_order_are_clean_and_their_latency_counts_from_the_plan() {
        let (mut inbox, mut verdicts) = Default::default();
        for n in 0..3 {
            take(&mut inbox, &mut verdicts, Addressee::User(3), n, 5);
        }
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::All, 0, 5), Some(500));
        assert_eq!(verdicts.sum(), Verdicts { received: 4, ..Verdicts::default() });
        assert!(verdicts.sum().is_clean());
        assert_eq!(lost(&inbox, 3, 1), 0);
    }

    #[test]
    fn a_missing_number_is_lost_at_either_end_and_in_between() {
        assert_eq!(lost(&after(&[1, 2]).0, 3, 0), 1);
        assert_eq!(lost(&after(&[0, 2]).0, 3, 0), 1);
        assert_eq!(lost(&after(&[0, 1]).0, 3, 0), 1);
        assert_eq!(lost(&after(&[]).0, 3, 2), 5);
    }

    #[test]
    fn a_repetition_is_doubled_and_hides_no_loss() {
        let (inbox, verdicts) = after(&[0, 1, 1, 1]);
        assert_eq!((verdicts.received, verdicts.doubled), (2, 2));
        assert_eq!(lost(&inbox, 3, 0), 1);
        assert!(!verdicts.is_clean());
    }

    #[test]
    fn an_older_one_is_out_of_order_once_and_then_doubled() {
        let (inbox, verdicts) = after(&[0, 63, 1, 1, 200, 100]);
        assert_eq!((verdicts.received, verdicts.out_of_order, verdicts.doubled, verdicts.stale), (4, 1, 1, 1));
        assert_eq!(lost(&inbox, 201, 0), 197);
    }

    #[test]
    fn what_comes_in_a_later_session_is_in_order_there() {
        let (mut inbox, mut verdicts) = Default::default();
        let mut came = |inbox: &mut Inbox, n| {
            take(inbox, &mut verdicts, Addressee::User(3), n, 5);
            let sum = verdicts.sum();
            (sum.out_of_order, sum.out_of_order_in_session)
        };
        assert_eq!([0, 2, 5].map(|n| came(&mut inbox, n)), [(0, 0); 3]);
        inbox.begin_session();
        // 5 again, as it was not acknowledged: a client that knows it by its id shows nothing.
        assert_eq!([1, 5, 3].map(|n| came(&mut inbox, n)), [(1, 0), (1, 0), (2, 0)]);
        assert_eq!([6, 4].map(|n| came(&mut inbox, n)), [(2, 0), (3, 1)]);
    }

    #[test]
    fn what_is_for_another_user_or_device_or_of_another_run_counts_for_nothing() {
        let (mut inbox, mut verdicts) = Default::default();
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::User(4), 0, 5), None);
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::Device(7), 0, 5), None);
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::User(3), 0, 6), None);
        assert_eq!(judge().take(&mut inbox, HERE, "no stamp", 600, &mut verdicts), None);
        assert_eq!(verdicts.sum(), Verdicts { crossed: 2, foreign: 2, ..Verdicts::default() });
        assert_eq!(lost(&inbox, 1, 0), 1);
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::Device(6), 0, 5), Some(500));
        assert_eq!(lost(&inbox, 1, 0), 0);
    }

    #[test]
    fn what_another_process_sent_to_everybody_counts_and_what_it_sent_to_its_own_does_not() {
        let judge = Judge { run_of_all: 4, ..judge() };
        let (mut inbox, mut verdicts) = <(Inbox, ByLane<Verdicts>)>::default();
        for (run, to) in [(4, Addressee::All), (5, Addressee::All), (4, Addressee::User(3)), (5, Addressee::User(3))] {
            let id = Stamp { run, to, lane: Lane::Normal, n: 0, planned_us: 100 }.write();
            judge.take(&mut inbox, HERE, std::str::from_utf8(&id).unwrap(), 600, &mut verdicts);
        }
        assert_eq!(verdicts.sum(), Verdicts { received: 2, foreign: 2, ..Verdicts::default() });
        assert_eq!(lost(&inbox, 1, 1), 0);
    }

    #[test]
    fn each_lane_has_a_numbering_of_its_own() {
        let (mut inbox, mut verdicts) = Default::default();
        for (lane, n) in [(Lane::Low, 0), (Lane::Low, 1), (Lane::High, 0), (Lane::Low, 1)] {
            let id = Stamp { run: 5, to: Addressee::User(3), lane, n, planned_us: 100 }.write();
            judge().take(&mut inbox, HERE, std::str::from_utf8(&id).unwrap(), 600, &mut verdicts);
        }
        assert_eq!(
            (verdicts[Lane::Low].received, verdicts[Lane::Low].doubled, verdicts[Lane::Low].out_of_order),
            (2, 1, 0)
        );
        assert_eq!(verdicts[Lane::High], Verdicts { received: 1, ..Verdicts::default() });
        assert_eq!(inbox.lost(&ByLane::from_fn(|_| Due { own: 2, all: 0 })), 3);
    }

    #[test]
    fn late_is_later_than_allowed_and_expired_is_later_than_the_ttl() {
        let (mut inbox, mut verdicts) = Default::default();
        let judge = Judge { ttl_us: ByLane::from_fn(|lane| if lane == Lane::High { 5_000 } else { 0 }), ..judge() };
        for (n, now_us) in [(0, 1_100), (1, 1_101), (2, 5_100), (3, 5_101)] {
            for lane in [Lane::High, Lane::Normal] {
                let id = Stamp { run: 5, to: Addressee::All, lane, n, planned_us: 100 }.write();
                judge.take(&mut inbox, HERE, std::str::from_utf8(&id).unwrap(), now_us, &mut verdicts);
            }
        }
        assert_eq!(verdicts.sum().late, 6);
        assert_eq!((verdicts[Lane::High].expired, verdicts[Lane::Normal].expired), (1, 0));
    }
}
