//! Shares: a record is settled when each of its deliveries is. The lane thread alone owns this table.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::ahead::Place;
use crate::{core::worker::Token, seams::Position};

/// Where lanes are told what settled, many at a time.
#[derive(Debug, Clone)]
pub struct Settlements([Sender<Vec<Token>>; 3]);

impl Settlements {
    /// The way there, and the ends of the lanes, high first.
    pub fn new() -> (Self, [Receiver<Vec<Token>>; 3]) {
        let [(high, highs), (normal, normals), (low, lows)] = [(); 3].map(|()| channel());
        (Self([high, normal, low]), [highs, normals, lows])
    }

    /// These settled, of any lanes.
    pub(super) fn send(&self, tokens: Vec<Token>) {
        // Mostly all are of one lane.
        let Some(first) = tokens.first().copied().map(lane_of) else { return };
        if tokens.iter().all(|token| lane_of(*token) == first) {
            return self.tell(first, tokens);
        }
        let mut of_lanes = [const { Vec::new() }; 3];
        for token in tokens {
            if let Some(of_lane) = of_lanes.get_mut(lane_of(token)) {
                of_lane.push(token);
            }
        }
        of_lanes.into_iter().enumerate().filter(|(_, of)| !of.is_empty()).for_each(|(lane, of)| self.tell(lane, of));
    }

    fn tell(&self, lane: usize, tokens: Vec<Token>) {
        if let Some(lane) = self.0.get(lane) {
            // A lane that is gone commits nothing more: its records come again.
            let _ = lane.send(tokens);
        }
    }
}

/// Records taken and not settled, by the slot their tokens name.
#[derive(Debug, Default)]
pub(super) struct Shares {
    slots: Vec<Share>,
    free: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    position: Position,
    open: u32,
    owner: Option<Owner>,
}

/// Whose deliveries a record became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) place: Place,
    /// Bytes of each delivery.
    pub(super) bytes: usize,
}

/// A delivery settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) owner: Option<Owner>,
    /// Its record's, if it was the last.
    pub(super) position: Option<Position>,
}

impl Shares {
    /// Opens a record with `deliveries` (at least 1) to settle; every one of them carries the token returned.
    pub(super) fn open(&mut self, lane: u8, position: Position, deliveries: u32, owner: Option<Owner>) -> Token {
        debug_assert!(deliveries > 0, "a record without deliveries is settled at once");
        let share = Share { position, open: deliveries, owner };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = share;
                slot
            }
            None => {
                self.slots.push(share);
                (self.slots.len() - 1) as u32
            }
        };
        Token(u64::from(lane) << 56 | u64::from(slot))
    }

    /// Records open: what the lane took and nobody settled, of partitions that are another's by now too.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// One delivery of the record settled; `None` if there was none left.
    pub(super) fn settle(&mut self, token: Token) -> Option<Settled> {
        let slot = token.0 as u32;
        let share = self.slots.get_mut(slot as usize)?;
        share.open = share.open.checked_sub(1)?;
        let last = share.open == 0;
        if last {
            self.free.push(slot);
        }
        Some(Settled { owner: share.owner, position: last.then_some(share.position) })
    }
}

/// The lane a token belongs to.
fn lane_of(token: Token) -> usize {
    (token.0 >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_settles_with_its_last_delivery_and_its_slot_is_used_again() {
        let mut shares = Shares::default();
        let position = |offset| Position { partition: 0, generation: 0, offset };
        let a = shares.open(2, position(5), 2, None);
        let b = shares.open(2, position(6), 1, None);
        let settled = |position| Some(Settled { owner: None, position });
        assert_eq!(lane_of(a), 2);
        assert_eq!(shares.len(), 2);
        assert_eq!(shares.settle(a), settled(None));
        assert_eq!(shares.settle(b), settled(Some(position(6))));
        assert_eq!(shares.settle(a), settled(Some(position(5))));
        assert_eq!(shares.len(), 0);
        assert_eq!(shares.settle(a), None, "settling once more changes nothing");
        shares.open(2, position(7), 1, None);
        assert_eq!(shares.slots.len(), 2);
    }
}
