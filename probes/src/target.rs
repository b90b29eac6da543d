//! Where somebody from outside may let us look: what a target may be, and which are allowed.
//!
//! ```yaml
//! allow_targets: [shop.example, '*.internal.example:443', 10.20.0.0/16, '[fd12::]/32:8443', localhost]
//! ```
//!
//! A name must be allowed by name before it is resolved; the address that it leads to is looked at
//! before it is dialled, at every redirect again (S2). What is of this host, this link, a cloud's
//! metadata service, or another address in disguise is refused unless it is listed as an address:
//! no name, no `*` and no wide network lets anybody in there. A socket of this host is allowed by
//! its own path and nothing else.
//!
//! Invariant: an address is dialled only after [`Rules::admit_address`] has let it pass.

mod parse;

pub use parse::{BadTarget, HostPort, Place, parse_host_port, parse_url};
pub(crate) use parse::{host_name, of_url, parse_host_only, parse_host_or_port, parse_socket};

use std::net::{IpAddr, SocketAddr};

use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::in_network;
use base::http::special;

/// Whether `text` is a host name or an IP address, and could not be read as anything else.
pub fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || host_name(text).is_ok()
}

/// What is allowed; nothing where it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    host: HostRule,
    /// Any port where there is none.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostRule {
    /// A socket of this host.
    Socket(String),
    /// `*`: whatever is not special.
    Any,
    /// The name itself.
    Name(String),
    /// Every name that ends so, with the dot in front.
    Suffix(String),
    /// Every address whose first `bits` are those of `net`.
    Net { net: IpAddr, bits: u32 },
}

/// Why something is not looked at. What it says names no address: whoever asks should not learn
/// what is behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No rule lets it pass.
    #[error("the target is not allowed; `allow_targets` of the agent says which are")]
    NotAllowed,
    /// It is, or its name leads to, an address that only a rule for addresses can allow.
    #[error("the target leads to {0}, which `allow_targets` of the agent does not list")]
    Special(&'static str),
}

impl Rules {
    /// The rules that `list` spells out, reporting those that cannot be read.
    pub fn build(list: &[Spanned<String>], diagnostics: &mut Diagnostics) -> Self {
        let mut rules = Self::default();
        for text in list {
            match Rule::read(&text.value) {
                Some(rule) => rules.0.push(rule),
                None => diagnostics.report_with_help(
                    text,
                    format!("`{}` does not say which targets are allowed", text.value),
                    "write it like `shop.example`, `*.shop.example:443`, `10.0.0.0/8` or `[::1]:80`",
                ),
            }
        }
        rules
    }

    /// Allows `place` and nothing else.
    pub fn allow(&mut self, place: Place) {
        let rule = match place {
            Place::Socket(path) => Rule { host: HostRule::Socket(path), port: None },
            Place::Net(HostPort { host, port }) => {
                let host = match host.parse::<IpAddr>() {
                    Ok(address) => single(address),
                    Err(_) => HostRule::Name(host),
                };
                Rule { host, port: Some(port) }
            }
        };
        self.0.push(rule);
    }

    /// Whether the socket at `path` may be looked at.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub(crate) fn admit_socket(&self, path: &str) -> Result<(), Refused> {
        let is_it = |rule: &Rule| matches!(&rule.host, HostRule::Socket(known) if known == path);
        if self.0.iter().any(is_it) { Ok(()) } else { Err(Refused::NotAllowed) }
    }

    /// Whether a host may be looked at by the name or address that it is called, before anything
    /// is resolved.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn admit_host(&self, target: &HostPort) -> Result<(), Refused> {
        if let Ok(address) = target.host.parse::<IpAddr>() {
            return self.admit_address(target, SocketAddr::new(address, target.port));
        }
        let named = |rule: &Rule| match &rule.host {
            HostRule::Any => true,
            HostRule::Name(name) => *name == target.host,
            HostRule::Suffix(suffix) => target.host.ends_with(suffix.as_str()),
            HostRule::Net { .. } | HostRule::Socket(_) => false,
        };
        let mut rules = self.0.iter().filter(|rule| rule.port.is_none_or(|p| p == target.port));
        if rules.any(named) { Ok(()) } else { Err(Refused::NotAllowed) }
    }

    /// Whether `address` may be dialled for `target`, whose host was admitted.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn admit_address(&self, target: &HostPort, address: SocketAddr) -> Result<(), Refused> {
        let ip = address.ip().to_canonical();
        let is_literal = target.host.parse::<IpAddr>().is_ok();
        let special = special::special(ip);
        let admits = |rule: &Rule| match &rule.host {
            HostRule::Any => special.is_none(),
            HostRule::Net { net, bits } => {
                // A wide network means what is out there, not what happens to lie in it.
                let means_it = || edges(*net, *bits).map(special::special) == [special; 2];
                in_network(*net, *bits, ip) && (special.is_none() || means_it())
            }
            // `localhost` is what everybody calls this host.
            HostRule::Name(name) if name == "localhost" => ip.is_loopback() && *name == target.host,
            HostRule::Name(_) | HostRule::Suffix(_) => !is_literal && special.is_none(),
            HostRule::Socket(_) => false,
        };
        let mut rules = self.0.iter().filter(|rule| rule.port.is_none_or(|p| p == address.port()));
        match special {
            _ if rules.any(admits) => Ok(()),
            Some(what) if is_literal || self.admit_host(target).is_ok() => {
                Err(Refused::Special(what))
            }
            _ => Err(Refused::NotAllowed),
        }
    }
}

impl Rule {
    fn read(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            let path = parse_socket(text).ok()?;
            return Some(Self { host: HostRule::Socket(path), port: None });
        }
        let (host, port) = split_port(text)?;
        let host = host.as_str();
        if host == "*" {
            return Some(Self { host: HostRule::Any, port });
        }
        if let Some((net, bits)) = host.split_once('/') {
            let net: IpAddr = net.parse().ok()?;
            let bits: u32 = bits.parse().ok()?;
            let whole = if net.is_ipv4() { 32 } else { 128 };
            return (bits <= whole).then_some(Self { host: HostRule::Net { net, bits }, port });
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self { host: single(address), port });
        }
        let suffix = host.strip_prefix('*').unwrap_or(host);
        let name = host_name(suffix.strip_prefix('.').unwrap_or(suffix)).ok()?;
        let host = match (suffix.starts_with('.'), suffix == host && !host.starts_with('.')) {
            (true, _) => HostRule::Suffix(format!(".{name}")),
            (false, true) => HostRule::Name(name),
            _ => return None,
        };
        Some(Self { host, port })
    }
}

fn single(address: IpAddr) -> HostRule {
    let net = address.to_canonical();
    HostRule::Net { net, bits: if net.is_ipv4() { 32 } else { 128 } }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, `[v6]/bits:port`, and a plain v6 address or network.
fn split_port(text: &str) -> Option<(String, Option<u16>)> {
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let (bits, rest) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
        let port = if rest.is_empty() { None } else { Some(port(&rest[1..])?) };
        return Some((format!("{address}{bits}"), port));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text.to_owned(), None)),
        Some((host, rest)) => Some((host.to_owned(), Some(port(rest)?))),
        None => Some((text.to_owned(), None)),
    }
}

/// The bits of an address, and how many there are.
fn bits_of(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

/// The bits that a network leaves open.
fn open_bits(whole: u32, bits: u32) -> u128 {
    u128::MAX.checked_shr(128 - (whole - bits)).unwrap_or(0)
}

/// The first and the last address of a network.
fn edges(net: IpAddr, bits: u32) -> [IpAddr; 2] {
    let (value, whole) = bits_of(net);
    let open = open_bits(whole, bits);
    [value & !open, value | open].map(|value| match net {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(value).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(value.into()),
    })
}

#[cfg(test)]
mod tests {
    use base::diagnostic::Place;

    use super::*;

    fn rules(list: &[&str]) -> Rules {
        let mut diagnostics = Diagnostics::new("agent.yml");
        let place = Place { line: 1, column: 1 };
        let list = list.iter().map(|text| Spanned { value: (*text).to_owned(), place });
        let rules = Rules::build(&list.collect::<Vec<_>>(), &mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        rules
    }

    /// Whether a host is admitted by name (`host`), and at the address that it leads to (`host=address`).
    #[track_caller]
    fn check(list: &[&str], target: &str, expected: &str) {
        let (name, address) = target.split_once('=').unwrap_or((target, ""));
        let target = parse_host_port(name).unwrap_or_else(|bad| panic!("{name}: {bad}"));
        let rules = rules(list);
        let mut result = rules.admit_host(&target);
        if result.is_ok() && !address.is_empty() {
            let address = SocketAddr::new(address.parse().unwrap(), target.port);
            result = rules.admit_address(&target, address);
        }
        let got = match result {
            Ok(()) => "yes",
            Err(Refused::NotAllowed) => "no",
            Err(Refused::Special(what)) => what,
        };
        assert_eq!(got, expected, "{list:?} {name} {address}");
    }

    #[test]
    fn only_what_is_listed_may_be_looked_at() {
        check(&[], "shop.example:80", "no");
        check(&["shop.example"], "shop.example:80", "yes");
        check(&["shop.example"], "Shop.Example:80", "yes");
        check(&["shop.example:443"], "shop.example:80", "no");
        check(&["shop.example"], "a.shop.example:80", "no");
        check(&["*.shop.example"], "a.shop.example:80", "yes");
        check(&[".shop.example:80"], "a.b.shop.example:80", "yes");
        check(&["*.shop.example"], "shop.example:80", "no");
        check(&["*.shop.example"], "evilshop.example:80", "no");
        check(&["*"], "anything.example:80=192.0.2.1", "yes");
        check(&["10.0.0.0/8"], "10.1.2.3:80", "yes");
        check(&["10.0.0.0/8:443"], "10.1.2.3:80", "no");
        check(&["10.0.0.0/8"], "11.1.2.3:80", "no");
        check(&["10.0.0.0/8"], "name.example:80", "no");
        check(&["[2001:db8::]/32:80"], "[2001:db8::1]:80", "yes");
        check(&["2001:db8::/32"], "[2001:db9::1]:80", "no");
        check(&["2001:db8::1"], "[2001:db8::1]:1", "yes");
        check(&["0.0.0.0/0"], "192.0.2.1:80", "yes");
        check(&["shop.example"], "192.0.2.1:80", "no");
    }

    #[test]
    fn what_is_special_needs_a_rule_for_its_address_x01_x02_x04() {
        check(&["*"], "169.254.169.254:80", "a link-local address");
        check(&["*", "0.0.0.0/0", "::/0"], "[::ffff:169.254.169.254]:80", "a link-local address");
        check(&["*", "::/0"], "[64:ff9b::a9fe:a9fe]:80", "an address behind NAT64");
        check(&["*"], "[2002:a9fe:a9fe::]:80", "an address behind 6to4");
        check(&["*"], "[fd00:ec2::254]:80", "a metadata service");
        check(&["*", "fd00::/8"], "[fd00:ec2::254]:80", "a metadata service");
        check(&["*"], "0.0.0.0:80", "no address of a host");
        check(&["*"], "224.0.0.1:80", "a multicast address");
        check(&["*"], "[ff02::1]:80", "a multicast address");
        check(&["*"], "255.255.255.255:80", "a reserved address");
        check(&["*"], "[fe80::1]:80", "a link-local address");
        check(&["*"], "[::1]:80", "a loopback address");
        // A name that leads there: DNS rebinding, or a service such as nip.io.
        check(&["*"], "0xa9fea9fe:80=169.254.169.254", "a link-local address");
        check(&["*"], "2852039166:80=169.254.169.254", "a link-local address");
        check(&["*.nip.io"], "169.254.169.254.nip.io:80=169.254.169.254", "a link-local address");
        check(&["shop.example"], "shop.example:80=127.0.0.1", "a loopback address");
        check(&["shop.example"], "shop.example:80=::ffff:127.0.0.1", "a loopback address");
        check(&["localhost"], "localhost:80=127.0.0.1", "yes");
        check(&["localhost"], "localhost:80=::1", "yes");
        check(&["localhost"], "localhost:80=169.254.169.254", "a link-local address");
        check(&["shop.example", "localhost"], "shop.example:80=127.0.0.1", "a loopback address");
        check(&["shop.example", "127.0.0.0/8"], "shop.example:80=127.0.0.1", "yes");
        check(&["127.0.0.1:9"], "127.0.0.1:80", "a loopback address");
        check(&["127.0.0.1:80"], "127.0.0.1:80", "yes");
        check(&["127.0.0.1"], "[::ffff:127.0.0.1]:80", "yes");
        check(&["169.254.0.0/16"], "169.254.169.254:80", "yes");
        check(&["fd00:ec2::254"], "[fd00:ec2::254]:80", "yes");
    }

    #[test]
    fn a_socket_is_allowed_by_its_own_path_x05() {
        let check = |list: &[&str], path: &str, expected: bool| {
            let path = parse_socket(path).map(|path| rules(list).admit_socket(&path).is_ok());
            assert_eq!(path, Ok(expected), "{list:?}");
        };
        check(&["/run/shop.sock"], "/run/shop.sock", true);
        check(&["/run/shop.sock"], "/run/docker.sock", false);
        check(&["*", "0.0.0.0/0", "::/0"], "/run/docker.sock", false);
        for bad in ["run/x", "/run/../etc/x", "/run/./x", "/run//x", "/", "unix:/run/x", "/a b", ""]
        {
            assert_eq!(parse_socket(bad), Err(BadTarget::Socket), "{bad}");
        }
    }

    #[test]
    fn what_has_no_port_is_allowed_only_where_no_port_is_said() {
        let check = |list: &[&str], host: &str, expected: bool| {
            let target = parse_host_only(host).unwrap();
            assert_eq!(rules(list).admit_host(&target).is_ok(), expected, "{list:?} {host}");
        };
        check(&["shop.example"], "shop.example", true);
        check(&["shop.example:443"], "shop.example", false);
        check(&["10.0.0.0/8"], "10.1.2.3", true);
        check(&["*"], "169.254.169.254", false);
        check(&["2001:db8::/32"], "2001:db8::1", true);
        check(&["2001:db8::/32"], "[2001:db8::1]", true);
        assert!(parse_host_only("shop.example:1").is_err());
    }

    #[test]
    fn rules_that_say_nothing_are_reported_with_their_place() {
        for bad in [
            "",
            "10.0.0.0/33",
            "a b",
            "shop.example:0",
            "http://x",
            "*x",
            "[::1",
            "a:b",
            "-",
            "/a/../b",
        ] {
            let mut diagnostics = Diagnostics::new("agent.yml");
            let text = Spanned { value: bad.to_owned(), place: Place { line: 3, column: 4 } };
            Rules::build(&[text], &mut diagnostics);
            let expected = format!("agent.yml:3:4: `{bad}` does not say which targets are allowed");
            assert!(diagnostics.to_string().starts_with(&expected), "{bad}: {diagnostics}");
        }
    }
}
