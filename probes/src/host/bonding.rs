//! Bonded network devices: how many parts they have, and how many of those work.
//!
//! Invariant: a part whose state nobody tells does not count as working.

use super::config::Settings;
use super::file::read_once;
use super::table::{Column, Table};
use super::{Collect, attributes, text};

const SLAVES: usize = 0;
const ACTIVE: usize = 1;
const COLUMNS: [Column; 2] = [
    Column::gauge("node_bonding_slaves", "Number of configured slaves per bonding interface."),
    Column::gauge("node_bonding_active", "Number of active slaves per bonding interface."),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/net");
    let list = folder.join("bonding_masters");
    Box::new(move |reading| {
        let words = |bytes: &[u8]| -> Vec<String> {
            text::fields(bytes).map(|name| text::text(name).into_owned()).collect()
        };
        let masters = words(read_once(&list, &mut reading.buffer)?);
        let mut table = Table::new(&COLUMNS);
        for master in masters {
            let path = folder.join(&master);
            let slaves = read_once(&path.join("bonding/slaves"), &mut reading.buffer);
            let slaves = words(slaves.unwrap_or_default());
            let active = slaves.iter().filter(|slave| {
                ["lower", "slave"].iter().any(|kind| {
                    let state = path.join(format!("{kind}_{slave}/bonding_slave/mii_status"));
                    attributes::text_of(&state, &mut reading.buffer).as_deref() == Some("up")
                })
            });
            let active = active.count();
            let label = [("master", master.as_str())];
            table.add(SLAVES, &label, slaves.len() as f64);
            table.add(ACTIVE, &label, active as f64);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
