//! Sessions on the shard that owns them, over both engines.

use pushgate_gateway::config::EngineChoice;
use pushgate_protocol::link::Lane;
use serde_json::json;
use tungstenite::Message;

use super::{
    peer::Peer,
    server::{Client, PATIENCE, call, gateway, request, token},
};

fn a_push_reaches_the_right_socket_and_its_ack_comes_back(engine: EngineChoice) {
    let gateway = gateway(engine, 2);
    let mut peers: Vec<Peer> = (0..2).map(|shard| Peer::connect(&gateway, shard)).collect();
    let users = peers[0].users_of_each_shard(4);
    let mut clients: Vec<Client> = users.iter().map(|u| Client::connect(&gateway, u).0).collect();
    let owners: Vec<usize> = users.iter().map(|u| usize::from(peers[0].owner(u))).collect();
    for (user, owner) in users.iter().zip(&owners) {
        peers[*owner].replay_nothing(user);
    }
    for (n, (user, owner)) in users.iter().zip(&owners).enumerate() {
        peers[*owner].push(n as u64, Lane::Normal, user, &format!("m-{user}"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let push = client.frame();
        assert_eq!((&push["type"], &push["id"]), (&json!("push"), &json!(format!("m-{}", users[n]))));
        client.say(json!({ "type": "ack", "seq": push["seq"] }));
        assert_eq!(peers[owners[n]].acked(n as u64).as_deref(), Some("phone"));
    }
    let metrics = call(gateway.admin(), "GET", "/metrics").body;
    assert!(!metrics.contains("pushgate_pushes_crossed_total{shard=\"0\"} 1"), "{metrics}");
    gateway.shutdown();
}

#[test]
fn a_push_reaches_the_right_socket_and_its_ack_comes_back_on_uring() {
    a_push_reaches_the_right_socket_and_its_ack_comes_back(EngineChoice::Uring);
}

#[test]
fn a_push_reaches_the_right_socket_and_its_ack_comes_back_on_epoll() {
    a_push_reaches_the_right_socket_and_its_ack_comes_back(EngineChoice::Epoll);
}

fn clients_get_1012_at_a_shutdown(engine: EngineChoice) {
    let gateway = gateway(engine, 2);
    let mut clients: Vec<Client> = (0..4).map(|n| Client::connect(&gateway, &format!("u{n}")).0).collect();
    let stopped = std::thread::spawn(move || gateway.shutdown());
    for client in &mut clients {
        assert_eq!(client.close_code(), 1012);
        while client.0.read().is_ok() {}
    }
    drop(clients);
    stopped.join().unwrap();
}

#[test]
fn clients_get_1012_at_a_shutdown_on_uring() {
    clients_get_1012_at_a_shutdown(EngineChoice::Uring);
}

#[test]
fn clients_get_1012_at_a_shutdown_on_epoll() {
    clients_get_1012_at_a_shutdown(EngineChoice::Epoll);
}

#[test]
fn the_token_may_come_in_header_query_or_subprotocol() {
    let gateway = gateway(EngineChoice::Auto, 1);
    let query = request(&gateway, &format!("/v1/ws?token={}", token("u1")), &[]);
    assert_eq!(Client::open(&gateway, query).unwrap().frame()["user"], "u1");
    let list = format!("pushgate.v1, bearer.{}", token("u2"));
    let protocols = request(&gateway, "/v1/ws", &[("Sec-WebSocket-Protocol", &list)]);
    let stream = std::net::TcpStream::connect(gateway.listen()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, answer) = tungstenite::client(protocols, stream).unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "pushgate.v1");
    assert_eq!(Client(socket).frame()["user"], "u2");
}

#[test]
fn a_session_is_resumed_by_its_id() {
    let gateway = gateway(EngineChoice::Auto, 2);
    let (mut first, hello) = Client::connect(&gateway, "u1");
    assert_eq!(hello["resumed"], false);
    let path = format!("/v1/ws?token={}&resume={}&seq=0", token("u1"), hello["session"].as_str().unwrap());
    let again = Client::open(&gateway, request(&gateway, &path, &[])).unwrap().frame();
    assert_eq!(again["resumed"], true);
    assert_eq!(first.close_code(), 1000);
}

#[test]
fn an_echo_sends_back_what_it_gets() {
    let gateway = gateway(EngineChoice::Auto, 2);
    let mut client = Client::open(&gateway, request(&gateway, "/v1/echo", &[])).unwrap();
    for text in ["a", &"b".repeat(70_000)] {
        client.0.send(Message::text(text)).unwrap();
        assert_eq!(client.0.read().unwrap(), Message::text(text));
    }
}

#[test]
fn a_client_may_speak_before_it_has_its_101() {
    let gateway = gateway(EngineChoice::Auto, 2);
    let head = format!(
        "GET /v1/ws?token={} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token("u1")
    );
    // A masked ping with an empty mask and a close frame.
    let frames = b"\x81\x8f\0\0\0\0{\"type\":\"ping\"}\x88\x80\0\0\0\0";
    let answer = super::server::exchange_bytes(gateway.listen(), &[head.as_bytes(), frames].concat());
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("\"hello\"") && text.contains("\"pong\""), "{text}");
}
