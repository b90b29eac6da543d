//! The host's clock: the time, the zone, and what the kernel takes the time from.
//!
//! Invariant: the time is the one that the scrape was given.

use std::path::Path;

use jiff::tz::TimeZone;

use super::config::Settings;
use super::file::{Buffer, Descriptors, Source};
use super::table::{Column, Table};
use super::{Collect, text};

const NOW: Column =
    Column::gauge("node_time_seconds", "System time in seconds since epoch (1970).");
const OFFSET: Column =
    Column::gauge("node_time_zone_offset_seconds", "System time zone offset in seconds.");
const AVAILABLE: usize = 0;
const CURRENT: usize = 1;
const CLOCKSOURCES: &[Column] = &[
    Column::gauge(
        "node_time_clocksource_available_info",
        "Available clocksources read from '/sys/devices/system/clocksource'.",
    ),
    Column::gauge(
        "node_time_clocksource_current_info",
        "Current clocksource read from '/sys/devices/system/clocksource'.",
    ),
];

/// One `clocksourceN` of sysfs.
struct Clocksource {
    device: String,
    available: Source,
    current: Source,
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("devices/system/clocksource");
    let descriptors = settings.descriptors.clone();
    let mut clocksources = None;
    Box::new(move |reading| {
        reading.families.push(NOW.with(reading.now.seconds()));
        let time = jiff::Timestamp::from_millisecond(reading.now.millis()).unwrap_or_default();
        // Reads `/etc/localtime` now and then, in case somebody changes it.
        let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        let zone = zone.to_offset_info(time);
        let mut offset = OFFSET.family();
        let seconds = f64::from(zone.offset().seconds());
        offset.add(&[("time_zone", zone.abbreviation())], seconds);
        reading.families.push(offset);

        // They are there from the start of the kernel on.
        let clocksources = clocksources.get_or_insert_with(|| find(&folder, &descriptors));
        let mut table = Table::new(CLOCKSOURCES);
        for clocksource in clocksources {
            clocksource.add(&mut table, &mut reading.buffer);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

fn find(folder: &Path, descriptors: &Descriptors) -> Vec<Clocksource> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<_> = names
        .filter_map(|name| {
            let device = name.strip_prefix("clocksource")?.to_owned();
            let source = |file| Source::record(folder.join(&name).join(file), descriptors);
            let (available, current) =
                (source("available_clocksource"), source("current_clocksource"));
            Some(Clocksource { device, available, current })
        })
        .collect();
    found.sort_unstable_by(|a, b| a.device.cmp(&b.device));
    found
}

impl Clocksource {
    fn add(&mut self, table: &mut Table, buffer: &mut Buffer) {
        for (column, source) in [(AVAILABLE, &mut self.available), (CURRENT, &mut self.current)] {
            let Ok(names) = source.read(buffer) else { continue };
            for name in text::fields(names) {
                let labels = [("clocksource", &*text::text(name)), ("device", &self.device)];
                table.add(column, &labels, 1.0);
            }
        }
    }
}
