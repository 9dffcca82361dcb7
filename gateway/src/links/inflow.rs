//! Frames that arrived on the links of a shard, in the order they are handled: pushes of the lane high of every link
//! first, then the rest link by link.
//!
//! Order within a lane stands. A frame that is not a push never passes a push that came before it, except that high
//! pushes pass what stands before them: a `Replayed` is still handled after all pushes of its replay. The bytes are walked
//! over twice and each frame is decoded when its turn comes, so that nothing is kept of them.

use pushgate_protocol::link::{FrameError, ToGateway, is_high_push, take_frame};

/// One link's bytes. First [`Self::high`], then [`Self::rest`].
#[derive(Debug)]
pub(crate) struct Inflow<'a> {
    input: &'a [u8],
    /// Bytes that whole frames used.
    pub(crate) used: usize,
    /// What follows them is not a frame: the link is closed once the frames before it were handled.
    pub(crate) error: Option<FrameError>,
}

impl<'a> Inflow<'a> {
    /// Of what was read from a link.
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, used: 0, error: None }
    }

    /// Gives away the high pushes, each with the bytes its frame used, length word included. A high push behind a frame that
    /// turns out to be none is among them.
    pub(crate) fn high(&mut self, mut give: impl FnMut(ToGateway<'a>, usize)) {
        loop {
            match take_frame(&self.input[self.used..]) {
                Ok(Some((body, bytes))) => {
                    if is_high_push(body) {
                        match ToGateway::decode(body) {
                            Ok(frame) => give(frame, bytes),
                            Err(error) => return self.error = Some(error),
                        }
                    }
                    self.used += bytes;
                }
                Ok(None) => return,
                Err(error) => return self.error = Some(error),
            }
        }
    }

    /// Gives away all others.
    pub(crate) fn rest(&mut self, mut give: impl FnMut(ToGateway<'a>, usize)) {
        let mut at = 0;
        while let Ok(Some((body, bytes))) = take_frame(&self.input[at..self.used]) {
            if !is_high_push(body) {
                match ToGateway::decode(body) {
                    Ok(frame) => give(frame, bytes),
                    Err(error) => {
                        (self.used, self.error) = (at, Some(error));
                        return;
                    }
                }
            }
            at += bytes;
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
        inflow.high(|frame, _| high.push(of(frame)));
        inflow.rest(|frame, _| rest.push(of(frame)));
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
