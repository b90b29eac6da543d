//! Whether SELinux is on, and whether it enforces.
//!
//! Invariant: the modes are shown only where it is on.

use std::path::Path;

use super::config::Settings;
use super::file::{Buffer, read_once};
use super::table::Column;
use super::{Collect, attributes, text};

const ENABLED: Column =
    Column::gauge("node_selinux_enabled", "SELinux is enabled, 1 is true, 0 is false");
const CONFIGURED: Column =
    Column::gauge("node_selinux_config_mode", "Configured SELinux enforcement mode");
const CURRENT: Column =
    Column::gauge("node_selinux_current_mode", "Current SELinux enforcement mode");

pub(super) fn collector(settings: &Settings) -> Collect {
    let enforce = settings.paths.sysfs.join("fs/selinux/enforce");
    let config = settings.paths.rootfs.join("etc/selinux/config");
    Box::new(move |reading| {
        let current = attributes::number_of(&enforce, &mut reading.buffer);
        reading.families.push(ENABLED.with(f64::from(u8::from(current.is_some()))));
        if let Some(current) = current {
            let configured = configured(&config, &mut reading.buffer);
            reading.families.push(CONFIGURED.with(configured));
            reading.families.push(CURRENT.with(current));
        }
        Ok(())
    })
}

/// The mode after the next start: 1 enforcing, 0 permissive, -1 off.
fn configured(path: &Path, buffer: &mut Buffer) -> f64 {
    let config = read_once(path, buffer).unwrap_or_default();
    let mut lines = text::lines(config).filter_map(|line| text::split(line, b'='));
    match lines.find(|(name, _)| *name == b"SELINUX").map(|(_, mode)| mode) {
        Some(b"enforcing") => 1.0,
        Some(b"permissive") => 0.0,
        _ => -1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_configured_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let check = |text: &str, expected: f64| {
            std::fs::write(&path, text).unwrap();
            assert_eq!(configured(&path, &mut Buffer::new()), expected, "{text}");
        };
        check("# a\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", 1.0);
        check("SELINUX=permissive\n", 0.0);
        check("SELINUX=disabled\n", -1.0);
        check("SELINUXTYPE=targeted\n", -1.0);
    }
}
