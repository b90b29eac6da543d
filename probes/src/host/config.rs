//! What the host collectors are told: which of them run, what they leave out, where they read.
//!
//! ```yaml
//! host:
//!   enabled: true
//!   disable: [netclass]
//!   filesystem: {mount_points_exclude: '^/(dev|proc|sys)($|/)'}
//! ```
//!
//! Invariant: without a word of configuration everything runs as node_exporter does by default.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Spanned, nearest};
use base::period::Period;
use regex::Regex;
use serde::Deserialize;

use super::file::Descriptors;
use super::{COLLECTORS, Host, OPTIONAL};

/// Mount points that hold nothing that fills up, or that belong to containers. The groups of these
/// patterns catch nothing: `regex` makes a large table for one that does.
const MOUNT_POINTS_EXCLUDE: &str = "^/(?:dev|proc|run/credentials/.+|sys|var/lib/docker/.+|\
     var/lib/containers/storage/.+)(?:$|/)";
/// Filesystems that have no size of their own.
const FS_TYPES_EXCLUDE: &str = "^(?:autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|\
     devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|\
     securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$";
/// Partitions, and devices in memory.
const DISKS_EXCLUDE: &str = r"^(?:z?ram|loop|fd|(?:h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";
/// How long all mounts that could hang have together for their answers.
const MOUNT_TIMEOUT: Period = Period::from_millis(300);
/// How long all collectors that could hang have together.
const COLLECTOR_TIMEOUT: Period = Period::from_secs(1);

/// How many names of programs are shown, by CPU time and by memory each.
const TOP: usize = 10;
const MOST_TOP: u32 = 1000;

/// The host collectors, as written; everything has a default.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Whether there are any; `true` by default.
    pub enabled: bool,
    /// The collectors that run; all but the optional ones where nothing is written.
    pub collectors: Option<Vec<Spanned<String>>>,
    /// Collectors that do not run; not together with `collectors`.
    pub disable: Vec<Spanned<String>>,
    /// Optional collectors that run besides: `cgroup_usage`, `top`, `updates`; not together with
    /// `collectors`.
    pub enable: Vec<Spanned<String>>,
    /// What `top` shows.
    pub top: TopConfig,
    /// What else `cpu` tells.
    pub cpu: CpuConfig,
    /// What else `stat` tells.
    pub stat: StatConfig,
    /// What else `bcache` tells.
    pub bcache: BcacheConfig,
    /// What `filesystem` leaves out.
    pub filesystem: FilesystemConfig,
    /// What `diskstats` leaves out; by default partitions and devices in memory.
    pub diskstats: DeviceConfig,
    /// What `netdev` leaves out; by default nothing.
    pub netdev: DeviceConfig,
    /// What `netclass` leaves out; by default nothing.
    pub netclass: DeviceConfig,
    /// What `arp` leaves out; by default nothing.
    pub arp: DeviceConfig,
    /// Where others leave metrics in files.
    pub textfile: TextfileConfig,
    /// How long a scrape waits for the collectors that read hardware and the files of others,
    /// together; one that has not answered by then has failed. `1s` by default.
    pub collector_timeout: Option<Spanned<Period>>,
    /// Where to read.
    pub paths: PathsConfig,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            collectors: None,
            disable: Vec::new(),
            enable: Vec::new(),
            top: TopConfig::default(),
            cpu: CpuConfig::default(),
            stat: StatConfig::default(),
            bcache: BcacheConfig::default(),
            filesystem: FilesystemConfig::default(),
            diskstats: DeviceConfig::default(),
            netdev: DeviceConfig::default(),
            netclass: DeviceConfig::default(),
            arp: DeviceConfig::default(),
            textfile: TextfileConfig::default(),
            collector_timeout: None,
            paths: PathsConfig::default(),
        }
    }
}

/// What `top` shows.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopConfig {
    /// How many names by CPU time, and how many by memory; `10` by default.
    pub count: Option<Spanned<u32>>,
}

/// What `cpu` tells beyond the time that was spent.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CpuConfig {
    /// Whether `node_cpu_info` is there: make and model of every CPU. Off by default, because the
    /// kernel wakes idle CPUs up to tell.
    pub info: bool,
    /// A pattern of flags of the first CPU to show as `node_cpu_flag_info`; implies `info`.
    pub flags_include: Option<Spanned<String>>,
    /// A pattern of bugs of the first CPU to show as `node_cpu_bug_info`; implies `info`.
    pub bugs_include: Option<Spanned<String>>,
}

/// What `stat` tells beyond the totals.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StatConfig {
    /// Whether `node_softirqs_total` is there.
    pub softirqs: bool,
}

/// What `bcache` tells beyond what is cheap to ask.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BcacheConfig {
    /// Whether `node_bcache_priority_stats_...` are there: the kernel walks over every bucket to tell.
    pub priority_stats: bool,
}

/// What `filesystem` leaves out.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesystemConfig {
    /// A pattern of mount points.
    pub mount_points_exclude: Option<Spanned<String>>,
    /// A pattern of filesystem types.
    pub fs_types_exclude: Option<Spanned<String>>,
    /// How long a scrape waits for the mounts that can hang (NFS, CIFS, FUSE, ...), together; one
    /// that has not answered by then shows `device_error` until it does. `300ms` by default.
    pub mount_timeout: Option<Spanned<Period>>,
}

/// Which devices are looked at.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// A pattern of devices that are left out.
    pub device_exclude: Option<Spanned<String>>,
    /// A pattern of the only devices that are looked at; not together with `device_exclude`.
    pub device_include: Option<Spanned<String>>,
}

/// Where others leave metrics in files.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextfileConfig {
    /// Folders whose `*.prom` are read; each may have wildcards. None by default.
    pub directories: Vec<Spanned<String>>,
}

/// Where the collectors read; each path has the usual place as its default.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathsConfig {
    /// Where procfs is mounted.
    pub procfs: PathBuf,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
    /// Where the host's root is mounted, for an agent that lives in a container.
    pub rootfs: PathBuf,
    /// Where udev keeps what it knows of devices.
    pub udev: PathBuf,
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev: "/run/udev/data".into(),
        }
    }
}

/// The same, as meant: what a collector is made from.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) collectors: BTreeSet<&'static str>,
    pub(super) top_count: usize,
    pub(super) cpu_info: Option<CpuInfo>,
    pub(super) softirqs: bool,
    pub(super) priority_stats: bool,
    pub(super) mount_points_exclude: Option<Regex>,
    pub(super) fs_types_exclude: Option<Regex>,
    pub(super) mount_timeout: Period,
    pub(super) collector_timeout: Period,
    pub(super) textfile_directories: Vec<String>,
    pub(super) disks: DeviceFilter,
    pub(super) netdev: DeviceFilter,
    pub(super) netclass: DeviceFilter,
    pub(super) arp: DeviceFilter,
    pub(super) paths: PathsConfig,
    /// The bound on descriptors that all collectors share.
    pub(super) descriptors: Descriptors,
}

/// What is shown of `/proc/cpuinfo`.
#[derive(Clone, Debug)]
pub(super) struct CpuInfo {
    pub(super) flags: Option<Regex>,
    pub(super) bugs: Option<Regex>,
    /// Whether the clock speed belongs to it: so it does for node_exporter where `cpufreq` runs.
    pub(super) frequency: bool,
}

/// Which devices are looked at.
#[derive(Clone, Debug)]
pub(super) struct DeviceFilter {
    exclude: Option<Regex>,
    include: Option<Regex>,
}

impl DeviceFilter {
    pub(super) fn accepts(&self, device: &str) -> bool {
        self.exclude.as_ref().is_none_or(|exclude| !exclude.is_match(device))
            && self.include.as_ref().is_none_or(|include| include.is_match(device))
    }
}

impl HostConfig {
    /// Makes the collectors, reporting everything that is wrong with what was written. Reads no
    /// file yet.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Host {
        Host::new(&self.settings(diagnostics))
    }

    pub(super) fn settings(self, diagnostics: &mut Diagnostics) -> Settings {
        let collectors = chosen(self.collectors, self.disable, self.enable, diagnostics);
        let flags = self.cpu.flags_include.and_then(|p| pattern(p, diagnostics));
        let bugs = self.cpu.bugs_include.and_then(|p| pattern(p, diagnostics));
        let info = self.cpu.info || flags.is_some() || bugs.is_some();
        let mut with_default = |written: Option<Spanned<String>>, default: &str| match written {
            Some(written) => pattern(written, diagnostics),
            None => Some(known(default)),
        };
        let filesystem = self.filesystem;
        let mount_points_exclude =
            with_default(filesystem.mount_points_exclude, MOUNT_POINTS_EXCLUDE);
        let fs_types_exclude = with_default(filesystem.fs_types_exclude, FS_TYPES_EXCLUDE);
        let mut timeout = |written: Option<Spanned<Period>>, name: &str, default: Period| {
            let Some(written) = written else { return default };
            if written.value.is_zero() {
                diagnostics.report(&written, format!("`{name}` must be longer than 0"));
            }
            written.value
        };
        let mount_timeout = timeout(filesystem.mount_timeout, "mount_timeout", MOUNT_TIMEOUT);
        let collector_timeout =
            timeout(self.collector_timeout, "collector_timeout", COLLECTOR_TIMEOUT);
        for directory in &self.textfile.directories {
            if !directory.value.starts_with('/') {
                let message = format!("`{}` is not an absolute path", directory.value);
                diagnostics.report(directory, message);
            }
        }
        let frequency = collectors.contains("cpufreq");
        if let Some(count) = &self.top.count
            && !(1..=MOST_TOP).contains(&count.value)
        {
            diagnostics.report(count, format!("between 1 and {MOST_TOP} names can be shown"));
        }
        Settings {
            top_count: self.top.count.map_or(TOP, |count| count.value as usize),
            collectors,
            cpu_info: info.then_some(CpuInfo { flags, bugs, frequency }),
            softirqs: self.stat.softirqs,
            priority_stats: self.bcache.priority_stats,
            mount_points_exclude,
            fs_types_exclude,
            mount_timeout,
            collector_timeout,
            textfile_directories: self.textfile.directories.into_iter().map(|d| d.value).collect(),
            disks: devices(self.diskstats, Some(DISKS_EXCLUDE), diagnostics),
            netdev: devices(self.netdev, None, diagnostics),
            netclass: devices(self.netclass, None, diagnostics),
            arp: devices(self.arp, None, diagnostics),
            paths: self.paths,
            descriptors: Descriptors::new(),
        }
    }
}

/// The collectors that run.
fn chosen(
    chosen: Option<Vec<Spanned<String>>>,
    disabled: Vec<Spanned<String>>,
    enabled: Vec<Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> BTreeSet<&'static str> {
    let all = || COLLECTORS.iter().map(|(name, ..)| *name);
    let mut find = |written: &Spanned<String>| {
        let found = all().find(|name| *name == written.value);
        if found.is_none() {
            let message = format!("there is no collector `{}`", written.value);
            let help = match nearest(&written.value, all()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("there are: {}", all().collect::<Vec<_>>().join(", ")),
            };
            diagnostics.report_with_help(written, message, help);
        }
        found
    };
    let run: BTreeSet<_> = match &chosen {
        Some(chosen) => chosen.iter().filter_map(&mut find).collect(),
        None => all()
            .filter(|name| !OPTIONAL.contains(name))
            .chain(enabled.iter().filter_map(&mut find))
            .collect(),
    };
    let not: BTreeSet<_> = disabled.iter().filter_map(&mut find).collect();
    for (list, name) in [(&disabled, "disable"), (&enabled, "enable")] {
        if let (Some(_), Some(first)) = (&chosen, list.first()) {
            diagnostics.report(first, format!("`{name}` has no meaning beside `collectors`"));
        }
    }
    run.difference(&not).copied().collect()
}

fn devices(
    config: DeviceConfig,
    default: Option<&str>,
    diagnostics: &mut Diagnostics,
) -> DeviceFilter {
    if let (Some(_), Some(include)) = (&config.device_exclude, &config.device_include) {
        diagnostics.report(include, "`device_include` has no meaning beside `device_exclude`");
    }
    let include = config.device_include.and_then(|p| pattern(p, diagnostics));
    let exclude = match config.device_exclude {
        Some(written) => pattern(written, diagnostics),
        // Who says what to include wants nothing else left out.
        None if include.is_some() => None,
        None => default.map(known),
    };
    DeviceFilter { exclude, include }
}

/// A pattern that matches anywhere, as node_exporter's do; an empty one matches nothing.
fn pattern(written: Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Regex> {
    match Regex::new(&written.value) {
        _ if written.value.is_empty() => None,
        Ok(regex) => Some(regex),
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or("").trim_start_matches("error: ");
            let message = format!("`{}` is not a regular expression: {reason}", written.value);
            diagnostics.report(&written, message);
            None
        }
    }
}

fn known(pattern: &str) -> Regex {
    Regex::new(pattern).expect("our own patterns are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Option<HostConfig> = base::yaml::read(text, &mut diagnostics);
        config.unwrap().build(&mut diagnostics);
        assert_eq!(diagnostics.to_string(), expected);
    }

    #[test]
    fn accepts_what_it_documents() {
        check("", "");
        check("collectors: [cpu, meminfo]", "");
        check("disable: [netclass, cpufreq]", "");
        check(
            "filesystem: {mount_points_exclude: '', fs_types_exclude: ^nfs, mount_timeout: 1s}",
            "",
        );
        check("diskstats: {device_include: ^sd}", "");
        check("cpu: {info: true, flags_include: aes, bugs_include: .}", "");
        check("stat: {softirqs: true}\nbcache: {priority_stats: true}", "");
        check("enable: [cgroup_usage, top, updates]\ntop: {count: 5}", "");
        check("textfile: {directories: [/var/lib/*/metrics]}\ncollector_timeout: 2s", "");
        check("paths: {procfs: /host/proc, sysfs: /host/sys, rootfs: /host, udev: /x}", "");
    }

    #[test]
    fn reports_what_cannot_be_meant() {
        let all: Vec<_> = COLLECTORS.iter().map(|(name, ..)| *name).collect();
        let all = all.join(", ");
        check(
            "collectors: [cpu, memory]\ndisable: [diskstat]",
            &format!(
                "f.yml:1:19: there is no collector `memory`\n  help: there are: {all}\n\
             f.yml:2:11: there is no collector `diskstat`\n  help: did you mean `diskstats`?\n\
             f.yml:2:11: `disable` has no meaning beside `collectors`"
            ),
        );
        check(
            "netdev: {device_exclude: 'a(', device_include: b}",
            "f.yml:1:26: `a(` is not a regular expression: unclosed group\n\
             f.yml:1:48: `device_include` has no meaning beside `device_exclude`",
        );
        check(
            "filesystem: {mount_timeout: 0s}",
            "f.yml:1:29: `mount_timeout` must be longer than 0",
        );
        check("top: {count: 0}", "f.yml:1:14: between 1 and 1000 names can be shown");
        check(
            "collectors: [cpu]\nenable: [tops]",
            "f.yml:2:10: `enable` has no meaning beside `collectors`",
        );
        check(
            "textfile: {directories: [metrics]}\ncollector_timeout: 0s",
            "f.yml:1:26: `metrics` is not an absolute path\n\
             f.yml:2:20: `collector_timeout` must be longer than 0",
        );
        check(
            "filesystem: {mount_point_exclude: x}",
            "f.yml:1:14: unknown setting `mount_point_exclude`\n  \
             help: did you mean `mount_points_exclude`?",
        );
    }

    #[test]
    fn devices_are_left_out_or_picked() {
        #[track_caller]
        fn check(text: &str, default: Option<&str>, accepted: &str) {
            let mut diagnostics = Diagnostics::new("f.yml");
            let config = base::yaml::read(text, &mut diagnostics).unwrap();
            let filter = devices(config, default, &mut diagnostics);
            assert!(diagnostics.is_empty(), "{diagnostics}");
            let all = ["sda", "sda1", "nvme0n1", "nvme0n1p1", "loop0", "md0"];
            let got: Vec<_> = all.into_iter().filter(|device| filter.accepts(device)).collect();
            assert_eq!(got.join(" "), accepted, "{text}");
        }
        check("", None, "sda sda1 nvme0n1 nvme0n1p1 loop0 md0");
        check("", Some(DISKS_EXCLUDE), "sda nvme0n1 md0");
        check("device_exclude: ''", Some(DISKS_EXCLUDE), "sda sda1 nvme0n1 nvme0n1p1 loop0 md0");
        check("device_exclude: ^sd", Some(DISKS_EXCLUDE), "nvme0n1 nvme0n1p1 loop0 md0");
        check("device_include: 1$", Some(DISKS_EXCLUDE), "sda1 nvme0n1 nvme0n1p1");
        check("device_include: ''", Some(DISKS_EXCLUDE), "sda nvme0n1 md0");
    }
}
