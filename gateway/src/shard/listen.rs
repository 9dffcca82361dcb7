//! Listening sockets: one per shard on the same address, so that the kernel spreads connections over the shards.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the address.
    #[error("{what} cannot listen on {address}: the address is in use; stop the process that has it or change {key}")]
    InUse {
        /// What wanted it.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The configuration key.
        key: &'static str,
    },
    /// Anything else.
    #[error("{what} cannot listen on {address} ({key}): {source}")]
    Failed {
        /// What wanted it.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The configuration key.
        key: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Binds `count` listeners to one address and returns it with the port chosen, if `address` left it open.
///
/// A process of the same user could join a group of SO_REUSEPORT listeners unnoticed, and two gateways would share
/// the clients by chance. So a given port is first claimed without that option, which fails if anyone listens there. A port
/// that the kernel chooses is nobody else's, with or without it.
pub(crate) fn bind(
    what: &'static str,
    key: &'static str,
    address: SocketAddr,
    count: usize,
) -> Result<(SocketAddr, Vec<TcpListener>), ListenError> {
    bind_all(address, count).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { what, address, key },
        _ => ListenError::Failed { what, address, key, source },
    })
}

fn bind_all(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    if address.port() != 0 {
        drop(claim(address)?);
    }
    let first = listen(address)?;
    let address = first.local_addr()?;
    let others = (1..count).map(|_| listen(address));
    let listeners = std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>()?;
    Ok((address, listeners))
}

/// Binds without SO_REUSEPORT, trying for [`limits::BIND_RETRY_MS`].
fn claim(address: SocketAddr) -> io::Result<Socket> {
    let until = Instant::now() + Duration::from_millis(limits::BIND_RETRY_MS);
    loop {
        let socket = socket(address)?;
        match socket.bind(&address.into()) {
            Ok(()) => return Ok(socket),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                thread::sleep(Duration::from_millis(limits::BIND_PAUSE_MS));
            }
            Err(e) => return Err(e),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    // Inherited by what is accepted: pushes are small and must not wait for an acknowledgement of the last one.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run in TIME_WAIT do not hold the address.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_a_port_that_nobody_else_has() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (address, listeners) = bind("the gateway", "gateway.listen", any, 3).unwrap();
        assert!(listeners.iter().all(|l| l.local_addr().unwrap() == address));
        let error = bind("the gateway", "gateway.listen", address, 1).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("gateway.listen"), "{error}");
    }
}
