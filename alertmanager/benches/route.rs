//! Finding who hears of an alert, in a tree of 200 routes: teams, and severities within a team.

use std::hint::black_box;
use std::time::Duration;

use alertmanager::dispatch::{Route, RouteConfig, World};
use alertmanager::mute::TimeIntervals;
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use criterion::{Criterion, criterion_group, criterion_main};

const TEAMS: usize = 50;

fn tree() -> Route {
    let mut yaml = "receiver: all\ngroup_by: [alertname]\nroutes:\n".to_owned();
    for team in 0..TEAMS {
        yaml.push_str(&format!(
            "- matchers: ['team=\"team-{team}\"']\n  routes:\n  \
             - matchers: ['severity=\"page\"', 'env!=\"test\"']\n    continue: true\n  \
             - matchers: ['severity=~\"page|critical\"']\n  \
             - matchers: ['service=~\"shop-.*\"']\n"
        ));
    }
    let mut diagnostics = Diagnostics::new("bench.yml");
    let config: Spanned<RouteConfig> =
        base::yaml::read(&yaml, &mut diagnostics).expect("a tree of routes");
    let world = World { receivers: &["all".to_owned()], intervals: &TimeIntervals::new() };
    let route = config.value.build(config.place, world, &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    route
}

fn labels(team: usize) -> Labels {
    Labels::from_pairs([
        ("alertname", "DiskFull"),
        ("env", "prod"),
        ("instance", "host-001:9100"),
        ("service", "shop-front"),
        ("severity", "page"),
        ("team", &format!("team-{team}")),
    ])
}

fn route(c: &mut Criterion) {
    let tree = tree();
    let mut group = c.benchmark_group("route");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, team, routes) in
        [("the first team", 0, 2), ("the last team", TEAMS - 1, 2), ("nobody's", TEAMS, 1)]
    {
        let labels = labels(team);
        assert_eq!(tree.matching(&labels).len(), routes);
        group.bench_function(name, |b| b.iter(|| tree.matching(black_box(&labels)).len()));
    }
    let labels = labels(0);
    group.bench_function("the labels of its group", |b| {
        b.iter(|| tree.group_by.group_labels(black_box(&labels)));
    });
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
