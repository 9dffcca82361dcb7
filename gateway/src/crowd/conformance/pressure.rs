//! One connection's trouble is not the others'.

use super::{
    on_every_engine,
    rig::{KINDS, Kind, Rig, pattern},
};
use crate::crowd::{Settings, engine::Engine};

on_every_engine!(
    a_peer_that_does_not_read_backs_up_alone,
    a_flooder_that_exhausts_the_buffers_starves_nobody,
    a_crowd_of_flooders_is_received_completely,
    full_sockets_drain_in_order,
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
