//! Watchdog timers: who would restart the machine, and how soon.
//!
//! Invariant: an attribute that a driver lacks is left out, or empty where it is a label.

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, attributes};

const NUMBERS: [(&str, Column); 7] = [
    (
        "access_cs0",
        Column::gauge(
            "node_watchdog_access_cs0",
            "Value of /sys/class/watchdog/<watchdog>/access_cs0",
        ),
    ),
    (
        "bootstatus",
        Column::gauge(
            "node_watchdog_bootstatus",
            "Value of /sys/class/watchdog/<watchdog>/bootstatus",
        ),
    ),
    (
        "fw_version",
        Column::gauge(
            "node_watchdog_fw_version",
            "Value of /sys/class/watchdog/<watchdog>/fw_version",
        ),
    ),
    (
        "nowayout",
        Column::gauge("node_watchdog_nowayout", "Value of /sys/class/watchdog/<watchdog>/nowayout"),
    ),
    (
        "pretimeout",
        Column::gauge(
            "node_watchdog_pretimeout_seconds",
            "Value of /sys/class/watchdog/<watchdog>/pretimeout",
        ),
    ),
    (
        "timeleft",
        Column::gauge(
            "node_watchdog_timeleft_seconds",
            "Value of /sys/class/watchdog/<watchdog>/timeleft",
        ),
    ),
    (
        "timeout",
        Column::gauge(
            "node_watchdog_timeout_seconds",
            "Value of /sys/class/watchdog/<watchdog>/timeout",
        ),
    ),
];
const INFO: Column = Column::gauge("node_watchdog_info", "Info of /sys/class/watchdog/<watchdog>");
const TEXTS: [&str; 5] = ["identity", "options", "pretimeout_governor", "state", "status"];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/watchdog");
    let mut columns: Vec<_> = NUMBERS.iter().map(|(_, column)| *column).collect();
    columns.push(INFO);
    Box::new(move |reading| {
        let mut table = Table::new(&columns);
        for name in attributes::names_if_there(&folder)? {
            let device = folder.join(&name);
            for (column, (file, _)) in NUMBERS.iter().enumerate() {
                let number = attributes::number_of(&device.join(file), &mut reading.buffer);
                if let Some(number) = number {
                    table.add(column, &[("name", &name)], number);
                }
            }
            let texts = TEXTS.map(|file| {
                attributes::text_of(&device.join(file), &mut reading.buffer).unwrap_or_default()
            });
            let mut labels = vec![("name", name.as_str())];
            labels.extend(TEXTS.into_iter().zip(texts.iter().map(String::as_str)));
            table.add(NUMBERS.len(), &labels, 1.0);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
