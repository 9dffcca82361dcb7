//! A session against bytes written by hand.

use pushgate_protocol::ws::{Deflate, deflate::Deflater};

use super::*;

const MASKED: Rules = Rules { masked: true, message_bytes_max: FRAME_BYTES_MAX, deflate: false };

#[derive(Debug, PartialEq)]
enum Noted {
    Upgraded,
    Hello,
    Push(String, bool, bool),
    Gap(u64, u64),
    Message(Vec<u8>),
    Pong,
    Other,
}

fn note(heard: Heard<'_>) -> Noted {
    match heard {
        Heard::Upgraded => Noted::Upgraded,
        Heard::Hello => Noted::Hello,
        Heard::Push { id, follows, replay } => Noted::Push(id.into(), follows, replay),
        Heard::Gap { from, to } => Noted::Gap(from, to),
        Heard::Message(payload) => Noted::Message(payload.into()),
        Heard::Pong => Noted::Pong,
        Heard::Other => Noted::Other,
    }
}

fn feed(session: &mut Session, mut bytes: Vec<u8>, out: &mut Vec<u8>) -> Result<Vec<Noted>, Over> {
    let mut noted = Vec::new();
    session.feed(&mut bytes, out, &mut |heard| noted.push(note(heard)))?;
    Ok(noted)
}

fn text(frames: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| write::frame(&mut out, Opcode::Text, frame.as_bytes()));
    out
}

/// The key of a request.
fn key_of(request: &[u8]) -> String {
    let request = std::str::from_utf8(request).unwrap();
    request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap().to_owned()
}

fn open(dialect: Dialect) -> Session {
    let (mut session, mut out) = (Session::new(dialect, 9), Vec::new());
    session.request("host:1", Some("the-token"), &mut out);
    let answer = handshake::switching(&key_of(&out), None, None);
    assert_eq!(feed(&mut session, answer, &mut out), Ok(vec![Noted::Upgraded]));
    session
}

#[test]
fn deflated_messages_are_taken_by_who_offers_to() {
    let mut payload = Vec::new();
    Deflater::default().deflate(b"over and over and over", &mut payload);
    let mut frame = Vec::new();
    write::deflated_head(&mut frame, Opcode::Binary, payload.len());
    frame.extend_from_slice(&payload);
    for offers in [true, false] {
        let (mut session, mut out) = (Session::new(Dialect::Echo, 9).offering_deflate(offers), Vec::new());
        session.request("host:1", None, &mut out);
        let request = String::from_utf8(out.clone()).unwrap();
        assert_eq!(request.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"), offers);
        let deflate = offers.then_some(Deflate::ANY_WINDOW);
        let answer = handshake::switching(&key_of(&out), None, deflate);
        feed(&mut session, answer, &mut out).unwrap();
        let heard = feed(&mut session, frame.clone(), &mut out);
        assert_eq!(heard.is_ok(), offers, "{heard:?}");
    }
}

#[test]
fn the_request_names_path_host_and_token() {
    let mut out = Vec::new();
    Session::new(Dialect::PushgateV1, 1).request("host:1", Some("the-token"), &mut out);
    let request = std::str::from_utf8(&out).unwrap();
    assert!(request.starts_with("GET /v1/ws HTTP/1.1\r\nHost: host:1\r\n"), "{request}");
    assert!(request.contains("\r\nAuthorization: Bearer the-token\r\n") && request.ends_with("\r\n\r\n"));
    out.clear();
    Session::new(Dialect::Echo, 1).request("host:1", None, &mut out);
    assert!(!std::str::from_utf8(&out).unwrap().contains("Authorization"));
}

#[test]
fn an_answer_may_come_byte_by_byte_with_the_greeting_behind_it() {
    let (mut session, mut out) = (Session::new(Dialect::PushgateV1, 9), Vec::new());
    session.request("host:1", None, &mut out);
    let mut answer = handshake::switching(&key_of(&out), None, None);
    answer.extend(text(&[r#"{"type":"hello","session":"s","heartbeat_s":30}"#]));
    let mut noted = Vec::new();
    for byte in answer {
        noted.extend(feed(&mut session, vec![byte], &mut out).unwrap());
    }
    assert_eq!(noted, [Noted::Upgraded, Noted::Hello]);
    assert!(session.decoder.is_idle());
}

#[test]
fn an_answer_to_another_key_is_refused_and_so_is_a_status() {
    for (answer, status) in [
        (handshake::switching("AAAAAAAAAAAAAAAAAAAAAA==", None, None), 101),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n".to_vec(), 401),
        (b"SSH-2.0-x\r\n".to_vec(), 0),
        (vec![b'H'; HEAD_BYTES_MAX + 1], 0),
    ] {
        let mut session = Session::new(Dialect::PushgateV1, 9);
        assert_eq!(feed(&mut session, answer, &mut Vec::new()), Err(Over::Refused(status)));
    }
}

#[test]
fn pushes_are_heard_with_their_ids_and_acknowledged_by_the_last_number() {
    let (mut session, mut out) = (open(Dialect::PushgateV1), Vec::new());
    let frames = text(&[
        r#"{"type":"push","seq":1,"replay":false,"id":"m1","title":"\"id\":\"x\""}"#,
        r#"{"type":"push","seq":2,"replay":true,"id":"m2"}"#,
        r#"{"id":"m4","seq":4,"type":"push"}"#,
        r#"{"type":"gap","from":5,"to":6}"#,
        r#"{"type":"push","seq":7,"replay":false,"id":"m7"}"#,
    ]);
    let push = |id: &str, follows, replay| Noted::Push(id.into(), follows, replay);
    let heard = feed(&mut session, frames, &mut out).unwrap();
    let expected = [
        push("m1", true, false),
        push("m2", true, true),
        push("m4", false, false),
        Noted::Gap(5, 6),
        push("m7", true, false),
    ];
    assert_eq!(heard, expected);
    assert_eq!((session.unacknowledged(), session.newest()), (4, 7));
    session.acknowledge(4, &mut Vec::new());
    assert_ne!(session.unacknowledged(), 0);
    session.acknowledge(7, &mut out);
    let (_, event) = Decoder::default().next(&MASKED, &mut out).map(|(n, e)| (n, format!("{e:?}"))).unwrap();
    assert_eq!(event, format!("{:?}", Some(Event::Text(r#"{"type":"ack","seq":7}"#))));
    assert_eq!(session.unacknowledged(), 0);
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let (mut session, mut out) = (open(Dialect::PushgateV1), Vec::new());
    let mut ping = Vec::new();
    write::frame(&mut ping, Opcode::Ping, b"abc");
    assert_eq!(feed(&mut session, ping, &mut out), Ok(vec![]));
    let mut decoder = Decoder::default();
    assert_eq!(decoder.next(&MASKED, &mut out).unwrap().1, Some(Event::Pong(b"abc")));
}

#[test]
fn the_largest_number_can_be_acknowledged() {
    let (mut session, mut out) = (open(Dialect::PushgateV1), Vec::new());
    session.acknowledge(u64::MAX, &mut out);
    let text = format!(r#"{{"type":"ack","seq":{}}}"#, u64::MAX);
    assert_eq!(Decoder::default().next(&MASKED, &mut out).unwrap().1, Some(Event::Text(&text)));
}

#[test]
fn an_echo_connection_hears_messages_of_any_content() {
    let (mut session, mut out) = (open(Dialect::Echo), Vec::new());
    let mut frames = text(&["not json"]);
    write::frame(&mut frames, Opcode::Binary, &[0, 255]);
    let heard = feed(&mut session, frames, &mut out).unwrap();
    assert_eq!(heard, [Noted::Message(b"not json".to_vec()), Noted::Message(vec![0, 255])]);
}

#[test]
fn a_close_frame_a_violation_and_foreign_json_end_the_session() {
    let mut close = Vec::new();
    write::close(&mut close, CloseCode(4_002), "slow");
    let ends = [
        (close, Over::Closed(Some(CloseCode(4_002)))),
        (text(&["{}"]), Over::Frame),
        (vec![0x81, 0x80, 0, 0, 0, 0], Over::Violation(Violation::Mask(true))),
    ];
    for (bytes, over) in ends {
        assert_eq!(feed(&mut open(Dialect::PushgateV1), bytes, &mut Vec::new()), Err(over));
    }
}
