//! How connections end, from either side, and what comes after in their slot.

use std::{net::Shutdown, time::Duration};

use super::{
    on_every_engine,
    rig::{KINDS, Kind, Rig, pattern, until},
};
use crate::crowd::{Gone, Settings, engine::Engine};

on_every_engine!(
    what_is_staged_before_a_close_arrives_before_fin,
    unread_bytes_of_the_peer_do_not_cut_off_the_last_words,
    a_peer_that_does_not_read_is_given_up_after_the_drain_time,
    a_peer_that_does_not_close_is_given_up_after_the_drain_time,
    a_peer_that_closes_its_side_still_gets_the_answer,
    a_reset_is_a_failure,
    a_reset_ends_a_connection_that_waits_for_its_socket,
    late_words_for_a_reused_slot_reach_nobody,
    a_paused_connection_can_be_closed,
    a_close_from_within_the_handler_ends_the_connection,
    dropping_the_crowd_closes_its_sockets,
);

fn what_is_staged_before_a_close_arrives_before_fin(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(kind);
        let all = pattern(5, 0, 8 << 20);
        rig.stage(conn, &all);
        rig.crowd.close(conn);
        assert!(rig.crowd.staging(conn).is_none(), "nothing is staged after a close");
        assert!(rig.crowd.wants_turn());
        rig.until("the peer sees the end", |_| {
            peer.read(100_000);
            peer.ended
        });
        assert!(peer.got == all, "{kind:?}: {} of {} bytes", peer.got.len(), all.len());
        assert_eq!(rig.gone(conn), None, "the peer has not closed yet");
        drop(peer);
        rig.until("the connection is gone", |rig| rig.gone(conn).is_some());
        assert_eq!(rig.gone(conn), Some(Gone::Closed));
        assert_eq!(rig.crowd.len(), 0);
    }
}

fn unread_bytes_of_the_peer_do_not_cut_off_the_last_words(engine: Engine) {
    let mut rig = Rig::new(engine);
    let (conn, mut peer) = rig.connect(Kind::Tcp);
    rig.turn();
    rig.crowd.pause(conn, true);
    rig.turns(5);
    peer.write(&pattern(6, 0, 100_000));
    let words = pattern(7, 0, 1 << 20);
    rig.stage(conn, &words);
    rig.crowd.close(conn);
    rig.until("the peer sees the end", |_| {
        peer.read(50_000);
        peer.ended
    });
    assert!(peer.got == words);
    assert_eq!(rig.received(conn), b"", "nothing is handed over after a close");
}

fn a_peer_that_does_not_read_is_given_up_after_the_drain_time(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::with(engine, Settings { drain_ms: 1_000, ..Settings::default() });
        let (conn, peer) = rig.connect(kind);
        rig.fill(conn, &[7; 1 << 20]);
        rig.now_ms = 50_000;
        rig.crowd.close(conn);
        rig.turns(20);
        rig.now_ms += 999;
        rig.turns(20);
        assert_eq!(rig.gone(conn), None, "the drain time is not over");
        assert!(rig.crowd.backlog(conn) > 0);
        rig.now_ms += 1;
        rig.until("the connection is given up", |rig| rig.gone(conn).is_some());
        assert_eq!(rig.gone(conn), Some(Gone::Closed));
        assert_eq!(rig.crowd.len(), 0);
        drop(peer);
    }
}

fn a_peer_that_does_not_close_is_given_up_after_the_drain_time(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::with(engine, Settings { drain_ms: 1_000, ..Settings::default() });
        let (conn, mut peer) = rig.connect(kind);
        rig.stage(conn, b"bye");
        rig.crowd.close(conn);
        rig.until("the peer sees the end", |_| {
            peer.read_all();
            peer.ended
        });
        assert_eq!(peer.got, b"bye");
        peer.write(b"I stay");
        rig.turns(20);
        assert_eq!(rig.gone(conn), None);
        rig.now_ms = 1_000;
        rig.until("the connection is given up", |rig| rig.gone(conn).is_some());
        assert_eq!(rig.gone(conn), Some(Gone::Closed));
    }
}

fn a_peer_that_closes_its_side_still_gets_the_answer(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::new(engine).echoing();
        let (conn, mut peer) = rig.connect(kind);
        let words = pattern(8, 0, 3_000);
        peer.write(&words);
        peer.socket.shutdown(Shutdown::Write).unwrap();
        rig.until("the peer sees the end", |_| {
            peer.read_all();
            peer.ended
        });
        assert!(peer.got == words);
        rig.until("the connection is gone", |rig| rig.gone(conn).is_some());
        assert_eq!(rig.gone(conn), Some(Gone::PeerClosed));
    }
}

fn a_reset_is_a_failure(engine: Engine) {
    let mut rig = Rig::new(engine);
    let (conn, peer) = rig.connect(Kind::Tcp);
    rig.turn();
    peer.socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    rig.until("the connection is gone", |rig| rig.gone(conn).is_some());
    assert_eq!(rig.gone(conn), Some(Gone::Failed(libc::ECONNRESET)));
}

fn a_reset_ends_a_connection_that_waits_for_its_socket(engine: Engine) {
    for paused in [false, true] {
        let mut rig = Rig::new(engine);
        let (conn, peer) = rig.connect(Kind::Tcp);
        rig.crowd.pause(conn, paused);
        rig.fill(conn, &[7; 1 << 20]);
        peer.socket.set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        rig.until("the connection is gone", |rig| rig.gone(conn).is_some());
        assert!(matches!(rig.gone(conn), Some(Gone::Failed(_))), "{:?}", rig.gone(conn));
        assert_eq!(rig.crowd.len(), 0);
    }
}

fn late_words_for_a_reused_slot_reach_nobody(engine: Engine) {
    let mut rig = Rig::with(engine, Settings { ring_sockets: 1, ..Settings::default() });
    let (mut old, peer) = rig.connect(Kind::Tcp);
    drop(peer);
    rig.until("the first is gone", |rig| rig.gone(old).is_some());
    for round in 0..50 {
        let (new, mut peer) = rig.connect(if round % 2 == 0 { Kind::Tcp } else { Kind::Unix });
        assert_eq!(new.slot, old.slot, "slots are reused");
        assert_ne!(new.generation, old.generation);
        assert!(rig.crowd.staging(old).is_none());
        rig.crowd.pause(old, true);
        rig.crowd.close(old);
        rig.stage(new, b"for the new one");
        peer.write(b"from the new one");
        rig.until("the new one is served", |rig| {
            peer.read_all();
            peer.got == b"for the new one" && rig.received(new) == b"from the new one"
        });
        rig.crowd.close(new);
        drop(peer);
        rig.until("the new one is gone", |rig| rig.gone(new).is_some());
        old = new;
    }
}

fn a_paused_connection_can_be_closed(engine: Engine) {
    let mut rig = Rig::new(engine);
    let (conn, mut peer) = rig.connect(Kind::Tcp);
    rig.crowd.pause(conn, true);
    rig.turns(3);
    peer.write(b"never heard");
    rig.crowd.close(conn);
    rig.until("the peer sees the end", |_| {
        peer.read_all();
        peer.ended
    });
    drop(peer);
    rig.until("the connection is gone", |rig| rig.gone(conn).is_some());
    assert_eq!(rig.received(conn), b"");
}

fn a_close_from_within_the_handler_ends_the_connection(engine: Engine) {
    use crate::crowd::{ConnId, Handler, Outgoing};

    #[derive(Default)]
    struct Refuses(Option<Gone>);
    impl Handler for Refuses {
        fn received(&mut self, conn: ConnId, _: &mut [u8], out: &mut dyn Outgoing) {
            out.staging(conn).expect("not closing yet").extend_from_slice(b"no");
            out.close(conn);
        }
        fn gone(&mut self, _: ConnId, why: Gone, _: &mut dyn Outgoing) {
            self.0 = Some(why);
        }
    }

    let mut rig = Rig::new(engine);
    let (_, mut peer) = rig.connect(Kind::Tcp);
    peer.write(&[1; 100_000]);
    let mut handler = Refuses::default();
    let mut peer = Some(peer);
    until("the connection is gone", || {
        rig.crowd.turn(0, &mut handler).unwrap();
        if let Some(open) = &mut peer {
            open.read_all();
            if open.ended {
                assert_eq!(open.got, b"no");
                peer = None;
            }
        }
        handler.0.is_some()
    });
    assert_eq!(handler.0, Some(Gone::Closed));
}

fn dropping_the_crowd_closes_its_sockets(engine: Engine) {
    let mut rig = Rig::new(engine);
    let (_, mut peer) = rig.connect(Kind::Tcp);
    rig.turns(3);
    drop(rig);
    peer.socket.set_nonblocking(false).unwrap();
    peer.read_all();
    assert!(peer.ended);
}
