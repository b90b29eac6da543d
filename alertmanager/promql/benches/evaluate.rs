//! How long queries take over 20,000 series of 150 samples each, 15 seconds apart.
//!
//! Figures to compare with are those of other programs in the measurements of the project: a rate
//! summed by job over 40,000 series takes Prometheus 74 ms at one time and 644 ms over 30 minutes,
//! VictoriaMetrics 91 ms and 172 ms.

use std::hint::black_box;
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use criterion::{Criterion, criterion_group, criterion_main};
use promql::{Options, Query, Range, evaluate, parse};
use storage::{Point, Storage};

const SERIES: usize = 20_000;
const SAMPLES: i64 = 150;
const STEP: i64 = 15_000;
const BOUNDS: [&str; 10] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];

fn labels(name: &str, n: usize, le: Option<&str>) -> Labels {
    let (job, instance) = (format!("job-{}", n % 20), format!("host-{:03}:9100", n / 20 % 200));
    let path = format!("/api/v1/resource_{}", n / 4000);
    let pairs = [
        ("__name__", name),
        ("job", &job),
        ("instance", &instance),
        ("path", &path),
        ("code", "200"),
    ];
    let labels = Labels::from_pairs(pairs);
    le.map_or_else(|| labels.clone(), |le| labels.with("le", le))
}

fn filled() -> Storage {
    let storage = Storage::in_memory(storage::Options::default());
    let mut all: Vec<Labels> = (0..SERIES).map(|n| labels("x_total", n, None)).collect();
    for n in 0..SERIES / BOUNDS.len() {
        all.extend(BOUNDS.iter().map(|le| labels("x_bucket", n, Some(le))));
    }
    let series: Vec<_> =
        all.iter().map(|labels| storage.series(labels).expect("there is room")).collect();
    for n in 0..SAMPLES {
        let points: Vec<_> = series
            .iter()
            .enumerate()
            .map(|(m, series)| Point {
                series: *series,
                timestamp: Timestamp::from_millis(n * STEP + (m as i64 * 7919) % STEP),
                value: (n * (1 + m as i64 % 37) + (n * m as i64) % 5) as f64,
            })
            .collect();
        storage.append(&points).expect("nothing is written");
    }
    storage
}

fn queries(c: &mut Criterion) {
    let storage = filled();
    let end = Timestamp::from_millis(SAMPLES * STEP);
    let instant = Range::instant(end);
    let range = Range::new(end - Duration::from_secs(1800), end, Duration::from_millis(15_000));
    let mut group = c.benchmark_group("evaluate");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    let quantile = "histogram_quantile(0.99, sum by (le) (rate(x_bucket[5m])))";
    for (name, text, range) in [
        ("rate sum by job, instant", "sum by (job) (rate(x_total[5m]))", instant),
        ("rate sum by job, range", "sum by (job) (rate(x_total[5m]))", range),
        ("quantile over all, instant", quantile, instant),
        ("quantile over all, range", quantile, range),
        ("max over time, instant", "max_over_time(x_total[10m])", instant),
        ("max over time, range", "max_over_time(x_total[10m])", range),
        ("sum over time, range", "sum(sum_over_time(x_total[5m]))", range),
        ("count of all, instant", "count(x_total)", instant),
        (
            "one series, instant",
            r#"x_total{job="job-7",instance="host-007:9100",path="/api/v1/resource_2"}"#,
            instant,
        ),
        (
            "one series, range",
            r#"x_total{job="job-7",instance="host-007:9100",path="/api/v1/resource_2"}"#,
            range,
        ),
    ] {
        let query = Query::new(text).expect("the query is right");
        let options = Options::default();
        group.bench_function(name, |b| {
            b.iter(|| evaluate(black_box(&query), &storage, range, &options).expect("an answer"));
        });
    }
    group.finish();
}

fn parsing(c: &mut Criterion) {
    let part = r#"sum by (job, instance) (rate(http_requests_total{job="api",code=~"5.."}[5m]))
        / on (job) group_left (team) sum by (job, team) (rate(http_requests_total[5m])) > 0.05"#;
    let long = vec![part; 20].join("\n  or ");
    let mut group = c.benchmark_group("parse");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    group.bench_function("3,700 characters", |b| b.iter(|| parse(black_box(&long)).expect("fine")));
    group.bench_function("read and check a rule", |b| {
        b.iter(|| Query::new(black_box(part)).expect("fine"));
    });
    group.finish();
}

criterion_group!(benches, queries, parsing);
criterion_main!(benches);
