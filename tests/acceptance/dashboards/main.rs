//! The dashboards for Grafana: every expression in them is right, and finds what our programs show.
//!
//! ```text
//! veilleur-agent ─▶ veilleur ── all series, as they are now ──▶ six hours of samples, made up
//! dashboards/grafana/*.json ──▶ expressions, variables replaced ──▶ answers over them
//! ```
//!
//! Invariant: series are those that the real programs show, so a metric that is renamed leaves a
//! panel that finds nothing, and a test that says so.

mod panels;
mod series;

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use base::sample::Timestamp;
use promql::{Options, Output, Query, Range, Severity, Value, evaluate};

use panels::expressions;
use series::{Seen, filled};

/// What Grafana would ask for on a screen: an hour in steps of half a minute.
const SCREEN: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_secs(30);

#[test]
fn every_dashboard_has_expressions_and_grafanas_variables_only() {
    for (file, found) in panels::files() {
        let found = expressions(&file, &found);
        assert!(found.len() > 20, "{file}: {} expressions", found.len());
        for expression in found {
            assert!(!expression.text.contains('$'), "{}: a variable is left", expression.named());
        }
    }
}

#[test]
fn every_expression_reads_as_it_does_for_prometheus() {
    let mut broken = Vec::new();
    for expression in panels::all() {
        if let Err(fault) = Query::new(&expression.text) {
            broken.push(format!("{}: {fault}", expression.named()));
        }
    }
    report(broken);
}

#[test]
fn promtool_agrees_that_they_are_right() {
    let Some(promtool) = tests::peers::program("promtool") else { return };
    let mut rules = "groups:\n- name: dashboards\n  rules:\n".to_owned();
    for (n, expression) in panels::all().iter().enumerate() {
        let text = serde_json::to_string(&expression.text).unwrap();
        writeln!(rules, "  - {{record: 'panel:{n}', expr: {text}}}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, rules).unwrap();
    let checked = Command::new(promtool).args(["check", "rules"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

#[test]
fn every_panel_finds_what_our_programs_show() {
    let seen = Seen::gather();
    let (storage, end) = filled(&seen);
    let mut broken = Vec::new();
    for expression in panels::all() {
        let query = Query::new(&expression.text).unwrap();
        let mut there = true;
        for reads in query.reads() {
            let name = reads.metric_name().unwrap_or_default();
            let found = storage.select(reads.matchers(), Timestamp::MIN, end).unwrap();
            if found.is_empty() && !seen.may_lack(name) {
                broken.push(format!("{}: nothing shows {name}", expression.named()));
            }
            there &= !found.is_empty();
        }
        // What compares may have nothing to tell; everything else has an answer.
        let must_answer = there && !["== ", "> ", "< "].iter().any(|c| expression.text.contains(c));
        for range in [Range::instant(end), Range::new(end - SCREEN, end, STEP)] {
            match evaluate(&query, &storage, range, &Options::default()) {
                Err(error) => broken.push(format!("{}: {error}", expression.named())),
                Ok(answer) if must_answer && is_empty(&answer) => {
                    broken.push(format!("{}: no answer", expression.named()));
                }
                Ok(answer) => {
                    let warnings = answer.annotations.iter();
                    let warnings = warnings.filter(|a| a.severity == Severity::Warning);
                    broken.extend(warnings.map(|a| format!("{}: {a}", expression.named())));
                }
            }
        }
    }
    report(broken);
}

fn is_empty(answer: &Output) -> bool {
    match &answer.value {
        Value::Vector(series) => series.is_empty(),
        Value::Matrix(series) => series.is_empty(),
        _ => false,
    }
}

#[track_caller]
fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
