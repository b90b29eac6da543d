//! Software RAID: how many disks an array has and needs, and whether it is being rebuilt.
//!
//! Invariant: an array whose lines are malformed is told, and costs no other one.

use std::path::Path;

use super::config::Settings;
use super::file::{Buffer, read_once};
use super::table::{Column, Table};
use super::{Collect, CollectError, attributes};

const BLOCKS: usize = 0;
const SYNCED: usize = 1;
const DISKS: usize = 2;
const REQUIRED: usize = 3;
const STATE: usize = 4;
const RAID_DISKS: usize = 5;
const DEGRADED: usize = 6;
const COLUMNS: [Column; 7] = [
    Column::gauge("node_md_blocks", "Total number of blocks on device."),
    Column::gauge("node_md_blocks_synced", "Number of blocks synced on device."),
    Column::gauge("node_md_disks", "Number of active/failed/spare disks of device."),
    Column::gauge("node_md_disks_required", "Total number of disks of device."),
    Column::gauge("node_md_state", "Indicates the state of md-device."),
    Column::gauge("node_md_raid_disks", "Number of raid disks on device."),
    Column::gauge("node_md_degraded", "Number of degraded disks on device."),
];
/// What an array can be.
const STATES: [&str; 5] = ["active", "inactive", "recovering", "resync", "check"];

/// An array as `/proc/mdstat` tells of it.
#[derive(Debug, Default, PartialEq)]
struct Array {
    name: String,
    state: &'static str,
    active: u64,
    failed: u64,
    spare: u64,
    required: u64,
    blocks: u64,
    synced: u64,
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("mdstat");
    let block = settings.paths.sysfs.join("block");
    Box::new(move |reading| {
        let mdstat = String::from_utf8_lossy(read_once(&path, &mut reading.buffer)?).into_owned();
        let mut table = Table::new(&COLUMNS);
        let mut malformed = None;
        for array in arrays(&mdstat) {
            match array {
                Ok(array) => add(&mut table, &array),
                Err(line) => malformed = Some(line.to_owned()),
            }
        }
        add_sysfs(&mut table, &block, &mut reading.buffer);
        reading.families.extend(table.into_families());
        match malformed {
            Some(line) => Err(CollectError::Malformed {
                path: path.clone(),
                what: format!("what follows `{line}`"),
            }),
            None => Ok(()),
        }
    })
}

fn add(table: &mut Table, array: &Array) {
    let device = ("device", array.name.as_str());
    table.add(BLOCKS, &[device], array.blocks as f64);
    table.add(SYNCED, &[device], array.synced as f64);
    table.add(REQUIRED, &[device], array.required as f64);
    let disks = [("active", array.active), ("failed", array.failed), ("spare", array.spare)];
    for (state, count) in disks {
        table.add(DISKS, &[device, ("state", state)], count as f64);
    }
    for state in STATES {
        let value = f64::from(u8::from(state == array.state));
        table.add(STATE, &[device, ("state", state)], value);
    }
}

/// What sysfs tells of the arrays besides.
fn add_sysfs(table: &mut Table, block: &Path, buffer: &mut Buffer) {
    let devices = attributes::names_if_there(block).unwrap_or_default();
    for device in devices.iter().filter(|device| device.starts_with("md")) {
        let path = block.join(device).join("md");
        if let Some(disks) = attributes::number_of(&path.join("raid_disks"), buffer) {
            // Kinds without redundancy are never degraded and have no such file.
            let degraded = attributes::number_of(&path.join("degraded"), buffer).unwrap_or(0.0);
            table.add(RAID_DISKS, &[("device", device)], disks);
            table.add(DEGRADED, &[("device", device)], degraded);
        }
    }
}

/// The arrays, or the first line of one that makes no sense.
fn arrays(mdstat: &str) -> impl Iterator<Item = Result<Array, &str>> {
    let lines: Vec<&str> = mdstat.lines().collect();
    let heads = (0..lines.len()).filter_map(move |at| {
        let head = lines[at];
        let begins = head.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !head.starts_with("Personalities")
            && !head.starts_with("unused devices");
        let rest: Vec<&str> = lines[at + 1..]
            .iter()
            .copied()
            .take_while(|line| line.starts_with([' ', '\t']))
            .collect();
        begins.then(|| array(head, &rest).ok_or(head))
    });
    heads.collect::<Vec<_>>().into_iter()
}

/// `md0 : active raid1 sda1[0] sdb1[1]` and the lines below it.
fn array(head: &str, rest: &[&str]) -> Option<Array> {
    let fields: Vec<_> = head.split_ascii_whitespace().collect();
    let &[name, ":", state, ..] = &fields[..] else { return None };
    let sizes = rest.first()?;
    let blocks = sizes.split_ascii_whitespace().next()?.parse().ok()?;
    let disks = fields.iter().filter(|field| field.contains('[')).count() as u64;
    let (required, active) = if state == "inactive" {
        (0, 0)
    } else if fields.contains(&"raid0") || fields.contains(&"linear") {
        (disks, disks)
    } else {
        needed(sizes)?
    };
    let state = match state {
        "active" => "active",
        "inactive" => "inactive",
        _ => return None,
    };
    let mut array = Array {
        name: name.to_owned(),
        state,
        active,
        required,
        failed: head.matches("(F)").count() as u64,
        spare: head.matches("(S)").count() as u64,
        blocks,
        synced: blocks,
    };
    let works = [("recovery", "recovering"), ("resync", "resync"), ("check", "check")];
    for line in rest.iter().skip(1) {
        if let Some((_, state)) = works.iter().find(|(work, _)| line.contains(work)) {
            array.state = state;
            let waits = line.contains("PENDING") || line.contains("DELAYED");
            array.synced = if waits { 0 } else { done(line)? };
        } else if line.contains("reshape") {
            array.state = "reshaping";
            array.synced = done(line).unwrap_or(0);
        }
    }
    Some(array)
}

/// The numbers of `[4/3]`.
fn needed(line: &str) -> Option<(u64, u64)> {
    let parts = line.split('[').skip(1);
    parts
        .filter_map(|part| part.split_once(']')?.0.split_once('/'))
        .find_map(|(all, active)| Some((all.parse().ok()?, active.parse().ok()?)))
}

/// The first number of `(16775552/195310144)`.
fn done(line: &str) -> Option<u64> {
    line.split_once('(')?.1.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_arrays_and_tells_those_that_make_no_sense() {
        let text = "Personalities : [raid1]\nmd1 : active raid1 sdb2[2](F) sdc[1](S) sda2[0]\n   \
                    195310144 blocks [2/1] [U_]\n   [=>..]  recovery =  8.5% (16775552/195310144)\n\
                    md2 : broken\n\nmd3 : active raid1 a[0]\n  x blocks\nunused devices: <none>\n";
        let got: Vec<_> = arrays(text).collect();
        let array = Array {
            name: "md1".to_owned(),
            state: "recovering",
            active: 1,
            failed: 1,
            spare: 1,
            required: 2,
            blocks: 195_310_144,
            synced: 16_775_552,
        };
        assert_eq!(got, [Ok(array), Err("md2 : broken"), Err("md3 : active raid1 a[0]")]);
    }
}
