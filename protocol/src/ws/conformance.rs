//! The cases that a WebSocket endpoint is commonly judged by, section by section of RFC 6455: what is sent, what is heard
//! of it, and with which code the connection fails. Each is fed whole, byte by byte and in pieces of seven.

use super::{Decoder, Event, Opcode, Rules, write};

const RULES: Rules = Rules { masked: true, message_bytes_max: 1 << 17, deflate: false };

/// One frame of a client: first byte (FIN, RSV, opcode) and payload.
pub(super) type Sent<'a> = (u8, &'a [u8]);

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = FIN | 8;
const PING: u8 = FIN | 9;
const PONG: u8 = FIN | 10;

pub(super) fn bytes_of(frames: &[Sent<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, (first, payload)) in frames.iter().enumerate() {
        let start = out.len();
        write::masked(&mut out, Opcode::Binary, true, [i as u8, 0x5a, 0xa5, 0xff], payload);
        out[start] = *first;
    }
    out
}

/// What was heard in words, ending in the code of a failure if there was one.
pub(super) fn hear(rules: &Rules, bytes: &[u8], piece_bytes: usize) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut heard = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.next(rules, &mut piece[at..]) {
                Ok((_, None)) => break,
                Ok((used, Some(event))) => {
                    at += used;
                    heard.push(words(event));
                    if matches!(event, Event::Close(..)) {
                        return heard;
                    }
                }
                Err(violation) => {
                    heard.push(format!("fail {}", violation.close_code().0));
                    return heard;
                }
            }
        }
    }
    heard
}

fn words(event: Event<'_>) -> String {
    match event {
        Event::Text(text) if text.len() > 40 => format!("text of {}", text.len()),
        Event::Text(text) => format!("text {text}"),
        Event::Binary(bytes) => format!("binary of {}", bytes.len()),
        Event::Ping(bytes) => format!("ping of {}", bytes.len()),
        Event::Pong(bytes) => format!("pong of {}", bytes.len()),
        Event::Close(None, reason) => format!("close {reason:?}"),
        Event::Close(Some(code), reason) => format!("close {} of {}", code.0, reason.len()),
    }
}

fn judge(frames: &[Sent<'_>], expected: &[&str]) {
    let bytes = bytes_of(frames);
    for piece_bytes in [bytes.len().max(1), 7, 1] {
        let heard = hear(&RULES, &bytes, piece_bytes);
        assert_eq!(heard, expected, "frames {frames:x?} in pieces of {piece_bytes}");
    }
}

#[test]
fn payloads_of_every_length_class_arrive() {
    for n in [0, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = vec![b'*'; n];
        let text = if n > 40 { format!("text of {n}") } else { "text ".to_owned() };
        judge(&[(FIN | TEXT, &payload)], &[&text]);
        judge(&[(FIN | BINARY, &payload)], &[&format!("binary of {n}")]);
    }
}

#[test]
fn control_frames_carry_up_to_125_bytes() {
    for n in [0, 1, 125] {
        judge(&[(PING, &vec![0xfe; n])], &[&format!("ping of {n}")]);
        judge(&[(PONG, &vec![0xfe; n])], &[&format!("pong of {n}")]);
    }
    for first in [PING, PONG, CLOSE] {
        judge(&[(first, &[0xfe; 126])], &["fail 1002"]);
        judge(&[(first & !FIN, b"")], &["fail 1002"]);
    }
    let ten: Vec<Sent<'_>> = (0..10).map(|_| (PING, &b"payload"[..])).collect();
    judge(&ten, &["ping of 7"; 10]);
}

#[test]
fn reserved_bits_fail_wherever_they_are_set() {
    for rsv in 1..8u8 {
        judge(&[(FIN | TEXT, b"ok"), (rsv << 4 | FIN | TEXT, b"bad"), (PING, b"")], &["text ok", "fail 1002"]);
        judge(&[(rsv << 4 | PING, b"")], &["fail 1002"]);
        judge(&[(rsv << 4 | CLOSE, b"")], &["fail 1002"]);
        judge(&[(TEXT, b"a"), (rsv << 4 | FIN, b"b")], &["fail 1002"]);
    }
}

#[test]
fn reserved_opcodes_fail() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        judge(&[(FIN | opcode, b"")], &["fail 1002"]);
        judge(&[(FIN | TEXT, b"ok"), (FIN | opcode, b"x"), (PING, b"")], &["text ok", "fail 1002"]);
    }
}

#[test]
fn fragments_make_one_message_with_control_frames_in_between() {
    judge(&[(TEXT, b"frag1"), (FIN, b"frag2")], &["text frag1frag2"]);
    judge(&[(TEXT, b"frag1"), (PING, b"p"), (FIN, b"frag2")], &["ping of 1", "text frag1frag2"]);
    judge(&[(BINARY, b""), (0, b""), (FIN, b"")], &["binary of 0"]);
    judge(&[(TEXT, b""), (0, b"m"), (FIN, b"")], &["text m"]);
    judge(&[(TEXT, b"a"), (CLOSE, &[3, 232]), (FIN, b"b")], &["close 1000 of 0"]);
    judge(&[(TEXT, b"a"), (FIN, b"b"), (TEXT, b"c"), (FIN, b"d")], &["text ab", "text cd"]);
}

#[test]
fn fragments_out_of_order_fail() {
    judge(&[(FIN, b"x")], &["fail 1002"]);
    judge(&[(0, b"x")], &["fail 1002"]);
    judge(&[(FIN | TEXT, b"a"), (FIN, b"b")], &["text a", "fail 1002"]);
    judge(&[(TEXT, b"a"), (FIN | TEXT, b"b")], &["fail 1002"]);
    judge(&[(TEXT, b"a"), (BINARY, b"b")], &["fail 1002"]);
    judge(&[(TEXT, b"a"), (FIN, b"b"), (0, b"c"), (FIN | TEXT, b"d")], &["text ab", "fail 1002"]);
}

/// The first byte at which each sequence cannot become UTF-8 any more (Unicode 16, table 3-7), or `None` if all is well.
const UTF8: &[(&[u8], Option<usize>)] = &[
    ("κόσμε".as_bytes(), None),
    (b"\xc2\x80", None),
    (b"\xdf\xbf", None),
    (b"\xe0\xa0\x80", None),
    (b"\xed\x9f\xbf", None),
    (b"\xee\x80\x80", None),
    (b"\xef\xbf\xbd", None),
    (b"\xef\xbf\xbe", None),
    (b"\xef\xbf\xbf", None),
    (b"\xf0\x90\x80\x80", None),
    (b"\xf4\x8f\xbf\xbf", None),
    (b"\xf4\x90\x80\x80", Some(1)),
    (b"\xf5\x80\x80\x80", Some(0)),
    (b"\xf8\x88\x80\x80\x80", Some(0)),
    (b"\xfe", Some(0)),
    (b"\xff", Some(0)),
    (b"\x80", Some(0)),
    (b"\xbf", Some(0)),
    (b"\xc0\xaf", Some(0)),
    (b"\xc1\xbf", Some(0)),
    (b"\xe0\x80\xaf", Some(1)),
    (b"\xe0\x9f\xbf", Some(1)),
    (b"\xf0\x80\x80\xaf", Some(1)),
    (b"\xf0\x8f\xbf\xbf", Some(1)),
    (b"\xed\xa0\x80", Some(1)),
    (b"\xed\xad\xbf", Some(1)),
    (b"\xed\xbf\xbf", Some(1)),
    (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", Some(12)),
    (b"\xc2\x41", Some(1)),
    (b"\xe2\x82\x41", Some(2)),
    (b"\xf0\x9f\x92\x41", Some(3)),
];

#[test]
fn utf8_is_checked_in_one_frame_and_across_fragments() {
    for &(bytes, bad) in UTF8 {
        let expected = match bad {
            None => format!("text {}", std::str::from_utf8(bytes).unwrap()),
            Some(_) => "fail 1007".to_owned(),
        };
        judge(&[(FIN | TEXT, bytes)], &[&expected]);
        for cut in 0..=bytes.len() {
            judge(&[(TEXT, &bytes[..cut]), (FIN, &bytes[cut..])], &[&expected]);
        }
        judge(&[(FIN | BINARY, bytes)], &[&format!("binary of {}", bytes.len())]);
    }
}

#[test]
fn a_byte_that_cannot_be_utf8_fails_at_once_though_its_message_goes_on() {
    for &(bytes, bad) in UTF8 {
        let Some(bad) = bad else { continue };
        // One frame, of which no more than the bad byte has come.
        let whole = bytes_of(&[(FIN | TEXT, &[bytes, b"and more to come"].concat())]);
        let head = whole.len() - bytes.len() - 16;
        assert_eq!(hear(&RULES, &whole[..head + bad], 1), [""; 0], "{bytes:x?}");
        assert_eq!(hear(&RULES, &whole[..=head + bad], 1), ["fail 1007"], "{bytes:x?}");
        assert_eq!(hear(&RULES, &whole[..=head + bad], whole.len()), ["fail 1007"], "{bytes:x?}");
        // Fragments, the last of which has not come.
        let (before, after) = bytes.split_at(bad);
        judge(&[(TEXT, before), (PING, b""), (0, &after[..1])], &["ping of 0", "fail 1007"]);
    }
}

#[test]
fn a_character_that_stays_incomplete_fails_at_the_end_of_its_message() {
    for bytes in [&b"\xc2"[..], b"\xe2\x82", b"\xf0\x9f\x92", b"ok \xf4\x8f\xbf"] {
        judge(&[(FIN | TEXT, bytes)], &["fail 1007"]);
        judge(&[(TEXT, bytes), (PING, b""), (FIN, b"")], &["ping of 0", "fail 1007"]);
        judge(&[(TEXT, bytes)], &[]);
    }
}

#[test]
fn closes_are_checked_code_by_code() {
    judge(&[(CLOSE, b"")], &["close \"\""]);
    judge(&[(CLOSE, &[3])], &["fail 1002"]);
    judge(&[(CLOSE, b"\x03\xe8Hello")], &["close 1000 of 5"]);
    judge(&[(CLOSE, &[&[3, 232][..], &[b'*'; 123]].concat())], &["close 1000 of 123"]);
    judge(&[(CLOSE, &[&[3, 232][..], &[b'*'; 124]].concat())], &["fail 1002"]);
    judge(&[(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")], &["fail 1007"]);
    judge(&[(CLOSE, b"\x03\xe8\xce")], &["fail 1007"]);
    judge(&[(CLOSE, b"\x03\xe8"), (PING, b""), (FIN | 3, b"")], &["close 1000 of 0"]);
    for code in 0..=u16::MAX {
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let expected = if valid { format!("close {code} of 0") } else { "fail 1002".to_owned() };
        let bytes = bytes_of(&[(CLOSE, &code.to_be_bytes())]);
        assert_eq!(hear(&RULES, &bytes, bytes.len()), [expected]);
    }
}

#[test]
fn clients_mask_and_servers_do_not() {
    let unmasked = [0x81, 2, b'h', b'i'];
    assert_eq!(hear(&RULES, &unmasked, 4), ["fail 1002"]);
    assert_eq!(hear(&RULES, &unmasked[..2], 1), ["fail 1002"], "it is told before the payload");
    let client = Rules { masked: false, ..RULES };
    assert_eq!(hear(&client, &unmasked, 1), ["text hi"]);
    assert_eq!(hear(&client, &bytes_of(&[(FIN | TEXT, b"hi")]), 1), ["fail 1002"]);
}

#[test]
fn lengths_are_in_their_shortest_form() {
    for (head, verdict) in [
        (&[0x82u8, 0xfe, 0, 125][..], &["fail 1002"][..]),
        (&[0x82, 0xfe, 0, 126], &[]),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], &["fail 1002"]),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], &[]),
        (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], &["fail 1002"]),
        (&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &["fail 1009"]),
    ] {
        assert_eq!(hear(&RULES, head, 1), verdict, "{head:x?}");
    }
}

#[test]
fn the_message_bound_counts_all_fragments_and_is_told_before_the_payload() {
    let rules = Rules { message_bytes_max: 300, ..RULES };
    let head = |frames: &[Sent<'_>], cut: usize| {
        let bytes = bytes_of(frames);
        hear(&rules, &bytes[..bytes.len() - cut], 1)
    };
    assert_eq!(head(&[(FIN | BINARY, &[0; 300])], 0), ["binary of 300"]);
    assert_eq!(head(&[(FIN | BINARY, &[0; 301])], 301), ["fail 1009"]);
    assert_eq!(head(&[(BINARY, &[0; 200]), (0, &[0; 100]), (FIN, b"")], 0), ["binary of 300"]);
    assert_eq!(head(&[(BINARY, &[0; 200]), (PING, &[0; 125]), (0, &[0; 101])], 101), ["ping of 125", "fail 1009"]);
}

#[test]
fn what_is_kept_of_an_unfinished_message_stays_within_the_bound() {
    let rules = Rules { message_bytes_max: 100_000, ..RULES };
    for (first, announced) in [(FIN | BINARY, 100_000), (BINARY, 70_000)] {
        let bytes = bytes_of(&[(first, &vec![7; announced])]);
        let mut decoder = Decoder::default();
        let mut came = 0;
        for piece in bytes[..bytes.len() - 1].chunks(1_000) {
            decoder.next(&rules, &mut piece.to_vec()).unwrap();
            came += piece.len();
            assert!(decoder.held_bytes() <= (2 * came).min(rules.message_bytes_max), "{came} bytes came");
        }
    }
}
