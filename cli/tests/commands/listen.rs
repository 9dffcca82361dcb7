//! `listen`

use std::{io::Read, net::TcpListener, thread};

use serde_json::{Value, json};

use crate::{
    fake::{self, Scene},
    program::{Run, run},
};

fn listen(scenes: Vec<Scene>, arguments: &[&str]) -> Run {
    let (address, gateway) = fake::gateway(scenes);
    let data = fake::data(&address, "127.0.0.1:1");
    let run = run(&[&["listen", "--data", fake::path(&data), "--user", "alice"], arguments].concat());
    gateway.join().expect("the gateway's scenes went as written");
    run
}

fn ack(seq: u64) -> Option<Value> {
    Some(json!({ "type": "ack", "seq": seq }))
}

#[test]
fn pushes_are_printed_and_acknowledged() {
    let scene: Scene = Box::new(|mut peer| {
        assert_eq!(peer.path, "/v1/ws");
        assert!(peer.authorization.starts_with("Bearer "));
        peer.hello("s1", false);
        peer.push(1, "m1", "Hi");
        peer.push(2, "m2", "Ho");
        assert_eq!(peer.hear(), ack(1));
        assert_eq!(peer.hear(), ack(2));
        assert_eq!(peer.hear(), None);
    });
    let run = listen(vec![scene], &["--count", "2"]);
    assert_eq!((run.code, run.out.as_str()), (0, "Hi: there  [m1]\nHo: there  [m2]\n"), "{}", run.err);
}

#[test]
fn json_prints_each_frame_of_the_server_on_a_line() {
    let scene: Scene = Box::new(|mut peer| {
        peer.hello("s1", false);
        peer.push(1, "m1", "Hi");
        while peer.hear().is_some() {}
    });
    let run = listen(vec![scene], &["--count", "1", "--json"]);
    let frames: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(frames.len(), 2);
    assert_eq!((&frames[0]["type"], &frames[1]["seq"]), (&json!("hello"), &json!(1)));
}

#[test]
fn it_connects_again_and_resumes() {
    let first: Scene = Box::new(|mut peer| {
        peer.hello("s1", false);
        peer.push(1, "m1", "Hi");
        assert_eq!(peer.hear(), ack(1));
        // Gone without a close, as a killed server is.
    });
    let second: Scene = Box::new(|mut peer| {
        assert_eq!(peer.path, "/v1/ws?resume=s1&seq=1");
        peer.hello("s2", false);
        peer.close(1012);
    });
    let third: Scene = Box::new(|mut peer| {
        assert_eq!(peer.path, "/v1/ws?resume=s2&seq=0");
        peer.hello("s3", false);
        // Once more with the same id: acknowledged, not printed.
        peer.push(1, "m1", "Hi");
        peer.push(2, "m2", "Ho");
        assert_eq!(peer.hear(), ack(1));
        assert_eq!(peer.hear(), ack(2));
        assert_eq!(peer.hear(), None);
    });
    let run = listen(vec![first, second, third], &["--count", "2"]);
    assert_eq!((run.code, run.out.as_str()), (0, "Hi: there  [m1]\nHo: there  [m2]\n"), "{}", run.err);
    assert!(run.err.contains("the server closed with 1012 bye; connecting again"), "{}", run.err);
}

#[test]
fn no_ack_acknowledges_nothing() {
    let scene: Scene = Box::new(|mut peer| {
        peer.hello("s1", false);
        peer.push(1, "m1", "Hi");
        assert_eq!(peer.hear(), None);
    });
    let run = listen(vec![scene], &["--count", "1", "--no-ack"]);
    assert_eq!(run.out, "Hi: there  [m1]\n", "{}", run.err);
}

#[test]
fn a_code_that_forbids_another_try_ends_it() {
    let scene: Scene = Box::new(|mut peer| {
        peer.hello("s1", false);
        peer.close(4501);
    });
    let run = listen(vec![scene], &[]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("the server closed with 4501 bye"), "{}", run.err);
}

#[test]
fn fewer_pushes_than_counted_before_the_timeout_end_with_1() {
    let scene = || -> Scene {
        Box::new(|mut peer| {
            peer.hello("s1", false);
            assert_eq!(peer.hear(), None);
        })
    };
    let run = listen(vec![scene()], &["--count", "1", "--timeout", "1s"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("0 of 1 pushes came before --timeout"), "{}", run.err);
    assert_eq!(listen(vec![scene()], &["--timeout", "1s"]).code, 0);
}

#[test]
fn a_refused_token_ends_with_1_and_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let gateway = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        let _ = stream.read(&mut [0; 4096]).expect("a request");
        let body = r#"{"title":"Unauthorized","detail":"no key of the app fits"}"#;
        let head = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n", body.len());
        std::io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes()).expect("answered");
    });
    let data = fake::data(&address, "127.0.0.1:1");
    let run = run(&["listen", "--data", fake::path(&data), "--user", "alice"]);
    gateway.join().expect("it answered");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("401: no key of the app fits"), "{}", run.err);
}
