//! Where a connection comes from: its peer, or what a trusted proxy says of it; and that it is counted there.

use std::net::IpAddr;

use monoio::{buf::IoBufMut, io::AsyncReadRent};
use pushgate_protocol::{
    limits::PROXY_HEADER_BYTES_MAX,
    proxy::{
        forwarded,
        v2::{self, FIXED_BYTES, Parsed, Source},
    },
};

use super::{Reason, request::Request};
use crate::{
    admission::{Limit, Permit},
    shard::{Desk, deadline::Timed},
};

/// Reads the PROXY protocol header, if there is to be one, and counts the connection under its address; unless that is a
/// proxy's, which may yet say in its request for whom it speaks, and otherwise speaks for itself and is not counted.
pub(super) async fn arrive(
    desk: &Desk,
    timed: &mut Timed,
    peer: IpAddr,
    permit: &mut Permit,
) -> Result<IpAddr, Reason> {
    let proxies = &desk.site.settings.proxies;
    let mut address = peer;
    if proxies.protocol {
        if !proxies.trust(peer) {
            return Err(Reason::NotAProxy);
        }
        if let Source::Client(client) = read_header(timed).await? {
            address = client.ip();
        }
    }
    if !proxies.trust(address) {
        permit.count_address(address).map_err(Reason::from)?;
    }
    Ok(address)
}

/// Counts a connection whose peer is a proxy under the address that its request names.
pub(super) fn look_behind(desk: &Desk, request: &Request, address: IpAddr, permit: &mut Permit) -> Result<(), Reason> {
    let proxies = &desk.site.settings.proxies;
    let Some(field) = proxies.field.filter(|_| proxies.trust(address)) else { return Ok(()) };
    let lines: Vec<&str> = request.header_values(field.name()).collect();
    let client = forwarded::client(field, address, &proxies.trusted, lines.into_iter());
    if proxies.trust(client) { Ok(()) } else { permit.count_address(client).map_err(Reason::from) }
}

/// Reads exactly the header, so that what follows is left in the socket for whoever reads next.
async fn read_header(timed: &mut Timed) -> Result<Source, Reason> {
    let mut bytes = Vec::with_capacity(FIXED_BYTES * 4);
    loop {
        let needed = match v2::parse(&bytes) {
            Ok(Parsed::Whole { source, .. }) => return Ok(source),
            Ok(Parsed::Partial { needed }) => needed.min(PROXY_HEADER_BYTES_MAX),
            Err(_) => return Err(Reason::ProxyHeader),
        };
        let read = bytes.len();
        bytes.reserve_exact(needed - read);
        let (result, slice) = timed.stream().read(bytes.slice_mut(read..needed)).await;
        bytes = slice.into_inner();
        match result {
            Ok(n) if n > 0 => {}
            _ if timed.is_late() => return Err(Reason::Timeout),
            _ => return Err(Reason::Gone),
        }
    }
}

impl From<Limit> for Reason {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::AddressConnections => Self::AddressConnections,
            Limit::AddressRate => Self::AddressRate,
            Limit::AppConnections => Self::AppConnections,
        }
    }
}
