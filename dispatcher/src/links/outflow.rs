//! What waits to be written to one link: the lanes, high first, each against its credit, the lower ones in turns with those of other
//! links.
//!
//! A lane's frames keep their order. Frames without credit (all but pushes) pass when their turn in the lane comes; the end of a
//! replay only behind what came before it in the lanes above, or a push made after the replay could overtake one of the replay that
//! waits there for credit.

use std::collections::VecDeque;

use pushgate_protocol::link::{Lane, is_push, is_replayed};
use tokio::time::Instant;

use crate::{
    core::worker::Frames,
    urgency::{Turn, Urgent},
};

/// The queues of one link.
#[derive(Debug)]
pub struct Outflow {
    lanes: [LaneQueue; 3],
    /// What was taken last and is not yet handed to the socket lets go of these then.
    leaving: Vec<Urgent>,
}

#[derive(Debug)]
struct LaneQueue {
    chunks: VecDeque<Chunk>,
    /// Where the first unwritten frame of the first chunk starts.
    at: usize,
    credit: i64,
    granted: i64,
    /// Bytes that ever came, and those of them that left.
    came: u64,
    left: u64,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    urgent: Vec<Urgent>,
    /// What had come of lanes high and normal before it, if that is above its own.
    above: Above,
}

/// Bytes of lanes high and normal.
type Above = [u64; 2];

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
        let lane = |n: u32| LaneQueue {
            chunks: VecDeque::new(),
            at: 0,
            credit: n.into(),
            granted: n.into(),
            came: 0,
            left: 0,
        };
        Self { lanes: credit.map(lane), leaving: Vec::new() }
    }

    /// Appends whole frames.
    pub fn push(&mut self, frames: Frames) {
        let Frames { lane, bytes, urgent, .. } = frames;
        if !bytes.is_empty() {
            let above = self.above(lane, |lane| lane.came);
            let lane = &mut self.lanes[lane as usize];
            lane.came += bytes.len() as u64;
            lane.chunks.push_back(Chunk { bytes, urgent, above });
        }
    }

    /// A number of each lane above `lane`; 0 for the others.
    fn above(&self, lane: Lane, of: impl Fn(&LaneQueue) -> u64) -> Above {
        let mut above = Above::default();
        above.iter_mut().zip(&self.lanes[..lane as usize]).for_each(|(n, lane)| *n = of(lane));
        above
    }

    /// What has left the lanes above.
    fn left(&self, lane: Lane) -> Above {
        self.above(lane, |lane| lane.left)
    }

    /// The shard has read `bytes` of the lane.
    pub fn grant(&mut self, lane: Lane, bytes: u32) {
        let lane = &mut self.lanes[lane as usize];
        lane.credit = (lane.credit + i64::from(bytes)).min(lane.granted);
    }

    /// Moves what may be sent now into `out`, until it holds about `max` bytes: of the lower lanes as many frames as `turn` has. Answers
    /// how many bytes of each lane.
    pub fn fill(&mut self, out: &mut Vec<u8>, max: usize, turn: &mut Turn<'_>) -> [usize; 3] {
        let mut taken = [0; 3];
        for lane in Lane::ALL {
            let (before, left) = (out.len(), self.left(lane));
            let queue = &mut self.lanes[lane as usize];
            if lane == Lane::High {
                queue.fill(out, max, left, &mut || true, &mut self.leaving);
            } else if before < max && queue.may_send(left) && turn.ask() {
                queue.fill(out, max, left, &mut || turn.take(), &mut self.leaving);
            }
            taken[lane as usize] = out.len() - before;
        }
        taken
    }

    /// Whether something of the lower lanes could be sent if there were a turn for it.
    pub fn lower_may_send(&self) -> bool {
        [Lane::Normal, Lane::Low].into_iter().any(|lane| self.lanes[lane as usize].may_send(self.left(lane)))
    }

    /// What was taken is handed to the socket.
    pub fn handed_over(&mut self) {
        self.leaving.clear();
    }

    /// Whether the link's peer keeps what waits of lane high from being sent. Then it is not the lower lanes that it waits for.
    pub fn is_kept_waiting(&self) -> bool {
        !self.lanes[0].chunks.is_empty() && !self.lanes[0].may_send(Above::default())
    }

    /// Nobody needs to wait for what is here.
    pub fn let_go(&mut self) {
        self.leaving.clear();
        self.lanes[0].chunks.iter_mut().for_each(|chunk| chunk.urgent.clear());
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.chunks.is_empty())
    }
}

impl LaneQueue {
    /// Each frame needs `leave`, asked last. `left` has left the lanes above.
    fn fill(
        &mut self,
        out: &mut Vec<u8>,
        max: usize,
        left: Above,
        leave: &mut impl FnMut() -> bool,
        leaving: &mut Vec<Urgent>,
    ) {
        while out.len() < max {
            let Some(Chunk { bytes: chunk, urgent, above }) = self.chunks.front_mut() else { return };
            let rest = &chunk[self.at..];
            let mut taken = 0;
            while out.len() + taken < max && taken < rest.len() {
                let frame = &rest[taken..];
                let (bytes, is_push) = (frame_bytes(frame), is_push(frame));
                let may =
                    if is_push { enough(self.credit, self.granted, bytes) } else { may_pass(frame, *above, left) };
                if !may || !leave() {
                    break;
                }
                if is_push {
                    self.credit -= bytes as i64;
                }
                taken += bytes;
            }
            out.extend_from_slice(&rest[..taken]);
            self.at += taken;
            self.left += taken as u64;
            if self.at < chunk.len() {
                return;
            }
            leaving.append(urgent);
            self.chunks.pop_front();
            self.at = 0;
        }
    }

    /// Whether something waits and its first frame has credit, or what it waits for has left the lanes above.
    fn may_send(&self, left: Above) -> bool {
        self.chunks.front().is_some_and(|chunk| {
            let frame = &chunk.bytes[self.at..];
            match is_push(frame) {
                true => enough(self.credit, self.granted, frame_bytes(frame)),
                false => may_pass(frame, chunk.above, left),
            }
        })
    }
}

/// Whether a frame that is no push may be sent.
fn may_pass(frame: &[u8], above: Above, left: Above) -> bool {
    !is_replayed(frame) || (0..above.len()).all(|lane| above[lane] <= left[lane])
}

/// Whether a push of so many bytes may be sent. One larger than the whole credit goes when nothing of the lane is unread.
fn enough(credit: i64, granted: i64, bytes: usize) -> bool {
    credit >= bytes as i64 || credit >= granted
}

/// Length of the first frame, its length word included. The queues hold whole frames only.
fn frame_bytes(frames: &[u8]) -> usize {
    let word: [u8; 4] = frames[..4].try_into().expect("queues hold whole frames");
    4 + u32::from_le_bytes(word) as usize
}

#[cfg(test)]
mod tests;
