//! What every unit of systemd and every container takes: CPU, memory, I/O, by its control group.
//!
//! A group that is a unit (`nginx.service`, `docker-0123.scope`) is shown as a whole, with all below
//! it; the folders above it (slices) are only walked through.
//!
//! Invariant: walks through [`MOST_FOLDERS`] at most and shows [`MOST_GROUPS`]; how many were left
//! out is told.

use std::path::Path;

use super::config::Settings;
use super::file::{Buffer, read_once};
use super::table::{Column, Table};
use super::{Collect, CollectError, attributes, text};

const MOST_GROUPS: usize = 1000;
const MOST_FOLDERS: usize = 10_000;
/// How deep units lie: `kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope` and one more.
const DEEPEST: usize = 8;

const CPU_USER: usize = 0;
const CPU_SYSTEM: usize = 1;
const THROTTLED: usize = 2;
const MEMORY: usize = 3;
const MEMORY_LIMIT: usize = 4;
const OOM_KILLS: usize = 5;
const READ_BYTES: usize = 6;
const WRITTEN_BYTES: usize = 7;
const READS: usize = 8;
const WRITES: usize = 9;
const TASKS: usize = 10;
const COLUMNS: [Column; 11] = [
    Column::counter("veilleur_cgroup_cpu_user_seconds_total", "CPU time of programs."),
    Column::counter("veilleur_cgroup_cpu_system_seconds_total", "CPU time of the kernel for them."),
    Column::counter(
        "veilleur_cgroup_cpu_throttled_seconds_total",
        "Time in which a group was held back because it had used up its share.",
    ),
    Column::gauge("veilleur_cgroup_memory_bytes", "Memory in use, the page cache included."),
    Column::gauge("veilleur_cgroup_memory_limit_bytes", "The most memory a group may use."),
    Column::counter("veilleur_cgroup_oom_kills_total", "Processes killed for want of memory."),
    Column::counter("veilleur_cgroup_io_read_bytes_total", "Bytes read from block devices."),
    Column::counter("veilleur_cgroup_io_written_bytes_total", "Bytes written to block devices."),
    Column::counter("veilleur_cgroup_io_reads_total", "Reads from block devices."),
    Column::counter("veilleur_cgroup_io_writes_total", "Writes to block devices."),
    Column::gauge("veilleur_cgroup_tasks", "Processes and threads."),
];
const LEFT_OUT: Column = Column::gauge(
    "veilleur_cgroup_left_out",
    "Groups that are not shown because there are too many.",
);

pub(super) fn collector(settings: &Settings) -> Collect {
    let root = settings.paths.sysfs.join("fs/cgroup");
    Box::new(move |reading| {
        // Version 1 has no such file, and nothing that is worth as much.
        let controllers = root.join("cgroup.controllers");
        if !controllers.exists() {
            return Err(CollectError::Absent(controllers));
        }
        let mut walk = Walk { groups: Vec::new(), left_out: 0, folders: 0 };
        walk.down(&root, "", 0);
        let mut table = Table::new(&COLUMNS);
        for group in &walk.groups {
            add(&mut table, &root.join(&group[1..]), group, &mut reading.buffer);
        }
        reading.families.extend(table.into_families());
        reading.families.push(LEFT_OUT.with(walk.left_out as f64));
        Ok(())
    })
}

struct Walk {
    /// The groups by their paths, which begin with a slash.
    groups: Vec<String>,
    left_out: usize,
    folders: usize,
}

impl Walk {
    fn down(&mut self, folder: &Path, path: &str, depth: usize) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        for name in names {
            self.folders += 1;
            let below = format!("{path}/{name}");
            if is_unit(path, &name) {
                if self.groups.len() < MOST_GROUPS {
                    self.groups.push(below);
                } else {
                    self.left_out += 1;
                }
            } else if depth < DEEPEST && self.folders < MOST_FOLDERS {
                self.down(&folder.join(name), &below, depth + 1);
            } else {
                self.left_out += 1;
            }
        }
    }
}

/// Whether a group is a unit or a container and not a folder of such.
fn is_unit(parent: &str, name: &str) -> bool {
    const SUFFIXES: [&str; 6] = [".service", ".scope", ".socket", ".mount", ".swap", ".timer"];
    // Without systemd, containers lie in a folder of their runtime.
    const RUNTIMES: [&str; 3] = ["/docker", "/lxc", "/podman"];
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || name.starts_with("lxc.payload.")
        || container(name).is_some()
        || RUNTIMES.contains(&parent)
}

/// The short id of the container that a group is for: the first 12 of 64 digits in its name.
fn container(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let id = stem.rsplit(['-', ':']).next()?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { id.get(..12) } else { name.strip_prefix("lxc.payload.") }
}

fn add(table: &mut Table, folder: &Path, group: &str, buffer: &mut Buffer) {
    let name = group.rsplit('/').next().unwrap_or(group);
    let labels = [("cgroup", group), ("container", container(name).unwrap_or("")), ("unit", name)];
    let mut put = |column, value: Option<f64>| {
        if let Some(value) = value {
            table.add(column, &labels, value);
        }
    };
    if let Ok(cpu) = read_once(&folder.join("cpu.stat"), buffer) {
        put(CPU_USER, named(cpu, b"user_usec").map(|value| value / 1e6));
        put(CPU_SYSTEM, named(cpu, b"system_usec").map(|value| value / 1e6));
        put(THROTTLED, named(cpu, b"throttled_usec").map(|value| value / 1e6));
    }
    put(MEMORY, attributes::number_of(&folder.join("memory.current"), buffer));
    // Without a limit it says `max`, which is no number.
    put(MEMORY_LIMIT, attributes::number_of(&folder.join("memory.max"), buffer));
    if let Ok(events) = read_once(&folder.join("memory.events"), buffer) {
        put(OOM_KILLS, named(events, b"oom_kill"));
    }
    if let Ok(io) = read_once(&folder.join("io.stat"), buffer) {
        for (column, field) in [
            (READ_BYTES, &b"rbytes="[..]),
            (WRITTEN_BYTES, b"wbytes="),
            (READS, b"rios="),
            (WRITES, b"wios="),
        ] {
            // A line a device.
            let all = text::fields(io).filter_map(|part| text::value(part.strip_prefix(field)?));
            put(column, Some(all.sum()));
        }
    }
    put(TASKS, attributes::number_of(&folder.join("pids.current"), buffer));
}

/// The number on the line that begins with `name`.
fn named(content: &[u8], name: &[u8]) -> Option<f64> {
    let mut lines = text::lines(content).map(text::fields);
    let mut fields =
        lines.find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.next().and_then(text::value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers_are_shown_and_slices_are_not() {
        let id = "0123456789abcdef".repeat(4);
        for (parent, name, unit, short) in [
            ("/system.slice", "nginx.service", true, None),
            ("", "system.slice", false, None),
            ("/system.slice", &*format!("docker-{id}.scope"), true, Some("0123456789ab")),
            ("/docker", &id, true, Some("0123456789ab")),
            ("/x", &format!("cri-containerd-{id}.scope"), true, Some("0123456789ab")),
            ("", "lxc.payload.web", true, Some("web")),
            ("/lxc", "web", true, None),
            ("/kubepods.slice", "kubepods-besteffort.slice", false, None),
        ] {
            assert_eq!((is_unit(parent, name), container(name)), (unit, short), "{name}");
        }
    }
}
