//! Sensors: temperatures, fans, voltages, power.
//!
//! A chip is a folder whose files are `TYPE NUMBER _ PROPERTY`: `temp1_crit`. What a driver lists but
//! cannot read now is left out.
//!
//! Invariant: names, units and help are made as node_exporter makes them.

use std::collections::BTreeMap;
use std::path::Path;

use base::family::{MetricFamily, MetricKind};

use super::config::Settings;
use super::file::Buffer;
use super::table::{Column, Table};
use super::{Collect, attributes};

const NAMES: Column =
    Column::gauge("node_hwmon_chip_names", "Annotation metric for human-readable chip names");
const LABEL: Column = Column::gauge("node_hwmon_sensor_label", "Label for given chip and sensor");
const TYPES: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// The sensors of a chip by name, each with its properties.
type Sensors = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/hwmon");
    Box::new(move |reading| {
        let mut table = Table::new(&[NAMES, LABEL]);
        let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for entry in attributes::names(&folder)? {
            let path = folder.join(&entry);
            let mut sensors = Sensors::new();
            read(&path, &mut sensors, &mut reading.buffer);
            // Old drivers have their files with the device.
            read(&path.join("device"), &mut sensors, &mut reading.buffer);
            let name = attributes::text_of(&path.join("name"), &mut reading.buffer);
            let name = name.map(|name| cleaned(&name)).filter(|name| !name.is_empty());
            let chip = chip(&path).or_else(|| name.clone()).unwrap_or(entry);
            if let Some(name) = name {
                table.add(0, &[("chip", &chip), ("chip_name", &name)], 1.0);
            }
            for (sensor, properties) in &sensors {
                if let Some(label) = properties.get("label") {
                    let labels = [("chip", chip.as_str()), ("label", label), ("sensor", sensor)];
                    table.add(1, &labels, 1.0);
                }
                for found in values(sensor, properties) {
                    let new = || MetricFamily::new(found.name.clone(), found.help, found.kind);
                    let family = families.entry(found.name.clone()).or_insert_with(new);
                    family.add(&[("chip", &chip), ("sensor", &found.sensor)], found.value);
                }
            }
        }
        reading.families.extend(table.into_families());
        reading.families.extend(families.into_values());
        Ok(())
    })
}

/// The name of the device that the chip belongs to, with its bus: `platform_coretemp_0`.
fn chip(path: &Path) -> Option<String> {
    let device = std::fs::canonicalize(path.join("device")).ok()?;
    let name = cleaned(&device.file_name()?.to_string_lossy());
    let bus = device.parent().and_then(Path::file_name).map(|bus| cleaned(&bus.to_string_lossy()));
    match (name.is_empty(), bus.filter(|bus| !bus.is_empty())) {
        (true, _) => None,
        (false, Some(bus)) => Some(format!("{bus}_{name}")),
        (false, None) => Some(name),
    }
}

/// Adds the sensors that have files in `folder`.
fn read(folder: &Path, sensors: &mut Sensors, buffer: &mut Buffer) {
    for file in attributes::names_if_there(folder).unwrap_or_default() {
        let Some((sensor, property)) = parts(&file) else { continue };
        if let Some(text) = attributes::text_of(&folder.join(&file), buffer) {
            sensors.entry(sensor.to_owned()).or_default().insert(property.to_owned(), text);
        }
    }
}

/// The sensor and the property that a file is for.
fn parts(file: &str) -> Option<(&str, &str)> {
    let digits = file.find(|c: char| c.is_ascii_digit()).unwrap_or(file.len());
    if !TYPES.contains(&&file[..digits]) {
        return None;
    }
    let number = file[digits..].trim_start_matches(|c: char| c.is_ascii_digit());
    let sensor = &file[..file.len() - number.len()];
    if number.is_empty() { Some((sensor, "")) } else { Some((sensor, number.strip_prefix('_')?)) }
}

/// A text as a part of a name: letters in lower case, digits, `_` and `:`.
fn cleaned(text: &str) -> String {
    let text = text.to_lowercase();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':');
    let text: String = text.chars().map(|c| if good(c) { c } else { '_' }).collect();
    text.trim_matches('_').to_owned()
}

/// A sample of a sensor.
struct Found {
    name: String,
    help: String,
    kind: MetricKind,
    sensor: String,
    value: f64,
}

fn values(sensor: &str, properties: &BTreeMap<String, String>) -> Vec<Found> {
    let kind = sensor.trim_end_matches(|c: char| c.is_ascii_digit());
    let found = |name: String, help: String, value: f64| Found {
        name,
        help,
        kind: MetricKind::Gauge,
        sensor: sensor.to_owned(),
        value,
    };
    let plain = properties.get("").and_then(|text| number(text));
    let whole = match kind {
        "beep_enable" => Some(("beep_enabled", "Hardware beep enabled", 1.0)),
        "vrm" => Some(("voltage_regulator_version", "Hardware voltage regulator", 1.0)),
        "update_interval" => {
            Some(("update_interval_seconds", "Hardware monitor update interval", 1000.0))
        }
        _ => None,
    };
    if let Some((name, help, unit)) = whole {
        let sample = |value| found(format!("node_hwmon_{name}"), help.to_owned(), value / unit);
        return plain.map(sample).into_iter().collect();
    }
    let elements = properties.iter().filter(|(element, _)| *element != "label");
    let samples = elements.filter_map(|(element, text)| {
        let value = number(text)?;
        let mut name = format!("node_hwmon_{kind}");
        if element == "input" {
            // Where there is a file without a property, that one is the value.
            if properties.contains_key("") {
                name.push_str("_input");
            }
        } else if !element.is_empty() {
            name = format!("{name}_{}", cleaned(element));
        }
        let (suffix, help, unit) = meaning(kind, element);
        let mut sample = found(format!("{name}{suffix}"), help, value / unit);
        if kind == "energy" && suffix == "_joule_total" {
            sample.kind = MetricKind::Counter;
        }
        if suffix == "_freq_mhz" {
            // A frequency is shown by what it is the frequency of.
            sample.sensor = cleaned(properties.get("label")?);
        }
        Some(sample)
    });
    samples.collect()
}

/// What follows the name, the help, and what one of the number is in the unit of the metric.
fn meaning(kind: &str, element: &str) -> (&'static str, String, f64) {
    let what = if kind == "temp" && element.is_empty() { "input" } else { element };
    let monitor = |text: &str| format!("Hardware monitor for {text} ({what})");
    match (kind, element) {
        (_, "fault" | "alarm") => ("", format!("Hardware sensor {element} status ({kind})"), 1.0),
        (_, "beep") => ("_enabled", "Hardware monitor sensor has beeping enabled".to_owned(), 1.0),
        ("in" | "cpu", _) => ("_volts", monitor("voltage"), 1000.0),
        ("temp", element) if element != "type" => ("_celsius", monitor("temperature"), 1000.0),
        ("curr", _) => ("_amps", monitor("current"), 1000.0),
        ("energy", _) => ("_joule_total", monitor("joules used so far"), 1e6),
        ("power", "accuracy") => {
            ("", "Hardware monitor power meter accuracy, as a ratio".to_owned(), 1e6)
        }
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            let help = format!("Hardware monitor power usage update interval ({element})");
            ("_seconds", help, 1000.0)
        }
        ("power", _) => ("_watt", monitor("power usage in watts"), 1e6),
        ("humidity", _) => {
            let ratio = "humidity, as a ratio (multiply with 100.0 to get the humidity as a \
                         percentage)";
            ("", monitor(ratio), 1e6)
        }
        ("fan", "input" | "min" | "max" | "target") => {
            ("_rpm", monitor("fan revolutions per minute"), 1.0)
        }
        ("freq", "input") => {
            ("_freq_mhz", "Hardware monitor for GPU frequency in MHz".to_owned(), 1e6)
        }
        _ => ("", format!("Hardware monitor {kind} element {element}"), 1.0),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_a_sensor_and_its_property() {
        for (file, expected) in [
            ("temp1_crit_alarm", Some(("temp1", "crit_alarm"))),
            ("pwm1", Some(("pwm1", ""))),
            ("pwm1_auto_point1_pwm", Some(("pwm1", "auto_point1_pwm"))),
            ("beep_enable", Some(("beep_enable", ""))),
            ("in0_input", Some(("in0", "input"))),
            ("temp1x", None),
            ("uevent", None),
            ("name", None),
        ] {
            assert_eq!(parts(file), expected, "{file}");
        }
    }

    #[test]
    fn values_have_the_units_of_their_kind() {
        let check = |sensor: &str, files: &[(&str, &str)], expected: &[(&str, f64)]| {
            let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            let found = values(sensor, &files.collect());
            let got: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.value)).collect();
            assert_eq!(got, expected, "{sensor}");
        };
        check(
            "temp1",
            &[("input", "55000"), ("label", "x"), ("max", "y")],
            &[("node_hwmon_temp_celsius", 55.0)],
        );
        check(
            "fan2",
            &[("input", "1098"), ("alarm", "0")],
            &[("node_hwmon_fan_alarm", 0.0), ("node_hwmon_fan_rpm", 1098.0)],
        );
        check("power1", &[("average", "7000000")], &[("node_hwmon_power_average_watt", 7.0)]);
        check("beep_enable", &[("", "1")], &[("node_hwmon_beep_enabled", 1.0)]);
        check(
            "freq1",
            &[("input", "214000000"), ("label", "sclk")],
            &[("node_hwmon_freq_freq_mhz", 214.0)],
        );
        check("freq1", &[("input", "214000000")], &[]);
    }
}
