//! Writing the answers of queries: series with a sample at each of 121 steps, as a panel of half an hour
//! has them, and many series with one sample each.
//!
//! Invariant: most values have as many digits as rates have.

use std::hint::black_box;
use std::time::Duration;

use alertmanager::api::answer_text;
use base::labels::Labels;
use base::sample::{Sample, Timestamp};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use promql::{Histograms, Output, Range, Series, Value};

const STEPS: u64 = 121;
const STEP: Duration = Duration::from_secs(15);

fn started() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_123)
}

fn labels(n: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "queue_depth"),
        ("instance", &format!("host-{:03}:9100", n / 10)),
        ("job", "queues"),
        ("queue", &format!("q{:03}", n % 10)),
    ])
}

fn sample(n: usize, step: u64) -> Sample {
    let timestamp = started() + STEP * u32::try_from(step).unwrap_or(0);
    let whole = (n as u64 * 7919 + step * 31) % 1000;
    let value = if n.is_multiple_of(8) { whole as f64 } else { whole as f64 / 7.0 };
    Sample { timestamp, value }
}

fn output(value: Value) -> Output {
    Output { value, annotations: Vec::new(), histograms: Histograms::default() }
}

fn answer(c: &mut Criterion) {
    let mut group = c.benchmark_group("answer");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let range = Range::new(started(), started() + STEP * 120, STEP);
    // The last one is written by two threads.
    for count in [1, 50, 1000] {
        let samples = |n| (0..STEPS).map(|step| sample(n, step)).collect();
        let series = (0..count).map(|n| Series { labels: labels(n), samples: samples(n) });
        let output = output(Value::Matrix(series.collect()));
        group.throughput(Throughput::Elements(STEPS * count as u64));
        group.bench_function(format!("{count} series with steps"), |b| {
            b.iter(|| answer_text(black_box(&output), range).len());
        });
    }
    let output = output(Value::Vector((0..20_000).map(|n| (labels(n), sample(n, 0))).collect()));
    group.throughput(Throughput::Elements(20_000));
    group.bench_function("20000 series with one sample", |b| {
        b.iter(|| answer_text(black_box(&output), Range::instant(started())).len());
    });
    group.finish();
}

criterion_group!(benches, answer);
criterion_main!(benches);
