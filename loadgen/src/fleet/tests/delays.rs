//! How long a push waits for its acknowledgement, by a clock of the test's.

use super::*;
use crate::fleet::{
    client::Now,
    clients::Clients,
    tag::{Conn, Op},
};

/// A client that was greeted at 0, and its connection.
fn greeted(delay: Duration) -> (Clients, Conn) {
    let acknowledge = Acknowledge::After { pushes: u32::MAX, delay };
    let mut clients = Clients::new(FleetOptions { acknowledge, ..options(([127, 0, 0, 1], 1).into(), 1) }, 0, 1);
    clients.connect(0, 0, at(0));
    let (_, conn) = clients.orders.pop_front().unwrap();
    clients.take(Op::Connect, conn, 0, false, None, at(0));
    let request = String::from_utf8(said(&mut clients)).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let mut answer = handshake::switching(key, None, None);
    write::frame(&mut answer, Opcode::Text, br#"{"type":"hello","heartbeat_s":30}"#);
    clients.received(conn, &mut answer, at(0));
    assert_eq!(clients.tally.open, 1);
    (clients, conn)
}

fn at(ms: u64) -> Now {
    Now { us: ms * 1_000 }
}

/// What the client has said since, all of it taken by its socket.
fn said(clients: &mut Clients) -> Vec<u8> {
    let bytes = std::mem::take(&mut clients.bytes);
    let mut batch = std::mem::take(&mut clients.batch);
    batch.iter_mut().for_each(|part| part.outcome = Ok(part.bytes.len()));
    clients.sent(batch, &bytes);
    bytes
}

fn acknowledged(clients: &mut Clients) -> Option<String> {
    let rules = Rules { masked: true, message_bytes_max: 1 << 10, deflate: false };
    match Decoder::default().next(&rules, &mut said(clients)).unwrap().1 {
        Some(Event::Text(text)) => Some(text.to_owned()),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn push(clients: &mut Clients, conn: Conn, seq: u64, ms: u64) {
    let mut frame = Vec::new();
    write::frame(&mut frame, Opcode::Text, format!(r#"{{"type":"push","seq":{seq},"id":"m"}}"#).as_bytes());
    clients.received(conn, &mut frame, at(ms));
}

#[test]
fn a_push_that_comes_while_an_older_one_waits_is_acknowledged_after_the_whole_delay_too() {
    let (mut clients, conn) = greeted(Duration::from_millis(500));
    for (seq, ms) in [(1, 100), (2, 599), (3, 600), (4, 1_099)] {
        push(&mut clients, conn, seq, ms);
        if seq == 2 {
            clients.tick(at(600), 1_000);
            assert_eq!(acknowledged(&mut clients).as_deref(), Some(r#"{"type":"ack","seq":1}"#));
        }
    }
    assert_eq!(clients.due_ms(), Some(1_100));
    clients.tick(at(1_099), 1_000);
    assert_eq!(acknowledged(&mut clients), None);
    clients.tick(at(1_100), 1_000);
    assert_eq!(acknowledged(&mut clients).as_deref(), Some(r#"{"type":"ack","seq":2}"#));
    clients.tick(at(1_600), 1_000);
    assert_eq!(acknowledged(&mut clients).as_deref(), Some(r#"{"type":"ack","seq":4}"#));
    clients.tick(at(9_000), 1_000);
    assert_eq!(acknowledged(&mut clients), None);
}
