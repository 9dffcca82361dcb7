//! What the kernel allows: io_uring, descriptors, ports, backlogs, memory.

use std::{fs, str::FromStr};

use pushgate_gateway::crowd::probe;

use super::check::Check;
use crate::limits;

/// The checks of this machine.
pub(super) fn checks() -> Vec<Check> {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    vec![
        kernel(file("/proc/sys/kernel/osrelease").trim()),
        io_uring(),
        open_files(&file("/proc/self/limits")),
        backlog(number(&file("/proc/sys/net/core/somaxconn"))),
        ports(&file("/proc/sys/net/ipv4/ip_local_port_range")),
        memory(&file("/proc/meminfo")),
    ]
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.split_whitespace().next()?.parse().ok()
}

fn kernel(release: &str) -> Check {
    let major: Option<u32> = release.split('.').next().and_then(|major| major.parse().ok());
    let found = format!("Linux {release}");
    match major {
        Some(major) if major < 6 => Check::warning("kernel", found)
            .effect("the gateway uses epoll, which takes more processor time for a push")
            .remedy("Linux 6.0 or newer"),
        _ => Check::ok("kernel", found),
    }
}

fn io_uring() -> Check {
    match probe::probe() {
        Ok(()) => Check::ok("io_uring", "works: a byte went through a ring"),
        Err(reason) => Check::warning("io_uring", reason.to_string())
            .effect("the gateway uses epoll instead, which takes more processor time for a push")
            .remedy(
                "for a container: a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register",
            ),
    }
}

/// The limit caps the direct descriptors of one ring and the sockets of one epoll gateway. A gateway raises the soft limit to the hard one by itself.
fn open_files(limits: &str) -> Check {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("unknown");
    if hard == "unlimited" || hard.parse::<u64>().is_ok_and(|n| n >= limits::OPEN_FILES_ADVISED) {
        return Check::ok("open files", hard);
    }
    Check::warning("open files", format!("at most {hard}"))
        .effect("with epoll that many clients at most, with io_uring that many per session ring")
        .remedy(format!(
            "ulimit -Hn {0}, LimitNOFILE={0} in a systemd unit, or --ulimit nofile={0} for a container",
            limits::OPEN_FILES_ADVISED
        ))
}

fn backlog(waiting: Option<u32>) -> Check {
    let Some(waiting) = waiting else { return Check::ok("backlog", "the kernel does not tell") };
    let found = format!("{waiting} connections may wait to be accepted");
    if waiting >= limits::BACKLOG_ADVISED {
        return Check::ok("backlog", found);
    }
    Check::warning("backlog", found)
        .effect("when all clients come back at once, those beyond it try again after a second, then two, then four")
        .remedy(format!("sysctl -w net.core.somaxconn={}", limits::BACKLOG_ADVISED))
}

fn ports(range: &str) -> Check {
    let Some(count) = port_count(range) else { return Check::ok("ports", "the kernel does not tell") };
    let found = format!("{count} for connections that this machine opens");
    if count >= limits::PORTS_ADVISED {
        return Check::ok("ports", found);
    }
    Check::warning("ports", found)
        .effect("`pushgate loadgen` opens that many connections to one address of a server elsewhere, and no more")
        .remedy("sysctl -w net.ipv4.ip_local_port_range='1024 65535'")
}

/// Ports in `ip_local_port_range`.
pub(in crate::commands) fn port_count(range: &str) -> Option<u32> {
    let mut ends = range.split_whitespace().map_while(|end| end.parse::<u32>().ok());
    Some(ends.next()?.abs_diff(ends.next()?) + 1)
}

fn memory(meminfo: &str) -> Check {
    let (Some(total), Some(available)) = (kib(meminfo, "MemTotal:"), available_kib(meminfo)) else {
        return Check::ok("memory", "the kernel does not tell");
    };
    let found = format!("{} MiB available of {} MiB", available / 1_024, total / 1_024);
    if available / 1_024 >= limits::MEMORY_MIB_ADVISED {
        return Check::ok("memory", found);
    }
    Check::warning("memory", found)
        .effect("the kernel ends whatever grows most once it is used up; a connection takes several kilobytes of it")
        .remedy("a larger machine, or fewer connections for each")
}

/// What `/proc/meminfo` says is available, KiB.
pub(in crate::commands) fn available_kib(meminfo: &str) -> Option<u64> {
    kib(meminfo, "MemAvailable:")
}

fn kib(meminfo: &str, name: &str) -> Option<u64> {
    meminfo.lines().find_map(|line| number(line.strip_prefix(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::State;

    #[test]
    fn what_is_too_small_is_a_warning_with_its_effect_and_its_remedy() {
        let limits =
            "Limit  Soft  Hard  Units\nMax open files            1024                 20000                files\n";
        let wrong = [
            kernel("5.15.0-generic"),
            open_files(limits),
            backlog(Some(128)),
            ports("50000\t60999\n"),
            memory("MemTotal: 2000000 kB\nMemAvailable: 100000 kB\n"),
        ];
        for check in &wrong {
            let whole = !check.effect.is_empty() && !check.remedy.is_empty();
            assert!(check.state == State::Warning && whole, "{check:?}");
        }
        assert!(wrong[1].detail.contains("20000") && wrong[3].detail.contains("11000"));
        let right = [
            kernel("6.8.0"),
            open_files("Max open files  1024  unlimited  files"),
            backlog(Some(65_535)),
            ports("1024 65535"),
            memory("MemTotal: 24000000 kB\nMemAvailable: 20000000 kB\n"),
        ];
        assert!(right.iter().all(|check| check.state == State::Ok), "{right:?}");
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_no_fault() {
        for check in [backlog(None), ports(""), memory("")] {
            assert_eq!((check.state, check.detail.as_str()), (State::Ok, "the kernel does not tell"));
        }
    }
}
