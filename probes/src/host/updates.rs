//! Updates that wait to be installed, and whether the host waits for a restart.
//!
//! On Debian and its kin what is installed is compared with the lists that `apt update` left, each
//! version by Debian's rules; nothing is run and nothing is downloaded. That takes a moment, so it
//! is done again only when one of these files changed. On all systems a restart is due where a newer
//! kernel is installed than runs, or a package has asked for one.
//!
//! Invariant: a host without these lists has no numbers of updates; it does not have zero.

mod debian;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::config::Settings;
use super::table::Column;
use super::{Collect, CollectError, attributes};
use debian::Pending;

const PENDING: Column =
    Column::gauge("veilleur_updates_pending", "Packages of which a newer version is to be had.");
const SECURITY: Column = Column::gauge(
    "veilleur_updates_security_pending",
    "Those of them whose newer version comes from a security archive.",
);
const LISTED: Column = Column::gauge(
    "veilleur_updates_listed_timestamp_seconds",
    "When the lists of packages were brought up to date.",
);
const REBOOT: Column =
    Column::gauge("veilleur_reboot_required", "Whether the host waits for a restart.");

/// When a folder or a file was changed last, of those that are looked at.
type Changed = Vec<(PathBuf, Option<SystemTime>)>;

pub(super) fn collector(settings: &Settings) -> Collect {
    let root = settings.paths.rootfs.clone();
    let (status, lists) = (root.join("var/lib/dpkg/status"), root.join("var/lib/apt/lists"));
    let release = settings.paths.procfs.join("sys/kernel/osrelease");
    let mut kept: Option<(Changed, Pending)> = None;
    Box::new(move |reading| {
        let running = attributes::text_of(&release, &mut reading.buffer).unwrap_or_default();
        let asked = ["run/reboot-required", "var/run/reboot-required"];
        let reboot = asked.iter().any(|path| root.join(path).exists())
            || is_outdated(&root.join("lib/modules"), &running);
        reading.families.push(REBOOT.with(f64::from(u8::from(reboot))));
        if !status.exists() {
            return Err(CollectError::Absent(status.clone()));
        }
        let files = debian::lists(&lists);
        if files.is_empty() {
            return Err(CollectError::Absent(lists.clone()));
        }
        let all = files.iter().chain([&status]);
        let changed: Changed = all.map(|path| (path.clone(), changed(path))).collect();
        if kept.as_ref().is_none_or(|(known, _)| *known != changed) {
            let pending = debian::pending(&status, &files)
                .map_err(|error| CollectError::Unreadable { path: status.clone(), error })?;
            kept = Some((changed, pending));
        }
        let Some((_, pending)) = &kept else { return Ok(()) };
        reading.families.push(PENDING.with(pending.all as f64));
        reading.families.push(SECURITY.with(pending.security as f64));
        let listed = self::changed(&lists).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        reading.families.extend(listed.map(|since| LISTED.with(since.as_secs_f64())));
        Ok(())
    })
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Whether a newer kernel of the same flavour than the `running` one is installed.
fn is_outdated(modules: &Path, running: &str) -> bool {
    let installed = attributes::names_if_there(modules).unwrap_or_default();
    // What runs in a container or was built by hand is none of those that are installed.
    installed.iter().any(|release| release == running)
        && installed.iter().any(|release| {
            flavour(release) == flavour(running)
                && debian::compare(release, running) == std::cmp::Ordering::Greater
                && modules.join(release).join("modules.dep").exists()
        })
}

/// `amd64` of `6.1.0-18-amd64`.
fn flavour(release: &str) -> &str {
    let last = release.rsplit('-').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_digit()) { "" } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_due_where_a_newer_kernel_of_the_same_kind_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        for release in ["6.1.0-9-amd64", "6.1.0-18-amd64", "6.1.0-20-rt", "5.14.0-1.el9.x86_64"] {
            std::fs::create_dir(folder.path().join(release)).unwrap();
            std::fs::write(folder.path().join(release).join("modules.dep"), "").unwrap();
        }
        let check =
            |running: &str, due| assert_eq!(is_outdated(folder.path(), running), due, "{running}");
        check("6.1.0-9-amd64", true);
        check("6.1.0-18-amd64", false);
        check("6.1.0-20-rt", false);
        check("6.18.44-fc", false);
        std::fs::create_dir(folder.path().join("6.1.0-19-amd64")).unwrap();
        check("6.1.0-18-amd64", false);
    }
}
