//! Ports: that listens what should, and nothing else.
//!
//! ```yaml
//! port:
//!   listening: [22, 127.0.0.1:5432, udp/53]
//!   allowed: [tcp/9100]
//!   nothing_else: true
//!   thresholds: {unexpected: {warn: 5}}
//! ```
//!
//! Invariant: looks at the kernel's own lists of sockets and connects to nobody.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::blocking::Blocking;
use super::judged;
use crate::thresholds::{Limits, LimitsConfig, Value};
use crate::{Outcome, Probe, Reason, Status};

/// How many ports are named.
const MOST_NAMED: usize = 20;

/// A probe of ports, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// What must listen: `22`, `tcp/22`, `udp/53`, `127.0.0.1:5432`, `tcp/[::1]:80`.
    #[serde(default)]
    listening: Vec<Spanned<String>>,
    /// What may listen besides.
    #[serde(default)]
    allowed: Vec<Spanned<String>>,
    /// Whether anything else that listens with TCP, and for others than this host, is critical.
    #[serde(default)]
    nothing_else: bool,
    /// Whether `nothing_else` holds for UDP, too: programs that ask others have ports there.
    #[serde(default)]
    udp: bool,
    /// Limits of `unexpected` (how many listen that are not expected to), `tcp` and `udp` (how many
    /// listen at all).
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Looks at who listens.
#[derive(Debug)]
pub struct PortProbe {
    expect: Expect,
    limits: Limits,
    turn: Blocking<()>,
}

/// What is expected.
#[derive(Clone, Debug)]
struct Expect {
    procfs: PathBuf,
    listening: Vec<Port>,
    allowed: Vec<Port>,
    nothing_else: bool,
    udp: bool,
}

/// How one can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tcp,
    Udp,
}

/// A port, of one address or of any.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    protocol: Protocol,
    address: Option<IpAddr>,
    port: u16,
}

/// Somebody who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listener {
    protocol: Protocol,
    address: SocketAddr,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Tcp { "tcp" } else { "udp" })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.address)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}/{}", self.protocol, SocketAddr::new(address, self.port)),
            None => write!(f, "{}/{}", self.protocol, self.port),
        }
    }
}

impl PortConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<PortProbe> {
        let mut ports = |written: Vec<Spanned<String>>| -> Vec<Port> {
            let parsed = written.into_iter().filter_map(|text| {
                let port = parse(&text.value);
                if port.is_none() {
                    let help = "write it like `22`, `udp/53`, `127.0.0.1:5432` or `tcp/[::1]:80`";
                    let message = format!("`{}` is not a port", text.value);
                    diagnostics.report_with_help(&text, message, help);
                }
                port
            });
            parsed.collect()
        };
        let expect = Expect {
            procfs: PathBuf::from("/proc"),
            listening: ports(self.listening),
            allowed: ports(self.allowed),
            nothing_else: self.nothing_else,
            udp: self.udp,
        };
        let known = ["unexpected", "tcp", "udp"];
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        Some(PortProbe { expect, limits, turn: Blocking::new(()) })
    }
}

fn parse(text: &str) -> Option<Port> {
    let (protocol, rest) = match text.split_once('/') {
        Some(("tcp", rest)) => (Protocol::Tcp, rest),
        Some(("udp", rest)) => (Protocol::Udp, rest),
        Some(_) => return None,
        None => (Protocol::Tcp, text),
    };
    let (address, port) = match rest.parse::<SocketAddr>() {
        Ok(address) => (Some(address.ip()), address.port()),
        Err(_) => (None, rest.parse().ok()?),
    };
    (port > 0).then_some(Port { protocol, address, port })
}

#[async_trait]
impl Probe for PortProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let (expect, limits) = (self.expect.clone(), self.limits.clone());
        self.turn.run(stop, move |_| expect.look(&limits)).await
    }
}

impl Expect {
    fn look(&self, limits: &Limits) -> Outcome {
        let listeners = match listeners(&self.procfs) {
            Ok(listeners) => listeners,
            Err(why) => return Outcome::unknown(Reason::CannotRead, why),
        };
        let heard = |port: &Port| listeners.iter().any(|listener| port.is_met_by(listener));
        let missing: Vec<_> =
            self.listening.iter().filter(|port| !heard(port)).map(Port::to_string).collect();
        let known = |listener: &Listener| {
            let mut ports = self.listening.iter().chain(&self.allowed);
            ports.any(|port| port.is_met_by(listener))
        };
        let is_judged = |listener: &&Listener| {
            (listener.protocol == Protocol::Tcp || self.udp)
                && !listener.address.ip().to_canonical().is_loopback()
        };
        let others: Vec<_> = listeners
            .iter()
            .filter(is_judged)
            .filter(|listener| !known(listener))
            .map(Listener::to_string)
            .collect();
        let tcp = listeners.iter().filter(|listener| listener.protocol == Protocol::Tcp).count();
        let udp = listeners.len() - tcp;
        let values = [
            Value { name: "unexpected", value: others.len() as f64, unit: "" },
            Value { name: "tcp", value: tcp as f64, unit: "" },
            Value { name: "udp", value: udp as f64, unit: "" },
        ];
        let summary = format!("{tcp} listen with TCP, {udp} with UDP");
        let mut outcome = judged(limits, &values, &summary);
        if self.nothing_else && !others.is_empty() {
            let named = others[..others.len().min(MOST_NAMED)].join(", ");
            let why = format!("not expected to listen: {named}");
            outcome.worsen(Status::Critical, Reason::PortUnexpected, &why);
        }
        if !missing.is_empty() {
            let why = format!("nobody listens on {}", missing.join(", "));
            outcome.status = Status::Ok;
            outcome.worsen(Status::Critical, Reason::PortClosed, &why);
        }
        let mut listening = MetricFamily::gauge(
            "veilleur_port_listening",
            "Whether somebody listens on a port where somebody should.",
        );
        for port in &self.listening {
            listening.add(&[("port", &port.to_string())], f64::from(u8::from(heard(port))));
        }
        let mut unexpected = MetricFamily::gauge(
            "veilleur_port_unexpected",
            "How many listen that are not expected to.",
        );
        unexpected.add(&[], others.len() as f64);
        outcome.families = vec![listening, unexpected];
        outcome
    }
}

impl Port {
    /// Whether `listener` answers there: one for every address answers for each of them.
    fn is_met_by(&self, listener: &Listener) -> bool {
        let address = listener.address.ip();
        let meets = match self.address {
            None => true,
            Some(wanted) => {
                let any_v6 = address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
                address.to_canonical() == wanted.to_canonical()
                    || any_v6
                    || (address.is_unspecified() && wanted.is_ipv4())
            }
        };
        self.protocol == listener.protocol && self.port == listener.address.port() && meets
    }
}

/// All who listen, sorted; a kernel without IPv6 has no lists of it.
fn listeners(procfs: &Path) -> Result<BTreeSet<Listener>, String> {
    let mut found = BTreeSet::new();
    let mut read = 0;
    for (file, protocol, state) in [
        ("net/tcp", Protocol::Tcp, "0A"),
        ("net/tcp6", Protocol::Tcp, "0A"),
        ("net/udp", Protocol::Udp, "07"),
        ("net/udp6", Protocol::Udp, "07"),
    ] {
        let path = procfs.join(file);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("`{}` cannot be read: {error}", path.display())),
        };
        read += 1;
        for line in String::from_utf8_lossy(&text).lines().skip(1) {
            let fields: Vec<_> = line.split_ascii_whitespace().take(4).collect();
            if let [_, local, _, found_state] = fields[..]
                && found_state == state
                && let Some(address) = address(local)
            {
                found.insert(Listener { protocol, address });
            }
        }
    }
    if read == 0 {
        return Err(format!("`{}` has no list of sockets", procfs.join("net").display()));
    }
    Ok(found)
}

/// `0100007F:0016`: the address as the machine's own words, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "head\n 0: 0100007F:1538 00000000:0000 0A x\n 1: 00000000:0016 0:0 0A x\n \
                       2: 0100007F:0050 0100007F:9999 01 x\nnonsense\n 3: zz:0016 0:0 0A\n";
    const TCP6: &str = "head\n 0: 00000000000000000000000000000000:0050 0:0 0A x\n";
    const UDP: &str = "head\n 0: 00000000:0035 00000000:0000 07 x\n";

    #[track_caller]
    fn check(text: &str, status: Status, reason: Reason, summary: &str) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("net")).unwrap();
        for (file, content) in [("tcp", TCP), ("tcp6", TCP6), ("udp", UDP)] {
            std::fs::write(folder.path().join("net").join(file), content).unwrap();
        }
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: PortConfig = base::yaml::read(text, &mut diagnostics).unwrap();
        let mut probe = config.build(&mut diagnostics).unwrap();
        assert!(diagnostics.is_empty(), "{diagnostics}");
        probe.expect.procfs = folder.path().to_owned();
        let outcome = probe.expect.look(&probe.limits);
        let got = (outcome.status, outcome.reason, outcome.summary.as_str());
        assert_eq!(got, (status, reason, summary), "{text}");
    }

    #[test]
    fn tells_who_does_not_listen_and_who_should_not() {
        let seen = "3 listen with TCP, 1 with UDP";
        let ok = |text| check(text, Status::Ok, Reason::None, seen);
        ok("listening: ['22', tcp/80, udp/53, 127.0.0.1:5432, 192.0.2.1:22, 'tcp/[::1]:80']");
        ok("{listening: ['22', '80'], nothing_else: true}");
        ok("{listening: ['22'], allowed: ['80', udp/53], nothing_else: true, udp: true}");
        let closed = |text, why: &str| {
            check(text, Status::Critical, Reason::PortClosed, &format!("{why}; {seen}"));
        };
        closed("listening: ['23', udp/22]", "nobody listens on tcp/23, udp/22");
        closed("listening: ['192.0.2.1:5432']", "nobody listens on tcp/192.0.2.1:5432");
        closed("listening: ['[::1]:22']", "nobody listens on tcp/[::1]:22");
        let text = "{listening: ['22'], nothing_else: true, udp: true}";
        let why = "not expected to listen: tcp/[::]:80, udp/0.0.0.0:53";
        check(text, Status::Critical, Reason::PortUnexpected, &format!("{why}; {seen}"));
        let text = "{listening: ['22'], thresholds: {unexpected: {warn: 0}, udp: {warn: '1:'}}}";
        let why = "`unexpected` is 1, warning by `0`";
        check(text, Status::Warning, Reason::Threshold, &format!("{why}; {seen}"));
        ok("{listening: ['22'], thresholds: {unexpected: {crit: 1}, tcp: {crit: '3:3'}}}");
    }

    #[test]
    fn ports_are_written_in_many_ways_and_some_are_none() {
        for text in ["", "0", "65536", "tcp/", "sctp/1", "host:1", "::1:80", "tcp/22/x", "-1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn without_the_lists_nobody_can_tell() {
        let error = listeners(Path::new("/nowhere")).unwrap_err();
        assert_eq!(error, "`/nowhere/net` has no list of sockets");
    }
}
