//! Round trips of every frame, and refusal of damaged ones.

use proptest::prelude::*;

use super::*;
use crate::{
    ids::{BootId, Epoch, SessionId},
    wire::ReceiptEvent,
};

fn session() -> SessionId {
    SessionId { boot: BootId(5), serial: 6 }
}

fn to_gateway() -> Vec<ToGateway<'static>> {
    let push = Push {
        reference: 9,
        lane: Lane::Low,
        ack: true,
        replay: false,
        policy: OutboxPolicy::Collapse,
        collapse: Some("k"),
        place: Place::NONE,
        platforms: 5,
        epoch: Epoch { number: 1, digest: 2 },
        expires_ms: 77,
        app: "shop",
        user: "ü1",
        target: Target::User,
        id: "m1",
        tail: b"\"id\":\"m1\"}",
    };
    let all = All {
        lane: Lane::Low,
        ack: true,
        policy: OutboxPolicy::DropOldest,
        collapse: Some("k"),
        platforms: 4,
        expires_ms: 78,
        place: Place { position: 45, before: 40 },
        app: "shop",
        id: "m2",
        exclude: vec!["u1", "ü2"],
        tail: b"\"id\":\"m2\"}",
    };
    vec![
        ToGateway::Push(Push { target: Target::Device("d"), replay: true, ..push.clone() }),
        ToGateway::Push(Push { target: Target::Session(session()), tail: b"", ..push.clone() }),
        ToGateway::Push(Push { collapse: None, place: Place { position: 44, before: 43 }, ..push.clone() }),
        ToGateway::Push(push),
        ToGateway::All(all.clone()),
        ToGateway::All(All { ack: false, collapse: None, place: Place::NONE, exclude: Vec::new(), tail: b"", ..all }),
        ToGateway::Recall { app: "a", user: Some("u"), tell: true, id: "m" },
        ToGateway::Recall { app: "a", user: None, tell: false, id: "m" },
        ToGateway::Replayed { app: "a", user: "u", episode: 1, round: 2, k: 3, all: 4 },
        ToGateway::Stored { hash: 8 },
        ToGateway::StoredMany,
        ToGateway::Ping,
    ]
}

fn to_dispatcher() -> Vec<ToDispatcher<'static>> {
    let reference = 4;
    vec![
        ToDispatcher::Acked { reference, device: Some("d") },
        ToDispatcher::Acked { reference, device: None },
        ToDispatcher::AckedFor { app: "a", user: "u", id: "m", target_device: None, device: Some("d") },
        ToDispatcher::AckedAll { app: "a", user: "u", id: "m", place: Place { position: 9, before: 1 }, expires_ms: 8 },
        ToDispatcher::Recalled { reference },
        ToDispatcher::Collapsed { reference },
        ToDispatcher::Receipt { app: "a", user: "u", device: Some("d"), event: ReceiptEvent::Clicked, id: "m" },
        ToDispatcher::Written { reference },
        ToDispatcher::Offline { reference },
        ToDispatcher::Deferred { reference, episode: 1, k: 2 },
        ToDispatcher::Expired { reference },
        ToDispatcher::Dropped { reference },
        ToDispatcher::Moved { reference, epoch: Epoch { number: 1, digest: 2 } },
        ToDispatcher::Returned {
            reference: None,
            app: "a",
            user: "u",
            id: "m",
            target_device: Some("d"),
            session: session(),
            seq: 3,
        },
        ToDispatcher::Online { app: "a", user: "u", episode: 1, round: 0, resume: Some((session(), 17)) },
        ToDispatcher::Online { app: "a", user: "u", episode: 1, round: 0, resume: None },
        ToDispatcher::ReplayMore { app: "a", user: "u", episode: 1, round: 0, k: 9 },
        ToDispatcher::Gone { app: "a", user: "u", episode: 1 },
        ToDispatcher::Credit { lane: Lane::High, bytes: 9 },
        ToDispatcher::Pong,
    ]
}

fn to_owner() -> Vec<ToOwner<'static>> {
    let more = [ToOwner::Live { app: "a", user: "u", episode: 7 }, ToOwner::Left { app: "a", user: "ü" }];
    to_dispatcher().into_iter().map(ToOwner::Said).chain(more).collect()
}

#[test]
fn every_frame_survives_the_wire() {
    for frame in to_gateway() {
        let mut out = Vec::new();
        frame.encode(&mut out);
        let (body, used) = take_frame(&out).unwrap().unwrap();
        assert_eq!(used, out.len());
        assert_eq!(ToGateway::decode(body), Ok(frame));
    }
    for frame in to_dispatcher() {
        let mut out = Vec::new();
        frame.encode(&mut out);
        let (body, _) = take_frame(&out).unwrap().unwrap();
        assert_eq!(ToDispatcher::decode(body), Ok(frame));
    }
    for frame in to_owner() {
        let mut out = Vec::new();
        frame.encode(&mut out);
        let (body, _) = take_frame(&out).unwrap().unwrap();
        assert_eq!(ToOwner::decode(body), Ok(frame));
    }
}

#[test]
fn what_hosts_say_of_guests_alone_is_no_frame_to_a_dispatcher() {
    let mut out = Vec::new();
    ToOwner::Left { app: "a", user: "u" }.encode(&mut out);
    assert!(matches!(ToDispatcher::decode(&out[4..]), Err(FrameError::Kind { .. })));
}

#[test]
fn a_frame_cut_anywhere_is_incomplete_or_an_error() {
    for frame in to_owner() {
        let mut out = Vec::new();
        frame.encode(&mut out);
        for cut in 0..out.len() {
            assert_eq!(take_frame(&out[..cut]).unwrap(), None);
        }
        let body = &out[4..];
        for cut in 0..body.len() {
            assert!(ToOwner::decode(&body[..cut]).is_err());
        }
        let longer: Vec<u8> = body.iter().copied().chain([0]).collect();
        assert!(ToOwner::decode(&longer).is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ToGateway::decode(&body);
        let _ = ToOwner::decode(&body);
        let _ = take_frame(&body);
    }
}
