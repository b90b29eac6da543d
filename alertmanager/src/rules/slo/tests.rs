//! What comes of objectives, and what is told of those that are wrong.
//!
//! Invariant: what is expected is written out, not made by the code that is tested.

use std::sync::Arc;

use base::labels::Labels;
use base::sample::{Ended, Timestamp};
use promql::{Range, Session};
use storage::Point;

use super::super::measured::samples;
use super::*;
use crate::rules::Sources;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

fn build(yaml: &str) -> (Vec<RuleGroup>, String) {
    let mut diagnostics = Diagnostics::new("f.yml");
    let slos: Vec<Spanned<SloConfig>> =
        base::yaml::read(yaml, &mut diagnostics).unwrap_or_default();
    let groups = slo_groups(&slos, Period::from_secs(30), &mut diagnostics);
    (groups, diagnostics.to_string())
}

#[test]
fn an_objective_becomes_rules() {
    let (groups, faults) = build(
        "- name: web\n  objective: 99.9\n  good: 'sum(rate(ok[$window]))'\n  \
         total: 'sum(rate(all[$window]))'\n  labels: {team: web}\n",
    );
    assert_eq!(faults, "");
    let group = &groups[0];
    assert_eq!((group.name(), group.file(), group.len()), ("web", SLO_FILE, 18));
    let view = group.view(&group.restore(&[], Default::default()), None);
    let told: Vec<_> = view.rules.iter().map(|r| format!("{} {}", r.name, r.query)).collect();
    assert_eq!(told[0], "slo:good_rate sum(rate(ok[5m]))");
    let counted = "slo:counted_total_rate slo:total_rate{slo=\"web\"} unless on () \
                   last_over_time(veilleur_maintenance{slo=\"web\"}[5m])";
    assert_eq!(told[3], counted);
    let left = "slo:error_budget_remaining_ratio 1 - (1 - \
                sum_over_time(slo:good_rate{slo=\"web\"}[30d]) / \
                sum_over_time(slo:total_rate{slo=\"web\"}[30d])) / 0.001";
    assert_eq!(told[5], left);
    // 2 % of the budget of 30 days within an hour is 14.4 times as fast as it lasts.
    let burn = &told[14];
    assert!(burn.starts_with("SLOBudgetBurn slo:error_ratio{slo=\"web\",window=\"1h\"} > 0.0144"));
    assert!(burn.contains("and ignoring (window) slo:error_ratio{slo=\"web\",window=\"5m\"}"));
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    let check = |fields: &str, expected: &str| {
        let rest = "good: 'sum(rate(a[$window]))', total: 'sum(rate(b[$window]))'";
        let (_, faults) = build(&format!("- {{{fields}, {rest}}}\n"));
        assert_eq!(faults.lines().next().unwrap_or(""), expected, "{fields}");
    };
    check("name: a, objective: 99", "");
    check("name: a, objective: 100", "f.yml:1:24: 100 is not between 0 and 100 percent");
    check("name: a, objective: 99, window: 1h", "f.yml:1:36: the window is shorter than a day");
    check("name: '', objective: 99", "f.yml:1:10: the objective has no name");
    let of = |good: &str| {
        let yaml =
            format!("- name: a\n  objective: 99\n  good: {good}\n  total: 'rate(b[$window])'\n");
        build(&yaml).1.lines().next().unwrap_or("").to_owned()
    };
    assert_eq!(of("'rate(a[5m])'"), "f.yml:3:9: `$window` is not in it");
    assert_eq!(of("'a[$window]'"), "f.yml:3:9: the expression is a range vector, not a vector");
    let unread = "f.yml:3:9: in the expression, 1:11: parse error: unclosed left parenthesis";
    assert_eq!(of("'rate(a[$window]'"), unread);
    let twice = "- &a {name: a, objective: 9, good: 'a[$window]', total: 'a[$window]'}\n- *a\n";
    assert!(build(twice).1.contains("there is `a` already, at 1:13"), "{}", build(twice).1);
}

#[test]
fn burning_is_told_before_half_of_the_budget_is_gone() {
    let burns = |window: &str| {
        let (groups, _) = build(&format!(
            "- {{name: a, objective: 99, window: {window}, good: 'rate(a[$window])', \
             total: 'rate(b[$window])'}}"
        ));
        let view = groups[0].view(&groups[0].restore(&[], Default::default()), None);
        let alerts = view.rules.iter().filter(|rule| rule.name == "SLOBudgetBurn");
        let above = alerts.map(|rule| rule.query.split(' ').nth(2).unwrap().to_owned());
        above.collect::<Vec<_>>().join(" ")
    };
    let check = |window: &str, expected: &str| assert_eq!(burns(window), expected, "{window}");
    check("90d", "0.144 0.06 0.03 0.01");
    check("30d", "0.144 0.06 0.03 0.01");
    check("7d", "0.144 0.06 0.03 0.01");
    check("2d", "0.144 0.04 0.01");
    check("1d", "0.12 0.02");
}

/// What an hour of maintenance with nothing but errors does to an objective of 90 % over a day, told
/// every minute of two and a half hours.
#[tokio::test]
async fn maintenance_is_left_out_and_the_budget_is_told_both_ways_a5_1() {
    let (mut groups, faults) = build(
        "- {name: web, objective: 90, window: 1d, good: 'sum(rate(ok[$window]))', \
         total: 'sum(rate(all[$window]))'}",
    );
    assert_eq!(faults, "");
    let (group, sources) = (groups.remove(0), Sources::of_a_test());
    let storage = Arc::clone(&sources.storage);
    let store = |labels: &[(&str, &str)], minute: i64, value: f64| {
        let series = storage.series(&Labels::from_pairs(labels.iter().copied())).unwrap();
        storage.append(&[Point { series, timestamp: at(minute), value }]).unwrap();
    };
    let window = [("__name__", MAINTENANCE_METRIC), ("name", "w"), ("slo", "web")];
    let mut state = group.restore(&[], Default::default());
    let (mut good, mut firing) = (0.0, Vec::new());
    for minute in 0..150 {
        let in_maintenance = (60..120).contains(&minute);
        // 1 % of errors, and nothing else within the window.
        store(&[("__name__", "all")], minute, 100.0 * minute as f64);
        store(&[("__name__", "ok")], minute, good);
        good += if in_maintenance { 0.0 } else { 99.0 };
        match minute {
            60..120 => store(&window, minute, 1.0),
            120 => store(&window, minute, Ended::Gone.value()),
            _ => {}
        }
        let evaluation = group.evaluate(&mut state, at(minute), &sources);
        assert_eq!(evaluation.failed, 0);
        firing.extend(evaluation.alerts.iter().map(|alert| (minute, alert.labels.to_string())));
    }
    assert_eq!(firing, []);
    let near = |selector: &str, expected: f64| {
        let query = Query::new(selector).unwrap();
        let range = Range::instant(at(149));
        let options = sources.options(&|| false);
        let session = Session::new(&storage, [&query], range, &options);
        let found = samples(session.evaluate(&query).unwrap()).unwrap();
        let [(_, got)] = &found[..] else { panic!("{selector}: {found:?}") };
        let got = got.number();
        let close = (got - expected).abs() < 0.03 * expected.abs().max(0.3);
        assert!(close, "{selector}: {got}, not {expected}");
    };
    for window in ["5m", "30m", "1h", "1d"] {
        near(&format!("slo:error_ratio{{slo=\"web\",window=\"{window}\"}}"), 0.01);
    }
    near("slo:error_budget_remaining_ratio{slo=\"web\",maintenance=\"excluded\"}", 0.9);
    // All of an hour and 0.01 of 90 minutes are 0.406 of it all: four times the budget.
    near("slo:error_budget_remaining_ratio{slo=\"web\",maintenance=\"included\"}", -3.06);
}
