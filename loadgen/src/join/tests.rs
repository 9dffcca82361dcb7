//! Runs of several processes over loopback, whose figures are made up.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};

use pushgate_protocol::link::Lane;

use super::*;
use crate::{
    fleet::{Tally, Window},
    histogram::Histogram,
    lanes::ByLane,
    run::{Company, Outcome, Part, Quantiles, Second},
    scenario::{Scenario, file},
    strain::Seen,
};

const KEY: &str = "a key for tests alone";
const WAIT: Duration = Duration::from_secs(60);

fn scenario() -> Scenario {
    file::read("connections = 9\n[[phases]]\nname = \"one\"\nduration = \"2s\"\nnormal = { rate = 5 }\n").unwrap()
}

fn key() -> SharedKey {
    SharedKey::parse(KEY).unwrap()
}

fn lobby(processes: u32) -> (Lobby, String) {
    let site = serde_json::json!({ "secret": "of the app" });
    let lobby = Lobby::open(TcpListener::bind("127.0.0.1:0").unwrap(), key(), &scenario(), processes, &site).unwrap();
    let address = lobby.address().unwrap().to_string();
    (lobby, address)
}

fn join(address: &str) -> Joined {
    let joining = Joining::join(address, &key()).unwrap();
    assert_eq!(joining.plan.site["secret"], "of the app");
    joining.ready(Arc::new(AtomicBool::new(false))).unwrap()
}

/// A second that ends at `at_s`, with these latencies.
pub(super) fn part(at_s: f64, open: u64, samples: &[u64]) -> Part {
    let mut window = Window::default();
    samples.iter().for_each(|us| window.latency[Lane::Normal].record(*us));
    window.verdicts[Lane::Normal].received = samples.len() as u64;
    let second = Second {
        at_s,
        seconds: 1.0,
        phase: 0,
        steady: true,
        open,
        greeted: 0,
        failed: 0,
        planned: samples.len() as u64,
        accepted: samples.len() as u64,
        unaccepted: 0,
        pushes: samples.len() as u64,
        latency: Quantiles::of(&window.latencies()),
        greeting: Quantiles::default(),
        generator: Seen::default(),
        reference_ns: None,
        server: Vec::new(),
    };
    let tally = Tally { open, ..Tally::default() };
    let (lag, sent, failures) = (Histogram::default(), ByLane::default(), BTreeMap::new());
    Part { second, measured: true, sends: true, window, lag, tally, sent, failures }
}

/// One process's part: its seconds, one after another, and its end.
fn take_part(company: &mut dyn Company, seconds: &[Vec<u64>]) -> Outcome {
    let stop = AtomicBool::new(false);
    let now_us = company.clock().now_us();
    let mut outcome = Outcome::begin(0, company.begin(now_us).unwrap());
    while company.start(0).is_none() {
        company.attend(&stop).unwrap();
        thread::yield_now();
    }
    for (at, samples) in seconds.iter().enumerate() {
        let part = part(at as f64 + 1.0, 3, samples);
        outcome.add_part(&part);
        company.second(&part);
    }
    company.to_all(ByLane::default(), true);
    while !company.is_over() {
        company.attend(&stop).unwrap();
        thread::yield_now();
    }
    company.end(&outcome).unwrap();
    outcome
}

/// Latencies of each second, of all sizes; always the same for a seed.
fn samples(mut seed: u64) -> Vec<Vec<u64>> {
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..4).map(|_| (0..next() % 700).map(|_| next() >> (next() % 40 + 24)).collect()).collect()
}

#[test]
fn percentiles_of_a_run_are_those_of_the_pooled_samples_of_its_processes() {
    let (lobby, address) = lobby(3);
    let joiners: Vec<_> = (0..2)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || {
                let mut joined = join(&address);
                let seed = u64::from(joined.seat().stripe.index) + 1;
                take_part(&mut joined, &samples(seed));
            })
        })
        .collect();
    let mut leading = lobby.wait(WAIT, &AtomicBool::new(false), |_| {}).unwrap();
    let own = take_part(&mut leading, &samples(1));
    joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
    let joint = leading.conclude(own);
    let mut pooled = Histogram::default();
    let all: Vec<u64> = (1..=3).flat_map(|seed| samples(seed).concat()).collect();
    all.iter().for_each(|us| pooled.record(*us));
    assert!(all.len() > 2_000);
    for per_mille in 0..=1_000 {
        assert_eq!(joint.outcome.latencies().percentile(per_mille), pooled.percentile(per_mille), "{per_mille}");
    }
    assert_eq!(joint.outcome.latency[Lane::Normal], pooled);
    assert_eq!(joint.outcome.verdicts.sum().received, all.len() as u64);
    let seconds = &joint.outcome.seconds;
    assert_eq!(seconds.iter().map(|second| second.latency.samples).sum::<u64>(), all.len() as u64);
    assert_eq!(seconds.last().map(|second| second.open), Some(9));
    assert!(joint.processes.iter().all(|process| process.gone.is_none()));
    let clocks: Vec<_> = joint.processes.iter().filter_map(|process| process.offset).collect();
    // Of one machine; the bound holds whatever the machine did meanwhile.
    assert!(clocks.len() == 2 && clocks.iter().all(|clock| clock.ahead_us.unsigned_abs() < 60_000_000), "{clocks:?}");
}

#[test]
fn who_does_not_come_to_its_end_is_named_and_its_seconds_count() {
    let (lobby, address) = lobby(2);
    let joiner = thread::spawn(move || {
        let mut joined = join(&address);
        joined.begin(0).unwrap();
        joined.second(&part(1.0, 3, &[1_000; 10]));
        joined.fail("its ring broke\u{7}");
    });
    let mut leading = lobby.wait(WAIT, &AtomicBool::new(false), |_| {}).unwrap();
    let own = take_part(&mut leading, &[vec![5_000; 20]]);
    joiner.join().unwrap();
    let joint = leading.conclude(own);
    assert_eq!(joint.processes[1].gone.as_deref(), Some("its ring broke"));
    assert_eq!((joint.outcome.latencies().count(), joint.outcome.clients.open), (30, 3));
}

#[test]
fn whoever_comes_when_all_places_are_taken_is_refused() {
    let (lobby, address) = lobby(2);
    let leader = thread::spawn(move || lobby.wait(WAIT, &AtomicBool::new(false), |_| {}).map(drop));
    // It has a place, and is not ready: the leader still waits.
    let first = Joining::join(&address, &key()).unwrap();
    let refused = Joining::join(&address, &key()).err().expect("refused").to_string();
    assert_eq!(refused, "the leader refuses: all 2 processes are there");
    let wrong = SharedKey::parse("another key for tests").unwrap();
    assert!(matches!(Joining::join(&address, &wrong), Err(JoinError::WrongKey)));
    let _joined = first.ready(Arc::new(AtomicBool::new(false))).unwrap();
    leader.join().unwrap().unwrap();
}

#[test]
fn a_leader_waits_for_a_bounded_time_and_until_it_is_stopped() {
    let wait = |stop| lobby(3).0.wait(Duration::ZERO, &AtomicBool::new(stop), |_| {}).map(drop);
    assert!(matches!(wait(true), Err(JoinError::Stopped)));
    assert_eq!(wait(false).unwrap_err().to_string(), "1 of 3 processes came in 0ns");
}
