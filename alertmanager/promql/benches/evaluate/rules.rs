//! One evaluation of 1,000 alert rules and 200 recording rules, in the proportions of real rule
//! sets: shares, quantiles, thresholds, trends, joins.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use promql::{Options, Query, Range, evaluate};
use storage::Storage;

use crate::samples;

const BUCKET: &str = "http_request_duration_seconds_bucket";

pub(crate) fn expressions() -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |text: String| all.push(text);
    let handlers: Vec<_> =
        (0..20).map(|n| format!("handler=\"/api/v1/resource_{n:02}\"")).collect();
    let jobs: Vec<_> = (0..10).map(|n| format!("job=\"job{n}\"")).collect();
    for handler in &handlers {
        for job in &jobs {
            let s = format!("{handler},{job}");
            add(format!(
                "sum by (job, handler) (rate(http_requests_total{{code=~\"5..\",{s}}}[5m])) \
                 / sum by (job, handler) (rate(http_requests_total{{{s}}}[5m])) > 0.9"
            ));
            add(format!(
                "histogram_quantile(0.99, sum by (le, job, handler) (rate({BUCKET}{{{s}}}[5m]))) > 20"
            ));
        }
        add(format!("sum by (job, code) (rate(http_requests_total{{{handler}}}[5m]))"));
        add(format!("sum by (le) (rate({BUCKET}{{{handler}}}[5m]))"));
        add(format!("histogram_quantile(0.9, sum by (le, job) (rate({BUCKET}{{{handler}}}[5m])))"));
    }
    for (n, job) in jobs.iter().enumerate() {
        for queue in 0..20 {
            add(format!("queue_depth{{queue=\"q{queue:03}\",{job}}} > 1e6"));
        }
        for queue in 20..30 {
            let queue = format!("queue_depth{{queue=\"q{queue:03}\",{job}}}");
            add(format!("predict_linear({queue}[10m], 3600) > 1e7"));
        }
        for _ in 0..10 {
            let idle = format!("rate(node_cpu_seconds_total{{mode=\"idle\",{job}}}[5m])");
            add(format!("1 - avg by (instance) ({idle}) > 0.{n}9"));
        }
        add(format!("sum by (handler, code) (rate(http_requests_total{{{job}}}[5m]))"));
        add(format!("avg by (instance, mode) (rate(node_cpu_seconds_total{{{job}}}[5m]))"));
        add(format!(
            "sum by (instance) (rate(node_cpu_seconds_total{{mode!=\"idle\",{job}}}[5m]))"
        ));
        add(format!("sum by (instance) (queue_depth{{{job}}})"));
        add(format!("max by (instance) (max_over_time(queue_depth{{{job}}}[5m]))"));
        add(format!("sum by (instance) (node_memory_area_bytes{{{job}}})"));
    }
    for n in 0..100 {
        add(format!(
            "node_memory_area_bytes{{area=\"area_{:03}\"}} / on (instance, job) group_left () \
             sum by (instance, job) (node_memory_area_bytes{{area=~\"area_00[0-9]\"}}) > 1e9",
            n + 20
        ));
    }
    for n in 0..50 {
        let feature = 2 * n + 1;
        add(format!(
            "app_feature_enabled{{feature=\"feature_{feature:03}\",instance=~\"host-0[01]1\"}} == 1"
        ));
        let queue = format!("queue_depth{{queue=\"q{:03}\"}}[5m]", 30 + n);
        add(format!("max_over_time({queue}) - min_over_time({queue}) > 1e6"));
    }
    for n in 0..80 {
        add(format!("avg by (job) (avg_over_time(queue_depth{{queue=\"q{n:03}\"}}[5m]))"));
    }
    all
}

/// Evaluates every rule.
pub(crate) fn once(queries: &[Query], storage: &Storage) {
    let options = Options::default();
    for query in queries {
        evaluate(query, storage, Range::instant(samples::end()), &options).expect("an answer");
    }
}

pub(crate) fn bench(c: &mut Criterion) {
    let storage = samples::filled();
    let queries: Vec<_> =
        expressions().iter().map(|text| Query::new(text).expect("the rule is right")).collect();
    assert_eq!(queries.len(), 1200);
    let mut group = c.benchmark_group("rules");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .warm_up_time(Duration::from_millis(500));
    group.bench_function("1,200 rules once", |b| b.iter(|| once(black_box(&queries), &storage)));
    group.finish();
}
