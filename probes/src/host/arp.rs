//! How many neighbours each network device knows.
//!
//! Invariant: a device without neighbours has no sample.

use std::collections::BTreeMap;

use super::config::Settings;
use super::file::Source;
use super::table::{Column, Table};
use super::{Collect, text};

const ENTRIES: Column = Column::gauge("node_arp_entries", "ARP entries by device");

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("net/arp");
    let mut source = Source::records(path, &settings.descriptors);
    let filter = settings.arp.clone();
    Box::new(move |reading| {
        let lines = text::lines(source.read_if_there(&mut reading.buffer)?);
        let mut devices: BTreeMap<&[u8], f64> = BTreeMap::new();
        // Address, type, flags, hardware address, mask, device.
        for device in lines.skip(1).filter_map(|line| text::fields(line).nth(5)) {
            *devices.entry(device).or_default() += 1.0;
        }
        let mut table = Table::new(&[ENTRIES]);
        for (device, count) in devices {
            let device = text::text(device);
            if filter.accepts(&device) {
                table.add(0, &[("device", &device)], count);
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
