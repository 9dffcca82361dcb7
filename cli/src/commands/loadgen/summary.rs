//! What is told at the end.

use std::io::{self, Write};

use pushgate_loadgen::{report::Report, run::Quantiles, span::of_micros};

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
        writeln!(out, "TAINTED  {}: {}\n         remedy: {}", taint.what, taint.seen, taint.remedy)?;
    }
    let connections = &report.connections;
    writeln!(
        out,
        "connections  {} greeted of {} started, {} open at the end, {} failed",
        connections.greeted, connections.started, connections.open, connections.failed
    )?;
    let widest = report.phases.iter().map(|phase| phase.gathered_in_s).fold(0.0, f64::max);
    if widest > 0.5 {
        writeln!(out, "             all there after {widest:.1} s")?;
    }
    times(&mut out, "to connect", &connections.greeting.quantiles)?;
    for (name, lane) in &report.lanes {
        writeln!(
            out,
            "{name:<11}  {} planned, {} accepted, {} refused, {} unanswered",
            lane.planned, lane.accepted, lane.refused, lane.unanswered
        )?;
        let late = if lane.late > 0 { format!(", {} late", lane.late) } else { String::new() };
        writeln!(
            out,
            "             {} received; {} doubled, {} out of order, {} expired{late}",
            lane.received,
            lane.doubled,
            lane.out_of_order + lane.stale,
            lane.expired
        )?;
        times(&mut out, "accepted", &lane.accepted_after.quantiles)?;
        times(&mut out, "received", &lane.latency.quantiles)?;
    }
    if !report.lanes.is_empty() {
        writeln!(out, "in all       {} lost, {:.0} received a second", report.lost, report.received_per_s)?;
    }
    let lanes = report.lanes.values().flat_map(|lane| &lane.reasons);
    for (why, times) in connections.reasons.iter().chain(lanes) {
        writeln!(out, "failed       {times} times: {why}")?;
    }
    for judged in &report.objectives {
        let word = if judged.holds { "holds" } else { "DOES NOT HOLD" };
        writeln!(out, "objective    {} {word}: {}", judged.objective, judged.measured)?;
    }
    for file in options.files() {
        writeln!(out, "written      {}", file.display())?;
    }
    Ok(())
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
