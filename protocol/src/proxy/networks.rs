//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::{fmt, net::IpAddr, str::FromStr};

/// All addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A list of networks; an empty one holds no address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash.
    #[error("the address is neither IPv4 nor IPv6")]
    Address,
    /// The part after it.
    #[error("the prefix is not a number from 0 to {max}")]
    Prefix {
        /// Bits of the address.
        max: u8,
    },
}

impl Network {
    /// Whether it holds the address. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                a.to_bits() & mask == b.to_bits() & mask
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                a.to_bits() & mask == b.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// `10.0.0.0/8`, `2001:db8::/32`, or one address without a prefix.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => max,
            // A sign would pass as a number.
            Some(p) if !p.bytes().all(|b| b.is_ascii_digit()) => return Err(NetworkError::Prefix { max }),
            Some(p) => p.parse().ok().filter(|p| *p <= max).ok_or(NetworkError::Prefix { max })?,
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Networks {
    /// Whether one of them holds the address.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|n| n.contains(address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_prefix_holds_what_shares_it() {
        assert!(holds("10.1.0.0/16", "10.1.255.255") && !holds("10.1.0.0/16", "10.2.0.0"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "2001:db8::1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.9.8.7"), "a mapped address is the IPv4 one");
    }

    #[test]
    fn what_is_no_network_is_told_so() {
        let refused = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(refused("ten/8"), NetworkError::Address);
        assert_eq!(refused("10.0.0.0/33"), NetworkError::Prefix { max: 32 });
        assert_eq!(refused("10.0.0.0/+8"), NetworkError::Prefix { max: 32 });
        assert_eq!(refused("::1/"), NetworkError::Prefix { max: 128 });
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }
}
