//! Frames that arrived on the links of a shard, in the order they are handled: pushes of the lane high of every link
//! first, then the rest link by link.
//!
//! Order within a lane stands. A frame that is not a push never passes a push that came before it, except that high
//! pushes pass what stands before them: a `Replayed` is still handled after all pushes of its replay.

use pushgate_protocol::link::{FrameError, Lane, Push, ToGateway, take_frame};

/// One link's bytes, taken apart.
#[derive(Debug)]
pub(crate) struct Inflow<'a> {
    /// High pushes and the bytes each frame used, length word included.
    pub(crate) high: Vec<(ToGateway<'a>, usize)>,
    /// All others.
    pub(crate) rest: Vec<(ToGateway<'a>, usize)>,
    /// Bytes that whole frames used.
    pub(crate) used: usize,
    /// What follows them is not a frame: the link is closed once the frames before it were handled.
    pub(crate) error: Option<FrameError>,
}

impl<'a> Inflow<'a> {
    /// Cuts `input` into frames.
    pub(crate) fn cut(input: &'a [u8]) -> Self {
        let mut inflow = Self { high: Vec::new(), rest: Vec::new(), used: 0, error: None };
        if let Err(error) = inflow.fill(input) {
            inflow.error = Some(error);
        }
        inflow
    }

    fn fill(&mut self, input: &'a [u8]) -> Result<(), FrameError> {
        while let Some((body, bytes)) = take_frame(&input[self.used..])? {
            let frame = ToGateway::decode(body)?;
            let high = matches!(frame, ToGateway::Push(Push { lane: Lane::High, .. }));
            if high { &mut self.high } else { &mut self.rest }.push((frame, bytes));
            self.used += bytes;
        }
        Ok(())
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
        link::{OutboxPolicy, Place, Target},
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

    fn references(frames: &[(ToGateway<'_>, usize)]) -> Vec<Option<u64>> {
        frames.iter().map(|(f, _)| if let ToGateway::Push(p) = f { Some(p.reference) } else { None }).collect()
    }

    #[test]
    fn high_goes_first_and_all_else_keeps_its_order() {
        let mut ping = Vec::new();
        ToGateway::Ping.encode(&mut ping);
        let input =
            [push(1, Lane::Low), push(2, Lane::High), ping, push(3, Lane::Normal), push(4, Lane::High)].concat();
        let cut = [&input[..], &push(5, Lane::High)[..9]].concat();
        let inflow = Inflow::cut(&cut);
        assert_eq!(references(&inflow.high), [Some(2), Some(4)]);
        assert_eq!(references(&inflow.rest), [Some(1), None, Some(3)]);
        assert_eq!((inflow.used, inflow.error), (input.len(), None));
        assert_eq!(announced(&cut[inflow.used..]), push(5, Lane::High).len());
    }

    #[test]
    fn frames_before_garbage_are_kept() {
        let input = [push(1, Lane::Low), b"\xff\xff\xff\xffgarbage".to_vec()].concat();
        let inflow = Inflow::cut(&input);
        assert_eq!(references(&inflow.rest), [Some(1)]);
        assert!(matches!(inflow.error, Some(FrameError::TooLong { .. })));
    }
}
