//! Power supplies and batteries.
//!
//! Invariant: an attribute that a supply lacks is left out, as a number and as a label.

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, attributes};

/// What one of a file's numbers is in the unit of its metric.
const ONE: f64 = 1.0;
const TENTH: f64 = 10.0;
const MICRO: f64 = 1e6;

macro_rules! numbers {
    ($($file:literal $unit:ident => $name:literal,)*) => {
        &[$((
            $file,
            $unit,
            Column::gauge(
                concat!("node_power_supply_", $name),
                concat!($name, " value of /sys/class/power_supply/<power_supply>."),
            ),
        ),)*]
    };
}

const NUMBERS: &[(&str, f64, Column)] = numbers! {
    "authentic" ONE => "authentic",
    "calibrate" ONE => "calibrate",
    "capacity" ONE => "capacity",
    "capacity_alert_max" ONE => "capacity_alert_max",
    "capacity_alert_min" ONE => "capacity_alert_min",
    "cycle_count" ONE => "cyclecount",
    "online" ONE => "online",
    "present" ONE => "present",
    "time_to_empty_now" ONE => "time_to_empty_seconds",
    "time_to_full_now" ONE => "time_to_full_seconds",
    "current_boot" MICRO => "current_boot",
    "current_max" MICRO => "current_max",
    "current_now" MICRO => "current_ampere",
    "energy_empty" MICRO => "energy_empty",
    "energy_empty_design" MICRO => "energy_empty_design",
    "energy_full" MICRO => "energy_full",
    "energy_full_design" MICRO => "energy_full_design",
    "energy_now" MICRO => "energy_watthour",
    "voltage_boot" MICRO => "voltage_boot",
    "voltage_max" MICRO => "voltage_max",
    "voltage_max_design" MICRO => "voltage_max_design",
    "voltage_min" MICRO => "voltage_min",
    "voltage_min_design" MICRO => "voltage_min_design",
    "voltage_now" MICRO => "voltage_volt",
    "voltage_ocv" MICRO => "voltage_ocv",
    "charge_control_limit" MICRO => "charge_control_limit",
    "charge_control_limit_max" MICRO => "charge_control_limit_max",
    "charge_counter" MICRO => "charge_counter",
    "charge_empty" MICRO => "charge_empty",
    "charge_empty_design" MICRO => "charge_empty_design",
    "charge_full" MICRO => "charge_full",
    "charge_full_design" MICRO => "charge_full_design",
    "charge_now" MICRO => "charge_ampere",
    "charge_term_current" MICRO => "charge_term_current",
    "constant_charge_current" MICRO => "constant_charge_current",
    "constant_charge_current_max" MICRO => "constant_charge_current_max",
    "constant_charge_voltage" MICRO => "constant_charge_voltage",
    "constant_charge_voltage_max" MICRO => "constant_charge_voltage_max",
    "precharge_current" MICRO => "precharge_current",
    "input_current_limit" MICRO => "input_current_limit",
    "power_now" MICRO => "power_watt",
    "temp" TENTH => "temp_celsius",
    "temp_alert_max" TENTH => "temp_alert_max_celsius",
    "temp_alert_min" TENTH => "temp_alert_min_celsius",
    "temp_ambient" TENTH => "temp_ambient_celsius",
    "temp_ambient_max" TENTH => "temp_ambient_max_celsius",
    "temp_ambient_min" TENTH => "temp_ambient_min_celsius",
    "temp_max" TENTH => "temp_max_celsius",
    "temp_min" TENTH => "temp_min_celsius",
};
const INFO: Column =
    Column::gauge("node_power_supply_info", "info of /sys/class/power_supply/<power_supply>.");
const TEXTS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/power_supply");
    let mut columns: Vec<_> = NUMBERS.iter().map(|(.., column)| *column).collect();
    columns.push(INFO);
    Box::new(move |reading| {
        let buffer = &mut reading.buffer;
        let mut table = Table::new(&columns);
        for name in attributes::names(&folder)? {
            let supply = folder.join(&name);
            let label = [("power_supply", name.as_str())];
            // One listing in place of fifty attempts: a driver has a dozen of them.
            let files = attributes::names_if_there(&supply).unwrap_or_default();
            let has = |file: &str| files.binary_search_by(|known| known.as_str().cmp(file)).is_ok();
            for (column, (file, unit, _)) in NUMBERS.iter().enumerate() {
                if has(file)
                    && let Some(number) = attributes::number_of(&supply.join(file), buffer)
                {
                    table.add(column, &label, number / unit);
                }
            }
            let texts: Vec<_> = TEXTS
                .into_iter()
                .filter(|file| has(file))
                .filter_map(|file| Some((file, attributes::text_of(&supply.join(file), buffer)?)))
                .filter(|(_, text)| !text.is_empty())
                .collect();
            let mut labels = label.to_vec();
            labels.extend(texts.iter().map(|(file, text)| (*file, text.as_str())));
            table.add(NUMBERS.len(), &labels, 1.0);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
