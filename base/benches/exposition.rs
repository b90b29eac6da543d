//! Reading a scrape and writing `/metrics`: the page of a host (about 1,200 samples, as
//! node_exporter's) and that of a busy service (10,000 samples in histograms).
//!
//! "entries" is what every scrape costs; "labels" adds what the first scrape of a target costs.

use std::hint::black_box;
use std::time::Duration;

use base::exposition::{Encoding, Entry, Escaping, Format, ParseError, Parser, encode};
use base::family::{LabelPairs, MetricFamily, MetricKind};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What a connection hands over at a time.
const PIECE: usize = 16 << 10;
const BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"];

/// Families with the shape of a host's: many of one sample, some of one sample a CPU, device or
/// filesystem.
fn host() -> Vec<MetricFamily> {
    let mut families = Vec::new();
    for n in 0..250 {
        let name = format!("node_memory_Part{n}_bytes");
        let help = format!("Memory information field Part{n}_bytes.");
        families.push(MetricFamily::gauge(name, help).with(&[], f64::from(n) * 4096.0 * 1021.0));
    }
    let mut cpu =
        MetricFamily::counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
    for n in 0..16 {
        for (m, mode) in ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"]
            .iter()
            .enumerate()
        {
            cpu.add(&[("cpu", &n.to_string()), ("mode", mode)], 12_345.67 * (m + n) as f64 + 0.01);
        }
    }
    families.push(cpu);
    for n in 0..60 {
        let name = format!("node_network_part{n}_bytes_total");
        let mut family = MetricFamily::counter(name, "Network device statistic part_bytes.");
        for device in 0..8 {
            let value = 7_919.0 * f64::from(n) + f64::from(device);
            family.add(&[("device", &format!("enp{device}s0"))], value);
        }
        families.push(family);
    }
    for n in 0..20 {
        let name = format!("node_filesystem_part{n}_bytes");
        let mut family = MetricFamily::gauge(name, "Filesystem space in bytes.");
        for mount in 0..16 {
            let point = format!("/srv/data/{mount}");
            let labels =
                [("device", "/dev/mapper/vg-lv"), ("fstype", "ext4"), ("mountpoint", &point)];
            family.add(&labels, 1.5e11 + f64::from(n * 4096));
        }
        families.push(family);
    }
    families
}

/// Histograms of requests by path and code: 10,080 samples.
fn service() -> Vec<MetricFamily> {
    let histogram = |n: usize| {
        let name = format!("http_server_request_duration_{n}_seconds");
        let mut family = MetricFamily::new(name, "How long requests take.", MetricKind::Histogram);
        for path in 0..72 {
            let labels: LabelPairs = vec![
                ("path".into(), format!("/api/v1/resource_{path}")),
                ("code".into(), "200".to_owned()),
                ("method".into(), "GET".to_owned()),
            ];
            for (at, bound) in BOUNDS.iter().enumerate() {
                let mut labels = labels.clone();
                labels.push(("le".into(), (*bound).to_owned()));
                family.add_pairs("_bucket", labels, (path * 1000 + at * 70) as f64);
            }
            family.add_pairs("_sum", labels.clone(), path as f64 * 12.34567);
            family.add_pairs("_count", labels, (path * 1000 + 770) as f64);
        }
        family
    };
    (0..10).map(histogram).collect()
}

fn text(families: &[MetricFamily], format: Format) -> String {
    let mut text = String::new();
    encode(families, Encoding { format, names: Escaping::Underscores }, &mut text);
    text
}

/// Reads a body as it arrives; gives the number of its samples.
fn read(body: &str, format: Format, labels: bool) -> usize {
    let mut parser = Parser::new(format, body.len());
    let mut samples = 0;
    let mut entry = |entry: Entry<'_>| {
        if let Entry::Sample(sample) = entry {
            samples += 1;
            if labels {
                black_box(sample.labels()?);
            }
            black_box(sample);
        }
        Ok::<(), ParseError>(())
    };
    let mut pieces = body.as_bytes().chunks(PIECE);
    let read = pieces.try_for_each(|piece| parser.feed(piece, &mut entry));
    read.and_then(|()| parser.finish(&mut entry)).expect("what we wrote is valid");
    samples
}

fn exposition(c: &mut Criterion) {
    let mut group = c.benchmark_group("exposition");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, families) in [("host", host()), ("service", service())] {
        for (kind, format) in [("text", Format::Text), ("openmetrics", Format::OpenMetrics)] {
            let body = text(&families, format);
            group.throughput(Throughput::Bytes(body.len() as u64));
            let samples: usize = families.iter().map(|family| family.samples.len()).sum();
            assert_eq!(read(&body, format, true), samples);
            group.bench_function(format!("parse {name}, {kind}, entries"), |b| {
                b.iter(|| read(black_box(&body), format, false));
            });
            if format == Format::Text {
                group.bench_function(format!("parse {name}, {kind}, labels"), |b| {
                    b.iter(|| read(black_box(&body), format, true));
                });
            }
            let (encoding, mut out) =
                (Encoding { format, names: Escaping::Underscores }, String::new());
            group.bench_function(format!("encode {name}, {kind}"), |b| {
                b.iter(|| {
                    out.clear();
                    encode(black_box(&families), encoding, &mut out);
                    out.len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, exposition);
criterion_main!(benches);
