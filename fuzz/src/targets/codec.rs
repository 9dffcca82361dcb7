//! RFC 6455 frames: the same events and the same verdict however the stream is cut; what was read can be written and read
//! again; what is kept stays within the bound.

use pushgate_protocol::ws::{Decoder, Event, Opcode, Rules, Violation, deflate::deflated_bytes_max, write};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "codec",
    run,
    words: &[
        b"\x81\x85\0\0\0\0hello",
        b"\x01\x83\x01\x02\x03\x04abc",
        b"\x80\x80\0\0\0\0",
        b"\x00\x81\0\0\0\0x",
        b"\x89\x80\0\0\0\0",
        b"\x8a\x82\0\0\0\0ok",
        b"\x88\x82\0\0\0\0\x03\xe8",
        b"\x82\xfe\x00\x7e\0\0\0\0",
        b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0",
        b"\xe2\x82\xac",
        b"\xf0\x9f\x92\xa9",
        b"\x81\x02hi",
        b"\x01\x01",
        b"\x80\x02",
        b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x41\x83\0\0\0\0\xf2\x48\xcd",
        b"\x80\x84\0\0\0\0\xc9\xc9\x07\x00",
        b"\xc2\x81\0\0\0\0\0",
    ],
    modules: &[
        "protocol/src/ws/decode.rs",
        "protocol/src/ws/head.rs",
        "protocol/src/ws/deflate.rs",
        "protocol/src/ws/write.rs",
        "protocol/src/ws/mask.rs",
    ],
    input_bytes_max: 4096,
    heap_bytes_max: 1 << 20,
};

/// An event that owns what it holds.
#[derive(Debug, PartialEq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn own(event: Event<'_>) -> Got {
    match event {
        Event::Text(text) => Got::Text(text.into()),
        Event::Binary(bytes) => Got::Binary(bytes.into()),
        Event::Ping(bytes) => Got::Ping(bytes.into()),
        Event::Pong(bytes) => Got::Pong(bytes.into()),
        Event::Close(code, reason) => Got::Close(code.map(|c| c.0), reason.into()),
    }
}

/// All events up to a violation or a close.
fn read<'a>(rules: &Rules, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Got>, Option<Violation>, bool) {
    let (mut decoder, mut got) = (Decoder::default(), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.next(rules, &mut piece[at..]) {
                Err(violation) => {
                    assert!(violation.close_code().valid_on_wire());
                    return (got, Some(violation), false);
                }
                Ok((used, None)) => {
                    assert_eq!(used, piece.len() - at, "without an event everything is used");
                    break;
                }
                Ok((used, Some(event))) => {
                    got.push(own(event));
                    if let Some(Got::Close(..)) = got.last() {
                        return (got, None, true);
                    }
                    at += used;
                }
            }
        }
        assert!(decoder.held_bytes() <= deflated_bytes_max(rules.message_bytes_max), "what is kept is bounded");
    }
    (got, None, decoder.is_idle())
}

fn run(input: &[u8]) {
    let Some((&[flags, cut], stream)) = input.split_first_chunk::<2>() else { return };
    let rules = Rules {
        masked: flags & 1 == 0,
        message_bytes_max: if flags & 2 == 0 { 1 << 16 } else { 40 },
        deflate: flags & 4 != 0,
    };
    let whole = read(&rules, std::iter::once(stream));
    let cut = usize::from(cut) % (stream.len() + 1);
    assert_eq!(whole, read(&rules, [&stream[..cut], &stream[cut..]].into_iter()), "cut at {cut}");
    assert_eq!(whole, read(&rules, stream.chunks(1)), "byte by byte");
    assert_eq!(whole, read(&rules, stream.chunks(1 + cut)), "in pieces");

    let mut again = Vec::new();
    for (n, got) in whole.0.iter().enumerate() {
        let close;
        let (opcode, payload) = match got {
            Got::Text(text) => (Opcode::Text, text.as_bytes()),
            Got::Binary(bytes) => (Opcode::Binary, bytes.as_slice()),
            Got::Ping(bytes) => (Opcode::Ping, bytes.as_slice()),
            Got::Pong(bytes) => (Opcode::Pong, bytes.as_slice()),
            Got::Close(None, _) => (Opcode::Close, &[][..]),
            Got::Close(Some(code), reason) => {
                close = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
                (Opcode::Close, close.as_slice())
            }
        };
        match (rules.masked, got) {
            (true, _) => write::masked(&mut again, opcode, true, [n as u8, cut as u8, 7, 0xff], payload),
            (false, Got::Close(Some(code), reason)) => {
                write::close(&mut again, pushgate_protocol::close::CloseCode(*code), reason);
            }
            (false, _) => write::frame(&mut again, opcode, payload),
        }
    }
    let (got, violation, idle) = read(&rules, std::iter::once(again.as_slice()));
    assert_eq!((&got, violation, idle), (&whole.0, None, true), "what was read is written and read again");
}
