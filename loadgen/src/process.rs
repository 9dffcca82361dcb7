//! What processes use, read from `/proc` (proc(5)).

use std::{collections::HashMap, fs, net::SocketAddr};

/// Clock ticks a second in `/proc` (`USER_HZ`; 100 on every Linux architecture that Rust supports).
pub const TICKS_PER_S: f64 = 100.0;
/// Bytes of a page where the kernel does not say: every architecture that this program is built for.
const PAGE_BYTES: u64 = 4_096;

/// Processor time of a process's threads so far, nanoseconds; `None` if it is gone. The first field of `/proc/PID/task/TID/schedstat`: exact,
/// where ticks of 10 ms are not; threads that have ended are left out.
pub fn used_ns(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let used = |thread: fs::DirEntry| -> Option<u64> {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split_ascii_whitespace().next()?.parse().ok()
    };
    Some(threads.filter_map(used).sum())
}

/// The name of this machine.
pub fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Resident memory of a process, bytes; `None` if it is gone.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}

/// The process of this machine that listens on `address`, if this user may see it.
pub fn listener(address: SocketAddr) -> Option<u32> {
    let inodes: Vec<String> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().flat_map(|table| listening(table, address)).collect();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let holds = |target: &std::path::Path| {
            target
                .to_str()
                .and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']'))
                .is_some_and(|inode| inodes.iter().any(|i| i == inode))
        };
        if descriptors.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| holds(&target))) {
            return Some(pid);
        }
    }
    None
}

/// Inodes of the sockets that listen on the port of `address`: its own address, or any.
fn listening(table: &str, address: SocketAddr) -> Vec<String> {
    const LISTEN: &str = "0A";
    let text = fs::read_to_string(table).unwrap_or_default();
    let port = format!(":{:04X}", address.port());
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTEN;
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    text.lines().skip(1).filter_map(inode).collect()
}

fn times_of(stat: &str) -> Option<[u64; 2]> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some([fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
}

/// Processor time of the whole machine at one moment, ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processor {
    busy: u64,
    stolen: u64,
}

/// Processor time between two moments, cores.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    /// All but idle, waiting for disks, and stolen.
    pub busy: f64,
    /// What the host gave to others.
    pub stolen: f64,
}

impl Processor {
    /// Now: the first line of `/proc/stat`.
    pub fn of_machine() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
        let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
        // user nice system idle iowait irq softirq steal
        let busy =
            ticks.iter().take(7).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
        Self { busy, stolen: ticks.get(7).copied().unwrap_or(0) }
    }

    /// What was used since `before`, `seconds` ago.
    pub fn since(&self, before: &Self, seconds: f64) -> Used {
        let cores = |now: u64, then: u64| now.saturating_sub(then) as f64 / TICKS_PER_S / seconds;
        Used { busy: cores(self.busy, before.busy), stolen: cores(self.stolen, before.stolen) }
    }
}

/// Processor time of this process's threads at one moment.
#[derive(Debug, Clone, Default)]
pub struct ThreadTimes(HashMap<u32, (String, u64)>);

impl ThreadTimes {
    /// Now.
    pub fn of_this_process() -> Self {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let of = |entry: fs::DirEntry| {
            let thread = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let name = stat.split_once('(')?.1.rsplit_once(')')?.0.to_owned();
            Some((thread, (name, times_of(&stat)?.iter().sum())))
        };
        Self(tasks.filter_map(of).collect())
    }

    /// Cores that all threads used since `before`, `seconds` ago, and the busiest with what it used.
    pub fn since(&self, before: &Self, seconds: f64) -> (f64, Option<(String, f64)>) {
        let (mut sum, mut busiest) = (0.0, None::<(String, f64)>);
        for (thread, (name, ticks)) in &self.0 {
            let then = before.0.get(thread).map_or(0, |(_, ticks)| *ticks);
            let cores = ticks.saturating_sub(then) as f64 / TICKS_PER_S / seconds;
            sum += cores;
            if busiest.as_ref().is_none_or(|(_, most)| *most < cores) {
                busiest = Some((name.clone(), cores));
            }
        }
        (sum, busiest)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 55 44 0 0 20 0 1 0 300";
        assert_eq!(times_of(stat), Some([55, 44]));
        assert_eq!(times_of("7 (a"), None);
    }

    #[test]
    fn this_process_is_found_by_the_port_it_listens_on() {
        let listener_here = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener_here.local_addr().unwrap();
        assert_eq!(listener(address), Some(std::process::id()));
        drop(listener_here);
        assert_eq!(listener(address), None);
    }

    #[test]
    fn this_process_uses_memory_and_its_threads_are_known_by_name() {
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
        assert!(used_ns(std::process::id()).is_some_and(|ns| ns > 0));
        assert_eq!(used_ns(u32::MAX), None);
        let name = std::thread::current().name().unwrap().to_owned();
        let known = ThreadTimes::of_this_process();
        // The kernel keeps 15 bytes of a name.
        assert!(
            known.0.values().any(|(known, _)| name.starts_with(known.as_str()) || known == &name),
            "{name}: {known:?}"
        );
    }
}
