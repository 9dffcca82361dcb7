//! Both engines under the TLS layer, their peers at the other end of a socket pair.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
};

use super::super::keys::Side;
use super::*;
use crate::{
    crowd::{Settings, engine::Engine, probe::probe},
    tls::{
        keys::Suite,
        records::tests::{open, pair},
    },
};

#[derive(Default)]
struct Log {
    received: HashMap<ConnId, Vec<u8>>,
    gone: HashMap<ConnId, Gone>,
    echoes: bool,
    /// What it says when it hears this.
    closes_at: Option<&'static [u8]>,
}

impl Handler for Log {
    fn received(&mut self, conn: ConnId, bytes: &mut [u8], out: &mut dyn Outgoing) {
        self.received.entry(conn).or_default().extend_from_slice(bytes);
        if self.echoes
            && let Some(buffer) = out.staging(conn)
        {
            buffer.extend_from_slice(bytes);
        }
        if self.closes_at == Some(bytes) {
            out.close(conn);
        }
    }

    fn gone(&mut self, conn: ConnId, why: Gone, out: &mut dyn Outgoing) {
        assert!(out.staging(conn).is_none());
        self.gone.insert(conn, why);
    }
}

struct Rig {
    crowd: TlsCrowd,
    log: Log,
}

struct Peer {
    socket: UnixStream,
    records: Records,
    wire: Vec<u8>,
    ended: bool,
}

impl Rig {
    fn new(engine: Engine) -> Self {
        Self { crowd: TlsCrowd::new(engine.open(Settings::default()).unwrap()), log: Log::default() }
    }

    fn connect(&mut self, suite: Suite) -> (ConnId, Peer) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let (server, client) = pair(suite);
        let conn = self.crowd.insert_tls(far.into(), server).map_err(|(_, _, error)| error).unwrap();
        (conn, Peer { socket: near, records: client, wire: Vec::new(), ended: false })
    }

    fn turn(&mut self) {
        self.crowd.turn(0, &mut self.log).unwrap();
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..1_000_000 {
            self.turn();
            if done(self) {
                return;
            }
        }
        panic!("never: {what}");
    }

    fn received(&self, conn: ConnId) -> &[u8] {
        self.log.received.get(&conn).map_or(&[], Vec::as_slice)
    }
}

impl Peer {
    fn say(&mut self, text: &[u8]) {
        let wire = self.records.sealed(text).unwrap();
        self.socket.write_all(&wire).unwrap();
    }

    /// What came since, and whether it ended with close_notify.
    fn hear(&mut self) -> (Vec<u8>, bool) {
        let mut scratch = [0; 4_096];
        loop {
            match self.socket.read(&mut scratch) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => self.wire.extend_from_slice(&scratch[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        open(&mut self.records, &std::mem::take(&mut self.wire), usize::MAX).unwrap()
    }
}

fn on_engines(fact: fn(Engine)) {
    fact(Engine::Epoll);
    match probe() {
        Ok(()) => fact(Engine::Uring),
        Err(reason) => eprintln!("uring skipped: {reason}"),
    }
}

#[test]
fn plaintext_goes_in_and_out_and_ciphertext_between() {
    on_engines(|engine| {
        for suite in Suite::ALL {
            let mut rig = Rig::new(engine);
            rig.log.echoes = true;
            let (conn, mut peer) = rig.connect(suite);
            let long: Vec<u8> = (0..60_000_u32).map(|n| n as u8).collect();
            peer.say(b"short ");
            peer.say(&long);
            let mut back = Vec::new();
            rig.until("the echo is back", |_| {
                back.extend(peer.hear().0);
                back.len() == 6 + long.len()
            });
            assert!(rig.received(conn) == [b"short ", &long[..]].concat() && rig.received(conn) == back);
        }
    });
}

#[test]
fn frames_staged_in_one_turn_leave_in_one_record() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(Suite::V13Aes128);
        for _ in 0..10 {
            rig.crowd.staging(conn).unwrap().extend_from_slice(b"frame ");
        }
        let staged = rig.crowd.backlog(conn);
        assert_eq!(staged, 5 + 60, "room for a header, and the frames");
        rig.until("all is here", |_| peer.hear().0.len() == 60);
        assert_eq!(rig.crowd.backlog(conn), 0);
        rig.crowd.staging(conn).unwrap().extend_from_slice(b"x");
        rig.turn();
        let mut wire = [0; 100];
        assert_eq!(peer.socket.read(&mut wire).unwrap(), 5 + 1 + 1 + 16, "header, text, type, tag");
    });
}

#[test]
fn a_look_at_the_staging_buffer_sends_nothing() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(Suite::V12Aes128);
        assert!(rig.crowd.staging(conn).is_some());
        rig.turn();
        rig.turn();
        assert_eq!(rig.crowd.backlog(conn), 0);
        assert_eq!(peer.socket.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_close_sends_what_is_staged_then_close_notify_then_fin() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(Suite::V13Chacha);
        rig.crowd.staging(conn).unwrap().extend_from_slice(b"last words");
        rig.crowd.close(conn);
        assert!(rig.crowd.staging(conn).is_none());
        let mut heard = (Vec::new(), false);
        rig.until("the end", |_| {
            let (text, closed) = peer.hear();
            heard.0.extend(text);
            heard.1 |= closed;
            peer.ended
        });
        assert_eq!(heard, (b"last words".to_vec(), true));
        drop(peer);
        rig.until("gone", |rig| rig.log.gone.get(&conn) == Some(&Gone::Closed));
        assert_eq!(rig.crowd.tls_counts().sessions, 0);
    });
}

#[test]
fn close_notify_of_the_peer_is_answered_and_told_as_its_close() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(Suite::V13Aes256);
        let mut wire = peer.records.sealed(b"bye").unwrap();
        peer.records.alert(&mut wire, Alert::CloseNotify);
        wire.extend(peer.records.sealed(b"nobody hears this").unwrap());
        peer.socket.write_all(&wire).unwrap();
        let mut closed = false;
        rig.until("the answer", |_| {
            closed |= peer.hear().1;
            peer.ended
        });
        assert!(closed);
        drop(peer);
        rig.until("gone", |rig| rig.log.gone.get(&conn) == Some(&Gone::PeerClosed));
        assert_eq!(rig.received(conn), b"bye");
    });
}

#[test]
fn a_peer_that_leaves_without_close_notify_is_gone_all_the_same() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(Suite::V13Aes128);
        peer.say(b"half a");
        let wire = peer.records.sealed(b"record").unwrap();
        peer.socket.write_all(&wire[..9]).unwrap();
        drop(peer);
        rig.until("gone", |rig| rig.log.gone.contains_key(&conn));
        assert_eq!(rig.received(conn), b"half a");
        assert_eq!(rig.crowd.tls_counts(), TlsCounts::default());
    });
}

#[test]
fn a_forged_record_is_answered_with_an_alert_and_ends_the_connection_alone() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (good, mut peer) = rig.connect(Suite::V13Aes128);
        let (bad, mut forger) = rig.connect(Suite::V13Aes128);
        let mut wire = forger.records.sealed(b"forged").unwrap();
        wire[9] ^= 1;
        wire.extend_from_slice(b"more");
        forger.socket.write_all(&wire).unwrap();
        let mut scratch = Vec::new();
        rig.until("the end", |_| match forger.socket.read_to_end(&mut scratch) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        });
        let told = open(&mut forger.records, &scratch, usize::MAX).unwrap_err();
        assert_eq!(told, Fault::Told(Alert::BadRecordMac as u8));
        drop(forger);
        rig.until("gone", |rig| rig.log.gone.contains_key(&bad));
        assert_eq!((rig.crowd.tls_counts().faults, rig.received(bad)), (1, &b""[..]));
        peer.say(b"still here");
        rig.until("heard", |rig| rig.received(good) == b"still here");
    });
}

#[test]
fn nothing_is_handed_over_after_a_close_from_within_the_handler() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        rig.log.closes_at = Some(b"enough");
        let (conn, mut peer) = rig.connect(Suite::V13Aes128);
        let wire: Vec<u8> = [&b"enough"[..], b"more"].iter().flat_map(|t| peer.records.sealed(t).unwrap()).collect();
        peer.socket.write_all(&wire).unwrap();
        rig.until("the end", |_| {
            peer.hear();
            peer.ended
        });
        assert_eq!(rig.received(conn), b"enough");
    });
}

#[test]
fn a_connection_whose_key_is_used_up_is_closed() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(Suite::V12Aes128);
        let most = Suite::V12Aes128.records_max();
        rig.crowd.veils.get(conn.slot).unwrap().pretend(Side::Send, most);
        peer.records.pretend(Side::Receive, most);
        rig.crowd.staging(conn).unwrap().extend_from_slice(b"not under this key");
        let mut heard = (Vec::new(), false);
        rig.until("the end", |_| {
            heard = match peer.hear() {
                (text, false) if text.is_empty() => heard.clone(),
                heard => heard,
            };
            peer.ended
        });
        assert_eq!(heard, (Vec::new(), true));
        assert_eq!(rig.crowd.tls_counts().used_up, 1);
    });
}

#[test]
fn bare_connections_pass_through_unchanged() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        rig.log.echoes = true;
        let (mut near, far) = UnixStream::pair().unwrap();
        let conn = rig.crowd.insert(far.into()).map_err(|(_, error)| error).unwrap();
        near.write_all(b"bare").unwrap();
        rig.until("heard", |rig| rig.received(conn) == b"bare" && !rig.crowd.wants_turn());
        let mut back = [0; 4];
        near.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"bare");
    });
}

#[test]
fn what_was_read_before_is_handed_over_first() {
    on_engines(|engine| {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(Suite::V13Aes128);
        let mut wire = peer.records.sealed(b"read ").unwrap();
        wire.extend(peer.records.sealed(b"before").unwrap());
        let (before, later) = wire.split_at_mut(40);
        rig.crowd.received_before(conn, before, &mut rig.log);
        peer.socket.write_all(later).unwrap();
        peer.say(" and after".as_bytes());
        rig.until("all heard", |rig| rig.received(conn) == b"read before and after");
    });
}
