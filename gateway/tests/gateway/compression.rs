//! `permessage-deflate`, over both engines: what is agreed on, and pushes and echoes that travel deflated.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use pushgate_gateway::{boot::RunningGateway, config::EngineChoice};
use pushgate_protocol::{
    link::Lane,
    ws::{Decoder, Event, Opcode, Rules, deflate::Deflater, write},
};
use serde_json::{Value, json};

use super::{
    bad_input::{UPGRADE, refused},
    peer::Peer,
    server::{PATIENCE, call, config, exchange, gateway_with, token},
};

const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn compressing(engine: EngineChoice, compression: bool) -> RunningGateway {
    let mut config = config(engine, 1);
    config.compression = compression;
    gateway_with(&config)
}

/// A client that inflates.
struct Client {
    stream: TcpStream,
    /// `Sec-WebSocket-Extensions` of the answer.
    agreed: Option<String>,
    input: Vec<u8>,
    decoder: Decoder,
    /// Bytes of frames read.
    read_bytes: usize,
    /// Messages that came deflated.
    inflated: usize,
}

impl Client {
    fn connect(gateway: &RunningGateway, path: &str, offer: &str) -> Self {
        let mut stream = TcpStream::connect(gateway.listen()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Extensions: {offer}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let agreed = head.lines().find_map(|l| l.strip_prefix("Sec-WebSocket-Extensions: ")).map(str::to_owned);
        Self { stream, agreed, input: Vec::new(), decoder: Decoder::default(), read_bytes: 0, inflated: 0 }
    }

    /// The next message, or `close CODE`.
    fn text(&mut self) -> String {
        let rules = Rules { masked: false, message_bytes_max: 32 << 20, deflate: self.agreed.is_some() };
        loop {
            let mut input = std::mem::take(&mut self.input);
            let (used, event) = self.decoder.next(&rules, &mut input).unwrap();
            let heard = event.map(|event| match event {
                Event::Text(text) => text.to_owned(),
                Event::Binary(bytes) => format!("binary {}", bytes.len()),
                Event::Close(code, _) => format!("close {}", code.unwrap().0),
                other => panic!("{other:?}"),
            });
            self.input = input.split_off(used);
            if let Some(heard) = heard {
                self.inflated += usize::from(self.decoder.inflated_bytes() > 0);
                return heard;
            }
            let mut more = [0; 65_536];
            let n = self.stream.read(&mut more).unwrap();
            assert!(n > 0, "the gateway closed without a frame");
            self.read_bytes += n;
            self.input.extend_from_slice(&more[..n]);
        }
    }

    fn frame(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Says something deflated.
    fn say(&mut self, opcode: Opcode, plain: &[u8]) {
        let (mut payload, mut frame) = (Vec::new(), Vec::new());
        Deflater::default().deflate(plain, &mut payload);
        write::masked(&mut frame, opcode, true, [3, 1, 4, 1], &payload);
        frame[0] |= 0x40;
        self.stream.write_all(&frame).unwrap();
    }
}

#[test]
fn compression_is_agreed_on_only_where_it_is_switched_on_and_offered_well() {
    let off = compressing(EngineChoice::Auto, false);
    assert_eq!(Client::connect(&off, "/v1/echo", "permessage-deflate").agreed, None);
    let on = compressing(EngineChoice::Auto, true);
    let session = format!("/v1/ws?token={}", token("u1"));
    for (offer, agreed) in [
        ("permessage-deflate; client_max_window_bits", Some(AGREED.to_owned())),
        ("permessage-deflate; server_max_window_bits=\"9\"", Some(format!("{AGREED}; server_max_window_bits=9"))),
        ("permessage-deflate; unknown, permessage-deflate", Some(AGREED.to_owned())),
        ("permessage-deflate; unknown", None),
        ("x-other", None),
    ] {
        for path in ["/v1/echo", &session] {
            assert_eq!(Client::connect(&on, path, offer).agreed, agreed, "{path} {offer}");
        }
    }
    let malformed = format!("GET /v1/echo HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Extensions: a b\r\n\r\n");
    refused(&exchange(on.listen(), malformed.as_bytes()), 400, "Sec-WebSocket-Extensions");
}

fn pushes_travel_deflated(engine: EngineChoice) {
    let gateway = compressing(engine, true);
    let mut peer = Peer::connect(&gateway, 0);
    let connect = |offer| Client::connect(&gateway, &format!("/v1/ws?token={}", token("alice")), offer);
    let mut clients = ["permessage-deflate", "permessage-deflate; server_max_window_bits=8", "x-none"].map(connect);
    for client in &mut clients {
        assert_eq!(client.frame()["type"], "hello");
        client.read_bytes = 0;
    }
    for _ in &clients {
        peer.replay_nothing("alice");
    }
    for n in 0..20 {
        // Of three bytes and of 3,800.
        peer.push_padded(n, Lane::Normal, "alice", &format!("m{n}"), 3 + (n as usize % 2) * 3_797);
    }
    for client in &mut clients {
        for n in 0..20 {
            let push = client.frame();
            let length = push["title"].as_str().unwrap().len();
            assert_eq!((&push["id"], length), (&json!(format!("m{n}")), 3 + (n % 2) * 3_797));
        }
    }
    let [deflating, narrow, plain] = &mut clients;
    assert_eq!((deflating.inflated, narrow.inflated, plain.inflated), (10, 0, 0));
    assert!(deflating.read_bytes < 3_000, "{}", deflating.read_bytes);
    assert!(narrow.read_bytes > 38_000 && plain.read_bytes > 38_000);
    deflating.say(Opcode::Text, br#"{"type":"ack","seq":20}"#);
    assert_eq!(peer.acked(19).as_deref(), Some("phone"));
    let until = Instant::now() + PATIENCE;
    for line in ["pushgate_deflations_total{shard=\"0\"} 10", "pushgate_deflated_frames_total{shard=\"0\"} 10"] {
        while !call(gateway.admin(), "GET", "/metrics").body.contains(line) {
            assert!(Instant::now() < until, "{line} is not told");
        }
    }
    // Not agreed on.
    plain.say(Opcode::Text, br#"{"type":"ack","seq":20}"#);
    assert_eq!(plain.text(), "close 1002");
    drop(clients);
    gateway.shutdown();
}

#[test]
fn pushes_travel_deflated_on_uring() {
    pushes_travel_deflated(EngineChoice::Uring);
}

#[test]
fn pushes_travel_deflated_on_epoll() {
    pushes_travel_deflated(EngineChoice::Epoll);
}

fn echoes_travel_deflated(engine: EngineChoice) {
    let gateway = compressing(engine, true);
    let mut client = Client::connect(&gateway, "/v1/echo", "permessage-deflate");
    let text = "over and over, ".repeat(2_000);
    for _ in 0..3 {
        client.say(Opcode::Text, text.as_bytes());
        assert_eq!(client.text(), text);
    }
    assert!(client.inflated == 3 && client.read_bytes < 1_000);
    client.say(Opcode::Binary, &vec![7; 16 << 20]);
    assert_eq!(client.text(), "binary 16777216");
    client.say(Opcode::Binary, &vec![7; (16 << 20) + 1]);
    assert_eq!(client.text(), "close 1009");
    drop(client);
    gateway.shutdown();
}

#[test]
fn echoes_travel_deflated_on_uring() {
    echoes_travel_deflated(EngineChoice::Uring);
}

#[test]
fn echoes_travel_deflated_on_epoll() {
    echoes_travel_deflated(EngineChoice::Epoll);
}
