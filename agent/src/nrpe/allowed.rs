//! Addresses and networks that may ask.
//!
//! Invariant: an IPv4 address is the same whether or not it comes in the clothes of IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u32,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not an address or a network; write it like `192.0.2.10` or `2001:db8::/64`"
            )
        };
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
            None => most,
        };
        Ok(Self { address, bits })
    }
}

impl Network {
    /// Whether `address` is one of them.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differ = u32::from(ours) ^ u32::from(theirs);
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differ = u128::from(ours) ^ u128::from(theirs);
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The addresses by which this host asks itself.
pub(super) fn this_host() -> Vec<Network> {
    vec![
        Network { address: Ipv4Addr::LOCALHOST.into(), bits: 8 },
        Network { address: Ipv6Addr::LOCALHOST.into(), bits: 128 },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_is_allowed() {
        let check = |network: &str, address: &str, expected: bool| {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.has(address.parse().unwrap()), expected, "{network:?} {address}");
        };
        check("192.0.2.10", "192.0.2.10", true);
        check("192.0.2.10", "192.0.2.11", false);
        check("192.0.2.10", "::ffff:192.0.2.10", true);
        check("192.0.2.0/24", "192.0.2.255", true);
        check("192.0.2.0/24", "192.0.3.0", false);
        check("192.0.2.77/24", "192.0.2.1", true);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "::1", false);
        check("2001:db8::/64", "2001:db8::1:2:3:4", true);
        check("2001:db8::/64", "2001:db8:0:1::1", false);
        check("::/0", "2001:db8::1", true);
        for wrong in ["", "a", "192.0.2.0/33", "::/129", "192.0.2.0/x", "192.0.2", "1.2.3.4/24/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
