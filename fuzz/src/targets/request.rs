//! A client's request: whatever comes is answered with well-formed HTTP, the same however it is cut, and only who has a
//! good token gets a session.

use pushgate_gateway::trial::{Outcome, first_bytes};
use pushgate_protocol::ws::handshake::accept;

use super::{APPS, NOW_S, TOKENS, Target, with_tokens};

const HEAD_BYTES_MAX: usize = 2048;

pub(super) const TARGET: Target = Target {
    name: "request",
    run,
    words: &[
        b"GET /v1/ws HTTP/1.1\r\n",
        b"GET /v1/echo HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET http://h/v1/ws?token=$C HTTP/1.1\r\n",
        b"?token=$C",
        b"&resume=0000000000000007000300000000002a&seq=17",
        b"Host: h\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: keep-alive, Upgrade\r\n",
        b"Sec-WebSocket-Version: 13\r\n",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"Sec-WebSocket-Protocol: pushgate.v1, bearer.$C\r\n",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        b"; server_max_window_bits=\"1\\0\"",
        b"Authorization: Bearer $C\r\n",
        b"Authorization: Bearer $A\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"%41",
        b"\r\n\r\n",
        b"HTTP/1.0",
        b"POST",
    ],
    modules: &[
        "gateway/src/upgrade/request.rs",
        "gateway/src/upgrade/route.rs",
        "gateway/src/upgrade/answer.rs",
        "protocol/src/ws/handshake.rs",
        "protocol/src/ws/extension.rs",
    ],
    input_bytes_max: 3000,
    heap_bytes_max: 1 << 20,
};

fn run(input: &[u8]) {
    let Some((&cut, text)) = input.split_first() else { return };
    // Bytes that are no UTF-8 stay as they are; without them the tokens are put in.
    let bytes = std::str::from_utf8(text).map_or_else(|_| text.to_vec(), |text| with_tokens(text).into_bytes());
    let judge = |bytes: &[u8]| first_bytes(bytes, HEAD_BYTES_MAX, &APPS, NOW_S);
    let whole = judge(&bytes);
    match &whole {
        Outcome::More => assert!(bytes.len() < HEAD_BYTES_MAX, "a head has a bound"),
        Outcome::Answer(answer) => check_answer(answer),
        Outcome::Upgraded { preface, early, user } => {
            assert!(bytes.ends_with(early), "nothing of what came early is lost");
            check_upgrade(preface, &bytes);
            if let Some(user) = user {
                assert_eq!(user, "u1");
                let text = String::from_utf8_lossy(&bytes);
                let encoded = TOKENS[0].replace('.', "%2E");
                let decoded = text.replace("%2e", ".");
                assert!(
                    text.contains('%') || text.contains(&TOKENS[0]) || decoded.contains(&encoded),
                    "a session needs the token"
                );
            }
        }
    }
    for end in [usize::from(cut) % (bytes.len() + 1), bytes.len() / 2, bytes.len().saturating_sub(1)] {
        match (judge(&bytes[..end]), &whole) {
            (Outcome::More, _) => {}
            (Outcome::Answer(part), Outcome::Answer(all)) => assert_eq!(&part, all, "cut at {end}"),
            (Outcome::Upgraded { preface: part, .. }, Outcome::Upgraded { preface: all, .. }) => assert_eq!(&part, all),
            (part, all) => panic!("cut at {end}: {part:?}, whole: {all:?}"),
        }
    }
}

/// It is one HTTP answer, no more.
fn check_answer(answer: &[u8]) {
    let mut lines = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut lines);
    let head = match response.parse(answer) {
        Ok(httparse::Status::Complete(n)) => n,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(answer)),
    };
    let length = response.headers.iter().find(|h| h.name == "Content-Length").expect("a length");
    let length: usize = std::str::from_utf8(length.value).ok().and_then(|v| v.parse().ok()).expect("a number");
    assert_eq!(answer.len() - head, length);
    assert_ne!(response.code, Some(101));
    for token in TOKENS.iter() {
        assert!(!String::from_utf8_lossy(answer).contains(token.as_str()), "no token is repeated");
    }
}

fn check_upgrade(preface: &[u8], request: &[u8]) {
    let preface = std::str::from_utf8(preface).expect("ASCII");
    assert!(preface.starts_with("HTTP/1.1 101 ") && preface.ends_with("\r\n\r\n") && preface.is_ascii());
    assert_eq!(preface.matches("\r\n\r\n").count(), 1, "one head");
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut lines);
    assert!(parsed.parse(request).is_ok_and(|s| s.is_complete()));
    let key = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case("sec-websocket-key")).expect("a key");
    let key = std::str::from_utf8(key.value).expect("ASCII").trim();
    assert!(preface.contains(&format!("\r\nSec-WebSocket-Accept: {}\r\n", accept(key))));
}
