//! A client against a server of a few lines.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use super::*;

/// Accepts one client, greets it, sends `frames` in one write; answers the bytes that the client sends then, `bytes` of
/// them.
fn server(frames: Vec<String>, bytes: usize) -> (String, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).unwrap();
        assert!(request.contains("Authorization: Bearer the-token\r\n"));
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let mut out = handshake::switching(key, None, None);
        write::frame(&mut out, Opcode::Text, br#"{"type":"hello","heartbeat_s":30}"#);
        stream.write_all(&out).unwrap();
        let mut out = Vec::new();
        for frame in &frames {
            write::frame(&mut out, Opcode::Text, frame.as_bytes());
        }
        stream.write_all(&out).unwrap();
        let mut answer = vec![0; bytes];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    (address, serving)
}

#[tokio::test]
async fn all_pushes_of_a_read_are_acknowledged_by_their_last_number() {
    let push = |seq| format!(r#"{{"type":"push","seq":{seq},"replay":false,"id":"m","data":{{"n":{seq}}}}}"#);
    let (address, serving) = server(vec![push(1), push(2)], 6 + r#"{"type":"ack","seq":2}"#.len());
    let mut seen = Vec::new();
    let mut take = |push: Push<'_>| seen.push((push.seq, push.data.map(str::to_owned)));
    let mut client = Client::connect(&address, "the-token", &mut take).await.unwrap();
    let mut scratch = vec![0; READ_BYTES];
    // The pushes may have come with the greeting already. The server waits for the acknowledgement, then it closes.
    while client.ready().await.is_ok() && client.turn(&mut scratch, &mut take).is_ok() {}
    assert_eq!(seen, [(1, Some(r#"{"n":1}"#.into())), (2, Some(r#"{"n":2}"#.into()))]);
    let mut answer = serving.join().unwrap();
    let mut decoder = Decoder::default();
    let rules = Rules { masked: true, message_bytes_max: FRAME_BYTES_MAX, deflate: false };
    let (_, event) = decoder.next(&rules, &mut answer).unwrap();
    assert_eq!(event, Some(Event::Text(r#"{"type":"ack","seq":2}"#)));
}

#[test]
fn an_upgrade_that_does_not_answer_the_key_is_refused() {
    let refused = |text: &str| matches!(upgraded(text.as_bytes(), "a"), Err(ClientError::Refused { .. }));
    assert!(refused("HTTP/1.1 401 Unauthorized\r\n\r\n"));
    assert!(refused("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"));
    assert!(matches!(upgraded(b"HTTP/1.1 101 Sw", "a"), Ok(None)));
}
