//! The kernel's name and version, and the host's name.
//!
//! Invariant: this asks the running kernel and reads no file.

use super::Collect;
use super::config::Settings;
use super::table::Column;

const INFO: Column = Column::gauge(
    "node_uname_info",
    "Labeled system information as provided by the uname system call.",
);

pub(super) fn collector(_: &Settings) -> Collect {
    Box::new(|reading| {
        let uname = rustix::system::uname();
        let labels = [
            ("domainname", uname.domainname()),
            ("machine", uname.machine()),
            ("nodename", uname.nodename()),
            ("release", uname.release()),
            ("sysname", uname.sysname()),
            ("version", uname.version()),
        ];
        let labels =
            labels.map(|(name, value)| (name.into(), value.to_string_lossy().into_owned()));
        let mut info = INFO.family();
        info.add_pairs("", labels.into(), 1.0);
        reading.families.push(info);
        Ok(())
    })
}
