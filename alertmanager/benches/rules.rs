//! Evaluating rule groups over 2,000 instances with five minutes of samples, 15 seconds apart: a
//! group as people write it, and the built-in one where a tenth of all checks fail.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use alertmanager::rules::{
    BuiltinConfig, QueryLimits, RuleFile, RuleGroup, Sources, builtin_group,
};
use alertmanager::scrape::{Outputs, Targets};
use base::diagnostic::Diagnostics;
use base::labels::Labels;
use base::own_metrics::OwnMetrics;
use base::period::Period;
use base::sample::Timestamp;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::{Options, Point, Storage};

const INSTANCES: usize = 2_000;
const STEP: u64 = 15;

const GROUP: &str = r#"
groups:
- name: service
  rules:
  - record: job:requests:rate5m
    expr: sum by (job) (rate(requests_total[5m]))
  - record: instance:requests:rate5m
    expr: sum by (instance) (rate(requests_total[5m]))
  - record: job:errors:ratio
    expr: sum by (job) (rate(requests_total{code="500"}[5m])) / on (job) job:requests:rate5m
  - alert: Down
    expr: up == 0
    for: 2m
    annotations: {summary: '{{ $labels.instance }} is down'}
  - alert: Errors
    expr: job:errors:ratio > 0.5
    annotations: {summary: '{{ $value | humanizePercentage }}'}
  - alert: Silent
    expr: absent(up)
  - alert: Slow
    expr: instance:requests:rate5m < 0.001 and on (instance) up == 1
    for: 5m
  - alert: Full
    expr: predict_linear(free_bytes[5m], 3600) < 0
"#;

fn started() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn groups() -> Vec<RuleGroup> {
    let mut diagnostics = Diagnostics::new("bench.yml");
    let file: RuleFile = base::yaml::read(GROUP, &mut diagnostics).unwrap_or_default();
    let mut groups = file.build("bench.yml", Period::from_secs(STEP), &mut diagnostics);
    groups.extend(builtin_group(
        &BuiltinConfig::default(),
        Period::from_secs(STEP),
        &mut diagnostics,
    ));
    assert!(diagnostics.is_empty(), "{diagnostics}");
    groups
}

fn sources() -> Sources {
    let storage = Storage::in_memory(Options::default());
    let mut all = Vec::new();
    for n in 0..INSTANCES {
        let (job, instance) = (format!("job-{}", n % 20), format!("host-{n:04}:9100"));
        let target = Labels::from_pairs([("instance", instance.as_str()), ("job", &job)]);
        let named = |name: &str| target.with("__name__", name);
        all.push((named("up"), 1.0, 0.0));
        all.push((named("free_bytes"), 1e9, -1000.0 - n as f64));
        all.push((named("requests_total").with("code", "200"), 0.0, 100.0 + n as f64));
        all.push((named("requests_total").with("code", "500"), 0.0, (n % 3) as f64));
        all.push((named("veilleur_agent_up"), 1.0, 0.0));
        let status = f64::from(u8::from(n % 10 == 0) * 2);
        all.push((named("veilleur_check_hard_status").with("check", "disk"), status, 0.0));
        let overdue = named("veilleur_check_overdue_timestamp_seconds").with("check", "disk");
        all.push((overdue, started().seconds() + 1e6, 0.0));
    }
    let series: Vec<_> =
        all.iter().map(|(labels, ..)| storage.series(labels).expect("there is room")).collect();
    for n in 0..=300 / STEP {
        let timestamp = started() + Duration::from_secs(n * STEP);
        let points: Vec<_> = series
            .iter()
            .zip(&all)
            .map(|(&series, (_, first, step))| {
                let value = first + step * n as f64;
                Point { series, timestamp, value }
            })
            .collect();
        storage.append(&points).expect("nothing is written");
    }
    Sources {
        storage: Arc::new(storage),
        outputs: Outputs::default(),
        targets: Targets::default(),
        external_labels: Labels::empty(),
        external_url: "http://127.0.0.1:12912".into(),
        lookback: Duration::from_secs(300),
        limits: QueryLimits::default(),
        stop: Default::default(),
        subquery_step: Duration::from_secs(60),
        on_missing: Default::default(),
        features: promql::Features::default(),
        elsewhere: None,
        started: started(),
        appended: OwnMetrics::new().counter("appended", "Samples."),
    }
}

fn evaluate(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    for rules in groups() {
        // Each group has samples of its own, since it writes among them.
        let sources = sources();
        let mut state = rules.restore(&[], Duration::ZERO);
        let mut now = started() + Duration::from_secs(300);
        let first = rules.evaluate(&mut state, now, &sources);
        assert_eq!(first.failed, 0, "{:?}", rules.view(&state, None));
        group.throughput(Throughput::Elements(rules.len() as u64));
        group.bench_function(rules.name(), |b| {
            b.iter(|| {
                // A little later each time, so that every evaluation is new and none outruns the
                // samples.
                now = now + Duration::from_millis(1);
                black_box(rules.evaluate(&mut state, now, &sources)).failed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
