//! Rule files and rule sets in public use: whether they are accepted, what is in them, and whether
//! every expression can be evaluated.
//!
//! Invariant: a file that must be refused is refused with a place in it, and no other is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alertmanager::rules::{QueryLimits, RuleGroup, Sources, Unknown, read_file};
use alertmanager::scrape::{Outputs, Targets};
use alertmanager::unit_test::{Options, run_file};
use base::labels::Labels;
use base::own_metrics::OwnMetrics;
use base::period::Period;
use base::sample::Timestamp;
use regex::Regex;
use storage::{Point, Storage};
use tokio::runtime::Builder;

use crate::report::Report;

/// The rule files that Prometheus and vmalert are tested with.
pub(crate) fn files(report: &mut Report) {
    let manifest = report.text("rule-files/manifest.tsv");
    let mut results = Vec::new();
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let path = report.path(&format!("rule-files/{}", columns[0]));
        results.push((columns[0].to_owned(), judged(&path, columns[1]).map(drop)));
    }
    report.suite("rule-files", results);
}

/// The rule sets that projects publish.
pub(crate) fn sets(report: &mut Report) {
    let manifest = report.text("rule-sets/manifest.tsv");
    let mut results = Vec::new();
    for line in manifest.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let path = report.path(&format!("rule-sets/{}", columns[0]));
        results.push((columns[0].to_owned(), set(&path, &columns)));
    }
    report.suite("rule-sets files", results);
}

/// The rules of the alert generator suite over series that are generated, in simulated time.
pub(crate) fn alert_generator(report: &mut Report) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("rules.yaml", &report.text("alert-generator/rules.yaml"));
    write("test.yml", include_str!("alert_generator.yml"));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let names = [
        "NewAlerts_OrderCheck",
        "PendingAndFiringAndResolved",
        "PendingAndResolved_AlwaysInactive",
        "ZeroFor_SmallFor",
    ];
    let results = names.map(|name| {
        let only = Some(Regex::new(&format!("^{name}$")).unwrap());
        let options = Options { only, ..Options::default() };
        let outcome = runtime.block_on(run_file(&dir.path().join("test.yml"), &options));
        let result = match (outcome.tests, outcome.faults.is_empty()) {
            (1, true) => Ok(()),
            (1, false) => Err(outcome.faults.to_string()),
            (count, _) => Err(format!("{count} tests: {}", outcome.faults)),
        };
        (name.to_owned(), result)
    });
    report.suite("alert-generator", results);
}

/// Reads a file and compares the verdict; the groups where it is accepted.
fn judged(path: &Path, expected: &str) -> Result<Vec<RuleGroup>, String> {
    match (read_file(path, Period::from_secs(60), Unknown::Refused), expected) {
        (Ok(groups), "ok") => Ok(groups),
        (Err(faults), "ok") => Err(faults.to_string()),
        (Ok(_), _) => Err("accepted".to_owned()),
        (Err(faults), _) => match faults.faults().iter().all(|fault| fault.place().is_some()) {
            true => Ok(Vec::new()),
            false => Err(format!("a fault without a place: {faults}")),
        },
    }
}

fn set(path: &Path, columns: &[&str]) -> Result<(), String> {
    let groups = judged(path, columns[4])?;
    if columns[4] != "ok" {
        return Ok(());
    }
    let alerts: usize = groups.iter().map(|group| group.alerting_ids().count()).sum();
    let all: usize = groups.iter().map(RuleGroup::len).sum();
    let got = [groups.len(), alerts, all - alerts].map(|count| count.to_string());
    if got != columns[1..4] {
        return Err(format!("groups, alerts, recordings: {got:?}, not {:?}", &columns[1..4]));
    }
    let now = Timestamp::from_millis(1_800_000_000_000);
    for group in &groups {
        for series in [false, true] {
            evaluated(group, now, series)?;
        }
    }
    Ok(())
}

/// Evaluates a group twice, over nothing or over a counter of each metric that it names.
fn evaluated(group: &RuleGroup, now: Timestamp, with_series: bool) -> Result<(), String> {
    let sources = sources(now);
    if with_series {
        let names: BTreeSet<&str> = group.reads().collect();
        for name in names {
            let labels = [("__name__", name), ("job", "j"), ("instance", "i"), ("le", "+Inf")];
            let series = sources.storage.series(&Labels::from_pairs(labels)).unwrap();
            let point = |ago: u32| {
                // Of several metrics that one rule compares none may differ.
                let timestamp = now - Duration::from_secs(30) * ago;
                Point { series, timestamp, value: 1000.0 }
            };
            let points: Vec<_> = (0..20).rev().map(point).collect();
            sources.storage.append(&points).unwrap();
        }
    }
    let mut state = group.restore(&[], Duration::ZERO);
    for after in [0, 60] {
        let at = now + Duration::from_secs(after);
        let evaluation = group.evaluate(&mut state, at, &sources);
        if evaluation.failed > 0 {
            let view = group.view(&state, Some(at));
            let failed = view.rules.iter().filter_map(|rule| {
                rule.error.as_ref().map(|error| format!("{}: {error}", rule.name))
            });
            return Err(failed.collect::<Vec<_>>().join("; "));
        }
    }
    Ok(())
}

/// An empty storage, and nothing else that a rule could look at.
fn sources(started: Timestamp) -> Sources {
    Sources {
        storage: Arc::new(Storage::in_memory(storage::Options::default())),
        outputs: Outputs::default(),
        targets: Targets::default(),
        external_labels: Labels::empty(),
        external_url: "http://veilleur.example".into(),
        lookback: Duration::from_secs(300),
        limits: QueryLimits::default(),
        stop: Default::default(),
        subquery_step: Duration::from_secs(60),
        on_missing: Default::default(),
        features: promql::Features::default(),
        elsewhere: None,
        started,
        appended: OwnMetrics::new().counter("samples_total", "Samples that rules wrote."),
    }
}
