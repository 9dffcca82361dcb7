//! Reports of runs that were made up.

use std::time::Duration;

use super::*;
use crate::{
    run::Second,
    scenario::{file, presets},
    strain::Seen,
};

const FILE: &str =
    "name = \"</script><b>\"\nconnections = 10\n[[phases]]\nname = \"one\"\nduration = \"2s\"\nnormal = { rate = 5 }\n";

fn second(at_s: f64) -> Second {
    let generator = Seen { machine_cores: 2.0, machine_cores_max: 2.0, ..Seen::default() };
    let latency = Quantiles { samples: 1_000, p50_us: 900, p90_us: 950, p99_us: 1_000, p999_us: 1_000, max_us: 1_000 };
    Second {
        at_s,
        seconds: 1.0,
        phase: 0,
        steady: true,
        open: 10,
        greeted: 0,
        failed: 0,
        planned: 5,
        accepted: 5,
        unaccepted: 0,
        pushes: 5,
        latency,
        greeting: Quantiles::default(),
        generator,
        reference_ns: Some(5_000.0),
        server: Vec::new(),
    }
}

/// Two seconds, of which the second is measured.
fn outcome() -> Outcome {
    let mut outcome =
        Outcome { began_us: 1_000_000, ended_us: 3_000_000, measured_from_us: Some(2_000_000), ..Outcome::default() };
    outcome.seconds = vec![second(1.0), second(2.0)];
    (0..1_000).for_each(|n| outcome.latency[Lane::Normal].record(20_000 + n));
    outcome.verdicts[Lane::Normal].received = 1_000;
    outcome.sent[Lane::Normal].planned = 1_000;
    outcome.sent[Lane::Normal].accepted = 1_000;
    outcome.clients.started = 10;
    outcome
}

fn report(outcome: Outcome, objectives: &[&str]) -> Report {
    let objectives: Vec<_> = objectives.iter().map(|text| text.parse().unwrap()).collect();
    Report::new(&file::read(FILE).unwrap(), outcome, Circumstances::default(), &objectives)
}

fn lag(us: u64) -> Outcome {
    let mut outcome = outcome();
    (0..1_000).for_each(|_| outcome.lag.record(us));
    outcome
}

#[test]
fn rates_are_of_what_was_measured_and_lanes_without_messages_are_left_out() {
    let report = report(outcome(), &["rate=1000", "rate=1001"]);
    assert_eq!((report.measured_s, report.received_per_s), (1.0, 1_000.0));
    assert_eq!(report.lanes.keys().copied().collect::<Vec<_>>(), ["normal"]);
    assert_eq!(report.objectives.iter().map(|judged| judged.holds).collect::<Vec<_>>(), [true, false]);
    assert!(!report.holds() && report.taints.is_empty() && report.wrong == 0);
}

#[test]
fn what_is_lost_doubled_or_for_another_is_wrong_and_what_is_late_is_not() {
    let mut outcome = outcome();
    outcome.lost = 3;
    let verdicts = &mut outcome.verdicts[Lane::Normal];
    (verdicts.doubled, verdicts.crossed, verdicts.late, verdicts.foreign) = (2, 1, 50, 9);
    let report = report(outcome, &["lost=2", "doubled=2", "errors=0%"]);
    assert_eq!(report.wrong, 6);
    assert_eq!(report.objectives.iter().map(|judged| judged.holds).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn a_generator_that_is_woken_late_taints_what_is_not_much_slower() {
    let taints = |outcome| report(outcome, &[]).taints.iter().map(|taint| taint.what).collect::<Vec<_>>();
    assert_eq!(taints(lag(4_900)), Vec::<&str>::new(), "nobody's concern");
    assert_eq!(taints(lag(6_000)), ["processor time"]);
    let told = report(lag(6_000), &[]);
    assert!(told.taints[0].seen.contains("processors were full in 1 of 1 seconds"), "{}", told.taints[0].seen);
    let mut slow = lag(6_000);
    (0..1_000).for_each(|_| slow.latency[Lane::Normal].record(500_000));
    assert_eq!(taints(slow), Vec::<&str>::new(), "no part of half a second");
}

#[test]
fn ports_descriptors_rings_and_threads_taint_too() {
    let mut outcome = outcome();
    for errno in [libc::EADDRNOTAVAIL, libc::EMFILE, libc::ECONNREFUSED] {
        outcome.failures.insert(std::io::Error::from_raw_os_error(errno).to_string(), 4);
    }
    outcome.clients.overflows = 1;
    outcome.busiest_thread = (0.99, "fleet".into());
    let taints = report(outcome, &[]).taints;
    assert_eq!(
        taints.iter().map(|taint| taint.what).collect::<Vec<_>>(),
        ["a thread", "rings", "ports", "descriptors"]
    );
    assert!(taints.iter().all(|taint| !taint.remedy.is_empty()));
}

#[test]
fn the_page_holds_the_report_and_nothing_that_ends_an_element() {
    let report = report(outcome(), &["lost=0"]);
    let page = html::page(&report);
    assert!(page.contains("&lt;/script&gt;&lt;b&gt;"), "the name is text");
    assert_eq!(page.matches("</script>").count(), 1);
    assert!(!page.contains("<b></h1>") && !page.contains("src=") && !page.contains("http"), "nothing from elsewhere");
    let json = page.split_once("id=\"report\">").unwrap().1.split_once("</script>").unwrap().0;
    let inside: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(inside, serde_json::to_value(&report).unwrap());
    assert!(page.matches("<svg").count() >= 3);
}

#[test]
fn a_report_of_nothing_is_a_report() {
    let common = presets::Common {
        connections: 1,
        devices_per_user: 1,
        connect_rate: None,
        duration: Duration::from_secs(1),
        warm_up: Duration::ZERO,
        ack_delay: None,
        ping_every: None,
        recipients: 1,
        domain: "b.example".into(),
    };
    let scenario = presets::connect(&common, presets::Stay::Hold);
    let report = Report::new(&scenario, Outcome::default(), Circumstances::default(), &["p99=1ms".parse().unwrap()]);
    assert!(!report.holds() && html::page(&report).contains("does not hold"));
}
