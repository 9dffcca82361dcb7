//! What an owner sends to one host: pushes against the host's credit, lane by lane, and what must not overtake them.

use std::{collections::VecDeque, rc::Rc};

use pushgate_protocol::link::Lane;

/// Credit of a host, and the frames that wait for it.
#[derive(Debug)]
pub(super) struct Flow {
    /// What the host granted at the start, bytes by lane.
    whole: [u32; 3],
    /// What of that is free; below 0 after a frame larger than all of it.
    free: [i64; 3],
    waiting: [VecDeque<Waiting>; 3],
    /// Of the pushes that wait.
    bytes: [usize; 3],
}

#[derive(Debug)]
enum Waiting {
    Push(Vec<u8>),
    /// Goes with the last lane that comes to it.
    Behind(Rc<[u8]>),
}

impl Flow {
    pub(super) fn new(whole: [u32; 3]) -> Self {
        Self { whole, free: whole.map(i64::from), waiting: Default::default(), bytes: [0; 3] }
    }

    /// Sends a push, which `encode` appends, or has it wait. `None`: there is no room for it. Else the bytes of its frame.
    pub(super) fn push(&mut self, lane: Lane, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        let (lane, before) = (lane as usize, out.len());
        encode(out);
        let bytes = out.len() - before;
        if self.waiting[lane].is_empty() && self.may_go(lane, bytes) {
            self.free[lane] -= bytes as i64;
            return Some(bytes);
        }
        let frame = out.split_off(before);
        // As much may wait as may be under way; one alone always may.
        if self.bytes[lane] > 0 && self.bytes[lane] + bytes > self.whole[lane] as usize {
            return None;
        }
        self.bytes[lane] += bytes;
        self.waiting[lane].push_back(Waiting::Push(frame));
        Some(bytes)
    }

    /// Sends a frame that is no push behind all pushes before it.
    pub(super) fn behind_all(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        let mut lanes = self.waiting.iter_mut().filter(|waiting| !waiting.is_empty()).peekable();
        if lanes.peek().is_none() {
            return out.extend_from_slice(frame);
        }
        let frame: Rc<[u8]> = frame.into();
        lanes.for_each(|waiting| waiting.push_back(Waiting::Behind(frame.clone())));
    }

    /// The host has read so many bytes of a lane.
    pub(super) fn credit(&mut self, lane: Lane, bytes: u32, out: &mut Vec<u8>) {
        let lane = lane as usize;
        self.free[lane] = (self.free[lane] + i64::from(bytes)).min(i64::from(self.whole[lane]));
        loop {
            match self.waiting[lane].front() {
                Some(Waiting::Push(frame)) if !self.may_go(lane, frame.len()) => return,
                Some(_) => {}
                None => return,
            }
            match self.waiting[lane].pop_front() {
                Some(Waiting::Push(frame)) => {
                    self.free[lane] -= frame.len() as i64;
                    self.bytes[lane] -= frame.len();
                    out.extend_from_slice(&frame);
                }
                Some(Waiting::Behind(frame)) if Rc::strong_count(&frame) == 1 => out.extend_from_slice(&frame),
                Some(Waiting::Behind(_)) | None => {}
            }
        }
    }

    /// Whether half of what may wait in the lane does.
    pub(super) fn is_behind(&self, lane: Lane) -> bool {
        2 * self.bytes[lane as usize] > self.whole[lane as usize] as usize
    }

    /// A frame larger than the whole credit goes when nothing of its lane is unread.
    fn may_go(&self, lane: usize, bytes: usize) -> bool {
        bytes as i64 <= self.free[lane] || self.free[lane] == i64::from(self.whole[lane])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(flow: &mut Flow, lane: Lane, byte: u8, bytes: usize, out: &mut Vec<u8>) -> bool {
        flow.push(lane, out, |o| o.extend(std::iter::repeat_n(byte, bytes))).is_some()
    }

    #[test]
    fn a_lane_sends_no_more_than_its_credit_and_stalls_no_other() {
        let (mut flow, mut out) = (Flow::new([10, 10, 10]), Vec::new());
        assert!(push(&mut flow, Lane::Low, b'a', 8, &mut out) && push(&mut flow, Lane::Low, b'b', 8, &mut out));
        assert!(!flow.is_behind(Lane::High) && flow.is_behind(Lane::Low));
        assert!(push(&mut flow, Lane::High, b'h', 3, &mut out));
        assert_eq!(out, b"aaaaaaaahhh");
        assert!(!push(&mut flow, Lane::Low, b'c', 8, &mut out), "as much waits as may");
        flow.credit(Lane::Low, 6, &mut out);
        assert_eq!(out, b"aaaaaaaahhhbbbbbbbb");
    }

    #[test]
    fn a_frame_larger_than_the_credit_goes_alone() {
        let (mut flow, mut out) = (Flow::new([4, 4, 4]), Vec::new());
        assert!(push(&mut flow, Lane::Normal, b'a', 9, &mut out) && push(&mut flow, Lane::Normal, b'b', 9, &mut out));
        assert_eq!(out.len(), 9);
        flow.credit(Lane::Normal, 9, &mut out);
        assert_eq!(out.len(), 18);
    }

    #[test]
    fn what_must_not_overtake_goes_behind_the_pushes_of_all_lanes() {
        let (mut flow, mut out) = (Flow::new([4, 4, 4]), Vec::new());
        for lane in [Lane::High, Lane::Low] {
            assert!(push(&mut flow, lane, b'x', 4, &mut out) && push(&mut flow, lane, b'y', 4, &mut out));
        }
        flow.behind_all(b"!", &mut out);
        assert!(push(&mut flow, Lane::Normal, b'n', 2, &mut out));
        flow.credit(Lane::Low, 4, &mut out);
        assert_eq!(out, b"xxxxxxxxnnyyyy");
        flow.credit(Lane::High, 4, &mut out);
        assert_eq!(out, b"xxxxxxxxnnyyyyyyyy!");
        flow.behind_all(b"?", &mut out);
        assert_eq!(out.last(), Some(&b'?'));
    }
}
