//! What waits to be written to one link: the lanes, high first, each against its credit.
//!
//! A lane's frames keep their order. Frames without credit (all but pushes) pass when their turn in the lane comes.

use std::collections::VecDeque;

use pushgate_protocol::link::{Lane, is_push};
use tokio::time::Instant;

/// The queues of one link.
#[derive(Debug)]
pub struct Outflow {
    lanes: [LaneQueue; 3],
}

#[derive(Debug)]
struct LaneQueue {
    chunks: VecDeque<Vec<u8>>,
    /// Where the first unwritten frame of the first chunk starts.
    at: usize,
    credit: i64,
    granted: i64,
}

/// Since when something waits of which nothing could be sent, though the shard gave nothing back either. A shard that works on
/// what it has, as one that carries a message to many users, gives credit back before it is enough for the next frame.
#[derive(Debug, Default)]
pub struct Stall(Option<Instant>);

impl Stall {
    /// After a look at the queues: `moved` if something was sent or credit came, `waits` if something is left.
    pub fn look(&mut self, moved: bool, waits: bool, now: Instant) -> Option<Instant> {
        self.0 = if moved || !waits { None } else { self.0.or(Some(now)) };
        self.0
    }
}

impl Outflow {
    /// Empty queues with the credit the shard granted in `Ready` (high, normal, low).
    pub fn new(credit: [u32; 3]) -> Self {
        let lane = |n: u32| LaneQueue { chunks: VecDeque::new(), at: 0, credit: n.into(), granted: n.into() };
        Self { lanes: credit.map(lane) }
    }

    /// Appends whole frames.
    pub fn push(&mut self, lane: Lane, frames: Vec<u8>) {
        if !frames.is_empty() {
            self.lanes[lane as usize].chunks.push_back(frames);
        }
    }

    /// The shard has read `bytes` of the lane.
    pub fn grant(&mut self, lane: Lane, bytes: u32) {
        let lane = &mut self.lanes[lane as usize];
        lane.credit = (lane.credit + i64::from(bytes)).min(lane.granted);
    }

    /// Moves what may be sent now into `out`, until it holds about `max` bytes. Answers how many bytes of each lane.
    pub fn fill(&mut self, out: &mut Vec<u8>, max: usize) -> [usize; 3] {
        self.lanes.each_mut().map(|lane| {
            let before = out.len();
            lane.fill(out, max);
            out.len() - before
        })
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.chunks.is_empty())
    }
}

impl LaneQueue {
    fn fill(&mut self, out: &mut Vec<u8>, max: usize) {
        while out.len() < max {
            let Some(chunk) = self.chunks.front() else { return };
            let rest = &chunk[self.at..];
            let mut taken = 0;
            while out.len() + taken < max && taken < rest.len() {
                let frame = &rest[taken..];
                let bytes = frame_bytes(frame);
                if is_push(frame) {
                    let need = bytes as i64;
                    // A frame larger than the whole credit goes when nothing of the lane is unread.
                    if self.credit < need && self.credit < self.granted {
                        break;
                    }
                    self.credit -= need;
                }
                taken += bytes;
            }
            out.extend_from_slice(&rest[..taken]);
            self.at += taken;
            if self.at < chunk.len() {
                return;
            }
            self.chunks.pop_front();
            self.at = 0;
        }
    }
}

/// Length of the first frame, its length word included. The queues hold whole frames only.
fn frame_bytes(frames: &[u8]) -> usize {
    let word: [u8; 4] = frames[..4].try_into().expect("queues hold whole frames");
    4 + u32::from_le_bytes(word) as usize
}

#[cfg(test)]
mod tests {
    use pushgate_protocol::{
        ids::Epoch,
        link::{OutboxPolicy, Place, Push, Target, ToGateway},
    };

    use super::*;

    fn push(lane: Lane, tail: usize) -> Vec<u8> {
        let mut out = Vec::new();
        ToGateway::Push(Push {
            reference: 0,
            lane,
            ack: true,
            replay: false,
            policy: OutboxPolicy::Close,
            collapse: None,
            place: Place::NONE,
            platforms: 0,
            epoch: Epoch::default(),
            expires_ms: 0,
            app: "a",
            user: "u",
            target: Target::User,
            id: "m",
            tail: &vec![b'x'; tail],
        })
        .encode(&mut out);
        out
    }

    #[test]
    fn high_goes_first() {
        let mut flow = Outflow::new([1000, 1000, 1000]);
        let (low, high) = (push(Lane::Low, 10), push(Lane::High, 20));
        let mut ping = Vec::new();
        ToGateway::Ping.encode(&mut ping);
        flow.push(Lane::Low, low.clone());
        flow.push(Lane::High, high.clone());
        flow.push(Lane::Low, ping.clone());
        let mut out = Vec::new();
        flow.fill(&mut out, 1 << 20);
        assert_eq!(out, [high, low, ping].concat());
    }

    #[test]
    fn a_lane_without_credit_waits_and_the_others_go_on() {
        let one = push(Lane::Low, 10);
        let mut flow = Outflow::new([1000, 1000, one.len() as u32]);
        flow.push(Lane::Low, [one.clone(), one.clone()].concat());
        let mut out = Vec::new();
        flow.fill(&mut out, 1 << 20);
        assert_eq!(out, one);
        flow.push(Lane::High, push(Lane::High, 1));
        out.clear();
        flow.fill(&mut out, 1 << 20);
        assert_eq!(out, push(Lane::High, 1));
        flow.grant(Lane::Low, one.len() as u32);
        out.clear();
        flow.fill(&mut out, 1 << 20);
        assert_eq!(out, one);
    }

    #[test]
    fn a_frame_above_the_whole_credit_goes_when_the_lane_is_unread_by_nobody() {
        let big = push(Lane::Low, 500);
        let mut flow = Outflow::new([1000, 1000, 100]);
        flow.push(Lane::Low, [big.clone(), push(Lane::Low, 1)].concat());
        let mut out = Vec::new();
        flow.fill(&mut out, 1 << 20);
        assert_eq!(out, big);
        flow.grant(Lane::Low, big.len() as u32);
        out.clear();
        flow.fill(&mut out, 1 << 20);
        assert_eq!(out, push(Lane::Low, 1));
    }

    /// However much of low waits, and however large one write may be: what the shard has not read bounds it.
    #[test]
    fn at_most_256_pushes_of_low_are_written_to_a_shard_between_two_reads_of_it_before_one_of_high() {
        let (low, high) = (push(Lane::Low, 200), push(Lane::High, 200));
        let mut flow = Outflow::new(pushgate_protocol::limits::LINK_CREDIT_BYTES);
        flow.push(Lane::Low, low.repeat(10_000));
        let (mut out, mut written) = (Vec::new(), 0);
        for _ in 0..10 {
            written += flow.fill(&mut out, crate::limits::LINK_WRITE_BYTES)[Lane::Low as usize] / low.len();
            out.clear();
        }
        assert!((200..=256).contains(&written), "{written}");
        // A record of high comes, and the shard reads on: what it gives back for low does not let more of that pass by.
        flow.push(Lane::High, high.clone());
        flow.grant(Lane::Low, pushgate_protocol::limits::LINK_CREDIT_BYTES[Lane::Low as usize]);
        flow.fill(&mut out, crate::limits::LINK_WRITE_BYTES);
        assert!(out.starts_with(&high));
    }

    #[test]
    fn a_link_that_gives_credit_back_has_not_stalled_though_nothing_can_be_sent() {
        let start = Instant::now();
        let at = |s| start + std::time::Duration::from_secs(s);
        let mut stall = Stall::default();
        assert_eq!(stall.look(false, true, at(1)), Some(at(1)));
        assert_eq!(stall.look(false, true, at(5)), Some(at(1)));
        assert_eq!(stall.look(true, true, at(9)), None);
        assert_eq!(stall.look(false, true, at(10)), Some(at(10)));
        assert_eq!(stall.look(false, false, at(30)), None, "nothing waits");
    }
}
