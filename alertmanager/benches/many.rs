//! What an alert costs beside many routes, silences and rules of inhibition: who hears of it, and what
//! holds it back.
//!
//! Each number stands for sets of matchers of one kind: `equal` asks for a value, `pattern` for how a
//! value begins, `mixed` for a value, one of two, or a beginning, with something else beside it,
//! `ending` for how it ends; what `within` asks for can be told only by comparing.
//!
//! Invariant: each alert is one that some of the sets accept, and not the first of them.

use std::hint::black_box;
use std::time::Duration;

use alertmanager::alerts::Alert;
use alertmanager::dispatch::{Route, RouteConfig, World};
use alertmanager::matchers;
use alertmanager::mute::{Effects, InhibitRuleConfig, Inhibitor, Silence, Silences, TimeIntervals};
use alertmanager::state::State;
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::sample::Timestamp;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};

const KINDS: [&str; 5] = ["equal", "pattern", "mixed", "ending", "within"];
/// How many alerts take turns.
const ALERTS: usize = 64;

/// What the set with that number asks for, as a list in YAML.
fn set(kind: &str, n: usize) -> String {
    let equal = format!("'team=\"team-{n:04}\"'");
    let pattern = format!("'host=~\"host-{n:04}-.*\"'");
    match (kind, n % 3) {
        ("equal", _) | ("mixed", 0) => format!("[{equal}, 'env!=\"test\"']"),
        ("pattern", _) | ("mixed", 1) => format!("[{pattern}, 'severity=~\"page|ticket\"']"),
        ("mixed", _) => format!("['severity=page', 'team=~\"team-{n:04}|crew-{n:04}\"']"),
        ("ending", _) => format!("['crew=~\".*-{n:04}\"']"),
        _ => format!("['host=~\".*-{n:04}-.*\"']"),
    }
}

/// The labels of alerts that a set of `sets` is about each.
fn alerts(sets: usize) -> Vec<Labels> {
    let labels = |alert: usize| {
        let n = (alert * 7919 + sets / 2) % sets;
        Labels::from_pairs([
            ("alertname", "DiskFull"),
            ("cluster", &format!("c{}", n % 5)),
            ("crew", &format!("crew-{n:04}")),
            ("env", "prod"),
            ("host", &format!("host-{n:04}-{alert:02}.example.org:9100")),
            ("severity", "page"),
            ("team", &format!("team-{n:04}")),
        ])
    };
    (0..ALERTS).map(labels).collect()
}

/// Measures what is to be done with each of the alerts.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    kind: &str,
    sets: usize,
    mut ask: impl FnMut(&Labels) -> usize,
) {
    let alerts = alerts(sets);
    for labels in &alerts {
        assert!(ask(labels) > 0, "{kind} {sets}: nothing for {labels}");
    }
    let mut turns = alerts.iter().cycle();
    group.bench_function(BenchmarkId::new(kind, sets), |b| {
        b.iter(|| turns.next().map(|labels| ask(black_box(labels))));
    });
}

fn tree(kind: &str, sets: usize) -> Route {
    let mut yaml = "receiver: all\nroutes:\n".to_owned();
    for n in 0..sets {
        yaml.push_str(&format!("- matchers: {}\n  continue: true\n", set(kind, n)));
    }
    let mut diagnostics = Diagnostics::new("bench.yml");
    let config: Spanned<RouteConfig> =
        base::yaml::read(&yaml, &mut diagnostics).expect("a tree of routes");
    let world = World { receivers: &["all".to_owned()], intervals: &TimeIntervals::new() };
    let route = config.value.build(config.place, world, &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    route
}

fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("routes");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    for kind in KINDS {
        for sets in [10, 100, 1000] {
            let tree = tree(kind, sets);
            // The first node takes what no other does.
            measure(&mut group, kind, sets, |labels| {
                tree.matching(labels).iter().filter(|route| route.place > 0).count()
            });
        }
    }
    group.finish();
}

fn silences(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let at = Timestamp::from_millis;
    let mut group = c.benchmark_group("silences");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    for kind in KINDS {
        for sets in [10, 100, 1000] {
            let set_all = async {
                let state = State::in_memory().await.expect("a state");
                let silences = Silences::open(state).await.expect("no silences");
                for n in 0..sets {
                    let yaml = set(kind, n);
                    let texts: Vec<String> =
                        base::yaml::read(&yaml, &mut Diagnostics::new("")).expect("matchers");
                    let matchers = texts.iter().map(|text| matchers::parse(text));
                    let silence = Silence {
                        id: String::new(),
                        matchers: matchers.flat_map(|m| m.expect("a matcher")).collect(),
                        starts_at: at(1000),
                        ends_at: at(1_000_000),
                        created_by: "bench".to_owned(),
                        comment: format!("silence {n}"),
                        annotations: Default::default(),
                        updated_at: at(1000),
                    };
                    silences.set(silence, at(1000)).await.expect("a silence");
                }
                silences
            };
            let silences = runtime.block_on(set_all);
            measure(&mut group, kind, sets, |labels| silences.silenced_by(labels, at(2000)).len());
        }
    }
    group.finish();
}

fn inhibition(c: &mut Criterion) {
    let mut group = c.benchmark_group("inhibition rules");
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(700));
    for kind in KINDS {
        for sets in [5, 50, 500] {
            let mut inhibitor = rules(kind, sets);
            // Every cause fires.
            for labels in alerts(sets) {
                inhibitor.put(&cause(&labels), &mut Effects::default());
            }
            measure(&mut group, kind, sets, |labels| {
                usize::from(inhibitor.inhibited_by(labels).is_some())
            });
        }
    }
    group.finish();
}

/// Rules by which an alert with `severity="page"` is held back by one with `cause="yes"`.
fn rules(kind: &str, sets: usize) -> Inhibitor {
    let mut yaml = String::new();
    for n in 0..sets {
        let target = set(kind, n);
        let source = target.replacen('[', "['cause=yes', ", 1);
        yaml.push_str(&format!(
            "- {{source_matchers: {source}, target_matchers: {target}, equal: [cluster]}}\n"
        ));
    }
    let mut diagnostics = Diagnostics::new("bench.yml");
    let configs: Vec<InhibitRuleConfig> =
        base::yaml::read(&yaml, &mut diagnostics).expect("rules of inhibition");
    let rules: Vec<_> = configs.iter().map(|config| config.build(&mut diagnostics)).collect();
    assert!(diagnostics.is_empty(), "{diagnostics}");
    Inhibitor::new(rules)
}

fn cause(labels: &Labels) -> Alert {
    Alert {
        labels: labels.with("cause", "yes"),
        annotations: Default::default(),
        starts_at: Timestamp::from_millis(1000),
        ended: None,
        stale_since: None,
        generator_url: String::new(),
    }
}

criterion_group!(benches, routes, silences, inhibition);
criterion_main!(benches);
