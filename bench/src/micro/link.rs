//! Frames of node links.

use std::hint::black_box;

use pushgate_protocol::{
    ids::Epoch,
    link::{Lane, OutboxPolicy, Place, Push, Target, ToDispatcher, ToGateway, take_frame},
};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[
    ("link/push_out", push_out),
    ("link/push_in", push_in),
    ("link/acked_out", acked_out),
    ("link/acked_in", acked_in),
];

/// The epoch of every push.
pub(super) const EPOCH: Epoch = Epoch { number: 3, digest: 9 };

/// What a push's sessions share, about as long as that of a usual push.
pub(super) const TAIL: &[u8] = br#""id":"01926f3e-7b1c-7c3a-9a54-0d6b3d1f2a77","time_ms":1764000000000,"stream":"user","title":"Your order","body":"It is on its way, and comes on Monday between nine and eleven."}"#;

/// A push to a user.
pub(super) fn push(reference: u64, id: &str, policy: OutboxPolicy) -> Push<'_> {
    Push {
        reference,
        lane: Lane::Normal,
        ack: true,
        replay: false,
        policy,
        collapse: None,
        place: Place::NONE,
        platforms: 0,
        epoch: EPOCH,
        expires_ms: u64::MAX,
        app: "shop",
        user: "user-of-24-bytes-0000017",
        target: Target::User,
        id,
        tail: TAIL,
    }
}

fn push_out() -> Step {
    let mut out = Vec::with_capacity(1_024);
    Box::new(move || {
        out.clear();
        let push = push(17, "01926f3e-7b1c-7c3a-9a54-0d6b3d1f2a77", OutboxPolicy::Close);
        ToGateway::Push(black_box(push)).encode(&mut out);
        black_box(&out);
    })
}

fn push_in() -> Step {
    let mut bytes = Vec::new();
    ToGateway::Push(push(17, "01926f3e-7b1c-7c3a-9a54-0d6b3d1f2a77", OutboxPolicy::Close)).encode(&mut bytes);
    Box::new(move || {
        let (body, _) = take_frame(black_box(&bytes)).expect("it is short").expect("it is whole");
        black_box(ToGateway::decode(body).expect("it is a push"));
    })
}

fn acked_out() -> Step {
    let mut out = Vec::with_capacity(64);
    Box::new(move || {
        out.clear();
        ToDispatcher::Acked { reference: black_box(17), device: black_box(Some("device-16-bytes1")) }.encode(&mut out);
        black_box(&out);
    })
}

fn acked_in() -> Step {
    let mut bytes = Vec::new();
    ToDispatcher::Acked { reference: 17, device: Some("device-16-bytes1") }.encode(&mut bytes);
    Box::new(move || {
        let (body, _) = take_frame(black_box(&bytes)).expect("it is short").expect("it is whole");
        black_box(ToDispatcher::decode(body).expect("it is an acknowledgement"));
    })
}
