//! What leaves when of what waits for a link, and how much of the lower lanes goes before a record of lane high.

use std::time::Duration;

use pushgate_protocol::{
    ids::Epoch,
    limits::LINK_CREDIT_BYTES,
    link::{OutboxPolicy, Place, Push, Target, ToGateway, take_frame},
};

use super::*;
use crate::{
    core::worker::LinkId,
    limits::{LINK_WRITE_BYTES, PUSHES_BEFORE_HIGH_MAX},
    urgency::Urgency,
};

/// A link that records what it is written, and the gate that it shares with others.
struct Link {
    flow: Outflow,
    urgency: Urgency,
    wrote: Vec<Lane>,
}

impl Link {
    fn of(urgency: &Urgency, credit: [u32; 3]) -> Self {
        Self { flow: Outflow::new(credit), urgency: urgency.clone(), wrote: Vec::new() }
    }

    fn alone(credit: [u32; 3]) -> Self {
        Self::of(&gate(), credit)
    }

    fn push(&mut self, lane: Lane, bytes: Vec<u8>) {
        self.flow.push(Frames { link: LinkId(1), lane, bytes, urgent: Vec::new() });
    }

    /// One write.
    fn write(&mut self) -> Vec<u8> {
        let (mut out, mut turn) = (Vec::new(), self.urgency.turn());
        self.flow.fill(&mut out, LINK_WRITE_BYTES, &mut turn);
        turn.end();
        self.flow.handed_over();
        let mut rest = &out[..];
        while let Some((body, used)) = take_frame(rest).unwrap() {
            if let ToGateway::Push(push) = ToGateway::decode(body).unwrap() {
                self.wrote.push(push.lane);
            }
            rest = &rest[used..];
        }
        out
    }

    /// All that may be written now.
    fn write_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let out = self.write();
            if out.is_empty() {
                return all;
            }
            all.extend(out);
        }
    }
}

/// A wait holds on for as long as a test may take.
fn gate() -> Urgency {
    Urgency::new(Duration::from_secs(3_600))
}

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
    let mut flow = Link::alone([1000, 1000, 1000]);
    let (low, high) = (push(Lane::Low, 10), push(Lane::High, 20));
    let mut ping = Vec::new();
    ToGateway::Ping.encode(&mut ping);
    flow.push(Lane::Low, low.clone());
    flow.push(Lane::High, high.clone());
    flow.push(Lane::Low, ping.clone());
    let out = flow.write();
    assert_eq!(out, [high, low, ping].concat());
}

#[test]
fn a_lane_without_credit_waits_and_the_others_go_on() {
    let one = push(Lane::Low, 10);
    let mut flow = Link::alone([1000, 1000, one.len() as u32]);
    flow.push(Lane::Low, [one.clone(), one.clone()].concat());
    let out = flow.write();
    assert_eq!(out, one);
    flow.push(Lane::High, push(Lane::High, 1));
    assert_eq!(flow.write(), push(Lane::High, 1));
    flow.flow.grant(Lane::Low, one.len() as u32);
    assert_eq!(flow.write(), one);
}

/// What is pushed after the replay would overtake what waits.
#[test]
fn the_end_of_a_replay_waits_for_what_came_before_it_in_the_lanes_above_and_for_nothing_else() {
    let (high, mut end) = (push(Lane::High, 10), Vec::new());
    ToGateway::Replayed { app: "a", user: "u", episode: 1, round: 0, k: 0, all: 0 }.encode(&mut end);
    let mut link = Link::alone([high.len() as u32, 1000, 1000]);
    link.push(Lane::High, [high.clone(), high.clone()].concat());
    link.push(Lane::Normal, push(Lane::Normal, 1));
    link.push(Lane::Low, [push(Lane::Low, 2), end.clone(), push(Lane::Low, 3)].concat());
    link.push(Lane::High, high.clone());
    link.push(Lane::Low, push(Lane::Low, 4));
    assert_eq!(link.write_all(), [high.clone(), push(Lane::Normal, 1), push(Lane::Low, 2)].concat());
    assert!(!link.flow.lower_may_send());
    link.flow.grant(Lane::High, high.len() as u32);
    assert_eq!(link.write_all(), [high, end, push(Lane::Low, 3), push(Lane::Low, 4)].concat());
    assert!(!link.flow.is_empty(), "what came later in the lane above waits on");
}

#[test]
fn a_frame_above_the_whole_credit_goes_when_the_lane_is_unread_by_nobody() {
    let big = push(Lane::Low, 500);
    let mut flow = Link::alone([1000, 1000, 100]);
    flow.push(Lane::Low, [big.clone(), push(Lane::Low, 1)].concat());
    let out = flow.write();
    assert_eq!(out, big);
    flow.flow.grant(Lane::Low, big.len() as u32);
    assert_eq!(flow.write(), push(Lane::Low, 1));
}

/// However much of low waits, however many links there are and however much credit they have.
#[test]
fn at_most_256_pushes_of_low_are_written_to_links_between_the_poll_that_returned_a_record_of_high_and_it() {
    let (low, high) = (push(Lane::Low, 200), push(Lane::High, 200));
    let urgency = gate();
    let mut links = [(); 3].map(|()| Link::of(&urgency, [1 << 30; 3]));
    links.iter_mut().for_each(|link| link.push(Lane::Low, low.repeat(10_000)));
    links.iter_mut().for_each(|link| drop(link.write()));
    let written = |links: &[Link; 3]| links.iter().map(|link| link.wrote.len()).sum::<usize>();
    let before = written(&links);
    assert!(before >= 300, "nothing of high is there: {before}");
    let polled = urgency.polled(Instant::now());
    // The record is on its way to the last link.
    for _ in 0..10 {
        links.iter_mut().for_each(|link| drop(link.write()));
    }
    let between = written(&links) - before;
    assert!((100..=PUSHES_BEFORE_HIGH_MAX as usize).contains(&between), "{between}");
    links[2].flow.push(Frames { link: LinkId(3), lane: Lane::High, bytes: high.clone(), urgent: vec![polled] });
    links.iter_mut().for_each(|link| drop(link.write()));
    let at = links[2].wrote.iter().position(|lane| *lane == Lane::High).expect("it is written");
    let others = links[..2].iter().map(|link| link.wrote.len()).sum::<usize>();
    assert!(at + others - before <= PUSHES_BEFORE_HIGH_MAX as usize);
    links.iter_mut().for_each(|link| drop(link.write_all()));
    assert_eq!(written(&links), 30_001, "afterwards low has all it can take");
}

/// Without a wait too: what the shard has not read bounds it.
#[test]
fn at_most_256_pushes_of_low_are_written_to_a_shard_between_two_reads_of_it() {
    let (low, high) = (push(Lane::Low, 200), push(Lane::High, 200));
    let mut flow = Link::alone(LINK_CREDIT_BYTES);
    flow.push(Lane::Low, low.repeat(10_000));
    flow.write_all();
    assert!((200..=256).contains(&flow.wrote.len()), "{}", flow.wrote.len());
    // A record of high comes, and the shard reads on: what it gives back for low does not let more of that pass by.
    flow.push(Lane::High, high.clone());
    flow.flow.grant(Lane::Low, LINK_CREDIT_BYTES[Lane::Low as usize]);
    assert!(flow.write().starts_with(&high));
}

#[test]
fn a_record_of_high_that_a_shard_gives_no_credit_for_is_known_to_wait_for_the_shard() {
    let high = push(Lane::High, 200);
    let urgency = gate();
    let mut link = Link::of(&urgency, [high.len() as u32, 1 << 20, 1 << 20]);
    let polled = urgency.polled(Instant::now());
    let both = high.repeat(2);
    link.flow.push(Frames { link: LinkId(1), lane: Lane::High, bytes: both, urgent: vec![polled] });
    assert!(!link.flow.is_kept_waiting());
    link.write();
    link.push(Lane::Low, push(Lane::Low, 200).repeat(1_000));
    link.write_all();
    assert!(urgency.is_shut() && link.flow.lower_may_send());
    assert!(link.flow.is_kept_waiting());
    link.flow.let_go();
    link.write_all();
    assert_eq!(link.wrote.len(), 1_001);
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
