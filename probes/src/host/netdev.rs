//! What network devices received and sent.
//!
//! Invariant: a device shows all 16 counters of `/proc/net/dev`, or none where its line is malformed.

use super::config::Settings;
use super::devices::PerDevice;
use super::file::{Buffer, Source};
use super::table::{Column, Table};
use super::{Collect, text};

macro_rules! statistics {
    ($($name:literal,)*) => {
        &[$(Column::counter(
            concat!("node_network_", $name, "_total"),
            concat!("Network device statistic ", $name, "."),
        ),)*]
    };
}

/// The columns of `/proc/net/dev`, and one that only sysfs has.
const COLUMNS: &[Column] = statistics! {
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
    "receive_nohandler",
};
const NO_HANDLER: usize = 16;

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("net/dev");
    let mut source = Source::records(path, &settings.descriptors);
    let folder = settings.paths.sysfs.join("class/net");
    let descriptors = settings.descriptors.clone();
    let filter = settings.netdev.clone();
    let (mut no_handler, mut small) = (PerDevice::new(), Buffer::new());
    Box::new(move |reading| {
        // Only the one counter is missing where sysfs lists nothing.
        let devices = reading.network_devices.list().unwrap_or_default();
        let netdev = source.read(&mut reading.buffer)?;
        let mut table = Table::new(COLUMNS);
        let mut malformed = None;
        // Two lines of headings come first.
        for line in text::lines(netdev).skip(2) {
            let Some((name, counters)) = parse(line) else {
                malformed.get_or_insert_with(|| text::text(line).into_owned());
                continue;
            };
            if !filter.accepts(name) {
                continue;
            }
            for (column, count) in counters.into_iter().enumerate() {
                table.add(column, &[("device", name)], count as f64);
            }
            if let Ok(at) = devices.binary_search_by(|device| device.name.as_str().cmp(name)) {
                let device = &devices[at];
                let source = no_handler.get(device, || {
                    let path = folder.join(name).join("statistics/rx_nohandler");
                    Source::record(path, &descriptors)
                });
                if let Ok(count) = source.number(&mut small) {
                    table.add(NO_HANDLER, &[("device", name)], count);
                }
            }
        }
        no_handler.drop_unseen();
        reading.families.extend(table.into_families());
        match malformed {
            Some(line) => Err(source.malformed(format!("`{line}`"))),
            None => Ok(()),
        }
    })
}

/// The name and the counters of a device's line; a name may hold colons (`eth0:1`).
fn parse(line: &[u8]) -> Option<(&str, [u64; NO_HANDLER])> {
    let colon = memchr::memrchr(b':', line)?;
    let name = std::str::from_utf8(line[..colon].trim_ascii()).ok()?;
    let mut counters = [0; NO_HANDLER];
    let mut fields = text::fields(&line[colon + 1..]);
    for counter in &mut counters {
        *counter = text::number(fields.next()?)?;
    }
    Some((name, counters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_line_of_a_device() {
        let check = |line: &str, expected: Option<(&str, u64, u64)>| {
            let got = parse(line.as_bytes()).map(|(name, c)| (name, c[0], c[NO_HANDLER - 1]));
            assert_eq!(got, expected, "{line}");
        };
        let counters = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
        check(&format!("  eth0: {counters}"), Some(("eth0", 1, 16)));
        check(&format!("eth0:{counters}"), Some(("eth0", 1, 16)));
        check(&format!("eth0:1: {counters} 17"), Some(("eth0:1", 1, 16)));
        check("  eth0: 1 2 3", None);
        check(&format!("eth0 {counters}"), None);
        check("", None);
    }
}
