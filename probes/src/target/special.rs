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

/// What is special about a canonical address, if anything is.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a metadata service");
    }
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("no address of a host"),
            [127, ..] => Some("a loopback address"),
            [169, 254, ..] => Some("a link-local address"),
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
            [0xfe80..=0xfebf, ..] => Some("a link-local address"),
            [0xfec0..=0xfeff, ..] => Some("a site-local address"),
            [0xff00..=0xffff, ..] => Some("a multicast address"),
            _ => None,
        },
    }
}
