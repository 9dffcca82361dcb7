//! Frames of node links: what is read can be written and read again; a cut stream asks for more.

use pushgate_protocol::link::{ToDispatcher, ToGateway, ToOwner, handshake::Handshake, is_push, take_frame};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "link",
    run,
    words: &[
        b"PGLK",
        b"\x05\0\0\0H",
        b"\0\0\0\0\0\0\0\x01",
        b"\x04\0shop",
        b"\x02\0u1",
        b"\x01\0",
        b"\xff\xff\xff\xff",
    ],
    modules: &[
        "protocol/src/link/bytes.rs",
        "protocol/src/link/push.rs",
        "protocol/src/link/to_gateway.rs",
        "protocol/src/link/to_dispatcher.rs",
        "protocol/src/link/guest.rs",
        "protocol/src/link/handshake.rs",
    ],
    input_bytes_max: 1024,
    heap_bytes_max: 1 << 20,
};

fn run(input: &[u8]) {
    let mut rest = input;
    while let Ok(Some((body, used))) = take_frame(rest) {
        assert_eq!(body, &rest[4..used]);
        for cut in [used - 1, used / 2, 3] {
            assert_eq!(take_frame(&rest[..cut]), Ok(None), "a part asks for more");
        }
        body_is_read_and_written(body);
        rest = &rest[used..];
    }
    // The length word is the search's least concern: the whole input is a body, too.
    if !input.is_empty() {
        body_is_read_and_written(input);
    }
}

fn body_is_read_and_written(body: &[u8]) {
    let mut out = Vec::new();
    if let Ok(frame) = ToGateway::decode(body) {
        frame.encode(&mut out);
        assert_eq!(is_push(&out), matches!(frame, ToGateway::Push(_) | ToGateway::All(_)));
        assert_eq!(ToGateway::decode(&out[4..]), Ok(frame));
    }
    out.clear();
    if let Ok(frame) = ToDispatcher::decode(body) {
        frame.encode(&mut out);
        assert_eq!(ToDispatcher::decode(&out[4..]), Ok(frame));
    }
    out.clear();
    if let Ok(frame) = ToOwner::decode(body) {
        frame.encode(&mut out);
        assert_eq!(ToOwner::decode(&out[4..]), Ok(frame));
    }
    out.clear();
    if let Ok(frame) = Handshake::decode(body) {
        frame.encode(&mut out);
        assert_eq!(Handshake::decode(&out[4..]), Ok(frame));
    }
}
