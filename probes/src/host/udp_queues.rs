//! How much the kernel holds for UDP sockets, sent and received.
//!
//! Invariant: a host without IPv6 has no sample of it, and has not failed.

use super::config::Settings;
use super::file::Source;
use super::table::{Column, Table};
use super::{Collect, CollectError, text};

const QUEUES: Column = Column::gauge(
    "node_udp_queues",
    "Number of allocated memory in the kernel for UDP datagrams in bytes.",
);
const FILES: [(&str, &str); 2] = [("net/udp", "v4"), ("net/udp6", "v6")];

pub(super) fn collector(settings: &Settings) -> Collect {
    let procfs = &settings.paths.procfs;
    let mut files =
        FILES.map(|(path, ip)| (Source::records(procfs.join(path), &settings.descriptors), ip));
    Box::new(move |reading| {
        let mut table = Table::new(&[QUEUES]);
        let mut result = Ok(());
        let mut found = false;
        for (source, ip) in &mut files {
            match source.read_if_there(&mut reading.buffer) {
                Ok(sockets) => {
                    let (transmit, receive) = sums(sockets);
                    table.add(0, &[("ip", ip), ("queue", "tx")], transmit);
                    table.add(0, &[("ip", ip), ("queue", "rx")], receive);
                    found = true;
                }
                Err(error @ CollectError::Absent(_)) if !found => result = Err(error),
                Err(CollectError::Absent(_)) => {}
                Err(error) => result = Err(error),
            }
        }
        reading.families.extend(table.into_families());
        if found && matches!(result, Err(CollectError::Absent(_))) { Ok(()) } else { result }
    })
}

/// The bytes of all sockets: to be sent, to be received.
fn sums(sockets: &[u8]) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for line in text::lines(sockets).skip(1) {
        // Slot, local address, remote address, state, the two queues.
        let Some(queues) = text::fields(line).nth(4) else { continue };
        let Some((transmit, receive)) = text::split(queues, b':') else { continue };
        sums.0 += text::hexadecimal(transmit).map_or(0.0, |bytes| bytes as f64);
        sums.1 += text::hexadecimal(receive).map_or(0.0, |bytes| bytes as f64);
    }
    sums
}
