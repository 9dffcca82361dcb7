//! Known latencies come back as they were injected: a server dates its messages back. Minutes, so that what the machine adds
//! is no part of one percent.

use super::*;

const CLIENTS: u32 = 5;
const MESSAGES: u32 = 400;
const TOLERANCE: f64 = 0.01;

/// Minutes to an hour, of three shapes.
fn latencies(shape: u32) -> Vec<u64> {
    let (least, most) = (60e6, 3_600e6);
    let at = |n: u32| {
        // 0 to 1, in a scattered order.
        let part = f64::from(n.wrapping_mul(7_919) % (CLIENTS * MESSAGES)) / f64::from(CLIENTS * MESSAGES);
        match shape {
            0 => least + part * (most - least),
            1 => (least - 400e6 * (1.0 - part).ln()).min(most),
            _ => {
                if part < 0.985 {
                    least * (1.0 + part)
                } else {
                    most * part
                }
            }
        }
    };
    (0..CLIENTS * MESSAGES).map(|n| at(n) as u64).collect()
}

#[test]
fn known_latencies_come_back_within_one_percent_from_clients_of_several_rings() {
    for shape in 0..3 {
        let (listener, server) = listen();
        let (fleet, mut peers) = connected_with(options(server, CLIENTS), &listener, 2);
        assert_eq!(fleet.workers.len(), 3);
        fleet.begin().unwrap();
        let (clock, mut injected) = (Clock::start(), latencies(shape));
        for (n, latency) in injected.iter().enumerate() {
            let (client, n) = (n as u32 % CLIENTS, n as u32 / CLIENTS);
            let stamp = Stamp {
                run: RUN,
                to: Addressee::User(client),
                lane: Lane::Low,
                n,
                planned_us: clock.now_us() - latency,
            };
            let id = String::from_utf8(stamp.write().to_vec()).unwrap();
            let seq = n + 1;
            peers[client as usize].say(&format!(r#"{{"type":"push","seq":{seq},"replay":false,"id":"{id}"}}"#));
        }
        fleet.wait("all pushes", PATIENCE, |t| t.pushes == u64::from(CLIENTS * MESSAGES)).unwrap();
        let window = fleet.finish().unwrap();
        let found = &window.latency[Lane::Low];
        assert_eq!(found.count(), u64::from(CLIENTS * MESSAGES));
        injected.sort_unstable();
        for per_mille in [10, 250, 500, 750, 900, 990, 999, 1_000] {
            let exact = injected[(per_mille * injected.len()).div_ceil(1_000) - 1] as f64;
            let told = found.percentile(per_mille as u64) as f64;
            assert!((told / exact - 1.0).abs() <= TOLERANCE, "shape {shape}, {per_mille}: {told} of {exact}");
        }
    }
}

#[test]
fn windows_that_turn_leave_nothing_out_and_what_was_planned_before_is_not_measured() {
    let (listener, server) = listen();
    let (fleet, mut peers) = connected(options(server, 1), &listener);
    let clock = Clock::start();
    fleet.begin_from(clock.now_us()).unwrap();
    let mut pushed = |n: u32, planned_us: u64| {
        let stamp = Stamp { run: RUN, to: Addressee::User(0), lane: Lane::Normal, n, planned_us };
        let id = String::from_utf8(stamp.write().to_vec()).unwrap();
        peers[0].say(&format!(r#"{{"type":"push","seq":{},"replay":false,"id":"{id}"}}"#, n + 1));
    };
    let (mut received, mut measured) = (0, 0);
    for n in 0..30 {
        pushed(n, if n % 3 == 0 { clock.now_us() - 60_000_000 } else { clock.now_us() + 1 });
        let window = fleet.turn().unwrap();
        received += window.verdicts.sum().received;
        measured += window.latencies().count();
    }
    fleet.wait("all pushes", PATIENCE, |t| t.pushes == 30).unwrap();
    let window = fleet.turn().unwrap();
    received += window.verdicts.sum().received;
    measured += window.latencies().count();
    assert_eq!((received, measured), (30, 20));
}
