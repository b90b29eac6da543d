//! Temperatures, and how far cooling devices are turned up.
//!
//! Invariant: a zone that cannot be read now is left out; others are not.

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, attributes};

const TEMPERATURE: usize = 0;
const CURRENT: usize = 1;
const MOST: usize = 2;
const COLUMNS: [Column; 3] = [
    Column::gauge("node_thermal_zone_temp", "Zone temperature in Celsius"),
    Column::gauge("node_cooling_device_cur_state", "Current throttle state of the cooling device"),
    Column::gauge("node_cooling_device_max_state", "Maximum throttle state of the cooling device"),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/thermal");
    Box::new(move |reading| {
        let buffer = &mut reading.buffer;
        let names = attributes::names_if_there(&folder)?;
        let mut table = Table::new(&COLUMNS);
        for (name, zone) in attributes::numbered(&names, "thermal_zone") {
            let kind = attributes::text_of(&folder.join(name).join("type"), buffer);
            let millidegrees = attributes::number_of(&folder.join(name).join("temp"), buffer);
            if let (Some(kind), Some(millidegrees)) = (kind, millidegrees) {
                let labels = [("type", kind.as_str()), ("zone", zone)];
                table.add(TEMPERATURE, &labels, millidegrees / 1000.0);
            }
        }
        for (name, device) in attributes::numbered(&names, "cooling_device") {
            let Some(kind) = attributes::text_of(&folder.join(name).join("type"), buffer) else {
                continue;
            };
            for (column, file) in [(CURRENT, "cur_state"), (MOST, "max_state")] {
                if let Some(state) = attributes::number_of(&folder.join(name).join(file), buffer) {
                    table.add(column, &[("name", device), ("type", &kind)], state);
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
