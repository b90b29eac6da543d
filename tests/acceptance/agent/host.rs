//! The host's own numbers on `/metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base::exposition::{Format, parse_families};
use base::family::{MetricFamily, MetricKind};
use tests::program::End;
use tests::{peers, wait_until};

use crate::stage::Stage;

/// The collectors that the page says were read.
fn collectors(metrics: &str) -> Vec<String> {
    let lines = metrics.lines();
    let read =
        lines.filter_map(|line| line.strip_prefix("node_scrape_collector_success{collector=\""));
    read.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn the_host_and_the_process_are_shown_without_a_word_of_configuration() {
    let agent = Stage::with("checks: []").start();
    let metrics = agent.metrics();
    assert!(collectors(&metrics).len() >= 18, "{metrics}");
    for name in [
        "node_cpu_seconds_total{",
        "node_memory_MemAvailable_bytes ",
        "node_load1 ",
        "node_filesystem_avail_bytes{",
        "node_disk_io_time_seconds_total{",
        "node_network_receive_bytes_total{",
        "node_boot_time_seconds ",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_start_time_seconds ",
        "veilleur_host_read_in_time 1",
    ] {
        assert!(metrics.contains(&format!("\n{name}")), "{name} is missing in\n{metrics}");
    }
    let first = metrics.lines().find(|line| !line.starts_with('#')).unwrap();
    assert!(first.starts_with("veilleur_agent_info{version=\""), "{first}");
}

/// A type and the names of the labels.
type Shape = (String, String);

/// The shapes that tables of node_exporter's metrics have for each name.
fn shapes_of_node_exporter(folder: &Path) -> BTreeMap<String, BTreeSet<Shape>> {
    let mut shapes = BTreeMap::<_, BTreeSet<_>>::new();
    for table in ["metrics.tsv", "names-on-a-small-vm.tsv"] {
        let text = std::fs::read_to_string(folder.join(table)).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
            let columns: Vec<_> = line.split('\t').map(str::to_owned).collect();
            let [name, kind, labels, ..] = &columns[..] else { panic!("{table}: {line}") };
            shapes.entry(name.clone()).or_default().insert((kind.clone(), labels.clone()));
        }
    }
    shapes
}

fn shapes(family: &MetricFamily) -> BTreeSet<Shape> {
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

#[test]
fn every_number_of_the_host_is_node_exporters_in_name_type_and_labels() {
    let Some(folder) = peers::conformance("node") else { return };
    let known = shapes_of_node_exporter(&folder);
    let agent = Stage::with("host: {cpu: {info: true}, stat: {softirqs: true}}").start();
    let families = parse_families(agent.metrics().as_bytes(), Format::Text, 64 << 20).unwrap();
    let others = ["veilleur_", "process_"];
    let (ours, host): (Vec<_>, Vec<_>) = families
        .iter()
        .partition(|family| others.iter().any(|other| family.name.starts_with(other)));
    assert!(ours.len() > 10 && host.len() > 100, "{} and {}", ours.len(), host.len());
    for family in host {
        let known = known.get(&family.name).unwrap_or_else(|| panic!("{} is not its", family.name));
        assert!(shapes(family).is_subset(known), "{}: {:?}", family.name, shapes(family));
    }
}

#[test]
fn a_reload_applies_what_is_switched_on_and_off() {
    let stage =
        Stage::with("host: {collectors: [loadavg, netdev], netdev: {device_include: '^lo$'}}");
    let agent = stage.start();
    assert_eq!(collectors(&agent.metrics()), ["loadavg", "netdev"]);
    assert_eq!(agent.metrics().matches("\nnode_network_receive_bytes_total{").count(), 1);
    stage.configure("host: {enabled: false}");
    agent.program.signal("HUP");
    wait_until("the host is gone", || !agent.metrics().contains("node_"));
    assert_eq!(agent.value("veilleur_host_read_in_time"), None);
    stage.configure("host: {disable: [netclass]}");
    agent.program.signal("HUP");
    wait_until("the host is back", || collectors(&agent.metrics()).len() >= 17);
    assert!(!collectors(&agent.metrics()).contains(&"netclass".to_owned()));
}

/// A file that nobody writes to stands for a disk that does not answer: whoever opens it waits.
#[test]
fn a_host_that_does_not_answer_hides_no_check() {
    let stage = Stage::new();
    std::fs::create_dir(stage.path("proc")).unwrap();
    let made = Command::new("mkfifo").arg(stage.path("proc/stat")).status().unwrap();
    assert!(made.success());
    stage.configure(&format!(
        "host: {{collectors: [stat], paths: {{procfs: {}}}}}\n\
         checks:\n  - {{name: good, interval: 1s, probe: {{script: {{command: [/bin/true]}}}}}}\n",
        stage.text("proc")
    ));
    let mut agent = stage.start();
    agent.wait_for("veilleur_check_status{check=\"good\"}", 0.0);
    for _ in 0..3 {
        let begun = Instant::now();
        let metrics = agent.metrics();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(metrics.contains("\nveilleur_host_read_in_time 0\n"), "{metrics}");
        assert!(!metrics.contains("\nnode_"), "{metrics}");
    }
    let threads = || {
        let tasks = format!("/proc/{}/task", agent.program.pid());
        std::fs::read_dir(tasks).unwrap().count()
    };
    assert!(threads() < 20, "{} threads", threads());
    let begun = Instant::now();
    let (status, health) = agent.health();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(status, 200);
    assert_eq!(health["notes"][0], "host: not read within 2s");
    agent.program.signal("TERM");
    assert_eq!(agent.program.wait(), End::Exit(0), "{}", agent.program.log());
}
