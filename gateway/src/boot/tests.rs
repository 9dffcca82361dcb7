//! A gateway's parts as boot puts them together: clients on sockets, with what only its threads reach in the test's hand.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use pushgate_protocol::{
    auth::Apps,
    ids::{AppId, UserId},
    wire::WireForm,
};

use super::*;
use crate::{
    core::{EchoOpen, SessionOpen, TokenMark},
    revocation::Revocation,
    shard::Mail,
    tls::sockets::ClientSocket,
    upgrade::Reason,
};

const ECHO: &str = "GET /v1/echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// What a client that came in reads first.
const PREFACE: &[u8] = b"HTTP/1.1 101 \r\n\r\n";

#[test]
fn core_lists_are_read() {
    assert_eq!(core_list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
    assert!(core_list("").is_empty());
    assert!(!allowed_cores().is_empty());
}

fn gateway(drain_grace_ms: u32) -> RunningGateway {
    let any = || "127.0.0.1:0".to_owned();
    let mut config = GatewayConfig {
        listen: any(),
        links: any(),
        admin: any(),
        node: "g1".into(),
        shards: 1,
        echo: true,
        link_key: Some("a key for links in tests".into()),
        ..GatewayConfig::default()
    };
    config.limits.drain_grace_ms = drain_grace_ms;
    start(&config, Arc::new(Apps::new(Vec::new()).unwrap()), StartOptions::default()).unwrap()
}

/// How many connections failed for this reason.
fn failures(gateway: &RunningGateway, reason: Reason) -> u64 {
    gateway.site.metrics[0].failures.0[reason as usize].read()
}

/// The head of the answer to a client, who stays, or what there is of it.
fn answer(mut client: &TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn echo(gateway: &RunningGateway) -> (TcpStream, String) {
    let mut client = TcpStream::connect(gateway.listen()).unwrap();
    client.write_all(ECHO.as_bytes()).unwrap();
    let head = answer(&client);
    (client, head)
}

/// Puts a client into the shard's mailbox, as the shard that accepted it would; its own end.
fn hand_over(gateway: &RunningGateway, mail: impl FnOnce(ClientSocket) -> Mail) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = ClientSocket { fd: listener.accept().unwrap().0.into(), tls: None };
    assert!(gateway.site.mail[0].send(mail(socket)).is_ok());
    client
}

#[test]
fn who_finds_the_mailbox_full_is_answered_503_until_it_has_room() {
    let gateway = gateway(0);
    let enough = AtomicBool::new(false);
    let refused = thread::scope(|scope| {
        // Whatever the shard takes out of it is replaced at once.
        scope.spawn(|| {
            while !enough.load(Relaxed) {
                let _ = gateway.site.mail[0].send(Mail::Cluster);
            }
        });
        let refused = (0..100_000).map(|_| echo(&gateway).1).find(|head| !head.starts_with("HTTP/1.1 101 "));
        enough.store(true, Relaxed);
        refused.expect("nobody found it full")
    });
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    assert_eq!((failures(&gateway, Reason::Full), gateway.site.metrics[0].mailbox_full.read()), (1, 1));
    assert!((0..100_000).any(|_| echo(&gateway).1.starts_with("HTTP/1.1 101 ")), "there is room again");
}

#[test]
fn whose_token_was_revoked_on_its_way_to_its_shard_is_answered_503_and_counted_as_that() {
    let gateway = gateway(0);
    let (app, user) = (AppId::parse("shop").unwrap(), UserId::parse("alice").unwrap());
    let now_ms = gateway.site.clock.now().unix_ms;
    let revocation = Revocation {
        app: app.clone(),
        user: Some(user.clone()),
        device: None,
        jti: None,
        before_ms: Some(now_ms),
        until_ms: now_ms + 3_600_000,
    };
    gateway.site.revocations.add(revocation, now_ms).unwrap();
    let open = Box::new(SessionOpen {
        app,
        user,
        device: None,
        platform: None,
        expires_ms: now_ms + 3_600_000,
        token: TokenMark::default(),
        wire: WireForm::PUSHGATE_V1,
        deflate: None,
        resume: None,
        preface: PREFACE.to_vec(),
        early: Vec::new(),
    });
    let permit = gateway.site.admission.uncounted();
    let client = hand_over(&gateway, |socket| Mail::Session { socket, open, permit });
    assert!(answer(&client).starts_with("HTTP/1.1 503 "));
    assert_eq!((failures(&gateway, Reason::Revoked), failures(&gateway, Reason::Full)), (1, 0));
}

#[test]
fn who_comes_to_its_shard_after_a_drain_began_there_is_answered_503_and_counted_as_that() {
    let gateway = gateway(0);
    // Does not close its side, so the shard waits for it.
    let (_standing, _) = echo(&gateway);
    gateway.drain();
    let come = || {
        let open = EchoOpen { preface: PREFACE.to_vec(), ..EchoOpen::default() };
        let permit = gateway.site.admission.uncounted();
        answer(&hand_over(&gateway, |socket| Mail::Echo { socket, open, permit }))
    };
    // The shard looks at its next tick.
    let refused = std::iter::repeat_with(come).find(|head| !head.as_bytes().starts_with(PREFACE)).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert_eq!((failures(&gateway, Reason::Draining), failures(&gateway, Reason::Full)), (1, 0));
}
