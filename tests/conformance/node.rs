//! The host collectors: the names of node_exporter 1.11 and, on a tree of `/proc`, `/sys` and udev
//! files, its values.
//!
//! `node/COLLECTOR` compares every series of a recorded output with ours: name, labels, value, help
//! and type; one more case is that ours has no other series. `node/families` asks for every family
//! that the tables list for a collector that we have. `node/names` looks at what each
//! collector shows of this machine: no name, type or label that the tables do not know.
//!
//! The recordings of `netdev` are of the machine that they were made on, because node_exporter asks
//! the kernel and not the tree: all but the values is compared, with the loopback device here.
//!
//! Invariant: nothing of a recorded series is left uncompared, but for those values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::exposition::{Format, parse_families};
use base::family::{MetricFamily, MetricKind};
use base::labels::{LabelsBuilder, METRIC_NAME};
use base::number;
use base::sample::Timestamp;
use probes::host::{
    BcacheConfig, CpuConfig, DeviceConfig, HostConfig, PathsConfig, StatConfig, TextfileConfig,
};

use crate::report::Report;

/// What we have, each with a recorded output.
const RECORDED: [&str; 26] = [
    "arp",
    "bonding",
    "cpu",
    "diskstats",
    "edac",
    "fibrechannel",
    "filefd",
    "infiniband",
    "kernel_hung",
    "loadavg",
    "mdadm",
    "netstat",
    "nfsd",
    "nvme",
    "powersupplyclass",
    "pressure",
    "rapl",
    "sockstat",
    "softnet",
    "stat",
    "tapestats",
    "thermal_zone",
    "udp_queues",
    "watchdog",
    "xfs",
    "zfs",
];
/// What we have besides. The recording of `dmi` has a label broken over two lines, which is no text
/// of the format.
const OTHERS: [&str; 22] = [
    "bcache",
    "btrfs",
    "conntrack",
    "cpufreq",
    "dmi",
    "dmmultipath",
    "entropy",
    "filesystem",
    "hwmon",
    "ipvs",
    "meminfo",
    "netclass",
    "netdev",
    "nfs",
    "os",
    "schedstat",
    "selinux",
    "textfile",
    "time",
    "timex",
    "uname",
    "vmstat",
];
/// What runs by default there and is not here, as the manual says.
const NOT_HERE: [&str; 1] = ["bcachefs"];
/// Families that are newer than the tables and the recordings, with type and labels.
const NEWER: [(&str, &str, &str); 2] = [
    ("node_cpu_online", "gauge", "cpu"),
    ("node_disk_device_mapper_backing_device_info", "gauge", "backing_device,device"),
];
/// Families whose labels are not in the tables.
const UNLABELLED: [&str; 2] = ["node_dmi_info", "node_textfile_mtime_seconds"];
/// Metrics of node_exporter itself.
const ITS_OWN: &str = "node_exporter_build_info";

pub(crate) fn run(report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let unpacked = std::process::Command::new("tar")
        .arg("-xJf")
        .arg(report.path("node/fixtures.tar.xz"))
        .arg("-C")
        .arg(folder.path())
        .status();
    assert!(unpacked.is_ok_and(|status| status.success()), "tar and xz unpack the tree");
    let tree = folder.path().join("fixtures");
    for collector in RECORDED {
        let mut expected = recorded(report, collector);
        move_tree(&mut expected, &tree);
        let mut ours = collect(&tree, &[collector]);
        // The tables have them, but not the version that was recorded.
        ours.retain(|family| !family.name.starts_with("node_edac_channel_"));
        ours.retain(|family| !NEWER.iter().any(|(name, ..)| *name == family.name));
        report.suite(&format!("node/{collector}"), compare(&expected, &ours, |value| value));
    }
    let live = HostConfig {
        collectors: Some(vec![written("netdev")]),
        netdev: DeviceConfig { device_include: Some(written("^lo$")), device_exclude: None },
        ..HostConfig::default()
    };
    let expected = recorded(report, "netdev");
    report.suite("node/netdev", compare(&expected, &families(live), |_| "of its machine".into()));
    report.suite("node/families", all_families(report, &tree));
    report.suite("node/names", names(report));
}

/// Where the tree lay at the recording, one label tells where it lies.
fn move_tree(families: &mut [MetricFamily], tree: &Path) {
    let samples = families.iter_mut().flat_map(|family| &mut family.samples);
    for (_, value) in samples.flat_map(|sample| &mut sample.labels) {
        if let Some(path) = value.strip_prefix("collector/fixtures/") {
            *value = tree.join(path).to_string_lossy().into_owned();
        }
    }
}

fn written(text: &str) -> Spanned<String> {
    Spanned { value: text.to_owned(), place: Place::default() }
}

fn families(config: HostConfig) -> Vec<MetricFamily> {
    let mut diagnostics = Diagnostics::new("test");
    let host = config.build(&mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    let now = Timestamp::now();
    // The second time everything is read from what the first one kept.
    host.collect(now);
    let mut families = host.collect(now);
    families.retain(|family| !family.name.starts_with("node_scrape_collector_"));
    families
}

/// What `collectors` give on the tree, with the options of `fixture-output/manifest.tsv`.
fn collect(tree: &Path, collectors: &[&str]) -> Vec<MetricFamily> {
    families(HostConfig {
        collectors: Some(collectors.iter().map(|name| written(name)).collect()),
        cpu: CpuConfig {
            info: true,
            flags_include: Some(written("^(aes|avx.?|constant_tsc)$")),
            bugs_include: Some(written("^(cpu_meltdown|spectre_.*|mds)$")),
        },
        stat: StatConfig { softirqs: true },
        bcache: BcacheConfig { priority_stats: true },
        arp: DeviceConfig { device_exclude: Some(written("^nope$")), device_include: None },
        textfile: TextfileConfig {
            directories: vec![written(&format!("{}/textfile/two_metric_files", tree.display()))],
        },
        paths: PathsConfig {
            procfs: tree.join("proc"),
            sysfs: tree.join("sys"),
            rootfs: tree.to_owned(),
            udev: tree.join("udev/data"),
        },
        ..HostConfig::default()
    })
}

fn recorded(report: &Report, collector: &str) -> Vec<MetricFamily> {
    let text = report.text(&format!("node/fixture-output/{collector}.prom"));
    let mut families = parse_families(text.as_bytes(), Format::Text, 16 << 20).unwrap();
    families.retain(|family| family.name != ITS_OWN);
    families
}

/// Everything that is told of a series: kind, help, value, by name and labels.
fn series(
    families: &[MetricFamily],
    value: impl Fn(String) -> String,
) -> BTreeMap<String, (MetricKind, &str, String)> {
    let mut series = BTreeMap::new();
    for family in families {
        for sample in &family.samples {
            let mut labels = LabelsBuilder::default();
            labels.set(METRIC_NAME, &format!("{}{}", family.name, sample.suffix));
            // An empty label is none to the storage, but here it has to be written.
            let empty = sample.labels.iter().filter(|(_, value)| value.is_empty());
            let empty: BTreeSet<_> = empty.map(|(name, _)| name.to_string()).collect();
            sample.labels.iter().for_each(|(name, value)| _ = labels.set(name, value));
            let key = format!("{} {}", labels.build(), Vec::from_iter(empty).join(","));
            let told = (family.kind, family.help.as_str(), value(number::shortest(sample.value)));
            assert_eq!(series.insert(key, told), None, "twice: {}", family.name);
        }
    }
    series
}

fn compare(
    expected: &[MetricFamily],
    ours: &[MetricFamily],
    value: impl Fn(String) -> String,
) -> Vec<(String, Result<(), String>)> {
    let mut ours = series(ours, &value);
    let mut cases: Vec<_> = series(expected, &value)
        .into_iter()
        .map(|(name, expected)| {
            let result = match ours.remove(&name) {
                Some(got) if got == expected => Ok(()),
                Some(got) => Err(format!("{got:?} and not {expected:?}")),
                None => Err("missing".to_owned()),
            };
            (name, result)
        })
        .collect();
    let more: Vec<_> = ours.into_keys().collect();
    let none_more = if more.is_empty() { Ok(()) } else { Err(more.join("; ")) };
    cases.push(("no other series".to_owned(), none_more));
    cases
}

/// The type and the names of the labels of a family, as the tables write them.
fn shapes(family: &MetricFamily) -> BTreeSet<(String, String)> {
    let kind = match family.kind {
        MetricKind::Unknown => "untyped",
        kind => kind.as_str(),
    };
    let shape = family.samples.iter().map(|sample| {
        let names: BTreeSet<_> = sample.labels.iter().map(|(name, _)| name.as_ref()).collect();
        (kind.to_owned(), Vec::from_iter(names).join(","))
    });
    shape.collect()
}

/// The lines of a table that has the columns `name`, `type` and `labels` first.
fn table(report: &Report, path: &str) -> Vec<Vec<String>> {
    let text = report.text(path);
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The types and label names that the tables know of each name.
fn known(report: &Report) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let mut known: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for path in ["node/metrics.tsv", "node/names-on-a-small-vm.tsv"] {
        for line in table(report, path) {
            let [name, kind, labels, ..] = &line[..] else { continue };
            for labels in labels.split(" | ") {
                known.entry(name.clone()).or_default().insert((kind.clone(), labels.to_owned()));
            }
        }
    }
    for (name, kind, labels) in NEWER {
        known.insert(name.to_owned(), BTreeSet::from([(kind.to_owned(), labels.to_owned())]));
    }
    known
}

/// Every family that `metrics.tsv` has for a collector of ours, on the tree; those of `netdev`, for
/// which the tree has no file, on this machine. Another collector that runs by default is missing.
fn all_families(report: &Report, tree: &Path) -> Vec<(String, Result<(), String>)> {
    let known = known(report);
    let ours: Vec<_> = RECORDED.into_iter().chain(OTHERS).collect();
    let mut found = collect(tree, &ours);
    let live = HostConfig { collectors: Some(vec![written("netdev")]), ..HostConfig::default() };
    found.extend(families(live));
    let cases = table(report, "node/metrics.tsv").into_iter().filter_map(|line| {
        let [name, _, _, collector, by_default, help] = &line[..] else { panic!("{line:?}") };
        let is_known_to_be_missing = NOT_HERE.contains(&collector.as_str());
        if !ours.contains(&collector.as_str()) {
            let wanted = by_default == "yes" && !is_known_to_be_missing;
            return wanted.then(|| (name.clone(), Err(format!("no collector `{collector}`"))));
        }
        assert!(!is_known_to_be_missing, "`{collector}` is here");
        // The help of what is read from a file names it.
        let help = help.replace("collector/fixtures", &tree.to_string_lossy());
        let result = match found.iter().find(|family| family.name == *name) {
            None => Err("missing".to_owned()),
            Some(family) if family.help != help => Err(format!("help: {}", family.help)),
            // The tables have no labels of these, which depend on the machine and the files.
            Some(_) if UNLABELLED.contains(&name.as_str()) => Ok(()),
            Some(family) if shapes(family).is_subset(&known[name]) => Ok(()),
            Some(family) => Err(format!("{:?} and not {:?}", shapes(family), known[name])),
        };
        Some((name.clone(), result))
    });
    cases.collect()
}

/// Every family that we show of this machine: the tables know it so. A case is a collector, because
/// how many families there are is the machine's affair.
fn names(report: &Report) -> Vec<(String, Result<(), String>)> {
    let known = known(report);
    let cases = RECORDED.into_iter().chain(OTHERS).map(|collector| {
        let collectors = Some(vec![written(collector)]);
        let mut diagnostics = Diagnostics::new("test");
        let host = HostConfig { collectors, ..HostConfig::default() }.build(&mut diagnostics);
        let mut unknown = Vec::new();
        for family in host.collect(Timestamp::now()) {
            if !known.get(&family.name).is_some_and(|known| shapes(&family).is_subset(known)) {
                unknown.push(format!("{} {:?}", family.name, shapes(&family)));
            }
        }
        let result = if unknown.is_empty() { Ok(()) } else { Err(unknown.join("; ")) };
        (collector.to_owned(), result)
    });
    cases.collect()
}
