//! One connection's trouble is not the others'.

use std::os::unix::net::UnixStream;

use super::{
    on_every_engine,
    rig::{KINDS, Kind, Rig, pattern},
};
use crate::{
    crowd::{ConnId, Gone, Handler, Outgoing, Settings, engine::Engine},
    limits::{READ_BYTES_MAX, READS_PER_ROUND, RING_SUBMISSIONS, TURN_ROUNDS_MAX},
};

on_every_engine!(
    a_peer_that_does_not_read_backs_up_alone,
    a_flooder_that_exhausts_the_buffers_starves_nobody,
    a_crowd_of_flooders_is_received_completely,
    full_sockets_drain_in_order,
    a_full_crowd_gives_the_socket_back,
    more_completions_than_a_ring_holds_are_kept_aside_and_counted,
    what_is_longer_than_a_send_leaves_in_several,
    a_turn_ends_though_its_own_answers_bring_more,
    a_flooder_is_heard_a_share_at_a_time,
);

fn a_peer_that_does_not_read_backs_up_alone(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::new(engine).echoing();
        let (slow, mut slow_peer) = rig.connect(kind);
        let (_, mut quick_peer) = rig.connect(kind);
        let mut staged = rig.fill(slow, &pattern(1, 0, 1 << 20));
        let before = rig.crowd.backlog(slow);
        rig.stage(slow, &pattern(1, 0, 1 << 20));
        staged += 1 << 20;
        for round in 1..=20 {
            quick_peer.write(&[round; 50]);
            rig.until("the quick one has its echo", |_| {
                quick_peer.read_all();
                quick_peer.got.len() == usize::from(round) * 50
            });
        }
        assert_eq!(rig.crowd.backlog(slow), before + (1 << 20), "the slow one holds back what it cannot take");
        assert!(rig.crowd.counts().unsent_bytes > 0 && rig.crowd.counts().receive_buffer_bytes > 0);
        rig.until("the slow one has read all", |rig| {
            slow_peer.read(300_000);
            slow_peer.got.len() == staged && rig.crowd.backlog(slow) == 0
        });
        assert_eq!(rig.crowd.counts().unsent_bytes, 0);
        for chunk in slow_peer.got.chunks(1 << 20) {
            assert!(chunk == pattern(1, 0, 1 << 20), "{kind:?}: bytes out of order");
        }
    }
}

fn a_flooder_that_exhausts_the_buffers_starves_nobody(engine: Engine) {
    for kind in KINDS {
        let settings = Settings { ring_buffers: 4, ring_buffer_bytes: 64, ..Settings::default() };
        let mut rig = Rig::with(engine, settings).echoing();
        let (flooder, mut flood) = rig.connect(kind);
        assert!(flood.write(&[9; 10_000]) > 0);
        let mut innocents: Vec<_> = (0..7).map(|_| rig.connect(kind)).collect();
        for (index, (_, peer)) in innocents.iter_mut().enumerate() {
            assert_eq!(peer.write(&pattern(index, 0, 1_000)), 1_000);
        }
        rig.until("the innocent have their echoes while it floods", |_| {
            flood.write(&[9; 1_000]);
            flood.read_all();
            innocents.iter_mut().all(|(_, peer)| {
                peer.read_all();
                peer.got.len() == 1_000
            })
        });
        for (index, (_, peer)) in innocents.iter().enumerate() {
            assert!(peer.got == pattern(index, 0, 1_000));
        }
        assert!(!rig.received(flooder).is_empty(), "the flooder is served, too");
        let starved = rig.crowd.counts().receives_starved;
        assert_eq!(starved > 0, engine == Engine::Uring, "{starved} times; epoll reads into one buffer");
    }
}

fn a_crowd_of_flooders_is_received_completely(engine: Engine) {
    let settings = Settings { ring_buffers: 2, ring_buffer_bytes: 16, ..Settings::default() };
    let mut rig = Rig::with(engine, settings);
    let mut ends: Vec<_> = (0..50).map(|_| (rig.connect(Kind::Tcp), 0)).collect();
    rig.until("all flooders are heard out", |rig| {
        let mut done = true;
        for (index, ((conn, peer), written)) in ends.iter_mut().enumerate() {
            if *written < 3_000 {
                *written += peer.write(&pattern(index, *written, 3_000 - *written));
            }
            done &= rig.received(*conn).len() == 3_000;
        }
        done
    });
    for (index, ((conn, _), _)) in ends.iter().enumerate() {
        assert!(rig.received(*conn) == pattern(index, 0, 3_000));
    }
}

fn full_sockets_drain_in_order(engine: Engine) {
    let mut rig = Rig::new(engine);
    let mut ends: Vec<_> = (0..6).map(|_| rig.connect(Kind::Tcp)).collect();
    let total = 12 << 20;
    let mut staged = 0;
    rig.until("all peers have read all", |rig| {
        if staged < total {
            for (index, (conn, _)) in ends.iter().enumerate() {
                rig.stage(*conn, &pattern(index, staged, 1 << 20));
            }
            staged += 1 << 20;
        }
        let mut done = staged == total;
        for (index, (_, peer)) in ends.iter_mut().enumerate() {
            let from = peer.got.len();
            let len = peer.read(200_000 + index * 1_000);
            assert!(peer.got[from..] == pattern(index, from, len), "bytes out of order");
            done &= peer.got.len() == total;
        }
        done
    });
    assert!(ends.iter().all(|(conn, _)| rig.crowd.backlog(*conn) == 0));
}

fn a_full_crowd_gives_the_socket_back(engine: Engine) {
    let mut rig = Rig::with(engine, Settings { sockets_max: 4, ring_sockets: 2, ..Settings::default() });
    let mut ends: Vec<_> = (0..4).map(|_| rig.connect(Kind::Unix)).collect();
    let (near, far) = UnixStream::pair().unwrap();
    let (back, error) = rig.crowd.insert(far.into()).unwrap_err();
    assert!(error.to_string().contains("at most 4 sockets"), "{error}");
    // It is still good: whoever gave it can answer.
    std::io::Write::write_all(&mut UnixStream::from(back), b"full").unwrap();
    assert_eq!(std::io::read_to_string(near).unwrap(), "full");
    let (first, _) = ends.remove(0);
    rig.until("one is gone", |rig| rig.gone(first).is_some());
    let (conn, mut peer) = rig.connect(Kind::Unix);
    peer.write(b"room again");
    rig.until("the new one is heard", |rig| rig.received(conn) == b"room again");
}

fn more_completions_than_a_ring_holds_are_kept_aside_and_counted(engine: Engine) {
    let settings = Settings { ring_completions: RING_SUBMISSIONS, ring_buffers: 64, ..Settings::default() };
    let mut rig = Rig::with(engine, settings).echoing();
    let mut ends: Vec<_> = (0..RING_SUBMISSIONS as usize * 3 / 2).map(|_| rig.connect(Kind::Unix)).collect();
    rig.turns(3);
    for (index, (_, peer)) in ends.iter_mut().enumerate() {
        assert_eq!(peer.write(&pattern(index, 0, 100)), 100);
    }
    rig.until("all have their echo", |_| {
        ends.iter_mut().all(|(_, peer)| {
            peer.read_all();
            peer.got.len() == 100
        })
    });
    assert!(ends.iter().enumerate().all(|(index, (_, peer))| peer.got == pattern(index, 0, 100)));
    let overflowed = rig.crowd.counts().completions_overflowed;
    assert_eq!(overflowed > 0, engine == Engine::Uring, "{overflowed} times");
}

fn what_is_longer_than_a_send_leaves_in_several(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::with(engine, Settings { send_bytes_max: 1_000, ..Settings::default() });
        let (conn, mut peer) = rig.connect(kind);
        let all = pattern(3, 0, 10_500);
        rig.stage(conn, &all);
        rig.until("all bytes are read", |_| {
            peer.read_all();
            peer.got.len() == all.len()
        });
        assert!(peer.got == all);
        assert_eq!(rig.crowd.backlog(conn), 0);
    }
}

fn a_turn_ends_though_its_own_answers_bring_more(engine: Engine) {
    let mut rig = Rig::new(engine).echoing();
    let (near, far) = UnixStream::pair().unwrap();
    let ends = [near, far].map(|end| rig.crowd.insert(end.into()).map_err(|(_, error)| error).unwrap());
    rig.turns(3);
    rig.stage(ends[0], b"x");
    // Each end sends back what it hears, for ever.
    for _ in 0..100 {
        let heard = |rig: &Rig| ends.iter().map(|end| rig.received(*end).len()).sum::<usize>();
        let before = heard(&rig);
        rig.turn();
        let in_turn = heard(&rig) - before;
        assert!(in_turn <= 2 * (TURN_ROUNDS_MAX + 1), "{in_turn} in one turn");
    }
}

fn a_flooder_is_heard_a_share_at_a_time(engine: Engine) {
    struct Heard {
        quick: ConnId,
        flood: usize,
        before_quick: Option<usize>,
    }
    impl Handler for Heard {
        fn received(&mut self, conn: ConnId, bytes: &mut [u8], _: &mut dyn Outgoing) {
            if conn == self.quick {
                self.before_quick.get_or_insert(self.flood);
            } else {
                self.flood += bytes.len();
            }
        }
        fn gone(&mut self, conn: ConnId, why: Gone, _: &mut dyn Outgoing) {
            panic!("{conn:?} is gone: {why:?}");
        }
    }
    let mut rig = Rig::new(engine);
    let (_, mut flood) = rig.connect(Kind::Tcp);
    let share = READS_PER_ROUND * READ_BYTES_MAX;
    let sent = flood.write(&vec![9; 16 * share]);
    assert!(sent > share, "the socket took {sent} bytes");
    let (quick, mut peer) = rig.connect(Kind::Tcp);
    peer.write(b"and I");
    let mut heard = Heard { quick, flood: 0, before_quick: None };
    while heard.before_quick.is_none() {
        rig.crowd.turn(0, &mut heard).unwrap();
        flood.write(&vec![9; share]);
    }
    assert!(heard.before_quick.unwrap() <= share, "{:?} bytes came first", heard.before_quick);
}
