//! Every row of the gateway's benchmark runs, in a form so small that it measures nothing.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

/// What a row measured.
fn row(name: &str) -> Value {
    let program = env!("CARGO_BIN_EXE_gateway");
    let output = Command::new(program).args(["--smoke", name]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (_, json) = text.split_once('\n').unwrap();
    serde_json::from_str(json).unwrap()
}

/// Whether a contender has done something in each of its rounds.
fn assert_done(contenders: &Value) {
    for (name, told) in contenders.as_object().unwrap() {
        let samples = told["done_ticks_awake_ns_thread_ns"].as_array().unwrap();
        assert!(samples.len() == 2 && samples.iter().all(|s| s[0].as_u64().unwrap() > 0), "{name}: {told}");
    }
}

#[test]
fn idle() {
    let told = row("idle");
    assert_eq!((&told["connections_lost"], &told["pushes_lost"]), (&0.into(), &0.into()), "{told}");
}

#[test]
fn idle_long_ids() {
    assert_eq!(row("idle-long-ids")["setup"]["user_bytes"], 36);
}

#[test]
fn idle_tls() {
    let told = row("idle-tls");
    assert_eq!((&told["connections_lost"], &told["pushes_lost"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(told["setup"]["tls"], true);
    let configuration = told["configuration"].as_str().unwrap();
    assert!(
        configuration.contains("\"target/bench-gateway/"),
        "a record tells nothing of the machine: {configuration}"
    );
}

#[test]
fn fan_out_tls() {
    let told = row("fan-out-tls");
    assert_done(&told["contenders"]);
    assert_eq!(told["pushes_lost"], 0);
}

#[test]
fn fan_out() {
    let told = row("fan-out");
    assert_done(&told["contenders"]);
    assert_eq!(told["pushes_lost"], 0);
}

#[test]
fn coalescing() {
    let told = row("coalescing");
    assert_done(&told["contenders"]);
    assert_eq!(told["pushes_lost"], 0);
}

#[test]
fn echo() {
    assert_done(&row("echo")["contenders"]);
}

#[test]
fn accepts() {
    let told = row("accepts");
    assert_done(&told["contenders"]);
    assert_eq!(told["connections_failed"], serde_json::json!([0, 0, 0]));
}

#[test]
fn slow_readers() {
    let told = row("slow-readers");
    assert_eq!(told["connections_ended"], 0, "{told}");
    assert!(told["answers"]["acked"].as_u64().unwrap() > 0, "{told}");
}

#[test]
fn engines() {
    let told = row("engines");
    assert_done(&told["fan_out"]);
    assert_done(&told["echo"]);
}

#[test]
fn churn() {
    assert_eq!(row("churn")["connections_failed"], 0);
}

#[test]
fn hold() {
    let told = row("hold");
    assert_eq!((&told["open"], &told["connections_failed"]), (&200.into(), &0.into()), "{told}");
    assert_eq!(told["verdicts"]["received"], 400, "{told}");
    assert_eq!(told["verdicts"]["lost"], 0, "{told}");
}

#[test]
fn compression() {
    let told = row("compression");
    assert_eq!(told["pushes_lost"], 0, "{told}");
    for bytes in [400, 1_024, 4_096] {
        let of = &told[format!("push_of_{bytes}_bytes")];
        assert_done(&of["contenders"]);
        for kind in ["records", "all"] {
            let wire = |how| of["wire_bytes_each"][format!("{kind}_{how}")].as_f64().unwrap();
            assert!(wire("plain") >= bytes as f64 && wire("compressed") < wire("plain"), "{of}");
        }
    }
}
