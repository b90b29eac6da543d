//! The host: what its kernel counts, under the names that node_exporter gave it.
//!
//! ```text
//! /proc, /sys, udev ── one file a collector ──▶ Reading ──▶ families, and who failed
//! ```
//!
//! A collector is a name and a closure that reads a few files; [`COLLECTORS`] lists them all. What
//! is read at every scrape is kept open and read from its start again ([`file`]), which costs half
//! of opening it; nothing waits for a mount that does not answer ([`filesystem`]).
//!
//! Invariant: a collector that fails has still added what it could read, says so, and stops no
//! other one; no content of any file makes it panic.

mod config;
mod reading;
mod file;
mod text;
mod table;
mod devices;
mod cpu;
mod cpuinfo;
mod stat;
mod meminfo;
mod loadavg;
mod filesystem;
mod diskstats;
mod netdev;
mod uname;
mod time;
mod vmstat;
mod filefd;
mod entropy;
mod pressure;
mod sockstat;
mod netstat;
mod conntrack;
mod cpufreq;
mod netclass;
#[cfg(test)]
mod tests;

pub use config::{CpuConfig, DeviceConfig, FilesystemConfig, HostConfig, PathsConfig, StatConfig};

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use base::clock::Stopwatch;
use base::family::MetricFamily;
use base::sample::Timestamp;

use crate::{Outcome, Reason, Status};
use config::Settings;
use reading::Reading;

/// What reads one part of the host, with what it remembers from scrape to scrape.
type Collect = Box<dyn FnMut(&mut Reading) -> Result<(), CollectError> + Send>;

/// Makes a collector as the configuration wants it.
type Make = fn(&Settings) -> Collect;

/// Every collector by its name; those that need many descriptors come last, so that the others
/// have theirs when the bound on kept descriptors is reached.
const COLLECTORS: &[(&str, Make)] = &[
    ("cpu", cpu::collector),
    ("stat", stat::collector),
    ("meminfo", meminfo::collector),
    ("loadavg", loadavg::collector),
    ("filesystem", filesystem::collector),
    ("diskstats", diskstats::collector),
    ("netdev", netdev::collector),
    ("uname", uname::collector),
    ("time", time::collector),
    ("vmstat", vmstat::collector),
    ("filefd", filefd::collector),
    ("entropy", entropy::collector),
    ("pressure", pressure::collector),
    ("sockstat", sockstat::collector),
    ("netstat", netstat::collector),
    ("conntrack", conntrack::collector),
    ("cpufreq", cpufreq::collector),
    ("netclass", netclass::collector),
];

/// Why a collector could not give everything.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    /// The kernel of this machine has no such thing, which is a fact and not a failure.
    #[error("`{}` does not exist", .0.display())]
    Absent(PathBuf),

    /// The system refused to let us read.
    #[error("`{}` cannot be read: {error}", path.display())]
    Unreadable {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },

    /// What was read is not what the kernel documents.
    #[error("`{}` is malformed: {what}", path.display())]
    Malformed {
        /// What was read.
        path: PathBuf,
        /// The part that makes no sense.
        what: String,
    },
}

/// Reads the host's own numbers: the part of the agent that takes node_exporter's place.
pub struct Host {
    /// What it was made from, to be compared.
    settings: String,
    collecting: Mutex<Collecting>,
}

struct Collecting {
    collectors: Vec<(&'static str, Collect)>,
    reading: Reading,
}

/// A collector that failed, with what it says.
struct Failed {
    collector: &'static str,
    error: CollectError,
}

impl Host {
    fn new(settings: &Settings) -> Self {
        let shown = format!("{settings:?}");
        let wanted = COLLECTORS.iter().filter(|(name, _)| settings.collectors.contains(name));
        let collectors = wanted.map(|(name, make)| (*name, make(settings))).collect();
        let collecting = Mutex::new(Collecting { collectors, reading: Reading::new(settings) });
        Self { settings: shown, collecting }
    }

    /// Reads everything now, which is what `node_time_seconds` will say.
    ///
    /// Takes about a third of a millisecond and waits for nothing but the kernel, except once for
    /// each mount that hangs: it blocks the calling thread for `mount_timeout` at most, and
    /// remembers the mount. Scrapes that come together are read one after the other. Of every
    /// collector there is `node_scrape_collector_success`: 1 where it gave everything.
    pub fn collect(&self, now: Timestamp) -> Vec<MetricFamily> {
        self.read(now).0
    }

    /// As [`Host::collect`], with the collectors that failed as an outcome tells it. What a kernel
    /// does not have (no conntrack, no pressure information) is left out and is no reason to warn.
    pub fn look(&self, now: Timestamp) -> Outcome {
        let (families, mut failed) = self.read(now);
        failed.retain(|failed| !matches!(failed.error, CollectError::Absent(_)));
        let samples: usize = families.iter().map(|family| family.samples.len()).sum();
        let mut outcome = if failed.is_empty() {
            Outcome::ok(format!("{samples} samples read"))
        } else {
            let names: Vec<_> = failed.iter().map(|failed| failed.collector).collect();
            let summary = format!("collectors that failed: {}", names.join(", "));
            Outcome::new(Status::Warning, Reason::CollectorFailed, summary)
        };
        let details: Vec<_> =
            failed.iter().map(|failed| format!("{}: {}", failed.collector, failed.error)).collect();
        outcome.details = details.join("\n");
        outcome.families = families;
        outcome
    }

    /// Whether `other` was made from the same settings, so that what this one has open and
    /// remembers would serve it as well.
    pub fn is_same(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    fn read(&self, now: Timestamp) -> (Vec<MetricFamily>, Vec<Failed>) {
        let mut collecting = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        let Collecting { collectors, reading } = &mut *collecting;
        reading.begin(now);
        let mut durations = MetricFamily::gauge(
            "node_scrape_collector_duration_seconds",
            "node_exporter: Duration of a collector scrape.",
        );
        let mut successes = MetricFamily::gauge(
            "node_scrape_collector_success",
            "node_exporter: Whether a collector succeeded.",
        );
        let mut failed = Vec::new();
        for (name, collect) in collectors {
            let stopwatch = Stopwatch::start();
            let result = collect(reading);
            durations.add(&[("collector", name)], stopwatch.seconds());
            successes.add(&[("collector", name)], f64::from(u8::from(result.is_ok())));
            if let Err(error) = result {
                failed.push(Failed { collector: name, error });
            }
        }
        let mut families = reading.take_families();
        families.push(durations);
        families.push(successes);
        (families, failed)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
