//! Why the figures of a run may be the generator's own, and what to do about it.

use serde::Serialize;

use super::Report;
use crate::span::of_micros;

/// Wake-ups this late are no one's concern, whatever is measured.
const LAG_US: u64 = 5_000;
/// A part of the measured latency that one thread of the generator may have added unnoticed: a message passes two of them, and waits for both.
const LAG_SHARE: f64 = 0.05;
/// A thread that uses this much of a core has no room for bursts.
const THREAD_CORES: f64 = 0.95;
/// A machine whose processors are this busy makes everybody wait.
const MACHINE_SHARE: f64 = 0.97;

/// A reason to doubt figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taint {
    /// What was short.
    pub what: &'static str,
    /// What was seen, and what follows.
    pub seen: String,
    /// What to do.
    pub remedy: String,
    /// The process that it is of, where a run has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

/// The taints of a report whose other figures are in place; the heaviest first.
pub fn of(report: &Report) -> Vec<Taint> {
    [
        processor(report),
        pacing(report),
        behind(report),
        thread(report),
        ring(report),
        ports(report),
        descriptors(report),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether so much of what is told may be the generator's.
pub(super) fn is_much(us: u64, of_told_us: u64) -> bool {
    us as f64 > of_told_us as f64 * LAG_SHARE
}

fn processor(report: &Report) -> Option<Taint> {
    let lag = &report.generator.lag;
    let told = match &report.latency.quantiles {
        latency if latency.samples > 0 => latency.p99_us,
        _ => report.connections.greeting.quantiles.p99_us,
    };
    if lag.p99_us <= LAG_US || !is_much(lag.p99_us, told) {
        return None;
    }
    let measured: Vec<_> = report.seconds.iter().filter(|second| second.at_s > report.measured_from_s).collect();
    let full =
        measured.iter().filter(|s| s.generator.machine_cores >= s.generator.machine_cores_max * MACHINE_SHARE).count();
    let stolen: f64 = measured.iter().map(|s| s.generator.stolen_cores).sum::<f64>() / measured.len().max(1) as f64;
    let mut seen = format!(
        "the generator was the bottleneck: its threads were woken up to {} late (p99 {}), which is part of every latency told here",
        of_micros(lag.max_us as f64),
        of_micros(lag.p99_us as f64)
    );
    if full > 0 {
        seen += &format!("; this machine's processors were full in {full} of {} seconds", measured.len());
    }
    if stolen > 0.05 {
        seen += &format!("; its host gave {stolen:.2} cores to others");
    }
    let remedy = "give the generator processors of its own: another machine, `taskset`, or a lower rate".into();
    Some(Taint { what: "processor time", seen, remedy, process: None })
}

fn pacing(report: &Report) -> Option<Taint> {
    let pacing = &report.generator.pacing;
    let much = pacing.p99_us > LAG_US && is_much(pacing.p99_us, report.latency.quantiles.p99_us);
    much.then(|| Taint {
        what: "pacing",
        seen: format!(
            "messages were handed over up to {} after their time (p99 {})",
            of_micros(pacing.max_us as f64),
            of_micros(pacing.p99_us as f64)
        ),
        remedy: "lower --rate, or share the load between several machines".into(),
        process: None,
    })
}

/// Whatever the server takes: then it is the one that is short, and that is said here, too, for the figures are of what was sent.
fn behind(report: &Report) -> Option<Taint> {
    let unsent: u64 = report.lanes.values().map(|lane| lane.unsent).sum();
    (unsent > 0).then(|| Taint {
        what: "requests",
        seen: format!("{unsent} messages were never sent, for requests before them were not answered: latencies are of those that were"),
        remedy: "lower --rate: the server does not take so much".into(),
        process: None,
    })
}

fn thread(report: &Report) -> Option<Taint> {
    let generator = &report.generator;
    (generator.busiest_thread_cores >= THREAD_CORES).then(|| Taint {
        what: "a thread",
        seen: format!(
            "its thread `{}` used {:.2} of one core in a second: it could not have done more",
            generator.busiest_thread, generator.busiest_thread_cores
        ),
        remedy: "share the load between several processes".into(),
        process: None,
    })
}

fn ring(report: &Report) -> Option<Taint> {
    let overflows = report.generator.ring_overflows;
    (overflows > 0).then(|| Taint {
        what: "rings",
        seen: format!("its rings overflowed {overflows} times: it took what clients received later than it came"),
        remedy: "lower --rate or --connections for a process".into(),
        process: None,
    })
}

fn ports(report: &Report) -> Option<Taint> {
    let failed = failed(report, libc::EADDRNOTAVAIL);
    (failed > 0).then(|| Taint {
        what: "ports",
        seen: format!("{failed} connects found no free port"),
        remedy: "sysctl -w net.ipv4.ip_local_port_range='1024 65535', or more source addresses".into(),
        process: None,
    })
}

fn descriptors(report: &Report) -> Option<Taint> {
    let failed = failed(report, libc::EMFILE) + failed(report, libc::ENFILE);
    (failed > 0).then(|| Taint {
        what: "descriptors",
        seen: format!("{failed} connects found no free descriptor"),
        remedy: "ulimit -n 1048576, or fs.file-max".into(),
        process: None,
    })
}

/// Connections that failed by this errno.
fn failed(report: &Report, errno: i32) -> u64 {
    report.connections.reasons.get(&std::io::Error::from_raw_os_error(errno).to_string()).copied().unwrap_or(0)
}
