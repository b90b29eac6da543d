//! What network devices are: up or down, their speed, their addresses.
//!
//! Invariant: an attribute that a device does not have, or cannot tell while it is down, is left out.

use std::path::Path;

use super::config::Settings;
use super::devices::PerDevice;
use super::file::{Buffer, Descriptors, Source};
use super::table::{Column, Table};
use super::{Collect, text};

macro_rules! properties {
    ($($kind:ident $file:literal => $name:literal,)*) => {
        &[$((
            $file,
            Column::$kind(
                concat!("node_network_", $name),
                concat!("Network device property: ", $name),
            ),
        ),)*]
    };
}

/// The files that hold a number.
const NUMBERS: &[(&str, Column)] = properties! {
    gauge "addr_assign_type" => "address_assign_type",
    gauge "carrier" => "carrier",
    counter "carrier_changes" => "carrier_changes_total",
    counter "carrier_down_count" => "carrier_down_changes_total",
    counter "carrier_up_count" => "carrier_up_changes_total",
    gauge "dev_id" => "device_id",
    gauge "dormant" => "dormant",
    gauge "flags" => "flags",
    gauge "ifindex" => "iface_id",
    gauge "iflink" => "iface_link",
    gauge "link_mode" => "iface_link_mode",
    gauge "mtu" => "mtu_bytes",
    gauge "name_assign_type" => "name_assign_type",
    gauge "netdev_group" => "net_dev_group",
    gauge "type" => "protocol_type",
    gauge "speed" => "speed_bytes",
    gauge "tx_queue_len" => "transmit_queue_length",
};
const FLAGS: usize = 7;
const SPEED: usize = 15;
const UP: Column =
    Column::gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.");
const INFO: Column = Column::gauge(
    "node_network_info",
    "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
);
/// The files that hold a text.
const TEXTS: [&str; 5] = ["address", "broadcast", "duplex", "ifalias", "operstate"];

/// The flag of a device that somebody switched on.
const FLAG_UP: u64 = 1;
/// Megabits in bytes.
const MEGABIT: f64 = 1_000_000.0 / 8.0;

/// The files of one device.
struct Files {
    numbers: Vec<Source>,
    texts: [Source; TEXTS.len()],
}

impl Files {
    fn new(folder: &Path, descriptors: &Descriptors) -> Self {
        let source = |file: &str| Source::record(folder.join(file), descriptors);
        Self {
            numbers: NUMBERS.iter().map(|(file, _)| source(file)).collect(),
            texts: TEXTS.map(source),
        }
    }
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/net");
    let descriptors = settings.descriptors.clone();
    let filter = settings.netclass.clone();
    let mut columns: Vec<_> = NUMBERS.iter().map(|(_, column)| *column).collect();
    columns.extend([UP, INFO]);
    let mut files = PerDevice::new();
    Box::new(move |reading| {
        let mut table = Table::new(&columns);
        for device in reading.network_devices.list()? {
            if filter.accepts(&device.name) {
                let make = || Files::new(&folder.join(&device.name), &descriptors);
                add(&mut table, &device.name, files.get(device, make), &mut reading.buffer);
            }
        }
        files.drop_unseen();
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn add(table: &mut Table, device: &str, files: &mut Files, buffer: &mut Buffer) {
    let label = [("device", device)];
    let mut admin_state = "unknown";
    for (column, source) in files.numbers.iter_mut().enumerate() {
        let Ok(bytes) = source.read(buffer) else { continue };
        let bytes = bytes.trim_ascii();
        let number = match bytes.strip_prefix(b"0x") {
            Some(digits) => text::hexadecimal(digits).map(|number| number as f64),
            None => text::value(bytes),
        };
        let Some(number) = number else { continue };
        match column {
            // Minus one, which is no speed, is shown like a speed.
            SPEED => table.add(column, &label, number * MEGABIT),
            FLAGS => {
                admin_state = if number as u64 & FLAG_UP == 0 { "down" } else { "up" };
                table.add(column, &label, number);
            }
            _ => table.add(column, &label, number),
        }
    }
    let [address, broadcast, duplex, alias, state] = files.texts.each_mut().map(|source| {
        let bytes = source.read(buffer).unwrap_or_default();
        text::text(bytes.trim_ascii()).into_owned()
    });
    table.add(NUMBERS.len(), &label, f64::from(u8::from(state == "up")));
    let labels = [
        ("address", address.as_str()),
        ("adminstate", admin_state),
        ("broadcast", &broadcast),
        ("device", device),
        ("duplex", &duplex),
        ("ifalias", &alias),
        ("operstate", &state),
    ];
    table.add(NUMBERS.len() + 1, &labels, 1.0);
}
