//! What is told at the end.

use std::io::{self, Write};

use pushgate_loadgen::{
    report::{ProcessReport, Report},
    run::Quantiles,
    span::of_micros,
};

use super::options::ReportArgs;
use crate::failure::Failure;

/// Prints the summary, or the report as JSON.
pub fn print(report: &Report, options: &ReportArgs) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if options.json {
        let json = serde_json::to_string(report).map_err(|error| Failure::new(error.to_string()))?;
        return Ok(writeln!(out, "{json}")?);
    }
    writeln!(out)?;
    for taint in &report.taints {
        let whose = taint.process.as_ref().map(|process| format!("{process}: ")).unwrap_or_default();
        writeln!(out, "TAINTED  {whose}{}: {}\n         remedy: {}", taint.what, taint.seen, taint.remedy)?;
    }
    let connections = &report.connections;
    if report.scenario.connections > 0 {
        crowd(&mut out, report)?;
    }
    for (name, lane) in &report.lanes {
        writeln!(
            out,
            "{name:<11}  {} planned, {} accepted, {} refused, {} unanswered, {} unsent",
            lane.planned, lane.accepted, lane.refused, lane.unanswered, lane.unsent
        )?;
        if lane.asked > 0 {
            let of =
                if lane.asked < lane.accepted { format!(" of the {} asked about", lane.asked) } else { String::new() };
            writeln!(out, "             {} taken by providers{of}", lane.received)?;
            for (state, times) in
                lane.states.iter().filter(|(state, _)| !matches!(state.as_str(), "sent" | "delivered"))
            {
                writeln!(out, "             {times} {state}")?;
            }
            times(&mut out, "accepted", &lane.accepted_after.quantiles)?;
            times(&mut out, "taken", &lane.latency.quantiles)?;
            continue;
        }
        let more = [(lane.late, "late"), (lane.crossed, "FOR ANOTHER CLIENT"), (lane.foreign, "of another run")];
        let more: String = more.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect();
        writeln!(
            out,
            "             {} received; {} doubled, {} out of order, {} expired{more}",
            lane.received,
            lane.doubled,
            lane.out_of_order + lane.stale,
            lane.expired
        )?;
        times(&mut out, "accepted", &lane.accepted_after.quantiles)?;
        times(&mut out, "received", &lane.latency.quantiles)?;
    }
    if !report.lanes.is_empty() {
        let verb = if report.scenario.connections > 0 { "received" } else { "taken" };
        writeln!(out, "in all       {} lost, {:.0} {verb} a second", report.lost, report.received_per_s)?;
    }
    if let Some(why) = &report.states_untold {
        writeln!(out, "states       not always told, so some may be lost only to this run: {why}")?;
    }
    let lanes = report.lanes.values().flat_map(|lane| &lane.reasons);
    for (why, times) in connections.reasons.iter().chain(lanes) {
        writeln!(out, "failed       {times} times: {why}")?;
    }
    for process in &report.processes {
        own(&mut out, process)?;
    }
    for judged in &report.objectives {
        let word = if judged.holds { "holds" } else { "DOES NOT HOLD" };
        writeln!(out, "objective    {} {word}: {}", judged.objective, judged.measured)?;
    }
    Ok(())
}

/// What one process of several did.
fn own(out: &mut impl Write, process: &ProcessReport) -> io::Result<()> {
    let ProcessReport { process: n, host, pid, open, connections, failed, accepted, received, lost, .. } = process;
    let leads = if *n == 1 { ", leads" } else { "" };
    writeln!(
        out,
        "process {n:<4} {host}, pid {pid}{leads}: {open} of {connections} open at the end, {failed} failed; {accepted} accepted, {received} received, {lost} lost"
    )?;
    let us = |us: u64| of_micros(us as f64);
    if process.latency.samples > 0 {
        times(out, "received", &process.latency)?;
    }
    let mut lag = format!("woken late: p99 {}, at most {}", us(process.lag.p99_us), us(process.lag.max_us));
    if let Some(clock) = &process.clock {
        lag += &format!("; clock {} beside the leader's, to {}", signed(clock.ahead_us), us(clock.error_us()));
    }
    writeln!(out, "             {lag}")?;
    match &process.gone {
        Some(why) => writeln!(out, "             GONE: {why}"),
        None => Ok(()),
    }
}

/// How far the leader's clock was ahead, as seen from the process's.
fn signed(ahead_us: i64) -> String {
    let sign = if ahead_us > 0 { "-" } else { "+" };
    format!("{sign}{}", of_micros(ahead_us.unsigned_abs() as f64))
}

/// What became of connections.
fn crowd(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let connections = &report.connections;
    writeln!(
        out,
        "connections  {} greeted of {} started, {} open at the end, {} failed",
        connections.greeted, connections.started, connections.open, connections.failed
    )?;
    for (phase, wanted) in report.phases.iter().zip(&report.scenario.phases) {
        let all = phase.open == u64::from(wanted.connections);
        if phase.gathered_in_s > 0.5 {
            let there = if all { "all".to_owned() } else { format!("only {} of {}", phase.open, wanted.connections) };
            writeln!(out, "             {}: {there} there after {:.1} s", phase.name, phase.gathered_in_s)?;
        }
    }
    times(out, "to connect", &connections.greeting.quantiles)
}

/// Which objectives do not hold.
pub fn unmet(report: &Report) -> String {
    let unmet: Vec<_> = report
        .objectives
        .iter()
        .filter(|judged| !judged.holds)
        .map(|j| format!("{} ({})", j.objective, j.measured))
        .collect();
    format!("not met: {}", unmet.join(", "))
}

fn times(out: &mut impl Write, name: &str, q: &Quantiles) -> io::Result<()> {
    if q.samples == 0 {
        return Ok(());
    }
    let [p50, p90, p99, p999, max] = [q.p50_us, q.p90_us, q.p99_us, q.p999_us, q.max_us].map(|us| of_micros(us as f64));
    writeln!(
        out,
        "             {name}: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, at most {max} ({} samples)",
        q.samples
    )
}
