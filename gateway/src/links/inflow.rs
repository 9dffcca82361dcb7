//! Frames that arrived on the links of a shard, in the order they are handled: pushes of the lane high of every link
//! first, then the rest link by link.
//!
//! Order within a lane stands. A frame that is not a push never passes a push that came before it, except that high
//! pushes pass what stands before them: a `Replayed` is still handled after all pushes of its replay. They do not pass a `Stored`
//! that may be of their user: what it tells of is older. The bytes are walked over twice and each frame is decoded when its turn
//! comes, so that nothing is kept of them but where such pushes stand.

use hashbrown::HashSet;
use pushgate_protocol::link::{FrameError, ToGateway, is_high_push, stored_hash, take_frame};

use crate::limits::WARMED_TOGETHER;

/// Frames, each with the bytes it used.
pub(crate) type Batch<'a> = Vec<(ToGateway<'a>, usize)>;

/// One link's bytes. First [`Self::high`], then [`Self::rest`].
#[derive(Debug)]
pub(crate) struct Inflow<'a> {
    input: &'a [u8],
    /// Bytes that whole frames used.
    pub(crate) used: usize,
    /// What follows them is not a frame: the link is closed once the frames before it were handled.
    pub(crate) error: Option<FrameError>,
    /// Where high pushes stand that are behind a `Stored` of their user's hash, in order.
    behind: Vec<usize>,
}

impl<'a> Inflow<'a> {
    /// Of what was read from a link.
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, used: 0, error: None, behind: Vec::new() }
    }

    /// Gives away the high pushes, each with the bytes its frame used, length word included, in batches of at most
    /// [`WARMED_TOGETHER`]. A high push behind a frame that turns out to be none is among them. `hash` is a user's placement hash, by app and id.
    pub(crate) fn high(&mut self, hash: impl Fn(&str, &str) -> u64, give: impl FnMut(&mut Batch<'a>)) {
        let mut batches = Batches::new(give);
        let mut stored = HashSet::new();
        loop {
            match take_frame(&self.input[self.used..]) {
                Ok(Some((body, bytes))) => {
                    if is_high_push(body) {
                        match ToGateway::decode(body) {
                            Ok(ToGateway::Push(push))
                                if !stored.is_empty() && stored.contains(&hash(push.app, push.user)) =>
                            {
                                self.behind.push(self.used);
                            }
                            Ok(frame) => batches.add(frame, bytes),
                            Err(error) => {
                                self.error = Some(error);
                                break;
                            }
                        }
                    } else if let Some(hash) = stored_hash(body) {
                        stored.insert(hash);
                    }
                    self.used += bytes;
                }
                Ok(None) => break,
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        batches.give_rest();
    }

    /// Gives away all others, in the same way.
    pub(crate) fn rest(&mut self, give: impl FnMut(&mut Batch<'a>)) {
        let mut batches = Batches::new(give);
        let (mut at, mut behind) = (0, self.behind.iter().copied().peekable());
        while let Ok(Some((body, bytes))) = take_frame(&self.input[at..self.used]) {
            if behind.next_if_eq(&at).is_some() || !is_high_push(body) {
                match ToGateway::decode(body) {
                    Ok(frame) => batches.add(frame, bytes),
                    Err(error) => {
                        (self.used, self.error) = (at, Some(error));
                        break;
                    }
                }
            }
            at += bytes;
        }
        batches.give_rest();
    }
}

/// Collects frames and gives them away a few at a time, so that what they need can be fetched together.
struct Batches<'a, F> {
    batch: Batch<'a>,
    give: F,
}

impl<'a, F: FnMut(&mut Batch<'a>)> Batches<'a, F> {
    fn new(give: F) -> Self {
        Self { batch: Vec::new(), give }
    }

    fn add(&mut self, frame: ToGateway<'a>, bytes: usize) {
        if self.batch.capacity() == 0 {
            self.batch.reserve_exact(WARMED_TOGETHER);
        }
        self.batch.push((frame, bytes));
        if self.batch.len() == WARMED_TOGETHER {
            self.give_rest();
        }
    }

    fn give_rest(&mut self) {
        if !self.batch.is_empty() {
            (self.give)(&mut self.batch);
            self.batch.clear();
        }
    }
}

/// How many bytes the frame at the start of `rest`, which is not whole, takes; 0 if even its length is not there.
pub(crate) fn announced(rest: &[u8]) -> usize {
    rest.first_chunk::<4>().map_or(0, |word| 4 + u32::from_le_bytes(*word) as usize)
}

#[cfg(test)]
mod tests {
    use pushgate_protocol::{
        ids::Epoch,
        link::{Lane, OutboxPolicy, Place, Push, Target},
    };

    use super::*;

    fn push(reference: u64, lane: Lane) -> Vec<u8> {
        let mut out = Vec::new();
        ToGateway::Push(Push {
            reference,
            lane,
            ack: true,
            replay: false,
            policy: OutboxPolicy::Close,
            collapse: None,
            place: Place::NONE,
            platforms: 0,
            epoch: Epoch::default(),
            expires_ms: 1,
            app: "a",
            user: "u",
            target: Target::User,
            id: "m",
            tail: b"}",
        })
        .encode(&mut out);
        out
    }

    /// References of the pushes given away, high ones first; of another frame, `None`.
    fn references(inflow: &mut Inflow<'_>) -> [Vec<Option<u64>>; 2] {
        let of = |frame| if let ToGateway::Push(p) = frame { Some(p.reference) } else { None };
        let (mut high, mut rest) = (Vec::new(), Vec::new());
        inflow.high(|_, user| user.len() as u64, |batch| high.extend(batch.drain(..).map(|(frame, _)| of(frame))));
        inflow.rest(|batch| rest.extend(batch.drain(..).map(|(frame, _)| of(frame))));
        [high, rest]
    }

    #[test]
    fn high_goes_first_and_all_else_keeps_its_order() {
        let mut ping = Vec::new();
        ToGateway::Ping.encode(&mut ping);
        let input =
            [push(1, Lane::Low), push(2, Lane::High), ping, push(3, Lane::Normal), push(4, Lane::High)].concat();
        let cut = [&input[..], &push(5, Lane::High)[..9]].concat();
        let mut inflow = Inflow::new(&cut);
        assert_eq!(references(&mut inflow), [vec![Some(2), Some(4)], vec![Some(1), None, Some(3)]]);
        assert_eq!((inflow.used, inflow.error), (input.len(), None));
        assert_eq!(announced(&cut[input.len()..]), push(5, Lane::High).len());
    }

    #[test]
    fn a_high_push_does_not_pass_what_is_said_to_be_stored_for_its_user() {
        let stored = |hash| {
            let mut out = Vec::new();
            ToGateway::Stored { hash }.encode(&mut out);
            out
        };
        // The hash of user `u` is 1 here.
        let input = [push(1, Lane::Normal), push(2, Lane::High), stored(2), push(3, Lane::High), stored(1)];
        let input = [input.concat(), push(4, Lane::High), push(5, Lane::Normal), push(6, Lane::High)].concat();
        let expected = [vec![Some(2), Some(3)], vec![Some(1), None, None, Some(4), Some(5), Some(6)]];
        assert_eq!(references(&mut Inflow::new(&input)), expected);
    }

    #[test]
    fn all_are_given_in_batches_of_a_bounded_size() {
        let count = 3 * WARMED_TOGETHER + 1;
        let input: Vec<u8> = (0..count as u64).flat_map(|n| push(n, Lane::Low)).collect();
        let (mut inflow, mut sizes, mut given) = (Inflow::new(&input), Vec::new(), Vec::new());
        inflow.high(|_, _| 0, |_| panic!("none is high"));
        inflow.rest(|batch| {
            sizes.push(batch.len());
            given.append(batch);
        });
        assert_eq!(sizes, [WARMED_TOGETHER, WARMED_TOGETHER, WARMED_TOGETHER, 1]);
        let bytes = push(0, Lane::Low).len();
        assert!(
            given.iter().zip(0..).all(|((frame, used), n)| {
                *used == bytes && matches!(frame, ToGateway::Push(p) if p.reference == n)
            })
        );
    }

    #[test]
    fn frames_before_garbage_are_kept() {
        let input = [push(1, Lane::Low), b"\xff\xff\xff\xffgarbage".to_vec()].concat();
        let mut inflow = Inflow::new(&input);
        assert_eq!(references(&mut inflow), [vec![], vec![Some(1)]]);
        assert!(matches!(inflow.error, Some(FrameError::TooLong { .. })));
    }

    #[test]
    fn frames_before_one_that_cannot_be_read_are_kept() {
        for lane in [Lane::High, Lane::Normal] {
            let mut bad = push(2, lane);
            // Flags that do not exist.
            bad[14] = 0xff;
            let input = [push(1, Lane::Low), bad, push(3, Lane::Low)].concat();
            let mut inflow = Inflow::new(&input);
            assert_eq!(references(&mut inflow), [vec![], vec![Some(1)]]);
            assert_eq!(inflow.used, push(1, Lane::Low).len());
            assert!(matches!(inflow.error, Some(FrameError::Field { field: "flags", .. })));
        }
    }
}
