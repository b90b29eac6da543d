//! The host: what its kernel counts, under the names that node_exporter gave it.
//!
//! ```text
//! /proc, /sys, udev ── one file a collector ──▶ Reading ──▶ families, and who failed
//! ```
//!
//! A collector is a name and a closure that reads a few files; [`COLLECTORS`] lists them all. What
//! is read at every scrape is kept open and read from its start again ([`file`]), which costs half
//! of opening it; nothing waits for a mount or a sensor that does not answer ([`ask`]).
//!
//! Invariant: a collector that fails has still added what it could read, says so, and stops no
//! other one; no content of any file makes it panic.

mod config;
mod reading;
mod file;
mod text;
mod table;
mod attributes;
mod ask;
mod aside;
mod foreign;
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
mod arp;
mod softnet;
mod schedstat;
mod timex;
mod udp_queues;
mod os;
mod dmi;
mod kernel_hung;
mod selinux;
mod nfs;
mod nfsd;
mod thermal_zone;
mod powersupplyclass;
mod watchdog;
mod rapl;
mod nvme;
mod edac;
mod bonding;
mod tapestats;
mod mdadm;
mod xfs;
mod btrfs;
mod bcache;
mod dmmultipath;
mod hwmon;
mod textfile;
mod zfs;
mod fibrechannel;
mod ipvs;
mod infiniband;
mod cgroup_usage;
mod top;
mod updates;
#[cfg(test)]
mod tests;

pub use config::{
    BcacheConfig, CpuConfig, DeviceConfig, FilesystemConfig, HostConfig, PathsConfig, StatConfig,
    TextfileConfig, TopConfig,
};

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

/// Where a collector runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// With whoever asks: it reads what the kernel has in memory.
    Here,
    /// On a thread of its own kind, which is not waited for too long: it reads hardware or the files
    /// of others, which may not answer.
    Aside,
}
use Place::{Aside, Here};

/// Every collector by its name; those that need many descriptors come last, so that the others
/// have theirs when the bound on kept descriptors is reached.
const COLLECTORS: &[(&str, Place, Make)] = &[
    ("cpu", Here, cpu::collector),
    ("stat", Here, stat::collector),
    ("meminfo", Here, meminfo::collector),
    ("loadavg", Here, loadavg::collector),
    ("filesystem", Here, filesystem::collector),
    ("diskstats", Here, diskstats::collector),
    ("netdev", Here, netdev::collector),
    ("uname", Here, uname::collector),
    ("time", Here, time::collector),
    ("vmstat", Here, vmstat::collector),
    ("filefd", Here, filefd::collector),
    ("entropy", Here, entropy::collector),
    ("pressure", Here, pressure::collector),
    ("sockstat", Here, sockstat::collector),
    ("netstat", Here, netstat::collector),
    ("conntrack", Here, conntrack::collector),
    ("arp", Here, arp::collector),
    ("softnet", Here, softnet::collector),
    ("schedstat", Here, schedstat::collector),
    ("timex", Here, timex::collector),
    ("udp_queues", Here, udp_queues::collector),
    ("os", Here, os::collector),
    ("dmi", Here, dmi::collector),
    ("kernel_hung", Here, kernel_hung::collector),
    ("selinux", Here, selinux::collector),
    ("nfs", Here, nfs::collector),
    ("nfsd", Here, nfsd::collector),
    ("cpufreq", Here, cpufreq::collector),
    ("netclass", Here, netclass::collector),
    ("thermal_zone", Aside, thermal_zone::collector),
    ("powersupplyclass", Aside, powersupplyclass::collector),
    ("watchdog", Aside, watchdog::collector),
    ("rapl", Aside, rapl::collector),
    ("nvme", Aside, nvme::collector),
    ("edac", Aside, edac::collector),
    ("bonding", Aside, bonding::collector),
    ("tapestats", Aside, tapestats::collector),
    ("mdadm", Aside, mdadm::collector),
    ("xfs", Aside, xfs::collector),
    ("btrfs", Aside, btrfs::collector),
    ("bcache", Aside, bcache::collector),
    ("dmmultipath", Aside, dmmultipath::collector),
    ("hwmon", Aside, hwmon::collector),
    ("textfile", Aside, textfile::collector),
    ("zfs", Aside, zfs::collector),
    ("fibrechannel", Aside, fibrechannel::collector),
    ("ipvs", Aside, ipvs::collector),
    ("infiniband", Aside, infiniband::collector),
    ("cgroup_usage", Aside, cgroup_usage::collector),
    ("top", Aside, top::collector),
    ("updates", Aside, updates::collector),
];

/// Those that run only where they are asked for: node_exporter has nothing like them, and they cost
/// more than the rest.
const OPTIONAL: [&str; 3] = ["cgroup_usage", "top", "updates"];

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

    /// Nothing was heard of it within the time that it has.
    #[error("it has not answered within {0:?}")]
    Late(std::time::Duration),

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
    names: Vec<&'static str>,
    collecting: Mutex<Collecting>,
}

struct Collecting {
    collectors: Vec<(&'static str, Collect)>,
    aside: aside::Aside,
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
        let wanted = |place: Place| {
            let all = COLLECTORS.iter().filter(move |(_, wants, _)| *wants == place);
            let all = all.filter(|(name, ..)| settings.collectors.contains(name));
            all.map(|(name, _, make)| (*name, make(settings))).collect::<Vec<_>>()
        };
        let names = COLLECTORS.iter().map(|(name, ..)| *name);
        let names = names.filter(|name| settings.collectors.contains(name)).collect();
        let collecting = Mutex::new(Collecting {
            collectors: wanted(Here),
            aside: aside::Aside::new(wanted(Aside), settings),
            reading: Reading::new(settings),
        });
        Self { settings: shown, names, collecting }
    }

    /// The collectors that run.
    pub fn collectors(&self) -> &[&'static str] {
        &self.names
    }

    /// Reads everything now, which is what `node_time_seconds` will say.
    ///
    /// Takes about a third of a millisecond and waits for nothing but the kernel, except once for
    /// each mount or sensor that hangs: it blocks the calling thread for `mount_timeout` or
    /// `collector_timeout` at most, and remembers who it was. Scrapes that come together are read one after the other. Of every
    /// collector there is `node_scrape_collector_success`: 1 where it gave everything.
    pub fn collect(&self, now: Timestamp) -> Vec<MetricFamily> {
        self.read(now, &|_| true).0
    }

    /// As [`Host::collect`], with the collectors that failed as an outcome tells it. What a kernel
    /// does not have (no conntrack, no pressure information) is left out and is no reason to warn.
    pub fn look(&self, now: Timestamp) -> Outcome {
        self.look_at(now, &|_| true)
    }

    /// As [`Host::look`], by those collectors alone that are `wanted`.
    pub fn look_at(&self, now: Timestamp, wanted: &dyn Fn(&str) -> bool) -> Outcome {
        let (families, mut failed) = self.read(now, wanted);
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

    fn read(
        &self,
        now: Timestamp,
        wanted: &dyn Fn(&str) -> bool,
    ) -> (Vec<MetricFamily>, Vec<Failed>) {
        let mut collecting = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        let Collecting { collectors, aside, reading } = &mut *collecting;
        reading.begin(now);
        // They read while the others do.
        let begun = aside.begin(wanted);
        let mut durations = MetricFamily::gauge(
            "node_scrape_collector_duration_seconds",
            "node_exporter: Duration of a collector scrape.",
        );
        let mut successes = MetricFamily::gauge(
            "node_scrape_collector_success",
            "node_exporter: Whether a collector succeeded.",
        );
        let mut failed = Vec::new();
        for (name, collect) in collectors.iter_mut().filter(|(name, _)| wanted(name)) {
            let stopwatch = Stopwatch::start();
            let result = collect(reading);
            durations.add(&[("collector", name)], stopwatch.seconds());
            successes.add(&[("collector", name)], f64::from(u8::from(result.is_ok())));
            if let Err(error) = result {
                failed.push(Failed { collector: name, error });
            }
        }
        for collected in aside.collect(begun, wanted) {
            let name = collected.collector;
            durations.add(&[("collector", name)], collected.seconds);
            successes.add(&[("collector", name)], f64::from(u8::from(collected.result.is_ok())));
            reading.families.extend(collected.families);
            reading.foreign.extend(collected.foreign);
            if let Err(error) = collected.result {
                failed.push(Failed { collector: name, error });
            }
        }
        let mut families = reading.take_families();
        families.push(durations);
        families.push(successes);
        foreign::add(&mut families, std::mem::take(&mut reading.foreign));
        (families, failed)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
