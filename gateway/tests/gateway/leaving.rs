//! A gateway that leaves, as those see it who are still on their way in.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use pushgate_gateway::config::EngineChoice;

use super::{
    bad_input::refused,
    protection::{asking, failures},
    server::{Answer, PATIENCE, config, gateway_with},
};

fn who_waits_in_the_listeners_queue_when_a_drain_begins_is_answered(engine: EngineChoice) {
    let mut config = config(engine, 1);
    config.limits.pending_handshakes_max = 2;
    config.limits.drain_grace_ms = 0;
    let gateway = gateway_with(&config);
    // These have both places until the drain gives them up, so whoever comes behind them waits in the queue.
    let silent = [(); 2].map(|()| TcpStream::connect(gateway.listen()).unwrap());
    let queued: Vec<TcpStream> = (0..20)
        .map(|n| {
            let mut stream = TcpStream::connect(gateway.listen()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&asking(&format!("u{n}"), "")).unwrap();
            stream
        })
        .collect();
    gateway.drain();
    for mut stream in queued {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered, not reset");
        let answer = Answer::parse(answer);
        refused(&answer, 503, "shutting down");
        assert!(answer.head.contains("Retry-After: 1"), "{answer:?}");
    }
    assert_eq!(failures(&gateway, "draining"), 20);
    drop(silent);
    while !gateway.is_drained() {
        thread::yield_now();
    }
    assert!(TcpStream::connect(gateway.listen()).is_err());
}

#[test]
fn who_waits_in_the_listeners_queue_when_a_drain_begins_is_answered_on_uring() {
    who_waits_in_the_listeners_queue_when_a_drain_begins_is_answered(EngineChoice::Uring);
}

#[test]
fn who_waits_in_the_listeners_queue_when_a_drain_begins_is_answered_on_epoll() {
    who_waits_in_the_listeners_queue_when_a_drain_begins_is_answered(EngineChoice::Epoll);
}
