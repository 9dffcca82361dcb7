//! Curves of a simulation, each an SVG file.

use pushgate_loadgen::report::chart::{Chart, Line, Scale};

use super::table::{bytes, number};
use crate::simulate::outcome::{Outcome, Sample};

/// File names and drawings; what stays 0 is not drawn.
pub fn of(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let line = |name: &'static str, value: fn(&Sample) -> f64| Line {
        name,
        points: outcome.samples.iter().map(|sample| (sample.at_s as f64, value(sample))).collect(),
    };
    let level = |name: &'static str, value: f64| Line {
        name,
        points: outcome.samples.iter().map(|sample| (sample.at_s as f64, value)).collect(),
    };
    let change =
        |name: &'static str, value: fn(f64, f64) -> f64| Line {
            name,
            // A change is a peak of its own between nothing and nothing.
            points: [(0.0, 0.0)]
                .into_iter()
                .chain(outcome.changes.iter().flat_map(|c| {
                    [(c.at_s - 0.05, 0.0), (c.at_s, value(c.moved, c.fair) * 100.0), (c.at_s + 0.05, 0.0)]
                }))
                .chain(outcome.samples.last().map(|sample| (sample.at_s as f64, 0.0)))
                .collect(),
        };
    let ratio = |value: f64| format!("{value:.2}");
    let drawings: [Drawing<'_>; 7] = [
        ("connected.svg", "Users connected", count, vec![line("connected", |s| s.connected as f64)]),
        (
            "away.svg",
            "Users without a session, or without an owner",
            count,
            vec![line("no session", |s| s.away as f64), line("no owner", |s| s.unowned as f64)],
        ),
        (
            "reconnects.svg",
            "Reconnects a second, all gateways",
            count,
            vec![line("let in", |s| s.reconnects as f64), line("came to nothing", |s| s.failed as f64)],
        ),
        (
            "reconnects-node.svg",
            "Reconnects a second, at the gateway with the most",
            count,
            vec![line("let in", |s| s.reconnects_node_max as f64), level("bound", outcome.node_bound_per_s as f64)],
        ),
        (
            "moved.svg",
            "Users whose owner changes, at each change of the member list",
            |value| format!("{value:.3} %"),
            vec![change("moved", |moved, _| moved), change("must move", |_, fair| fair)],
        ),
        (
            "load.svg",
            "Load of the gateway with the most, as a multiple of its part",
            ratio,
            vec![line("users owned", |s| s.ring_max_mean), line("sessions", |s| s.sessions_max_mean)],
        ),
        ("streams.svg", "What waits in users' streams", bytes, vec![line("bytes", |s| s.stream_bytes as f64)]),
    ];
    let marks: Vec<(f64, &str)> = outcome.events.iter().map(|e| (e.mark.at_s, e.mark.what.as_str())).collect();
    let draw = |(name, title, label, lines)| {
        Some((name, Chart { title, scale: Scale::Even, label, lines, marks: marks.clone() }.svg()?))
    };
    drawings.into_iter().filter_map(draw).collect()
}

/// File name, title, how values are written, and lines.
type Drawing<'a> = (&'static str, &'static str, fn(f64) -> String, Vec<Line<'a>>);

fn count(value: f64) -> String {
    number(value.round() as u64)
}
