//! What the collectors of one scrape share: the time, the files that more than one of them needs,
//! and the families that they found.
//!
//! Invariant: `/proc/stat`, the dearest file, is read once a scrape however many collectors ask.

use base::family::MetricFamily;
use base::sample::Timestamp;

use super::CollectError;
use super::config::Settings;
use super::devices::NetworkDevices;
use super::file::{Buffer, Source};

/// One scrape as it goes on.
pub(super) struct Reading {
    /// When the scrape began.
    pub(super) now: Timestamp,
    /// `/proc/stat`.
    pub(super) stat: Shared,
    /// The network devices that sysfs lists.
    pub(super) network_devices: NetworkDevices,
    /// For files that are done with before the next one is read.
    pub(super) buffer: Buffer,
    /// What was found so far.
    pub(super) families: Vec<MetricFamily>,
    /// What others left in files: families that are not ours, and may have any name.
    pub(super) foreign: Vec<MetricFamily>,
    /// How many families there were last time.
    before: usize,
}

impl Reading {
    pub(super) fn new(settings: &Settings) -> Self {
        let stat = settings.paths.procfs.join("stat");
        Self {
            now: Timestamp::default(),
            stat: Shared::new(Source::record(stat, &settings.descriptors)),
            network_devices: NetworkDevices::new(&settings.paths.sysfs),
            buffer: Buffer::new(),
            families: Vec::new(),
            foreign: Vec::new(),
            before: 0,
        }
    }

    pub(super) fn begin(&mut self, now: Timestamp) {
        self.now = now;
        self.stat.read = false;
        self.network_devices.forget();
        self.families = Vec::with_capacity(self.before + 2);
    }

    pub(super) fn take_families(&mut self) -> Vec<MetricFamily> {
        self.before = self.families.len();
        std::mem::take(&mut self.families)
    }
}

/// A file that more than one collector needs.
pub(super) struct Shared {
    source: Source,
    buffer: Buffer,
    length: usize,
    read: bool,
}

impl Shared {
    fn new(source: Source) -> Self {
        Self { source, buffer: Buffer::new(), length: 0, read: false }
    }

    /// The file and its text in this scrape.
    pub(super) fn text(&mut self) -> Result<(&Source, &[u8]), CollectError> {
        if !self.read {
            self.length = self.source.read(&mut self.buffer)?.len();
            self.read = true;
        }
        Ok((&self.source, self.buffer.first(self.length)))
    }
}
