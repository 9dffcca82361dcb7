//! The judge of numbered messages: per client what came, in total what was wrong with it. Memory per client is constant:
//! the newest number, how many came, and which of the last 64 did.

use crate::stamp::{Addressee, Stamp};

/// What one client received. It outlives the client's connections, so a reconnect cannot hide a loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inbox {
    own: Track,
    all: Track,
}

/// One numbering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Track {
    /// The newest number, plus one.
    next: u32,
    distinct: u32,
    /// Bit `b`: number `next - 1 - b` came.
    window: u64,
}

/// What was wrong, and how much was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Messages received for the first time.
    pub received: u64,
    /// Received again.
    pub doubled: u64,
    /// Received after a younger one, among the last 64.
    pub out_of_order: u64,
    /// Older than the last 64: received again or far out of order, which a client does not tell apart.
    pub stale: u64,
    /// Received later after the planned time than allowed.
    pub late: u64,
    /// For another user.
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
        self.stale += other.stale;
        self.late += other.late;
        self.crossed += other.crossed;
        self.foreign += other.foreign;
    }

    /// Whether nothing was wrong. What is late is for the caller to judge: a machine may be slow.
    pub fn is_clean(&self) -> bool {
        self.doubled + self.out_of_order + self.stale + self.crossed + self.foreign == 0
    }
}

/// The rules by which a run is judged.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    /// The run whose messages count.
    pub run: u32,
    /// A message this long after its planned time is late, microseconds.
    pub late_us: u64,
}

impl Judge {
    /// Judges the message `id` that a client of `user` read at `now_us`. Answers its latency in microseconds if it came
    /// for the first time.
    pub fn take(&self, inbox: &mut Inbox, user: u32, id: &str, now_us: u64, verdicts: &mut Verdicts) -> Option<u64> {
        let Some(stamp) = Stamp::parse(id).filter(|stamp| stamp.run == self.run) else {
            verdicts.foreign += 1;
            return None;
        };
        let track = match stamp.to {
            Addressee::All => &mut inbox.all,
            Addressee::User(to) if to == user => &mut inbox.own,
            Addressee::User(_) => {
                verdicts.crossed += 1;
                return None;
            }
        };
        match track.take(stamp.n) {
            Came::InOrder => {}
            Came::OutOfOrder => verdicts.out_of_order += 1,
            Came::Again => {
                verdicts.doubled += 1;
                return None;
            }
            Came::Stale => {
                verdicts.stale += 1;
                return None;
            }
        }
        verdicts.received += 1;
        let latency_us = now_us.saturating_sub(stamp.planned_us);
        verdicts.late += u64::from(latency_us > self.late_us);
        Some(latency_us)
    }
}

impl Inbox {
    /// How many of `own` messages to the user and `all` messages to everybody never came.
    pub fn lost(&self, own: u32, all: u32) -> u64 {
        u64::from(own.saturating_sub(self.own.distinct)) + u64::from(all.saturating_sub(self.all.distinct))
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

    const JUDGE: Judge = Judge { run: 5, late_us: 1_000 };

    fn take(inbox: &mut Inbox, verdicts: &mut Verdicts, to: Addressee, n: u32, run: u32) -> Option<u64> {
        let id = Stamp { run, to, n, planned_us: 100 }.write();
        JUDGE.take(inbox, 3, std::str::from_utf8(&id).unwrap(), 600, verdicts)
    }

    fn after(numbers: &[u32]) -> (Inbox, Verdicts) {
        let (mut inbox, mut verdicts) = Default::default();
        for n in numbers {
            take(&mut inbox, &mut verdicts, Addressee::User(3), *n, 5);
        }
        (inbox, verdicts)
    }

    #[test]
    fn messages_in_order_are_clean_and_their_latency_counts_from_the_plan() {
        let (mut inbox, mut verdicts) = after(&[0, 1, 2]);
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::All, 0, 5), Some(500));
        assert_eq!(verdicts, Verdicts { received: 4, ..Verdicts::default() });
        assert!(verdicts.is_clean());
        assert_eq!(inbox.lost(3, 1), 0);
    }

    #[test]
    fn a_missing_number_is_lost_at_either_end_and_in_between() {
        assert_eq!(after(&[1, 2]).0.lost(3, 0), 1);
        assert_eq!(after(&[0, 2]).0.lost(3, 0), 1);
        assert_eq!(after(&[0, 1]).0.lost(3, 0), 1);
        assert_eq!(after(&[]).0.lost(3, 2), 5);
    }

    #[test]
    fn a_repetition_is_doubled_and_hides_no_loss() {
        let (inbox, verdicts) = after(&[0, 1, 1, 1]);
        assert_eq!((verdicts.received, verdicts.doubled), (2, 2));
        assert_eq!(inbox.lost(3, 0), 1);
        assert!(!verdicts.is_clean());
    }

    #[test]
    fn an_older_one_is_out_of_order_once_and_then_doubled() {
        let (inbox, verdicts) = after(&[0, 63, 1, 1, 200, 100]);
        assert_eq!((verdicts.received, verdicts.out_of_order, verdicts.doubled, verdicts.stale), (4, 1, 1, 1));
        assert_eq!(inbox.lost(201, 0), 197);
    }

    #[test]
    fn what_is_for_another_user_or_of_another_run_counts_for_nothing() {
        let (mut inbox, mut verdicts) = Default::default();
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::User(4), 0, 5), None);
        assert_eq!(take(&mut inbox, &mut verdicts, Addressee::User(3), 0, 6), None);
        assert_eq!(JUDGE.take(&mut inbox, 3, "no stamp", 600, &mut verdicts), None);
        assert_eq!(verdicts, Verdicts { crossed: 1, foreign: 2, ..Verdicts::default() });
        assert_eq!(inbox.lost(1, 0), 1);
    }

    #[test]
    fn late_is_later_than_allowed() {
        let (mut inbox, mut verdicts) = Default::default();
        for (n, now_us) in [(0, 1_100), (1, 1_101)] {
            let id = Stamp { run: 5, to: Addressee::All, n, planned_us: 100 }.write();
            JUDGE.take(&mut inbox, 3, std::str::from_utf8(&id).unwrap(), now_us, &mut verdicts);
        }
        assert_eq!(verdicts.late, 1);
    }
}
