//! Addresses that are not somewhere out there: of this host, this link, nobody, or in disguise.
//!
//! Invariant: an address that is not named here leads to another host by ordinary routing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds answer whatever asks for its own credentials, beside 169.254.169.254, which is
/// link-local: Amazon's on IPv6, Alibaba's, Azure's.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

const METADATA_SERVICE: &str = "a metadata service";
const LINK_LOCAL: &str = "a link-local address";

/// What is special about a canonical address, if anything is.
pub fn special(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some(METADATA_SERVICE);
    }
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("no address of a host"),
            [127, ..] => Some("a loopback address"),
            [169, 254, ..] => Some(LINK_LOCAL),
            [224..=239, ..] => Some("a multicast address"),
            [240..=255, ..] => Some("a reserved address"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
            [0, 0, 0, 0, 0, 0, ..] => Some("no address of a host"),
            [0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0, 0xffff, ..] => {
                Some("an address in disguise")
            }
            [0x64, 0xff9b, ..] => Some("an address behind NAT64"),
            [0x2001, 0, ..] => Some("an address behind Teredo"),
            [0x2002, ..] => Some("an address behind 6to4"),
            [0xfe80..=0xfebf, ..] => Some(LINK_LOCAL),
            [0xfec0..=0xfeff, ..] => Some("a site-local address"),
            [0xff00..=0xffff, ..] => Some("a multicast address"),
            _ => None,
        },
    }
}

/// Why nobody is told anything at `address` unless the configuration names it: something answers
/// there that is for this host alone, such as its credentials in a cloud (X19).
pub fn untold(address: IpAddr) -> Option<&'static str> {
    let inner = match address.to_canonical() {
        // Behind NAT64 and 6to4 an IPv4 address is part of it.
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => IpAddr::V6(v6),
        },
        v4 => v4,
    };
    special(inner).filter(|why| [LINK_LOCAL, METADATA_SERVICE].contains(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_anything_at_metadata_services_x19() {
        let check = |address: &str, expected: bool| {
            assert_eq!(untold(address.parse().unwrap()).is_some(), expected, "{address}");
        };
        check("169.254.169.254", true);
        check("169.254.0.1", true);
        check("100.100.100.200", true);
        check("168.63.129.16", true);
        check("fd00:ec2::254", true);
        check("fe80::1", true);
        check("::ffff:169.254.169.254", true);
        check("64:ff9b::a9fe:a9fe", true);
        check("2002:a9fe:a9fe::1", true);
        check("127.0.0.1", false);
        check("::1", false);
        check("10.0.0.1", false);
        check("fd00::1", false);
        check("64:ff9b::a00:1", false);
        check("8.8.8.8", false);
    }
}
