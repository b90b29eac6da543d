//! The host collectors beside the real node_exporter, both on this machine: the same series under
//! the same names, with the same help and types, and counters that agree with what node_exporter
//! said just before and just after.
//!
//! Invariant: what is left out of the comparison is named here, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::exposition::{Encoding, Escaping, Format, encode, parse_families};
use base::family::{MetricFamily, MetricKind};
use base::sample::Timestamp;
use probes::host::HostConfig;
use tests::program::{Program, free_port};
use tests::{get, peers, wait_until};

/// The collectors that we have and node_exporter 1.11, too: `dmmultipath` is newer.
const COLLECTORS: [&str; 47] = [
    "arp",
    "bcache",
    "bonding",
    "btrfs",
    "conntrack",
    "cpu",
    "cpufreq",
    "diskstats",
    "dmi",
    "edac",
    "entropy",
    "fibrechannel",
    "filefd",
    "filesystem",
    "hwmon",
    "infiniband",
    "ipvs",
    "kernel_hung",
    "loadavg",
    "mdadm",
    "meminfo",
    "netclass",
    "netdev",
    "netstat",
    "nfs",
    "nfsd",
    "nvme",
    "os",
    "powersupplyclass",
    "pressure",
    "rapl",
    "schedstat",
    "selinux",
    "sockstat",
    "softnet",
    "stat",
    "tapestats",
    "textfile",
    "thermal_zone",
    "time",
    "timex",
    "udp_queues",
    "uname",
    "vmstat",
    "watchdog",
    "xfs",
    "zfs",
];
/// What is left out by the project's own default; packagers change it.
const MOUNT_POINTS: &str =
    "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
/// A family of ours that is newer than node_exporter 1.11.
const NEWER: &str = "node_disk_device_mapper_backing_device_info";
/// Families of node_exporter that are not about the host, or that no table of its names has: the clock
/// speed that hardware reports.
const NOT_OURS: [&str; 4] = [
    "node_exporter_build_info",
    "node_cpu_frequency_min_hertz",
    "node_cpu_frequency_max_hertz",
    "node_cpu_frequency_hertz",
];
/// Gauges that stay what they are while the test runs. `node_filesystem_readonly` is not among them:
/// node_exporter 1.11 overlooks `ro` beside other options, which 1.12 has put right.
const STEADY: [&str; 16] = [
    "node_boot_time_seconds",
    "node_entropy_pool_size_bits",
    "node_filefd_maximum",
    "node_filesystem_device_error",
    "node_filesystem_files",
    "node_filesystem_mount_info",
    "node_filesystem_size_bytes",
    "node_memory_HugePages_Total",
    "node_memory_MemTotal_bytes",
    "node_memory_SwapTotal_bytes",
    "node_network_flags",
    "node_network_iface_id",
    "node_network_mtu_bytes",
    "node_network_speed_bytes",
    "node_nf_conntrack_entries_limit",
    "node_uname_info",
];

/// A node_exporter that ends with the test.
struct NodeExporter {
    _program: Program,
    url: String,
}

impl NodeExporter {
    fn start() -> Option<Self> {
        let (path, port) = (peers::program("prometheus-node-exporter")?, free_port());
        let mut command = Command::new(path);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg("--web.disable-exporter-metrics").arg("--collector.disable-defaults");
        command.args(COLLECTORS.map(|collector| format!("--collector.{collector}")));
        command.arg(format!("--collector.filesystem.mount-points-exclude={MOUNT_POINTS}"));
        let url = format!("http://127.0.0.1:{port}/metrics");
        let exporter = Self { _program: Program::spawn(command), url };
        wait_until("node_exporter answers", || get(&exporter.url).is_some());
        Some(exporter)
    }

    fn scrape(&self) -> Vec<MetricFamily> {
        let (status, text) = get(&self.url).unwrap();
        assert_eq!(status, 200, "{text}");
        parse(&text)
    }
}

fn parse(text: &str) -> Vec<MetricFamily> {
    parse_families(text.as_bytes(), Format::Text, 64 << 20).unwrap()
}

type Series<'f> = BTreeMap<(&'f str, Vec<(&'f str, &'f str)>), f64>;

/// The values by name and labels.
fn series(families: &[MetricFamily]) -> Series<'_> {
    let samples = families.iter().flat_map(|family| {
        family.samples.iter().map(|sample| {
            let mut labels: Vec<_> =
                sample.labels.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect();
            labels.sort_unstable();
            // On kernels that lack one of the files about queues, node_exporter 1.11 gives up on
            // all of them and takes every disk for one that does not rotate.
            labels.retain(|(name, _)| *name != "rotational");
            ((family.name.as_str(), labels), sample.value)
        })
    });
    samples.collect()
}

/// What is told of each family besides its samples.
fn metadata(families: &[MetricFamily]) -> BTreeMap<&str, (MetricKind, &str)> {
    families.iter().map(|f| (f.name.as_str(), (f.kind, f.help.as_str()))).collect()
}

#[test]
fn shows_what_node_exporter_shows() {
    let Some(exporter) = NodeExporter::start() else { return };
    let mut diagnostics = Diagnostics::new("test");
    let newer = Spanned { value: "dmmultipath".to_owned(), place: Place::default() };
    let host = HostConfig { disable: vec![newer], ..HostConfig::default() };
    let host = host.build(&mut diagnostics);
    // Both have kept descriptors and the highest CPU times then.
    host.collect(Timestamp::now());
    exporter.scrape();
    let mut before = exporter.scrape();
    let mut text = String::new();
    let encoding = Encoding { format: Format::Text, names: Escaping::Underscores };
    encode(&host.collect(Timestamp::now()), encoding, &mut text);
    let mut ours = parse(&text);
    ours.retain(|family| family.name != NEWER);
    let mut after = exporter.scrape();
    for families in [&mut before, &mut after] {
        families.retain(|family| !NOT_OURS.contains(&family.name.as_str()));
    }
    assert_eq!(metadata(&ours), metadata(&before));

    let (before, ours, after) = (series(&before), series(&ours), series(&after));
    let names = |series: &Series<'_>| -> BTreeSet<String> {
        series.keys().map(|(name, labels)| format!("{name} {labels:?}")).collect()
    };
    let (of_theirs, of_ours) = (names(&before), names(&ours));
    let missing: Vec<_> = of_theirs.difference(&of_ours).collect();
    let more: Vec<_> = of_ours.difference(&of_theirs).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");

    let mut compared = 0;
    for (key, value) in &ours {
        let (name, _) = key;
        let (least, most) = (before[key], after[key]);
        let is_collectors = name.starts_with("node_scrape_collector");
        if name.ends_with("_total") || *name == "node_time_seconds" {
            // We have milliseconds of the time, and CPU time that steps back is held at the highest
            // value seen, which is each program's own.
            let slack = 0.1;
            assert!(least - slack <= *value && *value <= most + slack, "{key:?}: {value}");
            compared += 1;
        } else if STEADY.contains(name) || is_collectors && name.ends_with("_success") {
            assert_eq!((*value, *value), (least, most), "{key:?}");
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} values were compared");
}
