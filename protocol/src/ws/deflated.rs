//! Deflated messages through the decoder: what RFC 7692 section 6 allows of RSV1, and each way to fail. Fed whole, byte by byte and
//! in pieces of seven.

use super::{
    Rules,
    conformance::{Sent, bytes_of, hear},
    deflate::{Deflater, deflated_bytes_max},
};

const RULES: Rules = Rules { masked: true, message_bytes_max: 1_000, deflate: true };
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = FIN | 9;

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::default().deflate(plain, &mut out);
    out
}

fn judge(rules: &Rules, frames: &[Sent<'_>], expected: &[&str]) {
    let bytes = bytes_of(frames);
    for piece_bytes in [bytes.len().max(1), 7, 1] {
        assert_eq!(hear(rules, &bytes, piece_bytes), expected, "frames {frames:x?} in pieces of {piece_bytes}");
    }
}

#[test]
fn messages_are_inflated_whole_or_in_fragments_and_plain_ones_stay_as_they_are() {
    let hello = deflated("grüße".as_bytes());
    let (a, b) = hello.split_at(hello.len() / 2);
    judge(&RULES, &[(FIN | RSV1 | TEXT, &hello), (FIN | TEXT, b"plain")], &["text grüße", "text plain"]);
    judge(&RULES, &[(RSV1 | TEXT, a), (0, b""), (PING, b"p"), (FIN, b)], &["ping of 1", "text grüße"]);
    judge(&RULES, &[(RSV1 | BINARY, b""), (0, a), (0, b), (FIN, b"")], &["binary of 7"]);
    judge(&RULES, &[(FIN | RSV1 | TEXT, &[0]), (FIN | RSV1 | BINARY, &deflated(b""))], &["text ", "binary of 0"]);
    judge(&RULES, &[(TEXT, b"a"), (FIN, b"b"), (FIN | RSV1 | TEXT, &hello)], &["text ab", "text grüße"]);
}

#[test]
fn rsv1_fails_where_it_may_not_be() {
    let hello = deflated(b"hello");
    let plain = Rules { deflate: false, ..RULES };
    judge(&plain, &[(FIN | TEXT, b"ok"), (FIN | RSV1 | TEXT, &hello)], &["text ok", "fail 1002"]);
    judge(&RULES, &[(RSV1 | TEXT, &hello), (FIN | RSV1, b"")], &["fail 1002"]);
    judge(&RULES, &[(TEXT, b"a"), (FIN | RSV1, &hello)], &["fail 1002"]);
    for control in [8, 9, 10] {
        judge(&RULES, &[(FIN | RSV1 | control, b"")], &["fail 1002"]);
    }
    for others in [0x20, 0x10, 0x60, 0x50, 0x70] {
        judge(&RULES, &[(FIN | others | TEXT, &hello)], &["fail 1002"]);
    }
}

#[test]
fn what_does_not_inflate_and_text_that_is_not_utf8_fail() {
    let long = deflated(b"hello hello hello");
    judge(&RULES, &[(FIN | RSV1 | TEXT, &long[..long.len() - 1])], &["fail 1007"]);
    judge(&RULES, &[(RSV1 | BINARY, &long[..4]), (FIN, b"\xff\xff")], &["fail 1007"]);
    judge(&RULES, &[(FIN | RSV1 | BINARY, b"")], &["fail 1007"]);
    let bad = deflated(b"a\xff");
    judge(&RULES, &[(FIN | RSV1 | TEXT, &bad)], &["fail 1007"]);
    judge(&RULES, &[(RSV1 | TEXT, &bad[..1]), (FIN, &bad[1..])], &["fail 1007"]);
    judge(&RULES, &[(FIN | RSV1 | BINARY, &bad)], &["binary of 2"]);
}

#[test]
fn the_bound_is_on_what_a_message_inflates_to() {
    let (most, more) = (deflated(&[b'a'; 1_000]), deflated(&[b'a'; 1_001]));
    judge(&RULES, &[(FIN | RSV1 | TEXT, &most), (FIN | RSV1 | TEXT, &more)], &["text of 1000", "fail 1009"]);
    judge(&RULES, &[(RSV1 | TEXT, &more[..3]), (FIN, &more[3..])], &["fail 1009"]);
    let bomb = deflated(&vec![0; 700_000]);
    assert!(bomb.len() < RULES.message_bytes_max, "its head does not tell");
    judge(&RULES, &[(FIN | RSV1 | BINARY, &bomb)], &["fail 1009"]);
    // What does not compress is a little longer than what it holds; plain messages may not be.
    let noise: Vec<u8> = (0..1_000_u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    let stored = [&[0, 0xe8, 3, 0x17, 0xfc], &noise[..], &[0]].concat();
    judge(&RULES, &[(FIN | RSV1 | BINARY, &stored)], &["binary of 1000"]);
    judge(&RULES, &[(RSV1 | BINARY, &stored[..9]), (FIN, &stored[9..])], &["binary of 1000"]);
    judge(&RULES, &[(BINARY, &noise), (FIN, b"x")], &["fail 1009"]);
    let too_long = vec![0; deflated_bytes_max(RULES.message_bytes_max) + 1];
    let head = &bytes_of(&[(FIN | RSV1 | BINARY, &too_long)])[..8];
    assert_eq!(hear(&RULES, head, 1), ["fail 1009"], "told by its head");
}
