//! The codec against every cut and fragmentation of the stream, noise, and each breach the RFC names.

use proptest::prelude::*;

use super::{Decoder, Event, Opcode, Rules, Violation, write};
use crate::close::CloseCode;

const SERVER: Rules = Rules { masked: true, message_bytes_max: 1 << 20, deflate: false };
const KEY: [u8; 4] = [0xa5, 0x01, 0xff, 0x33];

/// An event that owns what it holds.
#[derive(Debug, Clone, PartialEq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn own(event: Event<'_>) -> Got {
    match event {
        Event::Text(t) => Got::Text(t.into()),
        Event::Binary(b) => Got::Binary(b.into()),
        Event::Ping(b) => Got::Ping(b.into()),
        Event::Pong(b) => Got::Pong(b.into()),
        Event::Close(c, r) => Got::Close(c.map(|c| c.0), r.into()),
    }
}

/// Feeds `bytes` in pieces that end at `cuts`.
fn decode(rules: &Rules, bytes: &[u8], cuts: &[usize]) -> (Vec<Got>, Option<Violation>, Decoder) {
    let mut decoder = Decoder::default();
    let mut got = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    for end in ends {
        let mut piece = bytes[start..end].to_vec();
        start = end;
        let mut at = 0;
        loop {
            match decoder.next(rules, &mut piece[at..]) {
                Err(violation) => return (got, Some(violation), decoder),
                Ok((used, None)) => {
                    assert_eq!(used, piece.len() - at, "without an event everything is used");
                    break;
                }
                Ok((used, Some(event))) => {
                    got.push(own(event));
                    at += used;
                }
            }
        }
    }
    (got, None, decoder)
}

fn client(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write::masked(&mut out, opcode, fin, KEY, payload);
    out
}

fn violation(bytes: &[u8]) -> Option<Violation> {
    let (_, whole, _) = decode(&SERVER, bytes, &[]);
    let every: Vec<usize> = (0..bytes.len()).collect();
    let (_, split, _) = decode(&SERVER, bytes, &every);
    assert_eq!(whole, split, "cuts do not change the verdict");
    whole
}

#[test]
fn an_idle_decoder_is_one_word() {
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());
}

#[test]
fn control_frames_come_between_fragments() {
    let mut bytes = client(Opcode::Text, false, "grü".as_bytes());
    bytes.extend(client(Opcode::Ping, true, b"p"));
    bytes.extend(client(Opcode::Continuation, false, b""));
    bytes.extend(client(Opcode::Pong, true, b""));
    bytes.extend(client(Opcode::Continuation, true, "ße".as_bytes()));
    bytes.extend(client(Opcode::Close, true, &[0x03, 0xe8, b'x']));
    let expected =
        [Got::Ping(b"p".into()), Got::Pong(vec![]), Got::Text("grüße".into()), Got::Close(Some(1000), "x".into())];
    let every: Vec<usize> = (0..bytes.len()).collect();
    for cuts in [&[][..], &every] {
        let (got, violation, decoder) = decode(&SERVER, &bytes, cuts);
        assert_eq!((got.as_slice(), violation), (&expected[..], None));
        assert!(decoder.is_idle());
    }
}

#[test]
fn a_character_may_be_cut_by_fragments_but_not_left_incomplete() {
    let mut bytes = client(Opcode::Text, false, &[0xc3]);
    bytes.extend(client(Opcode::Continuation, true, &[0xbc]));
    assert_eq!(decode(&SERVER, &bytes, &[]).0, [Got::Text("ü".into())]);
    let mut bytes = client(Opcode::Text, false, &[0xc3]);
    bytes.extend(client(Opcode::Continuation, true, b""));
    assert_eq!(violation(&bytes), Some(Violation::Utf8));
}

#[test]
fn bad_text_is_refused_before_its_message_is_complete() {
    let bytes = client(Opcode::Text, true, &[b'a', 0xff, b'b', b'c', b'd']);
    let (_, refused, _) = decode(&SERVER, &bytes[..8], &[]);
    assert_eq!(refused, Some(Violation::Utf8));
}

#[test]
fn each_breach_of_the_framing_has_its_name() {
    let with = |at: usize, value: u8| {
        let mut bytes = client(Opcode::Text, true, b"hello");
        bytes[at] = value;
        bytes
    };
    assert_eq!(violation(&with(0, 0xc1)), Some(Violation::Reserved(0x40)));
    assert_eq!(violation(&with(0, 0x83)), Some(Violation::Opcode(3)));
    assert_eq!(violation(&with(1, 5)), Some(Violation::Mask(false)));
    assert_eq!(violation(&client(Opcode::Ping, false, b"")), Some(Violation::Control));
    assert_eq!(violation(&client(Opcode::Ping, true, &[0; 126])), Some(Violation::Control));
    assert_eq!(violation(&client(Opcode::Continuation, true, b"")), Some(Violation::Order));
    let twice = [client(Opcode::Text, false, b"a"), client(Opcode::Text, true, b"b")].concat();
    assert_eq!(violation(&twice), Some(Violation::Order));
    assert_eq!(violation(&[0x82, 0xfe, 0, 125, 0, 0, 0, 0]), Some(Violation::Length));
    assert_eq!(violation(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), Some(Violation::Length));
    assert_eq!(violation(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Some(Violation::Length));
    assert_eq!(violation(&client(Opcode::Close, true, &[3])), Some(Violation::CloseCode));
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(violation(&client(Opcode::Close, true, &code.to_be_bytes())), Some(Violation::CloseCode), "{code}");
    }
    assert_eq!(violation(&client(Opcode::Close, true, &[3, 0xe8, 0xff])), Some(Violation::Utf8));
    assert_eq!(Violation::Utf8.close_code(), CloseCode::NOT_UTF8);
}

#[test]
fn a_message_above_the_limit_is_refused_whole_or_in_fragments() {
    let rules = Rules { masked: true, message_bytes_max: 10, deflate: false };
    let too_big = Some(Violation::TooBig { max: 10 });
    assert_eq!(decode(&rules, &client(Opcode::Binary, true, &[0; 10]), &[]).1, None);
    assert_eq!(decode(&rules, &client(Opcode::Binary, true, &[0; 11])[..6], &[]).1, too_big);
    let pieces = [client(Opcode::Binary, false, &[0; 6]), client(Opcode::Continuation, true, &[0; 5])].concat();
    assert_eq!(decode(&rules, &pieces, &[]).1, too_big);
}

#[test]
fn a_close_reason_is_cut_to_fit() {
    let mut out = Vec::new();
    write::close(&mut out, CloseCode::BAD_FRAME, &"ü".repeat(100));
    let (got, _, _) = decode(&Rules { masked: false, ..SERVER }, &out, &[]);
    assert_eq!(got, [Got::Close(Some(4500), "ü".repeat(61))]);
}

fn message() -> impl Strategy<Value = (Got, Vec<usize>)> {
    let payload = prop_oneof![
        ".{0,40}".prop_map(Got::Text),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Got::Binary),
        proptest::collection::vec(any::<u8>(), 65_530..65_540).prop_map(Got::Binary),
        proptest::collection::vec(any::<u8>(), 0..126).prop_map(Got::Ping),
        proptest::collection::vec(any::<u8>(), 0..126).prop_map(Got::Pong),
    ];
    (payload, proptest::collection::vec(any::<usize>(), 0..4))
}

/// Writes a message as a client would, data in fragments that end at `cuts`.
fn write_fragmented(out: &mut Vec<u8>, got: &Got, cuts: &[usize]) {
    let (opcode, payload) = match got {
        Got::Text(t) => (Opcode::Text, t.as_bytes()),
        Got::Binary(b) => (Opcode::Binary, b.as_slice()),
        Got::Ping(b) => return write::masked(out, Opcode::Ping, true, KEY, b),
        Got::Pong(b) => return write::masked(out, Opcode::Pong, true, KEY, b),
        Got::Close(..) => unreachable!("not generated"),
    };
    let mut ends: Vec<usize> = cuts.iter().map(|c| c % (payload.len() + 1)).collect();
    ends.push(payload.len());
    ends.sort_unstable();
    let mut start = 0;
    for (i, &end) in ends.iter().enumerate() {
        let opcode = if i == 0 { opcode } else { Opcode::Continuation };
        let key = [i as u8, 1, 2, end as u8];
        write::masked(out, opcode, i + 1 == ends.len(), key, &payload[start..end]);
        start = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_survive_any_fragmentation_and_any_cut_of_the_stream(
        messages in proptest::collection::vec(message(), 0..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut bytes = Vec::new();
        for (got, fragments) in &messages {
            write_fragmented(&mut bytes, got, fragments);
        }
        let (got, violation, decoder) = decode(&SERVER, &bytes, &cuts);
        let expected: Vec<Got> = messages.into_iter().map(|(m, _)| m).collect();
        prop_assert_eq!(violation, None);
        prop_assert_eq!(got, expected);
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn server_frames_are_read_by_a_client(payload in proptest::collection::vec(any::<u8>(), 0..70_000)) {
        let mut bytes = Vec::new();
        write::frame(&mut bytes, Opcode::Binary, &payload);
        let (got, violation, _) = decode(&Rules { masked: false, ..SERVER }, &bytes, &[3, 9]);
        prop_assert_eq!((got, violation), (vec![Got::Binary(payload)], None));
    }

    #[test]
    fn noise_gives_the_same_events_and_verdict_however_it_is_cut(
        noise in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 2 => Just(0x81u8), 2 => Just(0x82), 1 => Just(0)], 0..400),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let rules = Rules { masked: false, message_bytes_max: 64, deflate: false };
        let (whole, verdict, _) = decode(&rules, &noise, &[]);
        let (split, split_verdict, _) = decode(&rules, &noise, &cuts);
        prop_assert!(split.starts_with(&whole) || whole.starts_with(&split));
        prop_assert_eq!(verdict.is_some(), split_verdict.is_some());
    }
}
