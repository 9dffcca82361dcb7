//! Random operations against a model: two byte streams per connection, each a prefix of what went in.

use std::net::Shutdown;

use super::{
    on_every_engine,
    rig::{KINDS, Peer, Rig, pattern},
};
use crate::crowd::{ConnId, Gone, Settings, engine::Engine};

on_every_engine!(random_operations_match_the_model);

const STEPS: usize = 1_500;
const SEEDS: std::ops::Range<u64> = 1..13;

fn random_operations_match_the_model(engine: Engine) {
    let chosen = std::env::var("PUSHGATE_SEED").ok().map(|seed| seed.parse().expect("PUSHGATE_SEED is a number"));
    for seed in chosen.map_or(SEEDS, |seed| seed..seed + 1) {
        println!("PUSHGATE_SEED={seed}");
        let mut world = World::new(engine, seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % bound as u64) as usize
    }
}

struct Line {
    stream: usize,
    conn: ConnId,
    peer: Peer,
    /// Written by the peer.
    written: usize,
    /// Staged for the peer.
    staged: usize,
    /// The shard closed it.
    closed: bool,
    /// The peer closed its side.
    hung_up: bool,
}

struct World {
    rig: Rig,
    dice: Dice,
    lines: Vec<Line>,
    streams: usize,
    seed: u64,
}

impl World {
    fn new(engine: Engine, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let settings = Settings {
            ring_sockets: 1 + dice.below(8) as u32,
            ring_buffers: 1 << dice.below(5),
            ring_buffer_bytes: 1 + dice.below(500) as u32,
            drain_ms: 1_000,
            send_bytes_max: 100 + dice.below(100_000),
            ..Settings::default()
        };
        Self { rig: Rig::with(engine, settings), dice, lines: Vec::new(), streams: 0, seed }
    }

    fn step(&mut self) {
        if self.lines.is_empty() || (self.lines.len() < 24 && self.dice.below(20) == 0) {
            return self.connect();
        }
        let index = self.dice.below(self.lines.len());
        let (action, amount) = (self.dice.below(100), self.dice.below(20_000));
        let large = self.dice.below(10) == 0;
        let line = &mut self.lines[index];
        let stands = !line.closed && !line.hung_up;
        match action {
            0..25 if !line.hung_up && !line.closed => {
                line.written += line.peer.write(&pattern(line.stream, line.written, amount));
            }
            25..50 if stands => {
                let amount = if large { amount * 100 } else { amount };
                self.rig.stage(line.conn, &pattern(line.stream + 1, line.staged, amount));
                line.staged += amount;
            }
            50..65 => Self::read(line, amount * 10),
            65..70 if stands => self.rig.crowd.pause(line.conn, amount % 2 == 0),
            70..72 if stands => {
                self.rig.crowd.close(line.conn);
                line.closed = true;
            }
            72..74 if stands => {
                line.peer.socket.shutdown(Shutdown::Write).unwrap();
                line.hung_up = true;
            }
            74..100 => {
                self.rig.now_ms += 1;
                self.rig.turn();
                // Now and then what nothing needs is given back; of what is under way nothing may get lost.
                if amount % 4 == 0 {
                    self.rig.crowd.rest();
                }
                self.check();
                self.bury();
            }
            _ => {}
        }
    }

    fn connect(&mut self) {
        let kind = KINDS[self.dice.below(2)];
        let (conn, peer) = self.rig.connect(kind);
        self.streams += 2;
        let stream = self.streams;
        self.lines.push(Line { stream, conn, peer, written: 0, staged: 0, closed: false, hung_up: false });
    }

    fn read(line: &mut Line, max: usize) {
        let from = line.peer.got.len();
        let len = line.peer.read(max);
        assert!(line.peer.got[from..] == pattern(line.stream + 1, from, len), "wrong bytes at {from}");
    }

    /// What holds at any time.
    fn check(&self) {
        for line in &self.lines {
            let received = self.rig.received(line.conn);
            assert!(received.len() <= line.written, "seed {}", self.seed);
            assert!(line.peer.got.len() + self.rig.crowd.backlog(line.conn) <= line.staged, "seed {}", self.seed);
            assert!(self.rig.gone(line.conn).is_none() || line.closed || line.hung_up, "seed {}", self.seed);
        }
    }

    /// Forgets the connections that ended, after the peer has read what was left.
    fn bury(&mut self) {
        let rig = &mut self.rig;
        self.lines.retain_mut(|line| {
            let Some(why) = rig.log.gone.get(&line.conn) else { return true };
            Self::read(line, usize::MAX);
            assert!(rig.crowd.staging(line.conn).is_none());
            assert!(line.peer.ended);
            if *why == Gone::PeerClosed {
                let received = rig.log.received.remove(&line.conn).unwrap_or_default();
                assert!(received == pattern(line.stream, 0, line.written), "seed {}: bytes lost", self.seed);
                assert_eq!(line.peer.got.len(), line.staged, "seed {}: bytes lost", self.seed);
            }
            false
        });
    }

    /// Everything that stands arrives; everything that was closed ends.
    fn settle(&mut self) {
        for line in &self.lines {
            self.rig.crowd.pause(line.conn, false);
        }
        let lines = &mut self.lines;
        self.rig.until("the world comes to rest", |rig| {
            lines.iter_mut().all(|line| {
                Self::read(line, usize::MAX);
                if line.closed && line.peer.ended && !line.hung_up {
                    line.peer.socket.shutdown(Shutdown::Write).unwrap();
                    line.hung_up = true;
                }
                match rig.gone(line.conn) {
                    Some(_) => line.peer.got.len() == line.staged,
                    None if line.closed || line.hung_up => false,
                    None => {
                        line.peer.got.len() == line.staged
                            && rig.received(line.conn).len() == line.written
                            && rig.crowd.backlog(line.conn) == 0
                    }
                }
            })
        });
        for line in &self.lines {
            if !line.closed {
                let received = self.rig.received(line.conn);
                assert!(received == pattern(line.stream, 0, line.written), "seed {}", self.seed);
            }
        }
        let standing = self.lines.iter().filter(|line| self.rig.gone(line.conn).is_none()).count();
        assert_eq!(self.rig.crowd.len(), standing, "seed {}", self.seed);
    }
}
