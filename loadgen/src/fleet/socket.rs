//! Sockets of clients: where they come from, and how many there may be.
#![allow(unsafe_code)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::limits::{CLIENTS_PER_SOURCE, DESCRIPTORS_SPARED, RING_CLIENTS_MAX, SOURCES_MAX};

/// A socket for `client` that is to connect to `server`. Over loopback clients come from many addresses, for one
/// address has 28,000 ephemeral ports; the port is chosen at connect, where it need only be unique for the server
/// (IP_BIND_ADDRESS_NO_PORT).
pub(super) fn open(server: SocketAddr, client: u32) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source(server.ip(), client) {
        choose_port_at_connect(&socket)?;
        socket.bind(&SockAddr::from(SocketAddr::new(source.into(), 0)))?;
    }
    Ok(socket.into())
}

/// The address that `client` connects from; `None` leaves it to the system.
fn source(server: IpAddr, client: u32) -> Option<Ipv4Addr> {
    let n = client / CLIENTS_PER_SOURCE % SOURCES_MAX;
    matches!(server, IpAddr::V4(server) if server.is_loopback())
        .then(|| Ipv4Addr::new(127, 0, 1 + (n / 250) as u8, 1 + (n % 250) as u8))
}

fn choose_port_at_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Clients that one ring may have: its table of direct descriptors is capped by the process's limit of open files.
pub(super) fn clients_per_ring() -> u32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    let answered = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    let files = if answered { u32::try_from(limit.rlim_cur).unwrap_or(u32::MAX) } else { 1_024 };
    files.saturating_sub(DESCRIPTORS_SPARED).clamp(1, RING_CLIENTS_MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn no_source_address_has_more_clients_than_it_has_ports() {
        let mut clients: HashMap<Ipv4Addr, u32> = HashMap::new();
        for client in 0..1_000_000 {
            *clients.entry(source(Ipv4Addr::LOCALHOST.into(), client).unwrap()).or_default() += 1;
        }
        assert!(clients.values().all(|n| *n <= CLIENTS_PER_SOURCE));
        assert!(clients.keys().all(|source| source.is_loopback() && !source.octets().contains(&255)));
    }

    #[test]
    fn a_server_elsewhere_is_reached_from_where_the_system_says() {
        assert_eq!(source(Ipv4Addr::new(10, 0, 0, 1).into(), 0), None);
    }
}
