//! The kernel's load balancer.
//!
//! Invariant: a line that makes no sense is passed over; the services below it belong to the one
//! above that does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::Settings;
use super::file::Source;
use super::table::{Column, Table};
use super::{Collect, text};

/// The totals, by their place in the line that holds them.
const TOTALS: [Column; 5] = [
    Column::counter("node_ipvs_connections_total", "The total number of connections made."),
    Column::counter("node_ipvs_incoming_packets_total", "The total number of incoming packets."),
    Column::counter("node_ipvs_outgoing_packets_total", "The total number of outgoing packets."),
    Column::counter("node_ipvs_incoming_bytes_total", "The total amount of incoming data."),
    Column::counter("node_ipvs_outgoing_bytes_total", "The total amount of outgoing data."),
];
/// What is told of every backend, by its place in the line.
const BACKENDS: [Column; 3] = [
    Column::gauge(
        "node_ipvs_backend_weight",
        "The current backend weight by local and remote address.",
    ),
    Column::gauge(
        "node_ipvs_backend_connections_active",
        "The current active connections by local and remote address.",
    ),
    Column::gauge(
        "node_ipvs_backend_connections_inactive",
        "The current inactive connections by local and remote address.",
    ),
];

/// The service that backends belong to.
#[derive(Default)]
struct Service {
    protocol: String,
    address: String,
    port: String,
    mark: String,
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let source =
        |path: &str| Source::records(settings.paths.procfs.join(path), &settings.descriptors);
    let (mut totals, mut services) = (source("net/ip_vs_stats"), source("net/ip_vs"));
    Box::new(move |reading| {
        let third = text::lines(totals.read_if_there(&mut reading.buffer)?).nth(2);
        let numbers: Option<Vec<u64>> =
            third.and_then(|line| text::fields(line).map(text::hexadecimal).collect());
        let Some(numbers) = numbers.filter(|numbers| numbers.len() >= TOTALS.len()) else {
            return Err(totals.malformed("its third line has no totals"));
        };
        let values = TOTALS.iter().zip(numbers);
        reading.families.extend(values.map(|(column, number)| column.with(number as f64)));
        let mut table = Table::new(&BACKENDS);
        add(&mut table, services.read_if_there(&mut reading.buffer)?);
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn add(table: &mut Table, content: &[u8]) {
    let mut service = Service::default();
    for line in text::lines(content) {
        let fields: Vec<_> = text::fields(line).collect();
        match fields[..] {
            [b"->", remote, _, weight, active, inactive, ..] => {
                let Some((address, port)) = endpoint(remote) else { continue };
                let labels = [
                    ("local_address", service.address.as_str()),
                    ("local_mark", &service.mark),
                    ("local_port", &service.port),
                    ("proto", &service.protocol),
                    ("remote_address", &address),
                    ("remote_port", &port),
                ];
                for (column, value) in [weight, active, inactive].into_iter().enumerate() {
                    if let Some(value) = text::value(value) {
                        table.add(column, &labels, value);
                    }
                }
            }
            [protocol @ (b"TCP" | b"UDP" | b"SCTP"), local, ..] => {
                let Some((address, port)) = endpoint(local) else { continue };
                let protocol = text::text(protocol).into_owned();
                service = Service { protocol, address, port, mark: String::new() };
            }
            [b"FWM", mark, ..] => {
                let mark = text::text(mark).into_owned();
                let (protocol, port) = ("FWM".to_owned(), "0".to_owned());
                service = Service { protocol, address: String::new(), port, mark };
            }
            _ => {}
        }
    }
}

/// Address and port of `C0A80016:0CEA` or `[2001:...]:0CEA`.
fn endpoint(text: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, port) = text.rsplit_once(':')?;
    let address = match address.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(v6) => IpAddr::V6(v6.parse::<Ipv6Addr>().ok()?),
        None => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?)),
    };
    Some((address.to_string(), u16::from_str_radix(port, 16).ok()?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_endpoints_and_nothing_else() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let got = endpoint(text.as_bytes());
            let got = got.as_ref().map(|(address, port)| (address.as_str(), port.as_str()));
            assert_eq!(got, expected, "{text}");
        };
        check("C0A80016:0CEA", Some(("192.168.0.22", "3306")));
        check("[2620:0000:0000:0000:0000:0000:0000:0001]:0050", Some(("2620::1", "80")));
        check("RemoteAddress:Port", None);
        check("C0A80016", None);
        check("", None);
    }
}
