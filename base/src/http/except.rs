//! What is dialled without a proxy: names, addresses and networks.
//!
//! Invariant: a name is that of a whole part of a host's name, never of some of its letters.

use std::net::IpAddr;

use super::origin::Origin;
use crate::diagnostic::{Diagnostics, Place};

/// What is dialled without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Except {
    /// Everything.
    All,
    /// A name, in lower case, and every name below it, on every port or on one.
    Name(String, Option<u16>),
    /// Every address whose first bits are these.
    Net(IpAddr, u32),
}

impl Except {
    /// Reads several with commas in between, reporting at `place` what is none.
    pub fn list(text: &str, place: Place, diagnostics: &mut Diagnostics) -> Vec<Self> {
        let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts.filter_map(|text| Self::read(text, place, diagnostics)).collect()
    }

    /// Reads `shop.example`, `.shop.example`, `*.shop.example`, `shop.example:8443`, `10.0.0.1`,
    /// `10.0.0.0/8` or `*`, reporting at `place` what is none of them.
    pub fn read(text: &str, place: Place, diagnostics: &mut Diagnostics) -> Option<Self> {
        let read = Self::parse(text);
        if read.is_none() {
            diagnostics.report_with_help(
                place,
                format!("`{text}` of what goes without the proxy is no name and no network"),
                "write it like `shop.example`, `10.0.0.1`, `10.0.0.0/8` or `*`",
            );
        }
        read
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let whole = |net: IpAddr| if net.is_ipv4() { 32 } else { 128 };
        if let Some((net, bits)) = text.split_once('/') {
            let (net, bits): (IpAddr, u32) = (net.parse().ok()?, bits.parse().ok()?);
            return (bits <= whole(net)).then_some(Self::Net(net, bits));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Net(address, whole(address)));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        let odd = |c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c);
        (!name.is_empty() && !name.contains(odd)).then_some(Self::Name(name, port))
    }

    /// Whether `origin` is dialled without the proxy. Addresses of a name are not looked up.
    pub fn has(&self, origin: &Origin) -> bool {
        match (self, origin.host.parse::<IpAddr>()) {
            (Self::All, _) => true,
            (Self::Net(net, bits), Ok(address)) => in_network(*net, *bits, address),
            (Self::Name(name, port), Err(_)) => {
                let host = origin.host.to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    && port.is_none_or(|port| port == origin.port)
            }
            _ => false,
        }
    }
}

/// Whether `address` begins with the first `bits` of `net`. IPv4 and IPv6 have no network in common.
pub fn in_network(net: IpAddr, bits: u32, address: IpAddr) -> bool {
    let same = match (net, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    same >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_goes_without_the_proxy() {
        let check = |except: &str, url: &str, expected: bool| {
            let origin = Origin::of(&url.parse().unwrap()).unwrap();
            assert_eq!(Except::parse(except).unwrap().has(&origin), expected, "{except} {url}");
        };
        check("localhost", "http://localhost:9/", true);
        check("example", "https://a.example/", true);
        check("shop.example", "https://shop.example/", true);
        check("shop.example", "https://a.Shop.Example/", true);
        check("shop.example", "https://evilshop.example/", false);
        check(".shop.example", "https://a.shop.example/", true);
        check("*.shop.example", "https://a.shop.example/", true);
        check("a.example:444", "https://a.example/", false);
        check("a.example:443", "https://a.example/", true);
        check("0.1", "http://10.0.0.1/", false);
        check("10.0.0.0/8", "http://10.2.3.4/", true);
        check("10.0.0.0/8", "http://11.2.3.4/", false);
        check("10.0.0.0/8", "https://shop.example/", false);
        check("10.0.0.1", "http://10.0.0.1/", true);
        check("::1", "http://[::1]/", true);
        check("2001:db8::/32", "http://[2001:db8::7]/", true);
        check("2001:db8::/32", "http://10.0.0.1/", false);
        check("0.0.0.0/0", "http://10.0.0.1/", true);
        check("*", "https://a.example/", true);
        for bad in ["", "10.0.0.0/33", "a b", "x/8", "http://x", "a:b"] {
            assert_eq!(Except::parse(bad), None, "{bad}");
        }
    }
}
