//! Clients under TLS, by a TLS library's client, over both engines.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use pushgate_gateway::{
    boot::RunningGateway,
    config::{EngineChoice, GatewayConfig},
    limits::TLS_HANDSHAKE_BYTES_MAX,
};
use pushgate_protocol::link::Lane;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use super::{
    peer::Peer,
    server::{PATIENCE, call, config, exchange, gateway_with, request, token},
};

/// Files for one certificate, and who trusts them.
pub struct Files {
    directory: TempDir,
    roots: RootCertStore,
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Files {
    pub fn new() -> Self {
        let mut files = Self { directory: tempfile::tempdir().unwrap(), roots: RootCertStore::empty() };
        files.renew();
        files
    }

    /// Puts another certificate into the files and returns it.
    fn renew(&mut self) -> CertificateDer<'static> {
        self.write("", &["push.example"], &KeyPair::generate().unwrap())
    }

    /// Puts a certificate for these names and its key into the files of a pair, `cert` and `key` behind its name.
    pub fn write(&mut self, pair: &str, names: &[&str], key: &KeyPair) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let cert = CertificateParams::new(names).unwrap().self_signed(key).unwrap();
        self.roots.add(cert.der().clone()).unwrap();
        std::fs::write(self.path(&format!("{pair}key")), key.serialize_pem()).unwrap();
        std::fs::write(self.path(&format!("{pair}cert")), cert.pem()).unwrap();
        cert.der().clone()
    }

    pub fn path(&self, kind: &str) -> String {
        self.directory.path().join(kind).to_str().unwrap().to_owned()
    }

    pub fn config(&self, engine: EngineChoice) -> GatewayConfig {
        let mut config = config(engine, 2);
        (config.tls.cert, config.tls.key) = (Some(self.path("cert")), Some(self.path("key")));
        config.tls.reload_s = 0;
        config
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(self.roots.clone()).with_no_client_auth())
    }
}

pub fn connect(gateway: &RunningGateway, config: Arc<ClientConfig>) -> Tls {
    connect_to(gateway, config, "push.example")
}

/// A connection on which nothing was said yet, of a client that asks for a name.
pub fn connect_to(gateway: &RunningGateway, config: Arc<ClientConfig>, name: &'static str) -> Tls {
    let socket = TcpStream::connect(gateway.listen()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name).unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket)
}

pub fn open(gateway: &RunningGateway, config: Arc<ClientConfig>, path: &str, user: &str) -> WebSocket<Tls> {
    let request = request(gateway, path, &[("Authorization", &format!("Bearer {}", token(user)))]);
    match tungstenite::client(request, connect(gateway, config)) {
        Ok((socket, _)) => socket,
        Err(error) => panic!("{error}"),
    }
}

pub fn frame(socket: &mut WebSocket<Tls>) -> Value {
    match socket.read().unwrap() {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("expected a text message, got {other:?}"),
    }
}

pub fn metric(gateway: &RunningGateway, name: &str) -> u64 {
    let text = call(gateway.admin(), "GET", "/metrics").body;
    let (name, label) = name.split_once('{').unwrap_or((name, ""));
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

pub fn on_engines(fact: fn(EngineChoice)) {
    fact(EngineChoice::Uring);
    fact(EngineChoice::Epoll);
}

#[test]
fn pushes_reach_sessions_of_both_shards_and_acks_come_back() {
    on_engines(|engine| {
        let files = Files::new();
        let gateway = gateway_with(&files.config(engine));
        let mut peers: Vec<Peer> = (0..2).map(|shard| Peer::connect(&gateway, shard)).collect();
        for (n, user) in peers[0].users_of_each_shard(4).iter().enumerate() {
            let mut client = open(&gateway, files.client(), "/v1/ws", user);
            assert_eq!(frame(&mut client)["user"], **user);
            let owner = usize::from(peers[0].owner(user));
            peers[owner].replay_nothing(user);
            peers[owner].push(n as u64, Lane::Normal, user, &format!("m-{user}"));
            let push = frame(&mut client);
            assert_eq!(push["id"], format!("m-{user}"));
            client.send(Message::text(json!({ "type": "ack", "seq": push["seq"] }).to_string())).unwrap();
            assert_eq!(peers[owner].acked(n as u64).as_deref(), Some("phone"));
            client.close(None).unwrap();
            while client.read().is_ok() {}
        }
        assert_eq!(metric(&gateway, "pushgate_tls_handshakes_total"), 8);
        assert_eq!(metric(&gateway, "pushgate_tls_session_errors_total"), 0);
        gateway.shutdown();
    });
}

#[test]
fn large_messages_and_key_changes_survive_the_echo() {
    on_engines(|engine| {
        let files = Files::new();
        let gateway = gateway_with(&files.config(engine));
        let mut echo = open(&gateway, files.client(), "/v1/echo", "anyone");
        for bytes in [0, 1, 1_000, 16_384, 70_000, 3_000_000] {
            echo.get_mut().conn.refresh_traffic_keys().unwrap();
            let message = Message::binary((0..bytes).map(|n| n as u8).collect::<Vec<_>>());
            echo.send(message.clone()).unwrap();
            assert!(echo.read().unwrap() == message, "{bytes} bytes");
        }
        gateway.shutdown();
    });
}

#[test]
fn a_plain_request_over_tls_is_answered_and_closed_in_order() {
    on_engines(|engine| {
        let files = Files::new();
        let gateway = gateway_with(&files.config(engine));
        let ask = |path: &str| {
            let mut stream = connect(&gateway, files.client());
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = String::new();
            // Without close_notify this would be an error.
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        assert!(ask("/").starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(ask("/nowhere").starts_with("HTTP/1.1 404 Not Found\r\n"));
        gateway.shutdown();
    });
}

#[test]
fn http_without_tls_is_told_what_to_do() {
    let files = Files::new();
    let gateway = gateway_with(&files.config(EngineChoice::Auto));
    let answer = exchange(gateway.listen(), b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("wss://"), "{answer:?}");
    let garbage = super::server::exchange_bytes(gateway.listen(), b"\x16\x03\x01\x00\x05hello");
    assert_eq!(garbage.first(), Some(&21), "an alert");
    assert_eq!(metric(&gateway, "pushgate_tls_handshakes_total{result=\"plain_http\""), 1);
    gateway.shutdown();
}

#[test]
fn a_handshake_that_does_not_end_in_time_is_given_up() {
    on_engines(|engine| {
        let files = Files::new();
        let mut config = files.config(engine);
        config.limits.handshake_timeout_ms = 100;
        let gateway = gateway_with(&config);
        let mut socket = TcpStream::connect(gateway.listen()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&[22, 3, 1]).unwrap();
        assert_eq!(socket.read(&mut [0; 9]).unwrap(), 0, "closed without a word");
        gateway.shutdown();
    });
}

#[test]
fn clients_resume_on_any_shard() {
    let files = Files::new();
    let gateway = gateway_with(&files.config(EngineChoice::Auto));
    let config = files.client();
    for round in 0..6 {
        let mut client = open(&gateway, config.clone(), "/v1/ws", "alice");
        assert_eq!(frame(&mut client)["type"], "hello");
        let kind = client.get_ref().conn.handshake_kind().unwrap();
        assert_eq!(kind == HandshakeKind::Resumed, round > 0, "round {round}: {kind:?}");
    }
    gateway.shutdown();
}

#[test]
fn a_new_certificate_is_for_new_clients_and_ends_nobody() {
    let mut files = Files::new();
    let gateway = gateway_with(&files.config(EngineChoice::Auto));
    let mut old = open(&gateway, files.client(), "/v1/ws", "old");
    assert_eq!(frame(&mut old)["type"], "hello");
    let renewed = files.renew();
    gateway.reload_tls();
    while metric(&gateway, "pushgate_tls_reloads_total{result=\"ok\"") == 0 {
        std::thread::yield_now();
    }
    let mut new = open(&gateway, files.client(), "/v1/ws", "new");
    assert_eq!(frame(&mut new)["type"], "hello");
    assert_eq!(new.get_ref().conn.peer_certificates().unwrap()[0], renewed);
    std::fs::write(files.path("key"), "no key").unwrap();
    gateway.reload_tls();
    while metric(&gateway, "pushgate_tls_reloads_total{result=\"error\"") == 0 {
        std::thread::yield_now();
    }
    let mut other = open(&gateway, files.client(), "/v1/ws", "other");
    assert_eq!(frame(&mut other)["type"], "hello");
    old.send(Message::text(r#"{"type":"ping"}"#)).unwrap();
    assert_eq!(frame(&mut old)["type"], "pong");
    // Told at the shards' next ticks.
    while metric(&gateway, "pushgate_tls_sessions{") != 3 {
        std::thread::yield_now();
    }
    gateway.shutdown();
}

#[test]
fn a_forged_record_ends_its_session_and_no_other() {
    on_engines(|engine| {
        let files = Files::new();
        let gateway = gateway_with(&files.config(engine));
        let mut good = open(&gateway, files.client(), "/v1/ws", "good");
        let mut bad = open(&gateway, files.client(), "/v1/ws", "bad");
        assert_eq!((&frame(&mut good)["type"], &frame(&mut bad)["type"]), (&json!("hello"), &json!("hello")));
        bad.get_mut().sock.write_all(b"\x17\x03\x03\x00\x20this was sealed by nobody at all!").unwrap();
        let error = bad.read().unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
        good.send(Message::text(r#"{"type":"ping"}"#)).unwrap();
        assert_eq!(frame(&mut good)["type"], "pong");
        gateway.shutdown();
    });
}

#[test]
fn a_shutdown_closes_sessions_with_a_code_and_close_notify() {
    on_engines(|engine| {
        let files = Files::new();
        let gateway = gateway_with(&files.config(engine));
        let mut client = open(&gateway, files.client(), "/v1/ws", "alice");
        assert_eq!(frame(&mut client)["type"], "hello");
        let stopped = std::thread::spawn(move || gateway.shutdown());
        loop {
            match client.read() {
                Ok(Message::Close(Some(close))) => break assert_eq!(u16::from(close.code), 1012),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
        while client.read().is_ok() {}
        let Tls { conn, sock } = client.get_mut();
        loop {
            match conn.read_tls(sock) {
                Ok(0) => break,
                Ok(_) => drop(conn.process_new_packets().unwrap()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            }
        }
        drop(client);
        stopped.join().unwrap();
    });
}

#[test]
fn a_storm_of_handshakes_is_let_in_at_the_rate_allowed() {
    let files = Files::new();
    let mut config = files.config(EngineChoice::Auto);
    config.shards = 1;
    config.tls.handshakes_per_s = 10;
    let gateway = gateway_with(&config);
    let mut clients: Vec<_> = (0..12)
        .map(|n| {
            let mut stream = connect(&gateway, files.client());
            let Tls { conn, sock } = &mut stream;
            conn.write_tls(sock).unwrap();
            (n, stream)
        })
        .collect();
    while metric(&gateway, "pushgate_tls_handshakes_waiting") == 0 {
        assert!(metric(&gateway, "pushgate_tls_handshakes_total") < 12, "all were let in at once");
    }
    for (n, stream) in &mut clients {
        write!(stream, "GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    gateway.shutdown();
}

#[test]
fn a_handshake_message_that_never_ends_is_cut_off_at_the_bound() {
    on_engines(|engine| {
        let files = Files::new();
        let gateway = gateway_with(&files.config(engine));
        let mut socket = TcpStream::connect(gateway.listen()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // A ClientHello that announces 16 MB, in full records.
        let mut hello = vec![22, 3, 1, 0x40, 0];
        hello.extend([1, 0xff, 0xff, 0xff]);
        hello.resize(5 + 0x4000, 0);
        let mut sent = 0;
        while sent < 8 * TLS_HANDSHAKE_BYTES_MAX && socket.write_all(&hello).is_ok() {
            sent += hello.len();
        }
        // Whatever it says, it does not go on reading.
        let _ = socket.read_to_end(&mut Vec::new());
        let malformed = metric(&gateway, "pushgate_tls_handshakes_total{result=\"malformed\"");
        assert_eq!(malformed, 1);
        gateway.shutdown();
    });
}
