//! Ten queries, as dashboards and people ask them.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use promql::{Options, Query, Range, evaluate};

use crate::samples;

pub(crate) const QUERIES: [(&str, &str); 10] = [
    ("one series", r#"queue_depth{instance="host-007",queue="q003"}"#),
    ("rate sum by job", "sum by (job) (rate(http_requests_total[5m]))"),
    (
        "topk of errors",
        r#"topk(10, sum by (instance) (rate(http_requests_total{code=~"5.."}[5m])))"#,
    ),
    (
        "quantile over all",
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    (
        "quantile of one handler",
        r#"histogram_quantile(0.99, sum by (le, job)
            (rate(http_request_duration_seconds_bucket{handler="/api/v1/resource_03"}[5m])))"#,
    ),
    ("count of all", r#"count({__name__=~".+"})"#),
    ("CPU busy", r#"1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))"#),
    (
        "error share",
        r#"sum by (job) (rate(http_requests_total{code="500"}[5m]))
            / on (job) sum by (job) (rate(http_requests_total[5m]))"#,
    ),
    ("max over 30 min", r#"max by (queue) (max_over_time(queue_depth{job="job3"}[30m]))"#),
    ("quantile over time", r#"quantile_over_time(0.9, queue_depth{instance=~"host-00.+"}[10m])"#),
];

pub(crate) fn bench(c: &mut Criterion) {
    let storage = samples::filled();
    let end = samples::end();
    let start = end - Duration::from_secs(1800);
    let ranges = [
        ("instant", Range::instant(end)),
        ("range", Range::new(start, end, Duration::from_secs(15))),
    ];
    for (kind, range) in ranges {
        let mut group = c.benchmark_group(kind);
        group
            .sample_size(10)
            .measurement_time(Duration::from_secs(2))
            .warm_up_time(Duration::from_millis(500));
        for (name, text) in QUERIES {
            let query = Query::new(text).expect("the query is right");
            let options = Options::default();
            group.bench_function(name, |b| {
                b.iter(|| {
                    evaluate(black_box(&query), &storage, range, &options).expect("an answer")
                });
            });
        }
        group.finish();
    }
}
