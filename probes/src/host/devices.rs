//! The network devices of the host, and files that belong to one of them.
//!
//! Descriptors follow a device, names do not: when `eth0` and `eth1` are renamed to each other, a
//! file kept open under `eth0/` tells of what is now `eth1`. The inode of a device's entry moves
//! with the device, so what is kept is known by name and inode.
//!
//! Invariant: what is kept for a device is handed out only as long as both are the same.

use std::collections::HashMap;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::CollectError;

/// A network device as sysfs lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetworkDevice {
    pub(super) name: String,
    inode: u64,
}

/// The listing of `/sys/class/net`, read once a scrape.
#[derive(Debug)]
pub(super) struct NetworkDevices {
    folder: PathBuf,
    listed: Option<Vec<NetworkDevice>>,
}

impl NetworkDevices {
    pub(super) fn new(sysfs: &Path) -> Self {
        Self { folder: sysfs.join("class/net"), listed: None }
    }

    /// Lists anew when asked next.
    pub(super) fn forget(&mut self) {
        self.listed = None;
    }

    /// The devices, sorted by name.
    pub(super) fn list(&mut self) -> Result<&[NetworkDevice], CollectError> {
        let devices = match self.listed.take() {
            Some(devices) => devices,
            None => self.read().map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => CollectError::Absent(self.folder.clone()),
                _ => CollectError::Unreadable { path: self.folder.clone(), error },
            })?,
        };
        Ok(self.listed.insert(devices))
    }

    fn read(&self) -> std::io::Result<Vec<NetworkDevice>> {
        let mut devices = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            // `bonding_masters` stands among the devices and is none.
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            if let Ok(name) = entry.file_name().into_string() {
                devices.push(NetworkDevice { name, inode: entry.ino() });
            }
        }
        devices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(devices)
    }
}

/// What is kept for each device from scrape to scrape.
#[derive(Debug)]
pub(super) struct PerDevice<T>(HashMap<String, Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    inode: u64,
    /// Whether the device was there in this scrape.
    seen: bool,
    value: T,
}

impl<T> PerDevice<T> {
    pub(super) fn new() -> Self {
        Self(HashMap::new())
    }

    /// What is kept for `device`; `make` makes it for one that is new.
    pub(super) fn get(&mut self, device: &NetworkDevice, make: impl FnOnce() -> T) -> &mut T {
        if self.0.get(&device.name).is_some_and(|kept| kept.inode != device.inode) {
            self.0.remove(&device.name);
        }
        let new = || Kept { inode: device.inode, seen: true, value: make() };
        let kept = self.0.entry(device.name.clone()).or_insert_with(new);
        kept.seen = true;
        &mut kept.value
    }

    /// Drops what is kept for devices that nobody asked for since the last call.
    pub(super) fn drop_unseen(&mut self) {
        self.0.retain(|_, kept| std::mem::take(&mut kept.seen));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_devices_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut devices = NetworkDevices::new(folder.path());
        assert!(matches!(devices.list(), Err(CollectError::Absent(_))));
        for name in ["lo", "eth0"] {
            std::fs::create_dir_all(folder.path().join("class/net").join(name)).unwrap();
        }
        std::fs::write(folder.path().join("class/net/bonding_masters"), "bond0").unwrap();
        let names = |devices: &[NetworkDevice]| -> Vec<String> {
            devices.iter().map(|device| device.name.clone()).collect()
        };
        assert_eq!(names(devices.list().unwrap()), ["eth0", "lo"]);
        std::fs::create_dir(folder.path().join("class/net/eth1")).unwrap();
        assert_eq!(names(devices.list().unwrap()), ["eth0", "lo"]);
        devices.forget();
        assert_eq!(names(devices.list().unwrap()), ["eth0", "eth1", "lo"]);
    }

    #[test]
    fn what_is_kept_belongs_to_the_device_and_not_to_its_name() {
        let device = |name: &str, inode| NetworkDevice { name: name.to_owned(), inode };
        let mut kept = PerDevice::new();
        assert_eq!(*kept.get(&device("eth0", 1), || "first"), "first");
        kept.drop_unseen();
        assert_eq!(*kept.get(&device("eth0", 1), || "again"), "first");
        kept.drop_unseen();
        assert_eq!(*kept.get(&device("eth0", 2), || "other"), "other");
        kept.drop_unseen();
        kept.drop_unseen();
        assert_eq!(*kept.get(&device("eth0", 2), || "back"), "back");
    }
}
