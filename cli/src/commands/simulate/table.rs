//! What is told on a terminal, and in the book: one row for each event.

use std::fmt::Write;

use crate::simulate::{
    outcome::{Happened, Outcome},
    plan::GoTo,
};

/// The table, as Markdown that reads well as it is.
pub fn of(outcome: &Outcome) -> String {
    let go_to = match outcome.go_to {
        GoTo::Any => "clients stay where the balancer puts them",
        GoTo::Owner => "clients go to their owner",
    };
    let seconds = outcome.samples.last().map_or(0, |sample| sample.at_s);
    let mut out = format!(
        "{}: {} users, {} of them online, {} gateways, {seconds} s, seed {}; {go_to}\n\n",
        outcome.name,
        number(outcome.users),
        number(outcome.online),
        number(outcome.nodes),
        outcome.seed,
    );
    let names = [
        "at",
        "event",
        "lists",
        "moved",
        "fair",
        "away",
        "back after",
        "no owner",
        "reconnects/s",
        "at one gateway/s",
        "ring",
        "sessions",
        "streams",
    ];
    let rows: Vec<_> = outcome.events.iter().map(|event| row(event, outcome.node_bound_per_s)).collect();
    let width = |at: usize, name: &str| {
        rows.iter().map(|row| row[at].chars().count()).chain([name.chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = names.iter().enumerate().map(|(at, name)| width(at, name)).collect();
    let mut line = |cells: &[String]| {
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(out, "| {cell:<width$} ");
        }
        out += "|\n";
    };
    line(&names.map(str::to_owned));
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    rows.iter().for_each(|row| line(row));
    out
}

fn row(event: &Happened, bound: u64) -> [String; 13] {
    [
        format!("{} s", event.mark.at_s),
        event.mark.what.clone(),
        event.lists.to_string(),
        percent(event.moved),
        match event.fair {
            0.0 => "0 %".to_owned(),
            fair => format!("{} (× {:.3})", percent(fair), event.moved / fair),
        },
        number(event.away_max),
        event.back_s.map_or("not yet".to_owned(), |seconds| format!("{seconds} s")),
        number(event.unowned_max),
        number(event.reconnects_max),
        format!("{} of {}", number(event.reconnects_node_max), number(bound)),
        format!("{:.3}", event.ring_max_mean),
        format!("{:.3}", event.sessions_max_mean),
        bytes(event.stream_bytes_max as f64),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

/// A number with its thousands set apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let apart = digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap_or_default());
    apart.collect::<Vec<_>>().join(",")
}

/// Bytes, short.
pub fn bytes(value: f64) -> String {
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.into_iter().find(|(_, size)| value >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", value / size),
        None => format!("{value:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([0, 999, 1_000, 100_000_000].map(number), ["0", "999", "1,000", "100,000,000"]);
        assert_eq!([12.0, 1_500.0, 2.5e9].map(bytes), ["12 B", "1.5 kB", "2.5 GB"]);
        assert_eq!(percent(0.000_996_4), "0.100 %");
    }
}
