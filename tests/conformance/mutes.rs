//! Alertmanager's inhibition, time intervals and silences as tables.

use std::collections::BTreeMap;

use alertmanager::alerts::Alert;
use alertmanager::mute::{
    Effects, InhibitRuleConfig, Inhibitor, Silence, TimeInterval, TimesConfig,
};
use base::diagnostic::Diagnostics;
use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};
use base::sample::Timestamp;
use serde_json::Value;

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    let text = report.text("alertmanager-tables/inhibition.json");
    let table: Value = serde_json::from_str(&text).unwrap();
    let mut results = Vec::new();
    for group in table["groups"].as_array().unwrap() {
        let inhibitor = inhibitor(group);
        for case in group["cases"].as_array().unwrap() {
            let got = inhibitor.inhibited_by(&labels(&case["labels"])).is_some();
            let result = equal(got, &case["inhibited"]);
            results.push((case["id"].as_str().unwrap().to_owned(), result));
        }
    }
    report.suite("alertmanager-tables/inhibition", results);
    report.table("alertmanager-tables/time-intervals.json", times);
    report.table("alertmanager-tables/api-filters.json", shown);
    // Names under the rules before UTF-8 names are not ours: all names are UTF-8.
    let cases = report.cases("alertmanager-tables/silences.json");
    let cases = cases.iter().filter(|case| case["mode"] != "classic");
    let results: Vec<_> =
        cases.map(|case| (case["id"].as_str().unwrap().to_owned(), silence(case))).collect();
    report.suite("alertmanager-tables/silences", results);
}

/// Which silences and alerts are shown to whoever asks with a filter.
fn shown(case: &Value) -> Result<(), String> {
    let matchers = |list: &Value| -> Result<Vec<Matcher>, String> {
        list.as_array().unwrap().iter().map(matcher).collect()
    };
    let filter = matchers(&case["filter"])?;
    let got = match case["silence_matchers"].is_array() {
        true => silence_of(matchers(&case["silence_matchers"])?).is_shown_by(&filter),
        false => {
            let labels = labels(&case["labels"]);
            filter.iter().all(|matcher| matcher.matches_labels(&labels))
        }
    };
    equal(got, &case["shown"])
}

fn silence_of(matchers: Vec<Matcher>) -> Silence {
    Silence {
        id: String::new(),
        matchers,
        starts_at: Timestamp::from_millis(0),
        ends_at: Timestamp::from_millis(1),
        created_by: String::new(),
        comment: String::new(),
        annotations: BTreeMap::new(),
        updated_at: Timestamp::from_millis(0),
    }
}

fn equal(got: bool, expected: &Value) -> Result<(), String> {
    if expected.as_bool() == Some(got) { Ok(()) } else { Err(format!("{got}")) }
}

fn labels(value: &Value) -> Labels {
    value.as_object().unwrap().iter().map(|(n, v)| (n, v.as_str().unwrap())).collect()
}

fn inhibitor(group: &Value) -> Inhibitor {
    let mut diagnostics = Diagnostics::new("rules");
    // JSON is YAML.
    let text = group["inhibit_rules"].to_string();
    let rules: Vec<InhibitRuleConfig> = base::yaml::read(&text, &mut diagnostics).unwrap();
    let rules: Vec<_> = rules.iter().map(|rule| rule.build(&mut diagnostics)).collect();
    assert!(diagnostics.is_empty(), "{diagnostics}");
    let mut inhibitor = Inhibitor::new(rules);
    for active in group["active_alerts"].as_array().unwrap() {
        let alert = Alert {
            labels: labels(active),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::from_millis(0),
            ended: None,
            stale_since: None,
            generator_url: String::new(),
        };
        inhibitor.put(&alert, &mut Effects::default());
    }
    inhibitor
}

fn read(yaml: &str, single: bool) -> Result<Vec<TimeInterval>, String> {
    let mut diagnostics = Diagnostics::new("times");
    let configs: Vec<TimesConfig> = if single {
        base::yaml::read(yaml, &mut diagnostics).into_iter().collect()
    } else {
        base::yaml::read(yaml, &mut diagnostics).unwrap_or_default()
    };
    let intervals = configs.iter().map(|config| config.interval(&mut diagnostics)).collect();
    diagnostics.into_result(intervals).map_err(|faults| faults.to_string())
}

fn times(case: &Value) -> Result<(), String> {
    let range = case["time_range"].as_str();
    let yaml = range.map_or_else(
        || case["yaml"].as_str().unwrap().to_owned(),
        |range| format!("[{{times: [{range}]}}]"),
    );
    let intervals = match (read(&yaml, case["single"] == true), case["ok"] == true) {
        (Ok(intervals), true) => intervals,
        (Err(_), false) => return Ok(()),
        (Ok(_), false) => return Err("accepted".to_owned()),
        (Err(faults), true) => return Err(faults),
    };
    let holds = |millis| intervals.iter().any(|i| i.contains(Timestamp::from_millis(millis)));
    for (list, expected) in [("contains", true), ("excludes", false)] {
        for time in case[list].as_array().into_iter().flatten() {
            let time = time.as_str().unwrap();
            let at = jiff::fmt::strtime::parse("%d %b %y %H:%M %z", time).unwrap();
            let millis = at.to_timestamp().unwrap().as_millisecond();
            if holds(millis) != expected {
                return Err(format!("{time} is wrong"));
            }
        }
    }
    if range.is_some() {
        let minute = |name: &str| case[name].as_i64().unwrap() * 60_000;
        let (start, end) = (minute("start_minute"), minute("end_minute"));
        let edges = [holds(start - 1), holds(start), holds(end - 1), holds(end)];
        if edges != [false, true, true, false] {
            return Err(format!("{edges:?}"));
        }
    }
    Ok(())
}

fn matcher(value: &Value) -> Result<Matcher, String> {
    let text = |name: &str| value[name].as_str().unwrap();
    let op = MatchOp::named(text("op")).unwrap();
    Matcher::new(text("name"), op, text("value")).map_err(|error| error.to_string())
}

fn silence(case: &Value) -> Result<(), String> {
    if case["matcher"].is_object() {
        return equal(matcher(&case["matcher"]).is_ok(), &case["ok"]);
    }
    let labels = labels(&case["labels"]);
    // A set of matchers is a silence of ours.
    let sets = case["matcher_sets"].as_array().unwrap();
    let mut silenced = false;
    for set in sets {
        let matchers = set.as_array().unwrap().iter().map(matcher).collect::<Result<_, _>>()?;
        silenced |= silence_of(matchers).matches(&labels);
    }
    equal(silenced, &case["silenced"])
}
