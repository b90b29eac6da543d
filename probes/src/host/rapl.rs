//! The energy that parts of the processor have used, by their own meters.
//!
//! Invariant: a zone without a meter is passed over; one that only root may read is told.

use std::collections::HashMap;

use base::family::MetricFamily;

use super::config::Settings;
use super::file::read_once;
use super::{Collect, CollectError, attributes, text};

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/powercap");
    Box::new(move |reading| {
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut families: Vec<MetricFamily> = Vec::new();
        let mut result = Ok(());
        for entry in attributes::names(&folder)? {
            let zone = folder.join(&entry);
            let Some(name) = attributes::text_of(&zone.join("name"), &mut reading.buffer) else {
                continue;
            };
            let energy = match read_once(&zone.join("energy_uj"), &mut reading.buffer) {
                Ok(energy) => text::value(energy.trim_ascii()),
                Err(error @ CollectError::Unreadable { .. }) => {
                    result = Err(error);
                    continue;
                }
                Err(_) => continue,
            };
            let Some(microjoules) = energy else { continue };
            let (name, index) = numbered(&name, &mut seen);
            let family = format!("node_rapl_{}_joules_total", sanitized(&name));
            let path = zone.to_string_lossy();
            let labels = [("index", index.as_str()), ("path", &*path)];
            let place = families.iter().position(|known| known.name == family);
            let place = place.unwrap_or_else(|| {
                let help = format!("Current RAPL {name} value in joules");
                families.push(MetricFamily::counter(family, help));
                families.len() - 1
            });
            families[place].add(&labels, microjoules / 1e6);
        }
        reading.families.append(&mut families);
        result
    })
}

/// A zone's name and its number: `package-1` tells it, others are counted.
fn numbered(name: &str, seen: &mut HashMap<String, u32>) -> (String, String) {
    if let Some((name, number)) = name.rsplit_once('-')
        && number.parse::<u32>().is_ok()
    {
        return (name.to_owned(), number.to_owned());
    }
    let count = seen.entry(name.to_owned()).or_default();
    *count += 1;
    (name.to_owned(), (*count - 1).to_string())
}

/// The name as a part of a metric's name.
fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_tell_their_number_or_are_counted() {
        let mut seen = HashMap::new();
        let mut check = |name: &str, expected: (&str, &str)| {
            let (got, number) = numbered(name, &mut seen);
            assert_eq!((got.as_str(), number.as_str()), expected);
        };
        check("package-1", ("package", "1"));
        check("core", ("core", "0"));
        check("core", ("core", "1"));
        check("psys", ("psys", "0"));
        assert_eq!(sanitized("package-die x"), "package_die_x");
    }
}
