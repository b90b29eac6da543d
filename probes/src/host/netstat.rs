//! Counters of the network protocols, from `netstat`, `snmp` and `snmp6` of `/proc/net`.
//!
//! Invariant: the fields are those that node_exporter picks by default ([`is_wanted`]).

use base::family::{MetricFamily, MetricKind};

use super::config::Settings;
use super::file::Source;
use super::{Collect, CollectError, text};

pub(super) fn collector(settings: &Settings) -> Collect {
    let source = |file: &str| {
        let path = settings.paths.procfs.join("net").join(file);
        Source::record(path, &settings.descriptors)
    };
    let mut pairs = [source("netstat"), source("snmp")];
    let mut six = source("snmp6");
    Box::new(move |reading| {
        let mut result = Ok(());
        for source in &mut pairs {
            let read = source.read(&mut reading.buffer);
            let added = read.and_then(|text| match add_pairs(text, &mut reading.families) {
                Some(line) => Err(source.malformed(line)),
                None => Ok(()),
            });
            result = result.and(added);
        }
        match six.read_if_there(&mut reading.buffer) {
            Ok(text) => {
                let malformed = add_lines(text, &mut reading.families);
                result.and(malformed.map_or(Ok(()), |line| Err(six.malformed(line))))
            }
            // The host does without IPv6.
            Err(CollectError::Absent(_)) => result,
            Err(error) => result.and(Err(error)),
        }
    })
}

/// Two lines for a protocol: `Tcp: InSegs OutSegs` and `Tcp: 17 4`. Returns what is malformed.
fn add_pairs(table: &[u8], families: &mut Vec<MetricFamily>) -> Option<String> {
    let mut malformed = None;
    let mut lines = text::lines(table);
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let mut names = text::fields(names);
        let mut values = text::fields(values);
        let (Some(protocol), Some(again)) = (names.next(), values.next()) else { continue };
        if protocol != again {
            malformed = Some(format!("`{}` without values", text::text(protocol)));
            break;
        }
        let protocol = protocol.strip_suffix(b":").unwrap_or(protocol);
        for name in names {
            match values.next() {
                Some(value) if is_wanted(protocol, name) => match text::value(value) {
                    Some(value) => families.push(family(protocol, name, value)),
                    None => malformed = Some(format!("`{}`", text::text(value))),
                },
                Some(_) => {}
                None => malformed = Some(format!("`{}` without a value", text::text(name))),
            }
        }
    }
    malformed
}

/// A line for a counter: `Icmp6InMsgs 17`. Returns what is malformed.
fn add_lines(list: &[u8], families: &mut Vec<MetricFamily>) -> Option<String> {
    let mut malformed = None;
    for line in text::lines(list) {
        let mut fields = text::fields(line);
        let (Some(name), value) = (fields.next(), fields.next()) else { continue };
        let Some(six) = memchr::memchr(b'6', name) else { continue };
        let (protocol, name) = name.split_at(six + 1);
        if is_wanted(protocol, name) {
            match value.and_then(text::value) {
                Some(value) => families.push(family(protocol, name, value)),
                None => malformed = Some(format!("`{}`", text::text(line))),
            }
        }
    }
    malformed
}

fn family(protocol: &[u8], name: &[u8], value: f64) -> MetricFamily {
    let (protocol, name) = (text::text(protocol), text::text(name));
    MetricFamily::new(
        format!("node_netstat_{protocol}_{name}"),
        format!("Statistic {protocol}{name}."),
        MetricKind::Unknown,
    )
    .with(&[], value)
}

/// Which of hundreds of counters are shown.
fn is_wanted(protocol: &[u8], name: &[u8]) -> bool {
    let is = |names: &[&str]| names.iter().any(|wanted| wanted.as_bytes() == name);
    match protocol {
        b"TcpExt" => {
            name.starts_with(b"Listen")
                || name.starts_with(b"Syncookies")
                || is(&["TCPSynRetrans", "TCPTimeouts", "TCPOFOQueue", "TCPRcvQDrop"])
                || is(&["InErrors", "InErrs"])
        }
        b"Tcp" => is(&[
            "ActiveOpens",
            "PassiveOpens",
            "CurrEstab",
            "InSegs",
            "OutSegs",
            "RetransSegs",
            "InErrs",
            "OutRsts",
            "InErrors",
        ]),
        b"Udp" | b"Udp6" => is(&[
            "InDatagrams",
            "NoPorts",
            "InErrors",
            "OutDatagrams",
            "RcvbufErrors",
            "SndbufErrors",
            "InErrs",
        ]),
        b"Icmp" | b"Icmp6" => is(&["InMsgs", "InErrors", "OutMsgs", "InErrs"]),
        b"Ip6" | b"IpExt" => is(&["InOctets", "OutOctets", "InErrors", "InErrs"]),
        b"Ip" => is(&["Forwarding", "InErrors", "InErrs"]),
        _ => is(&["InErrors", "InErrs"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What node_exporter's documentation says it picks.
    const PICKS: &str = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|\
        Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|\
        TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|\
        CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";

    #[test]
    fn picks_what_node_exporter_picks() {
        let picks = regex::Regex::new(PICKS).unwrap();
        let protocols = [
            "Ip", "Ip6", "IpExt", "Icmp", "Icmp6", "IcmpMsg", "Tcp", "TcpExt", "Udp", "Udp6",
            "UdpLite", "UdpLite6", "MPTcpExt",
        ];
        let names = [
            "InErrors",
            "InErrs",
            "Forwarding",
            "InOctets",
            "OutOctets",
            "InMsgs",
            "OutMsgs",
            "ListenDrops",
            "ListenOverflows",
            "SyncookiesSent",
            "TCPSynRetrans",
            "TCPTimeouts",
            "TCPOFOQueue",
            "TCPRcvQDrop",
            "ActiveOpens",
            "InSegs",
            "OutSegs",
            "OutRsts",
            "PassiveOpens",
            "RetransSegs",
            "CurrEstab",
            "InDatagrams",
            "OutDatagrams",
            "NoPorts",
            "RcvbufErrors",
            "SndbufErrors",
            "InDiscards",
            "OutErrors",
            "InCsumErrors",
            "TCPLoss",
        ];
        for protocol in protocols {
            for name in names {
                let wanted = is_wanted(protocol.as_bytes(), name.as_bytes());
                assert_eq!(
                    wanted,
                    picks.is_match(&format!("{protocol}_{name}")),
                    "{protocol}_{name}"
                );
            }
        }
    }

    #[track_caller]
    fn check(table: &str, expected: &[(&str, f64)], malformed: Option<&str>) {
        let mut families = Vec::new();
        assert_eq!(add_pairs(table.as_bytes(), &mut families).as_deref(), malformed, "{table}");
        let got: Vec<_> = families.iter().map(|f| (f.name.as_str(), f.samples[0].value)).collect();
        assert_eq!(got, expected, "{table}");
    }

    #[test]
    fn reads_pairs_of_lines_as_far_as_they_make_sense() {
        let (segments, forwarding) =
            (("node_netstat_Tcp_InSegs", 17.0), "node_netstat_Ip_Forwarding");
        check("Tcp: MaxConn InSegs\nTcp: -1 17\n", &[segments], None);
        check(
            "Tcp: InSegs\nTcp: 17\nIp: Forwarding\nIp: 1\n",
            &[segments, (forwarding, 1.0)],
            None,
        );
        check("Tcp: InSegs OutSegs\nTcp: 17\n", &[segments], Some("`OutSegs` without a value"));
        check("Tcp: InSegs\nIp: Forwarding\n", &[], Some("`Tcp:` without values"));
        check("Tcp: OutSegs InSegs\nTcp: x 17\n", &[segments], Some("`x`"));
        check("Tcp: InSegs\n", &[], None);
        check("\n\n\n", &[], None);
    }
}
