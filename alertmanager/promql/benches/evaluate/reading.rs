//! Reading texts, as when rule files are loaded.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use promql::{Query, parse};

pub(crate) fn bench(c: &mut Criterion) {
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
