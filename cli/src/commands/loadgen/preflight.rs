//! What this machine lacks for a run, found before it begins.

use std::{fs, net::SocketAddr};

use pushgate_gateway::crowd::probe;
use pushgate_loadgen::scenario::Scenario;

use super::{
    super::doctor::{Check, machine},
    clock,
};
use crate::limits::{PREFLIGHT_CLIENT_BYTES, PREFLIGHT_SOCKET_BYTES};

/// What of a scenario this machine cannot carry to a server whose REST is at `rest`; a check that failed keeps it from running.
pub(super) fn checks(scenario: &Scenario, server: SocketAddr, rest: &str) -> Vec<Check> {
    if scenario.connections == 0 {
        return Vec::new();
    }
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let near = server.ip().is_loopback();
    let range = file("/proc/sys/net/ipv4/ip_local_port_range");
    let available = machine::available_kib(&file("/proc/meminfo")).map(|kib| kib * 1_024);
    let found = [
        rings(),
        // Over loopback clients come from many addresses.
        machine::port_count(&range).filter(|_| !near).and_then(|ports| ports_for(scenario.connections, ports)),
        available.and_then(|bytes| memory_for(scenario.connections, if near { 2 } else { 1 }, bytes)),
        // One machine has one clock.
        if near { None } else { clock::compare(rest) },
    ];
    found.into_iter().flatten().collect()
}

fn rings() -> Option<Check> {
    let reason = probe::probe().err()?;
    let check = Check::failed("io_uring", reason.to_string()).effect("clients are io_uring's: none can connect");
    Some(check.remedy("Linux 6.0 or newer; for a container, a seccomp profile that allows io_uring"))
}

fn ports_for(connections: u32, ports: u32) -> Option<Check> {
    let found = format!("{ports} ports for {connections} connections from this address");
    let check = Check::warning("ports", found).effect("connects beyond them fail, and the report is tainted");
    let remedy = "sysctl -w net.ipv4.ip_local_port_range='1024 65535', fewer --connections, or more machines";
    (connections > ports).then(|| check.remedy(remedy))
}

fn memory_for(connections: u32, ends: u64, available: u64) -> Option<Check> {
    let needed = u64::from(connections) * (PREFLIGHT_SOCKET_BYTES * ends + PREFLIGHT_CLIENT_BYTES);
    let mega = |bytes: u64| bytes >> 20;
    let found = format!("{connections} connections take about {} MiB, {} are available", mega(needed), mega(available));
    let check = Check::warning("memory", found).effect("the kernel ends a process once it is used up");
    (needed > available).then(|| check.remedy("fewer --connections, or more machines"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enough_is_not_told_and_what_is_not_is_told_with_its_remedy() {
        assert_eq!((ports_for(28_000, 28_232), memory_for(1_000_000, 2, 16 << 30)), (None, None));
        for check in [ports_for(30_000, 28_232), memory_for(1_000_000, 2, 1 << 30)] {
            let check = check.expect("told");
            assert!(!check.effect.is_empty() && !check.remedy.is_empty(), "{check:?}");
        }
    }
}
