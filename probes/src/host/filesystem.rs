//! How full the filesystems are.
//!
//! ```text
//! mountinfo ──▶ mounts ──┬─ on this host's own disks ──▶ statvfs, here and now
//!                        └─ that could hang ──▶ Asker: statvfs on a thread, with a time limit
//! ```
//!
//! Invariant: a mount that does not answer shows `node_filesystem_device_error` 1 and no size, and
//! delays a scrape once, by the configured time at most.

mod mounts;

use std::path::PathBuf;

use rustix::fs::StatVfs;
use rustix::io::Errno;

use super::ask::Asker;
use super::config::Settings;
use super::file::Source;
use super::table::{Column, Table};
use super::{Collect, CollectError};
use mounts::{Mount, Mounts};

const SIZE: usize = 0;
const FREE: usize = 1;
const AVAILABLE: usize = 2;
const FILES: usize = 3;
const FILES_FREE: usize = 4;
const PURGEABLE: usize = 5;
const READ_ONLY: usize = 6;
const ERROR: usize = 7;
const MOUNT: usize = 8;
const COLUMNS: &[Column] = &[
    Column::gauge("node_filesystem_size_bytes", "Filesystem size in bytes."),
    Column::gauge("node_filesystem_free_bytes", "Filesystem free space in bytes."),
    Column::gauge(
        "node_filesystem_avail_bytes",
        "Filesystem space available to non-root users in bytes.",
    ),
    Column::gauge("node_filesystem_files", "Filesystem total file nodes."),
    Column::gauge("node_filesystem_files_free", "Filesystem total free file nodes."),
    // A notion of macOS only, but node_exporter shows it everywhere.
    Column::gauge(
        "node_filesystem_purgeable_bytes",
        "Filesystem space available including purgeable space (MacOS specific).",
    ),
    Column::gauge("node_filesystem_readonly", "Filesystem read-only status."),
    Column::gauge(
        "node_filesystem_device_error",
        "Whether an error occurred while getting statistics for the given device.",
    ),
    Column::gauge("node_filesystem_mount_info", "Filesystem mount information."),
];

/// What `device_error` says of a mount that does not answer.
const TIMEOUT: &str = "mountpoint timeout";

pub(super) fn collector(settings: &Settings) -> Collect {
    let source = |process: &str| {
        let path = settings.paths.procfs.join(process).join("mountinfo");
        Source::records(path, &settings.descriptors)
    };
    // The first process sees the host's mounts, we perhaps only those of a sandbox; but it may be
    // hidden from us.
    let (mut first, mut own) = (source("1"), source("self"));
    let mut mounts = Mounts::new(settings);
    let asker =
        Asker::new(settings.mount_timeout.duration(), |path: &PathBuf| rustix::fs::statvfs(path));
    Box::new(move |reading| {
        let mut source = &mut first;
        let mut read = source.read(&mut reading.buffer).map(<[u8]>::len);
        if read.is_err() {
            source = &mut own;
            read = source.read(&mut reading.buffer).map(<[u8]>::len);
        }
        let malformed = mounts.update(reading.buffer.first(read?));
        let answers = asker.ask(mounts.iter().filter(|m| m.may_hang).map(|m| &m.path));
        let mut table = Table::new(COLUMNS);
        for mount in mounts.iter() {
            let here;
            let answer = if mount.may_hang {
                answers.get(&mount.path)
            } else {
                here = rustix::fs::statvfs(&mount.path);
                Some(&here)
            };
            match answer {
                Some(Ok(found)) => add(&mut table, mount, found),
                Some(Err(error)) => add_error(&mut table, mount, &error_text(*error)),
                None => add_error(&mut table, mount, TIMEOUT),
            }
        }
        reading.families.extend(table.into_families());
        match malformed {
            Some(line) => Err(CollectError::Malformed { path: source.path().into(), what: line }),
            None => Ok(()),
        }
    })
}

fn add(table: &mut Table, mount: &Mount, found: &StatVfs) {
    let labels = labels(mount, "");
    let bytes = |blocks: u64| blocks as f64 * found.f_frsize as f64;
    for (column, value) in [
        (SIZE, bytes(found.f_blocks)),
        (FREE, bytes(found.f_bfree)),
        (AVAILABLE, bytes(found.f_bavail)),
        (FILES, found.f_files as f64),
        (FILES_FREE, found.f_ffree as f64),
        (PURGEABLE, 0.0),
        (READ_ONLY, f64::from(u8::from(mount.read_only))),
        (ERROR, 0.0),
    ] {
        table.add(column, &labels, value);
    }
    let labels = [
        ("device", mount.device.as_str()),
        ("major", &mount.major),
        ("minor", &mount.minor),
        ("mountpoint", &mount.point),
    ];
    table.add(MOUNT, &labels, 1.0);
}

fn add_error(table: &mut Table, mount: &Mount, error: &str) {
    let labels = labels(mount, error);
    table.add(ERROR, &labels, 1.0);
    table.add(READ_ONLY, &labels, f64::from(u8::from(mount.read_only)));
}

fn labels<'a>(mount: &'a Mount, error: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("device", &mount.device),
        ("device_error", error),
        ("fstype", &mount.kind),
        ("mountpoint", &mount.point),
    ]
}

/// The system's text of an error as node_exporter, being written in Go, shows it.
fn error_text(error: Errno) -> String {
    if error == Errno::STALE {
        return "stale NFS file handle".to_owned();
    }
    let text = std::io::Error::from(error).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |l| l.to_lowercase().collect()) + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_node_exporter_shows_them() {
        let check = |error, text| assert_eq!(error_text(error), text);
        check(Errno::NOENT, "no such file or directory");
        check(Errno::ACCESS, "permission denied");
        check(Errno::IO, "input/output error");
        check(Errno::STALE, "stale NFS file handle");
        check(Errno::NOTCONN, "transport endpoint is not connected");
    }
}
