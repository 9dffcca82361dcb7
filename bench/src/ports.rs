//! Ports of loopback for processes that are started with them, each given out once however many programs ask at a time.
//!
//! A port found free by binding it is anybody's until the process it is meant for listens there, and two processes
//! that were given the same one do not always fail loudly: a client may reach the other's server. So each port is
//! reserved by a name that the kernel lets one socket have and takes back when its process ends.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    ops::Range,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as Name, UnixDatagram},
    },
    sync::{Mutex, PoisonError},
};

/// Below the kernel's own choice: an outgoing connection must not sit on a port whose server starts again.
const PORTS: Range<u16> = 30_000..32_768;

/// What this process has reserved, until it ends.
static RESERVED: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());

/// An address of 127.0.0.1 that is free and that no other call here returns, in this process or another, while this one lives.
pub fn reserve() -> io::Result<SocketAddr> {
    reserve_of(PORTS)
}

fn reserve_of(ports: Range<u16>) -> io::Result<SocketAddr> {
    for port in ports.clone() {
        let name = Name::from_abstract_name(format!("pushgate-port-{port}"))?;
        let Ok(reservation) = UnixDatagram::bind_addr(&name) else { continue };
        // A server that outlived the process it was started by.
        let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else { continue };
        RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
        return listener.local_addr();
    }
    Err(io::Error::other(format!("none of the ports {ports:?} is free")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_out_twice_though_nothing_listens_yet() {
        let ports: Vec<_> = (0..20).map(|_| std::thread::spawn(reserve)).collect();
        let ports: HashSet<_> = ports.into_iter().map(|port| port.join().unwrap().unwrap()).collect();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn a_port_that_something_listens_on_is_passed_over() {
        // None that other tests are given.
        const FEW: Range<u16> = 9_900..9_950;
        let (held, listener) =
            FEW.clone().find_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).ok()?))).unwrap();
        assert!(reserve_of(FEW).unwrap().port() > held);
        drop(listener);
    }
}
