//! Frames of clients: cut out of the stream, unmasked, read; and written.

use std::hint::black_box;

use pushgate_protocol::{
    ids::{BootId, SessionId},
    wire::{ServerFrame, Wire, v1},
    ws::{Decoder, Event, Opcode, Rules, write},
};

use super::{Cases, Step};

pub(super) const CASES: Cases = &[
    ("codec/ack_in", ack_in),
    ("codec/ack_in_two_parts", ack_in_two_parts),
    ("codec/receipt_in", receipt_in),
    ("codec/unmask_4096", unmask_4096),
    ("codec/mask_4096", mask_4096),
    ("codec/push_out", push_out),
    ("codec/hello_out", hello_out),
];

const RULES: Rules = Rules { masked: true, message_bytes_max: 65_536, deflate: false };
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const ACK: &[u8] = br#"{"type":"ack","seq":123456}"#;

/// A client's frame.
pub(super) fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write::masked(&mut frame, opcode, true, KEY, payload);
    frame
}

fn ack_in() -> Step {
    text_in(ACK, None)
}

fn ack_in_two_parts() -> Step {
    text_in(ACK, Some(11))
}

fn receipt_in() -> Step {
    text_in(br#"{"type":"receipt","ids":["01926f3e-7b1c-7c3a-9a54-0d6b3d1f2a77","m2"],"event":"read"}"#, None)
}

/// Reads a text of the dialect, which comes whole or cut at a byte.
fn text_in(text: &'static [u8], cut: Option<usize>) -> Step {
    let frame = masked(Opcode::Text, text);
    let (mut decoder, mut input) = (Decoder::default(), Vec::with_capacity(frame.len()));
    Box::new(move || {
        // A decoder unmasks in place.
        input.clear();
        input.extend_from_slice(black_box(&frame));
        let (first, rest) = input.split_at_mut(cut.unwrap_or(0));
        if cut.is_some() {
            assert!(matches!(decoder.next(&RULES, first), Ok((_, None))), "more is to come");
        }
        match decoder.next(&RULES, rest) {
            Ok((_, Some(Event::Text(text)))) => drop(black_box(v1::V1.decode(text))),
            other => panic!("a text was sent: {other:?}"),
        }
        assert!(matches!(decoder.next(&RULES, &mut []), Ok((0, None))), "nothing follows");
    })
}

fn unmask_4096() -> Step {
    let frame = masked(Opcode::Binary, &[b'x'; 4_096]);
    let (mut decoder, mut input) = (Decoder::default(), Vec::with_capacity(frame.len()));
    Box::new(move || {
        input.clear();
        input.extend_from_slice(black_box(&frame));
        let event = decoder.next(&RULES, &mut input).expect("the frame is one");
        assert!(matches!(black_box(event), (_, Some(Event::Binary(_)))), "it came whole");
    })
}

fn mask_4096() -> Step {
    let (payload, mut out) = (vec![b'x'; 4_096], Vec::with_capacity(4_200));
    Box::new(move || {
        out.clear();
        write::masked(&mut out, Opcode::Binary, true, black_box(KEY), black_box(&payload));
        black_box(&out);
    })
}

/// What a session writes of a push that all of its user's sessions share.
fn push_out() -> Step {
    let tail = v1::tail("01926f3e-7b1c-7c3a-9a54-0d6b3d1f2a77", 1_764_000_000_000, "user", Some("T"), Some("B"), None);
    let (mut head, mut out, mut seq) = (Vec::with_capacity(64), Vec::with_capacity(1_024), 100_000);
    Box::new(move || {
        seq = 100_000 + (seq + 1) % 100_000;
        head.clear();
        out.clear();
        v1::V1.push_head(black_box(seq), false, &mut head);
        write::head(&mut out, Opcode::Text, head.len() + tail.len());
        out.extend_from_slice(&head);
        out.extend_from_slice(black_box(&tail));
        black_box(&out);
    })
}

fn hello_out() -> Step {
    let session = SessionId { boot: BootId(0x7f3a_9c51_22d0_b6e4), serial: 987_654 };
    let mut out = Vec::with_capacity(512);
    Box::new(move || {
        out.clear();
        let hello = ServerFrame::Hello {
            session: black_box(session),
            user: black_box("user-of-24-bytes-0000017"),
            time_ms: 1_764_000_000_000,
            expires_ms: 1_764_003_600_000,
            heartbeat_s: 30,
            resumed: false,
        };
        v1::V1.encode(&hello, &mut out);
        black_box(&out);
    })
}
