//! Processor time of the processes that take part, and of the whole machine, so that a record tells whether it was busy.

use std::fs;

use serde_json::{Map, Value, json};

/// Clock ticks a second in `/proc` (`USER_HZ`; 100 on every Linux architecture that Rust supports).
pub const TICKS_PER_S: f64 = 100.0;

/// Processor time used up to a moment.
pub struct Usage {
    processes: Vec<(String, u32, u64)>,
    machine_busy: u64,
}

impl Usage {
    /// Now, of these processes.
    pub fn now(processes: &[(String, u32)]) -> Self {
        let of = |(name, pid): &(String, u32)| (name.clone(), *pid, process_ticks(*pid));
        Self { processes: processes.iter().map(of).collect(), machine_busy: machine_ticks() }
    }

    /// Cores in use since then over `seconds`, by process; `machine` is everything that ran.
    pub fn cores_since(&self, seconds: f64) -> Value {
        let cores = |ticks: u64| json!((ticks as f64 / TICKS_PER_S / seconds * 1_000.0).round() / 1_000.0);
        let mut used: Map<String, Value> = Map::new();
        for (name, pid, before) in &self.processes {
            used.insert(name.clone(), cores(process_ticks(*pid).saturating_sub(*before)));
        }
        used.insert("machine".into(), cores(machine_ticks().saturating_sub(self.machine_busy)));
        used.into()
    }
}

/// User and system time of a process so far, ticks of 10 ms: fields 14 and 15 of `/proc/PID/stat`, counted behind its name (proc(5)).
pub fn process_times(pid: u32) -> [u64; 2] {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().skip(11);
    [(); 2].map(|()| fields.next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

fn process_ticks(pid: u32) -> u64 {
    process_times(pid).iter().sum()
}

/// All time but idle and waiting for disks, of all cores: the first line of `/proc/stat`.
fn machine_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1).take(8).enumerate();
    fields.filter(|(n, _)| !matches!(n, 3 | 4)).filter_map(|(_, field)| field.parse::<u64>().ok()).sum()
}
