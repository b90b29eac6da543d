//! Appending scrapes of 10,000 series, with and without the log, and selecting from three hours of
//! them, 15 seconds apart; reading the log; native histograms.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use base::histogram::Histogram;
use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use storage::{Beside, Options, Point, SeriesRef, Storage, histogram_value};

const SERIES: usize = 10_000;
const STEP: i64 = 15_000;
const SCRAPES: i64 = 720;

fn labels(n: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("x_{}_total", n % 20).as_str()),
        ("instance", &format!("host-{:03}:9100", n / 20 % 50)),
        ("job", &format!("job-{}", n % 5)),
        ("path", &format!("/api/v1/resource_{}", n / 1000)),
    ])
}

fn all() -> Vec<Labels> {
    (0..SERIES).map(labels).collect()
}

fn series(storage: &Storage, labels: &[Labels]) -> Vec<SeriesRef> {
    labels.iter().map(|labels| storage.series(labels).expect("there is room")).collect()
}

/// Counters, gauges with fractions and constants, as targets have them.
fn fill(scrape: i64, series: &[SeriesRef], points: &mut Vec<Point>) {
    let timestamp = Timestamp::from_millis(scrape * STEP + scrape * 7919 % 13);
    points.clear();
    points.extend(series.iter().enumerate().map(|(n, &series)| {
        let value = match n % 4 {
            0 => (scrape * (1 + n as i64 % 37)) as f64,
            1 => (scrape * 1000 + scrape * n as i64 % 997) as f64,
            2 => ((scrape * 31 + n as i64) % 1000) as f64 / 7.0,
            _ => n as f64,
        };
        Point { series, timestamp, value }
    }));
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .throughput(Throughput::Elements(SERIES as u64));
    let labels = all();
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = Storage::open(folder.path(), Options::default()).expect("a storage");
    for (name, storage) in [
        ("a scrape, in memory", Storage::in_memory(Options::default())),
        ("a scrape, with the log", on_disk),
    ] {
        let (series, mut scrape, mut points) = (series(&storage, &labels), 0, Vec::new());
        group.bench_function(name, |b| {
            b.iter(|| {
                scrape += 1;
                fill(scrape, &series, &mut points);
                storage.append(black_box(&points)).expect("the disk takes it")
            });
        });
    }
    group.bench_function("the points alone, for comparison", |b| {
        let series = series(&Storage::in_memory(Options::default()), &labels);
        let (mut scrape, mut points) = (0, Vec::new());
        b.iter(|| {
            scrape += 1;
            fill(scrape, &series, &mut points);
            black_box(&points).len()
        });
    });
    group.bench_function("series that are new", |b| {
        let storage = || Storage::in_memory(Options::default());
        b.iter_batched(
            storage,
            |storage| (series(&storage, &labels), storage),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("series that are known", |b| {
        let storage = Storage::in_memory(Options::default());
        series(&storage, &labels);
        b.iter(|| series(&storage, black_box(&labels)));
    });
    group.finish();
}

fn select(c: &mut Criterion) {
    let storage = Storage::in_memory(Options::default());
    let (series, mut points) = (series(&storage, &all()), Vec::new());
    for scrape in 0..SCRAPES {
        fill(scrape, &series, &mut points);
        storage.append(&points).expect("nothing is written");
    }
    let end = Timestamp::from_millis(SCRAPES * STEP);
    let matcher = |name, op, value| Matcher::new(name, op, value).expect("a matcher");
    let name = matcher("__name__", MatchOp::Equal, "x_7_total");
    let one = [
        name.clone(),
        matcher("instance", MatchOp::Equal, "host-007:9100"),
        matcher("path", MatchOp::Equal, "/api/v1/resource_3"),
    ];
    let part = [name.clone(), matcher("instance", MatchOp::Matches, "host-0[0-4].*")];
    let everything = [matcher("__name__", MatchOp::Matches, ".+")];
    let mut group = c.benchmark_group("select");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for (title, matchers, range) in [
        ("1 series, 5 min", &one[..], 300),
        ("1 series, 3 h", &one[..], 10_800),
        ("500 series by name, 5 min", &[name][..], 300),
        ("about 500 series by pattern, 1 h", &part[..], 3_600),
        ("10,000 series, 5 min", &everything[..], 300),
        ("10,000 series, 1 h", &everything[..], 3_600),
    ] {
        let from = end - Duration::from_secs(range);
        let found = storage.select(matchers, from, end).expect("samples");
        group.throughput(Throughput::Elements(found.iter().map(|s| s.times.len() as u64).sum()));
        group.bench_function(title, |b| {
            b.iter(|| storage.select(black_box(matchers), from, end).expect("samples"));
        });
    }
    group.finish();
}

/// How long a start takes, and what a sample takes on disk.
fn replay(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(folder.path(), Options::default()).expect("a storage");
    let (series, mut points) = (series(&storage, &all()), Vec::new());
    for scrape in 0..240 {
        fill(scrape, &series, &mut points);
        storage.append(&points).expect("the disk takes it");
    }
    drop(storage);
    let mut group = c.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Elements(240 * SERIES as u64));
    group.bench_function("an hour of 10,000 series from the log", |b| {
        b.iter(|| Storage::open_read_only(folder.path()).expect("a storage"));
    });
    group.finish();
}

const HISTOGRAMS: usize = 200;

/// Native histograms of twenty buckets, as targets have them: some buckets grow, some do not.
fn histograms(scrape: i64) -> Vec<Arc<Histogram>> {
    let histogram = |n: usize| {
        let bucket = |at: i32| {
            let speed = i64::from(at % 5) * (1 + n as i64 % 7);
            (at, (scrape * speed + i64::from(at) + 1) as f64)
        };
        let positive: Vec<_> = (0..20).map(bucket).collect();
        let count = positive.iter().map(|(_, count)| count).sum();
        let sum = count * 0.173 + scrape as f64 / 7.0;
        let (schema, zero_threshold) = (3, 1e-128);
        Arc::new(Histogram { schema, zero_threshold, count, sum, positive, ..Histogram::default() })
    };
    (0..HISTOGRAMS).map(histogram).collect()
}

fn native(c: &mut Criterion) {
    let storage = Storage::in_memory(Options::default());
    let labels: Vec<_> = (0..HISTOGRAMS).map(labels).collect();
    let series = series(&storage, &labels);
    let point = |timestamp, (n, series): (usize, &SeriesRef)| Point {
        series: *series,
        timestamp,
        value: histogram_value(n),
    };
    let mut group = c.benchmark_group("native histograms");
    group.sample_size(20).throughput(Throughput::Elements(HISTOGRAMS as u64));
    let mut scrape = 0;
    group.bench_function("append 200 of 20 buckets", |b| {
        b.iter_batched(
            || {
                scrape += 1;
                let timestamp = Timestamp::from_millis(scrape * STEP);
                let points = series.iter().enumerate().map(|one| point(timestamp, one));
                (points.collect::<Vec<_>>(), histograms(scrape))
            },
            |(points, histograms)| {
                let beside = Beside { histograms: &histograms, starts: &[] };
                storage.append_with(&points, beside).expect("nothing is written")
            },
            BatchSize::SmallInput,
        );
    });
    let end = Timestamp::from_millis(scrape * STEP);
    let all = [Matcher::new("__name__", MatchOp::Matches, ".+").expect("a matcher")];
    group.bench_function("select 5 min of them", |b| {
        b.iter(|| storage.select(&all, end - Duration::from_secs(300), end).expect("samples"));
    });
    group.finish();
}

criterion_group!(benches, append, select, replay, native);
criterion_main!(benches);
