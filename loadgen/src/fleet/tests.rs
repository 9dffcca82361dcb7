//! A fleet against servers of a few lines.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
};

use pushgate_protocol::{
    link::Lane,
    ws::{Decoder, Event, Opcode, Rules, handshake, write},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};

use super::*;
use crate::{
    lanes::ByLane,
    session::Dialect,
    stamp::{Addressee, Stamp},
    verify::{Due, Judge},
};

mod delays;
mod percentiles;

const PATIENCE: Duration = Duration::from_secs(20);
const RUN: u32 = 3;

/// The server's end of one client.
struct Peer {
    stream: TcpStream,
    from: IpAddr,
    token: String,
    decoder: Decoder,
    input: Vec<u8>,
}

impl Peer {
    fn accept(listener: &TcpListener) -> Self {
        let (mut stream, from) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).unwrap();
        let field =
            |name: &str| request.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let mut answer = handshake::switching(&field("Sec-WebSocket-Key: "), None, None);
        write::frame(&mut answer, Opcode::Text, br#"{"type":"hello","heartbeat_s":30}"#);
        stream.write_all(&answer).unwrap();
        let token = field("Authorization: Bearer ");
        Self { stream, from: from.ip(), token, decoder: Decoder::default(), input: Vec::new() }
    }

    fn say(&mut self, frame: &str) {
        let mut out = Vec::new();
        write::frame(&mut out, Opcode::Text, frame.as_bytes());
        self.stream.write_all(&out).unwrap();
    }

    fn push(&mut self, seq: u64, to: Addressee, n: u32) {
        let id = Stamp { run: RUN, to, lane: Lane::Normal, n, planned_us: 0 }.write();
        let id = std::str::from_utf8(&id).unwrap();
        self.say(&format!(r#"{{"type":"push","seq":{seq},"replay":false,"id":"{id}"}}"#));
    }

    /// The next message, or `close`, or `end`.
    fn next(&mut self) -> String {
        let rules = Rules { masked: true, message_bytes_max: 1 << 20, deflate: false };
        loop {
            let mut input = std::mem::take(&mut self.input);
            let (used, event) = self.decoder.next(&rules, &mut input).unwrap();
            let said = event.map(|event| match event {
                Event::Text(text) => text.to_owned(),
                Event::Binary(payload) => format!("{} bytes", payload.len()),
                Event::Close(..) => "close".into(),
                other => format!("{other:?}"),
            });
            self.input = input.split_off(used);
            if let Some(said) = said {
                return said;
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return "end".into(),
                Ok(read) => self.input.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return "end".into(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn options(server: SocketAddr, clients: u32) -> FleetOptions {
    let tokens: Tokens = Arc::new(|client| format!("token-of-{client}"));
    FleetOptions { judge: Judge { late_us: u64::MAX, ..Judge::of(RUN) }, ..FleetOptions::new(server, clients, tokens) }
}

/// A connected fleet and its peers in the order of their clients.
fn connected(options: FleetOptions, listener: &TcpListener) -> (Fleet, Vec<Peer>) {
    connected_with(options, listener, u32::MAX)
}

fn connected_with(options: FleetOptions, listener: &TcpListener, per_ring: u32) -> (Fleet, Vec<Peer>) {
    let clients = options.clients;
    let fleet = Fleet::start_with(options, Clock::start(), per_ring.min(clients)).unwrap();
    fleet.connect(0..clients);
    let mut peers: Vec<Peer> = (0..clients).map(|_| Peer::accept(listener)).collect();
    fleet.wait("all greeted", PATIENCE, |t| t.open == u64::from(clients)).unwrap();
    peers.sort_by_key(|peer| peer.token.strip_prefix("token-of-").and_then(|n| n.parse::<u32>().ok()));
    (fleet, peers)
}

#[test]
fn each_client_has_its_own_token_and_rings_share_the_clients() {
    let (listener, server) = listen();
    let (fleet, peers) = connected_with(options(server, 10), &listener, 4);
    assert_eq!(fleet.workers.len(), 3);
    assert_eq!(peers.iter().map(|peer| &peer.token).collect::<HashSet<_>>().len(), 10);
    assert!(peers.iter().all(|peer| peer.from.to_string() == "127.0.1.1"));
    assert_eq!(fleet.tally().failures(), 0);
}

#[test]
fn ranges_of_clients_fall_to_their_workers() {
    let parts = |range| super::parts(range, 4).collect::<Vec<_>>();
    assert_eq!(parts(0..10), [(0, 0..4), (1, 0..4), (2, 0..2)]);
    assert_eq!(parts(3..5), [(0, 3..4), (1, 0..1)]);
    assert_eq!(parts(4..8), [(1, 0..4)]);
    assert_eq!(parts(5..5), []);
}

#[test]
fn pushes_are_judged_acknowledged_and_what_never_came_is_lost() {
    let (listener, server) = listen();
    let (fleet, mut peers) = connected(options(server, 2), &listener);
    fleet.begin().unwrap();
    for n in [0, 1, 1] {
        peers[0].push(u64::from(n) + 1, Addressee::User(0), n);
    }
    peers[1].push(1, Addressee::User(0), 0);
    peers[1].push(2, Addressee::All, 0);
    peers[1].push(4, Addressee::User(1), 0);
    let tally = fleet.wait("six pushes", PATIENCE, |t| t.pushes == 6).unwrap();
    let window = fleet.finish().unwrap();
    let verdicts = window.verdicts.sum();
    assert_eq!((verdicts.received, verdicts.doubled, verdicts.crossed), (4, 1, 1));
    assert_eq!(window.latencies().count(), 4);
    assert_eq!(tally.misnumbered, 2);
    // The first client misses the message to all.
    assert_eq!(fleet.lost(|client| Due::in_lane_normal(if client == 0 { 2 } else { 1 }, 1)).unwrap(), 1);
    while peers[0].next() != r#"{"type":"ack","seq":2}"# {}
    while peers[1].next() != r#"{"type":"ack","seq":4}"# {}
}

#[test]
fn acknowledgements_wait_for_their_number() {
    let (listener, server) = listen();
    let acknowledge = Acknowledge::After { pushes: 3, delay: Duration::from_secs(3_600) };
    let (_fleet, mut peers) = connected(FleetOptions { acknowledge, ..options(server, 1) }, &listener);
    (1..=3).for_each(|seq| peers[0].push(seq, Addressee::User(0), seq as u32));
    assert_eq!(peers[0].next(), r#"{"type":"ack","seq":3}"#);
}

#[test]
fn an_acknowledgement_comes_after_its_delay() {
    let (listener, server) = listen();
    let acknowledge = Acknowledge::After { pushes: 100, delay: Duration::from_millis(20) };
    let (_fleet, mut peers) = connected(FleetOptions { acknowledge, ..options(server, 1) }, &listener);
    peers[0].push(1, Addressee::User(0), 0);
    assert_eq!(peers[0].next(), r#"{"type":"ack","seq":1}"#);
}

#[test]
fn pings_are_answered_and_sent() {
    let (listener, server) = listen();
    let ping_every = Some(Duration::from_millis(50));
    let (fleet, mut peers) = connected(FleetOptions { ping_every, ..options(server, 1) }, &listener);
    let mut ping = Vec::new();
    write::frame(&mut ping, Opcode::Ping, b"x");
    peers[0].stream.write_all(&ping).unwrap();
    let mut left = HashSet::from([r#"{"type":"ping"}"#.to_owned(), "Pong([120])".to_owned()]);
    while !left.is_empty() {
        left.remove(&peers[0].next());
    }
    peers[0].say(r#"{"type":"pong","time_ms":1}"#);
    fleet.wait("a pong", PATIENCE, |t| t.pongs == 1).unwrap();
}

#[test]
fn the_time_to_connect_counts_from_when_it_was_to_start() {
    let (listener, server) = listen();
    let clock = Clock::start();
    let fleet = Fleet::start(options(server, 3), clock).unwrap();
    fleet.begin().unwrap();
    // Two are late by eight minutes and by two, and the third is to start in four.
    let minute_us = 60_000_000;
    fleet.connect_at(0..3, (clock.now_us() - 8 * minute_us) as f64, 6.0 * minute_us as f64);
    let _peers = [Peer::accept(&listener), Peer::accept(&listener)];
    let tally = fleet.wait("greeted", PATIENCE, |t| t.greeted == 2).unwrap();
    let greeting = fleet.finish().unwrap().greeting;
    let shortest_us = greeting.buckets().next().unwrap().0;
    assert_eq!((tally.started, greeting.count()), (2, 2));
    // A bucket is at most 1/128 wide.
    assert!(
        shortest_us > 2 * minute_us * 127 / 128 && greeting.max() >= 8 * minute_us,
        "{shortest_us}, {}",
        greeting.max()
    );
}

#[test]
fn each_farewell_ends_the_connection_and_the_client_can_come_back() {
    for (farewell, last) in [(Farewell::Frame, "close"), (Farewell::Fin, "end"), (Farewell::Vanish, "end")] {
        let (listener, server) = listen();
        let (fleet, mut peers) = connected(options(server, 2), &listener);
        fleet.leave(1..2, farewell);
        assert_eq!(peers[1].next(), last, "{farewell:?}");
        peers.truncate(1);
        fleet.wait("one left", PATIENCE, |t| (t.open, t.left) == (1, 1)).unwrap();
        fleet.connect(1..2);
        assert_eq!(Peer::accept(&listener).token, "token-of-1");
        fleet.wait("back", PATIENCE, |t| t.greeted == 3).unwrap();
        assert_eq!(fleet.tally().failures(), fleet.tally().ended);
    }
}

#[test]
fn a_lost_connection_is_counted_and_made_again_if_wanted() {
    let (listener, server) = listen();
    let (fleet, peers) = connected(FleetOptions { reconnect: true, ..options(server, 1) }, &listener);
    drop(peers);
    let _peer = Peer::accept(&listener);
    let tally = fleet.wait("back", PATIENCE, |t| t.greeted == 2 && t.open == 1).unwrap();
    assert_eq!(tally.ended, 1);
    assert!(fleet.first_failure().is_some());
}

#[test]
fn a_refused_upgrade_and_a_refused_connect_are_told() {
    let (listener, server) = listen();
    let fleet = Fleet::start(options(server, 1), Clock::start()).unwrap();
    fleet.connect(0..1);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n").unwrap();
    fleet.wait("refused", PATIENCE, |t| t.refused == 1).unwrap();
    assert_eq!(fleet.first_failure().unwrap(), "the upgrade was answered 401");
    drop(listener);
    fleet.connect(0..1);
    fleet.wait("unconnected", PATIENCE, |t| t.failures() == 2).unwrap();
}

#[test]
fn who_stops_reading_receives_nothing_until_it_reads_again() {
    let (listener, server) = listen();
    let (fleet, mut peers) = connected(options(server, 2), &listener);
    fleet.read(0..1, false);
    // What the second client does tells that the first was told too.
    fleet.lost(|_| ByLane::default()).unwrap();
    peers[0].push(1, Addressee::User(0), 0);
    peers[0].push(2, Addressee::User(0), 1);
    peers[1].push(1, Addressee::User(1), 0);
    fleet.wait("the other's push", PATIENCE, |t| t.pushes >= 1).unwrap();
    fleet.read(0..1, true);
    fleet.wait("all pushes", PATIENCE, |t| t.pushes == 3).unwrap();
    assert_eq!(fleet.lost(|client| Due::in_lane_normal(if client == 0 { 2 } else { 1 }, 0)).unwrap(), 0);
}

#[test]
fn echoes_go_round_until_they_are_stopped() {
    let (listener, server) = listen();
    let options = FleetOptions { dialect: Dialect::Echo, echo_bytes: 10, ..options(server, 1) };
    let (fleet, mut peers) = connected(options, &listener);
    // The greeting of the test's server is a message of an echo connection.
    fleet.wait("the greeting", PATIENCE, |t| t.echoes == 1).unwrap();
    fleet.echo(2);
    for _ in 0..10 {
        assert_eq!(peers[0].next(), "10 bytes");
        peers[0].say("1234567890");
    }
    let tally = fleet.wait("ten echoes", PATIENCE, |t| t.echoes == 11).unwrap();
    assert_eq!(tally.pushes, 0);
}

#[test]
fn clients_under_tls_are_greeted_pushed_to_and_acknowledge() {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["push.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let (listener, server) = listen();
    let tls = Some(TlsOptions::new(cert.pem().as_bytes(), "push.example").unwrap());
    let fleet = Fleet::start(FleetOptions { tls, ..options(server, 1) }, Clock::start()).unwrap();
    fleet.connect(0..1);
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut peer = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let asked = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let mut answer = handshake::switching(asked, None, None);
    write::frame(&mut answer, Opcode::Text, br#"{"type":"hello","heartbeat_s":30}"#);
    peer.write_all(&answer).unwrap();
    let id = Stamp { run: RUN, to: Addressee::User(0), lane: Lane::Normal, n: 0, planned_us: 0 }.write();
    let push = format!(r#"{{"type":"push","seq":1,"replay":false,"id":"{}"}}"#, std::str::from_utf8(&id).unwrap());
    let mut frame = Vec::new();
    write::frame(&mut frame, Opcode::Text, push.as_bytes());
    // In two records, so that one comes in part.
    let (first, second) = frame.split_at(20);
    peer.write_all(first).unwrap();
    peer.write_all(second).unwrap();
    let tally = fleet.wait("a push", PATIENCE, |t| t.pushes == 1).unwrap();
    assert_eq!((tally.open, tally.failures()), (1, 0), "{:?}", fleet.first_failure());
    let (mut decoder, rules) = (Decoder::default(), Rules { masked: true, message_bytes_max: 1 << 20, deflate: false });
    let mut heard = [0; 256];
    let read = peer.read(&mut heard).unwrap();
    let (_, event) = decoder.next(&rules, &mut heard[..read]).unwrap();
    assert!(matches!(event, Some(Event::Text(r#"{"type":"ack","seq":1}"#))), "{event:?}");
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    fleet.wait("its end", PATIENCE, |t| t.open == 0).unwrap();
}
