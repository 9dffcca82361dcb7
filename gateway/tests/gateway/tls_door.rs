//! TLS at the door: whose certificate is shown, what proxies put before it, who never finishes, and a storm.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use pushgate_gateway::{
    boot::RunningGateway,
    config::{EngineChoice, ProxyProtocol},
    tls::config::CertificateConfig,
};
use pushgate_protocol::link::Lane;
use rcgen::KeyPair;
use rustls::{ClientConnection, pki_types::ServerName};
use serde_json::json;
use tungstenite::Message;

use super::{
    peer::Peer,
    protection::{asking, failures, proxy_header},
    server::{PATIENCE, eventually, gateway_with},
    tls::{Files, Tls, connect, connect_to, frame, metric, on_engines, open},
};

/// A key for tests alone, with which a handshake costs the gateway much more than a client's first message costs here.
const RSA_KEY: &str = include_str!("../keys/rsa2048.pem");

#[test]
fn each_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    on_engines(|engine| {
        let mut files = Files::new();
        let key = || KeyPair::generate().unwrap();
        let first = files.write("", &["push.example", "127.0.0.1"], &key());
        let mut config = files.config(engine);
        let second = files.write("second.", &["other.example", "more.example"], &key());
        let third = files.write("third.", &["*.wild.example"], &key());
        for pair in ["second.", "third."] {
            let (cert, key) = (files.path(&format!("{pair}cert")), files.path(&format!("{pair}key")));
            config.tls.certificates.push(CertificateConfig { cert, key });
        }
        let gateway = gateway_with(&config);
        let shown = |name| {
            let mut stream = connect_to(&gateway, files.client(), name);
            let greeted = stream.conn.complete_io(&mut stream.sock);
            (stream.conn.peer_certificates().map(|chain| chain[0].clone()), greeted.is_ok())
        };
        let cases = [
            ("push.example", &first),
            ("other.example", &second),
            ("more.example", &second),
            ("a.wild.example", &third),
        ];
        for (name, certificate) in cases {
            assert_eq!(shown(name), (Some(certificate.clone()), true), "{name}");
        }
        assert_eq!(shown("127.0.0.1"), (Some(first), true), "no name is asked for with an address");
        assert!(!shown("nobody.example").1, "who asks for none of them sees the first, and does not trust it");
        assert_eq!(metric(&gateway, "pushgate_tls_handshakes_total{result=\"refused\""), 1);
        gateway.shutdown();
    });
}

/// A client whose first bytes stand behind a PROXY header, in one write, and the beginning of its answer.
fn through_proxy(
    gateway: &RunningGateway,
    files: &Files,
    client: [u8; 4],
    user: &str,
) -> Result<(Tls, String), ErrorKind> {
    let mut stream = connect(gateway, files.client());
    let mut first = proxy_header(client);
    stream.conn.write_tls(&mut first).unwrap();
    // Who is closed at once may not have written.
    let _ = stream.sock.write_all(&first);
    let mut answer = [0; 12];
    stream.write_all(&asking(user, "")).map_err(|error| error.kind())?;
    stream.read_exact(&mut answer).map_err(|error| error.kind())?;
    Ok((stream, String::from_utf8_lossy(&answer).into_owned()))
}

#[test]
fn a_proxys_header_stands_before_tls_and_each_client_counts_for_itself() {
    on_engines(|engine| {
        let files = Files::new();
        let mut config = files.config(engine);
        config.proxy_protocol = ProxyProtocol::V2;
        config.trusted_proxies = vec!["127.0.0.0/8".into()];
        config.limits.connections_per_ip_max = 1;
        let gateway = gateway_with(&config);
        let come = |client, user| through_proxy(&gateway, &files, client, user);
        let (one, answer) = come([203, 0, 113, 9], "u1").unwrap();
        assert_eq!(answer, "HTTP/1.1 101");
        assert!(come([203, 0, 113, 9], "u2").is_err(), "closed before TLS");
        assert_eq!(failures(&gateway, "ip_connections"), 1);
        let (other, answer) = come([203, 0, 113, 10], "u2").unwrap();
        assert_eq!(answer, "HTTP/1.1 101");
        let mut headerless = connect(&gateway, files.client());
        assert!(headerless.write_all(b"GET").is_err(), "a hello is no header");
        assert_eq!(failures(&gateway, "proxy_header"), 1);
        assert_eq!(metric(&gateway, "pushgate_tls_handshakes_total"), 2);
        drop((one, other));
        gateway.shutdown();
    });
}

#[test]
fn a_client_that_never_finishes_its_handshake_is_closed_at_the_deadline() {
    on_engines(|engine| {
        let files = Files::new();
        let mut config = files.config(engine);
        config.limits.handshake_timeout_ms = 300;
        let gateway = gateway_with(&config);
        let Tls { mut conn, mut sock } = connect(&gateway, files.client());
        conn.write_tls(&mut sock).unwrap();
        let mut flight = Vec::new();
        sock.read_to_end(&mut flight).unwrap();
        assert_eq!(flight.first(), Some(&22), "its hello was answered");
        conn.read_tls(&mut &flight[..]).unwrap();
        conn.process_new_packets().unwrap();
        assert!(!conn.is_handshaking() && conn.wants_write(), "the client alone had something left to say");
        // Counted once it is closed.
        eventually("it is counted", || failures(&gateway, "tls") == 1);
        assert_eq!(metric(&gateway, "pushgate_tls_handshakes_total{result=\"timeout\""), 1);
        gateway.shutdown();
    });
}

#[test]
fn a_request_that_trickles_in_through_tls_does_not_outlive_the_deadline() {
    on_engines(|engine| {
        let files = Files::new();
        let mut config = files.config(engine);
        config.limits.handshake_timeout_ms = 300;
        let gateway = gateway_with(&config);
        let mut stream = connect(&gateway, files.client());
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.sock.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let endless = "GET /v1/ws HTTP/1.1\r\n".bytes().chain("X: y\r\n".bytes().cycle());
        let mut answer = Vec::new();
        for byte in endless.take(5_000) {
            // Each byte a record of its own, for as long as the gateway listens; the read's time-out paces them.
            let _ = stream.write_all(&[byte]).and_then(|()| stream.flush());
            let mut bytes = [0; 64];
            if let Ok(n) = stream.read(&mut bytes) {
                answer.extend_from_slice(&bytes[..n]);
                break;
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
        stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        // Without close_notify this would be an error.
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(failures(&gateway, "timeout"), 1);
        gateway.shutdown();
    });
}

/// A connection whose hello lacks its last byte, and that byte.
fn nearly_greeted(gateway: &RunningGateway, files: &Files) -> (TcpStream, u8) {
    let mut hello = Vec::new();
    let name = ServerName::try_from("push.example").unwrap();
    ClientConnection::new(files.client(), name).unwrap().write_tls(&mut hello).unwrap();
    let last = hello.pop().unwrap();
    let mut socket = TcpStream::connect(gateway.listen()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&hello).unwrap();
    (socket, last)
}

/// A turn of the shard lets a few handshakes begin: were it all that wait, these would come before the second push.
fn pushes_arrive_while_a_storm_of_handshakes_stands_at_the_door(engine: EngineChoice) {
    let mut files = Files::new();
    files.write("", &["push.example"], &KeyPair::from_pem(RSA_KEY).unwrap());
    let mut config = files.config(engine);
    config.shards = 1;
    config.tls.handshakes_per_s = 100_000;
    config.limits.handshake_timeout_ms = 300_000;
    let gateway = gateway_with(&config);
    let mut peer = Peer::connect(&gateway, 0);
    let mut client = open(&gateway, files.client(), "/v1/ws", "alice");
    assert_eq!(frame(&mut client)["type"], "hello");
    peer.replay_nothing("alice");
    let storm: Vec<(TcpStream, u8)> = (0..256).map(|_| nearly_greeted(&gateway, &files)).collect();
    while metric(&gateway, "pushgate_handshakes{") != storm.len() as u64 {
        std::thread::yield_now();
    }
    for (socket, last) in &storm {
        let mut socket = socket;
        socket.write_all(&[*last]).unwrap();
    }
    let (last_come, _) = storm.last().unwrap();
    let served = |socket: &TcpStream| socket.peek(&mut [0]).is_ok();
    last_come.set_nonblocking(true).unwrap();
    for n in 1..=5 {
        peer.push(n, Lane::Normal, "alice", &format!("m{n}"));
        let push = frame(&mut client);
        assert_eq!(push["id"], format!("m{n}"));
        assert!(!served(last_come), "all handshakes were served before push {n}");
        client.send(Message::text(json!({ "type": "ack", "seq": push["seq"] }).to_string())).unwrap();
        peer.acked(n);
    }
    last_come.set_nonblocking(false).unwrap();
    assert!(storm.iter().all(|(socket, _)| served(socket)), "everyone in it is served in the end");
    drop(client);
    gateway.shutdown();
}

#[test]
fn pushes_arrive_while_a_storm_of_handshakes_stands_at_the_door_on_uring() {
    pushes_arrive_while_a_storm_of_handshakes_stands_at_the_door(EngineChoice::Uring);
}

#[test]
fn pushes_arrive_while_a_storm_of_handshakes_stands_at_the_door_on_epoll() {
    pushes_arrive_while_a_storm_of_handshakes_stands_at_the_door(EngineChoice::Epoll);
}
