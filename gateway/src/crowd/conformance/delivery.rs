//! Bytes arrive, whole, in order and at the right connection.

use super::{
    on_every_engine,
    rig::{KINDS, Kind, Rig, pattern},
};
use crate::crowd::{Settings, engine::Engine};

on_every_engine!(
    bytes_arrive_in_order_both_ways,
    what_is_staged_in_one_turn_arrives_whole,
    nothing_arrives_while_paused_and_everything_after,
    a_pause_taken_back_at_once_loses_nothing,
    five_thousand_connections_get_their_own_bytes,
    connections_of_several_rings_get_their_own_bytes,
    bytes_sent_before_the_insertion_arrive,
);

fn bytes_arrive_in_order_both_ways(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::new(engine).echoing();
        let (conn, mut peer) = rig.connect(kind);
        let sent = pattern(1, 0, 1 << 20);
        let mut written = 0;
        rig.until("all bytes are echoed", |_| {
            let end = sent.len().min(written + 10_007);
            written += peer.write(&sent[written..end]);
            peer.read_all();
            peer.got.len() == sent.len()
        });
        assert!(peer.got == sent, "{kind:?}");
        assert!(rig.received(conn) == sent, "{kind:?}");
        assert_eq!(rig.crowd.backlog(conn), 0);
        assert_eq!(rig.crowd.len(), 1);
    }
}

fn what_is_staged_in_one_turn_arrives_whole(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::new(engine);
        let mut ends: Vec<_> = (0..10).map(|_| rig.connect(kind)).collect();
        let all = pattern(2, 0, 10_000);
        for piece in all.chunks(100) {
            for (conn, _) in &ends {
                rig.stage(*conn, piece);
            }
        }
        assert!(ends.iter().all(|(conn, _)| rig.crowd.backlog(*conn) == all.len()));
        assert!(rig.crowd.wants_turn());
        rig.turn();
        assert!(ends.iter().all(|(conn, _)| rig.crowd.backlog(*conn) == 0), "one turn sends all");
        rig.until("all bytes are read", |_| {
            ends.iter_mut().all(|(_, peer)| {
                peer.read_all();
                peer.got.len() == all.len()
            })
        });
        assert!(ends.iter().all(|(_, peer)| peer.got == all));
    }
}

fn nothing_arrives_while_paused_and_everything_after(engine: Engine) {
    for kind in KINDS {
        let mut rig = Rig::new(engine);
        let (conn, mut peer) = rig.connect(kind);
        rig.turns(3);
        rig.crowd.pause(conn, true);
        rig.turns(10);
        let sent = pattern(3, 0, 5_000);
        assert_eq!(peer.write(&sent), sent.len());
        rig.turns(50);
        assert_eq!(rig.received(conn), b"", "{kind:?}");
        rig.stage(conn, b"still sends");
        rig.until("the paused connection sends", |_| peer.read_all() > 0 || !peer.got.is_empty());
        rig.crowd.pause(conn, false);
        rig.until("all arrives after the pause", |rig| rig.received(conn).len() == sent.len());
        assert!(rig.received(conn) == sent);
    }
}

fn a_pause_taken_back_at_once_loses_nothing(engine: Engine) {
    let mut rig = Rig::new(engine);
    let (conn, mut peer) = rig.connect(Kind::Tcp);
    let sent = pattern(4, 0, 200_000);
    let mut written = 0;
    let mut turn = 0;
    rig.until("all arrives", |rig| {
        let end = sent.len().min(written + 1_500);
        written += peer.write(&sent[written..end]);
        turn += 1;
        rig.crowd.pause(conn, true);
        if turn % 3 == 0 {
            rig.turn();
        }
        rig.crowd.pause(conn, false);
        rig.received(conn).len() == sent.len()
    });
    assert!(rig.received(conn) == sent);
}

fn five_thousand_connections_get_their_own_bytes(engine: Engine) {
    get_their_own_bytes(Rig::new(engine), 5_000);
}

fn connections_of_several_rings_get_their_own_bytes(engine: Engine) {
    let settings = Settings { ring_sockets: 3, ring_buffers: 4, ring_buffer_bytes: 16, ..Settings::default() };
    let rig = get_their_own_bytes(Rig::with(engine, settings), 20);
    let rings = (0..).take_while(|index| rig.crowd.wake_fd(*index).is_some()).count();
    assert_eq!(rings, if engine == Engine::Uring { 7 } else { 1 });
}

fn get_their_own_bytes(rig: Rig, count: usize) -> Rig {
    let mut rig = rig.echoing();
    let mut ends: Vec<_> =
        (0..count).map(|index| rig.connect(if index % 2 == 0 { Kind::Unix } else { Kind::Tcp })).collect();
    assert_eq!(rig.crowd.len(), count);
    for (index, (_, peer)) in ends.iter_mut().enumerate() {
        assert_eq!(peer.write(&pattern(index, 0, 100)), 100);
    }
    rig.until("all have their echo", |_| {
        ends.iter_mut().all(|(_, peer)| {
            peer.read_all();
            peer.got.len() == 100
        })
    });
    for (index, (conn, peer)) in ends.iter().enumerate() {
        assert_eq!(peer.got, pattern(index, 0, 100));
        assert_eq!(rig.received(*conn), pattern(index, 0, 100));
    }
    drop(ends);
    rig.until("all are gone", |rig| rig.crowd.is_empty());
    assert_eq!(rig.log.gone.len(), count);
    rig
}

fn bytes_sent_before_the_insertion_arrive(engine: Engine) {
    let mut rig = Rig::new(engine);
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut &near, b"early").unwrap();
    let conn = rig.crowd.insert(far.into()).map_err(|(_, error)| error).unwrap();
    rig.until("the early bytes arrive", |rig| rig.received(conn) == b"early");
}
