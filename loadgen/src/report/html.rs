//! The report as one page of HTML: no script, nothing from elsewhere. The JSON is inside, for tools.

use std::fmt::Write;

use super::{
    Report,
    chart::{Chart, Line, Scale, escape},
};
use crate::{
    run::{Quantiles, Second},
    span::of_micros,
};

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(report: &Report) -> String {
    let title = format!("{} — pushgate loadgen", escape(&report.scenario.name));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <link rel=\"icon\" href=\"data:,\"><title>{title}</title><style>{STYLE}</style></head><body>\n"
    );
    head(report, &mut out);
    taints(report, &mut out);
    objectives(report, &mut out);
    cards(report, &mut out);
    charts(report, &mut out);
    tables(report, &mut out);
    processes(report, &mut out);
    let text = |value: &dyn erased::Json| escape(&value.pretty());
    let _ = write!(out, "<h2>What was run</h2><pre>{}</pre>", text(&report.scenario));
    let _ = write!(out, "<h2>Where</h2><pre>{}</pre>", text(&report.circumstances));
    // `<` is written so that nothing in the JSON ends the element.
    let json = serde_json::to_string(report).unwrap_or_default().replace('<', "\\u003c");
    let _ = writeln!(out, "<script type=\"application/json\" id=\"report\">{json}</script></body></html>");
    out
}

/// Values that are shown as JSON.
mod erased {
    pub(super) trait Json {
        fn pretty(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn pretty(&self) -> String {
            serde_json::to_string_pretty(self).unwrap_or_default()
        }
    }
}

fn head(report: &Report, out: &mut String) {
    let c = &report.circumstances;
    let ended = if report.interrupted { ", ended before its time" } else { "" };
    let _ = write!(
        out,
        "<h1>{}</h1><p class=\"soft\">{} clients of {}, messages by {}; {:.0} s, of which {:.0} s are measured{ended}</p>\
         <p class=\"soft\">{} against {}</p>",
        escape(&report.scenario.name),
        report.scenario.connections,
        escape(&c.clients),
        escape(&c.door),
        report.took_s,
        report.measured_s,
        escape(&c.version),
        escape(if c.server.is_empty() { "a server that does not tell its version" } else { &c.server }),
    );
}

fn taints(report: &Report, out: &mut String) {
    if report.taints.is_empty() {
        return;
    }
    *out += "<div class=\"taint\"><p><b>These figures are not the server's alone.</b></p>";
    for taint in &report.taints {
        let whose = taint.process.as_ref().map(|process| format!("{}: ", escape(process))).unwrap_or_default();
        let _ = write!(out, "<p>{whose}{}: {}. {}.</p>", taint.what, escape(&taint.seen), escape(&taint.remedy));
    }
    *out += "</div>";
}

fn objectives(report: &Report, out: &mut String) {
    if report.objectives.is_empty() {
        return;
    }
    *out += "<h2>Objectives</h2><table><tr><th>objective</th><th>measured</th><th></th></tr>";
    for judged in &report.objectives {
        let (class, word) = if judged.holds { ("good", "holds") } else { ("bad", "does not hold") };
        let (objective, measured) = (escape(&judged.objective), escape(&judged.measured));
        let _ = write!(out, "<tr><td>{objective}</td><td>{measured}</td><td class=\"{class}\">{word}</td></tr>");
    }
    *out += "</table>";
}

fn cards(report: &Report, out: &mut String) {
    *out += "<div class=\"cards\">";
    let mut card = |value: String, name: &str| {
        let _ = write!(out, "<div><b>{value}</b><span>{name}</span></div>");
    };
    let latency = &report.latency.quantiles;
    if latency.samples > 0 {
        card(of_micros(latency.p50_us as f64), "latency, p50");
        card(of_micros(latency.p99_us as f64), "latency, p99");
        card(of_micros(latency.max_us as f64), "latency, at most");
        card(format!("{:.0}", report.received_per_s), "pushes received a second");
    }
    if report.scenario.sends() {
        card(report.lost.to_string(), "lost");
        card(report.wrong.to_string(), "wrong in any way");
    }
    let connections = &report.connections;
    card(connections.open.to_string(), "connected at the end");
    if connections.greeting.quantiles.samples > 0 {
        card(of_micros(connections.greeting.quantiles.p99_us as f64), "to connect, p99");
    }
    card(connections.failed.to_string(), "connections failed");
    *out += "</div>";
}

fn charts(report: &Report, out: &mut String) {
    let marks: Vec<(f64, &str)> = report.phases.iter().map(|phase| (phase.began_at_s, phase.name.as_str())).collect();
    let line = |name: &'static str, value: &dyn Fn(&Second) -> f64| Line {
        name,
        points: report.seconds.iter().map(|second| (second.at_s, value(second))).collect(),
    };
    let quantile = |of: fn(&Second) -> &Quantiles, value: fn(&Quantiles) -> u64| {
        move |second: &Second| match of(second).samples {
            0 => f64::NAN,
            _ => value(of(second)).max(1) as f64,
        }
    };
    let count = |value: f64| format!("{value:.0}");
    let per_s = |of: fn(&Second) -> u64| move |second: &Second| of(second) as f64 / second.seconds;
    let mut draw = |title, scale, label: fn(f64) -> String, lines| {
        *out += &Chart { title, scale, label, lines, marks: marks.clone() }.figure();
    };
    let latency: fn(&Second) -> &Quantiles = |second| &second.latency;
    draw(
        "Latency, from the planned time to the client",
        Scale::Powers,
        of_micros,
        vec![
            line("p50", &quantile(latency, |q| q.p50_us)),
            line("p99", &quantile(latency, |q| q.p99_us)),
            line("at most", &quantile(latency, |q| q.max_us)),
        ],
    );
    draw(
        "Messages a second",
        Scale::Even,
        count,
        vec![
            line("planned", &per_s(|s| s.planned)),
            line("accepted", &per_s(|s| s.accepted)),
            line("refused or unanswered", &per_s(|s| s.unaccepted)),
            line("pushes received", &per_s(|s| s.pushes)),
        ],
    );
    draw("Connections", Scale::Even, count, vec![line("open", &|s| s.open as f64)]);
    draw(
        "Connects a second",
        Scale::Even,
        count,
        vec![line("greeted", &per_s(|s| s.greeted)), line("failed", &per_s(|s| s.failed))],
    );
    let greeting: fn(&Second) -> &Quantiles = |second| &second.greeting;
    draw(
        "Time to connect",
        Scale::Powers,
        of_micros,
        vec![line("p50", &quantile(greeting, |q| q.p50_us)), line("p99", &quantile(greeting, |q| q.p99_us))],
    );
    let mut cores = vec![line("generator", &|s| s.generator.cores), line("machine", &|s| s.generator.machine_cores)];
    let mut memory = Vec::new();
    let servers = report.seconds.first().map_or(&[][..], |second| &second.server);
    for (at, server) in servers.iter().enumerate() {
        let of = |value: &dyn Fn(&crate::run::ServerUse) -> f64| {
            let point = |second: &Second| (second.at_s, second.server.get(at).map_or(f64::NAN, value));
            Line { name: server.name.as_str(), points: report.seconds.iter().map(point).collect() }
        };
        cores.push(of(&|server| server.cores));
        memory.push(of(&|server| server.resident_bytes as f64 / 1e6));
    }
    draw("Processor cores in use", Scale::Even, |value| format!("{value:.2}"), cores);
    draw("Resident memory of the server", Scale::Even, |value| format!("{value:.0} MB"), memory);
    draw(
        "How late the generator's threads were woken (p99)",
        Scale::Powers,
        of_micros,
        vec![line("p99", &|s| s.generator.lag_p99_us.max(1) as f64)],
    );
}

fn tables(report: &Report, out: &mut String) {
    *out += "<h2>Times</h2><div class=\"wide\"><table><tr><th></th><th>samples</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>";
    let mut row = |name: &str, q: &Quantiles| {
        if q.samples == 0 {
            return;
        }
        let _ = write!(out, "<tr><td>{}</td><td>{}</td>", escape(name), q.samples);
        for us in [q.p50_us, q.p90_us, q.p99_us, q.p999_us, q.max_us] {
            let _ = write!(out, "<td>{}</td>", of_micros(us as f64));
        }
        *out += "</tr>";
    };
    for (name, lane) in &report.lanes {
        row(&format!("{name}: planned to the client"), &lane.latency.quantiles);
        row(&format!("{name}: planned to accepted"), &lane.accepted_after.quantiles);
    }
    row("connect to greeting", &report.connections.greeting.quantiles);
    row("generator: woken late", &report.generator.lag);
    row("generator: handed over late", &report.generator.pacing);
    *out += "</table></div>";
    if !report.lanes.is_empty() {
        *out += "<h2>Messages</h2><div class=\"wide\"><table><tr><th>lane</th><th>planned</th><th>accepted</th><th>refused</th><th>unanswered</th><th>unsent</th>\
                 <th>received</th><th>doubled</th><th>out of order</th><th>late</th><th>expired</th><th>for another</th><th>of another run</th></tr>";
        for (name, l) in &report.lanes {
            let _ = write!(out, "<tr><td>{name}</td>");
            let counts = [
                l.planned,
                l.accepted,
                l.refused,
                l.unanswered,
                l.unsent,
                l.received,
                l.doubled,
                l.out_of_order + l.stale,
                l.late,
                l.expired,
                l.crossed,
                l.foreign,
            ];
            for count in counts {
                let _ = write!(out, "<td>{count}</td>");
            }
            *out += "</tr>";
        }
        *out += "</table></div>";
    }
    let connections = report.connections.reasons.iter();
    let reasons: Vec<_> = connections.chain(report.lanes.values().flat_map(|lane| &lane.reasons)).collect();
    if !reasons.is_empty() {
        *out += "<h2>What failed</h2><table><tr><th>reason</th><th>times</th></tr>";
        for (why, times) in reasons {
            let _ = write!(out, "<tr><td>{}</td><td>{times}</td></tr>", escape(why));
        }
        *out += "</table>";
    }
}

fn processes(report: &Report, out: &mut String) {
    if report.processes.is_empty() {
        return;
    }
    *out += "<h2>Processes</h2><div class=\"wide\"><table><tr><th></th><th>where</th><th>connected</th><th>failed</th><th>planned</th><th>accepted</th>\
             <th>received</th><th>a second</th><th>p50</th><th>p99</th><th>lost</th><th>woken late, p99</th><th>clock</th><th></th></tr>";
    for p in &report.processes {
        let time = |us: u64| of_micros(us as f64);
        let clock = p.clock.map_or("the run's".to_owned(), |clock| format!("within {}", time(clock.error_us())));
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}, pid {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{clock}</td><td class=\"bad\">{}</td></tr>",
            p.process,
            escape(&p.host),
            p.pid,
            p.open,
            p.failed,
            p.planned,
            p.accepted,
            p.received,
            p.received_per_s,
            time(p.latency.p50_us),
            time(p.latency.p99_us),
            p.lost,
            time(p.lag.p99_us),
            escape(p.gone.as_deref().unwrap_or_default()),
        );
    }
    *out += "</table></div>";
}
