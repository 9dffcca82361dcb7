//! The PROXY protocol, version 2 (HAProxy, `doc/proxy-protocol.txt`, section 2.2): a binary header that a proxy writes
//! before the client's first byte.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// Bytes before the variable part; they tell its length.
pub const FIXED_BYTES: usize = 16;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TLV_CRC32C: u8 = 0x03;

/// What some bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header: this many bytes are needed, counted from its first, before more can be said.
    Partial {
        /// Bytes in all.
        needed: usize,
    },
    /// A header.
    Whole {
        /// Its length; what follows is the client's.
        used: usize,
        /// Whose connection it is.
        source: Source,
    },
}

/// Whose connection a proxy says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client's.
    Client(SocketAddr),
    /// The proxy's own, such as a health check (`LOCAL`), or one whose client has no address (`UNSPEC`, a Unix socket):
    /// the connection's own peer counts.
    Peer,
}

/// Why bytes are no header. The connection is to be closed: nothing tells where the client's bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The signature is missing: a client that came past the proxy, or a proxy that is not set to send the header.
    #[error("there is no PROXY protocol header of version 2")]
    Signature,
    /// Version 1 is text.
    #[error("the PROXY protocol header is of version 1, set the proxy to version 2")]
    VersionOne,
    /// The byte after the signature is neither `LOCAL` nor `PROXY` of version 2.
    #[error("version and command are {0:#04x}, must be 0x20 or 0x21")]
    Command(u8),
    /// A family or transport that does not fit a stream of TCP.
    #[error("address family and transport are {0:#04x}, must be TCP over IPv4 or IPv6, a Unix stream, or unspecified")]
    Family(u8),
    /// Too long.
    #[error("the header has {0} bytes, at most {PROXY_HEADER_BYTES_MAX} are read")]
    TooLong(usize),
    /// Too short for its addresses.
    #[error("the header is too short for its addresses")]
    Addresses,
    /// An extension reaches past the end.
    #[error("an extension of the header reaches past its end")]
    Extension,
    /// The sum that the header carries is not that of its bytes.
    #[error("the header's checksum is wrong")]
    Checksum,
}

/// Reads a header at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let compared = bytes.len().min(SIGNATURE.len());
    if bytes[..compared] != SIGNATURE[..compared] {
        return Err(if bytes.starts_with(b"PROXY ") { ProxyError::VersionOne } else { ProxyError::Signature });
    }
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Parsed::Partial { needed: FIXED_BYTES });
    };
    let [.., command, family, high, low] = *fixed;
    if !matches!(command, LOCAL | PROXY) {
        return Err(ProxyError::Command(command));
    }
    let used = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if used > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong(used));
    }
    let Some(header) = bytes.get(..used) else {
        return Ok(Parsed::Partial { needed: used });
    };
    let body = &header[FIXED_BYTES..];
    let (source, address_bytes) = match (command, family) {
        // What follows LOCAL is to be skipped, whatever it is.
        (LOCAL, _) => return Ok(Parsed::Whole { used, source: Source::Peer }),
        (_, 0x00) => return Ok(Parsed::Whole { used, source: Source::Peer }),
        (_, 0x11) => (ipv4(body)?, 12),
        (_, 0x21) => (ipv6(body)?, 36),
        (_, 0x31) if body.len() < 216 => return Err(ProxyError::Addresses),
        (_, 0x31) => (Source::Peer, 216),
        (_, other) => return Err(ProxyError::Family(other)),
    };
    check_extensions(header, FIXED_BYTES + address_bytes)?;
    Ok(Parsed::Whole { used, source })
}

fn ipv4(body: &[u8]) -> Result<Source, ProxyError> {
    let (part, _) = body.split_first_chunk::<12>().ok_or(ProxyError::Addresses)?;
    let [a, b, c, d, _, _, _, _, high, low, ..] = *part;
    Ok(Source::Client((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()))
}

fn ipv6(body: &[u8]) -> Result<Source, ProxyError> {
    let (part, _) = body.split_first_chunk::<36>().ok_or(ProxyError::Addresses)?;
    let (source, rest) = part.split_first_chunk::<16>().ok_or(ProxyError::Addresses)?;
    let port = u16::from_be_bytes([rest[16], rest[17]]);
    Ok(Source::Client((Ipv6Addr::from(*source), port).into()))
}

/// Walks the extensions (type, length, value) from `at`, and checks the sum if one is carried.
fn check_extensions(header: &[u8], mut at: usize) -> Result<(), ProxyError> {
    while at < header.len() {
        let [kind, high, low] = header.get(at..at + 3).and_then(|h| h.try_into().ok()).ok_or(ProxyError::Extension)?;
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let bytes = header.get(value.clone()).ok_or(ProxyError::Extension)?;
        if kind == TLV_CRC32C {
            let carried = u32::from_be_bytes(bytes.try_into().map_err(|_| ProxyError::Extension)?);
            if crc32c(header, &value) != carried {
                return Err(ProxyError::Checksum);
            }
        }
        at = value.end;
    }
    Ok(())
}

/// CRC-32C (RFC 3720 section 12.1) of the bytes, those of `zeroed` taken as 0. Bit by bit: a header is short and comes once.
fn crc32c(bytes: &[u8], zeroed: &std::ops::Range<usize>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for (n, &byte) in bytes.iter().enumerate() {
        crc ^= u32::from(if zeroed.contains(&n) { 0 } else { byte });
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
